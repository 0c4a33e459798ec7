//! A second way into a file that was opened for direct I/O: through the page cache.
//!
//! A write of less than a block can be made past the page cache only by reading the block, changing it and writing it back,
//! and whoever else writes to the block meanwhile is undone. The page cache does the same under the lock of the inode, for
//! every handle and process at once; so such a write is made there (docs/decisions/0017-direct-bounce.md).
//!
//! `O_DIRECT` is a flag of the open file description, and `dup` shares that. So the file is opened once more, for writing and
//! without the flag, when it is first needed: by its own descriptor, which is the same file whatever became of its name. Where
//! that is refused (no /proc, a file that was made read-only since, no descriptor left), and where the file is served from
//! elsewhere, so that closing a second description could wait for a server, the flag is taken off the one description for
//! the time of the write instead: that is always possible, and only makes other transfers of the moment buffered too.
#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "writes from memory that the caller keeps alive"))]

#[cfg(target_os = "linux")]
pub(crate) use linux::BufferedTwin;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::BufferedTwin;

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        ffi::CString,
        os::fd::{AsRawFd, BorrowedFd, OwnedFd},
        sync::{Mutex, OnceLock},
    };

    use rustix::fs::{OFlags, SeekFrom, fcntl_getfl, fcntl_setfl, fstat, seek};

    use super::super::{
        CURRENT_POSITION, Call, Descriptor, IoVec, errno,
        unix::{lend, open, perform_as_asked},
    };
    use crate::lock;

    /// What of the flags of an open file has a meaning for a write.
    const KEPT: OFlags = OFlags::APPEND.union(OFlags::SYNC).union(OFlags::DSYNC).union(OFlags::NOATIME);

    /// The way into the file of a descriptor that leads through the page cache. Nothing is opened before the first write.
    #[derive(Debug)]
    pub(crate) struct BufferedTwin {
        fd: Descriptor,
        opened: OnceLock<OwnedFd>,
        /// Whether the file may be opened a second time. Held while that is tried, and while the flag is off.
        may_open: Mutex<bool>,
    }

    impl BufferedTwin {
        /// `fd` is open for as long as this is used. `local` files are opened a second time.
        pub(crate) const fn new(fd: Descriptor, local: bool) -> Self {
            Self { fd, opened: OnceLock::new(), may_open: Mutex::new(local) }
        }

        /// Writes, and gives what was written or the negated errno. At [`CURRENT_POSITION`], which is where a file that is
        /// appended to ends, the position of the file's own description moves, as if it had been used.
        ///
        /// # Safety
        /// `count` vectors at `iov` can be read, and the memory that they name.
        pub(crate) unsafe fn write(&self, iov: *const IoVec, count: u32, offset: u64) -> i32 {
            let Some(file) = lend(self.fd) else { return -errno::EBADF };
            // What opens the file again asks for permission to write as a path does; the handle may not have it.
            let flags = match fcntl_getfl(file) {
                Ok(flags) if flags.intersection(OFlags::ACCMODE) == OFlags::RDONLY => return -errno::EBADF,
                Ok(flags) => flags,
                Err(error) => return -error.raw_os_error(),
            };
            if let Some(twin) = self.open(file, flags) {
                let call = Call::WriteVectored { fd: twin.as_raw_fd(), iov, count, offset };
                // SAFETY: the caller's promise, passed on.
                let written = unsafe { perform_as_asked(&call) };
                if offset == CURRENT_POSITION
                    && written > 0
                    && let Ok(end) = seek(twin, SeekFrom::Current(0))
                {
                    // It could be told there, so it can be set here.
                    let _ = seek(file, SeekFrom::Start(end));
                }
                return written;
            }
            // One at a time: the first of two that ends would put the flag back for the other.
            let _alone = lock(&self.may_open);
            if let Err(error) = fcntl_getfl(file).and_then(|now| fcntl_setfl(file, now.difference(OFlags::DIRECT))) {
                return -error.raw_os_error();
            }
            let call = Call::WriteVectored { fd: self.fd, iov, count, offset };
            // SAFETY: the caller's promise, passed on.
            let written = unsafe { perform_as_asked(&call) };
            // What the description could do when it was opened, it can do again. If not, what follows is buffered, which is
            // slower, and right.
            let _ = fcntl_getfl(file).and_then(|now| fcntl_setfl(file, now.union(OFlags::DIRECT)));
            written
        }

        /// The second descriptor, opened now if need be; `None` where it cannot be had.
        fn open(&self, file: BorrowedFd<'_>, flags: OFlags) -> Option<&OwnedFd> {
            if let Some(twin) = self.opened.get() {
                return Some(twin);
            }
            let mut may_open = lock(&self.may_open);
            if !*may_open || self.opened.get().is_some() {
                return self.opened.get();
            }
            match reopen(file, flags) {
                Ok(twin) => Some(self.opened.get_or_init(|| twin)),
                Err(error) => {
                    // There may be descriptors and memory again another time.
                    *may_open = matches!(error, errno::EMFILE | errno::ENFILE | errno::ENOMEM | errno::EINTR);
                    None
                }
            }
        }
    }

    fn reopen(file: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, i32> {
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|_| errno::EINVAL)?;
        let twin = open(&path, (OFlags::WRONLY | flags.intersection(KEPT)).bits().cast_signed(), 0, 0)?;
        let of = |file: BorrowedFd<'_>| fstat(file).map(|stat| (stat.st_dev, stat.st_ino));
        // What is mounted on /proc could be anything.
        match (of(file), of(std::os::fd::AsFd::as_fd(&twin))) {
            (Ok(first), Ok(second)) if first == second => Ok(twin),
            _ => Err(errno::EACCES),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::super::{Descriptor, IoVec, errno};

    /// There is no such way on this platform.
    #[derive(Debug)]
    pub(crate) struct BufferedTwin;

    impl BufferedTwin {
        pub(crate) const fn new(_fd: Descriptor, _local: bool) -> Self {
            Self
        }

        /// Answers `EINVAL`, as the platform does to what is not aligned.
        ///
        /// # Safety
        /// None is asked for.
        #[expect(clippy::unused_self, reason = "elsewhere it is used")]
        #[expect(unsafe_code, reason = "the same signature as elsewhere")]
        pub(crate) const unsafe fn write(&self, _iov: *const IoVec, _count: u32, _offset: u64) -> i32 {
            -errno::EINVAL
        }
    }
}
