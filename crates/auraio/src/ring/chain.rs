//! Chains: linked operations, each of which starts when the one before it has done all that it was asked to do.
//!
//! The steps of a chain go to the kernel in one submission, because the kernel cuts a link at the end of a submission. They
//! also complete as one unit. The kernel answers `ECANCELED` for a step behind a failed one, and also for a step that it had
//! no worker for. Only the results of all steps together tell which it was.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{
    Ring, State,
    effects::Effects,
    lines::Waiting,
    slots::{Place, Sink, flag},
};
use crate::{
    backend::{Backend, Entry, Wait},
    op::{
        Done, Prepared,
        route::{Route, route},
    },
    sys::{Call, errno},
};

/// Names a chain of one ring.
pub(crate) type ChainKey = u64;

/// How often a chain is started again because the kernel answered "again". After that, the answer is its result.
const RESTARTS_MAX: u32 = 8;

#[derive(Debug)]
pub(super) struct ChainState {
    generation: u32,
    steps: Vec<u32>,
    /// The first step that is not done yet.
    from: usize,
    /// The number of steps that were pushed and have not completed.
    outstanding: usize,
    results: Vec<i32>,
    restarts: u32,
    waker: Option<Waker>,
    abandoned: bool,
    done: bool,
    /// Whether steps came back that the kernel had not taken. Then the rest of the chain has to start again.
    given_back: bool,
}

/// The chains of a ring.
#[derive(Debug, Default)]
pub(super) struct Chains {
    entries: Vec<Option<ChainState>>,
    generation: u32,
}

impl Chains {
    pub(super) fn len(&self, chain: u32) -> u32 {
        self.state(chain).map_or(0, |state| (state.steps.len() - state.from) as u32)
    }

    /// Notes that one of the chain's steps was withdrawn before the kernel took it.
    pub(super) fn give_back(&mut self, chain: u32) {
        if let Some(state) = self.state_mut(chain) {
            state.outstanding -= 1;
            state.given_back = true;
        }
    }

    fn state(&self, chain: u32) -> Option<&ChainState> {
        self.entries.get(chain as usize)?.as_ref()
    }

    fn state_mut(&mut self, chain: u32) -> Option<&mut ChainState> {
        self.entries.get_mut(chain as usize)?.as_mut()
    }

    fn find(&self, key: ChainKey) -> Option<u32> {
        let chain = key as u32;
        self.state(chain).is_some_and(|state| u64::from(state.generation) == key >> 32).then_some(chain)
    }
}

impl Ring {
    /// Submits the steps of a chain.
    pub(crate) fn submit_chain(self: &Arc<Self>, steps: Vec<Prepared>) -> ChainKey {
        let mut state = self.enter();
        let free = state.chains.entries.iter().position(Option::is_none);
        let chain = free.unwrap_or_else(|| {
            state.chains.entries.push(None);
            state.chains.entries.len() - 1
        }) as u32;
        let steps: Vec<u32> = steps.into_iter().map(|step| state.slots.insert_long(step, Sink::Chain(chain))).collect();
        state.totals.submitted += steps.len() as u64;
        state.chains.generation = state.chains.generation.wrapping_add(1);
        let generation = state.chains.generation;
        state.chains.entries[chain as usize] = Some(ChainState {
            generation,
            results: vec![0; steps.len()],
            steps,
            from: 0,
            outstanding: 0,
            restarts: 0,
            waker: None,
            abandoned: false,
            done: false,
            given_back: false,
        });
        state.start_chain(chain);
        self.leave(state, Effects::default());
        u64::from(generation) << 32 | u64::from(chain)
    }

    /// The results of a chain's steps. If it is not complete, the caller will be woken.
    pub(crate) fn poll_chain(self: &Arc<Self>, key: ChainKey, context: &mut Context<'_>) -> Poll<Vec<Done>> {
        // A waker is code of the user's, so it is cloned and dropped outside of the ring's state.
        let waker = context.waker().clone();
        let mut state = self.enter();
        let Some(chain) = state.chains.find(key) else { unreachable!("a future fetches its results once") };
        let done = state.chains.state(chain).is_some_and(|state| state.done);
        let (results, unused) = if done {
            (Some(state.take_chain(chain)), Some(waker))
        } else {
            let before = state.chains.state_mut(chain).and_then(|waiting| waiting.waker.replace(waker));
            (None, before)
        };
        self.leave(state, Effects::default());
        drop(unused);
        results.map_or(Poll::Pending, Poll::Ready)
    }

    /// Notes that nobody waits for the chain any more. The chain goes on, so that data that it began to make durable becomes
    /// so.
    pub(crate) fn abandon_chain(self: &Arc<Self>, key: ChainKey) {
        let mut effects = Effects::default();
        let mut state = self.enter();
        if let Some(chain) = state.chains.find(key) {
            if state.chains.state(chain).is_some_and(|state| state.done) {
                let results = state.take_chain(chain);
                effects.note().discarded.extend(results);
            } else if let Some(waiting) = state.chains.state_mut(chain) {
                waiting.abandoned = true;
                effects.note().dropped.extend(waiting.waker.take());
            }
            state.flush();
        }
        self.leave(state, effects);
    }
}

impl State {
    fn take_chain(&mut self, chain: u32) -> Vec<Done> {
        let state = self.chains.entries[chain as usize].take();
        state.map_or_else(Vec::new, |state| state.steps.iter().map(|&index| self.slots.remove(index)).collect())
    }

    fn steps_left(&self, chain: u32) -> Vec<u32> {
        self.chains.state(chain).map_or_else(Vec::new, |state| state.steps[state.from..].to_vec())
    }

    /// Starts what is left of a chain. The ring performs it if it can perform all steps, and if a failure of each step
    /// cancels the steps behind it. Otherwise the helper does.
    fn start_chain(&mut self, chain: u32) {
        let steps = self.steps_left(chain);
        // A chain that does not fit into the submission queue as a whole cannot be linked there.
        let mut helper = steps.len() as u32 > self.load.room_max;
        for (position, &index) in steps.iter().enumerate() {
            let (hot, cold) = self.slots.both_mut(index);
            helper |= position + 1 < steps.len() && !cold.call.cuts_link();
            hot.weight = 1;
            hot.place = Place::Waiting;
            let way = route(&cold.call, cold.expect, cold.file.as_ref().map(|file| file.facts()), false);
            hot.set_to(flag::ASYNC, way == Route::RingAsync);
            helper |= way == Route::Threads;
            helper |= self.goes_to_helper(index) || self.main.weight(&self.slots.cold(index).call) != 1;
        }
        if helper && self.helper.is_there() {
            self.push_chain_helper(chain);
        } else if self.lines.is_clear() && self.make_room(steps.len() as u32) {
            self.push_chain(chain);
        } else {
            self.lines.push(Waiting::Chain(chain));
        }
    }

    /// Pushes a chain's steps. The caller knows that there is room for all of them.
    pub(super) fn push_chain(&mut self, chain: u32) {
        let steps = self.steps_left(chain);
        if let Some(state) = self.chains.state_mut(chain) {
            state.outstanding = steps.len();
        }
        for (position, &index) in steps.iter().enumerate() {
            self.push_main(index, position + 1 < steps.len());
        }
        if self.load.unsubmitted >= self.load.batch {
            self.submit(Wait::No);
        }
    }

    /// Gives a chain's steps to the helper, which performs them in order on one thread.
    #[expect(unsafe_code, reason = "the slots are what keeps the promise that Backend::push asks for")]
    pub(super) fn push_chain_helper(&mut self, chain: u32) {
        let steps = self.steps_left(chain);
        if let Some(state) = self.chains.state_mut(chain) {
            state.outstanding = steps.len();
        }
        for (position, &index) in steps.iter().enumerate() {
            let user_data = self.slots.key(index);
            let (hot, cold) = self.slots.both_mut(index);
            hot.place = Place::Helper;
            let link = position + 1 < steps.len();
            let entry = Entry { link, force_async: true, class: hot.class, ..Entry::new(cold.call, user_data) };
            // SAFETY: the slot owns what the call points to until this key's completion.
            unsafe { self.helper.push(entry) };
        }
        self.helper.flush();
    }

    /// Starts the chains again, on the helper, whose steps the kernel will not take any more.
    pub(super) fn restart_chains(&mut self) {
        let those: Vec<u32> = (0..)
            .zip(&self.chains.entries)
            .filter(|(_, state)| state.as_ref().is_some_and(|state| state.given_back && state.outstanding == 0))
            .map(|(chain, _)| chain)
            .collect();
        for chain in those {
            if let Some(state) = self.chains.state_mut(chain) {
                state.given_back = false;
            }
            self.push_chain_helper(chain);
        }
    }

    /// Takes the result of one step. When all pushed steps have a result, the chain is settled.
    pub(super) fn complete_step(&mut self, chain: u32, index: u32, result: i32, effects: &mut Effects) {
        self.slots.cold_mut(index).result = i64::from(result);
        let on_ring = self.slots.hot(index).place == Place::Main;
        let Some(state) = self.chains.state_mut(chain) else { return };
        if let Some(position) = state.steps.iter().position(|&step| step == index) {
            state.results[position] = result;
        }
        state.outstanding -= 1;
        if state.outstanding == 0 {
            self.settle_chain(chain, on_ring, effects);
        }
    }

    /// Settles a chain: every step that was pushed has a result. Either the chain is done, or it starts again from the first
    /// step that has to be made again.
    fn settle_chain(&mut self, chain: u32, on_ring: bool, effects: &mut Effects) {
        let Some(state) = self.chains.state_mut(chain) else { return };
        let mut position = state.from;
        let mut redo = false;
        let mut no_worker = false;
        while position < state.steps.len() {
            let (hot, cold) = self.slots.both_mut(state.steps[position]);
            let result = state.results[position];
            match u64::try_from(result) {
                Ok(bytes) if cold.expect == 0 || bytes == cold.expect => cold.moved += bytes,
                Ok(bytes) => {
                    // A short write: its rest comes first, then the steps behind it.
                    if let Call::Write { fd, buf, len, offset } = cold.call
                        && bytes > 0
                    {
                        cold.moved += bytes;
                        cold.expect -= bytes;
                        let (buf, len) = (buf.wrapping_add(bytes as usize), len - bytes as u32);
                        cold.call = Call::Write { fd, buf, len, offset: offset.saturating_add(bytes) };
                        redo = true;
                    }
                }
                Err(_) => {
                    if !hot.has(flag::CANCELLED) && !hot.is_close() && state.restarts < RESTARTS_MAX {
                        no_worker = on_ring && result == -errno::ECANCELED;
                        redo = no_worker || matches!(-result, errno::EINTR | errno::EAGAIN);
                        redo |= on_ring && result == -errno::ENXIO && cold.waits_to_open();
                    }
                }
            }
            let whole = u64::try_from(result).is_ok_and(|bytes| cold.expect == 0 || bytes == cold.expect);
            if !whole || redo {
                break;
            }
            position += 1;
        }
        state.from = position;
        if redo || std::mem::take(&mut state.given_back) {
            state.restarts += 1;
            if no_worker {
                self.helper.stand_in_once();
            }
            if self.helper.is_there() {
                self.push_chain_helper(chain);
            } else {
                self.start_chain(chain);
            }
            return;
        }
        self.finish_chain(chain, effects);
    }

    fn finish_chain(&mut self, chain: u32, effects: &mut Effects) {
        let Some(state) = self.chains.state_mut(chain) else { return };
        for (position, &index) in state.steps.iter().enumerate() {
            let (hot, cold) = self.slots.both_mut(index);
            let result = state.results[position];
            hot.place = Place::Done;
            cold.result = if result >= 0 || cold.moved > 0 {
                cold.moved.max(u64::try_from(result).unwrap_or(0)) as i64
            } else {
                i64::from(result)
            };
            // A step behind a failed one was cancelled by the chain, and not for want of a worker.
            if position > state.from {
                hot.set(flag::CANCELLED);
            }
            effects.release(cold.file.take());
            effects.release(cold.other.take());
        }
        self.totals.completed += state.steps.len() as u64;
        state.done = true;
        if let Some(waker) = state.waker.take() {
            effects.note().wakers.push(waker);
        }
        if state.abandoned {
            let results = self.take_chain(chain);
            effects.note().discarded.extend(results);
        }
    }
}
