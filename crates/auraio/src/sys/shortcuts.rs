//! Single calls that the core makes for itself, outside any ring.
#![expect(unsafe_code, reason = "a call is performed on addresses of this function's own")]

use super::{Call, Descriptor, Metadata, perform, raw_stat_zeroed};

/// The flag that asks for I/O past the page cache, if the platform has one.
#[cfg(target_os = "linux")]
pub(crate) const O_DIRECT: Option<i32> = Some(libc::O_DIRECT);
#[cfg(windows)]
pub(crate) const O_DIRECT: Option<i32> = Some(super::windows::flags::O_DIRECT);
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) const O_DIRECT: Option<i32> = None;

/// A descriptor as a number of one type on every platform.
pub(crate) const fn descriptor_number(fd: Descriptor) -> i64 {
    // `From` is not const, and an `isize` has none.
    #[allow(clippy::cast_lossless, reason = "an i32 on some platforms, an isize on others")]
    {
        fd as i64
    }
}

/// Another descriptor for the same open file. Only the simulated kernel asks for one.
#[cfg(feature = "sim")]
pub(crate) fn duplicate(fd: Descriptor) -> std::io::Result<Descriptor> {
    #[cfg(unix)]
    {
        use rustix::fd::IntoRawFd;

        // SAFETY: the caller holds the descriptor open.
        let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(fd) };
        Ok(rustix::io::fcntl_dupfd_cloexec(fd, 0)?.into_raw_fd())
    }
    #[cfg(windows)]
    {
        let _ = fd;
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// The file's own position; `None` if it has none, or the platform does not say.
pub(crate) fn position(fd: Descriptor) -> Option<u64> {
    #[cfg(unix)]
    {
        // SAFETY: the caller holds the descriptor open.
        let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(fd) };
        rustix::fs::tell(fd).ok()
    }
    #[cfg(windows)]
    {
        let _ = fd;
        None
    }
}

/// Moves the file's own position.
pub(crate) fn set_position(fd: Descriptor, to: u64) {
    #[cfg(unix)]
    {
        // SAFETY: the caller holds the descriptor open.
        let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(fd) };
        // Callers have read the position before, so the file has one. The kernel would refuse only an offset past the largest
        // one.
        let _ = rustix::fs::seek(fd, rustix::fs::SeekFrom::Start(to));
    }
    #[cfg(windows)]
    {
        let _ = (fd, to);
    }
}

/// Closes a descriptor that nobody else uses. An error is ignored, because nobody waits for the result.
pub(crate) fn perform_close(fd: Descriptor) {
    // SAFETY: the call holds no address.
    let _ = unsafe { perform(&Call::Close { fd }) };
}

/// The metadata of an open file, by a plain call.
pub(crate) fn stat_now(fd: Descriptor) -> Result<Metadata, i32> {
    let mut stat = raw_stat_zeroed();
    let call = Call::Stat { fd, path: std::ptr::null(), follow: true, out: &raw mut stat };
    // SAFETY: `stat` outlives the call, which ends before this function returns.
    match unsafe { perform(&call) } {
        result if result < 0 => Err(-result),
        _ => Ok(Metadata::from_raw(&stat)),
    }
}

/// Adds a descriptor to those that an epoll instance watches.
#[cfg(target_os = "linux")]
pub(crate) fn epoll_add(
    watch: &rustix::fd::OwnedFd,
    descriptor: Descriptor,
    flags: rustix::event::epoll::EventFlags,
) -> Result<(), i32> {
    use rustix::{event::epoll, fd::BorrowedFd};
    // SAFETY: the descriptor belongs to a ring or a bell that the caller holds.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let data = epoll::EventData::new_u64(0);
    epoll::add(watch, descriptor, data, flags).map_err(rustix::io::Errno::raw_os_error)
}

/// The CPU that the calling thread is on.
#[cfg(target_os = "linux")]
#[inline]
pub(crate) fn current_cpu() -> u32 {
    // SAFETY: the call takes nothing and answers a number, which is -1 if the kernel has no such call.
    let cpu = unsafe { libc::sched_getcpu() };
    u32::try_from(cpu).unwrap_or(0)
}
