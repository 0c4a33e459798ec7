//! The calls that only Linux has, or that differ on Linux from macOS; `macos.rs` has the same names.
#![expect(unsafe_code, reason = "statx and sync_file_range, which rustix has not in the form needed")]

use std::{
    ffi::CStr,
    num::NonZeroU64,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{Advice, CWD, FallocateFlags, Mode, OFlags, RenameFlags, ResolveFlags},
    io::{Errno, Result},
};

use super::{
    Descriptor, PathPtr,
    copy::Copy,
    errno,
    unix::{lend, outcome},
};

/// The structure that a `stat` fills in.
pub(crate) type RawStat = libc::statx;

/// The fields that statx is asked for: all that `Metadata` has. An older kernel leaves out fields that it does not know (the
/// mount id came with 5.8, the alignment for direct I/O with 6.1).
pub(crate) const STATX_MASK: u32 =
    libc::STATX_BASIC_STATS | libc::STATX_BTIME | libc::STATX_MNT_ID | libc::STATX_DIOALIGN;

/// The flags with which statx answers like `stat`, `lstat` or `fstat`. For an open file, pass the path `""`.
pub(crate) const fn statx_flags(by_path: bool, follow: bool) -> i32 {
    // `stat` does not trigger an automounter either.
    let base = libc::AT_STATX_SYNC_AS_STAT | libc::AT_NO_AUTOMOUNT;
    match (by_path, follow) {
        (false, _) => base | libc::AT_EMPTY_PATH,
        (true, true) => base,
        (true, false) => base | libc::AT_SYMLINK_NOFOLLOW,
    }
}

/// A structure for the kernel to fill in.
pub(crate) fn raw_stat_zeroed() -> RawStat {
    // SAFETY: the structure has numbers only, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// # Safety
/// `path` is null or a text that ends in a NUL, and `out` can be written.
pub(super) unsafe fn stat(fd: Descriptor, path: PathPtr, follow: bool, out: *mut RawStat) -> i32 {
    let flags = statx_flags(!path.is_null(), follow);
    let (directory, path) = if path.is_null() { (fd, c"".as_ptr()) } else { (libc::AT_FDCWD, path) };
    // SAFETY: the caller's promise.
    unsafe { statx(directory, path, flags, STATX_MASK, out) }
}

/// `statx` by its system call number: glibc has a wrapper only since 2.28, and the binary must load with an older one.
///
/// # Safety
/// `path` is a text that ends in a NUL, and `out` can be written.
unsafe fn statx(fd: Descriptor, path: PathPtr, flags: i32, mask: u32, out: *mut RawStat) -> i32 {
    // SAFETY: the caller's promise.
    outcome(unsafe { libc::syscall(libc::SYS_statx, fd, path, flags, mask, out) } as isize)
}

/// The metadata of an open file that the kernel has without asking a server. It never waits for FUSE or NFS.
pub(super) fn stat_without_sync(fd: Descriptor) -> std::result::Result<RawStat, i32> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    let mut out = raw_stat_zeroed();
    // SAFETY: the path is a literal that ends in a NUL, and `out` is on this stack.
    let result = unsafe { statx(fd, c"".as_ptr(), flags, STATX_MASK, &raw mut out) };
    if result < 0 { Err(-result) } else { Ok(out) }
}

/// The most bytes that this process may lock, pin or register with the kernel, if there is a limit (RLIMIT_MEMLOCK, which
/// CAP_IPC_LOCK lifts).
pub(crate) fn locked_memory_max() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current?;
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::IPC_LOCK));
    (!capable).then_some(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The most descriptors that this process may have open.
pub(crate) fn descriptors_max() -> u32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX))
}

pub(super) fn open_resolved(path: &CStr, flags: OFlags, mode: Mode, resolve: u64) -> Result<OwnedFd> {
    // openat2 refuses a mode if no file can be created; openat ignores it. O_TMPFILE includes the bit of O_DIRECTORY, so
    // `contains` must compare all its bits.
    let creates = flags.contains(OFlags::CREATE) || flags.contains(OFlags::TMPFILE);
    let mode = if creates { mode } else { Mode::empty() };
    rustix::fs::openat2(CWD, path, flags, mode, ResolveFlags::from_bits_retain(resolve))
}

pub(super) fn rename(from: &CStr, to: &CStr, flags: u32) -> Result<()> {
    if flags == 0 {
        return rustix::fs::renameat(CWD, from, CWD, to);
    }
    rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::from_bits_retain(flags))
}

pub(super) fn sync(fd: BorrowedFd<'_>, data_only: bool) -> Result<()> {
    if data_only { rustix::fs::fdatasync(fd) } else { rustix::fs::fsync(fd) }
}

pub(super) fn sync_range(fd: BorrowedFd<'_>, offset: u64, len: u64, flags: u32) -> Result<()> {
    // SAFETY: the call takes numbers only. A number that does not fit `i64` becomes negative, and the call answers `EINVAL`.
    let result = outcome(unsafe { libc::sync_file_range(fd.as_raw_fd(), offset as _, len as _, flags) } as isize);
    if result < 0 { Err(Errno::from_raw_os_error(-result)) } else { Ok(()) }
}

pub(super) fn allocate(fd: BorrowedFd<'_>, mode: i32, offset: u64, len: u64) -> Result<()> {
    rustix::fs::fallocate(fd, FallocateFlags::from_bits_retain(mode.cast_unsigned()), offset, len)
}

/// A copy inside the kernel; the answer is the bytes that were copied, or the negated errno.
pub(super) fn copy_file_range(copy: &Copy) -> i32 {
    let (Some(from), Some(to)) = (lend(copy.from), lend(copy.to)) else { return -errno::EBADF };
    let once = || {
        let (mut from_offset, mut to_offset) = (copy.from_offset, copy.to_offset);
        rustix::fs::copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), copy.len as usize)
    };
    match rustix::io::retry_on_intr(once) {
        Ok(copied) => i32::try_from(copied).unwrap_or(i32::MAX),
        Err(error) => -error.raw_os_error(),
    }
}

pub(super) fn advise(fd: BorrowedFd<'_>, offset: u64, len: u64, advice: i32) -> Result<()> {
    let advice = match advice {
        0 => Advice::Normal,
        1 => Advice::Random,
        2 => Advice::Sequential,
        3 => Advice::WillNeed,
        4 => Advice::DontNeed,
        5 => Advice::NoReuse,
        _ => return Err(Errno::INVAL),
    };
    rustix::fs::fadvise(fd, offset, NonZeroU64::new(len), advice)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        os::unix::fs::MetadataExt,
        path::Path,
    };

    use super::*;
    use crate::sys::{Call, Metadata, NO_DESCRIPTOR, SysPath, errno, perform};

    fn performed(call: &Call) -> i32 {
        // SAFETY: each test's paths and structures outlive the call.
        unsafe { perform(call) }
    }

    #[test]
    fn a_stat_agrees_with_the_standard_library() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        for path in [directory.path(), &link, Path::new("/dev/null"), Path::new("/proc/self/status")] {
            let text = SysPath::new(path).unwrap();
            let mut raw = raw_stat_zeroed();
            let call = Call::Stat { fd: NO_DESCRIPTOR, path: text.as_ptr(), follow: false, out: &raw mut raw };
            assert_eq!(performed(&call), 0);
            let (ours, theirs) = (Metadata::from_raw(&raw), fs::symlink_metadata(path).unwrap());
            assert_eq!((ours.dev(), ours.ino(), ours.rdev()), (theirs.dev(), theirs.ino(), theirs.rdev()), "{path:?}");
            assert_eq!((ours.mode(), ours.nlink(), ours.len()), (theirs.mode(), theirs.nlink(), theirs.len()));
            assert_eq!((ours.uid(), ours.gid(), ours.blocks()), (theirs.uid(), theirs.gid(), theirs.blocks()));
            assert_eq!(u64::from(ours.block_size()), theirs.blksize());
            assert_eq!((ours.is_dir(), ours.is_symlink()), (theirs.is_dir(), theirs.is_symlink()));
            assert_eq!((ours.is_file(), ours.is_fifo()), (theirs.is_file(), false));
            assert_eq!(ours.modified().seconds, theirs.mtime());
            assert_eq!(i64::from(ours.changed().nanos), theirs.ctime_nsec());
        }
    }

    #[test]
    fn a_hole_is_punched_and_the_size_kept() {
        let file = tempfile::tempfile().unwrap();
        let fd = file.as_raw_fd();
        assert_eq!(performed(&Call::Allocate { fd, mode: 0, offset: 0, len: 8192 }), 0);
        let result = performed(&Call::Allocate { fd, mode: libc::FALLOC_FL_KEEP_SIZE, offset: 0, len: 1 << 20 });
        assert!(result == 0 || result == -errno::EOPNOTSUPP, "{}", crate::sys::errno_name(-result));
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let result = performed(&Call::Allocate { fd, mode, offset: 0, len: 4096 });
        assert!(result == 0 || result == -errno::EOPNOTSUPP, "{}", crate::sys::errno_name(-result));
        assert_eq!(file.metadata().unwrap().len(), 8192);
        assert_eq!(performed(&Call::Advise { fd, offset: 0, len: 0, advice: 99 }), -errno::EINVAL);
    }

    #[test]
    fn a_rename_that_must_not_replace_does_not() {
        const NO_REPLACE: u32 = 1;
        let directory = tempfile::tempdir().unwrap();
        let [from, to] = ["a", "b"].map(|name| directory.path().join(name));
        for path in [&from, &to] {
            File::create(path).unwrap();
        }
        let (from, to) = (SysPath::new(&from).unwrap(), SysPath::new(&to).unwrap());
        let call = Call::Rename { from: from.as_ptr(), to: to.as_ptr(), flags: NO_REPLACE };
        assert_eq!(performed(&call), -errno::EEXIST);
        assert_eq!(performed(&Call::Rename { from: from.as_ptr(), to: to.as_ptr(), flags: 0 }), 0);
    }

    #[test]
    fn an_open_obeys_its_resolve_flags() {
        const NO_SYMLINKS: u64 = 0x04;
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let (file, link) = (SysPath::new(&file).unwrap(), SysPath::new(&link).unwrap());
        let open = |path: &SysPath, flags| {
            performed(&Call::Open { path: path.as_ptr(), flags, mode: 0o600, resolve: NO_SYMLINKS })
        };
        let made = open(&file, libc::O_RDWR | libc::O_CREAT);
        if made == -errno::ENOSYS {
            println!("skipped: no openat2 on this kernel");
            return;
        }
        assert!(made >= 0, "{}", crate::sys::errno_name(-made));
        // openat would ignore the mode here, and openat2 would refuse it.
        let again = open(&file, libc::O_RDONLY);
        assert!(again >= 0, "{}", crate::sys::errno_name(-again));
        assert_eq!(open(&link, libc::O_RDONLY), -errno::ELOOP);
        for fd in [made, again] {
            assert_eq!(performed(&Call::Close { fd }), 0);
        }
    }
}
