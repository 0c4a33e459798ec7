//! Performs a [`Call`] on the calling thread, where Linux and macOS work alike. The calls that differ are in `linux.rs` and
//! `macos.rs`, under the same names.
//!
//! rustix makes the calls that take no memory. Calls that take memory get its bare address: a `&mut [u8]` would promise the
//! compiler that nothing else reaches the buffer, but JavaScript can.
#![expect(unsafe_code, reason = "system calls on memory that the caller keeps alive")]

use std::{
    ffi::CStr,
    os::fd::{BorrowedFd, IntoRawFd, OwnedFd},
};

#[cfg(not(target_os = "linux"))]
use libc::{pread, preadv, pwrite, pwritev};
#[cfg(target_os = "linux")]
use libc::{pread64 as pread, preadv64 as preadv, pwrite64 as pwrite, pwritev64 as pwritev};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

#[cfg(target_os = "linux")]
use super::linux as platform;
#[cfg(not(target_os = "linux"))]
use super::macos as platform;
use super::{
    CURRENT_POSITION, Call, Descriptor, FileTime, PathPtr, Transfer, TransferMemory, copy::Copy, errno, transfer_offset,
};

/// Performs one call and gives its result, or the negated errno.
///
/// If a signal interrupts a call, it is made again here. Opens, and transfers without an offset, can block without end, so
/// they answer `-EINTR` instead. A transfer at an offset on a file that cannot seek is repeated without its offset, as
/// `io_uring` does with a pipe.
///
/// # Safety
/// Every address in `call` is valid for what the call does with it, and no other thread touches what it writes to.
pub(crate) unsafe fn perform(call: &Call) -> i32 {
    // SAFETY: the caller's promise, passed on.
    let result = unsafe { perform_as_asked(call) };
    if result == -errno::ESPIPE && transfer_offset(call).is_some() {
        // SAFETY: the same call with the same addresses.
        return unsafe { perform_as_asked(&call.at_offset(CURRENT_POSITION)) };
    }
    result
}

/// As [`perform`], but a positioned transfer on a pipe is not made again, and answers `-ESPIPE`.
///
/// # Safety
/// As for [`perform`].
pub(super) unsafe fn perform_as_asked(call: &Call) -> i32 {
    // SAFETY: every path of a call is a text that ends in a NUL, which the caller keeps until the call is done.
    let text = |path: PathPtr| unsafe { CStr::from_ptr(path) };
    match *call {
        Call::Nop => 0,
        Call::Read { .. } | Call::Write { .. } | Call::ReadVectored { .. } | Call::WriteVectored { .. } => {
            let Some(asked) = call.transfer() else { return -errno::EINVAL };
            // SAFETY: the caller's promise, passed on.
            unsafe { transfer(asked) }
        }
        Call::WriteBuffered { twin, iov, count, offset } => {
            // SAFETY: the caller keeps the file that the twin belongs to.
            let twin = unsafe { &*twin };
            // SAFETY: the caller keeps the vectors and the memory that they name.
            unsafe { twin.write(iov, count, offset) }
        }
        Call::Open { path, flags, mode, resolve } => match open(text(path), flags, mode, resolve) {
            Ok(file) => file.into_raw_fd(),
            Err(error) => -error,
        },
        Call::Rename { from, to, flags } => answer(|| platform::rename(text(from), text(to), flags)),
        Call::RemoveFile { path } => answer(|| rustix::fs::unlinkat(CWD, text(path), AtFlags::empty())),
        Call::RemoveDir { path } => answer(|| rustix::fs::unlinkat(CWD, text(path), AtFlags::REMOVEDIR)),
        Call::CreateDir { path, mode } => answer(|| rustix::fs::mkdirat(CWD, text(path), mode_bits(mode))),
        Call::HardLink { from, to } => answer(|| rustix::fs::linkat(CWD, text(from), CWD, text(to), AtFlags::empty())),
        Call::Symlink { target, link } => answer(|| rustix::fs::symlinkat(text(target), CWD, text(link))),
        Call::CopyFileRange { from, from_offset, to, to_offset, len } => {
            Copy { from, from_offset, to, to_offset, len }.perform()
        }
        Call::ReadPath { path, buf, len } => {
            // SAFETY: the caller's promise, passed on.
            unsafe { read_path(path, buf, len) }
        }
        Call::Stat { fd, path, follow, out } => {
            // SAFETY: the caller keeps the path readable and `out` writable.
            retried(|| unsafe { platform::stat(fd, path, follow, out) })
        }
        Call::Sync { fd, data_only } => on(fd, |fd| platform::sync(fd, data_only)),
        Call::SyncRange { fd, offset, len, flags } => on(fd, |fd| platform::sync_range(fd, offset, len, flags)),
        Call::Allocate { fd, mode, offset, len } => on(fd, |fd| platform::allocate(fd, mode, offset, len)),
        Call::Advise { fd, offset, len, advice } => on(fd, |fd| platform::advise(fd, offset, len, advice)),
        Call::Truncate { fd, len } => on(fd, |fd| rustix::fs::ftruncate(fd, len)),
        Call::SetMode { fd, mode } => on(fd, |fd| rustix::fs::fchmod(fd, mode_bits(mode))),
        Call::SetOwner { fd, uid, gid } => on(fd, |fd| {
            let uid = (uid != u32::MAX).then(|| Uid::from_raw(uid));
            let gid = (gid != u32::MAX).then(|| Gid::from_raw(gid));
            rustix::fs::fchown(fd, uid, gid)
        }),
        Call::SetTimes { fd, times } => on(fd, |fd| {
            // SAFETY: the caller's promise, passed on.
            let [accessed, modified] = unsafe { *times };
            let times = Timestamps { last_access: timespec(accessed), last_modification: timespec(modified) };
            rustix::fs::futimens(fd, &times)
        }),
        // SAFETY: the descriptor is the caller's to close; one that is not open answers `EBADF`.
        Call::Close { fd } => match outcome(unsafe { libc::close(fd) } as isize) {
            // The descriptor is closed even so. A second close could close a file that another thread has just opened.
            interrupted if interrupted == -errno::EINTR => 0,
            result => result,
        },
    }
}

/// Reads and writes.
///
/// # Safety
/// As for [`perform`].
unsafe fn transfer(asked: Transfer) -> i32 {
    let Transfer { fd, writes, memory, offset } = asked;
    let own = offset == CURRENT_POSITION;
    // An offset past `i64::MAX` turns negative, which the kernel answers with `EINVAL`.
    let at = offset.cast_signed();
    let count_of = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let once = || {
        outcome(match (memory, writes, own) {
            // SAFETY: the caller keeps `len` bytes at `start` writable. So for the next.
            (TransferMemory::One { start, len }, false, true) => unsafe { libc::read(fd, start.cast(), len as usize) },
            // SAFETY: as above.
            (TransferMemory::One { start, len }, false, false) => unsafe { pread(fd, start.cast(), len as usize, at) },
            // SAFETY: the caller keeps `len` bytes at `start` readable. So for the next.
            (TransferMemory::One { start, len }, true, true) => unsafe { libc::write(fd, start.cast(), len as usize) },
            // SAFETY: as above.
            (TransferMemory::One { start, len }, true, false) => unsafe { pwrite(fd, start.cast(), len as usize, at) },
            // SAFETY: the caller keeps `count` vectors at `iov`, and the memory that they name. So for the next three.
            (TransferMemory::Many { iov, count }, false, true) => unsafe { libc::readv(fd, iov, count_of(count)) },
            // SAFETY: as above.
            (TransferMemory::Many { iov, count }, false, false) => unsafe { preadv(fd, iov, count_of(count), at) },
            // SAFETY: as above.
            (TransferMemory::Many { iov, count }, true, true) => unsafe { libc::writev(fd, iov, count_of(count)) },
            // SAFETY: as above.
            (TransferMemory::Many { iov, count }, true, false) => unsafe { pwritev(fd, iov, count_of(count), at) },
        })
    };
    if own { once() } else { retried(once) }
}

/// Opens with `O_CLOEXEC`. The error is a positive errno, and may be `EINTR`.
pub(super) fn open(path: &CStr, flags: i32, mode: u32, resolve: u64) -> Result<OwnedFd, i32> {
    let flags = OFlags::from_bits_retain(flags as _) | OFlags::CLOEXEC;
    let opened = if resolve == 0 {
        rustix::fs::openat(CWD, path, flags, mode_bits(mode))
    } else {
        platform::open_resolved(path, flags, mode_bits(mode), resolve)
    };
    opened.map_err(rustix::io::Errno::raw_os_error)
}

/// Opens a file, reads `len` bytes or up to the end, and closes it.
///
/// # Safety
/// `path` is a text that ends in a NUL, and `len` bytes at `buf` can be written.
unsafe fn read_path(path: PathPtr, buf: *mut u8, len: u32) -> i32 {
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) };
    let file = match open(path, libc::O_RDONLY, 0, 0) {
        Ok(file) => file,
        Err(error) => return -error,
    };
    let mut done = 0;
    while done < len {
        // SAFETY: `done` is less than `len`, so the address is within the caller's bytes.
        let at = unsafe { buf.add(done as usize) };
        // SAFETY: from there on, the caller's memory has `len - done` bytes.
        let result = retried(|| unsafe { read_some(&file, at, len - done) });
        match u32::try_from(result) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(_) => return result,
        }
    }
    done as i32
}

/// One read at the file's own position.
///
/// # Safety
/// `len` bytes at `buf` can be written.
pub(super) unsafe fn read_some(file: &OwnedFd, buf: *mut u8, len: u32) -> i32 {
    use std::os::fd::AsRawFd;
    // SAFETY: the caller's promise; the descriptor is open for as long as it is borrowed.
    outcome(unsafe { libc::read(file.as_raw_fd(), buf.cast(), len as usize) })
}

/// Makes a call on a descriptor, and makes it again if a signal interrupted it.
fn on(fd: Descriptor, call: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<()>) -> i32 {
    match lend(fd) {
        Some(fd) => answer(|| call(fd)),
        None => -errno::EBADF,
    }
}

/// The descriptor in rustix's form; `None` for a negative number, which no file has.
pub(super) fn lend<'a>(fd: Descriptor) -> Option<BorrowedFd<'a>> {
    // SAFETY: it is not -1 (checked). It is used for single system calls only, which answer `EBADF` if it is not open. By the
    // contract of `perform` it stays open, and names the same file, while they run.
    (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
}

fn answer(call: impl Fn() -> rustix::io::Result<()>) -> i32 {
    match rustix::io::retry_on_intr(call) {
        Ok(()) => 0,
        Err(error) => -error.raw_os_error(),
    }
}

/// Turns the answer of a bare system call into a result of the core. Call it before another call can set errno.
pub(super) fn outcome(answer: isize) -> i32 {
    if answer >= 0 {
        // No call moves more than `BYTES_MAX`, and descriptors are `i32`.
        return i32::try_from(answer).unwrap_or(i32::MAX);
    }
    -std::io::Error::last_os_error().raw_os_error().unwrap_or(errno::EIO)
}

fn retried(call: impl Fn() -> i32) -> i32 {
    loop {
        let result = call();
        if result != -errno::EINTR {
            return result;
        }
    }
}

fn mode_bits(mode: u32) -> Mode {
    Mode::from_bits_retain((mode & 0o7777) as _)
}

fn timespec(time: FileTime) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.into() }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::fd::AsRawFd,
    };

    use super::*;
    use crate::sys::NO_DESCRIPTOR;

    fn performed(call: &Call) -> i32 {
        // SAFETY: each test's buffers outlive the call.
        unsafe { perform(call) }
    }

    #[test]
    fn a_transfer_on_a_pipe_ignores_its_offset() {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"abc").unwrap();
        let mut buf = [0_u8; 8];
        let read = Call::Read { fd: reader.as_raw_fd(), buf: buf.as_mut_ptr(), len: 8, offset: 100 };
        // SAFETY: as in `performed`.
        assert_eq!(unsafe { perform_as_asked(&read) }, -errno::ESPIPE);
        assert_eq!(performed(&read), 3);
        assert_eq!(&buf[..3], b"abc");
        let write = Call::Write { fd: writer.as_raw_fd(), buf: b"xy".as_ptr(), len: 2, offset: 100 };
        assert_eq!(performed(&write), 2);
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "xy");
    }

    #[test]
    fn a_transfer_without_an_offset_moves_the_files_position_and_one_with_an_offset_does_not() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let fd = file.as_raw_fd();
        let mut buf = [0_u8; 4];
        let mut read = |offset| {
            let result = performed(&Call::Read { fd, buf: buf.as_mut_ptr(), len: 4, offset });
            (result, buf)
        };
        assert_eq!(read(CURRENT_POSITION).0, 0);
        assert_eq!(read(2), (4, *b"2345"));
        assert_eq!(read(CURRENT_POSITION).0, 0);
        assert_eq!(read(1 << 40).0, 0);
        assert_eq!(read(u64::MAX - 1).0, -errno::EINVAL);
    }

    #[test]
    fn calls_on_a_descriptor_of_no_file_answer_ebadf() {
        let fd = NO_DESCRIPTOR;
        let mut buf = [0_u8; 1];
        let times = [FileTime { seconds: 0, nanos: 0 }; 2];
        for call in [
            Call::Read { fd, buf: buf.as_mut_ptr(), len: 1, offset: 0 },
            Call::Truncate { fd, len: 0 },
            Call::Allocate { fd, mode: 0, offset: 0, len: 1 },
            Call::Advise { fd, offset: 0, len: 0, advice: 3 },
            Call::SyncRange { fd, offset: 0, len: 0, flags: 2 },
            Call::SetMode { fd, mode: 0 },
            Call::SetOwner { fd, uid: 0, gid: 0 },
            Call::SetTimes { fd, times: &raw const times },
            Call::Close { fd },
        ] {
            assert_eq!(performed(&call), -errno::EBADF, "{}", call.name());
        }
    }
}
