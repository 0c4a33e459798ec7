//! Aligned memory for operations: blocks that are acquired and released in nanoseconds.
//!
//! ```text
//! Block      memory in somebody's hands                                                       block.rs
//!   L1       a thread's own free blocks, without locks and atomics                            cache.rs, door.rs
//!   L2       the free blocks of the slabs of a few cores, behind a lock                       shard.rs, shards.rs
//!   arena    slabs of 2 MiB that never move in one reservation, and who holds them             slab.rs
//! ```
//!
//! When a thread's cache is empty, it is refilled by half from the shard of the thread's core; when it is full, half of it
//! goes back. `find.rs` says in which order memory is looked for, and `waiters.rs` is the queue of those who found none.
//! `trim.rs` gives unused memory back to the system. Locks are taken in one order: waiters, growth, caches, one shard, arena.
//!
//! The pool refuses to map more than its ceiling, so that a program with many operations in flight cannot take all memory
//! of the machine. On Linux its memory is not copied by `fork`, which would take 17 ms for 256 MiB: the child has no memory
//! at the pool's addresses.

mod acquire;
mod block;
mod builder;
mod cache;
mod class;
mod door;
mod find;
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

/// Aligned memory for operations. The value is a handle, and is cheap to copy.
///
/// All of the process share [`Pool::global`]. A pool of your own has its own ceiling. It is never freed, but [`Pool::trim`]
/// gives its memory back to the system. A child made by `fork` alone, without `exec`, must not touch the pools of its
/// parent: their memory does not exist in the child.
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

/// An owner of registrations: it registers slabs with the kernel, and [holds](Pool::hold) them as long as the kernel knows
/// them.
pub(crate) trait SlabHolder: Send + Sync {
    /// Asks the holder to let go of those of its slabs that [retire](Pool::is_retiring), now or as soon as it can.
    ///
    /// The pool calls this without holding any lock of its own, on a thread that trims or acquires, and never on one that
    /// only releases. The calling thread may hold locks of the program. So if an implementation needs a lock that may be
    /// held while blocks are acquired, it must only try it; if that fails, it compares [`Pool::retirements`] the next time
    /// it has the lock.
    fn let_go_of_retiring(&self);
}

/// The pool itself, shared by its handles.
struct Inner {
    /// Every release reads this. Nobody writes to its cache line unless somebody waits.
    waiters: CachePadded<Waiters<Request, Result<Block>>>,
    /// If set, blocks do not stay in the caches of threads, and are checked for writes after their release.
    debug: bool,
    shards: Shards,
    ground: OnceLock<Ground>,
    /// How many bytes of addresses to reserve.
    address_space: usize,
    bytes_max: AtomicU64,
    /// Held while slabs are mapped, unmapped or moved between classes. So a thread that has this lock and finds no memory
    /// knows that there is none, and not that another thread is just moving it.
    growth: Mutex<()>,
    /// The caches that are open for this pool.
    caches: Mutex<Vec<&'static Cache>>,
    /// How many acquisitions were served by caches that have been closed since.
    hits_before: AtomicU64,
    bytes_registered: AtomicU64,
    damaged: AtomicU64,
    holders: Mutex<Vec<Weak<dyn SlabHolder>>>,
    trimmer: Trimmer,
}

/// The memory of a pool, reserved when the first block is asked for.
struct Ground {
    arena: Arena<Space>,
    homes: Homes,
}

/// The size and alignment that somebody asks for.
#[derive(Clone, Copy, Debug)]
struct Request {
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

    /// Makes a pool of your own.
    ///
    /// ```
    /// let pool = auraio::Pool::builder().bytes_max(8 << 20).build()?;
    /// assert_eq!(pool.stats().bytes_max, 8 << 20);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// Takes a block of at least `size` bytes, at a multiple of 4,096.
    ///
    /// # Errors
    /// - [`Error::InvalidInput`] for a size of 0, or larger than the pool may map.
    /// - [`Error::PoolExhausted`] when nothing is free and the pool may map no more, and always while others
    ///   [wait](Pool::acquire_async) for memory.
    /// - [`Error::Os`] when the process has no address space left.
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

    /// Takes a block at a multiple of `alignment`, which is a power of two up to 2 MiB; an alignment below 4,096 counts as
    /// 4,096. A block is at least as large as its alignment.
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

    /// As [`Pool::acquire_aligned`], but if that fails with [`Error::PoolExhausted`] the future waits in a queue. Futures are
    /// served in the order in which they were first polled, whatever their sizes. Dropping the future ends the wait.
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
        Acquire { pool: *self, request: Request { size, alignment }, waiter: None }
    }

    /// The statistics of the pool. While other threads use it, the numbers are from slightly different moments.
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

    /// Sets how many bytes the pool may map. The pool maps whole slabs of 2 MiB, so it rounds the ceiling down. It lowers it
    /// to the pool's address space: 64 GiB for the pool of the process, four times the first ceiling for other pools. If more
    /// is mapped already, that memory stays, and nothing more is mapped.
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

    /// Gives all slabs back to the system of which no block is in use, and answers how many bytes went back. A slab that a
    /// ring has registered goes back as soon as the ring has let go of it. The pool also does this by itself, for slabs that
    /// have been free for some seconds.
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
    /// A number that no other pool has: pools are never freed.
    pub(crate) fn id(&self) -> usize {
        self.inner.id()
    }

    /// The slab that an address lies in; `None` if it is not this pool's.
    #[inline]
    pub(crate) fn slab_of(&self, address: usize) -> Option<u32> {
        self.inner.ground.get()?.arena.slab_of(address)
    }

    /// Keeps a slab mapped until [`Pool::let_go`]; if it is part of a block of several slabs, all of them. `None` if the slab
    /// is not mapped, or retires.
    pub(crate) fn hold(&self, slab: u32) -> Option<Extent> {
        self.inner.ground.get()?.arena.hold(slab)
    }

    /// Ends a [`Pool::hold`]. The caller has made sure that the kernel no longer knows this memory.
    pub(crate) fn let_go(&self, extent: Extent) {
        if self.inner.arena().is_some_and(|arena| arena.let_go(extent) > 0) {
            self.inner.serve_waiters();
        }
    }

    /// Whether the slab waits for its holders to let go.
    pub(crate) fn is_retiring(&self, slab: u32) -> bool {
        self.inner.arena().is_some_and(|arena| arena.is_retiring(slab))
    }

    /// How many slabs have been unmapped or have begun to retire so far.
    #[inline]
    pub(crate) fn retirements(&self) -> u64 {
        self.inner.ground.get().map_or(0, |ground| ground.arena.retirements())
    }

    /// Adds a holder. From now on the pool asks it to let go of slabs that retire.
    pub(crate) fn add_holder(&self, holder: Weak<dyn SlabHolder>) {
        let mut holders = lock(&self.inner.holders);
        holders.retain(|holder| holder.strong_count() > 0);
        holders.push(holder);
    }

    /// Counts bytes that a ring has registered or, with a negative number, unregistered.
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

    /// The number by which caches know the pool. The pool is never freed, so no other pool gets the same number.
    #[inline]
    fn id(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    fn arena(&self) -> Option<&Arena<Space>> {
        Some(&self.ground.get()?.arena)
    }

    /// The ceiling. It is less than the one that was set if the system gave less address space.
    fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Relaxed).min(self.arena().map_or(u64::MAX, |arena| arena.bytes() as u64))
    }

    /// [`Block`]'s drop calls this when the cache has no room for the block.
    #[cold]
    #[inline(never)]
    fn release_slow(&'static self, address: NonNull<u8>, class: usize, len: usize) {
        self.release(address, class, len);
    }

    /// The acquisitions call this when the cache has no block.
    #[cold]
    #[inline(never)]
    fn acquire_slow(&'static self, size: usize, alignment: usize) -> Result<NonNull<u8>, Refusal> {
        let request = Request { size, alignment };
        self.check(request)?;
        if self.waiters.any() {
            return Err(Refusal::EXHAUSTED);
        }
        self.find(request, true)
    }

    /// Makes a block of the memory that was found. The fast and the slow way both end here, with the address in a register.
    /// When the slow way built the block in memory, the fast way had to wait for its own stores, which took 5 ns
    /// (`cargo bench --bench pool`).
    #[inline]
    fn hand_out(&'static self, found: Result<NonNull<u8>, Refusal>, size: usize, class: usize) -> Result<Block, Error> {
        match found {
            Ok(address) => Ok(Block::new(self, address, size, class)),
            Err(refusal) => Err(refusal.into_error(size)),
        }
    }
}
