//! A port: operations go in, each with a token, and completions come out with it.
//!
//! A port belongs to one thread. The JavaScript binding is built on it. It also serves any other event loop that takes
//! completions in bulk instead of polling futures.

use std::{
    cell::Cell,
    fmt,
    marker::PhantomData,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::Duration,
};

use crate::{
    BackendKind, Completion, Engine, Error, Result, RingStats, Routing,
    engine::Shared,
    lanes,
    op::{Done, Operation},
    ring::{Key, Mailbox, Ring, Sink, ThreadMark},
    sys::{self, Bell, Descriptor, errno},
};

/// Takes operations and gives completions, on one thread.
///
/// ```
/// use auraio::{Engine, op};
///
/// let engine = Engine::builder().build()?;
/// let mut port = engine.port()?;
/// port.submit(op::Nop, 7);
/// let mut completions = Vec::new();
/// port.wait(&mut completions, None);
/// let nop = completions.remove(0);
/// assert_eq!(nop.token(), 7);
/// nop.into_output::<op::Nop>()?;
/// # Ok::<(), auraio::Error>(())
/// ```
pub struct Port {
    engine: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    rings: Vec<(Arc<Ring>, u32)>,
    early: Vec<Completion>,
    outstanding: usize,
    /// Whether the port has a ring of its own.
    own: bool,
    /// When the thread began to wait. 0 if it does not wait.
    waits_since: Cell<u64>,
    /// An epoll that watches the shared rings that this port uses, and its mailbox. `None` if the port has a ring of its
    /// own.
    #[cfg(target_os = "linux")]
    watch: Option<Arc<rustix::fd::OwnedFd>>,
    /// Whether the port was dropped. Those who wait for it look here.
    gone: Arc<AtomicBool>,
    not_send: PhantomData<*const ()>,
}

/// An operation that a port took, for [`Port::cancel`].
///
/// ```
/// use auraio::op;
///
/// # let engine = auraio::Engine::builder().build()?;
/// # let mut port = engine.port()?;
/// let ticket = port.submit(op::Nop, 7);
/// port.cancel(ticket);
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PortTicket {
    ring: u32,
    key: Key,
}

impl Engine {
    /// Makes a port for this thread.
    ///
    /// # Errors
    /// If the system has no descriptors or memory left for it.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().build()?;
    /// let port = engine.port()?;
    /// assert_eq!(port.outstanding(), 0);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn port(&self) -> Result<Port> {
        Port::new(self.shared())
    }
}

impl Port {
    fn new(engine: Arc<Shared>) -> Result<Self> {
        let refused = |error: std::io::Error| Error::os(error.raw_os_error().unwrap_or(errno::EMFILE), "eventfd");
        let bell = Bell::new().map_err(refused)?;
        let mailbox = Arc::new(Mailbox::new(bell));
        let mut port = Self {
            engine,
            mailbox,
            rings: Vec::new(),
            early: Vec::new(),
            outstanding: 0,
            own: false,
            waits_since: Cell::new(0),
            #[cfg(target_os = "linux")]
            watch: None,
            gone: Arc::default(),
            not_send: PhantomData,
        };
        port.own = port.engine.routing() == Routing::Thread;
        if port.own {
            let ring = port.engine.make_own(Some(ThreadMark::current()))?;
            port.use_ring(ring)?;
        } else {
            port.watch_mailbox()?;
        }
        Ok(port)
    }

    /// Queues an operation, whose completion will carry `token`. It is handed over when the submit batch is full, or by the
    /// next [`Port::flush`], [`Port::poll`] or [`Port::wait`].
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.submit(op::Nop, 1);
    /// port.submit(op::Stat::path("Cargo.toml"), 2);
    /// let mut completions = Vec::new();
    /// port.wait_for(2, &mut completions);
    /// assert_eq!(completions.iter().map(|completion| completion.token()).sum::<u64>(), 3);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn submit<O: Operation>(&mut self, operation: O, token: u64) -> PortTicket {
        let at = match self.ring_here() {
            Ok(at) => at,
            Err(error) => return self.refuse(operation, token, error),
        };
        let (ring, number) = &self.rings[at];
        match self.engine.submit(ring, operation, Sink::Port { port: *number, token }, false) {
            Ok(key) => {
                self.outstanding += 1;
                PortTicket { ring: at as u32, key }
            }
            Err(done) => self.complete_early(Completion { token, done }),
        }
    }

    /// Notes the completion of an operation that needed no call.
    #[cold]
    fn complete_early(&mut self, completion: Completion) -> PortTicket {
        self.early.push(completion);
        self.outstanding += 1;
        PortTicket { ring: u32::MAX, key: 0 }
    }

    /// Completes an operation with an error, because no ring could be made for it.
    #[cold]
    fn refuse<O: Operation>(&mut self, operation: O, token: u64, error: Error) -> PortTicket {
        let done = Done::early(operation.prepare(), Err(Box::new(error)));
        self.complete_early(Completion { token, done })
    }

    /// Queues operations of one kind with their tokens, under one hold of the ring's lock: for batches of small
    /// operations, where the lock would be a good part of the cost.
    ///
    /// ```
    /// use auraio::{Engine, op};
    ///
    /// let engine = Engine::builder().build()?;
    /// let mut port = engine.port()?;
    /// port.submit_batch((0..64).map(|token| (op::Nop, token)));
    /// let mut completions = Vec::new();
    /// while completions.len() < 64 {
    ///     port.wait(&mut completions, None);
    /// }
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn submit_batch<O: Operation>(&mut self, operations: impl IntoIterator<Item = (O, u64)>) {
        let operations = operations.into_iter();
        match self.ring_here() {
            Ok(at) => {
                let Self { engine, rings, early, outstanding, .. } = self;
                let (ring, number) = &rings[at];
                for (operation, token) in operations {
                    let sink = Sink::Port { port: *number, token };
                    if let Err(done) = engine.submit(ring, operation, sink, false) {
                        early.push(Completion { token, done });
                    }
                    // This is counted at once, because the iterator is code of the user's and may panic.
                    *outstanding += 1;
                }
            }
            Err(error) => {
                for (operation, token) in operations {
                    self.refuse(operation, token, error.clone());
                }
            }
        }
    }

    /// Hands over what is queued, with one system call for each ring that has something.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.submit(op::Nop, 7);
    /// port.flush();
    /// assert_eq!(port.outstanding(), 1); // its completion is still to be taken
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn flush(&mut self) {
        for (ring, _) in &self.rings {
            ring.flush();
        }
        self.come_back();
    }

    /// Makes the event loop come back soon, if the kernel was short of memory and did not take what was queued. While
    /// something is in flight, its completion makes the loop come back; otherwise nothing would.
    fn come_back(&self) {
        if self.rings.iter().any(|(ring, _)| ring.counters.is_stuck()) {
            self.mailbox.bell.ring();
        }
    }

    /// Hands over what is queued, and adds what has completed to `completions`. It never waits. Answers how many it added.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.submit(op::Nop, 7);
    /// let mut completions = Vec::new();
    /// while port.poll(&mut completions) == 0 {
    ///     std::thread::yield_now(); // here a loop does its other work
    /// }
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn poll(&mut self, completions: &mut Vec<Completion>) -> usize {
        let before = completions.len();
        self.look_at_sleep();
        completions.append(&mut self.early);
        self.mailbox.bell.quiet();
        for (ring, number) in &self.rings {
            ring.flush_and_reap(Some(*number), completions);
        }
        self.come_back();
        self.collect(completions, before)
    }

    /// As [`Port::poll`], but it does not hand over what is queued. It is for a loop that calls [`Port::flush`] at a time of
    /// its own.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.submit(op::Nop, 7);
    /// port.flush();
    /// let mut completions = Vec::new();
    /// while port.reap(&mut completions) == 0 {
    ///     std::thread::yield_now(); // here a loop does its other work
    /// }
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn reap(&mut self, completions: &mut Vec<Completion>) -> usize {
        let before = completions.len();
        completions.append(&mut self.early);
        self.mailbox.bell.quiet();
        for (ring, number) in &self.rings {
            ring.reap(Some(*number), completions);
        }
        self.collect(completions, before)
    }

    fn collect(&mut self, completions: &mut Vec<Completion>, before: usize) -> usize {
        if !self.mailbox.letters.is_empty() {
            completions.extend(std::iter::from_fn(|| self.mailbox.letters.pop()));
        }
        let added = completions.len() - before;
        self.outstanding -= added;
        added
    }

    /// As [`Port::poll`], but if nothing has completed it waits until something has, or until the time is over (`None`: no
    /// limit). If nothing is under way, it answers 0 at once.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// let mut completions = Vec::new();
    /// assert_eq!(port.wait(&mut completions, None), 0); // nothing is under way
    /// port.submit(op::Nop, 7);
    /// assert_eq!(port.wait(&mut completions, None), 1);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn wait(&mut self, completions: &mut Vec<Completion>, timeout: Option<Duration>) -> usize {
        let begin = std::time::Instant::now();
        loop {
            let added = self.poll(completions);
            let left = timeout.map(|limit| limit.saturating_sub(begin.elapsed()));
            if added > 0 || self.outstanding == 0 || left == Some(Duration::ZERO) {
                return added;
            }
            let added = self.sleep(left, completions);
            if added > 0 {
                return added;
            }
        }
    }

    /// As [`Port::wait`], but it waits for `wanted` completions. Where the kernel can wait for several, that is one system
    /// call instead of one for each.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.submit_batch((0..8).map(|token| (op::Nop, token)));
    /// let mut completions = Vec::new();
    /// assert_eq!(port.wait_for(8, &mut completions), 8);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn wait_for(&mut self, wanted: usize, completions: &mut Vec<Completion>) -> usize {
        let wanted = wanted.min(self.outstanding);
        let mut added = 0;
        while added < wanted {
            added += self.wait_many(wanted - added, completions);
        }
        added
    }

    /// One wait of `wait_for`.
    fn wait_many(&mut self, wanted: usize, completions: &mut Vec<Completion>) -> usize {
        if self.has_early() {
            return self.poll(completions);
        }
        if self.own {
            // The ring hands over, waits and reaps in one entry.
            let before = completions.len();
            self.wait_on_own(wanted as u32, None, completions);
            return self.collect(completions, before);
        }
        self.wait(completions, None)
    }

    /// Hands over, waits on the port's own ring, and adds what has completed there to `completions`.
    fn wait_on_own(&self, wanted: u32, timeout: Option<Duration>, completions: &mut Vec<Completion>) {
        self.mailbox.bell.quiet();
        for (ring, number) in &self.rings {
            let bell = self.mailbox.bell.descriptor();
            ring.wait_and_reap((wanted, timeout), bell, *number, completions);
        }
    }

    /// Sleeps until something may have completed. Completions that it finds are added to `completions`. Answers how many.
    fn sleep(&mut self, timeout: Option<Duration>, completions: &mut Vec<Completion>) -> usize {
        if self.own {
            let before = completions.len();
            self.wait_on_own(1, timeout, completions);
            return self.collect(completions, before);
        }
        // If the wait ended early, the caller waits again.
        self.begin_wait();
        let _ = sys::poll_readable(&self.raw_descriptors(), timeout);
        self.end_wait();
        0
    }

    /// What the rings that this port uses have done so far. The numbers of a shared ring are those of all its ports
    /// together.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.submit(op::Nop, 7);
    /// port.wait(&mut Vec::new(), None);
    /// assert_eq!(port.ring_stats().iter().map(|ring| ring.completed).sum::<u64>(), 1);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn ring_stats(&self) -> Vec<RingStats> {
        self.rings.iter().map(|(ring, _)| RingStats::of(ring)).collect()
    }

    /// Asks that an operation end early. Its completion comes in any case.
    ///
    /// ```
    /// use auraio::{Error, op};
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// let ticket = port.submit(op::Nop, 7);
    /// port.cancel(ticket);
    /// let mut completions = Vec::new();
    /// port.wait(&mut completions, None);
    /// let outcome = completions.remove(0).into_output::<op::Nop>();
    /// assert!(matches!(outcome, Ok(()) | Err(Error::Cancelled)));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn cancel(&mut self, ticket: PortTicket) {
        if let Some((ring, _)) = self.rings.get(ticket.ring as usize) {
            ring.cancel(ticket.key);
        }
    }

    /// The number of operations whose completions have not been taken yet.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.submit(op::Nop, 7);
    /// assert_eq!(port.outstanding(), 1);
    /// port.wait(&mut Vec::new(), None);
    /// assert_eq!(port.outstanding(), 0);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Whether a completion can be taken without asking the kernel.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.submit(op::RemoveFile::new("a\0b"), 7); // no path: refused before the kernel sees it
    /// assert!(port.has_early());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn has_early(&self) -> bool {
        !self.early.is_empty() || !self.mailbox.letters.is_empty()
    }

    /// The descriptors to watch for readability. When one of them is readable, [`Port::poll`] has something to do. They live
    /// as long as the port and do not change. Windows has none; use [`Port::waiter`] there.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// assert!(!port.descriptors().is_empty()); // for epoll, kqueue, uv_poll
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    #[cfg(unix)]
    pub fn descriptors(&self) -> Vec<std::os::fd::RawFd> {
        self.raw_descriptors()
    }

    /// Makes a waiter, with which another thread can wait until this port has something to do.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// let waiter = port.waiter();
    /// let waiting = std::thread::spawn(move || waiter.wait(None));
    /// port.submit(op::Nop, 7);
    /// port.flush();
    /// waiting.join().unwrap();
    /// assert_eq!(port.wait(&mut Vec::new(), None), 1);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn waiter(&self) -> PortWaiter {
        PortWaiter {
            mailbox: Arc::clone(&self.mailbox),
            #[cfg(target_os = "linux")]
            watch: self.watch.clone(),
            rings: self.rings.iter().map(|(ring, _)| Arc::downgrade(ring)).collect(),
            gone: Arc::clone(&self.gone),
        }
    }

    /// A waker that any thread may use to wake this port's thread: it makes one of the [`Port::descriptors`] readable, as if
    /// something had completed. It is for futures that the thread polls beside the port.
    ///
    /// ```
    /// use std::{future::Future, pin::pin, task::{Context, Poll}};
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// let mut block = pin!(auraio::Pool::global().acquire_async(4096, 4096));
    /// let waker = port.waker();
    /// let block = loop {
    ///     match block.as_mut().poll(&mut Context::from_waker(&waker)) {
    ///         Poll::Ready(block) => break block?,
    ///         Poll::Pending => port.waiter().wait(None),
    ///     }
    /// };
    /// assert!(block.len() >= 4096);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.mailbox))
    }

    fn raw_descriptors(&self) -> Vec<Descriptor> {
        #[cfg(target_os = "linux")]
        if let Some(watch) = &self.watch {
            use std::os::fd::AsRawFd;
            return vec![watch.as_raw_fd()];
        }
        let rings = self.rings.iter().flat_map(|(ring, _)| ring.descriptors().iter().copied());
        rings.chain(self.mailbox.bell.descriptor()).collect()
    }

    /// The engine's backend.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// assert_eq!(port.backend(), engine.backend());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn backend(&self) -> BackendKind {
        self.engine.backend()
    }

    /// Cancels what can be cancelled, waits until everything has completed, and drops the completions. Answers false if the
    /// time was over first (`None`: no limit).
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.submit(op::Nop, 7);
    /// assert!(port.drain(None));
    /// assert_eq!(port.outstanding(), 0);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn drain(&mut self, timeout: Option<Duration>) -> bool {
        let begin = std::time::Instant::now();
        for (ring, number) in &self.rings {
            ring.cancel_port(*number);
        }
        let mut dropped = Vec::new();
        loop {
            self.poll(&mut dropped);
            dropped.clear();
            if self.outstanding == 0 {
                return true;
            }
            if timeout.is_some_and(|limit| begin.elapsed() >= limit) {
                return false;
            }
            self.sleep(Some(Duration::from_millis(50)), &mut dropped);
            dropped.clear();
        }
    }

    /// Tells the engine that this thread begins a wait of its own, until one of [`Port::descriptors`] is readable. Both
    /// control loops use this. While the thread is awake, a completion may lie unseen for some time, and the outer loop must
    /// not count that time against the device. The more the thread sleeps, the fewer operations the inner loop gathers for a
    /// system call. A thread that never calls this counts as always awake. [`Port::wait`] calls it by itself.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.submit(op::Nop, 7);
    /// port.flush();
    /// port.begin_wait();
    /// // ... epoll_wait(2) or the like on the port's descriptors ...
    /// port.end_wait();
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn begin_wait(&self) {
        if self.outstanding == 0 {
            return;
        }
        let now = lanes::now();
        self.waits_since.set(now);
        self.rings.iter().filter(|(ring, _)| ring.is_working()).for_each(|(ring, _)| ring.falls_asleep(now));
    }

    /// Tells the engine that the wait is over. See [`Port::begin_wait`].
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.begin_wait();
    /// port.end_wait();
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn end_wait(&self) {
        let since = self.waits_since.replace(0);
        if since == 0 {
            return;
        }
        let now = lanes::now();
        self.rings.iter().filter(|(ring, _)| ring.is_working()).for_each(|(ring, _)| ring.woke(since, now));
    }

    /// Tells the rings that another thread has slept for this one ([`PortWaiter::wait`]).
    #[inline]
    fn look_at_sleep(&self) {
        let woken = self.mailbox.woken_at.load(Ordering::Acquire);
        if woken > 0 {
            self.mailbox.woken_at.store(0, Ordering::Relaxed);
            let since = self.mailbox.slept_from.load(Ordering::Relaxed);
            for (ring, _) in &self.rings {
                ring.falls_asleep(since);
                ring.woke(since, woken);
            }
        }
    }

    /// The index in `rings` of the ring that a submission goes to now.
    fn ring_here(&mut self) -> Result<usize> {
        if self.own {
            return Ok(0);
        }
        let ring = self.engine.ring_here()?;
        match self.rings.iter().position(|(used, _)| Arc::ptr_eq(used, &ring)) {
            Some(at) => Ok(at),
            None => self.use_ring(ring),
        }
    }

    fn use_ring(&mut self, ring: Arc<Ring>) -> Result<usize> {
        self.watch_ring(&ring)?;
        let number = ring.add_port(&self.mailbox);
        self.rings.push((ring, number));
        Ok(self.rings.len() - 1)
    }

    #[cfg(target_os = "linux")]
    fn watch_mailbox(&mut self) -> Result<()> {
        let refused = |error: rustix::io::Errno| Error::os(error.raw_os_error(), "epoll_create");
        let watch = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).map_err(refused)?;
        self.watch = Some(Arc::new(watch));
        let bell = self.mailbox.bell.descriptor();
        bell.map_or(Ok(()), |bell| self.watch_one(bell, rustix::event::epoll::EventFlags::IN))
    }

    /// Watches a shared ring. If several ports wait for it, a completion wakes one of them, and that one gives the others
    /// theirs.
    #[cfg(target_os = "linux")]
    fn watch_ring(&self, ring: &Ring) -> Result<()> {
        use rustix::event::epoll::EventFlags;
        let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
        ring.descriptors().iter().try_for_each(|&descriptor| self.watch_one(descriptor, flags))
    }

    #[cfg(target_os = "linux")]
    fn watch_one(&self, descriptor: Descriptor, flags: rustix::event::epoll::EventFlags) -> Result<()> {
        let Some(watch) = &self.watch else { return Ok(()) };
        sys::epoll_add(watch, descriptor, flags).map_err(|errno| Error::os(errno, "epoll_ctl"))
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "rings are shared, and watched, on Linux only")]
    fn watch_mailbox(&mut self) -> Result<()> {
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "rings are shared, and watched, on Linux only")]
    fn watch_ring(&self, _: &Ring) -> Result<()> {
        Ok(())
    }
}

impl Drop for Port {
    /// Waits for everything that is under way, so that no memory is given back that the kernel may still write to.
    fn drop(&mut self) {
        self.drain(None);
        for (ring, number) in &self.rings {
            ring.remove_port(*number);
        }
        // From now on nobody quiets the bell, so it ends every wait, also those that begin later.
        self.gone.store(true, Ordering::Release);
        self.mailbox.bell.ring();
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("outstanding", &self.outstanding).finish_non_exhaustive()
    }
}

/// Waits for a port on another thread.
///
/// It may outlive the port. Once the port is dropped, every wait ends at once, because the port never has something to do
/// again.
///
/// ```
/// use auraio::op;
///
/// # let engine = auraio::Engine::builder().build()?;
/// # let mut port = engine.port()?;
/// let waiter = port.waiter();
/// let (tell, told) = std::sync::mpsc::channel();
/// let waiting = std::thread::spawn(move || {
///     waiter.wait(None);
///     tell.send("look at the port").unwrap();
/// });
/// port.submit(op::Nop, 7);
/// port.flush();
/// assert_eq!(told.recv().unwrap(), "look at the port");
/// # waiting.join().unwrap();
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone)]
pub struct PortWaiter {
    mailbox: Arc<Mailbox>,
    #[cfg(target_os = "linux")]
    watch: Option<Arc<rustix::fd::OwnedFd>>,
    /// The port's rings. The waiter watches them if no epoll does. They end with the port, unless a wait is going on.
    rings: Vec<Weak<Ring>>,
    gone: Arc<AtomicBool>,
}

impl PortWaiter {
    /// Waits until the port has something to do, the port is dropped, [`PortWaiter::interrupt`] is called, or the time is
    /// over.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.waiter().wait(Some(Duration::from_millis(1))); // nothing to do: the time runs out
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn wait(&self, timeout: Option<Duration>) {
        if self.gone.load(Ordering::Acquire) {
            return;
        }
        let began = lanes::now();
        // The rings are kept for as long as this waits. Otherwise a descriptor could be closed and name another file.
        let rings: Vec<_> = self.rings.iter().filter_map(Weak::upgrade).collect();
        // If the wait ended early, the caller waits again.
        let _ = sys::poll_readable(&self.descriptors(&rings), timeout);
        self.mailbox.slept_from.store(began, Ordering::Relaxed);
        self.mailbox.woken_at.store(lanes::now(), Ordering::Release);
    }

    /// The descriptors that the waiter watches. The bell lives as long as the mailbox, which this waiter shares.
    fn descriptors(&self, rings: &[Arc<Ring>]) -> Vec<Descriptor> {
        #[cfg(target_os = "linux")]
        if let Some(watch) = &self.watch {
            use std::os::fd::AsRawFd;
            return vec![watch.as_raw_fd()];
        }
        let rings = rings.iter().flat_map(|ring| ring.descriptors().iter().copied());
        rings.chain(self.mailbox.bell.descriptor()).collect()
    }

    /// Ends the wait of whichever thread waits.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// let waiter = port.waiter();
    /// let other = waiter.clone();
    /// let waiting = std::thread::spawn(move || other.wait(None));
    /// waiter.interrupt();
    /// waiting.join().unwrap();
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn interrupt(&self) {
        self.mailbox.bell.ring();
    }
}

impl fmt::Debug for PortWaiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortWaiter").finish_non_exhaustive()
    }
}
