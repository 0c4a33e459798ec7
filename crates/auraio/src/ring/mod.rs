//! One ring: the part of the engine that every backend shares.
//!
//! A ring puts each operation into a slot, and gives as many to its backend as the completion queue can hold. The others
//! wait in lines. If the kernel answers "again", the ring makes the call again. If one call could not do all, it makes the
//! next. At the end it gives the result to whoever submitted the operation.
//!
//! Nobody runs code of the user's while the ring's state is held (`access.rs`). What has to be woken, dropped or performed
//! is noted, and done after the state was let go (`effects.rs`).
//!
//! Each ring has a backend. Beside it stands the engine's crew of threads, as a helper, for calls that the kernel has no
//! opcode for and for calls that it could not find a worker for.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Wake,
    time::Duration,
};

use crossbeam_queue::SegQueue;
use crossbeam_utils::CachePadded;

use crate::{
    File,
    backend::{AnyBackend, Backend, Cqe, threads::ThreadsBackend},
    control::{BatchPolicy, SubmitBatch},
    file::{Resume, Waiting},
    op::{Operation, Plain, Prepared},
    pool::{Pool, SlabHolder},
    sys::{Bell, Descriptor},
};

mod access;
mod bounce;
mod cancel;
mod chain;
mod complete;
mod completion;
mod effects;
mod gate;
mod helper;
mod lines;
mod load;
mod meter;
mod poll;
mod registered;
mod short;
mod slots;
mod stats;
mod submit;
mod wait;
mod workers;

pub(crate) use access::ThreadMark;
use access::{Access, Held, Inbox, Letter};
pub(crate) use chain::ChainKey;
pub use completion::Completion;
use effects::Effects;
pub(crate) use effects::outside;
use gate::Gate;
use helper::Helper;
use lines::Lines;
use load::Load;
use meter::Meter;
pub(crate) use poll::Polled;
pub(crate) use registered::Regions;
use registered::Registered;
pub(crate) use slots::{Key, Sink};
use slots::{Place, Slots, flag};
use stats::Counters;
pub use stats::RingStats;
pub(crate) use wait::asleep;
use workers::Workers;

/// Names one operation and its ring, for those who have to come back to it later.
#[derive(Clone)]
pub(crate) struct Ticket {
    pub(crate) ring: Arc<Ring>,
    pub(crate) key: Key,
}

/// Where completions for a port wait that another thread has reaped.
pub(crate) struct Mailbox {
    pub(crate) letters: SegQueue<Completion>,
    pub(crate) bell: Bell,
    /// When another thread last began and ended a sleep for the port ([`PortWaiter`](crate::PortWaiter)). `woken_at` is 0
    /// once the port has looked at it.
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

/// How a ring is to be made.
pub(crate) struct RingSpec {
    pub(crate) cpu: u32,
    pub(crate) numa_node: u32,
    pub(crate) in_flight_max: u32,
    pub(crate) submit_batch: BatchPolicy,
    pub(crate) flush_budget: u64,
    /// The most large buffered reads of one device that workers of the kernel may perform at once.
    pub(crate) heavy_max: u32,
    /// The one thread that may submit to the ring; `None` when any may, one at a time.
    pub(crate) single_issuer: Option<ThreadMark>,
    /// Whether it registers memory and files.
    pub(crate) register: bool,
}

/// Entries that are gathered for one system call if they go to no device and the user has set no submit batch. Reads from
/// the page cache complete inside the call, so with more of them in one call each costs less.
const BUFFERED_BATCH: u32 = 32;

/// How long the drop of a ring waits for the kernel, before it leaks the memory that the kernel may still write to.
const DRAIN_MAX: Duration = Duration::from_secs(10);

pub(crate) struct Ring {
    spec: RingSpec,
    descriptors: Vec<Descriptor>,
    pub(crate) counters: CachePadded<Counters>,
    inbox: Inbox,
    /// Somebody waits for an operation here whose executor may sleep, so the driver watches the ring.
    watched: AtomicBool,
    /// Boxed, so that it can be leaked where it is.
    access: Option<Box<Access>>,
}

struct State {
    main: AnyBackend,
    helper: Helper,
    /// The main backend can attempt a read on condition that it does not wait.
    attempts: bool,
    slots: Slots,
    registered: Registered,
    gate: Gate,
    meter: Meter,
    chains: chain::Chains,
    lines: Lines,
    load: Load,
    workers: Workers,
    totals: Totals,
    ports: Vec<Option<Arc<Mailbox>>>,
    /// Lists that a reap uses: completions that a backend gave, and those of them that take the long path. Between reaps
    /// both are empty.
    cqes: Vec<Cqe>,
    long: Vec<Cqe>,
}

/// Counts of what has happened so far.
#[derive(Default)]
struct Totals {
    submitted: u64,
    completed: u64,
    /// Transfers that were not aligned as their file needs, and were bounced.
    bounced: u64,
}

impl Ring {
    pub(crate) fn new(
        spec: RingSpec,
        main: AnyBackend,
        helper: Option<ThreadsBackend>,
        pool: Pool,
        regions: Arc<Regions>,
    ) -> Arc<Self> {
        let descriptors = main.descriptor().into_iter().chain(helper.as_ref().and_then(Backend::descriptor)).collect();
        let limit = spec.in_flight_max.min(main.in_flight_max()).max(1);
        let batch = match spec.submit_batch {
            BatchPolicy::Fixed(batch) => batch.max(1),
            _ => BUFFERED_BATCH,
        };
        let state = State {
            attempts: main.attempts() && helper.is_some(),
            registered: Registered::new(spec.register.then_some(&main), pool, regions),
            workers: Workers::new(main.workers()),
            load: Load::new(limit, batch, main.room(), spec.flush_budget),
            main,
            helper: Helper::new(helper),
            slots: Slots::new(),
            gate: Gate::default(),
            meter: Meter::new(SubmitBatch::new(spec.submit_batch)),
            chains: chain::Chains::default(),
            lines: Lines::new(spec.heavy_max.max(1)),
            totals: Totals::default(),
            ports: Vec::new(),
            cqes: Vec::new(),
            long: Vec::new(),
        };
        let access = Access::new(spec.single_issuer, state);
        Arc::new(Self {
            spec,
            descriptors,
            counters: CachePadded::default(),
            inbox: Inbox::default(),
            watched: AtomicBool::new(false),
            access: Some(Box::new(access)),
        })
    }

    /// The core that the ring was made for.
    pub(crate) const fn cpu(&self) -> u32 {
        self.spec.cpu
    }

    pub(crate) const fn numa_node(&self) -> u32 {
        self.spec.numa_node
    }

    /// The descriptors that become readable when there is something to reap. They live as long as the ring.
    pub(crate) fn descriptors(&self) -> &[Descriptor] {
        &self.descriptors
    }

    #[inline(always)]
    fn access(&self) -> &Access {
        match &self.access {
            Some(access) => access,
            None => unreachable!("taken when the ring is dropped"),
        }
    }

    /// Enters the ring's state. Only a thread that may enter it calls this: for a port's own ring, that is the port's
    /// thread.
    #[inline(always)]
    fn enter(&self) -> Held<'_> {
        match self.access().enter() {
            Some(state) => state,
            None => unreachable!("a port, and so its ring, stays on its thread"),
        }
    }

    /// Submits an operation by the short path. If it has to take the long path, it comes back.
    #[inline(always)]
    pub(crate) fn submit_plain<O: Operation>(
        &self,
        plain: Plain,
        operation: O,
        sink: Sink,
        publish: bool,
    ) -> Result<Key, O> {
        let mut state = self.enter();
        let file = operation.plain_file().map(File::shared);
        let Some(flags) = state.let_in_short(&plain, file) else { return Err(operation) };
        let (payload, file) = operation.into_owned();
        let index = state.push_short(&plain, (payload, file.map(File::into_inner)), flags, sink);
        let key = state.slots.key(index);
        if publish {
            state.count(&self.counters);
        }
        Ok(key)
    }

    /// Brings the counters up to date, because somebody reads them. If another thread is inside, it does so before long.
    pub(crate) fn publish(&self) {
        if let Some(state) = self.access().try_enter() {
            self.leave_at_once(state);
        }
    }

    /// Submits an operation of any shape by the long path.
    #[inline(never)]
    pub(crate) fn submit_long(self: &Arc<Self>, prepared: Prepared, sink: Sink) -> Key {
        let mut effects = Effects::default();
        let mut state = self.enter();
        let key = self.take(&mut state, prepared, sink, &mut effects);
        self.leave(state, effects);
        key
    }

    /// Puts an operation into a slot, and starts it. An operation that has to wait for its file is held instead.
    fn take(self: &Arc<Self>, state: &mut State, prepared: Prepared, sink: Sink, effects: &mut Effects) -> Key {
        if prepared.closing.is_some() {
            return self.take_close(state, prepared, sink, effects);
        }
        let in_turn = prepared.cursor;
        let index = state.slots.insert_long(prepared, sink);
        let key = state.slots.key(index);
        if in_turn {
            let (hot, cold) = state.slots.both_mut(index);
            hot.place = Place::Held;
            let mine =
                cold.file.as_ref().is_none_or(|file| file.take_turn(|| Waiting::new(Arc::clone(self) as _, key)));
            if !mine {
                state.lines.held += 1;
                return key;
            }
        }
        state.start(index, effects);
        key
    }

    /// Puts a close into a slot. It is held until its file has no other user.
    fn take_close(
        self: &Arc<Self>,
        state: &mut State,
        mut prepared: Prepared,
        sink: Sink,
        effects: &mut Effects,
    ) -> Key {
        let file = prepared.closing.take();
        let index = state.slots.insert_long(prepared, sink);
        let key = state.slots.key(index);
        let hot = state.slots.hot_mut(index);
        hot.place = Place::Held;
        state.lines.held += 1;
        if let Some(file) = file {
            hot.set_to(flag::INLINE, file.closes_at_once());
            // If the ring made such a close, its answer might not tell whether the file is closed. So a thread makes it.
            hot.set_to(flag::ASYNC, !file.closes_on_ring());
            file.close_later(Waiting::new(Arc::clone(self) as _, key));
            // An operation that could wait for ever has to be cancelled, on whichever ring it is: not while this ring's
            // state is held.
            if file.facts().seekable {
                effects.note().released.push(file);
            } else {
                effects.note().ending.push(file);
            }
        }
        key
    }

    /// Starts an operation that was held, because its turn has come. A thread that may not enter the ring leaves a letter.
    pub(crate) fn release(self: &Arc<Self>, key: Key) {
        let Some(mut state) = self.access().enter() else {
            self.inbox.post(Letter::Release(key));
            return;
        };
        let mut effects = Effects::default();
        if let Some(index) = state.slots.find(key)
            && state.slots.hot(index).place == Place::Held
        {
            state.lines.held -= 1;
            state.start(index, &mut effects);
            state.flush();
        }
        self.leave(state, effects);
    }

    /// Whether the calling thread may submit to this ring.
    pub(crate) fn may_submit(&self) -> bool {
        self.access().is_mine()
    }

    /// Reads the letters of other threads, and does what they ask for.
    #[cold]
    fn read_letters(self: &Arc<Self>) {
        while let Some(letter) = self.inbox.take() {
            match letter {
                Letter::Release(key) => self.release(key),
                Letter::CancelFile(id) => self.cancel_file(id),
                Letter::ForgetFile(descriptor, id) => self.forget_file(descriptor, id),
                Letter::CancelEndless => self.cancel_endless(),
                Letter::Tidy => self.tidy(),
            }
        }
    }

    /// Hands over everything that is queued, and moves on what waits.
    pub(crate) fn flush(self: &Arc<Self>) {
        if !self.inbox.is_empty() {
            self.read_letters();
        }
        let mut state = self.enter();
        state.flush();
        self.leave_at_once(state);
    }

    /// Hands over everything that is queued, and then reaps. Completions for `port` go to `out`, all others to those who
    /// wait for them.
    pub(crate) fn flush_and_reap(self: &Arc<Self>, port: Option<u32>, out: &mut Vec<Completion>) {
        if !self.inbox.is_empty() {
            self.read_letters();
        }
        let mut state = self.enter();
        state.flush();
        self.reap_and_leave(state, port, out);
    }

    /// Reaps. What is queued is handed over only if the reap has let operations go on that waited.
    pub(crate) fn reap(self: &Arc<Self>, port: Option<u32>, out: &mut Vec<Completion>) {
        if !self.inbox.is_empty() {
            self.read_letters();
        }
        self.reap_and_leave(self.enter(), port, out);
    }

    /// Reaps, hands over only what thereby became possible, and lets the state go.
    #[inline]
    fn reap_and_leave(self: &Arc<Self>, mut state: Held<'_>, port: Option<u32>, out: &mut Vec<Completion>) {
        let mut effects = Effects::default();
        if state.reap(port, out, &mut effects) {
            state.flush();
        }
        if self.watched.load(Ordering::Relaxed) && state.is_at_rest() {
            self.watched.store(false, Ordering::SeqCst);
        }
        self.leave(state, effects);
    }

    /// Has the driver watch the ring from now on. Answers whether it did not before. Whoever calls this has an operation on the
    /// ring that was not complete when it looked: the ring is at rest, and no longer watched, only after that completed.
    pub(crate) fn begin_watch(&self) -> bool {
        !self.watched.load(Ordering::SeqCst) && !self.watched.swap(true, Ordering::SeqCst)
    }

    /// Whether the driver is to watch the ring.
    pub(crate) fn is_watched(&self) -> bool {
        self.may_submit() && self.watched.load(Ordering::SeqCst)
    }

    /// Whether no operation is under way, in whichever state. A ring at which somebody works at this moment is not idle.
    pub(crate) fn is_idle(&self) -> bool {
        if !self.may_submit() {
            return !self.is_busy();
        }
        let Some(state) = self.access().try_enter() else { return false };
        state.load.in_flight + state.helper.in_flight + state.lines.held == 0
            && state.slots.iter_used().all(|(_, hot, _)| hot.place == Place::Done)
    }

    /// Lets go of a file's place in the ring's table. Nothing works on the file any more.
    pub(crate) fn forget_file(&self, descriptor: Descriptor, id: u64) {
        let Some(mut state) = self.access().enter() else {
            self.inbox.post(Letter::ForgetFile(descriptor, id));
            return;
        };
        let State { registered, main, .. } = &mut *state;
        registered.forget_file(main, descriptor, id);
    }

    /// Gives up registrations of memory that was unregistered. A thread that may not enter the ring leaves a letter.
    pub(crate) fn tidy(&self) {
        if !self.may_submit() {
            self.inbox.post(Letter::Tidy);
            return;
        }
        // If another thread is inside, it flushes before long, and a flush tidies up.
        if let Some(mut state) = self.access().try_enter() {
            let State { registered, main, .. } = &mut *state;
            registered.tidy(main);
        }
    }

    /// Tells the lanes all that there is to tell.
    pub(crate) fn report_lanes(&self) {
        // If another thread is inside, it reports by itself before long. A thread that waits in the kernel is inside too,
        // and has nothing new to report.
        if let Some(mut state) = self.access().try_enter() {
            state.report_all();
        }
    }

    /// Whether something is in flight, so that the loops have to be told when the thread sleeps.
    pub(crate) fn is_working(&self) -> bool {
        self.counters.in_flight.load(Ordering::Relaxed) > 0
    }

    /// Whether anything is under way.
    pub(crate) fn is_busy(&self) -> bool {
        let counters = &self.counters;
        counters.in_flight.load(Ordering::Relaxed) + counters.queued.load(Ordering::Relaxed) > 0
    }

    /// Adds a port. Answers the number by which the ring knows it.
    pub(crate) fn add_port(&self, mailbox: &Arc<Mailbox>) -> u32 {
        self.inbox.belongs_to(mailbox);
        let mut state = self.enter();
        let index = state.ports.iter().position(Option::is_none).unwrap_or(state.ports.len());
        if index == state.ports.len() {
            state.ports.push(None);
        }
        state.ports[index] = Some(Arc::clone(mailbox));
        index as u32
    }

    /// Removes a port. The caller knows that none of its operations is under way.
    pub(crate) fn remove_port(&self, port: u32) {
        self.enter().ports[port as usize] = None;
    }

    /// Lets the state go, and then does what must not be done while it is held.
    #[inline(always)]
    fn leave(self: &Arc<Self>, mut state: Held<'_>, effects: Effects) {
        state.load.credit = 0;
        state.count(&self.counters);
        drop(state);
        if !effects.is_empty() {
            effects.perform(Some(self));
        }
    }

    /// Lets the state go. There is nothing to be done after that.
    #[inline(always)]
    fn leave_at_once(&self, mut state: Held<'_>) {
        state.load.credit = 0;
        state.count(&self.counters);
    }

    /// Completes an operation that this thread has performed while the state was not held.
    fn complete_inline(self: &Arc<Self>, key: Key, result: i32) {
        let mut effects = Effects::default();
        let mut state = self.enter();
        if let Some(index) = state.slots.find(key) {
            state.complete(index, result, None, &mut Vec::new(), &mut effects);
        }
        self.leave(state, effects);
    }
}

impl State {
    /// Whether nothing is under way: nothing in flight, queued, in line or held.
    fn is_at_rest(&self) -> bool {
        let under_way = self.load.in_flight + self.helper.in_flight + self.lines.held + self.gate.waiting;
        under_way == 0 && self.lines.is_empty()
    }

    /// Publishes the counters.
    #[inline(always)]
    fn count(&mut self, counters: &Counters) {
        let unsubmitted = u64::from(self.load.unsubmitted);
        let in_flight = u64::from(self.load.in_flight + self.helper.in_flight);
        counters.submitted.store(self.totals.submitted, Ordering::Relaxed);
        counters.completed.store(self.totals.completed, Ordering::Relaxed);
        counters.enters.store(self.main.enters(), Ordering::Relaxed);
        counters.bounced.store(self.totals.bounced, Ordering::Relaxed);
        counters.in_flight.store(in_flight.saturating_sub(unsubmitted), Ordering::Relaxed);
        let (buffers, files) = self.registered.counts();
        counters.fixed_buffers.store(buffers, Ordering::Relaxed);
        counters.fixed_files.store(files, Ordering::Relaxed);
        let waiting = self.lines.len() as u64 + u64::from(self.gate.waiting);
        counters.queued.store(waiting + unsubmitted, Ordering::Relaxed);
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

impl Resume for Ring {
    fn resume(self: Arc<Self>, key: Key) {
        self.release(key);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Nobody has a share in the ring any more, so nobody waits for the operations in flight. But the kernel may still
        // write to their memory. So this waits for them, and if they do not end, it leaks the memory: a leak is better than
        // memory that the kernel writes to after it became somebody else's.
        let Some(mut access) = self.access.take() else { return };
        let mut effects = Effects::default();
        let state = access.get_mut();
        let drained = state.drain_alone(DRAIN_MAX, &mut effects);
        state.gate.leave_lanes();
        if drained {
            drop(access);
        } else {
            Box::leak(access);
        }
        // A file that is let go of here may have a close or a turn that waits on another ring.
        effects.perform(None);
    }
}
