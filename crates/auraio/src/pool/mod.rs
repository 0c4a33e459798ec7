//! Aligned memory for operations: blocks that are taken and given back in nanoseconds.
//!
//! ```text
//! Block      memory in somebody's hands                                                       block.rs
//!   L1       a thread's own free blocks, without locks and atomics                            cache.rs, gate.rs
//!   L2       the free blocks of the slabs of a few cores, behind a lock                       shard.rs, shards.rs
//!   arena    slabs of 2 MiB at fixed places of one reservation, and who holds them            slab.rs
//! ```
//!
//! A thread that finds nothing in its cache takes half a cache's worth from the shard of its core, and gives back as much
//! when its cache is full; `find.rs` is the order in which memory is looked for, and `waiters.rs` those for whom there was
//! none. `trim.rs` gives back to the system what nobody uses. Locks are taken in one order: waiters, growth, caches, one
//! shard, arena.
//!
//! The memory of a pool is not copied by `fork`, which would take 17 ms for 256 MiB: in the child it is not there.

mod acquire;
mod block;
mod builder;
mod cache;
mod class;
mod find;
mod gate;
mod shard;
mod shards;
mod slab;
mod stats;
mod sync;
#[cfg(test)]
mod tests;
mod trim;
mod waiters;

use std::{
    fmt,
    ptr::{self, NonNull},
    sync::{
        Mutex, OnceLock, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crossbeam_utils::CachePadded;

pub use acquire::Acquire;
pub use block::Block;
pub use builder::PoolBuilder;
use cache::Cache;
use class::class_of;
pub(crate) use class::{BLOCK_BYTES_MIN, SLAB_BYTES};
use find::{Refusal, Space};
use shard::Homes;
use shards::Shards;
use slab::Arena;
pub(crate) use slab::Extent;
pub use stats::PoolStats;
use trim::{Pace, Trimmer};
use waiters::Waiters;

use crate::{Error, Result, Topology, lock};

/// Aligned memory for operations: a handle that is free to copy.
///
/// [`Pool::global`] is there for everybody; one of one's own has its own ceiling, and is never freed, though
/// [`Pool::trim`] gives its memory back. A child made by `fork` alone, without `exec`, must not touch the pools of its
/// parent: their memory is not there.
///
/// ```
/// use auraio::Pool;
///
/// let pool = Pool::builder().bytes_max(64 << 20).build()?;
/// let block = pool.acquire_aligned(10_000, 65_536)?;
/// assert_eq!(block.as_ptr().addr() % 65_536, 0);
/// assert_eq!(pool.stats().bytes_in_use, block.capacity() as u64);
/// drop(block);
/// assert_eq!(pool.stats().bytes_in_use, 0);
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Pool {
    inner: &'static Inner,
}

/// Whoever tells the kernel of slabs, and so [holds](Pool::hold) them.
pub(crate) trait SlabHolder: Send + Sync {
    /// Asks that the holder let go of the slabs it holds that [retire](Pool::is_retiring), now or when it next can.
    ///
    /// Called without any lock of the pool, on a thread that trims or acquires; never on one that merely releases. That
    /// thread may have locks of its own: an implementation that needs one which is held while blocks are acquired tries
    /// it, and looks at [`Pool::retirements`] when it is next there.
    fn let_go_of_retiring(&self);
}

/// What a pool is, shared by its handles.
struct Inner {
    /// Looked at by every release; nobody writes to its cache line unless somebody waits.
    waiters: CachePadded<Waiters<Wish, Result<Block>>>,
    /// Fixed when the pool is made. Blocks do not stay in the caches of threads, and are checked for late writes.
    debug: bool,
    shards: Shards,
    ground: OnceLock<Ground>,
    /// Bytes of addresses to reserve.
    address_space: usize,
    bytes_max: AtomicU64,
    /// Held while slabs are mapped, unmapped or change hands, so that who finds nothing knows that there is nothing.
    growth: Mutex<()>,
    /// The caches that are open for this pool.
    caches: Mutex<Vec<&'static Cache>>,
    /// Acquisitions by caches that are not open any more.
    hits_before: AtomicU64,
    bytes_registered: AtomicU64,
    damaged: AtomicU64,
    holders: Mutex<Vec<Weak<dyn SlabHolder>>>,
    trimmer: Trimmer,
}

/// What is there once the first block was asked for.
struct Ground {
    arena: Arena<Space>,
    homes: Homes,
}

/// What somebody asks for.
#[derive(Clone, Copy, Debug)]
struct Wish {
    size: usize,
    alignment: usize,
}

impl Pool {
    /// The pool of the process. Its ceiling is a quarter of the machine's memory, at most 64 GiB, until
    /// [`Pool::set_bytes_max`].
    ///
    /// ```
    /// let block = auraio::Pool::global().acquire(4096)?;
    /// assert_eq!(block.len(), 4096);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn global() -> Self {
        static GLOBAL: OnceLock<Inner> = OnceLock::new();
        Self { inner: GLOBAL.get_or_init(builder::global) }
    }

    /// Makes a pool of one's own.
    ///
    /// ```
    /// let pool = auraio::Pool::builder().bytes_max(8 << 20).build()?;
    /// assert_eq!(pool.stats().bytes_max, 8 << 20);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// A block of at least `size` bytes, at a multiple of 4,096.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a size of 0 or of more than the pool may map; [`Error::PoolExhausted`] when it may map no
    /// more and nothing is free, also while others [wait](Pool::acquire_async); [`Error::Os`] when the process has no address
    /// space left.
    ///
    /// ```
    /// use auraio::{Error, Pool};
    ///
    /// assert_eq!(Pool::global().acquire(4097)?.capacity(), 8192);
    /// assert!(matches!(Pool::global().acquire(0), Err(Error::InvalidInput(_))));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn acquire(&self, size: usize) -> Result<Block> {
        let class = class_of(size);
        let found = match cache::pop(self.inner.id(), class) {
            Some(address) => Ok(address),
            None => self.inner.acquire_slow(size, BLOCK_BYTES_MIN),
        };
        self.inner.hand_out(found, size, class)
    }

    /// A block at a multiple of `alignment`, a power of two up to 2 MiB; below 4,096 it is 4,096. A block is at least as
    /// large as its alignment.
    ///
    /// # Errors
    /// As [`Pool::acquire`], and [`Error::InvalidInput`] for an alignment that is no power of two or above 2 MiB.
    ///
    /// ```
    /// use auraio::{Error, Pool};
    ///
    /// let block = Pool::global().acquire_aligned(512, 2 << 20)?;
    /// assert_eq!((block.len(), block.as_ptr().addr() % (2 << 20)), (512, 0));
    /// assert!(matches!(Pool::global().acquire_aligned(512, 3), Err(Error::InvalidInput(_))));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub fn acquire_aligned(&self, size: usize, alignment: usize) -> Result<Block> {
        let class = class_of(size.max(alignment));
        let kept = if size != 0 && alignment.is_power_of_two() { cache::pop(self.inner.id(), class) } else { None };
        let found = match kept {
            Some(address) => Ok(address),
            None => self.inner.acquire_slow(size, alignment),
        };
        self.inner.hand_out(found, size, class)
    }

    /// As [`Pool::acquire_aligned`], but where that fails with [`Error::PoolExhausted`] it waits for its turn: those who wait
    /// are served in the order in which their futures were first polled, whatever the sizes. Dropping the future ends the
    /// wait.
    ///
    /// ```
    /// use auraio::{Error, Pool};
    ///
    /// let pool = Pool::builder().bytes_max(2 << 20).build()?;
    /// let all = pool.acquire(2 << 20)?;
    /// assert_eq!(pool.acquire(4096).unwrap_err(), Error::PoolExhausted { wanted: 4096 });
    /// let later = std::thread::spawn(move || pollster::block_on(pool.acquire_async(4096, 4096)));
    /// drop(all);
    /// assert_eq!(later.join().unwrap()?.len(), 4096);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn acquire_async(&self, size: usize, alignment: usize) -> Acquire {
        Acquire { pool: *self, wish: Wish { size, alignment }, waiter: None }
    }

    /// What the pool holds. The numbers are of slightly different moments while other threads use the pool.
    ///
    /// ```
    /// let pool = auraio::Pool::builder().build()?;
    /// let block = pool.acquire(4096)?;
    /// let stats = pool.stats();
    /// assert_eq!((stats.bytes_mapped, stats.bytes_in_use, stats.misses), (2 << 20, 4096, 1));
    /// assert_eq!(stats.bytes_mapped, stats.bytes_in_use + stats.bytes_cached_threads + stats.bytes_cached_shards);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.inner.stats()
    }

    /// Sets the ceiling on what is mapped, in whole slabs of 2 MiB (the rest is not used), and at most the pool's address
    /// space: 64 GiB for the pool of the process, four times the first ceiling for others. If more is mapped already, it
    /// stays, and nothing more is mapped.
    ///
    /// ```
    /// let pool = auraio::Pool::builder().build()?;
    /// pool.set_bytes_max(16 << 20);
    /// assert_eq!(pool.stats().bytes_max, 16 << 20);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn set_bytes_max(&self, bytes: u64) {
        self.inner.bytes_max.store(bytes.min(self.inner.address_space as u64), Relaxed);
        self.inner.serve_waiters();
    }

    /// Gives back to the system all slabs that no block is in, and answers how many bytes went. What a ring has registered
    /// goes as soon as the ring has let go of it. The pool does this by itself, some seconds later, for what stays free.
    ///
    /// ```
    /// let pool = auraio::Pool::builder().build()?;
    /// drop(pool.acquire(4096)?);
    /// assert_eq!(pool.stats().bytes_mapped, 2 << 20);
    /// assert_eq!(pool.trim(), 2 << 20);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[expect(clippy::must_use_candidate, reason = "what counts is what it does")]
    pub fn trim(&self) -> u64 {
        self.inner.trim()
    }
}

impl Pool {
    /// Tells one pool from another: none is ever freed.
    pub(crate) fn id(&self) -> usize {
        self.inner.id()
    }

    /// The slab that an address lies in; `None` if it is not this pool's.
    #[inline]
    pub(crate) fn slab_of(&self, address: usize) -> Option<u32> {
        self.inner.ground.get()?.arena.slab_of(address)
    }

    /// Keeps the memory of a slab mapped, or that of the block of several slabs that it is part of, until
    /// [`Pool::let_go`]. `None` when it is not mapped or retires.
    pub(crate) fn hold(&self, slab: u32) -> Option<Extent> {
        self.inner.ground.get()?.arena.hold(slab)
    }

    /// The inverse of [`Pool::hold`]: the kernel knows nothing of this memory any more.
    pub(crate) fn let_go(&self, extent: Extent) {
        if self.inner.arena().is_some_and(|arena| arena.let_go(extent) > 0) {
            self.inner.serve_waiters();
        }
    }

    /// Whether the slab waits for its holders to let go.
    pub(crate) fn is_retiring(&self, slab: u32) -> bool {
        self.inner.arena().is_some_and(|arena| arena.is_retiring(slab))
    }

    /// Grows whenever a slab begins to retire.
    #[inline]
    pub(crate) fn retirements(&self) -> u64 {
        self.inner.ground.get().map_or(0, |ground| ground.arena.retirements())
    }

    /// Has a holder asked, from now on, to let go of what retires.
    pub(crate) fn add_holder(&self, holder: Weak<dyn SlabHolder>) {
        let mut holders = lock(&self.inner.holders);
        holders.retain(|holder| holder.strong_count() > 0);
        holders.push(holder);
    }

    /// Counts bytes that were registered with a ring, or with a negative number unregistered.
    pub(crate) fn note_registered(&self, delta: i64) {
        self.inner.bytes_registered.fetch_add(delta.cast_unsigned(), Relaxed);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("bytes_max", &self.inner.bytes_max()).finish_non_exhaustive()
    }
}

impl Inner {
    fn new(options: PoolBuilder, bytes_max: u64, address_space: usize, pace: Pace) -> Self {
        Self {
            waiters: CachePadded::new(Waiters::new()),
            debug: options.debug,
            shards: Shards::new(&options.topology.unwrap_or_else(Topology::detect)),
            ground: OnceLock::new(),
            address_space,
            bytes_max: AtomicU64::new(bytes_max),
            growth: Mutex::new(()),
            caches: Mutex::new(Vec::new()),
            hits_before: AtomicU64::new(0),
            bytes_registered: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            holders: Mutex::new(Vec::new()),
            trimmer: Trimmer::new(pace),
        }
    }

    /// What caches call the pool. It is never freed, so no other gets the same.
    #[inline]
    fn id(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    fn arena(&self) -> Option<&Arena<Space>> {
        Some(&self.ground.get()?.arena)
    }

    /// The ceiling; less than was set where the system has less address space.
    fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Relaxed).min(self.arena().map_or(u64::MAX, |arena| arena.bytes() as u64))
    }

    /// What [`Block`]'s drop does when the cache has no room for it.
    #[cold]
    #[inline(never)]
    fn release_slow(&'static self, address: NonNull<u8>, class: usize, len: usize) {
        self.release(address, class, len);
    }

    /// What the acquisitions do when the cache has no block.
    #[cold]
    #[inline(never)]
    fn acquire_slow(&'static self, size: usize, alignment: usize) -> Result<NonNull<u8>, Refusal> {
        let wish = Wish { size, alignment };
        self.check(wish)?;
        if self.waiters.any() {
            return Err(Refusal::EXHAUSTED);
        }
        self.find(wish, true)
    }

    /// Makes a block of what was found. In one place for both ways, and of what lies in registers: a block that one way had
    /// built in memory made the other wait for its own stores, 5 ns.
    #[inline]
    fn hand_out(&'static self, found: Result<NonNull<u8>, Refusal>, size: usize, class: usize) -> Result<Block, Error> {
        match found {
            Ok(address) => Ok(Block::new(self, address, size, class)),
            Err(refusal) => Err(refusal.into_error(size)),
        }
    }
}
