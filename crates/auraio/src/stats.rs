//! What `Engine::stats` answers.

use std::sync::atomic::Ordering;

use crate::{BackendKind, LaneStats, PoolStats, ring::Ring};

/// What an engine has done so far. The numbers are read while operations go on, so they may be of slightly different
/// moments.
///
/// ```
/// # let engine = auraio::Engine::builder().build()?;
/// engine.block_on(engine.submit(auraio::op::Nop))?;
/// let stats = engine.stats();
/// assert_eq!((stats.backend, stats.rings.len()), (engine.backend(), 1));
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// The backend, which performs the operations.
    pub backend: BackendKind,
    /// One entry for each ring that was made.
    pub rings: Vec<RingStats>,
    /// One entry for each lane of the process, which is a device in one mode: its in-flight limit, and what led to it.
    pub lanes: Vec<LaneStats>,
    /// The pool that the engine takes blocks from.
    pub pool: PoolStats,
}

/// What one ring has done so far.
///
/// ```
/// # let engine = auraio::Engine::builder().build()?;
/// engine.block_on(engine.submit(auraio::op::Nop))?;
/// for ring in engine.stats().rings {
///     assert_eq!((ring.submitted, ring.completed, ring.in_flight, ring.queued), (1, 1, 0, 0));
/// }
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RingStats {
    /// The core that the ring was made for, or on which it was made.
    pub cpu: u32,
    /// That core's NUMA node.
    pub numa_node: u32,
    /// Operations that the ring took.
    pub submitted: u64,
    /// Operations that completed.
    pub completed: u64,
    /// Calls of `io_uring_enter`.
    pub enters: u64,
    /// Transfers on files opened with [`OpenOptions::direct`](crate::OpenOptions::direct) that were not aligned, and
    /// therefore did not go straight between the device and the caller's memory.
    pub bounced: u64,
    /// Operations that the kernel or a thread holds now.
    pub in_flight: u64,
    /// Operations that are not handed over yet.
    pub queued: u64,
    /// Operations so far whose memory was registered.
    pub fixed_buffers: u64,
    /// Operations so far whose file was registered.
    pub fixed_files: u64,
}

impl RingStats {
    pub(crate) fn of(ring: &Ring) -> Self {
        ring.publish();
        let counters = &ring.counters;
        Self {
            cpu: ring.cpu(),
            numa_node: ring.numa_node(),
            submitted: counters.submitted.load(Ordering::Relaxed),
            completed: counters.completed.load(Ordering::Relaxed),
            enters: counters.enters.load(Ordering::Relaxed),
            bounced: counters.bounced.load(Ordering::Relaxed),
            in_flight: counters.in_flight.load(Ordering::Relaxed),
            queued: counters.queued.load(Ordering::Relaxed),
            fixed_buffers: counters.fixed_buffers.load(Ordering::Relaxed),
            fixed_files: counters.fixed_files.load(Ordering::Relaxed),
        }
    }
}
