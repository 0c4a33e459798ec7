//! The statistics of a pool. They are read without stopping other threads, so they refuse to be exact while the pool is in
//! use: no acquisition or release waits for them.

use std::sync::atomic::Ordering::Relaxed;

use super::{Inner, class::SLAB_BYTES};
use crate::{lock, numbers::numbers};

numbers! {
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
    pub struct PoolStats {} with {
        /// Bytes mapped from the system: whole slabs of 2 MiB.
        bytes_mapped: u64, Gauge, Bytes;
        /// Bytes of blocks that somebody holds: the sum of their capacities.
        bytes_in_use: u64, Gauge, Bytes;
        /// Bytes free in the caches of threads (L1).
        bytes_cached_threads: u64, Gauge, Bytes;
        /// Bytes free in the shards that threads share (L2), and as whole slabs.
        bytes_cached_shards: u64, Gauge, Bytes;
        /// Bytes registered with the kernel, once for each ring.
        bytes_registered: u64, Gauge, Bytes;
        /// The ceiling: how many bytes may be mapped. More are mapped only if the ceiling was lowered afterwards.
        bytes_max: u64, Gauge, Bytes;
        /// Acquisitions that the thread's own cache served.
        hits_thread: u64, Counter, Acquisitions;
        /// Acquisitions that the cache could not serve, and a shard of the NUMA node could.
        hits_shared: u64, Counter, Acquisitions;
        /// Acquisitions that needed another slab, or failed.
        misses: u64, Counter, Acquisitions;
        /// Acquisitions that wait for memory now.
        waiting: u64, Gauge, Acquisitions;
        /// Blocks that were written to while they were free. They are counted only if the pool was built for debugging.
        damaged: u64, Counter, Blocks;
    }
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
            stats.hits_shared += shard.hits.load(Relaxed);
            stats.misses += shard.misses.load(Relaxed);
            given += all - free;
        }
        // The caches were read earlier. Blocks may have gone from them to the shards since, so the difference may be negative.
        stats.bytes_in_use += given.saturating_sub(stats.bytes_cached_threads);
        stats
    }
}
