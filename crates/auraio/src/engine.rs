//! The engine: it chooses the backend and the ring of each submission, and sees to it that somebody reaps.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    marker::PhantomData,
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use crate::{
    BackendChoice, BackendKind, Block, Builder, Error, File, OpFuture, Pool, Result, Routing, Topology,
    backend::{
        self, AnyBackend,
        threads::{Crew, ThreadsBackend},
    },
    drain::{self, Waiters},
    driver::Driver,
    lanes::{self, Wishes},
    lock,
    op::{self, Done, Operation, Prepared},
    pool::SlabHolder,
    ring::{Key, Polled, Regions, Ring, RingSpec, Sink, ThreadMark, Ticket, asleep},
    stats::{RingStats, Stats},
    sys::{self, Bell},
    topology,
};

/// The engine. It is cheap to clone, and a clone is the same engine.
///
/// ```
/// use auraio::{Engine, OpenOptions};
///
/// let engine = Engine::builder().build()?;
/// let (read, buffer) = engine.block_on(async {
///     let file = engine.open("Cargo.toml", OpenOptions::new().read(true)).await?;
///     Ok::<_, auraio::Error>(file.read_at(vec![0; 9], 0).await)
/// })?;
/// assert_eq!(&buffer[..read?], b"[package]");
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    /// The wishes of this engine and its clones for the lanes that their files use.
    client: Arc<Wishes>,
}

pub(crate) struct Shared {
    id: u64,
    options: Builder,
    topology: Topology,
    backend: BackendKind,
    reason: String,
    crew: Arc<Crew>,
    /// The rings of the cores. Each is made when it is first used.
    cores: Box<[OnceLock<Arc<Ring>>]>,
    /// Rings that belong to one thread or port, for statistics and the driver.
    others: Mutex<Vec<Weak<Ring>>>,
    making: Mutex<()>,
    driver: OnceLock<Driver>,
    /// The number of simulated kernels so far. Each of them has a seed of its own.
    #[cfg(feature = "sim")]
    seeds: AtomicU64,
    /// Memory that the program has registered.
    regions: Arc<Regions>,
    /// Whether new operations are refused.
    closed: AtomicBool,
    waiters: Waiters,
}

// While a thread ends, the destructors of its other thread-locals may still use an engine, and these two may be gone by
// then. So all code uses them by `try_with`, and does without them if they are gone.
thread_local! {
    /// The rings that belong to this thread, by engine.
    static OWN: RefCell<Vec<(u64, Arc<Ring>)>> = const { RefCell::new(Vec::new()) };
    /// The engines whose rings this thread drives now: by `block_on`, by `turn`, or because of `drive_here`.
    static DRIVING: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

static ENGINES: AtomicU64 = AtomicU64::new(1);

impl Engine {
    /// Options for a new engine.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().submit_batch(16).build()?;
    /// # drop(engine);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(options: Builder) -> Result<Self> {
        let (backend, reason) = backend::choose(&options.backend)?;
        let (control, class) = (options.control(backend), options.priority);
        let topology = options.topology.clone().unwrap_or_else(Topology::detect);
        let cores = (0..=topology.cpu_max()).map(|_| OnceLock::new()).collect();
        let crew = Arc::new(Crew::new(options.threads_max as usize));
        let shared = Shared {
            id: ENGINES.fetch_add(1, Ordering::Relaxed),
            options,
            topology,
            backend,
            reason,
            crew,
            cores,
            others: Mutex::default(),
            making: Mutex::default(),
            driver: OnceLock::new(),
            #[cfg(feature = "sim")]
            seeds: AtomicU64::new(0),
            regions: Arc::default(),
            closed: AtomicBool::new(false),
            waiters: Waiters::default(),
        };
        let client = Wishes::of(&control, class);
        Ok(Self { shared: Arc::new(shared), client })
    }

    pub(crate) const fn client(&self) -> &Arc<Wishes> {
        &self.client
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    pub(crate) const fn from_shared(shared: Arc<Shared>, client: Arc<Wishes>) -> Self {
        Self { shared, client }
    }

    /// The backend, which performs the operations.
    ///
    /// ```
    /// use auraio::{BackendChoice, BackendKind, Engine};
    ///
    /// let engine = Engine::builder().backend(BackendChoice::Threads).build()?;
    /// assert_eq!(engine.backend(), BackendKind::Threads);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn backend(&self) -> BackendKind {
        self.shared.backend
    }

    /// The reason for this backend, in one sentence. If some memory could not be registered, a second sentence says why.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().build()?;
    /// assert!(!engine.backend_reason().is_empty());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn backend_reason(&self) -> String {
        match backend::registry::shed().filter(|_| self.shared.registers()) {
            Some(shed) => format!("{}; {shed}", self.shared.reason),
            None => self.shared.reason.clone(),
        }
    }

    /// Whether a new engine with the same options would be better than this one. That is so if `io_uring` could not be used
    /// when this engine was made, for want of descriptors or memory, and it can be used now.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().build()?;
    /// assert!(!engine.is_outdated());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        let wanted = matches!(self.shared.options.backend, BackendChoice::Auto)
            && std::env::var_os("AURAIO_BACKEND").is_none_or(|name| name != "threads");
        wanted && self.shared.backend == BackendKind::Threads && backend::uring_is_back()
    }

    /// Queues an operation on the ring of this core or thread.
    ///
    /// ```
    /// use auraio::{Engine, op};
    ///
    /// let engine = Engine::builder().build()?;
    /// let (one, two) = (engine.submit(op::Nop), engine.submit(op::Stat::path("Cargo.toml")));
    /// assert!(engine.block_on(two)?.is_file());
    /// engine.block_on(one)?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn submit<O: Operation>(&self, operation: O) -> OpFuture<O> {
        let ring = match self.shared.ring_here() {
            Ok(ring) => ring,
            Err(error) => {
                let done = Done::early(operation.prepare(), Err(Box::new(error)));
                return OpFuture::early(self.shared(), done);
            }
        };
        match self.shared.submit(&ring, operation, Sink::Future, true) {
            Ok(key) => OpFuture::under_way(self.shared(), Ticket { ring, key }),
            Err(done) => OpFuture::early(self.shared(), done),
        }
    }

    /// Runs a future on this thread. The thread also hands over and reaps for it, so no other thread takes part.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().build()?;
    /// assert_eq!(engine.block_on(async { 6 * 7 }), 42);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    ///
    /// # Panics
    /// If the system has no descriptor left to wait with.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let parker = match Bell::new() {
            Ok(bell) => Arc::new(Parker { woken: AtomicBool::new(true), parked: AtomicBool::new(false), bell }),
            Err(error) => panic!("no descriptor to wait with: {error}"),
        };
        let waker = Waker::from(Arc::clone(&parker));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        let driving = Drives::begin(self.shared.id);
        loop {
            if parker.woken.swap(false, Ordering::SeqCst)
                && let Poll::Ready(output) = future.as_mut().poll(&mut context)
            {
                drop(driving);
                self.shared.leave_to_driver();
                return output;
            }
            self.shared.reap_all();
            if !parker.woken.load(Ordering::SeqCst) {
                parker.park(&self.shared);
            }
        }
    }

    /// Hands over what is queued, reaps what has completed, and wakes the futures of that. If there is nothing to reap, it
    /// waits up to `timeout`. It is for event loops that do not want the engine's own thread: a turn never starts it.
    ///
    /// A future that is polled or dropped outside of a turn does start that thread, because the engine cannot know that
    /// another turn will follow. A loop that polls its futures between turns calls [`Engine::drive_here`] first.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let engine = auraio::Engine::builder().build()?;
    /// engine.turn(Some(Duration::ZERO));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn turn(&self, timeout: Option<Duration>) {
        let driving = Drives::begin(self.shared.id);
        self.shared.reap_all();
        if timeout != Some(Duration::ZERO) {
            self.shared.wait_any(None, timeout);
            self.shared.reap_all();
        }
        drop(driving);
    }

    /// Tells the engine that this thread will call [`Engine::turn`] again and again, until the returned value is dropped.
    /// Futures that are polled or dropped on this thread meanwhile do not start the engine's own thread.
    ///
    /// While the returned value lives, operations that this thread began complete only in turns and in `block_on`. A thread
    /// that stops calling `turn` must drop the value first.
    ///
    /// ```
    /// use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    ///
    /// let engine = auraio::Engine::builder().build()?;
    /// let driving = engine.drive_here();
    /// let mut nop = pin!(engine.submit(auraio::op::Nop));
    /// let mut context = Context::from_waker(Waker::noop());
    /// while nop.as_mut().poll(&mut context).is_pending() {
    ///     engine.turn(None);
    /// }
    /// drop(driving);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn drive_here(&self) -> Driving {
        Driving { _drives: Drives::begin(self.shared.id), engine: self.shared(), not_send: PhantomData }
    }

    /// What the engine has done so far.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().build()?;
    /// engine.block_on(engine.submit(auraio::op::Nop))?;
    /// let completed: u64 = engine.stats().rings.iter().map(|ring| ring.completed).sum();
    /// assert_eq!(completed, 1);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        let rings = self.shared.rings();
        rings.iter().for_each(|ring| ring.report_lanes());
        let rings = rings.iter().map(|ring| RingStats::of(ring)).collect();
        let lanes = lanes::all().iter().map(|lane| lane.stats()).collect();
        Stats { backend: self.shared.backend, rings, lanes, pool: self.pool().stats() }
    }

    /// Takes a block of at least `size` bytes from the engine's pool. Its address is a multiple of 4,096. Operations on it
    /// use registered buffers, which cost the kernel less.
    ///
    /// # Errors
    /// As [`Pool::acquire`].
    ///
    /// ```
    /// use auraio::{Engine, OpenOptions};
    ///
    /// let engine = Engine::builder().build()?;
    /// let block = engine.acquire(4096)?;
    /// let (read, block) = engine.block_on(async {
    ///     let file = engine.open("Cargo.toml", OpenOptions::new().read(true)).await?;
    ///     Ok::<_, auraio::Error>(file.read_at(block, 0).await)
    /// })?;
    /// assert!(block[..read?].starts_with(b"[package]"));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn acquire(&self, size: usize) -> Result<Block> {
        self.pool().acquire(size)
    }

    /// The pool that [`Engine::acquire`] takes from.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().build()?;
    /// let block = engine.pool().acquire_aligned(100, 65_536)?;
    /// assert_eq!((block.len(), block.as_ptr() as usize % 65_536), (100, 0));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn pool(&self) -> Pool {
        self.shared.options.pool
    }

    /// The cores and NUMA nodes of the machine, as the engine sees them.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().build()?;
    /// assert!(!engine.topology().cpus().is_empty());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.shared.topology
    }
}

impl Shared {
    /// Whether this engine's rings register memory and files.
    pub(crate) fn registers(&self) -> bool {
        self.backend == BackendKind::Uring && self.options.register
    }

    pub(crate) const fn pool(&self) -> Pool {
        self.options.pool
    }

    /// Gives an operation to a ring of this engine. Answers its key there, or its result if it needed no call. `publish`
    /// says whether to bring the ring's counters up to date at once.
    #[inline(always)]
    pub(crate) fn submit<O: Operation>(
        self: &Arc<Self>,
        ring: &Arc<Ring>,
        operation: O,
        sink: Sink,
        publish: bool,
    ) -> std::result::Result<Key, Done> {
        let mut operation = operation;
        if let Some(plain) = operation.plain()
            && self.admits(operation.plain_file())
        {
            match ring.submit_plain(plain, operation, sink, publish) {
                Ok(key) => return Ok(key),
                Err(refused) => operation = refused,
            }
        }
        self.submit_long(ring, operation.prepare(), sink)
    }

    #[inline(never)]
    fn submit_long(
        self: &Arc<Self>,
        ring: &Arc<Ring>,
        mut prepared: Prepared,
        sink: Sink,
    ) -> std::result::Result<Key, Done> {
        self.admit(&mut prepared);
        match prepared.early.take() {
            Some(outcome) => Err(Done::early(prepared, outcome)),
            None => Ok(ring.submit_long(prepared, sink)),
        }
    }

    /// Whether [`Shared::admit`] would have nothing to do for an operation on this file.
    #[inline(always)]
    fn admits(self: &Arc<Self>, file: Option<&File>) -> bool {
        !self.closed.load(Ordering::Relaxed) && file.is_none_or(|file| file.shared().is_of(self))
    }

    /// Checks an operation of the long path. If the engine is closed, the operation is refused. If one of its files belongs
    /// to another engine, the file notes that this engine uses it, so that its close looks at this engine's rings too.
    #[inline]
    pub(crate) fn admit(self: &Arc<Self>, prepared: &mut Prepared) {
        for file in prepared.files() {
            if !file.is_of(self) {
                file.note_user(self);
            }
        }
        // A file that is open can still be closed.
        if self.closed.load(Ordering::Relaxed) && prepared.closing.is_none() && prepared.early.is_none() {
            prepared.early = Some(Err(Box::new(Error::EngineClosed)));
        }
    }

    /// Refuses new operations from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) const fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// Whether nothing is under way on any ring, those of other threads included.
    pub(crate) fn is_idle(&self) -> bool {
        self.rings().iter().all(|ring| ring.is_idle())
    }

    /// Somebody waits for the engine to be idle: whoever reaps wakes it then.
    pub(crate) fn ensure_watched(self: &Arc<Self>) {
        self.ensure_driven();
        self.tell_driver();
    }

    pub(crate) fn regions(&self) -> &Regions {
        &self.regions
    }

    pub(crate) const fn backend(&self) -> BackendKind {
        self.backend
    }

    pub(crate) fn routing(&self) -> Routing {
        // Only with io_uring is it worth sharing a ring among the threads of a core. On other backends a ring is only a
        // queue in front of the crew.
        if cfg!(target_os = "linux") { self.options.routing } else { Routing::Thread }
    }

    /// The ring that a submission of this thread goes to now.
    pub(crate) fn ring_here(&self) -> Result<Arc<Ring>> {
        match self.routing() {
            Routing::Core => self.ring_of_core(),
            Routing::Thread => self.ring_of_thread(),
        }
    }

    fn ring_of_core(&self) -> Result<Arc<Ring>> {
        let cpu = topology::current_cpu().min(self.topology.cpu_max());
        let place = &self.cores[cpu as usize];
        if let Some(ring) = place.get() {
            return Ok(Arc::clone(ring));
        }
        let _making = lock(&self.making);
        if place.get().is_none() {
            let ring = match self.make_ring(cpu, None) {
                Ok(ring) => ring,
                // No descriptor or memory is left for another ring. For now, the ring of another core serves this core too.
                Err(error) => return self.cores.iter().find_map(OnceLock::get).map(Arc::clone).ok_or(error),
            };
            let _ = place.set(ring);
            self.tell_driver();
        }
        place.get().map(Arc::clone).ok_or(Error::EngineClosed)
    }

    fn ring_of_thread(&self) -> Result<Arc<Ring>> {
        let mine = |own: &RefCell<Vec<(u64, Arc<Ring>)>>| {
            own.borrow().iter().find(|(engine, _)| *engine == self.id).map(|(_, ring)| Arc::clone(ring))
        };
        if let Ok(Some(ring)) = OWN.try_with(mine) {
            return Ok(ring);
        }
        // Any thread may poll a future, so any thread may have to submit to this ring, one at a time.
        let ring = self.make_own(None)?;
        // A thread that is ending cannot keep the ring. Then the ring lives as long as the operation that it was made for.
        let _ = OWN.try_with(|own| own.borrow_mut().push((self.id, Arc::clone(&ring))));
        Ok(ring)
    }

    /// Makes a ring for one thread or port.
    pub(crate) fn make_own(&self, single_issuer: Option<ThreadMark>) -> Result<Arc<Ring>> {
        let cpu = topology::current_cpu().min(self.topology.cpu_max());
        let ring = self.make_ring(cpu, single_issuer)?;
        let mut others = lock(&self.others);
        others.retain(|ring| ring.strong_count() > 0);
        others.push(Arc::downgrade(&ring));
        drop(others);
        self.tell_driver();
        Ok(ring)
    }

    fn make_ring(&self, cpu: u32, single_issuer: Option<ThreadMark>) -> Result<Arc<Ring>> {
        let depth = self.options.queue_depth;
        let threads = || {
            ThreadsBackend::new(Arc::clone(&self.crew), depth)
                .map_err(|error| Error::os(error.raw_os_error().unwrap_or(sys::errno::EMFILE), "eventfd"))
        };
        #[cfg(feature = "sim")]
        let mut simulated = None;
        let main = match (&self.options.backend, self.backend) {
            #[cfg(feature = "sim")]
            (BackendChoice::Sim(sim), _) => {
                // Each ring has a seed of its own, which follows from the engine's seed.
                let nth = self.seeds.fetch_add(1, Ordering::Relaxed);
                let sim = sim.for_ring(nth, depth);
                simulated = Some(sim.clone());
                backend::sim_backend(sim)
            }
            #[cfg(target_os = "linux")]
            (_, BackendKind::Uring) => {
                let spec = backend::uring::UringSpec {
                    in_flight_max: depth,
                    single_issuer: single_issuer.is_some(),
                    kernel_poll_ms: self
                        .options
                        .kernel_poll
                        .map(|idle| u32::try_from(idle.as_millis()).unwrap_or(1000)),
                };
                match backend::uring::UringBackend::new(spec) {
                    Ok(uring) => AnyBackend::Uring(uring),
                    // The probe worked, so a limit was reached since then (descriptors, locked memory). Threads
                    // serve this ring.
                    Err(_) => AnyBackend::Threads(threads()?),
                }
            }
            _ => AnyBackend::Threads(threads()?),
        };
        #[cfg_attr(not(feature = "sim"), expect(unused_mut, reason = "only the simulator changes it"))]
        let mut helper = if self.backend == BackendKind::Threads { None } else { Some(threads()?) };
        #[cfg(feature = "sim")]
        if let (Some(helper), Some(sim)) = (&mut helper, simulated) {
            helper.simulate(sim);
        }
        let spec = RingSpec {
            cpu,
            numa_node: self.topology.node_of(cpu).unwrap_or(0),
            in_flight_max: depth,
            submit_batch: self.options.batch_policy(),
            flush_budget: self.options.flush_budget,
            heavy_max: op::route::heavy_max(self.topology.cpus().len()),
            single_issuer,
            register: self.options.register,
        };
        let ring = Ring::new(spec, main, helper, self.options.pool, Arc::clone(&self.regions));
        let holder = Arc::downgrade(&ring);
        self.options.pool.add_holder(holder as Weak<dyn SlabHolder>);
        Ok(ring)
    }

    /// All rings of this engine.
    pub(crate) fn rings(&self) -> Vec<Arc<Ring>> {
        let mut rings: Vec<_> = self.cores.iter().filter_map(OnceLock::get).map(Arc::clone).collect();
        rings.extend(lock(&self.others).iter().filter_map(Weak::upgrade));
        rings
    }

    /// Flushes and reaps every ring that any thread may submit to, and tells those who wait for the engine to be idle.
    pub(crate) fn reap_all(&self) {
        self.hand_over_and_reap();
        if self.waiters.any() && self.is_idle() {
            self.waiters.wake();
        }
    }

    /// The same, but only those are woken whose operations completed.
    pub(crate) fn hand_over_and_reap(&self) {
        for ring in self.rings() {
            if ring.may_submit() {
                ring.flush_and_reap(None, &mut Vec::new());
            }
        }
    }

    /// Waits until a ring has something to reap, `bell` rings, or the time is over.
    pub(crate) fn wait_any(&self, bell: Option<&Bell>, timeout: Option<Duration>) {
        let rings = self.rings();
        let mine = rings.iter().filter(|ring| ring.may_submit());
        let descriptors: Vec<_> =
            mine.flat_map(|ring| ring.descriptors().iter().copied()).chain(bell.and_then(Bell::descriptor)).collect();
        // If the kernel could not take entries, no descriptor tells when it can. So look again soon.
        let stuck = rings.iter().any(|ring| ring.counters.is_stuck());
        let soon = Duration::from_millis(1);
        let look = if stuck { Some(soon) } else { self.waiters.any().then_some(drain::LOOK) };
        let timeout = look.into_iter().chain(timeout).min();
        // If a signal interrupts the wait, the caller looks again.
        let _ = asleep(&rings, || sys::poll_readable(&descriptors, timeout));
    }

    /// Polls a future's operation. On a thread that drives the engine, this only looks for the result: the loop of that
    /// thread hands over when nothing else is ready. On any other executor, the future wakes its own task once. So the
    /// executor polls everything that is ready, and then this future again. That second poll hands the ring over and reaps,
    /// for all of them.
    pub(crate) fn poll(self: &Arc<Self>, ticket: &Ticket, asked: &mut bool, context: &Context<'_>) -> Option<Done> {
        let Ticket { ring, key } = ticket;
        let mut polled = ring.poll(*key, context);
        if let Polled::Ready(done) = polled {
            return Some(done);
        }
        if Drives::here(self.id) {
            return None;
        }
        if matches!(polled, Polled::Queued) {
            if !*asked {
                *asked = true;
                context.waker().wake_by_ref();
                return None;
            }
            ring.flush_and_reap(None, &mut Vec::new());
            polled = ring.poll(*key, context);
            if let Polled::Ready(done) = polled {
                return Some(done);
            }
        }
        self.have_driven(ring.counters.is_stuck());
        None
    }

    /// Has the driver reap, and starts it if it does not run. `stuck` says that something waits that no completion will move
    /// on.
    fn have_driven(self: &Arc<Self>, stuck: bool) {
        let driver = self.driver.get_or_init(|| Driver::start(Arc::downgrade(self)));
        if stuck {
            driver.look_again();
        }
    }

    /// Sees to it that somebody reaps for a future that is not ready: this thread, if it drives the engine, and otherwise
    /// the driver.
    pub(crate) fn ensure_driven(self: &Arc<Self>) {
        if !Drives::here(self.id) {
            self.have_driven(self.is_stuck());
        }
    }

    /// Whether something waits that no completion will move on: the kernel was short of memory and did not take it, and
    /// nothing is in flight. Somebody has to offer it again.
    fn is_stuck(&self) -> bool {
        self.rings().iter().any(|ring| ring.counters.is_stuck())
    }

    /// Whether anything is under way on rings that any thread may drive.
    fn is_busy(&self) -> bool {
        self.rings().iter().any(|ring| ring.may_submit() && ring.is_busy())
    }

    /// Leaves operations whose futures were dropped in a `block_on` to the driver, because somebody still has to reap them.
    fn leave_to_driver(self: &Arc<Self>) {
        if self.is_busy() {
            self.ensure_driven();
        }
    }

    fn tell_driver(&self) {
        if let Some(driver) = self.driver.get() {
            driver.look_again();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.stop();
        }
        let id = self.id;
        // Other threads drop their ring of this engine when they end, or when they next make a ring.
        let mine = |own: &RefCell<Vec<(u64, Arc<Ring>)>>| {
            let mut own = own.borrow_mut();
            own.iter().position(|(engine, _)| *engine == id).map(|at| own.swap_remove(at))
        };
        // The ring is dropped after the list was let go of. It drops buffers of the caller's, and their drop may use other
        // engines.
        drop(OWN.try_with(mine));
    }
}

/// Marks that this thread drives the rings of an engine, for as long as this value lives.
struct Drives(u64);

impl Drives {
    fn begin(engine: u64) -> Self {
        // A thread that is ending has no list any more. Then the driver reaps as well, which does no harm.
        let _ = DRIVING.try_with(|driving| driving.borrow_mut().push(engine));
        Self(engine)
    }

    /// Whether this thread drives the rings of an engine.
    fn here(engine: u64) -> bool {
        DRIVING.try_with(|driving| driving.borrow().contains(&engine)).unwrap_or(false)
    }
}

impl Drop for Drives {
    fn drop(&mut self) {
        let end = |driving: &RefCell<Vec<u64>>| {
            let mut driving = driving.borrow_mut();
            // Several such values may be dropped in any order.
            driving.iter().rposition(|engine| *engine == self.0).map(|at| driving.remove(at))
        };
        let _ = DRIVING.try_with(end);
    }
}

/// Says that this thread drives an engine by [`Engine::turn`]. See [`Engine::drive_here`].
#[must_use = "the thread drives the engine only as long as this lives"]
pub struct Driving {
    _drives: Drives,
    engine: Arc<Shared>,
    /// It belongs to one thread.
    not_send: PhantomData<*const ()>,
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.engine.leave_to_driver();
    }
}

impl fmt::Debug for Driving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driving").finish_non_exhaustive()
    }
}

/// What `block_on` sleeps with, until a ring has something to reap or a waker wakes it.
struct Parker {
    woken: AtomicBool,
    parked: AtomicBool,
    bell: Bell,
}

impl Parker {
    fn park(&self, engine: &Shared) {
        self.parked.store(true, Ordering::SeqCst);
        if !self.woken.load(Ordering::SeqCst) {
            engine.wait_any(Some(&self.bell), None);
        }
        self.parked.store(false, Ordering::SeqCst);
        self.bell.quiet();
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) {
            self.bell.ring();
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("backend", &self.backend).field("options", &self.options).finish_non_exhaustive()
    }
}
