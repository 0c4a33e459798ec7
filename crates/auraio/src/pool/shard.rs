//! Shards (L2): each holds the free blocks of its own slabs behind its own lock.
//!
//! A slab belongs to one shard as long as it serves its class. A block goes back to the shard of its slab, whichever thread
//! gives it back. So a producer and a consumer reuse the same blocks, a block stays on its NUMA node, and when the last block
//! of a slab is back the shard knows that the slab is free as a whole.
//!
//! A bit for each block says whether it is free. The lowest slab that has a free block serves first. So the blocks in use
//! gather in few slabs, and the others become free as a whole. (A stack of blocks, the usual way, does the opposite:
//! docs/decisions/0016-pool.md has the figures.)
//!
//! A shard refuses a block that comes back twice, by a panic: it would be handed out twice, and two operations would write to
//! it.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    class::{CACHED_MAX, CLASSES, SLAB_BYTES, SLAB_SHIFT, blocks_of_slab, bytes_of, index_of, offset_of},
    sync::{AtomicU32, AtomicU64, Mutex, lock},
};

/// Blocks on the way between a cache and a shard, at most half a cache. Each is its distance from the first address of the
/// pool.
#[derive(Debug)]
pub(super) struct Batch {
    offsets: [usize; Self::MAX],
    len: usize,
}

/// For each slab that serves a class: its shard, and its entry in that shard.
#[derive(Debug)]
pub(super) struct Homes(Box<[AtomicU32]>);

/// One part of the pool's free blocks.
#[derive(Debug)]
pub(super) struct Shard {
    number: u32,
    /// The NUMA node of its slabs.
    pub(super) node: u32,
    /// How many blocks of each class are free. Written under the lock; read without it by callers that accept a number which
    /// is a little old.
    free: [AtomicU32; CLASSES],
    /// How many slabs have all their blocks free. Written and read in the same way.
    idle: AtomicU32,
    /// How many acquisitions on this shard's cores found a block in a shard of the node, and how many did not.
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    state: Mutex<ShardState>,
}

#[derive(Debug, Default)]
struct ShardState {
    slabs: Vec<Slab>,
    /// Places in `slabs` that are not used.
    vacant: Vec<u32>,
    /// For each class, the slabs that have a free block: their numbers and their entries in `slabs`. The lowest number is
    /// last.
    with_free: [Vec<(u32, u32)>; CLASSES],
    free: [u32; CLASSES],
    idle: u32,
}

#[derive(Debug)]
struct Slab {
    number: u32,
    free: u32,
    /// All its blocks were free when the trimmer ran last, and none was taken since.
    seen: bool,
    /// A bit for each block that is free.
    bits: [u64; 8],
}

/// Blocks whose bits lie in one word. Blocks that come back one after the other often share a word, and are then put back
/// together, with one access to their slab.
#[derive(Debug, Default)]
struct Neighbours {
    slab: u32,
    entry: u32,
    word: usize,
    bits: u64,
}

impl Batch {
    pub(super) const MAX: usize = CACHED_MAX / 2;

    pub(super) const fn new() -> Self {
        Self { offsets: [0; Self::MAX], len: 0 }
    }

    /// Adds a block. The caller knows that there is room.
    pub(super) const fn push(&mut self, offset: usize) {
        self.offsets[self.len] = offset;
        self.len += 1;
    }

    pub(super) const fn pop(&mut self) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        self.len -= 1;
        Some(self.offsets[self.len])
    }

    pub(super) fn as_slice(&self) -> &[usize] {
        &self.offsets[..self.len]
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Removes the blocks for which `keep` answers false.
    fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut kept = 0;
        for at in 0..self.len {
            let offset = self.offsets[at];
            if keep(offset) {
                self.offsets[kept] = offset;
                kept += 1;
            }
        }
        self.len = kept;
    }
}

const fn slab_of(offset: usize) -> u32 {
    (offset >> SLAB_SHIFT) as u32
}

impl Homes {
    /// The lowest bits of a home are the entry, the others the shard.
    const ENTRY_BITS: u32 = 24;

    pub(super) fn new(slabs: usize) -> Self {
        Self((0..slabs).map(|_| AtomicU32::new(0)).collect())
    }

    fn set(&self, slab: u32, shard: u32, entry: u32) {
        self.0[slab as usize].store(shard << Self::ENTRY_BITS | entry, Relaxed);
    }

    /// The shard and the entry of a slab. Only a thread that has a block of the slab may ask. The answer was written before
    /// the first block of the slab was handed out, and does not change before the last is back.
    fn get(&self, slab: u32) -> (u32, u32) {
        let home = self.0[slab as usize].load(Relaxed);
        (home >> Self::ENTRY_BITS, home & ((1 << Self::ENTRY_BITS) - 1))
    }

    /// The shard that a block goes back to.
    pub(super) fn shard_of(&self, offset: usize) -> usize {
        self.get(slab_of(offset)).0 as usize
    }
}

impl Shard {
    pub(super) fn new(number: u32, node: u32) -> Self {
        Self {
            number,
            node,
            free: std::array::from_fn(|_| AtomicU32::new(0)),
            idle: AtomicU32::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            state: Mutex::new(ShardState::default()),
        }
    }

    /// Whether it had a free block of this class a moment ago.
    pub(super) fn seems_to_have(&self, class: usize) -> bool {
        self.free[class].load(Relaxed) > 0
    }

    /// How many slabs were free as a whole a moment ago.
    pub(super) fn idle(&self) -> u32 {
        self.idle.load(Relaxed)
    }

    /// Moves free blocks of a class into the batch, until the batch has `want` or the shard has none.
    pub(super) fn take(&self, class: usize, want: usize, batch: &mut Batch) {
        let mut state = lock(&self.state);
        state.take(class, want, batch);
        self.publish_counts(&state, class);
    }

    /// Takes the blocks of this shard out of the batch and marks them free. True if a slab has become free as a whole.
    pub(super) fn put(&self, class: usize, batch: &mut Batch, homes: &Homes) -> bool {
        let mut state = lock(&self.state);
        let before = state.idle;
        let mut together = Neighbours::default();
        batch.retain(|offset| {
            let (slab, index) = (slab_of(offset), index_of(class, offset % SLAB_BYTES));
            let (word, bit) = (index as usize / 64, 1 << (index % 64));
            if together.bits == 0 || (slab, word) != (together.slab, together.word) {
                let (shard, entry) = homes.get(slab);
                if shard != self.number {
                    return true;
                }
                state.put(class, &together);
                together = Neighbours { slab, entry, word, bits: 0 };
            }
            // A block that came back twice would be handed out twice, and two operations would write to it.
            assert!(together.bits & bit == 0, "a block was given back twice");
            together.bits |= bit;
            false
        });
        state.put(class, &together);
        self.publish_counts(&state, class);
        state.idle > before
    }

    /// Adds a slab of which all blocks are free, and moves blocks into the batch as [`take`](Self::take) does, before another
    /// thread can take them.
    pub(super) fn add(&self, slab: u32, class: usize, homes: &Homes, want: usize, batch: &mut Batch) {
        let mut state = lock(&self.state);
        let entry = state.add(slab, class);
        homes.set(slab, self.number, entry);
        state.take(class, want, batch);
        self.publish_counts(&state, class);
    }

    /// Removes slabs of which all blocks are free, at most `most`, the highest first, and answers their numbers. It removes
    /// only slabs for which `which` answers true. The argument of `which` says whether the slab was free already at the last
    /// call of [`mark_seen`](Self::mark_seen) and was not used since.
    pub(super) fn give_up(&self, most: usize, mut which: impl FnMut(bool) -> bool) -> Vec<u32> {
        let mut state = lock(&self.state);
        let mut given = Vec::new();
        for class in 0..CLASSES {
            let mut at = 0;
            while state.idle > 0 && given.len() < most && at < state.with_free[class].len() {
                let (number, entry) = state.with_free[class][at];
                let slab = &state.slabs[entry as usize];
                if slab.free == blocks_of_slab(class) && which(slab.seen) {
                    state.with_free[class].remove(at);
                    state.vacant.push(entry);
                    state.free[class] -= blocks_of_slab(class);
                    state.idle -= 1;
                    given.push(number);
                } else {
                    at += 1;
                }
            }
            self.publish_counts(&state, class);
        }
        given
    }

    /// Marks the slabs of which all blocks are free. The mark stays until a block of the slab is taken.
    pub(super) fn mark_seen(&self) {
        let state = &mut *lock(&self.state);
        for (class, slabs) in state.with_free.iter().enumerate() {
            for (_, entry) in slabs {
                let slab = &mut state.slabs[*entry as usize];
                slab.seen = slab.free == blocks_of_slab(class);
            }
        }
    }

    /// Bytes of all its slabs, and of the free blocks among them.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let state = lock(&self.state);
        let all = (state.slabs.len() - state.vacant.len()) as u64 * SLAB_BYTES as u64;
        let free = |(class, free): (usize, &u32)| u64::from(*free) * bytes_of(class) as u64;
        (all, state.free.iter().enumerate().map(free).sum())
    }

    /// Makes the counts visible to threads that read them without the lock.
    fn publish_counts(&self, state: &ShardState, class: usize) {
        self.free[class].store(state.free[class], Relaxed);
        self.idle.store(state.idle, Relaxed);
    }
}

impl ShardState {
    fn take(&mut self, class: usize, want: usize, batch: &mut Batch) {
        while batch.len < want {
            let Some(&(number, entry)) = self.with_free[class].last() else { return };
            let slab = &mut self.slabs[entry as usize];
            if slab.free == blocks_of_slab(class) {
                self.idle -= 1;
                slab.seen = false;
            }
            let before = batch.len;
            for (word, bits) in slab.bits.iter_mut().enumerate() {
                while *bits != 0 && batch.len < want {
                    let index = word as u32 * 64 + bits.trailing_zeros();
                    *bits &= *bits - 1;
                    batch.push(((number as usize) << SLAB_SHIFT) + offset_of(class, index));
                }
            }
            let taken = (batch.len - before) as u32;
            slab.free -= taken;
            self.free[class] -= taken;
            if slab.free == 0 {
                self.with_free[class].pop();
            }
        }
    }

    fn put(&mut self, class: usize, together: &Neighbours) {
        let Neighbours { entry, word, bits, .. } = *together;
        if bits == 0 {
            return;
        }
        let slab = &mut self.slabs[entry as usize];
        // As in `Shard::put`.
        assert!(slab.bits[word] & bits == 0, "a block was given back twice");
        slab.bits[word] |= bits;
        let (before, count) = (slab.free, bits.count_ones());
        slab.free += count;
        self.free[class] += count;
        if slab.free == blocks_of_slab(class) {
            self.idle += 1;
        }
        if before == 0 {
            let number = slab.number;
            self.list_with_free(class, number, entry);
        }
    }

    /// Adds a slab of which all blocks are free, and answers its entry in `slabs`.
    fn add(&mut self, number: u32, class: usize) -> u32 {
        let blocks = blocks_of_slab(class);
        let mut bits = [0; 8];
        for (word, bits) in bits.iter_mut().enumerate() {
            let here = blocks.saturating_sub(word as u32 * 64).min(64);
            *bits = if here == 0 { 0 } else { u64::MAX >> (64 - here) };
        }
        let slab = Slab { number, free: blocks, seen: false, bits };
        let entry = self.vacant.pop().unwrap_or(self.slabs.len() as u32);
        match self.slabs.get_mut(entry as usize) {
            Some(vacant) => *vacant = slab,
            None => self.slabs.push(slab),
        }
        self.free[class] += blocks;
        self.idle += 1;
        self.list_with_free(class, number, entry);
        entry
    }

    /// Adds a slab to the list of those that have a free block.
    fn list_with_free(&mut self, class: usize, number: u32, entry: u32) {
        let slabs = &mut self.with_free[class];
        let at = slabs.partition_point(|(other, _)| *other > number);
        slabs.insert(at, (number, entry));
    }
}
