//! The numbers of a ring.

use std::sync::atomic::Ordering;

use super::Ring;
use crate::numbers::numbers;

numbers! {
    counters Counters;
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
        /// The core that it was made for or on.
        pub cpu: u32,
        /// That core's NUMA node.
        pub numa_node: u32,
    } with {
        /// Operations that were handed to the ring.
        submitted: u64, Counter, Operations;
        /// Operations that have completed.
        completed: u64, Counter, Operations;
        /// Calls of io_uring_enter; 0 for backends that make none.
        enters: u64, Counter, Calls;
        /// Transfers on files opened for direct I/O that were not aligned. Their bytes did not go straight between the
        /// device and the caller's memory.
        bounced: u64, Counter, Operations;
        /// Operations that the kernel, or a thread, holds now.
        in_flight: u64, Gauge, Operations;
        /// Operations that wait to be handed over.
        queued: u64, Gauge, Operations;
        /// Operations so far whose memory was registered.
        fixed_buffers: u64, Counter, Operations;
        /// Operations so far whose file was registered.
        fixed_files: u64, Counter, Operations;
    }
}

impl RingStats {
    pub(crate) fn of(ring: &Ring) -> Self {
        ring.publish();
        ring.counters.read(ring.cpu(), ring.numa_node())
    }
}

impl Counters {
    /// Whether operations wait, and nothing is in flight whose completion would move them on.
    pub(crate) fn is_stuck(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > 0 && self.in_flight.load(Ordering::Relaxed) == 0
    }
}
