//! One ring: the part of the engine that every backend shares.
//!
//! A ring takes operations into slots, lets as many go to its backend as the completion queue can hold (the others wait
//! in order), asks again where the kernel says so, goes on where one call could not do all, and tells whoever submitted.
//! All of it happens under one lock that is held for a submission or a reap, never while waiting on a shared ring.
//!
//! Behind a ring stands its backend, and beside that the engine's crew of threads as a helper, for calls that the kernel
//! has no opcode for and for those that it could not find a worker for.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use crossbeam_queue::SegQueue;
use crossbeam_utils::CachePadded;

use crate::{
    Completion,
    backend::{Backend, Cqe, Wait, threads::ThreadsBackend},
    control::{BatchPolicy, SubmitBatch},
    file::FileInner,
    lanes, lock,
    op::{Done, Prepared},
    pool::{Pool, SlabHolder},
    sys::{self, Bell, Call, Descriptor},
};

mod bounce;
mod chain;
mod complete;
mod gate;
mod registered;
mod slots;
mod submit;

pub(crate) use bounce::Bounce;
pub(crate) use chain::ChainKey;
use gate::Gate;
pub(crate) use registered::Regions;
use registered::Registered;
pub(crate) use slots::Key;
use slots::{Place, Sink, Slot, Slots};

/// An operation on a ring, for whoever has to come back to it.
#[derive(Clone)]
pub(crate) struct Ticket {
    pub(crate) ring: Arc<Ring>,
    pub(crate) key: Key,
}

/// Where completions wait for a port when another thread found them.
pub(crate) struct Mailbox {
    pub(crate) letters: SegQueue<Completion>,
    pub(crate) bell: Bell,
    /// From when to when another thread slept for the port, if one does; 0 when it has been looked at.
    pub(crate) slept_from: AtomicU64,
    pub(crate) woken_at: AtomicU64,
}

impl Mailbox {
    pub(crate) fn new(bell: Bell) -> Self {
        Self { letters: SegQueue::new(), bell, slept_from: AtomicU64::new(0), woken_at: AtomicU64::new(0) }
    }
}

/// A port as the waker of a future.
impl Wake for Mailbox {
    fn wake(self: Arc<Self>) {
        self.bell.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.bell.ring();
    }
}

/// What is counted, readable without the ring's lock.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) submitted: AtomicU64,
    pub(crate) completed: AtomicU64,
    pub(crate) enters: AtomicU64,
    pub(crate) bounced: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) queued: AtomicU64,
    pub(crate) fixed_buffers: AtomicU64,
    pub(crate) fixed_files: AtomicU64,
}

impl Counters {
    /// Whether something waits and nothing is in flight whose completion would move it on.
    pub(crate) fn is_stuck(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > 0 && self.in_flight.load(Ordering::Relaxed) == 0
    }
}

/// How a ring is to be made.
pub(crate) struct RingSpec {
    pub(crate) cpu: u32,
    pub(crate) numa_node: u32,
    pub(crate) in_flight_max: u32,
    pub(crate) submit_batch: BatchPolicy,
    pub(crate) flush_budget: u64,
    /// Buffered reads by workers of the kernel that may run at once.
    pub(crate) heavy_max: u32,
    /// The one thread that may submit to the ring; `None` when any may, one at a time.
    pub(crate) single_issuer: Option<ThreadMark>,
    /// Whether it registers memory and files.
    pub(crate) register: bool,
}

/// Entries that are gathered for one system call where no device waits for them, unless the caller decides: reads from the
/// page cache complete inside the call, so more of them a call is less work for each.
const BUFFERED_BATCH: u32 = 32;

/// Tells threads apart, cheaply: the address of something that each has one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadMark(usize);

impl ThreadMark {
    pub(crate) fn current() -> Self {
        thread_local!(static MARK: u8 = const { 0 });
        MARK.with(|mark| Self(std::ptr::from_ref(mark) as usize))
    }
}

pub(crate) struct Ring {
    spec: RingSpec,
    descriptors: Vec<Descriptor>,
    pub(crate) counters: CachePadded<Counters>,
    /// Shared with nobody, unless it has to be leaked.
    state: Arc<Mutex<State>>,
}

struct State {
    main: Box<dyn Backend>,
    /// `None` when the main backend is the pool itself.
    helper: Option<ThreadsBackend>,
    slots: Slots,
    registered: Registered,
    gate: Gate,
    /// How many entries are gathered for one system call, on the way to a device.
    inner: SubmitBatch,
    /// The main backend can attempt a read on condition that it does not wait.
    attempts: bool,
    chains: chain::Chains,
    waiting: VecDeque<Waiting>,
    /// Heavy operations that wait for others like them, out of everybody else's way.
    waiting_heavy: VecDeque<u32>,
    /// What goes to the helper and waits for room.
    waiting_helper: VecDeque<u32>,
    heavy: u32,
    heavy_max: u32,
    ports: Vec<Option<Arc<Mailbox>>>,
    cqes: Vec<Cqe>,
    limit: u32,
    batch: u32,
    /// What the main backend would answer, kept here because it is asked for every operation.
    room: u32,
    unsubmitted: u32,
    /// The room of an empty submission queue.
    room_max: u32,
    /// Completion queue entries that are spoken for.
    in_flight: u32,
    in_flight_helper: u32,
    /// Inline work that the next flush carries already.
    budget: submit::Budget,
    submitted: u64,
    completed: u64,
    /// Transfers that were not aligned as their file needs.
    bounced: u64,
    /// The kernel refuses submissions for good: everything goes to the helper.
    broken: bool,
    /// Calls that need a worker of the kernel and go to the helper instead, until it is tried again.
    without_workers: u32,
    /// Operations that wait for somebody to release them, maybe from another thread.
    held: u32,
}

#[derive(Clone, Copy, Debug)]
enum Waiting {
    One(u32),
    Chain(u32),
}

/// What must happen after the lock is let go: waking, dropping and performing can call back into a ring. Mostly it is
/// nothing, so the lists are made when something is noted: as seven empty ones they cost a submission 100 instructions.
#[derive(Default)]
struct Effects(Option<Box<Lists>>);

#[derive(Default)]
struct Lists {
    wakers: Vec<Waker>,
    mail: Vec<(Arc<Mailbox>, Completion)>,
    inline: Vec<(Key, Call)>,
    released: Vec<Arc<FileInner>>,
    /// Files that are to be closed and whose operations could wait for ever: to be cancelled, wherever they are.
    ending: Vec<Arc<FileInner>>,
    turns: Vec<Arc<FileInner>>,
    discarded: Vec<Done>,
}

impl Ring {
    pub(crate) fn new(
        spec: RingSpec,
        main: Box<dyn Backend>,
        helper: Option<ThreadsBackend>,
        pool: Pool,
        regions: Arc<Regions>,
    ) -> Arc<Self> {
        let descriptors = main.descriptor().into_iter().chain(helper.as_ref().and_then(Backend::descriptor)).collect();
        let room = main.room();
        let attempts = main.attempts() && helper.is_some();
        let registered = Registered::new(spec.register.then_some(&*main), pool, regions);
        let limit = spec.in_flight_max.min(main.in_flight_max()).max(1);
        let inner = SubmitBatch::new(spec.submit_batch);
        let batch = match spec.submit_batch {
            BatchPolicy::Fixed(batch) => batch.max(1),
            _ => BUFFERED_BATCH,
        };
        let heavy_max = spec.heavy_max.max(1);
        let budget = submit::Budget::new(spec.flush_budget);
        Arc::new(Self {
            spec,
            descriptors,
            counters: CachePadded::default(),
            state: Arc::new(Mutex::new(State {
                main,
                helper,
                slots: Slots::new(),
                registered,
                gate: Gate::default(),
                inner,
                attempts,
                chains: chain::Chains::default(),
                waiting: VecDeque::new(),
                waiting_heavy: VecDeque::new(),
                waiting_helper: VecDeque::new(),
                heavy: 0,
                heavy_max,
                ports: Vec::new(),
                cqes: Vec::new(),
                room,
                unsubmitted: 0,
                room_max: room,
                limit,
                batch,
                in_flight: 0,
                in_flight_helper: 0,
                budget,
                submitted: 0,
                completed: 0,
                bounced: 0,
                broken: false,
                without_workers: 0,
                held: 0,
            })),
        })
    }

    /// The core that the ring was made for.
    pub(crate) const fn cpu(&self) -> u32 {
        self.spec.cpu
    }

    pub(crate) const fn numa_node(&self) -> u32 {
        self.spec.numa_node
    }

    /// What becomes readable when there is something to reap. They live as long as the ring.
    pub(crate) fn descriptors(&self) -> &[Descriptor] {
        &self.descriptors
    }

    /// Takes an operation for a future, and says how to come back to it.
    pub(crate) fn submit_future(self: &Arc<Self>, prepared: Prepared) -> Ticket {
        let key = self.enter(prepared, Sink::Future(None));
        Ticket { ring: Arc::clone(self), key }
    }

    /// Takes an operation for a port.
    pub(crate) fn submit_port(self: &Arc<Self>, prepared: Prepared, port: u32, token: u64) -> Key {
        self.enter(prepared, Sink::Port { port, token })
    }

    /// Takes operations for a port under one hold of the lock. Those that need no call go to `early`. Answers how many
    /// there were. The iterator prepares each operation when it is asked for it, so that what is prepared goes to its slot
    /// without a stop.
    pub(crate) fn submit_many(
        self: &Arc<Self>,
        port: u32,
        operations: impl Iterator<Item = (Prepared, u64)>,
        early: &mut Vec<Completion>,
    ) -> usize {
        let mut effects = Effects::default();
        let mut count = 0;
        let mut state = lock(&self.state);
        for (mut prepared, token) in operations {
            count += 1;
            match prepared.early.take() {
                None => {
                    self.take(&mut state, prepared, Sink::Port { port, token }, &mut effects);
                }
                Some(outcome) => early.push(Completion { token, done: Done::early(prepared, outcome) }),
            }
        }
        self.leave(state, effects);
        count
    }

    fn enter(self: &Arc<Self>, prepared: Prepared, sink: Sink) -> Key {
        let mut effects = Effects::default();
        let mut state = lock(&self.state);
        let key = self.take(&mut state, prepared, sink, &mut effects);
        self.leave(state, effects);
        key
    }

    /// Gives an operation its slot, and starts it unless it has to wait for a file.
    #[inline(always)]
    fn take(self: &Arc<Self>, state: &mut State, prepared: Prepared, sink: Sink, effects: &mut Effects) -> Key {
        if prepared.closing.is_some() {
            return self.take_close(state, prepared, sink, effects);
        }
        let in_turn = prepared.cursor;
        let index = state.slots.insert(prepared, sink);
        let key = state.slots.key(index);
        if in_turn {
            let slot = state.slots.get_mut(index);
            slot.place = Place::Held;
            let mine = slot.file.as_ref().is_none_or(|file| file.take_turn(|| Ticket { ring: Arc::clone(self), key }));
            if !mine {
                state.held += 1;
                return key;
            }
        }
        state.start(index, effects);
        key
    }

    /// A close waits, held, until its file has no other user.
    fn take_close(
        self: &Arc<Self>,
        state: &mut State,
        mut prepared: Prepared,
        sink: Sink,
        effects: &mut Effects,
    ) -> Key {
        let file = prepared.closing.take();
        let index = state.slots.insert(prepared, sink);
        let key = state.slots.key(index);
        state.slots.get_mut(index).place = Place::Held;
        state.held += 1;
        if let Some(file) = file {
            state.slots.get_mut(index).inline = file.closes_at_once();
            file.close_later(Ticket { ring: Arc::clone(self), key });
            // What could wait for ever has to be cancelled, on whichever ring it is: not under this one's lock.
            if file.facts().seekable {
                effects.note().released.push(file);
            } else {
                effects.note().ending.push(file);
            }
        }
        key
    }

    /// Starts an operation that was held: its turn has come.
    pub(crate) fn release(self: &Arc<Self>, key: Key) {
        let mut effects = Effects::default();
        let mut state = lock(&self.state);
        if let Some(index) = state.slots.find(key)
            && state.slots.get(index).place == Place::Held
        {
            state.held -= 1;
            if self.may_submit() {
                state.start(index, &mut effects);
            } else {
                state.start_later(index, &mut effects);
            }
            self.submit_or_tell(&mut state);
        }
        self.leave(state, effects);
    }

    /// Whether the calling thread may make the kernel look at the submission queue.
    pub(crate) fn may_submit(&self) -> bool {
        self.spec.single_issuer.is_none_or(|owner| owner == ThreadMark::current())
    }

    /// Hands over all that is queued and moves on what waits.
    pub(crate) fn flush(self: &Arc<Self>) {
        let effects = Effects::default();
        let mut state = lock(&self.state);
        state.flush();
        self.leave(state, effects);
    }

    /// Hands over all that is queued, and reaps: completions for `port` go to `out`, all others to those they are for.
    pub(crate) fn flush_and_reap(self: &Arc<Self>, port: Option<u32>, out: &mut Vec<Completion>) {
        let mut effects = Effects::default();
        let mut state = lock(&self.state);
        state.flush();
        if state.reap(port, out, &mut effects) {
            state.flush();
        }
        self.leave(state, effects);
    }

    /// Reaps, and hands over only what thereby became possible.
    pub(crate) fn reap(self: &Arc<Self>, port: Option<u32>, out: &mut Vec<Completion>) {
        let mut effects = Effects::default();
        let mut state = lock(&self.state);
        if state.reap(port, out, &mut effects) && self.may_submit() {
            state.flush();
        }
        self.leave(state, effects);
    }

    /// Hands over all that is queued and stays until a completion can be reaped, an event ends the wait, or the time is
    /// over. Only for the one thread that a ring belongs to: on a shared ring somebody else may take the completion.
    pub(crate) fn flush_and_wait(self: &Arc<Self>, wanted: u32, timeout: Option<Duration>, also: Option<Descriptor>) {
        let effects = Effects::default();
        let mut state = lock(&self.state);
        state.pump();
        state.flush_helper();
        if state.in_flight_helper + state.held == 0 && state.in_flight > 0 && !state.broken {
            // Nothing but the kernel can end the wait, so handing over and waiting are one system call.
            // With more in line, each completion lets another go.
            let wanted = if state.waiting_anywhere() > 0 { 1 } else { wanted.clamp(1, state.in_flight) };
            let governed = state.gate.in_flight > 0;
            let began = if governed { lanes::now() } else { 0 };
            if governed {
                state.falls_asleep(began);
            }
            state.submit(Wait::AtLeast(wanted, timeout));
            // What waited for others to complete was kept by the host, not by the device.
            if governed {
                state.woke(began, lanes::now(), wanted == 1);
            }
            self.leave(state, effects);
            return;
        }
        state.flush();
        let idle = state.in_flight + state.in_flight_helper + state.held > 0;
        // A kernel that is short of memory takes entries later: nothing rings for that.
        let timeout = if state.unsubmitted > 0 { Some(Duration::from_millis(1)) } else { timeout };
        self.leave(state, effects);
        if idle {
            let all: Vec<_> = self.descriptors.iter().copied().chain(also).collect();
            let this = std::slice::from_ref(self);
            // An interrupted or failed poll is a wait that ended early, which every caller allows for.
            let _ = asleep(this, || sys::poll_readable(&all, timeout));
        }
    }

    /// The result of a future's operation, or the promise to wake it.
    pub(crate) fn poll(self: &Arc<Self>, key: Key, context: &mut Context<'_>) -> Poll<Done> {
        let mut effects = Effects::default();
        let mut state = lock(&self.state);
        let Some(index) = state.slots.find(key) else { unreachable!("a future fetches its result once") };
        if state.slots.get(index).place != Place::Done {
            if let Sink::Future(waker) = &mut state.slots.get_mut(index).sink {
                match waker {
                    Some(waker) if waker.will_wake(context.waker()) => {}
                    _ => *waker = Some(context.waker().clone()),
                }
            }
            state.flush();
            let mut letters = Vec::new();
            if state.reap(None, &mut letters, &mut effects) {
                state.flush();
            }
        }
        let done = (state.slots.get(index).place == Place::Done).then(|| state.slots.remove(index));
        self.leave(state, effects);
        match done {
            Some(done) => Poll::Ready(done),
            // What was performed inline while the lock was let go has completed by now.
            None => self.fetch(key).map_or(Poll::Pending, Poll::Ready),
        }
    }

    /// The result, if it is there.
    pub(crate) fn fetch(&self, key: Key) -> Option<Done> {
        let mut state = lock(&self.state);
        let index = state.slots.find(key)?;
        (state.slots.get(index).place == Place::Done).then(|| state.slots.remove(index))
    }

    /// The future is gone. The operation keeps its slot until its completion; one that could wait for ever is cancelled.
    pub(crate) fn abandon(self: &Arc<Self>, key: Key) {
        let mut effects = Effects::default();
        let mut state = lock(&self.state);
        if let Some(index) = state.slots.find(key) {
            if state.slots.get(index).place == Place::Done {
                let done = state.slots.remove(index);
                effects.note().discarded.push(done);
            } else {
                let slot = state.slots.get_mut(index);
                slot.sink = Sink::Nobody;
                if slot.is_endless() {
                    state.cancel(index);
                }
                state.flush();
            }
        }
        self.leave(state, effects);
    }

    /// Asks an operation to end early.
    pub(crate) fn cancel(self: &Arc<Self>, key: Key) {
        let mut effects = Effects::default();
        let mut state = lock(&self.state);
        if let Some(index) = state.slots.find(key) {
            state.cancel_with(index, &mut effects);
            if self.may_submit() {
                state.flush();
            }
        }
        self.leave(state, effects);
    }

    /// Asks every operation on a file to end early.
    fn cancel_file(self: &Arc<Self>, file: &Arc<FileInner>) {
        let mut effects = Effects::default();
        let mut state = lock(&self.state);
        let on_it = |slot: &Slot| slot.file.as_ref().is_some_and(|its| Arc::ptr_eq(its, file));
        if state.cancel_those(&mut effects, on_it) {
            self.submit_or_tell(&mut state);
        }
        self.leave(state, effects);
    }

    /// Asks every operation that could wait for ever to end early.
    pub(crate) fn cancel_endless(self: &Arc<Self>) {
        let mut effects = Effects::default();
        let mut state = lock(&self.state);
        if state.cancel_those(&mut effects, Slot::is_endless) {
            self.submit_or_tell(&mut state);
        }
        self.leave(state, effects);
    }

    /// Whether no operation is under way, in whichever state. A ring at which somebody works at this moment is not idle.
    pub(crate) fn is_idle(&self) -> bool {
        let state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        state.in_flight + state.in_flight_helper + state.held == 0
            && state.slots.iter_used().all(|(_, slot)| slot.place == Place::Done)
    }

    /// Hands over what is queued, or where this thread may not, tells the one that may.
    fn submit_or_tell(&self, state: &mut State) {
        if self.may_submit() {
            state.flush();
        } else {
            state.flush_helper();
            state.ports.iter().flatten().for_each(|mailbox| mailbox.bell.ring());
        }
    }

    /// Asks every operation of a port to end early.
    pub(crate) fn cancel_port(self: &Arc<Self>, port: u32) {
        let mut effects = Effects::default();
        let mut state = lock(&self.state);
        state.cancel_those(&mut effects, |slot| matches!(slot.sink, Sink::Port { port: whose, .. } if whose == port));
        self.submit_or_tell(&mut state);
        self.leave(state, effects);
    }

    /// Lets go of a file's place in the ring's table. Nothing works on the file any more.
    pub(crate) fn forget_file(&self, descriptor: Descriptor, id: u64) {
        let mut state = lock(&self.state);
        let State { registered, main, .. } = &mut *state;
        let may = self.may_submit();
        if !registered.forget_file(may.then_some(&mut **main), descriptor, id) {
            state.ports.iter().flatten().for_each(|mailbox| mailbox.bell.ring());
        }
    }

    /// Lets go of memory that was unregistered, or sees to it that the thread that may does.
    pub(crate) fn tidy(&self) {
        // Whoever holds the lock is about to flush, or to let the lock go without having used what is to go.
        if let Ok(mut state) = self.state.try_lock() {
            if self.may_submit() {
                let State { registered, main, .. } = &mut *state;
                registered.tidy(&mut **main);
            } else {
                state.ports.iter().flatten().for_each(|mailbox| mailbox.bell.ring());
            }
        }
    }

    /// The thread that reaps this ring goes to sleep until there is something to reap.
    pub(crate) fn falls_asleep(&self, now: u64) {
        lock(&self.state).falls_asleep(now);
    }

    /// It slept, and was woken just now.
    pub(crate) fn woke(&self, slept_from: u64, now: u64) {
        lock(&self.state).woke(slept_from, now, true);
    }

    /// Tells the lanes all that there is to tell.
    pub(crate) fn report_lanes(&self) {
        // Whoever holds the lock reports by itself before it lets it go for long; a thread that waits in the kernel holds it, and
        // has nothing new.
        if let Ok(mut state) = self.state.try_lock() {
            state.report_all();
        }
    }

    /// Whether the loops have to hear of sleeps: something is in flight.
    pub(crate) fn is_working(&self) -> bool {
        self.counters.in_flight.load(Ordering::Relaxed) > 0
    }

    /// Adds a port, and says by which number the ring knows it.
    pub(crate) fn add_port(&self, mailbox: &Arc<Mailbox>) -> u32 {
        let mut state = lock(&self.state);
        let index = state.ports.iter().position(Option::is_none).unwrap_or(state.ports.len());
        if index == state.ports.len() {
            state.ports.push(None);
        }
        state.ports[index] = Some(Arc::clone(mailbox));
        index as u32
    }

    /// Removes a port, none of whose operations is left.
    pub(crate) fn remove_port(&self, port: u32) {
        lock(&self.state).ports[port as usize] = None;
    }

    /// Lets the lock go and does what may not be done under it.
    #[inline(always)]
    fn leave(self: &Arc<Self>, mut state: MutexGuard<'_, State>, effects: Effects) {
        state.count(&self.counters);
        drop(state);
        if let Some(lists) = effects.0 {
            self.perform(*lists);
        }
    }

    #[cold]
    #[inline(never)]
    #[expect(unsafe_code, reason = "performs a call whose addresses its slot keeps valid")]
    fn perform(self: &Arc<Self>, mut lists: Lists) {
        // What completes here may let go of the last share of a file whose close is held, or end a turn: both start
        // another operation, maybe on another ring, so the lists are worked off until nothing is left.
        for (key, call) in lists.inline.drain(..) {
            // SAFETY: the slot owns what the call points to, and keeps it until the completion that follows.
            let result = unsafe { sys::perform(&call) };
            self.complete_inline(key, result);
        }
        for file in lists.turns.drain(..) {
            if let Some(next) = file.end_turn() {
                next.ring.release(next.key);
            }
        }
        for file in lists.ending.drain(..) {
            file.rings().iter().for_each(|ring| ring.cancel_file(&file));
        }
        // The last share in a file starts the close that waits for it.
        lists.released.clear();
        lists.discarded.clear();
        for (mailbox, completion) in lists.mail.drain(..) {
            mailbox.letters.push(completion);
            mailbox.bell.ring();
        }
        lists.wakers.drain(..).for_each(Waker::wake);
    }

    /// Reports what was performed on this thread, outside the lock.
    fn complete_inline(self: &Arc<Self>, key: Key, result: i32) {
        let mut effects = Effects::default();
        let mut state = lock(&self.state);
        if let Some(index) = state.slots.find(key) {
            state.complete(index, result, None, &mut Vec::new(), &mut effects);
        }
        self.leave(state, effects);
    }
}

/// Sleeps, and tells the rings that the thread reaps: what completes meanwhile is seen as soon as it does.
pub(crate) fn asleep<T>(rings: &[Arc<Ring>], sleep: impl FnOnce() -> T) -> T {
    let working: Vec<&Arc<Ring>> = rings.iter().filter(|ring| ring.is_working() && ring.may_submit()).collect();
    if working.is_empty() {
        return sleep();
    }
    let began = lanes::now();
    working.iter().for_each(|ring| ring.falls_asleep(began));
    let slept = sleep();
    let ended = lanes::now();
    working.iter().for_each(|ring| ring.woke(began, ended));
    slept
}

impl Effects {
    /// The lists, made if there are none yet.
    #[cold]
    fn note(&mut self) -> &mut Lists {
        self.0.get_or_insert_default()
    }
}

impl State {
    /// Operations that wait for room.
    fn waiting_anywhere(&self) -> usize {
        self.waiting.len() + self.waiting_heavy.len() + self.waiting_helper.len() + self.gate.waiting as usize
    }

    /// Publishes the counters.
    fn count(&mut self, counters: &Counters) {
        let unsubmitted = u64::from(self.unsubmitted);
        let in_flight = u64::from(self.in_flight + self.in_flight_helper);
        counters.submitted.store(self.submitted, Ordering::Relaxed);
        counters.completed.store(self.completed, Ordering::Relaxed);
        counters.enters.store(self.main.enters(), Ordering::Relaxed);
        counters.bounced.store(self.bounced, Ordering::Relaxed);
        counters.in_flight.store(in_flight.saturating_sub(unsubmitted), Ordering::Relaxed);
        let (buffers, files) = self.registered.counts();
        counters.fixed_buffers.store(buffers, Ordering::Relaxed);
        counters.fixed_files.store(files, Ordering::Relaxed);
        counters.queued.store(self.waiting_anywhere() as u64 + unsubmitted, Ordering::Relaxed);
    }
}

impl SlabHolder for Ring {
    fn let_go_of_retiring(&self) {
        self.tidy();
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("cpu", &self.spec.cpu).finish_non_exhaustive()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Nobody holds the ring any more, so nobody waits for what is in flight; the kernel may still write to it. It is
        // waited for, and if it does not end, leaked: a leak is better than memory that the kernel writes to after it
        // became somebody else's.
        let mut state = lock(&self.state);
        if !state.drain_alone(Duration::from_secs(10)) {
            std::mem::forget(Arc::clone(&self.state));
        }
        state.gate.leave_lanes();
    }
}
