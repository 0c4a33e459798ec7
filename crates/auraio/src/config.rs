//! The options of an engine, with their defaults. [`Builder::build`] refuses numbers that are out of range, with an error that
//! names the option and its range.

use std::{num::NonZeroU32, time::Duration};

use crate::{
    Error, Pool, Result, Topology,
    backend::BackendChoice,
    control::{Policy, Wish},
};

/// Which ring an operation goes to.
///
/// ```
/// use auraio::{Engine, Routing};
///
/// let engine = Engine::builder().routing(Routing::Thread).build()?;
/// # drop(engine);
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Routing {
    /// The ring of the core that the submission runs on; all threads of that core share it. The submission's memory is in that
    /// core's cache, and a machine has as many rings as cores, however many threads. A pinned thread always uses the ring of
    /// its core; another thread uses the ring of the core on which the scheduler runs it.
    #[default]
    Core,
    /// A ring that belongs to the thread alone.
    Thread,
}

/// The largest queue depth of a ring.
pub(crate) const QUEUE_DEPTH_MAX: u32 = 32_768;

/// Makes an [`Engine`](crate::Engine).
///
/// ```
/// use auraio::{Engine, Routing};
///
/// let engine = Engine::builder().routing(Routing::Thread).queue_depth(256).build()?;
/// # drop(engine);
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) backend: BackendChoice,
    pub(crate) routing: Routing,
    pub(crate) queue_depth: u32,
    pub(crate) submit_batch: Option<u32>,
    pub(crate) wish: Wish,
    pub(crate) flush_budget: u64,
    pub(crate) threads_max: u32,
    pub(crate) kernel_poll: Option<Duration>,
    pub(crate) topology: Option<Topology>,
    pub(crate) pool: Pool,
    pub(crate) register: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            backend: BackendChoice::Auto,
            routing: Routing::Core,
            queue_depth: 1024,
            submit_batch: None,
            wish: Wish { policy: Some(Policy::default()), ..Wish::default() },
            flush_budget: crate::op::route::FLUSH_BUDGET_BYTES,
            threads_max: 16,
            kernel_poll: None,
            topology: None,
            pool: Pool::global(),
            register: true,
        }
    }
}

impl Builder {
    /// Which backend performs the operations.
    ///
    /// ```
    /// use auraio::{BackendChoice, Engine};
    ///
    /// let engine = Engine::builder().backend(BackendChoice::Threads).build()?;
    /// engine.block_on(engine.submit(auraio::op::Nop))?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn backend(mut self, backend: BackendChoice) -> Self {
        self.backend = backend;
        self
    }

    /// Which ring an operation goes to.
    ///
    /// ```
    /// use auraio::{Engine, Routing};
    ///
    /// let engine = Engine::builder().routing(Routing::Thread).build()?;
    /// engine.block_on(engine.submit(auraio::op::Nop))?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn routing(mut self, routing: Routing) -> Self {
        self.routing = routing;
        self
    }

    /// How many operations one ring may hold in flight, 1 to 32,768 (default 1,024); further operations wait in order.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().queue_depth(64).build()?;
    /// engine.block_on(engine.submit(auraio::op::Nop))?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn queue_depth(mut self, operations: u32) -> Self {
        self.queue_depth = operations;
        self
    }

    /// After how many SQEs the ring hands them to the kernel by itself, 1 to 1,024. Without this option the inner loop decides,
    /// by the cost of a system call and by how busy the thread is; for operations that the page cache serves it is 32.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().submit_batch(8).build()?;
    /// engine.block_on(engine.submit(auraio::op::Nop))?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn submit_batch(mut self, entries: u32) -> Self {
        self.submit_batch = Some(entries);
        self
    }

    /// How many bytes of buffered reads one flush may perform on the submitting thread (default 256 KiB, about 100 us at
    /// worst). Further reads go to the kernel's workers, which costs three times the CPU.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().flush_budget(1 << 20).build()?;
    /// engine.block_on(engine.submit(auraio::op::Nop))?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn flush_budget(mut self, bytes: u64) -> Self {
        self.flush_budget = bytes;
        self
    }

    /// How many threads the crew may have, 1 to 1,024 (default 16). The crew performs the calls that the kernel's ring cannot.
    /// With the backend `threads` it performs all operations, so this is how many really run at a time. A thread that one call
    /// has held for some 200 ms does not count while other calls wait: its device may never answer. There are at most 512
    /// threads beyond the maximum for that reason.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().threads_max(4).build()?;
    /// engine.block_on(engine.submit(auraio::op::Nop))?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn threads_max(mut self, threads: u32) -> Self {
        self.threads_max = threads;
        self
    }

    /// Makes a thread of the kernel watch the submission queues (SQPOLL). It stays awake for the time `idle` after the last
    /// entry, and keeps a core busy meanwhile. It also keeps the credentials that the process had when the ring was made: after
    /// a setuid it still opens files as the old user. Off by default.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let engine = auraio::Engine::builder().kernel_poll(Duration::from_millis(1)).build()?;
    /// engine.block_on(engine.submit(auraio::op::Nop))?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn kernel_poll(mut self, idle: Duration) -> Self {
        self.kernel_poll = Some(idle);
        self
    }

    /// Makes the engine for another machine than the one detected; for tests.
    ///
    /// ```
    /// use auraio::{Engine, Topology};
    ///
    /// let machine = Topology::builder().node(0, 0..4).node(1, 4..8).build()?;
    /// let engine = Engine::builder().topology(machine).build()?;
    /// assert_eq!(engine.topology().cpus().len(), 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn topology(mut self, topology: Topology) -> Self {
        self.topology = Some(topology);
        self
    }

    /// Whether the rings register memory of the pool, and files that are used often, with the kernel (default: yes). If not,
    /// the kernel pins the pages and looks up the file for each operation, and only the rings count against RLIMIT_MEMLOCK.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().register(false).build()?;
    /// engine.block_on(engine.read_path("Cargo.toml", engine.acquire(4096)?)).0?;
    /// assert_eq!(engine.stats().rings.iter().map(|ring| ring.fixed_buffers).sum::<u64>(), 0);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn register(mut self, register: bool) -> Self {
        self.register = register;
        self
    }

    /// The pool that the engine takes memory from (default: the pool of the process).
    ///
    /// ```
    /// use auraio::{Engine, Pool};
    ///
    /// let engine = Engine::builder().pool(Pool::global()).build()?;
    /// assert_eq!(engine.acquire(100)?.len(), 100);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn pool(mut self, pool: Pool) -> Self {
        self.pool = pool;
        self
    }

    /// Refuses numbers that are out of range.
    pub(crate) fn check(&self) -> Result<()> {
        let within = |value: u32, max: u32| NonZeroU32::new(value).is_some_and(|value| value.get() <= max);
        if !within(self.queue_depth, QUEUE_DEPTH_MAX) {
            return Err(Error::InvalidInput("queue_depth must be 1 to 32,768"));
        }
        if self.submit_batch.is_some_and(|entries| !within(entries, 1024)) {
            return Err(Error::InvalidInput("submit_batch must be 1 to 1,024"));
        }
        if !within(self.threads_max, 1024) {
            return Err(Error::InvalidInput("threads_max must be 1 to 1,024"));
        }
        self.wish.check()?;
        Ok(())
    }
}
