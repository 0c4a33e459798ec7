//! The statistics of a pool. They are read without stopping other threads, so they refuse to be exact while the pool is in
//! use: no acquisition or release waits for them.

use std::sync::atomic::Ordering::Relaxed;

use super::{Inner, class::SLAB_BYTES};
use crate::lock;

/// What a [`Pool`](crate::Pool) holds, and what it has done so far. While nobody acquires or releases, every mapped byte is
/// counted either as in use or as cached.
///
/// ```
/// let stats = auraio::Pool::global().stats();
/// println!("{} of {} bytes are in use", stats.bytes_in_use, stats.bytes_mapped);
/// assert!(stats.bytes_mapped <= stats.bytes_max);
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// Bytes mapped from the system: whole slabs of 2 MiB.
    pub bytes_mapped: u64,
    /// Bytes of blocks that somebody holds: the sum of their capacities.
    pub bytes_in_use: u64,
    /// Bytes free in the caches of threads (L1).
    pub bytes_cached_threads: u64,
    /// Bytes free in the shards (L2) and as whole slabs.
    pub bytes_cached_shards: u64,
    /// Bytes registered with the kernel, once for each ring.
    pub bytes_registered: u64,
    /// The ceiling: how many bytes may be mapped. More may be mapped only if the ceiling was lowered afterwards.
    pub bytes_max: u64,
    /// How many acquisitions the thread's own cache served.
    pub hits_thread: u64,
    /// How many acquisitions the cache could not serve, and a shard of the NUMA node could.
    pub hits_shard: u64,
    /// How many acquisitions needed another slab, or failed.
    pub misses: u64,
    /// How many acquisitions wait for memory now.
    pub waiting: u64,
    /// How many blocks were written to while they were free; counted only with
    /// [`PoolBuilder::debug`](crate::PoolBuilder::debug).
    pub damaged: u64,
}

impl Inner {
    pub(super) fn stats(&self) -> PoolStats {
        let counts = self.arena().map(super::slab::Arena::counts).unwrap_or_default();
        let slabs = |count: u32| u64::from(count) * SLAB_BYTES as u64;
        let mut stats = PoolStats {
            bytes_mapped: slabs(counts.mapped),
            bytes_in_use: slabs(counts.in_runs),
            bytes_cached_shards: slabs(counts.free + counts.retiring),
            bytes_registered: self.bytes_registered.load(Relaxed),
            bytes_max: self.bytes_max(),
            hits_thread: self.hits_before.load(Relaxed),
            waiting: self.waiters.len() as u64,
            damaged: self.damaged.load(Relaxed),
            ..PoolStats::default()
        };
        for cache in lock(&self.caches).iter() {
            stats.bytes_cached_threads += cache.bytes();
            stats.hits_thread += cache.hits();
        }
        let mut given = 0;
        for shard in self.shards.iter() {
            let (all, free) = shard.bytes();
            stats.bytes_cached_shards += free;
            stats.hits_shard += shard.hits.load(Relaxed);
            stats.misses += shard.misses.load(Relaxed);
            given += all - free;
        }
        // The caches were read earlier. Blocks may have gone from them to the shards since, so the difference may be negative.
        stats.bytes_in_use += given.saturating_sub(stats.bytes_cached_threads);
        stats
    }
}
