//! Registers memory of the user's own, and makes files over descriptors that somebody else opened.

use auraio::{Engine, File, Registration};

use super::View;

/// Registers the bytes of a view. They stay registered until the answer is dropped.
pub(crate) fn register(engine: &Engine, view: &View) -> auraio::Result<Registration> {
    // SAFETY: lib/memory/registered.ts keeps the ArrayBuffer reachable and in its place (it cannot be transferred) until it has
    // asked for the end; a port that ends before drops what is registered.
    unsafe { engine.register_memory(view.address, view.len) }
}

/// Makes a file over a duplicate of a descriptor. Answers the file and the flags of the descriptor, or an errno.
#[cfg(unix)]
pub(crate) fn adopt(engine: &Engine, fd: i32) -> Result<(File, i32), i32> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    let failed = || std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EBADF);
    // SAFETY: asks for a number; one that is no descriptor is refused. Not 0 to 2: others take those for the standard ones.
    let duplicate = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if duplicate < 0 {
        return Err(failed());
    }
    // SAFETY: made just now, and nobody else knows of it.
    let duplicate = unsafe { OwnedFd::from_raw_fd(duplicate) };
    // SAFETY: asks for a number.
    let flags = unsafe { libc::fcntl(duplicate.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(failed());
    }
    engine.adopt(duplicate).map(|file| (file, flags)).map_err(|error| error.errno())
}

/// Refuses: this platform has no descriptors to duplicate.
#[cfg(not(unix))]
pub(crate) fn adopt(_: &Engine, _: i32) -> Result<(File, i32), i32> {
    const ENOSYS: i32 = 38;
    Err(ENOSYS)
}
