//! Performs a [`Call`] on the calling thread with Win32.
//!
//! Handles are synchronous: the offset is passed in an `OVERLAPPED`, and the call holds its thread until it is done. An open
//! takes POSIX-like flags ([`flags`]), and errors are translated to errno ([`error`]). For calls that Windows does not have
//! (file owners, advice, reserving space past the end), `call.rs` says what they answer.
#![expect(unsafe_code, reason = "system calls on memory that the caller keeps alive")]

use std::{ffi::c_void, ptr};

use windows_sys::Win32::{
    Foundation::{
        ERROR_BROKEN_PIPE, ERROR_HANDLE_EOF, FILETIME, GENERIC_READ, GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE,
    },
    Storage::FileSystem::*,
    System::{
        IO::{DeviceIoControl, OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0},
        Ioctl::{FILE_ZERO_DATA_INFORMATION, FSCTL_SET_SPARSE, FSCTL_SET_ZERO_DATA},
    },
};

use super::{
    CURRENT_POSITION, Call, Descriptor, FileTime, IoVec, PathPtr, Transfer, TransferMemory, copy::Copy, errno, io_vec,
    vectors,
};
use error::{checked, last_error};
pub(crate) use stat::{RawStat, raw_stat_zeroed};

mod error;
pub(crate) mod flags;
mod stat;

// Declared here: windows-sys has them only with its `Win32_Security` feature, for the type of a pointer that is always null
// here.
#[link(name = "kernel32")]
unsafe extern "system" {
    fn CreateFileW(
        name: *const u16,
        access: u32,
        share: u32,
        security: *const c_void,
        disposition: u32,
        attributes: u32,
        template: HANDLE,
    ) -> HANDLE;
    fn CreateDirectoryW(name: *const u16, security: *const c_void) -> i32;
    fn CreateHardLinkW(name: *const u16, existing: *const u16, security: *const c_void) -> i32;
}

const FALLOC_KEEP_SIZE: i32 = 0x01;
const FALLOC_PUNCH_HOLE: i32 = 0x02;
const FALLOC_ZERO_RANGE: i32 = 0x10;

/// The outcome of a try. On Windows every call is performed at once, so a call on a pipe can hold its thread.
pub(crate) enum Tried {
    /// The call is done: its result, or the negated errno.
    Done(i32),
}

/// The progress of a call that takes several tries. On Windows no call does.
#[derive(Default)]
pub(crate) struct Progress;

/// The same as [`perform`]; on other platforms it can refuse to wait.
///
/// # Safety
/// As for [`perform`].
pub(crate) unsafe fn try_perform(call: &Call, _progress: &mut Progress) -> Tried {
    // SAFETY: the caller's promise, passed on.
    Tried::Done(unsafe { perform(call) })
}

/// Performs one call and gives its result, or the negated errno.
///
/// # Safety
/// Every address in `call` is valid for what the call does with it, and no other thread touches what it writes to.
pub(crate) unsafe fn perform(call: &Call) -> i32 {
    // SAFETY: the caller's promise, passed on.
    match unsafe { try_call(call) } {
        Ok(result) => result,
        Err(error) => -error,
    }
}

/// # Safety
/// As for [`perform`].
unsafe fn try_call(call: &Call) -> Result<i32, i32> {
    match *call {
        Call::Nop | Call::Advise { .. } => Ok(0),
        Call::Read { .. } | Call::Write { .. } | Call::ReadVectored { .. } | Call::WriteVectored { .. } => {
            let Some(asked) = call.transfer() else { return Err(errno::EINVAL) };
            // SAFETY: the caller's promise, passed on.
            unsafe { transfer_all(asked) }
        }
        Call::WriteBuffered { twin, iov, count, offset } => {
            // SAFETY: the caller keeps the file that the twin belongs to.
            let twin = unsafe { &*twin };
            // SAFETY: the caller keeps the vectors and the memory that they name.
            bytes_or_error(unsafe { twin.write(iov, count, offset) })
        }
        Call::Sync { fd, .. } | Call::SyncRange { fd, .. } => {
            // SAFETY: the call takes a handle only.
            checked(unsafe { FlushFileBuffers(handle(fd)) })
        }
        Call::Close { fd } => {
            // SAFETY: the handle is the caller's to close.
            checked(unsafe { windows_sys::Win32::Foundation::CloseHandle(handle(fd)) })
        }
        Call::Stat { fd, path, follow, out } => {
            // SAFETY: the caller keeps the path readable.
            let raw = unsafe { stat::stat(fd, path, follow) }?;
            // SAFETY: the caller keeps `out` writable.
            unsafe { out.write(raw) };
            Ok(0)
        }
        Call::Truncate { fd, len } => set_size(fd, len),
        Call::Allocate { fd, mode, offset, len } => allocate(fd, mode, offset, len),
        Call::SetMode { fd, mode } => set_mode(fd, mode),
        Call::SetOwner { .. } => Err(errno::EOPNOTSUPP),
        Call::SetTimes { fd, times } => {
            // SAFETY: the caller's promise, passed on.
            let [accessed, modified] = unsafe { *times };
            set_times(fd, accessed, modified)
        }
        // SAFETY: the caller's promise, passed on.
        Call::ReadPath { path, buf, len } => unsafe { read_path(path, buf, len) },
        Call::CopyFileRange { from, from_offset, to, to_offset, len } => {
            bytes_or_error(Copy { from, from_offset, to, to_offset, len }.perform())
        }
        Call::Open { resolve: 1.., .. } => Err(errno::EOPNOTSUPP),
        Call::Open { path, flags, mode, resolve: 0 } => {
            // SAFETY: the caller keeps the path; the same holds for all calls below.
            let fd = unsafe { open(path, flags, mode) }?;
            // On Windows every handle fits 32 bits, because 32-bit processes can share it.
            i32::try_from(fd).map_err(|_| errno::EMFILE)
        }
        Call::Rename { flags: 1.., .. } => Err(errno::EINVAL),
        Call::Rename { from, to, flags: 0 } => {
            // SAFETY: as above.
            checked(unsafe { MoveFileExW(from, to, MOVEFILE_REPLACE_EXISTING) })
        }
        // SAFETY: as above.
        Call::RemoveFile { path } => checked(unsafe { DeleteFileW(path) }),
        // SAFETY: as above.
        Call::RemoveDir { path } => checked(unsafe { RemoveDirectoryW(path) }),
        // SAFETY: as above.
        Call::CreateDir { path, .. } => checked(unsafe { CreateDirectoryW(path, ptr::null()) }),
        // SAFETY: as above.
        Call::HardLink { from, to } => checked(unsafe { CreateHardLinkW(to, from, ptr::null()) }),
        // SAFETY: as above.
        Call::Symlink { target, link } => unsafe { symlink(target, link) },
    }
}

/// A result as [`perform`] gives it.
const fn bytes_or_error(result: i32) -> Result<i32, i32> {
    if result < 0 { Err(-result) } else { Ok(result) }
}

/// # Safety
/// The memory of the transfer can be read (`writes`) or written, and its vectors can be read.
unsafe fn transfer_all(asked: Transfer) -> Result<i32, i32> {
    let Transfer { fd, writes, memory, offset } = asked;
    match memory {
        TransferMemory::One { start, len } => {
            // SAFETY: the caller's promise.
            unsafe { transfer(fd, writes, &[io_vec(start, len as usize)], offset) }
        }
        TransferMemory::Many { iov, count } => {
            // SAFETY: the caller's promise.
            let pieces = unsafe { vectors(iov, count) };
            // SAFETY: as above.
            unsafe { transfer(fd, writes, pieces, offset) }
        }
    }
}

/// # Safety
/// Both paths are texts that end in a NUL.
unsafe fn symlink(target: PathPtr, link: PathPtr) -> Result<i32, i32> {
    // SAFETY: the caller's promise.
    let attributes = unsafe { GetFileAttributesW(target) };
    // The link must say now whether it will lead to a directory. A relative target is looked up from the current directory
    // here, and from the link's own directory later. Where the two differ, the link is one to a file.
    let is_directory = attributes != INVALID_FILE_ATTRIBUTES && attributes & FILE_ATTRIBUTE_DIRECTORY != 0;
    let kind = if is_directory { SYMBOLIC_LINK_FLAG_DIRECTORY } else { 0 };
    // SAFETY: the caller's promise.
    let made = unsafe { CreateSymbolicLinkW(link, target, kind | SYMBOLIC_LINK_FLAG_ALLOW_UNPRIVILEGED_CREATE) };
    checked(i32::from(made))
}

const fn handle(fd: Descriptor) -> HANDLE {
    ptr::without_provenance_mut(fd.cast_unsigned())
}

/// Reads or writes one piece after another, until one is short.
///
/// # Safety
/// Each piece can be read (`writes`) or written.
unsafe fn transfer(fd: Descriptor, writes: bool, pieces: &[IoVec], offset: u64) -> Result<i32, i32> {
    let before = if offset == CURRENT_POSITION { None } else { position(fd) };
    let mut done: u32 = 0;
    let mut result = Ok(());
    for piece in pieces {
        let (base, len) = (super::io_vec_base(piece), super::io_vec_len(piece));
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(super::BYTES_MAX - done);
        let at = if offset == CURRENT_POSITION { offset } else { offset.saturating_add(done.into()) };
        // SAFETY: `len` is no more than the piece has.
        match unsafe { transfer_piece(fd, writes, base, len, at) } {
            Ok(moved) => {
                done += moved;
                if moved < len {
                    break;
                }
            }
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    if let Some(before) = before {
        // A transfer with an OVERLAPPED moves the file's own position too; a positioned transfer must not. So the position is
        // set back. If two threads make both kinds of transfer on one handle at once, they can still see it move, as with
        // libuv.
        // SAFETY: the call takes numbers only.
        unsafe { SetFilePointerEx(handle(fd), before, ptr::null_mut(), FILE_BEGIN) };
    }
    match result {
        Err(error) if done == 0 => Err(error),
        _ => Ok(done.cast_signed()),
    }
}

/// The file's own position, if it has one.
fn position(fd: Descriptor) -> Option<i64> {
    let mut now = 0;
    // SAFETY: `now` is on this stack.
    let found = unsafe { SetFilePointerEx(handle(fd), 0, &raw mut now, FILE_CURRENT) };
    (found != 0).then_some(now)
}

/// # Safety
/// `len` bytes at `base` can be read (`writes`) or written.
unsafe fn transfer_piece(fd: Descriptor, writes: bool, base: *mut u8, len: u32, offset: u64) -> Result<u32, i32> {
    let parts = OVERLAPPED_0_0 { Offset: offset as u32, OffsetHigh: (offset >> 32) as u32 };
    let mut positioned = OVERLAPPED { Anonymous: OVERLAPPED_0 { Anonymous: parts }, ..OVERLAPPED::default() };
    let overlapped = if offset == CURRENT_POSITION { ptr::null_mut() } else { &raw mut positioned };
    let mut moved = 0;
    let ok = if writes {
        // SAFETY: the caller's promise. The handle is synchronous, so Windows uses `positioned` and `moved` only until the call
        // returns.
        unsafe { WriteFile(handle(fd), base, len, &raw mut moved, overlapped) }
    } else {
        // SAFETY: as above.
        unsafe { ReadFile(handle(fd), base, len, &raw mut moved, overlapped) }
    };
    if ok != 0 {
        return Ok(moved);
    }
    match last_error() {
        ERROR_HANDLE_EOF | ERROR_BROKEN_PIPE if !writes => Ok(0),
        code => Err(error::to_errno(code)),
    }
}

/// # Safety
/// `path` is a text that ends in a NUL.
unsafe fn open(path: PathPtr, asked: i32, mode: u32) -> Result<Descriptor, i32> {
    let mut access = match asked & flags::ACCESS_MASK {
        flags::O_RDONLY => GENERIC_READ,
        flags::O_WRONLY => GENERIC_WRITE,
        flags::O_RDWR => GENERIC_READ | GENERIC_WRITE,
        _ => return Err(errno::EINVAL),
    };
    let has = |flag: i32| asked & flag != 0;
    if has(flags::O_APPEND) {
        // With the right to append but not to write, every write goes to the end, whatever its offset.
        access = (access & GENERIC_READ) | (FILE_GENERIC_WRITE & !FILE_WRITE_DATA) | FILE_APPEND_DATA;
    }
    let disposition = match (has(flags::O_CREAT), has(flags::O_EXCL), has(flags::O_TRUNC)) {
        (true, true, _) => CREATE_NEW,
        (true, false, true) => CREATE_ALWAYS,
        (true, false, false) => OPEN_ALWAYS,
        (false, _, true) => TRUNCATE_EXISTING,
        (false, _, false) => OPEN_EXISTING,
    };
    // Without BACKUP_SEMANTICS a directory cannot be opened. A file that is created without the owner's write permission is
    // read-only.
    let read_only = has(flags::O_CREAT) && mode & 0o200 == 0;
    let mut attributes = FILE_FLAG_BACKUP_SEMANTICS;
    attributes |= if read_only { FILE_ATTRIBUTE_READONLY } else { FILE_ATTRIBUTE_NORMAL };
    for (flag, attribute) in [
        (flags::O_DIRECT, FILE_FLAG_NO_BUFFERING),
        (flags::O_DSYNC, FILE_FLAG_WRITE_THROUGH),
        (flags::O_SYNC, FILE_FLAG_WRITE_THROUGH),
        (flags::O_RANDOM, FILE_FLAG_RANDOM_ACCESS),
        (flags::O_SEQUENTIAL, FILE_FLAG_SEQUENTIAL_SCAN),
    ] {
        if has(flag) {
            attributes |= attribute;
        }
    }
    // SAFETY: the caller keeps the path.
    unsafe { create_file(path, access, disposition, attributes) }
}

/// Calls `CreateFileW` with all kinds of sharing, as in POSIX: others can rename and delete the open file.
///
/// # Safety
/// `path` is a text that ends in a NUL.
unsafe fn create_file(path: PathPtr, access: u32, disposition: u32, attributes: u32) -> Result<Descriptor, i32> {
    let share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    // SAFETY: the caller keeps the path; the other addresses may be null.
    let opened = unsafe { CreateFileW(path, access, share, ptr::null(), disposition, attributes, ptr::null_mut()) };
    if opened == INVALID_HANDLE_VALUE {
        return Err(error::to_errno(last_error()));
    }
    Ok(opened.addr().cast_signed())
}

/// # Safety
/// `path` is a text that ends in a NUL, and `len` bytes at `buf` can be written.
unsafe fn read_path(path: PathPtr, buf: *mut u8, len: u32) -> Result<i32, i32> {
    // SAFETY: the caller's promise.
    let fd = unsafe { open(path, flags::O_RDONLY, 0) }?;
    let mut done = 0;
    let result = loop {
        if done == len {
            break Ok(done.cast_signed());
        }
        // SAFETY: `done` is less than `len`, so the address is within the caller's bytes.
        let at = unsafe { buf.add(done as usize) };
        // SAFETY: from there on, the caller's memory has `len - done` bytes.
        match unsafe { transfer_piece(fd, false, at, len - done, CURRENT_POSITION) } {
            Ok(0) => break Ok(done.cast_signed()),
            Ok(read) => done += read,
            Err(error) => break Err(error),
        }
    };
    // SAFETY: it was opened above, and nobody else has it.
    unsafe { windows_sys::Win32::Foundation::CloseHandle(handle(fd)) };
    result
}

fn set_size(fd: Descriptor, len: u64) -> Result<i32, i32> {
    let info = FILE_END_OF_FILE_INFO { EndOfFile: i64::try_from(len).map_err(|_| errno::EFBIG)? };
    set_information(fd, FileEndOfFileInfo, &info)
}

/// # Errors
/// `EOPNOTSUPP` for a mode that reserves space and keeps the size. Windows's call that reserves space can also cut the file, and
/// so could remove bytes that another thread appends at the same moment.
fn allocate(fd: Descriptor, mode: i32, offset: u64, len: u64) -> Result<i32, i32> {
    const PUNCH: i32 = FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE;
    const ZERO_INSIDE: i32 = FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE;
    if len == 0 {
        return Err(errno::EINVAL);
    }
    let end = offset.checked_add(len).ok_or(errno::EFBIG)?;
    match mode {
        0 => grow(fd, end),
        PUNCH => {
            control(fd, FSCTL_SET_SPARSE, &())?;
            zero(fd, offset, end)
        }
        ZERO_INSIDE => zero(fd, offset, end),
        FALLOC_ZERO_RANGE => {
            zero(fd, offset, end)?;
            grow(fd, end)
        }
        _ => Err(errno::EOPNOTSUPP),
    }
}

fn grow(fd: Descriptor, end: u64) -> Result<i32, i32> {
    let mut size = 0;
    // SAFETY: `size` is on this stack.
    checked(unsafe { GetFileSizeEx(handle(fd), &raw mut size) })?;
    if size.cast_unsigned() >= end { Ok(0) } else { set_size(fd, end) }
}

fn zero(fd: Descriptor, offset: u64, end: u64) -> Result<i32, i32> {
    let fits = |number: u64| i64::try_from(number).map_err(|_| errno::EFBIG);
    let range = FILE_ZERO_DATA_INFORMATION { FileOffset: fits(offset)?, BeyondFinalZero: fits(end)? };
    control(fd, FSCTL_SET_ZERO_DATA, &range)
}

fn control<T>(fd: Descriptor, code: u32, input: &T) -> Result<i32, i32> {
    let mut answered = 0;
    let size = size_of::<T>() as u32;
    let input: *const c_void = if size == 0 { ptr::null() } else { ptr::from_ref(input).cast() };
    // SAFETY: Windows only reads `input`, up to its own size, and gets no output buffer.
    checked(unsafe {
        DeviceIoControl(handle(fd), code, input, size, ptr::null_mut(), 0, &raw mut answered, ptr::null_mut())
    })
}

fn set_information<T>(fd: Descriptor, class: FILE_INFO_BY_HANDLE_CLASS, info: &T) -> Result<i32, i32> {
    let size = size_of::<T>() as u32;
    // SAFETY: Windows only reads `info`, up to its own size.
    checked(unsafe { SetFileInformationByHandle(handle(fd), class, ptr::from_ref(info).cast(), size) })
}

/// Sets the one permission that Windows has: a file is read-only or not.
fn set_mode(fd: Descriptor, mode: u32) -> Result<i32, i32> {
    let mut info = stat::basic(fd)?;
    let attributes = if mode & 0o200 == 0 {
        info.FileAttributes | FILE_ATTRIBUTE_READONLY
    } else {
        info.FileAttributes & !FILE_ATTRIBUTE_READONLY
    };
    // Zero would leave the attributes as they are.
    info.FileAttributes = if attributes == 0 { FILE_ATTRIBUTE_NORMAL } else { attributes };
    // Zero leaves the times as they are.
    (info.CreationTime, info.LastAccessTime, info.LastWriteTime, info.ChangeTime) = (0, 0, 0, 0);
    set_information(fd, FileBasicInfo, &info)
}

fn set_times(fd: Descriptor, accessed: FileTime, modified: FileTime) -> Result<i32, i32> {
    let ticks = |time: FileTime| -> Result<FILETIME, i32> {
        let ticks = stat::to_ticks(time).ok_or(errno::EINVAL)?;
        Ok(FILETIME { dwLowDateTime: ticks as u32, dwHighDateTime: (ticks >> 32) as u32 })
    };
    let (accessed, modified) = (ticks(accessed)?, ticks(modified)?);
    // SAFETY: Windows only reads both times.
    checked(unsafe { SetFileTime(handle(fd), ptr::null(), &raw const accessed, &raw const modified) })
}
