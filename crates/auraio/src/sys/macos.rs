//! The calls that differ on macOS from Linux, under the same names as in `linux.rs`, and replacements for calls that macOS
//! does not have.
//!
//! macOS's `fsync` only hands the data to the drive, which may keep it in its cache. Here a sync means that the data is on the
//! medium, as on Linux, so it uses `F_FULLFSYNC`.
#![expect(unsafe_code, reason = "stat and fcntl, which rustix has not in the form needed")]

use std::{
    ffi::CStr,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    io::{Errno, Result},
};

use super::{Descriptor, PathPtr, unix::outcome};

const KEEP_SIZE: i32 = 0x01;
const PUNCH_HOLE: i32 = 0x02;

/// The structure that a `stat` fills in.
pub(crate) type RawStat = libc::stat;

/// A structure for the kernel to fill in.
pub(crate) fn raw_stat_zeroed() -> RawStat {
    // SAFETY: the structure has numbers only, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// # Safety
/// `path` is null or a text that ends in a NUL, and `out` can be written.
pub(super) unsafe fn stat(fd: Descriptor, path: PathPtr, follow: bool, out: *mut RawStat) -> i32 {
    let answer = match (path.is_null(), follow) {
        // SAFETY: the caller keeps `out` writable; for the next two calls also the path readable.
        (true, _) => unsafe { libc::fstat(fd, out) },
        // SAFETY: as above.
        (false, true) => unsafe { libc::stat(path, out) },
        // SAFETY: as above.
        (false, false) => unsafe { libc::lstat(path, out) },
    };
    outcome(answer as isize)
}

pub(super) fn open_resolved(_: &CStr, _: OFlags, _: Mode, _: u64) -> Result<OwnedFd> {
    Err(Errno::OPNOTSUPP)
}

pub(super) fn rename(from: &CStr, to: &CStr, flags: u32) -> Result<()> {
    if flags != 0 {
        return Err(Errno::INVAL);
    }
    rustix::fs::renameat(CWD, from, CWD, to)
}

pub(super) fn sync(fd: BorrowedFd<'_>, _data_only: bool) -> Result<()> {
    match rustix::fs::fcntl_fullfsync(fd) {
        // These errors say that the file system has no full sync (SMB, NFS, some FUSE), so a plain one must do. Any other
        // error is reported: a plain fsync after a full one that failed could succeed and hide the error.
        Err(Errno::NOTSUP | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY | Errno::NODEV) => rustix::fs::fsync(fd),
        result => result,
    }
}

/// macOS cannot sync a part of a file, so this syncs all of it.
pub(super) fn sync_range(fd: BorrowedFd<'_>, _offset: u64, _len: u64, _flags: u32) -> Result<()> {
    sync(fd, true)
}

pub(super) fn advise(fd: BorrowedFd<'_>, offset: u64, len: u64, advice: i32) -> Result<()> {
    const WILL_NEED: i32 = 3;
    if advice != WILL_NEED {
        return Ok(());
    }
    let len = if len == 0 { u64::from(i32::MAX.cast_unsigned()) } else { len };
    match rustix::fs::fcntl_rdadvise(fd, offset, len) {
        Err(Errno::BADF) => Err(Errno::BADF),
        // It is no failure if the kernel cannot follow the advice.
        _ => Ok(()),
    }
}

pub(super) fn allocate(fd: BorrowedFd<'_>, mode: i32, offset: u64, len: u64) -> Result<()> {
    let end = offset.checked_add(len).filter(|end| i64::try_from(*end).is_ok()).ok_or(Errno::FBIG)?;
    if len == 0 {
        return Err(Errno::INVAL);
    }
    match mode {
        0 => {
            preallocate(fd, end)?;
            // If another thread grows the file between these two calls, the second one cuts it. macOS has no call that can
            // only grow a file.
            if size(fd)? < end { rustix::fs::ftruncate(fd, end) } else { Ok(()) }
        }
        KEEP_SIZE => preallocate(fd, end),
        PUNCH => punch(fd, offset, end),
        _ => Err(Errno::OPNOTSUPP),
    }
}

const PUNCH: i32 = PUNCH_HOLE | KEEP_SIZE;

fn size(fd: BorrowedFd<'_>) -> Result<u64> {
    Ok(rustix::fs::fstat(fd)?.st_size.cast_unsigned())
}

/// Reserves space up to `end`, if the file has less.
fn preallocate(fd: BorrowedFd<'_>, end: u64) -> Result<()> {
    let has = rustix::fs::fstat(fd)?.st_blocks.cast_unsigned() * 512;
    if has >= end {
        return Ok(());
    }
    let mut store = libc::fstore_t {
        fst_flags: libc::F_ALLOCATEALL,
        fst_posmode: libc::F_PEOFPOSMODE,
        fst_offset: 0,
        fst_length: (end - has).cast_signed(),
        fst_bytesalloc: 0,
    };
    // SAFETY: `store` is the structure of F_PREALLOCATE, and outlives the call.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_PREALLOCATE, &raw mut store) })
}

/// Makes a hole. `F_PUNCHHOLE` takes whole blocks only, so this writes zeros to the parts of blocks at both ends, as Linux does.
fn punch(fd: BorrowedFd<'_>, offset: u64, end: u64) -> Result<()> {
    let stat = rustix::fs::fstat(fd)?;
    let block = u64::try_from(stat.st_blksize).unwrap_or(4096).max(512);
    let end = end.min(stat.st_size.cast_unsigned());
    if offset >= end {
        return Ok(());
    }
    let (first, last) = (offset.next_multiple_of(block), end / block * block);
    if first >= last {
        return write_zeros(fd, offset, end);
    }
    write_zeros(fd, offset, first)?;
    write_zeros(fd, last, end)?;
    let hole = libc::fpunchhole_t {
        fp_flags: 0,
        reserved: 0,
        fp_offset: first.cast_signed(),
        fp_length: (last - first).cast_signed(),
    };
    // SAFETY: `hole` is the structure of F_PUNCHHOLE, and outlives the call.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_PUNCHHOLE, &raw const hole) })
}

fn write_zeros(fd: BorrowedFd<'_>, mut from: u64, to: u64) -> Result<()> {
    const ZEROS: [u8; 4096] = [0; 4096];
    while from < to {
        let len = usize::try_from(to - from).unwrap_or(usize::MAX).min(ZEROS.len());
        from += rustix::io::pwrite(fd, &ZEROS[..len], from)? as u64;
    }
    Ok(())
}

fn checked(answer: i32) -> Result<()> {
    let result = outcome(answer as isize);
    if result < 0 { Err(Errno::from_raw_os_error(-result)) } else { Ok(()) }
}
