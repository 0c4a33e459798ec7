//! Thread caches (L1): a bounded stack of free blocks for each size class, which its thread uses without a lock and without
//! an atomic read-modify-write.
//!
//! Every number in a cache is written by its own thread alone, or with its gate shut, and with relaxed loads and stores,
//! which are plain moves: so statistics can read them at any time, and a thread that is idle can have its blocks taken back
//! (the [`Gate`] says how) when they are needed elsewhere or the pool is trimmed.
//!
//! A cache serves one pool at a time, the one that its thread acquired from last. The caches themselves are kept for ever
//! and go from threads that end to threads that begin: a pointer to one is never stale.

use std::{
    array,
    cell::Cell,
    ptr::{self, NonNull},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use crossbeam_utils::CachePadded;

use super::{
    Inner,
    class::{CACHED_MAX, CLASSES, bytes_of, cached_max},
    gate::Gate,
    shard::Batch,
};
use crate::lock;

thread_local! {
    /// Without a destructor, so that looking at it is nothing but a load, also while the thread ends.
    static HERE: Here = const { Here { cache: Cell::new(None), pool: Cell::new(None) } };

    static END: End = const { End };
}

/// Caches that no thread has.
static SPARE: Mutex<Vec<&'static Cache>> = Mutex::new(Vec::new());

/// What a thread knows of its cache.
struct Here {
    cache: Cell<Option<&'static Cache>>,
    /// The pool that the cache was last opened for.
    pool: Cell<Option<&'static Inner>>,
}

/// Dropped when the thread ends, if it has a cache.
struct End;

/// The free blocks that one thread keeps.
#[derive(Debug)]
pub(super) struct Cache {
    gate: Gate,
    /// Acquisitions served since the gate was opened.
    hits: AtomicU64,
    stacks: [Stack; CLASSES],
}

#[derive(Debug)]
struct Stack {
    len: AtomicU32,
    /// The most that it takes, at most [`CACHED_MAX`].
    limit: AtomicU32,
    blocks: [AtomicPtr<u8>; CACHED_MAX],
}

/// A block of this class, if the calling thread keeps one for this pool.
#[inline]
pub(super) fn pop(pool: usize, class: usize) -> Option<NonNull<u8>> {
    let cache = HERE.with(|here| here.cache.get())?;
    let stack = cache.stacks.get(class)?;
    if !cache.gate.enter(pool) {
        return None;
    }
    let block = stack.pop();
    if block.is_some() {
        cache.hits.store(cache.hits.load(Relaxed) + 1, Relaxed);
    }
    cache.gate.leave();
    block
}

/// Keeps a block, if the calling thread's cache is this pool's and has room.
#[inline]
pub(super) fn push(pool: usize, class: usize, block: NonNull<u8>) -> bool {
    let Some(cache) = HERE.with(|here| here.cache.get()) else { return false };
    let Some(stack) = cache.stacks.get(class) else { return false };
    if !cache.gate.enter(pool) {
        return false;
    }
    let kept = stack.push(block);
    cache.gate.leave();
    kept
}

/// The calling thread's cache, opened for this pool; what it had of another pool goes back there. `None` where the pool's
/// blocks are not to be kept, and while the thread ends.
pub(super) fn open(pool: &'static Inner) -> Option<&'static Cache> {
    if pool.debug || pool.waiters.any() || END.try_with(|_| ()).is_err() {
        return None;
    }
    let cache = HERE.with(|here| {
        if let Some(before) = here.pool.replace(Some(pool)).filter(|before| !ptr::eq(*before, pool)) {
            close_own(here, before);
            before.after_release(true);
        }
        here.cache.get().unwrap_or_else(|| {
            let cache = lock(&SPARE).pop().unwrap_or_else(|| Box::leak(Box::new(CachePadded::new(Cache::new()))));
            here.cache.set(Some(cache));
            cache
        })
    });
    if !cache.gate.is_open_for(pool.id()) {
        open_gate(pool, cache);
    }
    Some(cache)
}

fn open_gate(pool: &'static Inner, cache: &'static Cache) {
    let mut caches = lock(&pool.caches);
    // Whoever was about to shut it when it was looked at may have opened it again.
    if cache.gate.is_open_for(pool.id()) {
        return;
    }
    let bytes_max = pool.bytes_max();
    for (class, stack) in cache.stacks.iter().enumerate() {
        stack.limit.store(cached_max(class, bytes_max) as u32, Relaxed);
    }
    caches.push(cache);
    cache.gate.open(pool.id());
}

/// As [`open`], but leaves a cache alone that another pool's blocks are in.
pub(super) fn open_if_unused(pool: &'static Inner) -> Option<&'static Cache> {
    let unused = HERE.with(|here| here.pool.get().is_none_or(|other| ptr::eq(other, pool)));
    if unused { open(pool) } else { None }
}

/// Gives back what the calling thread keeps of a pool.
fn close_own(here: &Here, pool: &'static Inner) {
    let Some(cache) = here.cache.get() else { return };
    {
        let mut caches = lock(&pool.caches);
        let Some(at) = caches.iter().position(|other| ptr::eq(*other, cache)) else { return };
        caches.swap_remove(at);
        cache.gate.shut_own();
    }
    cache.empty_into(pool);
}

/// Takes the blocks of all threads back into the shards; where the system has no way to do so, those of this thread.
pub(super) fn close_all(pool: &'static Inner) {
    let mut caches = lock(&pool.caches);
    if caches.is_empty() {
        return;
    }
    if Gate::shut_all(caches.iter().map(|cache| &cache.gate), pool.id()) {
        for cache in caches.drain(..) {
            cache.empty_into(pool);
        }
        return;
    }
    drop(caches);
    HERE.with(|here| {
        if here.pool.get().is_some_and(|own| ptr::eq(own, pool)) {
            close_own(here, pool);
        }
    });
}

impl Drop for End {
    fn drop(&mut self) {
        HERE.with(|here| {
            if let Some(pool) = here.pool.take() {
                close_own(here, pool);
                pool.after_release(true);
            }
            if let Some(cache) = here.cache.take() {
                lock(&SPARE).push(cache);
            }
        });
    }
}

impl Cache {
    fn new() -> Self {
        let stack = |_| Stack {
            len: AtomicU32::new(0),
            limit: AtomicU32::new(0),
            blocks: array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        };
        Self {
            gate: Gate { open_for: AtomicUsize::new(0), inside: AtomicBool::new(false) },
            hits: AtomicU64::new(0),
            stacks: array::from_fn(stack),
        }
    }

    /// How many blocks it takes.
    pub(super) fn limit(&self, class: usize) -> usize {
        self.stacks[class].limit.load(Relaxed) as usize
    }

    /// Fills it up from a batch, of which stays what has no room. Its own thread calls this.
    pub(super) fn fill(
        &self,
        pool: &'static Inner,
        class: usize,
        batch: &mut Batch,
        address: impl Fn(usize) -> NonNull<u8>,
    ) {
        if !self.gate.enter(pool.id()) {
            return;
        }
        while let Some(offset) = batch.pop() {
            if !self.stacks[class].push(address(offset)) {
                batch.push(offset);
                break;
            }
        }
        self.gate.leave();
    }

    /// Keeps a block, and moves the older half into the batch if there is no room. False if it cannot keep any. Its own
    /// thread calls this.
    pub(super) fn push_spilling(
        &self,
        pool: &'static Inner,
        class: usize,
        block: NonNull<u8>,
        batch: &mut Batch,
        offset: impl Fn(NonNull<u8>) -> usize,
    ) -> bool {
        let stack = &self.stacks[class];
        if stack.limit.load(Relaxed) == 0 || !self.gate.enter(pool.id()) {
            return false;
        }
        if stack.len.load(Relaxed) == stack.limit.load(Relaxed) {
            stack.spill(stack.limit.load(Relaxed).div_ceil(2), |block| batch.push(offset(block)));
        }
        let kept = stack.push(block);
        self.gate.leave();
        kept
    }

    /// Bytes of the blocks that it keeps.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = |(class, stack): (usize, &Stack)| u64::from(stack.len.load(Relaxed)) * bytes_of(class) as u64;
        self.stacks.iter().enumerate().map(bytes).sum()
    }

    /// Acquisitions that it served since it was opened.
    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Relaxed)
    }

    /// Empties it, with the gate shut and nobody inside.
    fn empty_into(&self, pool: &'static Inner) {
        pool.hits_before.fetch_add(self.hits.swap(0, Relaxed), Relaxed);
        let Some(arena) = pool.arena() else { return };
        for (class, stack) in self.stacks.iter().enumerate() {
            let mut batch = Batch::new();
            while stack.len.load(Relaxed) > 0 {
                stack.spill(stack.len.load(Relaxed).min(Batch::MAX as u32), |block| batch.push(arena.offset_of(block)));
                pool.put_back(class, &mut batch);
            }
        }
    }
}

impl Stack {
    #[inline]
    fn pop(&self) -> Option<NonNull<u8>> {
        let last = self.len.load(Relaxed).wrapping_sub(1);
        // Empty, it wraps round, and no index is as large.
        let block = NonNull::new(self.blocks.get(last as usize)?.load(Relaxed))?;
        self.len.store(last, Relaxed);
        Some(block)
    }

    #[inline]
    fn push(&self, block: NonNull<u8>) -> bool {
        let len = self.len.load(Relaxed);
        if len >= self.limit.load(Relaxed) {
            return false;
        }
        let Some(place) = self.blocks.get(len as usize) else { return false };
        place.store(block.as_ptr(), Relaxed);
        self.len.store(len + 1, Relaxed);
        true
    }

    /// Takes out the oldest.
    fn spill(&self, count: u32, mut take: impl FnMut(NonNull<u8>)) {
        let len = self.len.load(Relaxed);
        for block in &self.blocks[..count as usize] {
            if let Some(block) = NonNull::new(block.load(Relaxed)) {
                take(block);
            }
        }
        for from in count..len {
            self.blocks[(from - count) as usize].store(self.blocks[from as usize].load(Relaxed), Relaxed);
        }
        self.len.store(len - count, Relaxed);
    }
}
