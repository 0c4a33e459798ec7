//! What a pool tells of itself.

use std::sync::atomic::Ordering::Relaxed;

use super::{Inner, class::SLAB_BYTES};
use crate::lock;

/// What a [`Pool`](crate::Pool) holds, and what it has done so far. Every byte that is mapped is in use or cached, at a
/// moment when nobody acquires or releases.
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
    /// Bytes of blocks that somebody holds, by their capacities.
    pub bytes_in_use: u64,
    /// Bytes free in the caches of threads (L1).
    pub bytes_cached_threads: u64,
    /// Bytes free in the shards (L2) and as whole slabs.
    pub bytes_cached_shards: u64,
    /// Bytes registered with the kernel, once for each ring.
    pub bytes_registered: u64,
    /// What is mapped never exceeds this, but where it was lowered below what was mapped then.
    pub bytes_max: u64,
    /// Acquisitions that the thread's own cache served.
    pub hits_thread: u64,
    /// Acquisitions that went to the shards, one of which had the block.
    pub hits_shard: u64,
    /// Acquisitions for which a slab had to be found or mapped, and those that failed.
    pub misses: u64,
    /// Acquisitions that wait for memory now.
    pub waiting: u64,
    /// Blocks that were written to while they were free; known only with [`PoolBuilder::debug`](crate::PoolBuilder::debug).
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
        // The caches were looked at before, so they may have given back more than they say.
        stats.bytes_in_use += given.saturating_sub(stats.bytes_cached_threads);
        stats
    }
}
