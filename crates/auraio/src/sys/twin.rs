//! Writes through the page cache to a file that was opened for direct I/O.
//!
//! To write less than a block past the page cache, one has to read the block, change it and write it back. That undoes what
//! others write to the block meanwhile. The page cache does the same under the lock of the inode, for every handle and process
//! at once; so such a write is made there (docs/decisions/0017-direct-bounce.md).
//!
//! `O_DIRECT` is a flag of the open file description, which `dup` would share. So the first such write opens the file once
//! more, for writing and without the flag. It opens the descriptor's entry in /proc, which is the same file even if the name
//! has gone or names another file.
//!
//! This second open may be refused (no /proc, a file that was made read-only since, no descriptor left). And if the file is
//! not local, closing a second description could wait for a server, so there is none. In both cases the flag is taken off the
//! one description during the write. That is always possible; other transfers at that moment are then buffered too.
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

    /// Those flags of an open file that matter for a write.
    const KEPT: OFlags = OFlags::APPEND.union(OFlags::SYNC).union(OFlags::DSYNC).union(OFlags::NOATIME);

    /// Writes to the file of a descriptor through the page cache. It opens nothing before the first write.
    #[derive(Debug)]
    pub(crate) struct BufferedTwin {
        fd: Descriptor,
        opened: OnceLock<OwnedFd>,
        /// Whether the file may be opened a second time. Locked while that is tried, and while the flag is off.
        may_open: Mutex<bool>,
    }

    impl BufferedTwin {
        /// `fd` must be open as long as this is used. Only a `local` file is opened a second time.
        pub(crate) const fn new(fd: Descriptor, local: bool) -> Self {
            Self { fd, opened: OnceLock::new(), may_open: Mutex::new(local) }
        }

        /// Writes, and gives the number of bytes written or the negated errno. A write at [`CURRENT_POSITION`] is for files
        /// opened for appending, and goes to the end. It also moves the position of the file's own description, as if that
        /// had been used.
        ///
        /// # Safety
        /// `count` vectors at `iov`, and their memory, can be read.
        pub(crate) unsafe fn write(&self, iov: *const IoVec, count: u32, offset: u64) -> i32 {
            let Some(file) = lend(self.fd) else { return -errno::EBADF };
            // Opening the file again checks the permissions of the file, and not those of the handle. A handle that may not
            // write must not get a second one that may.
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
                    // The twin has a position, so this file has one too, and it can be set.
                    let _ = seek(file, SeekFrom::Start(end));
                }
                return written;
            }
            // One write at a time: of two, the first that ends would set the flag again while the other still writes.
            let _alone = lock(&self.may_open);
            if let Err(error) = fcntl_getfl(file).and_then(|now| fcntl_setfl(file, now.difference(OFlags::DIRECT))) {
                return -error.raw_os_error();
            }
            let call = Call::WriteVectored { fd: self.fd, iov, count, offset };
            // SAFETY: the caller's promise, passed on.
            let written = unsafe { perform_as_asked(&call) };
            // The kernel accepted the flag when the file was opened, so it accepts it again. If it does not, later transfers
            // are buffered, which is slower but correct.
            let _ = fcntl_getfl(file).and_then(|now| fcntl_setfl(file, now.union(OFlags::DIRECT)));
            written
        }

        /// The second descriptor, which is opened now if it is not yet; `None` if it cannot be opened.
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
                    // After these errors it is worth trying again: descriptors or memory may be free by then.
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
        // Anything could be mounted on /proc, so compare the files.
        match (of(file), of(std::os::fd::AsFd::as_fd(&twin))) {
            (Ok(first), Ok(second)) if first == second => Ok(twin),
            _ => Err(errno::EACCES),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::super::{Descriptor, IoVec, errno};

    /// On this platform there is no second way into a direct file.
    #[derive(Debug)]
    pub(crate) struct BufferedTwin;

    impl BufferedTwin {
        pub(crate) const fn new(_fd: Descriptor, _local: bool) -> Self {
            Self
        }

        /// Answers `EINVAL`, as the platform answers a write that is not aligned.
        ///
        /// # Safety
        /// Always safe to call.
        #[expect(clippy::unused_self, reason = "elsewhere it is used")]
        #[expect(unsafe_code, reason = "the same signature as elsewhere")]
        pub(crate) const unsafe fn write(&self, _iov: *const IoVec, _count: u32, _offset: u64) -> i32 {
            -errno::EINVAL
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::{
        fs::{self, File, OpenOptions},
        io::{Seek, SeekFrom},
        os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
        path::Path,
    };

    use super::super::{CURRENT_POSITION, errno, io_vec};
    use super::*;

    fn open(path: &Path, options: &mut OpenOptions) -> Option<File> {
        let file = options.custom_flags(libc::O_DIRECT).open(path);
        if let Err(error) = &file {
            println!("skipped: no O_DIRECT in the temporary directory: {error}");
        }
        file.ok()
    }

    fn write(twin: &BufferedTwin, bytes: &[u8], offset: u64) -> i32 {
        let iov = [io_vec(bytes.as_ptr().cast_mut(), bytes.len())];
        // SAFETY: the vector and the bytes outlive the call.
        unsafe { twin.write(iov.as_ptr(), 1, offset) }
    }

    fn is_direct(file: &File) -> bool {
        // SAFETY: the call takes and answers numbers only.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) & libc::O_DIRECT != 0 }
    }

    fn descriptors(path: &Path) -> usize {
        let all = fs::read_dir("/proc/self/fd").unwrap();
        all.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).filter(|target| target == path).count()
    }

    #[test]
    fn both_ways_write_unaligned_bytes_and_leave_the_file_direct() {
        for local in [true, false] {
            let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
            let Some(file) = open(&path, OpenOptions::new().read(true).write(true)) else { return };
            let twin = BufferedTwin::new(file.as_raw_fd(), local);
            assert_eq!(descriptors(&path), 1);
            assert_eq!(write(&twin, b"five!", 3), 5);
            assert_eq!(write(&twin, b"more", 10_000), 4);
            assert!(is_direct(&file));
            assert_eq!(descriptors(&path), 1 + usize::from(local));
            drop(twin);
            assert_eq!(descriptors(&path), 1);
            let there = fs::read(&path).unwrap();
            assert_eq!((&there[..8], &there[9_999..]), (b"\0\0\0five!".as_slice(), b"\0more".as_slice()));
        }
    }

    #[test]
    fn a_file_without_a_name_is_still_the_same_file() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let Some(file) = open(&path, OpenOptions::new().read(true).write(true)) else { return };
        let twin = BufferedTwin::new(file.as_raw_fd(), true);
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"another").unwrap();
        assert_eq!(write(&twin, b"hello", 0), 5);
        assert_eq!(file.metadata().unwrap().len(), 5);
        assert_eq!(fs::read(&path).unwrap(), b"another");
    }

    #[test]
    fn an_append_moves_the_position_of_the_file_itself() {
        for local in [true, false] {
            let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
            fs::write(&path, b"begin ").unwrap();
            let Some(mut file) = open(&path, OpenOptions::new().read(true).append(true)) else { return };
            let twin = BufferedTwin::new(file.as_raw_fd(), local);
            assert_eq!(write(&twin, b"one ", CURRENT_POSITION), 4);
            assert_eq!(file.stream_position().unwrap(), 10);
            // A write at a given position goes to the end too, and does not move the file's own position.
            assert_eq!(file.seek(SeekFrom::Start(2)).unwrap(), 2);
            assert_eq!(write(&twin, b"two", 0), 3);
            assert_eq!(file.stream_position().unwrap(), 2);
            assert_eq!(fs::read(&path).unwrap(), b"begin one two");
        }
    }

    #[test]
    fn the_twin_has_the_durability_flags_of_the_file() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let flags = libc::O_DIRECT | libc::O_DSYNC;
        let Ok(file) = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path) else {
            println!("skipped: no O_DIRECT in the temporary directory");
            return;
        };
        let twin = BufferedTwin::new(file.as_raw_fd(), true);
        assert_eq!(write(&twin, b"kept", 1), 4);
        let second = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
            let entry = entry.ok()?;
            let fd: i32 = entry.file_name().to_str()?.parse().ok()?;
            (fd != file.as_raw_fd() && fs::read_link(entry.path()).ok()? == *path).then_some(fd)
        });
        // SAFETY: the call takes and answers numbers only.
        let flags: Vec<i32> = second.map(|fd| unsafe { libc::fcntl(fd, libc::F_GETFL) }).collect();
        assert_eq!(flags.len(), 1);
        assert_eq!(flags[0] & (libc::O_DSYNC | libc::O_DIRECT | libc::O_ACCMODE), libc::O_DSYNC | libc::O_WRONLY);
    }

    #[test]
    fn a_handle_that_may_not_write_gets_no_twin_that_may() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let Some(file) = open(&path, OpenOptions::new().read(true)) else { return };
        for local in [true, false] {
            assert_eq!(write(&BufferedTwin::new(file.as_raw_fd(), local), b"no", 0), -errno::EBADF);
        }
        assert_eq!(write(&BufferedTwin::new(-1, true), b"no", 0), -errno::EBADF);
        assert_eq!(file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn many_writes_at_once_without_a_second_descriptor_leave_the_file_direct_and_lose_no_byte() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let Some(file) = open(&path, OpenOptions::new().read(true).write(true)) else { return };
        let twin = BufferedTwin::new(file.as_raw_fd(), false);
        std::thread::scope(|scope| {
            for mine in 0..4u8 {
                let twin = &twin;
                scope.spawn(move || {
                    for round in 0..100 {
                        let at = u64::from(mine) * 13 + round * 52;
                        assert_eq!(write(twin, &[mine + 1; 13], at), 13);
                    }
                });
            }
        });
        assert!(is_direct(&file));
        let there = fs::read(&path).unwrap();
        assert_eq!(there.len(), 5200);
        assert!(there.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at / 13 % 4 + 1));
    }
}
