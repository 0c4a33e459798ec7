//! Thread caches (L1): a bounded stack of free blocks for each size class, which its thread uses without a lock and without
//! an atomic read-modify-write.
//!
//! Only the cache's own thread writes to it, or a thread that has shut its [`Door`]. All writes are relaxed stores, which
//! are plain moves. So statistics can read the numbers at any time, and another thread can take back the blocks of an idle
//! thread when they are needed elsewhere or the pool is trimmed.
//!
//! A cache serves one pool at a time, the one that its thread acquired from last, and refuses blocks of other pools. Caches
//! are never freed: when a thread ends, its cache goes to a thread that begins. So a pointer to a cache is always valid.

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
    door::Door,
    shard::Batch,
};
use crate::lock;

thread_local! {
    /// It has no destructor, so that reading it is only a load, also while the thread ends.
    static HERE: Here = const { Here { cache: Cell::new(None), pool: Cell::new(None) } };

    static END: End = const { End };
}

/// Caches that no thread has.
static SPARE: Mutex<Vec<&'static Cache>> = Mutex::new(Vec::new());

/// A thread's cache, and the pool that it serves.
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
    door: Door,
    /// How many acquisitions it has served since the door was opened.
    hits: AtomicU64,
    stacks: [Stack; CLASSES],
}

#[derive(Debug)]
struct Stack {
    len: AtomicU32,
    /// How many blocks it may hold, at most [`CACHED_MAX`].
    limit: AtomicU32,
    blocks: [AtomicPtr<u8>; CACHED_MAX],
}

/// Takes a block of this class out of the calling thread's cache, if the cache has one of this pool.
#[inline]
pub(super) fn pop(pool: usize, class: usize) -> Option<NonNull<u8>> {
    let cache = HERE.with(|here| here.cache.get())?;
    let stack = cache.stacks.get(class)?;
    if !cache.door.enter(pool) {
        return None;
    }
    let block = stack.pop();
    if block.is_some() {
        cache.hits.store(cache.hits.load(Relaxed) + 1, Relaxed);
    }
    cache.door.leave();
    block
}

/// Puts a block into the calling thread's cache, if the cache serves this pool and has room.
#[inline]
pub(super) fn push(pool: usize, class: usize, block: NonNull<u8>) -> bool {
    let Some(cache) = HERE.with(|here| here.cache.get()) else { return false };
    let Some(stack) = cache.stacks.get(class) else { return false };
    if !cache.door.enter(pool) {
        return false;
    }
    let kept = stack.push(block);
    cache.door.leave();
    kept
}

/// The calling thread's cache, opened for this pool. Blocks of another pool that it still holds go back to that pool.
/// `None` if this pool's blocks must not stay in caches (it is for debugging, or somebody waits), and while the thread ends.
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
    if !cache.door.is_open_for(pool.id()) {
        open_door(pool, cache);
    }
    Some(cache)
}

fn open_door(pool: &'static Inner, cache: &'static Cache) {
    let mut caches = lock(&pool.caches);
    // A thread that shut the door a moment ago may have opened it again, because the system has no barrier.
    if cache.door.is_open_for(pool.id()) {
        return;
    }
    let bytes_max = pool.bytes_max();
    for (class, stack) in cache.stacks.iter().enumerate() {
        stack.limit.store(cached_max(class, bytes_max) as u32, Relaxed);
    }
    caches.push(cache);
    cache.door.open(pool.id());
}

/// As [`open`], but `None` if the cache serves another pool.
pub(super) fn open_if_unused(pool: &'static Inner) -> Option<&'static Cache> {
    let unused = HERE.with(|here| here.pool.get().is_none_or(|other| ptr::eq(other, pool)));
    if unused { open(pool) } else { None }
}

/// Gives the blocks in the calling thread's cache back to their pool.
fn close_own(here: &Here, pool: &'static Inner) {
    let Some(cache) = here.cache.get() else { return };
    {
        let mut caches = lock(&pool.caches);
        let Some(at) = caches.iter().position(|other| ptr::eq(*other, cache)) else { return };
        caches.swap_remove(at);
        cache.door.shut_own();
    }
    cache.empty_into(pool);
}

/// Takes the blocks of all threads' caches back into the shards. If the system has no barrier on all threads, it takes only
/// the blocks of this thread.
pub(super) fn close_all(pool: &'static Inner) {
    let mut caches = lock(&pool.caches);
    if caches.is_empty() {
        return;
    }
    if Door::shut_all(caches.iter().map(|cache| &cache.door), pool.id()) {
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
            door: Door { open_for: AtomicUsize::new(0), inside: AtomicBool::new(false) },
            hits: AtomicU64::new(0),
            stacks: array::from_fn(stack),
        }
    }

    /// How many blocks of this class it may hold.
    pub(super) fn limit(&self, class: usize) -> usize {
        self.stacks[class].limit.load(Relaxed) as usize
    }

    /// Fills the cache up from a batch. Blocks for which there is no room stay in the batch. Only its own thread calls this.
    pub(super) fn fill(
        &self,
        pool: &'static Inner,
        class: usize,
        batch: &mut Batch,
        address: impl Fn(usize) -> NonNull<u8>,
    ) {
        if !self.door.enter(pool.id()) {
            return;
        }
        while let Some(offset) = batch.pop() {
            if !self.stacks[class].push(address(offset)) {
                batch.push(offset);
                break;
            }
        }
        self.door.leave();
    }

    /// Puts a block into the cache. If the cache is full, the older half of its blocks goes into the batch first. False if
    /// the cache may hold no block of this class, or its door is shut. Only its own thread calls this.
    pub(super) fn push_spilling(
        &self,
        pool: &'static Inner,
        class: usize,
        block: NonNull<u8>,
        batch: &mut Batch,
        offset: impl Fn(NonNull<u8>) -> usize,
    ) -> bool {
        let stack = &self.stacks[class];
        if stack.limit.load(Relaxed) == 0 || !self.door.enter(pool.id()) {
            return false;
        }
        if stack.len.load(Relaxed) == stack.limit.load(Relaxed) {
            stack.spill(stack.limit.load(Relaxed).div_ceil(2), |block| batch.push(offset(block)));
        }
        let kept = stack.push(block);
        self.door.leave();
        kept
    }

    /// Bytes of the blocks in it.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = |(class, stack): (usize, &Stack)| u64::from(stack.len.load(Relaxed)) * bytes_of(class) as u64;
        self.stacks.iter().enumerate().map(bytes).sum()
    }

    /// How many acquisitions it has served since the door was opened.
    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Relaxed)
    }

    /// Puts all its blocks into the shards. The door must be shut, with nobody inside.
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
        // If the stack is empty, `last` wraps round to an index that does not exist.
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
        let Some(entry) = self.blocks.get(len as usize) else { return false };
        entry.store(block.as_ptr(), Relaxed);
        self.len.store(len + 1, Relaxed);
        true
    }

    /// Takes out the `count` oldest blocks.
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
