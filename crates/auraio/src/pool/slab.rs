//! The arena: one reservation of addresses, cut into slabs of 2 MiB at fixed places, and what becomes of each.
//!
//! A slab is mapped, serves blocks of one class or is part of a run (a block of several slabs), becomes free, serves again,
//! and is unmapped when the pool is trimmed. Which slab an address lies in is a subtraction and a shift.
//!
//! The kernel may know a slab: rings register its memory. Pages given back while they are registered are written to all the
//! same, and the new pages under the same address are not: data would be lost without an error. So whoever tells the kernel
//! of a slab *holds* it, and a slab that is to be unmapped *retires* first: no block is handed out from it, nobody can begin
//! to hold it, and the last holder to let go unmaps it.
#![expect(unsafe_code, reason = "unmapping memory, and writing to memory that is in no block")]

use std::{ptr::NonNull, sync::atomic::Ordering::Relaxed};

use super::{
    class::{SLAB_BYTES, SLAB_SHIFT},
    sync::{AtomicU64, Mutex, lock},
};

/// Where slabs come from.
pub(super) trait Memory: Send + Sync {
    /// The first address, a multiple of the size of a slab.
    fn base(&self) -> NonNull<u8>;

    /// How many slabs there is room for.
    fn slabs(&self) -> u32;

    /// Makes slabs usable, their pages present and zeroed. False, and they are as before, if the system has no memory.
    fn map(&self, first: u32, slabs: u32, node: u32) -> bool;

    /// Gives back their pages. False, and they are as before, if the system refuses.
    ///
    /// # Safety
    /// Nobody uses them: no block, and no kernel.
    unsafe fn unmap(&self, first: u32, slabs: u32) -> bool;
}

/// Memory that stays mapped for as long as this is not given back: one slab, or all slabs of a block that has several.
///
/// A slab can go from a single one to a part of a run, and back, while it is held. So a block may begin in an extent and
/// not end in it: whoever tells the kernel of blocks by their extents compares both ends.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "memory that is never let go is never given back"]
pub(crate) struct Extent {
    /// The first address.
    pub(crate) address: usize,
    /// In bytes.
    pub(crate) len: usize,
    pub(crate) first_slab: u32,
    pub(crate) slabs: u32,
}

/// All slabs of a pool.
#[derive(Debug)]
pub(super) struct Arena<M> {
    memory: M,
    base: usize,
    bytes: usize,
    retirements: AtomicU64,
    slabs: Mutex<Slabs>,
}

#[derive(Debug, Default)]
struct Slabs {
    /// Those that were ever used; behind them all are unmapped.
    all: Vec<Slab>,
    /// Slabs in any state but unmapped.
    mapped: u32,
    free: u32,
    in_runs: u32,
    retiring: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slab {
    state: State,
    /// Extents of it that were not let go.
    holders: u32,
    node: u32,
    /// Free since the trimmer looked last.
    seen: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unmapped,
    /// Being mapped or unmapped, by one thread without the lock.
    Changing,
    /// Mapped, and part of no block.
    Free,
    /// In a shard.
    InClass,
    /// The first slab of a block that has so many.
    Run(u32),
    /// So many slabs behind the first of its block.
    RunPart(u32),
    /// Free, until its holders let go; then unmapped.
    Retiring,
}

/// Slabs for one block, of which some have yet to be mapped.
#[derive(Debug)]
#[must_use = "its slabs stay as they are until it is finished"]
pub(super) struct RunPlan {
    first: u32,
    slabs: u32,
    /// First ones and counts.
    missing: Vec<(u32, u32)>,
    node: u32,
}

impl RunPlan {
    /// The slabs that have yet to be mapped: first ones and counts.
    pub(super) fn missing(&self) -> &[(u32, u32)] {
        &self.missing
    }
}

/// What came of [`Arena::retire`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Retired {
    /// Slabs that were unmapped at once.
    pub(super) unmapped: u32,
    /// Slabs that somebody holds.
    pub(super) held: u32,
}

/// How much there is of what, in slabs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) mapped: u32,
    pub(super) free: u32,
    pub(super) in_runs: u32,
    pub(super) retiring: u32,
}

impl<M: Memory> Arena<M> {
    pub(super) fn new(memory: M) -> Self {
        let (base, bytes) = (memory.base().addr().get(), memory.slabs() as usize * SLAB_BYTES);
        Self { memory, base, bytes, retirements: AtomicU64::new(0), slabs: Mutex::default() }
    }

    /// The slab that an address lies in; `None` if it is none of this arena's.
    #[inline]
    pub(super) fn slab_of(&self, address: usize) -> Option<u32> {
        let offset = address.wrapping_sub(self.base);
        (offset < self.bytes).then_some((offset >> SLAB_SHIFT) as u32)
    }

    /// How far an address is behind the first.
    pub(super) fn offset_of(&self, address: NonNull<u8>) -> usize {
        address.addr().get() - self.base
    }

    pub(super) fn address_at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset < self.bytes);
        // SAFETY: the offset is less than the length of the reservation: it is that of a slab of this arena.
        unsafe { self.memory.base().add(offset) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn counts(&self) -> Counts {
        let slabs = lock(&self.slabs);
        Counts { mapped: slabs.mapped, free: slabs.free, in_runs: slabs.in_runs, retiring: slabs.retiring }
    }

    pub(super) fn node_of(&self, slab: u32) -> u32 {
        lock(&self.slabs).all[slab as usize].node
    }

    /// A mapped slab that is in no block, for a class; the lowest, of this node or of any.
    pub(super) fn take_free(&self, node: Option<u32>) -> Option<u32> {
        let slabs = &mut *lock(&self.slabs);
        if slabs.free == 0 {
            return None;
        }
        let fits = |slab: &Slab| slab.state == State::Free && node.is_none_or(|node| slab.node == node);
        let at = slabs.all.iter().position(fits)?;
        slabs.set(at as u32, State::InClass);
        Some(at as u32)
    }

    /// Maps a slab for a class, if no more than `slabs_max` are mapped then and the system agrees.
    pub(super) fn map_one(&self, node: u32, slabs_max: u32) -> Option<u32> {
        let slab = {
            let slabs = &mut *lock(&self.slabs);
            if slabs.mapped >= slabs_max {
                return None;
            }
            let lowest =
                slabs.all.iter().position(|slab| slab.state == State::Unmapped).unwrap_or(slabs.all.len()) as u32;
            if lowest >= self.memory.slabs() {
                return None;
            }
            slabs.set(lowest, State::Changing);
            slabs.all[lowest as usize].node = node;
            lowest
        };
        let mapped = self.memory.map(slab, 1, node);
        lock(&self.slabs).set(slab, if mapped { State::InClass } else { State::Unmapped });
        mapped.then_some(slab)
    }

    /// Takes back a slab that served a class; the caller has all its blocks.
    pub(super) fn give_free(&self, slab: u32, seen: bool) {
        let slabs = &mut *lock(&self.slabs);
        debug_assert_eq!(slabs.all[slab as usize].state, State::InClass);
        slabs.set(slab, State::Free);
        slabs.all[slab as usize].seen = seen;
    }

    /// Finds slabs in a row for one block: free ones if there are, else with some that have yet to be mapped, so that no
    /// more than `slabs_max` are mapped then.
    pub(super) fn plan_run(&self, count: u32, node: u32, slabs_max: u32) -> Option<RunPlan> {
        let slabs = &mut *lock(&self.slabs);
        let budget = slabs_max.saturating_sub(slabs.mapped);
        let first =
            slabs.row(count, 0, self.memory.slabs()).or_else(|| slabs.row(count, budget, self.memory.slabs()))?;
        let mut missing: Vec<(u32, u32)> = Vec::new();
        for slab in first..first + count {
            if slabs.state(slab) == State::Unmapped {
                match missing.last_mut() {
                    Some((from, more)) if *from + *more == slab => *more += 1,
                    _ => missing.push((slab, 1)),
                }
            }
            slabs.set(slab, State::Changing);
        }
        Some(RunPlan { first, slabs: count, missing, node })
    }

    /// Maps what a plan lacks, and answers the first slab of the block. Where the system refuses, the slabs go back.
    pub(super) fn finish_run(&self, plan: RunPlan) -> Option<u32> {
        let mut refused = None;
        for (at, (first, count)) in plan.missing.iter().enumerate() {
            if !self.memory.map(*first, *count, plan.node) {
                refused = Some(at);
                break;
            }
        }
        let slabs = &mut *lock(&self.slabs);
        for (first, count) in &plan.missing {
            for slab in *first..first + count {
                slabs.all[slab as usize].node = plan.node;
            }
        }
        let Some(refused) = refused else {
            for part in 0..plan.slabs {
                slabs.set(plan.first + part, if part == 0 { State::Run(plan.slabs) } else { State::RunPart(part) });
            }
            return Some(plan.first);
        };
        for slab in plan.first..plan.first + plan.slabs {
            slabs.set(slab, State::Free);
        }
        for (first, count) in &plan.missing[refused..] {
            (*first..first + count).for_each(|slab| slabs.set(slab, State::Unmapped));
        }
        None
    }

    /// Takes back the slabs of a block.
    pub(super) fn release_run(&self, first: u32) {
        let slabs = &mut *lock(&self.slabs);
        let State::Run(count) = slabs.all[first as usize].state else {
            unreachable!("a block that has whole slabs begins with the first of them");
        };
        for slab in first..first + count {
            slabs.set(slab, State::Free);
            slabs.all[slab as usize].seen = false;
        }
    }

    /// Marks free slabs, until they are used.
    pub(super) fn mark_seen(&self) {
        for slab in &mut lock(&self.slabs).all {
            slab.seen = slab.state == State::Free;
        }
    }

    /// Unmaps free slabs, or has them retire if somebody holds them: `most` of them, the highest first, those alone that were
    /// [marked](Self::mark_seen) if `seen`.
    pub(super) fn retire(&self, most: u32, seen: bool) -> Retired {
        let mut outcome = Retired::default();
        let mut going = Vec::new();
        {
            let slabs = &mut *lock(&self.slabs);
            for at in (0..slabs.all.len() as u32).rev() {
                if slabs.free == 0 || going.len() as u32 + outcome.held == most {
                    break;
                }
                let slab = slabs.all[at as usize];
                if slab.state != State::Free || (seen && !slab.seen) {
                    continue;
                }
                if slab.holders == 0 {
                    slabs.set(at, State::Changing);
                    going.push(at);
                } else {
                    slabs.set(at, State::Retiring);
                    outcome.held += 1;
                }
            }
            self.retirements.fetch_add(going.len() as u64 + u64::from(outcome.held), Relaxed);
        }
        going.reverse();
        outcome.unmapped = self.unmap(&going);
        outcome
    }

    /// The memory of the slab, or of the block of several slabs that it is part of, to stay mapped until it is
    /// [let go](Self::let_go). `None` when it is not mapped or retires.
    pub(super) fn hold(&self, slab: u32) -> Option<Extent> {
        let slabs = &mut *lock(&self.slabs);
        let (first_slab, count) = match slabs.state(slab) {
            State::Unmapped | State::Changing | State::Retiring => return None,
            State::Free | State::InClass => (slab, 1),
            State::Run(count) => (slab, count),
            State::RunPart(behind) => match slabs.state(slab - behind) {
                State::Run(count) => (slab - behind, count),
                _ => unreachable!("a part of a run knows how far behind the first slab it is"),
            },
        };
        for held in first_slab..first_slab + count {
            slabs.all[held as usize].holders += 1;
        }
        let address = self.base + first_slab as usize * SLAB_BYTES;
        Some(Extent { address, len: count as usize * SLAB_BYTES, first_slab, slabs: count })
    }

    /// The inverse of [`hold`](Self::hold): the kernel knows nothing of this memory any more, as far as this holder told it.
    /// Answers how many slabs retired and were unmapped, since nobody else held them.
    pub(super) fn let_go(&self, extent: Extent) -> u32 {
        let mut going = Vec::new();
        {
            let slabs = &mut *lock(&self.slabs);
            for held in extent.first_slab..extent.first_slab + extent.slabs {
                let slab = &mut slabs.all[held as usize];
                slab.holders -= 1;
                if slab.holders == 0 && slab.state == State::Retiring {
                    slabs.set(held, State::Changing);
                    going.push(held);
                }
            }
        }
        self.unmap(&going)
    }

    /// Whether the slab waits for its holders to let go.
    pub(super) fn is_retiring(&self, slab: u32) -> bool {
        lock(&self.slabs).state(slab) == State::Retiring
    }

    /// Grows whenever a slab begins to retire.
    #[inline]
    pub(super) fn retirements(&self) -> u64 {
        self.retirements.load(Relaxed)
    }

    /// Unmaps slabs, ascending, which this thread has made `Changing` and which had no holder then. Answers how many went.
    fn unmap(&self, slabs: &[u32]) -> u32 {
        let mut gone = 0;
        for row in slabs.chunk_by(|one, next| one + 1 == *next) {
            let count = row.len() as u32;
            // SAFETY: they were free, so no block has them, and without a holder, so no kernel has; `Changing` keeps them so.
            let unmapped = unsafe { self.memory.unmap(row[0], count) };
            let mut slabs = lock(&self.slabs);
            for slab in row {
                slabs.set(*slab, if unmapped { State::Unmapped } else { State::Free });
            }
            gone += if unmapped { count } else { 0 };
        }
        gone
    }

    /// Overwrites memory that is in no block.
    pub(super) fn fill(&self, offset: usize, len: usize, byte: u8) {
        // SAFETY: mapped, and the caller's alone: a slab or block that it took or is about to give back.
        unsafe { self.address_at(offset).write_bytes(byte, len) };
    }

    /// Whether memory that is in no block is still as [`fill`](Self::fill) left it.
    pub(super) fn is_filled(&self, offset: usize, len: usize, byte: u8) -> bool {
        // SAFETY: as above.
        unsafe { NonNull::slice_from_raw_parts(self.address_at(offset), len).as_ref() }.iter().all(|is| *is == byte)
    }
}

impl Slabs {
    fn state(&self, slab: u32) -> State {
        self.all.get(slab as usize).map_or(State::Unmapped, |slab| slab.state)
    }

    fn set(&mut self, slab: u32, state: State) {
        if self.all.len() <= slab as usize {
            self.all.resize(slab as usize + 1, Slab { state: State::Unmapped, holders: 0, node: 0, seen: false });
        }
        let before = std::mem::replace(&mut self.all[slab as usize].state, state);
        for (state, step) in [(before, u32::MAX), (state, 1)] {
            let count = |count: &mut u32, counts: bool| *count = count.wrapping_add(if counts { step } else { 0 });
            count(&mut self.mapped, state != State::Unmapped);
            count(&mut self.free, state == State::Free);
            count(&mut self.retiring, state == State::Retiring);
            count(&mut self.in_runs, matches!(state, State::Run(_) | State::RunPart(_)));
        }
    }

    /// The first of so many slabs in a row that are free, or unmapped, of these at most `missing_max`.
    fn row(&self, count: u32, missing_max: u32, slabs: u32) -> Option<u32> {
        let (mut first, mut missing) = (0, 0);
        // Behind the slabs that were ever used all are alike.
        for slab in 0..slabs.min(self.all.len() as u32 + count) {
            match self.state(slab) {
                State::Free => {}
                State::Unmapped => missing += 1,
                _ => {
                    (first, missing) = (slab + 1, 0);
                    continue;
                }
            }
            if slab - first == count {
                missing -= u32::from(self.state(first) == State::Unmapped);
                first += 1;
            }
            if slab + 1 - first == count && missing <= missing_max {
                return Some(first);
            }
        }
        None
    }
}
