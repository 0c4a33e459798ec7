//! The arena: one reservation of addresses, cut into slabs of 2 MiB that never move, and the state of each slab.
//!
//! A slab is mapped; then it serves blocks of one class, or is part of a run (a block of several slabs). It becomes free and
//! may serve again. It is unmapped when the pool is trimmed. A subtraction and a shift tell which slab an address lies in.
//!
//! Rings register slabs, and then the kernel knows their pages. If a registered page were given back, the kernel would go on
//! writing to the old page, and not to the new page at the same address: data would be lost without an error. So a ring that
//! registers a slab *holds* it. A slab that is to be unmapped and has holders *retires* first: the arena hands out no block
//! of it and refuses new holders, and the last holder to let go unmaps it.
#![expect(unsafe_code, reason = "unmapping memory, and writing to memory that is in no block")]

use std::{ptr::NonNull, sync::atomic::Ordering::Relaxed};

use super::{
    class::{SLAB_BYTES, SLAB_SHIFT},
    sync::{AtomicU64, Mutex, lock},
};

/// The memory that slabs lie in. The pool uses a reservation of addresses; tests use a fake.
pub(super) trait Memory: Send + Sync {
    /// The first address, a multiple of the size of a slab.
    fn base(&self) -> NonNull<u8>;

    /// How many slabs there is room for.
    fn slabs(&self) -> u32;

    /// Makes slabs usable, with their pages present and zeroed. False, and nothing has changed, if the system has no memory.
    fn map(&self, first: u32, slabs: u32, node: u32) -> bool;

    /// Gives the pages of slabs back. False, and nothing has changed, if the system refuses.
    ///
    /// # Safety
    /// Nobody uses the slabs: no block lies in them, and the kernel does not know them.
    unsafe fn unmap(&self, first: u32, slabs: u32) -> bool;
}

/// Memory that stays mapped until this value is given back by `let_go`: one slab, or all slabs of a block that has several.
///
/// While a slab is held, it can become a part of a run, and a single slab again. So a block may begin in an extent and end
/// outside it: before a caller uses an extent for a block, it compares both ends.
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
    /// The slabs that were ever used. All slabs behind them are unmapped.
    all: Vec<Slab>,
    /// How many slabs are in any state but unmapped.
    mapped: u32,
    free: u32,
    in_runs: u32,
    retiring: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slab {
    state: SlabState,
    /// How many extents with this slab were not let go yet.
    holders: u32,
    node: u32,
    /// It has been free since the trimmer ran last.
    seen: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlabState {
    Unmapped,
    /// One thread is mapping or unmapping it, without the lock.
    Changing,
    /// Mapped, and part of no block.
    Free,
    /// In a shard; it serves a class.
    InClass,
    /// The first slab of a block that has this many slabs.
    Run(u32),
    /// A slab of a block, this many slabs behind the first.
    RunPart(u32),
    /// Free and out of use. It is unmapped when its last holder lets go.
    Retiring,
}

/// Slabs for one block, of which some may still have to be mapped.
#[derive(Debug)]
#[must_use = "its slabs stay as they are until it is finished"]
pub(super) struct RunPlan {
    first: u32,
    slabs: u32,
    /// The slabs that have to be mapped, in rows: the first of each row, and how many.
    missing: Vec<(u32, u32)>,
    node: u32,
}

impl RunPlan {
    /// The slabs that have to be mapped, in rows: the first of each row, and how many.
    pub(super) fn missing(&self) -> &[(u32, u32)] {
        &self.missing
    }
}

/// The outcome of [`Arena::retire`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Retired {
    /// How many slabs were unmapped at once.
    pub(super) unmapped: u32,
    /// How many slabs retire because somebody holds them.
    pub(super) held: u32,
}

/// How many slabs are in which state.
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

    /// The slab that an address lies in; `None` if the address is not in this arena.
    #[inline]
    pub(super) fn slab_of(&self, address: usize) -> Option<u32> {
        let offset = address.wrapping_sub(self.base);
        (offset < self.bytes).then_some((offset >> SLAB_SHIFT) as u32)
    }

    /// The distance of an address from the first one.
    pub(super) fn offset_of(&self, address: NonNull<u8>) -> usize {
        address.addr().get() - self.base
    }

    pub(super) fn address_at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset < self.bytes);
        // SAFETY: callers pass offsets inside a slab of this arena, so the offset is less than the length of the reservation.
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

    /// Takes the lowest free slab for a class: of this node, or of any node if `None`.
    pub(super) fn take_free(&self, node: Option<u32>) -> Option<u32> {
        let slabs = &mut *lock(&self.slabs);
        if slabs.free == 0 {
            return None;
        }
        let fits = |slab: &Slab| slab.state == SlabState::Free && node.is_none_or(|node| slab.node == node);
        let at = slabs.all.iter().position(fits)?;
        slabs.set(at as u32, SlabState::InClass);
        Some(at as u32)
    }

    /// Maps a slab for a class. `None` if more than `slabs_max` would be mapped, or the system refuses.
    pub(super) fn map_one(&self, node: u32, slabs_max: u32) -> Option<u32> {
        let slab = {
            let slabs = &mut *lock(&self.slabs);
            if slabs.mapped >= slabs_max {
                return None;
            }
            let lowest =
                slabs.all.iter().position(|slab| slab.state == SlabState::Unmapped).unwrap_or(slabs.all.len()) as u32;
            if lowest >= self.memory.slabs() {
                return None;
            }
            slabs.set(lowest, SlabState::Changing);
            slabs.all[lowest as usize].node = node;
            lowest
        };
        let mapped = self.memory.map(slab, 1, node);
        lock(&self.slabs).set(slab, if mapped { SlabState::InClass } else { SlabState::Unmapped });
        mapped.then_some(slab)
    }

    /// Takes back a slab that served a class; the caller has all its blocks.
    pub(super) fn give_free(&self, slab: u32, seen: bool) {
        let slabs = &mut *lock(&self.slabs);
        debug_assert_eq!(slabs.all[slab as usize].state, SlabState::InClass);
        slabs.set(slab, SlabState::Free);
        slabs.all[slab as usize].seen = seen;
    }

    /// Finds slabs in a row for one block. It prefers a row of free slabs; else some of the row have to be mapped, but no more
    /// than `slabs_max` may be mapped in all.
    pub(super) fn plan_run(&self, count: u32, node: u32, slabs_max: u32) -> Option<RunPlan> {
        let slabs = &mut *lock(&self.slabs);
        let budget = slabs_max.saturating_sub(slabs.mapped);
        let first =
            slabs.row(count, 0, self.memory.slabs()).or_else(|| slabs.row(count, budget, self.memory.slabs()))?;
        let mut missing: Vec<(u32, u32)> = Vec::new();
        for slab in first..first + count {
            if slabs.state(slab) == SlabState::Unmapped {
                match missing.last_mut() {
                    Some((from, more)) if *from + *more == slab => *more += 1,
                    _ => missing.push((slab, 1)),
                }
            }
            slabs.set(slab, SlabState::Changing);
        }
        Some(RunPlan { first, slabs: count, missing, node })
    }

    /// Maps the missing slabs of a plan, and answers the first slab of the block. If the system refuses, the plan's slabs go
    /// back, and the answer is `None`.
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
                slabs.set(
                    plan.first + part,
                    if part == 0 { SlabState::Run(plan.slabs) } else { SlabState::RunPart(part) },
                );
            }
            return Some(plan.first);
        };
        for slab in plan.first..plan.first + plan.slabs {
            slabs.set(slab, SlabState::Free);
        }
        for (first, count) in &plan.missing[refused..] {
            (*first..first + count).for_each(|slab| slabs.set(slab, SlabState::Unmapped));
        }
        None
    }

    /// Takes back the slabs of a block that has whole slabs.
    pub(super) fn release_run(&self, first: u32) {
        let slabs = &mut *lock(&self.slabs);
        let SlabState::Run(count) = slabs.all[first as usize].state else {
            unreachable!("a block that has whole slabs begins with the first of them");
        };
        for slab in first..first + count {
            slabs.set(slab, SlabState::Free);
            slabs.all[slab as usize].seen = false;
        }
    }

    /// Marks the free slabs. The mark of a slab stays until it is used.
    pub(super) fn mark_seen(&self) {
        for slab in &mut lock(&self.slabs).all {
            slab.seen = slab.state == SlabState::Free;
        }
    }

    /// Unmaps free slabs, at most `most`, the highest first. Slabs that somebody holds retire instead. If `seen` is set, only
    /// slabs count that were [marked](Self::mark_seen).
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
                if slab.state != SlabState::Free || (seen && !slab.seen) {
                    continue;
                }
                if slab.holders == 0 {
                    slabs.set(at, SlabState::Changing);
                    going.push(at);
                } else {
                    slabs.set(at, SlabState::Retiring);
                    outcome.held += 1;
                }
            }
            self.retirements.fetch_add(going.len() as u64 + u64::from(outcome.held), Relaxed);
        }
        going.reverse();
        outcome.unmapped = self.unmap(&going);
        outcome
    }

    /// Keeps a slab mapped until it is [let go](Self::let_go); if it is part of a block of several slabs, all of them. `None`
    /// if the slab is not mapped, or retires.
    pub(super) fn hold(&self, slab: u32) -> Option<Extent> {
        let slabs = &mut *lock(&self.slabs);
        let (first_slab, count) = match slabs.state(slab) {
            SlabState::Unmapped | SlabState::Changing | SlabState::Retiring => return None,
            SlabState::Free | SlabState::InClass => (slab, 1),
            SlabState::Run(count) => (slab, count),
            SlabState::RunPart(behind) => match slabs.state(slab - behind) {
                SlabState::Run(count) => (slab - behind, count),
                _ => unreachable!("a part of a run knows how far behind the first slab it is"),
            },
        };
        for held in first_slab..first_slab + count {
            slabs.all[held as usize].holders += 1;
        }
        let address = self.base + first_slab as usize * SLAB_BYTES;
        Some(Extent { address, len: count as usize * SLAB_BYTES, first_slab, slabs: count })
    }

    /// Ends a [`hold`](Self::hold): this holder has removed the memory from the kernel's tables. Slabs that retire and have no
    /// other holder are unmapped; the answer is how many.
    pub(super) fn let_go(&self, extent: Extent) -> u32 {
        let mut going = Vec::new();
        {
            let slabs = &mut *lock(&self.slabs);
            for held in extent.first_slab..extent.first_slab + extent.slabs {
                let slab = &mut slabs.all[held as usize];
                slab.holders -= 1;
                if slab.holders == 0 && slab.state == SlabState::Retiring {
                    slabs.set(held, SlabState::Changing);
                    going.push(held);
                }
            }
        }
        self.unmap(&going)
    }

    /// Whether the slab waits for its holders to let go.
    pub(super) fn is_retiring(&self, slab: u32) -> bool {
        lock(&self.slabs).state(slab) == SlabState::Retiring
    }

    /// How many slabs have been unmapped or have begun to retire so far.
    #[inline]
    pub(super) fn retirements(&self) -> u64 {
        self.retirements.load(Relaxed)
    }

    /// Unmaps slabs, and answers how many were unmapped. They are in ascending order; this thread has made them `Changing`
    /// when they had no holder.
    fn unmap(&self, slabs: &[u32]) -> u32 {
        let mut gone = 0;
        for row in slabs.chunk_by(|one, next| one + 1 == *next) {
            let count = row.len() as u32;
            // SAFETY: they were free, so no block lies in them, and had no holder, so the kernel does not know them. As long as
            // they are `Changing`, no other thread uses or holds them.
            let unmapped = unsafe { self.memory.unmap(row[0], count) };
            let mut slabs = lock(&self.slabs);
            for slab in row {
                slabs.set(*slab, if unmapped { SlabState::Unmapped } else { SlabState::Free });
            }
            gone += if unmapped { count } else { 0 };
        }
        gone
    }

    /// Overwrites memory that is in no block.
    pub(super) fn fill(&self, offset: usize, len: usize, byte: u8) {
        // SAFETY: the memory is mapped, and only the caller uses it: it is a slab or a block that the caller has taken, or is
        // about to give back.
        unsafe { self.address_at(offset).write_bytes(byte, len) };
    }

    /// Whether memory that is in no block is still as [`fill`](Self::fill) left it.
    pub(super) fn is_filled(&self, offset: usize, len: usize, byte: u8) -> bool {
        // SAFETY: as in `fill`.
        unsafe { NonNull::slice_from_raw_parts(self.address_at(offset), len).as_ref() }.iter().all(|is| *is == byte)
    }
}

impl Slabs {
    fn state(&self, slab: u32) -> SlabState {
        self.all.get(slab as usize).map_or(SlabState::Unmapped, |slab| slab.state)
    }

    fn set(&mut self, slab: u32, state: SlabState) {
        if self.all.len() <= slab as usize {
            self.all.resize(slab as usize + 1, Slab { state: SlabState::Unmapped, holders: 0, node: 0, seen: false });
        }
        let before = std::mem::replace(&mut self.all[slab as usize].state, state);
        for (state, step) in [(before, u32::MAX), (state, 1)] {
            let count = |count: &mut u32, counts: bool| *count = count.wrapping_add(if counts { step } else { 0 });
            count(&mut self.mapped, state != SlabState::Unmapped);
            count(&mut self.free, state == SlabState::Free);
            count(&mut self.retiring, state == SlabState::Retiring);
            count(&mut self.in_runs, matches!(state, SlabState::Run(_) | SlabState::RunPart(_)));
        }
    }

    /// The first of `count` slabs in a row that are free or unmapped; at most `missing_max` of them are unmapped.
    fn row(&self, count: u32, missing_max: u32, slabs: u32) -> Option<u32> {
        let (mut first, mut missing) = (0, 0);
        // Behind the slabs that were ever used, all slabs are unmapped, so the search can end there.
        for slab in 0..slabs.min(self.all.len() as u32 + count) {
            match self.state(slab) {
                SlabState::Free => {}
                SlabState::Unmapped => missing += 1,
                _ => {
                    (first, missing) = (slab + 1, 0);
                    continue;
                }
            }
            if slab - first == count {
                missing -= u32::from(self.state(first) == SlabState::Unmapped);
                first += 1;
            }
            if slab + 1 - first == count && missing <= missing_max {
                return Some(first);
            }
        }
        None
    }
}
