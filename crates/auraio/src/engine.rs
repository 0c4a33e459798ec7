//! The engine: it chooses the backend and the ring of each submission, and sees to it that somebody reaps.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    marker::PhantomData,
    mem,
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use crate::{
    BackendChoice, BackendKind, Block, Builder, Error, File, Pool, Result, Routing, Topology,
    backend::{self, threads::Crew},
    file::Home,
    lanes::{self, Wishes},
    lock,
    op::{Done, Operation, Prepared},
    ring::{Key, Polled, Regions, Ring, RingStats, Sink, Ticket, asleep, outside},
    stats::Stats,
    sys::{self, Bell, Descriptor},
};

mod driver;
mod leftover;
mod rings;
mod waiters;

use driver::Driver;
use leftover::Leftover;
use waiters::Waiters;

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
    pub(crate) shared: Arc<Shared>,
    /// What this handle and its clones wish of the lanes that their files use.
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
    others: OtherRings,
    making: Mutex<()>,
    driver: OnceLock<Driver>,
    /// The number of simulated kernels so far. Each of them has a seed of its own.
    #[cfg(feature = "sim")]
    seeds: AtomicU64,
    /// Memory that the program has registered.
    regions: Arc<Regions>,
    /// New operations are refused.
    closed: AtomicBool,
    waiters: Waiters,
}

/// The rings that do not belong to a core.
#[derive(Default)]
struct OtherRings {
    /// Rings that belong to one thread or port, for statistics and the driver.
    rings: Mutex<Vec<Weak<Ring>>>,
    /// Rings of threads that have ended, with something still in flight on them.
    leftover: Leftover,
    /// How many rings of any kind the engine has made so far.
    made: AtomicU64,
}

// While a thread ends, destructors of its other locals may still use an engine, and find this one gone. So everybody who looks
// at it does so by `try_with`, and has an answer for that case.
thread_local! {
    /// The engines whose rings this thread drives right now: by `block_on`, by `turn`, or because the caller said so.
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

    fn new(options: Builder) -> Result<Self> {
        let (backend, reason) = backend::choose(&options.backend)?;
        let client = Wishes::of(options.wish, options.room(backend));
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
            others: OtherRings::default(),
            making: Mutex::default(),
            driver: OnceLock::new(),
            #[cfg(feature = "sim")]
            seeds: AtomicU64::new(0),
            regions: Arc::default(),
            closed: AtomicBool::new(false),
            waiters: Waiters::default(),
        };
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

    /// Runs a future on this thread, which reaps for it: no other thread takes part.
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
        let mut rounds = Rounds::default();
        loop {
            if parker.woken.swap(false, Ordering::SeqCst)
                && let Poll::Ready(output) = future.as_mut().poll(&mut context)
            {
                drop(driving);
                self.shared.leave_to_driver();
                return output;
            }
            rounds.turn(&self.shared, || parker.woken.load(Ordering::SeqCst));
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
        // Some operations complete as soon as they are handed over: then there is nothing to wait for.
        let reaped = self.shared.reap_all();
        if !reaped && timeout != Some(Duration::ZERO) {
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

impl Builder {
    /// Makes the engine. Rings are made when they are first used.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a number out of range; [`Error::Unavailable`] if a backend was asked for by name and is not
    /// available.
    ///
    /// ```
    /// use auraio::{Engine, Error};
    ///
    /// let refused = Engine::builder().queue_depth(0).build();
    /// assert!(matches!(refused, Err(Error::InvalidInput(_))));
    /// ```
    pub fn build(self) -> Result<Engine> {
        self.check()?;
        Engine::new(self)
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
        let _ = self.driver.get_or_init(|| Driver::start(Arc::downgrade(self)));
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

    /// The ring that a submission made here goes to.
    pub(crate) fn ring_here(self: &Arc<Self>) -> Result<Arc<Ring>> {
        match self.routing() {
            Routing::Core => self.ring_of_core(),
            Routing::Thread => self.ring_of_thread(),
        }
    }

    /// All rings there are.
    pub(crate) fn rings(&self) -> Vec<Arc<Ring>> {
        let mut rings: Vec<_> = self.cores.iter().filter_map(OnceLock::get).map(Arc::clone).collect();
        rings.extend(lock(&self.others.rings).iter().filter_map(Weak::upgrade));
        rings
    }

    /// Flushes and reaps every ring that any thread may submit to, and tells those who wait for the engine to be idle.
    /// Answers whether anything completed.
    pub(crate) fn reap_all(&self) -> bool {
        let reaped = self.hand_over_and_reap();
        self.others.leftover.let_go_of_idle();
        if self.waiters.any() && self.is_idle() {
            self.waiters.wake();
        }
        reaped
    }

    /// The same, telling nobody but those whose operations completed.
    pub(crate) fn hand_over_and_reap(&self) -> bool {
        let mut reaped = false;
        for ring in self.rings() {
            if ring.may_submit() {
                let before = ring.counters.completed.load(Ordering::Relaxed);
                ring.flush_and_reap(None, &mut Vec::new());
                reaped |= ring.counters.completed.load(Ordering::Relaxed) != before;
            }
        }
        reaped
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
        let look = if stuck { Some(soon) } else { self.waiters.any().then_some(waiters::LOOK) };
        let timeout = look.into_iter().chain(timeout).min();
        // If a signal interrupts the wait, the caller looks again.
        let _ = asleep(&rings, || sys::poll_readable(&descriptors, timeout));
    }

    /// Polls a future's operation. A poll only queues. On a thread that drives the engine, the loop there hands over when
    /// nothing else is ready. On any other executor the future wakes itself once, so that the executor polls all that is
    /// ready before it polls this future again; then its ring is handed over and reaped, for all of them.
    pub(crate) fn poll(self: &Arc<Self>, ticket: &Ticket, turns: &mut Turns, context: &Context<'_>) -> Option<Done> {
        let Ticket { ring, key } = ticket;
        let first = mem::replace(&mut turns.polled, true);
        let mut polled = ring.poll(*key, first, context);
        if let Polled::Ready(done) = polled {
            return Some(done);
        }
        if Drives::here(self.id) {
            return None;
        }
        if matches!(polled, Polled::Queued) {
            if !turns.asked {
                turns.asked = true;
                // An executor whose waker panics may not come back, so then there is no second poll to wait for.
                if outside(|| context.waker().wake_by_ref()) {
                    return None;
                }
            }
            ring.flush_and_reap(None, &mut Vec::new());
            polled = ring.poll(*key, false, context);
            if let Polled::Ready(done) = polled {
                return Some(done);
            }
        }
        self.have_driven(ring);
        None
    }

    /// Hands over what is queued on a ring, unless this thread drives the engine, which does that itself.
    pub(crate) fn hand_over(&self, ring: &Arc<Ring>) {
        if !Drives::here(self.id) {
            ring.flush_and_reap(None, &mut Vec::new());
        }
    }

    /// Has the driver watch a ring until nothing is under way there.
    fn have_driven(self: &Arc<Self>, ring: &Ring) {
        let driver = self.driver.get_or_init(|| Driver::start(Arc::downgrade(self)));
        if ring.begin_watch() || ring.counters.is_stuck() {
            driver.look_again();
        }
    }

    /// Sees to it that somebody reaps for a future that is not ready: this thread, if it drives the engine, and otherwise
    /// the driver.
    pub(crate) fn ensure_driven(self: &Arc<Self>) {
        if !Drives::here(self.id) {
            self.rings()
                .iter()
                .filter(|ring| ring.may_submit() && ring.is_busy())
                .for_each(|ring| self.have_driven(ring));
        }
    }

    /// Whether anything is under way on rings that any thread may drive.
    fn is_busy(&self) -> bool {
        self.rings().iter().any(|ring| ring.may_submit() && ring.is_busy())
    }

    /// What a `block_on` leaves behind (an operation whose future was dropped) still has to be reaped by somebody.
    pub(crate) fn leave_to_driver(self: &Arc<Self>) {
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

impl Home for Shared {
    fn pool(&self) -> Pool {
        self.options.pool
    }

    fn forget_file(&self, descriptor: Descriptor, id: u64) {
        self.rings().iter().for_each(|ring| ring.forget_file(descriptor, id));
    }

    fn cancel_file(&self, id: u64) {
        self.rings().iter().for_each(|ring| ring.cancel_file(id));
    }

    fn reap_later(self: Arc<Self>) {
        self.leave_to_driver();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.stop();
        }
        self.let_go_of_own();
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

/// What a future has done so far.
#[derive(Default)]
pub(crate) struct Turns {
    /// It was polled before, so its waker is known.
    polled: bool,
    /// It has woken itself, to hand its operation over when it is polled next.
    asked: bool,
}

/// The rings that a `block_on` hands over and reaps, and in which order.
#[derive(Default)]
struct Rounds {
    all: Vec<Weak<Ring>>,
    /// How many rings had been made when `all` was filled.
    made: u64,
    /// Rounds in which only this thread's ring was looked at.
    short: u32,
}

/// After so many rounds with this thread's ring alone, the others have their turn too.
const SHORT_ROUNDS_MAX: u32 = 16;

impl Rounds {
    /// Hands over and reaps: first the ring that this thread submits to. The others, which other threads may be looking at,
    /// follow when nothing is `ready` by that, and now and then.
    fn turn(&mut self, engine: &Shared, ready: impl Fn() -> bool) {
        let own = engine.ring_if_any();
        if let Some(ring) = &own {
            ring.flush_and_reap(None, &mut Vec::new());
        }
        self.short += 1;
        if ready() && self.short < SHORT_ROUNDS_MAX && !engine.waiters.any() {
            return;
        }
        self.short = 0;
        let made = engine.others.made.load(Ordering::Acquire);
        if made != self.made || self.all.iter().any(|ring| ring.strong_count() == 0) {
            self.all = engine.rings().iter().map(Arc::downgrade).collect();
            self.made = made;
        }
        for ring in self.all.iter().filter_map(Weak::upgrade) {
            if ring.may_submit() && own.as_ref().is_none_or(|own| !Arc::ptr_eq(own, &ring)) {
                ring.flush_and_reap(None, &mut Vec::new());
            }
        }
        engine.others.leftover.let_go_of_idle();
        if engine.waiters.any() && engine.is_idle() {
            engine.waiters.wake();
        }
    }
}

/// Sleeps until a ring or a waker has news.
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
