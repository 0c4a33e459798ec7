//! The slow way of an acquisition and a release: in which order memory is looked for, and where it goes back.
//!
//! A thread looks for a block in this order: in the shard of its core, in other shards of its NUMA node, in a free slab of
//! the node, in a newly mapped slab, in the shards of other nodes, in a free slab of another node, in a slab of another class
//! of which no block is in use, and then in all of these again after the caches of all threads were emptied. From the free
//! slab on it holds one lock. So if it finds nothing, there is nothing: no other thread is just moving memory.
//!
//! It refuses sizes and alignments that no pool could serve ([`Refusal`]) before it looks for memory.

use std::{
    ptr::NonNull,
    sync::{Weak, atomic::Ordering::Relaxed},
};

use super::{
    Block, Ground, Inner, Request, SLAB_BYTES,
    builder::ADDRESS_SPACE_MIN,
    cache,
    class::{CLASSES, SLAB_SHIFT, bytes_of, class_of, slabs_of},
    shard::{Batch, Homes, Shard},
    slab::{Arena, Memory, Retired},
};
use crate::{Error, lock, sys::memory::Reservation};

/// The byte that fills free blocks of a pool with `debug`. It is not ASCII, and neither a small number nor an address
/// consists of it.
const POISON: u8 = 0xdb;

/// A reservation, in slabs.
pub(super) struct Space {
    reservation: Reservation,
    /// Whether it matters on which node a slab is.
    has_nodes: bool,
}

impl Memory for Space {
    fn base(&self) -> NonNull<u8> {
        self.reservation.base()
    }

    fn slabs(&self) -> u32 {
        (self.reservation.len() / SLAB_BYTES) as u32
    }

    fn map(&self, first: u32, slabs: u32, node: u32) -> bool {
        let (offset, len) = (first as usize * SLAB_BYTES, slabs as usize * SLAB_BYTES);
        self.reservation.map(offset, len, self.has_nodes.then_some(node)).is_ok()
    }

    #[expect(unsafe_code, reason = "passes a promise on")]
    unsafe fn unmap(&self, first: u32, slabs: u32) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.reservation.unmap(first as usize * SLAB_BYTES, slabs as usize * SLAB_BYTES) }.is_ok()
    }
}

/// Why there is no block: one of the constants below, or the positive errno of a reservation that the system refused. It is
/// a number so that a function can return a block or a refusal in two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal(isize);

impl Refusal {
    pub(super) const SIZE: Self = Self(-1);
    pub(super) const ALIGNMENT: Self = Self(-2);
    pub(super) const EXHAUSTED: Self = Self(-3);

    fn reserving(errno: i32) -> Self {
        Self(errno as isize)
    }

    /// The error for a caller who asked for `wanted` bytes. It is inlined: a call would write the error to memory where the
    /// caller has its block, so that the block would have to lie in memory too, and not in registers.
    #[inline]
    pub(super) fn into_error(self, wanted: usize) -> Error {
        match self {
            Self::SIZE => {
                Error::InvalidInput("the size must be 1 to the pool's bytes_max, in whole slabs of 2,097,152 (2 MiB)")
            }
            Self::ALIGNMENT => Error::InvalidInput("the alignment must be a power of two up to 2,097,152 (2 MiB)"),
            Self::EXHAUSTED => Error::PoolExhausted { wanted },
            Self(errno) => Error::os(errno as i32, if cfg!(windows) { "VirtualAlloc" } else { "mmap" }),
        }
    }
}

impl Request {
    /// The class of its block; [`CLASSES`] or more for whole slabs.
    fn class(self) -> usize {
        class_of(self.size.max(self.alignment))
    }
}

impl Inner {
    /// Refuses a request that the pool could never serve.
    pub(super) fn check(&self, request: Request) -> Result<(), Refusal> {
        if !request.alignment.is_power_of_two() || request.alignment > SLAB_BYTES {
            return Err(Refusal::ALIGNMENT);
        }
        let slabs = slabs_of(request.size);
        // More than the ceiling may be mapped, if the ceiling was lowered.
        let mapped = || self.arena().is_some_and(|arena| slabs <= arena.counts().mapped as usize);
        if request.size == 0 || !(slabs <= self.slabs_max() as usize || mapped()) {
            return Err(Refusal::SIZE);
        }
        Ok(())
    }

    /// Finds memory for a request that was checked. Slabs may have to be unmapped first that have holders. If `ask` is set,
    /// this thread asks the holders to let go; else the trimmer asks them soon.
    pub(super) fn find(&'static self, request: Request, ask: bool) -> Result<NonNull<u8>, Refusal> {
        let arena = &self.ground()?.arena;
        let class = request.class();
        let (offset, bytes) = if class < CLASSES {
            (self.find_block(class)?, bytes_of(class))
        } else {
            let slabs = slabs_of(request.size);
            (self.find_run(slabs as u32, ask)?, slabs * SLAB_BYTES)
        };
        if self.debug && !arena.is_filled(offset, bytes, POISON) {
            self.damaged.fetch_add(1, Relaxed);
        }
        Ok(arena.address_at(offset))
    }

    /// Serves waiters in order, as long as there is memory for the first.
    pub(super) fn serve_waiters(&'static self) {
        if !self.waiters.any() {
            return;
        }
        self.waiters.serve(|request| match self.check(*request).and_then(|()| self.find(*request, false)) {
            Err(Refusal::EXHAUSTED) => None,
            Err(refusal) => Some(Err(refusal.into_error(request.size))),
            Ok(address) => Some(Ok(Block::new(self, address, request.size, request.class()))),
        });
    }

    /// Takes a block back.
    pub(super) fn release(&'static self, address: NonNull<u8>, class: usize, len: usize) {
        let Some(Ground { arena, .. }) = self.ground.get() else { unreachable!("a block lies in the arena") };
        let offset = arena.offset_of(address);
        if self.debug {
            arena.fill(offset, if class < CLASSES { bytes_of(class) } else { slabs_of(len) * SLAB_BYTES }, POISON);
        }
        let idle = if class < CLASSES {
            let mut batch = Batch::new();
            let cache = if self.waiters.any() { None } else { cache::open_if_unused(self) };
            let offset_of = |block| arena.offset_of(block);
            if !cache.is_some_and(|cache| cache.push_spilling(self, class, address, &mut batch, offset_of)) {
                batch.push(offset);
            }
            self.put_back(class, &mut batch)
        } else {
            arena.release_run((offset >> SLAB_SHIFT) as u32);
            true
        };
        self.after_release(idle);
    }

    /// Called after memory came back: serves waiters, and wakes the trimmer if a slab has become free as a whole (`idle`).
    pub(super) fn after_release(&'static self, idle: bool) {
        self.serve_waiters();
        if idle {
            self.trimmer.wake(self);
        }
    }

    /// Puts blocks into their shards. True if a slab has become free as a whole.
    pub(super) fn put_back(&self, class: usize, batch: &mut Batch) -> bool {
        let mut idle = false;
        while let (Some(first), Some(ground)) = (batch.as_slice().first(), self.ground.get()) {
            let shard = self.shards.get(ground.homes.shard_of(*first));
            idle |= shard.put(class, batch, &ground.homes);
        }
        idle
    }

    /// The pool's memory. The first call reserves it.
    fn ground(&self) -> Result<&Ground, Refusal> {
        if let Some(ground) = self.ground.get() {
            return Ok(ground);
        }
        let reservation = Reservation::at_most(self.address_space, ADDRESS_SPACE_MIN);
        let reservation = reservation.map_err(Refusal::reserving)?;
        let space = Space { reservation, has_nodes: self.shards.has_nodes() };
        let homes = Homes::new(space.slabs() as usize);
        Ok(self.ground.get_or_init(|| Ground { arena: Arena::new(space), homes }))
    }

    /// The ceiling, in slabs.
    fn slabs_max(&self) -> u32 {
        (self.bytes_max() / SLAB_BYTES as u64) as u32
    }

    /// The offset of a free block. Further blocks go into the cache of this thread.
    fn find_block(&'static self, class: usize) -> Result<usize, Refusal> {
        let cache = cache::open(self);
        let want = cache.map_or(1, |cache| cache.limit(class).div_ceil(2).max(1));
        let mut batch = Batch::new();
        let here = self.shards.here();
        self.take_near(here, class, want, &mut batch);
        let Shard { hits, misses, .. } = self.shards.get(here);
        let counter = if batch.is_empty() { misses } else { hits };
        counter.fetch_add(1, Relaxed);
        if batch.is_empty() {
            self.grow(here, class, want, &mut batch)?;
        }
        let found = batch.pop();
        if let (Some(cache), Some(arena)) = (cache, self.arena()) {
            cache.fill(self, class, &mut batch, |offset| arena.address_at(offset));
        }
        self.put_back(class, &mut batch);
        found.ok_or(Refusal::EXHAUSTED)
    }

    /// Takes blocks from the shard of this core, or else from one of the same node.
    fn take_near(&self, here: usize, class: usize, want: usize, batch: &mut Batch) {
        let node = self.shards.get(here).node;
        for shard in self.shards.of_node_from(node, here).filter(|shard| shard.seems_to_have(class)) {
            shard.take(class, want, batch);
            if !batch.is_empty() {
                return;
            }
        }
    }

    /// Takes blocks from anywhere in the pool, or maps a slab; leaves the batch empty if there is nothing.
    fn grow(&'static self, here: usize, class: usize, want: usize, batch: &mut Batch) -> Result<(), Refusal> {
        let _growing = lock(&self.growth);
        let ground = self.ground()?;
        // Another thread may have added a slab while this one waited for the lock.
        self.take_near(here, class, want, batch);
        if !batch.is_empty() {
            return Ok(());
        }
        let node = self.shards.get(here).node;
        if let Some(slab) = ground.arena.take_free(Some(node)).or_else(|| self.map_one(&ground.arena, node)) {
            self.adopt(slab, class, here, want, batch);
            return Ok(());
        }
        // Memory is short, so this thread takes one block only. It asks every shard, even those that seemed to be empty: it
        // must not overlook a block that came back a moment ago, because it may have to wait afterwards.
        for caches_are_closed in [false, true] {
            if caches_are_closed {
                cache::close_all(self);
            }
            for shard in self.shards.iter() {
                shard.take(class, 1, batch);
                if !batch.is_empty() {
                    return Ok(());
                }
            }
            let idle = || self.shards.iter().find_map(|shard| shard.give_up(1, |_| true).pop());
            if let Some(slab) = ground.arena.take_free(None).or_else(idle) {
                self.adopt(slab, class, here, 1, batch);
                return Ok(());
            }
        }
        Ok(())
    }

    fn map_one(&self, arena: &Arena<Space>, node: u32) -> Option<u32> {
        let slab = arena.map_one(node, self.slabs_max())?;
        if self.debug {
            arena.fill(slab as usize * SLAB_BYTES, SLAB_BYTES, POISON);
        }
        Some(slab)
    }

    /// Adds a slab to a class, in a shard of the slab's node, and takes the first blocks of it.
    fn adopt(&self, slab: u32, class: usize, here: usize, want: usize, batch: &mut Batch) {
        let Some(Ground { arena, homes }) = self.ground.get() else { return };
        let shard = self.shards.of_node_from(arena.node_of(slab), here).next().unwrap_or(self.shards.get(here));
        shard.add(slab, class, homes, want, batch);
    }

    /// Finds this many slabs in a row, and answers the offset of the first.
    fn find_run(&'static self, slabs: u32, ask: bool) -> Result<usize, Refusal> {
        let here = self.shards.get(self.shards.here());
        here.misses.fetch_add(1, Relaxed);
        let arena = &self.ground()?.arena;
        let plan = || arena.plan_run(slabs, here.node, self.slabs_max());
        let mut asked = false;
        let plan = loop {
            let held = {
                let _growing = lock(&self.growth);
                let found = plan().or_else(|| {
                    self.collect_idle(false);
                    plan()
                });
                let found = found.or_else(|| {
                    cache::close_all(self);
                    self.collect_idle(false);
                    plan()
                });
                // There may be enough free slabs, but not in a row. Unmapping them allows to map others that are in a row.
                let mut retired = Retired::default();
                let found = found.or_else(|| {
                    let counts = arena.counts();
                    let too_many = (counts.mapped + slabs).saturating_sub(self.slabs_max());
                    if counts.free + counts.retiring >= too_many {
                        retired = arena.retire(too_many.saturating_sub(counts.retiring), false);
                    }
                    plan()
                });
                if let Some(found) = found {
                    break found;
                }
                retired.held
            };
            if asked || (held == 0 && arena.counts().retiring == 0) {
                return Err(Refusal::EXHAUSTED);
            }
            if !ask {
                self.trimmer.ask_holders(self);
                return Err(Refusal::EXHAUSTED);
            }
            self.ask_holders();
            asked = true;
        };
        let missing = if self.debug { plan.missing().to_vec() } else { Vec::new() };
        let first = arena.finish_run(plan).ok_or(Refusal::EXHAUSTED)?;
        for (first, slabs) in missing {
            arena.fill(first as usize * SLAB_BYTES, slabs as usize * SLAB_BYTES, POISON);
        }
        Ok((first as usize) << SLAB_SHIFT)
    }

    /// Takes slabs out of the shards of which all blocks are free; if `seen_alone`, only those that were free already when
    /// the trimmer ran last. The caller has the lock of growth.
    pub(super) fn collect_idle(&self, seen_alone: bool) {
        let Some(arena) = self.arena() else { return };
        for shard in self.shards.iter() {
            for slab in shard.give_up(usize::MAX, |seen| seen || !seen_alone) {
                arena.give_free(slab, seen_alone);
            }
        }
    }

    /// Asks holders to let go of slabs that retire. The caller has no lock of the pool.
    pub(super) fn ask_holders(&self) {
        let holders: Vec<_> = lock(&self.holders).iter().filter_map(Weak::upgrade).collect();
        for holder in holders {
            holder.let_go_of_retiring();
        }
    }
}
