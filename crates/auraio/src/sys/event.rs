//! A wake-up that any thread can ring and one thread waits for; and the wait for several descriptors at once.
//!
//! [`Bell`] is an eventfd on Linux, a pipe on other unixes and an event on Windows, so that a thread can wait for it beside
//! other descriptors. It carries no message: the woken thread looks for its work itself. docs/decisions/0011-bell.md has the
//! reasons.
#![expect(unsafe_code, reason = "waiting takes descriptors whose owner may be anywhere")]

#[cfg(unix)]
pub(crate) use unix::{Bell, Watch, poll_readable, poll_watches};
#[cfg(windows)]
pub(crate) use windows::{Bell, poll_readable};

#[cfg(unix)]
mod unix {
    use std::{
        io,
        os::fd::{AsRawFd, OwnedFd},
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use crate::sys::Descriptor;

    /// A wake-up: any thread rings it, one thread waits for it.
    ///
    /// # Why no ring is lost
    /// A sender queues its work, then calls [`ring`](Self::ring). The waiter calls [`quiet`](Self::quiet), then looks for
    /// work. Of all rings between two calls of `quiet` only the first writes: the one that sets the flag. `quiet` clears the
    /// flag only when it has read that write. So while the descriptor is readable the flag is set, and while the flag is set
    /// the write has been made or is about to be.
    ///
    /// A sender that finds the flag set makes no system call. If the waiter clears the flag afterwards, it does so by a
    /// read-modify-write that comes after the sender's; so it sees what the sender queued, and finds it when it looks. A
    /// `quiet` that finds the flag clear makes no system call either, so it is cheap to call each time before looking.
    #[derive(Debug)]
    pub(crate) struct Bell {
        rung: AtomicBool,
        /// The eventfd, or the reading end of the pipe.
        heard: OwnedFd,
        #[cfg(not(target_os = "linux"))]
        struck: OwnedFd,
    }

    impl Bell {
        #[cfg(target_os = "linux")]
        pub(crate) fn new() -> io::Result<Self> {
            use rustix::event::{EventfdFlags, eventfd};
            let heard = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            Ok(Self { rung: AtomicBool::new(false), heard })
        }

        #[cfg(not(target_os = "linux"))]
        pub(crate) fn new() -> io::Result<Self> {
            // This takes two steps, because macOS has no pipe2. A child that is forked in between gets both ends. It can do
            // no more than ring the bell, or take a ring away, until it calls exec.
            let (heard, struck) = rustix::pipe::pipe()?;
            for end in [&heard, &struck] {
                rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
                rustix::io::ioctl_fionbio(end, true)?;
            }
            Ok(Self { rung: AtomicBool::new(false), heard, struck })
        }

        /// Wakes the waiter, now or at its next wait. Costs one atomic operation if the bell is rung already.
        pub(crate) fn ring(&self) {
            if self.rung.swap(true, Ordering::AcqRel) {
                return;
            }
            // `EAGAIN` says that the eventfd or pipe is full, so it is readable already, and nothing more is needed.
            #[cfg(target_os = "linux")]
            let _ = rustix::io::retry_on_intr(|| rustix::io::write(&self.heard, &1_u64.to_ne_bytes()));
            #[cfg(not(target_os = "linux"))]
            let _ = rustix::io::retry_on_intr(|| rustix::io::write(&self.struck, &[1]));
        }

        /// Silences the bell. Look for work after this, never before. Costs one load if the bell was not rung.
        pub(crate) fn quiet(&self) {
            if !self.rung.load(Ordering::Acquire) {
                return;
            }
            let mut byte_or_count = [0_u8; 8];
            // If there is nothing to read, the sender has set the flag and is about to write. That will wake the waiter again.
            if rustix::io::retry_on_intr(|| rustix::io::read(&self.heard, &mut byte_or_count)).is_ok() {
                self.rung.swap(false, Ordering::AcqRel);
            }
        }

        /// The descriptor to wait for; it is readable while the bell is rung.
        pub(crate) fn descriptor(&self) -> Option<Descriptor> {
            Some(self.heard.as_raw_fd())
        }

        /// Waits until the bell is rung; `false` if the time is over or a signal came first. Does not silence the bell.
        pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
            let mut watches = [Watch::readable(self.heard.as_raw_fd())];
            poll_watches(&mut watches, timeout).unwrap_or(false)
        }
    }

    /// One descriptor to wait for.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub(crate) struct Watch(libc::pollfd);

    impl Watch {
        pub(crate) const fn readable(fd: Descriptor) -> Self {
            Self(libc::pollfd { fd, events: libc::POLLIN, revents: 0 })
        }

        pub(crate) const fn writable(fd: Descriptor) -> Self {
            Self(libc::pollfd { fd, events: libc::POLLOUT, revents: 0 })
        }

        /// Whether the last wait found it ready. A descriptor with an error, or a closed one, is ready too: the next call on
        /// it reports the error.
        pub(crate) const fn is_ready(&self) -> bool {
            self.0.revents != 0
        }
    }

    /// Waits until one of the watches is ready. `Ok(false)` if the time is over or a signal ended the wait.
    pub(crate) fn poll_watches(watches: &mut [Watch], timeout: Option<Duration>) -> io::Result<bool> {
        // Rounded up, so that a wait for the last half millisecond is not a busy loop.
        let timeout_ms =
            timeout.map_or(-1, |time| i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
        for watch in &mut *watches {
            watch.0.revents = 0;
        }
        let count = watches.len() as libc::nfds_t;
        // SAFETY: `Watch` is a transparent `pollfd`, and the slice is borrowed for the whole call. If a descriptor was closed
        // or reused meanwhile, the answer is about the file that it names now; that does no harm, because callers take the
        // answer as a hint to try only.
        let ready = unsafe { libc::poll(watches.as_mut_ptr().cast(), count, timeout_ms) };
        if ready >= 0 {
            return Ok(ready > 0);
        }
        match io::Error::last_os_error() {
            interrupted if interrupted.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        }
    }

    /// Waits until one of the descriptors is readable. `Ok(false)` if the time is over or a signal ended the wait.
    pub(crate) fn poll_readable(fds: &[Descriptor], timeout: Option<Duration>) -> io::Result<bool> {
        if let [fd] = fds {
            return poll_watches(&mut [Watch::readable(*fd)], timeout);
        }
        let mut watches: Vec<Watch> = fds.iter().map(|fd| Watch::readable(*fd)).collect();
        poll_watches(&mut watches, timeout)
    }
}

#[cfg(windows)]
mod windows {
    use std::{
        ffi::c_void,
        io,
        os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle},
        ptr,
        sync::atomic::{AtomicBool, Ordering},
        thread,
        time::{Duration, Instant},
    };

    use crate::sys::Descriptor;

    type Handle = *mut c_void;

    const WAIT_TIMEOUT: u32 = 258;
    const WAIT_FAILED: u32 = u32::MAX;
    /// `WaitForMultipleObjects` takes no more.
    const HANDLES_MAX: usize = 64;
    /// How often to check when there are more handles than one wait can watch.
    const LOOK: Duration = Duration::from_millis(10);

    // Declared here: windows-sys has them only with two more of its features, one of them for the type of a pointer that is
    // always null here.
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn CreateEventW(security: *const c_void, manual: i32, set: i32, name: *const u16) -> Handle;
        fn SetEvent(event: Handle) -> i32;
        fn ResetEvent(event: Handle) -> i32;
        fn WaitForMultipleObjects(count: u32, handles: *const Handle, all: i32, timeout_ms: u32) -> u32;
    }

    /// A wake-up: any thread rings it, one thread waits for it. It is an event that stays set until it is silenced. No ring is
    /// lost, for the same reason as on unix: [`quiet`](Self::quiet) resets the event first and clears the flag afterwards.
    #[derive(Debug)]
    pub(crate) struct Bell {
        rung: AtomicBool,
        event: OwnedHandle,
    }

    impl Bell {
        pub(crate) fn new() -> io::Result<Self> {
            // SAFETY: null is allowed for both addresses.
            let event = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
            if event.is_null() {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the handle was just made, and nobody else has it.
            let event = unsafe { OwnedHandle::from_raw_handle(event) };
            Ok(Self { rung: AtomicBool::new(false), event })
        }

        /// Wakes the waiter, now or at its next wait. Costs one atomic operation when already rung.
        pub(crate) fn ring(&self) {
            if !self.rung.swap(true, Ordering::AcqRel) {
                // SAFETY: the event stays open as long as `self` lives.
                unsafe { SetEvent(self.event.as_raw_handle()) };
            }
        }

        /// Silences the bell. Look for work after this, never before.
        pub(crate) fn quiet(&self) {
            // SAFETY: the event is open for as long as `self` is.
            unsafe { ResetEvent(self.event.as_raw_handle()) };
            self.rung.swap(false, Ordering::AcqRel);
        }

        /// The event, for [`poll_readable`] and the waits of Windows.
        pub(crate) fn descriptor(&self) -> Option<Descriptor> {
            Some(self.event.as_raw_handle().addr().cast_signed())
        }

        /// Waits until rung; `false` when the time is over. Does not silence the bell.
        pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
            poll_readable(self.descriptor().as_slice(), timeout).unwrap_or(false)
        }
    }

    /// Waits until one of the bells is rung; only descriptors of bells can be given.
    pub(crate) fn poll_readable(fds: &[Descriptor], timeout: Option<Duration>) -> io::Result<bool> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let handles: Vec<Handle> = fds.iter().map(|fd| ptr::without_provenance_mut(fd.cast_unsigned())).collect();
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match handles.as_slice() {
                [] => thread::sleep(left.map_or(LOOK, |left| left.min(LOOK))),
                few if few.len() <= HANDLES_MAX => return wait_for(few, left),
                many => {
                    for some in many.chunks(HANDLES_MAX) {
                        if wait_for(some, Some(Duration::ZERO))? {
                            return Ok(true);
                        }
                    }
                    thread::sleep(left.map_or(LOOK, |left| left.min(LOOK)));
                }
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
        }
    }

    fn wait_for(handles: &[Handle], timeout: Option<Duration>) -> io::Result<bool> {
        // Rounded up, so that a wait for the last half millisecond is not a busy loop. The highest number means "for ever".
        let timeout_ms = timeout.map_or(u32::MAX, |time| {
            u32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX - 1).min(u32::MAX - 1)
        });
        // SAFETY: the slice has this many handles, for the length of the call. A closed handle makes the call fail.
        match unsafe { WaitForMultipleObjects(handles.len() as u32, handles.as_ptr(), 0, timeout_ms) } {
            WAIT_FAILED => Err(io::Error::last_os_error()),
            WAIT_TIMEOUT => Ok(false),
            _ => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        thread,
        time::Duration,
    };

    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_not_lost_and_quiet_silences_it() {
        let bell = Bell::new().unwrap();
        assert!(!bell.wait(Some(Duration::ZERO)));
        bell.ring();
        bell.ring();
        assert!(bell.wait(None));
        assert!(bell.wait(Some(Duration::ZERO)), "a wait does not silence the bell");
        bell.quiet();
        assert!(!bell.wait(Some(Duration::ZERO)));
        bell.ring();
        assert!(bell.wait(None));
    }

    #[test]
    fn no_ring_of_a_hundred_thousand_is_lost() {
        const RINGS: u64 = 100_000;
        let shared = Arc::new((Bell::new().unwrap(), AtomicU64::new(0)));
        let ringer = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for _ in 0..RINGS {
                    shared.1.fetch_add(1, Ordering::Relaxed);
                    shared.0.ring();
                }
            }
        });
        // If a ring were lost, this wait would never end although there is work. The time-out turns that into a failure.
        let (bell, queued) = &*shared;
        let mut seen = 0;
        while seen < RINGS {
            bell.quiet();
            let now = queued.load(Ordering::Relaxed);
            if now == seen {
                let woken = bell.wait(Some(Duration::from_secs(20)));
                assert!(woken || queued.load(Ordering::Relaxed) == seen, "a ring was lost at {seen}");
            }
            seen = now;
        }
        ringer.join().unwrap();
    }

    #[test]
    fn two_threads_that_ring_each_other_never_stall() {
        const TURNS: u64 = 20_000;
        let bells = Arc::new([Bell::new().unwrap(), Bell::new().unwrap()]);
        let turn = Arc::new(AtomicU64::new(0));
        let player = |me: usize| {
            let (bells, turn) = (Arc::clone(&bells), Arc::clone(&turn));
            move || {
                loop {
                    bells[me].quiet();
                    let now = turn.load(Ordering::Relaxed);
                    if now >= TURNS {
                        bells[1 - me].ring();
                        return;
                    }
                    if now % 2 == me as u64 {
                        turn.store(now + 1, Ordering::Relaxed);
                        bells[1 - me].ring();
                    } else {
                        assert!(bells[me].wait(Some(Duration::from_secs(20))), "stalled at turn {now}");
                    }
                }
            }
        };
        let other = thread::spawn(player(1));
        player(0)();
        other.join().unwrap();
    }
}
