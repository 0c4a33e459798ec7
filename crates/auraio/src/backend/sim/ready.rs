//! Tells whether a call can be performed without waiting. An empty pipe holds up one operation of a real ring, so it must not
//! hold up the whole simulation. Calls on anything but pipes, sockets and the like are always ready, and so are all calls on
//! Windows.

#[cfg(unix)]
pub(super) use unix::{is_ready, wait_for_any};

#[cfg(unix)]
mod unix {
    use std::time::Duration;

    use crate::sys::{Call, Transfer, Watch, poll_watches};

    pub(in super::super) fn is_ready(call: &Call) -> bool {
        // What cannot be waited for is ready too: the call itself will tell what is the matter.
        waited_for(call).is_none_or(|fd| poll_watches(&mut [fd], Some(Duration::ZERO)).unwrap_or(true))
    }

    /// Sleeps until one of the calls is ready: when all that is left waits for somebody outside the simulation. May
    /// return early.
    pub(in super::super) fn wait_for_any<'a>(calls: impl Iterator<Item = &'a Call>) {
        let mut fds: Vec<Watch> = calls.filter_map(waited_for).collect();
        let _ = poll_watches(&mut fds, None);
    }

    const fn waited_for(call: &Call) -> Option<Watch> {
        match call.transfer() {
            Some(Transfer { fd, writes: false, .. }) if fd >= 0 => Some(Watch::readable(fd)),
            Some(Transfer { fd, writes: true, .. }) if fd >= 0 => Some(Watch::writable(fd)),
            Some(_) | None => None,
        }
    }
}

#[cfg(not(unix))]
pub(super) const fn is_ready(_: &crate::sys::Call) -> bool {
    true
}

#[cfg(not(unix))]
pub(super) fn wait_for_any<'a>(_: impl Iterator<Item = &'a crate::sys::Call>) {}
