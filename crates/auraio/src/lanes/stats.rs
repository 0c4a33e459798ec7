//! What `stats()` tells of a lane.

use super::{LaneId, LaneMode};
use crate::numbers::numbers;

numbers! {
    /// One lane, as it is now. Latencies are of the last one to two seconds; 0 where nothing completed.
    ///
    /// ```
    /// use auraio::OpenOptions;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// let file = engine.open("Cargo.toml", OpenOptions::new().read(true)).await?;
    /// let (read, _) = file.read_at(vec![0; 4096], 0).await;
    /// assert!(read? > 0);
    /// for lane in engine.stats().lanes {
    ///     assert!(lane.in_flight_limit >= 1, "{} {}", lane.device, lane.mode.name());
    /// }
    /// # Ok::<(), auraio::Error>(())
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[derive(Clone, Debug)]
    #[non_exhaustive]
    pub struct LaneStats {
        /// Which lane.
        pub id: LaneId,
        /// The disk: `nvme0n1`, `sda`; or the file system, where there is no disk under it.
        pub device: String,
        /// Through the page cache or past it.
        pub mode: LaneMode,
        /// `knee`, `aimd` or `fixed`.
        pub policy: &'static str,
        /// What the outer loop is doing.
        pub phase: &'static str,
        /// High, normal, low.
        pub by_class: [ClassStats; 3],
    } with {
        /// Operations that may be in flight on the device at once, for all rings of the process.
        in_flight_limit: u32, Gauge, Operations;
        /// Operations that have a place now, as last reported by the rings: in flight, or about to be handed over.
        in_flight: u32, Gauge, Operations;
        /// Operations that wait behind the limit, as last reported by the rings.
        queued: u32, Gauge, Operations;
        /// Entries that are gathered for one system call just now.
        submit_batch: u32, Gauge, Entries;
        /// Entries handed over by one system call, on average lately.
        sqe_per_enter: f64, Gauge, Entries;
        /// The p99 of completion latency above which the limit is cut at once.
        guard_p99_ms: f64, Gauge, Milliseconds;
        /// Whether the device cannot keep the guard even with one operation in flight. The limit stays at its minimum then.
        guard_infeasible: bool, Gauge, Flag;
        /// How often the guard has cut the limit.
        guard_cuts: u64, Counter, Events;
        /// Operations that the device has completed.
        completed: u64, Counter, Operations;
        /// Bytes that those operations have moved.
        bytes: u64, Counter, Bytes;
        /// Reads that the page cache has served. No other number of the lane counts them.
        cache_hits: u64, Counter, Operations;
        /// The median of the latency from the system call to the completion.
        completion_p50_us: f64, Gauge, Microseconds;
        /// The p99 of the latency from the system call to the completion.
        completion_p99_us: f64, Gauge, Microseconds;
        /// The p99.9 of the latency from the system call to the completion.
        completion_p999_us: f64, Gauge, Microseconds;
        /// The p99 of the latency from the submission to the completion, so with the wait behind the limit.
        total_p99_us: f64, Gauge, Microseconds;
    }
}

numbers! {
    /// What one class of a lane's operations has done.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// for lane in engine.stats().lanes {
    ///     let [high, normal, low] = lane.by_class;
    ///     assert!(high.completed + normal.completed + low.completed <= lane.completed);
    /// }
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[derive(Clone, Copy, Debug, Default)]
    #[non_exhaustive]
    pub struct ClassStats {} with {
        /// Operations that the device has completed.
        completed: u64, Counter, Operations;
        /// Operations that wait behind the limit, as last reported by the rings.
        waiting: u32, Gauge, Operations;
        /// The p99 of the latency from the submission to the completion, in the last one to two seconds; 0 where nothing
        /// completed.
        total_p99_us: f64, Gauge, Microseconds;
    }
}

/// The kind of latency that a histogram is of.
///
/// ```
/// use auraio::HistogramKind;
///
/// assert_eq!(HistogramKind::default(), HistogramKind::Completion);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HistogramKind {
    /// From the system call that handed an operation over to its completion.
    #[default]
    Completion,
    /// The same, with the wait behind the in-flight limit before it.
    Total,
}
