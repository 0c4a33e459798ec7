//! What `stats()` tells of a lane.

use super::{LaneId, LaneMode};

/// One lane, as it is now. Latencies are in microseconds and of the last one to two seconds; they are 0 if nothing
/// completed.
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
    /// The lane's name.
    pub id: LaneId,
    /// The disk (`nvme0n1`, `sda`). If the file system lies on no disk, the file system.
    pub device: String,
    /// Through the page cache or past it.
    pub mode: LaneMode,
    /// `knee`, `aimd` or `fixed`.
    pub policy: &'static str,
    /// What the outer loop is doing.
    pub phase: &'static str,
    /// Operations that may be in flight on the device at once, for all rings of the process.
    pub in_flight_limit: u32,
    /// Operations that have a place, as the rings last reported: they are in flight, or about to be handed over.
    pub in_flight: u32,
    /// Operations that wait behind the limit, as the rings last reported.
    pub queued: u32,
    /// The submit batch: entries that are at present gathered for one system call.
    pub submit_batch: u32,
    /// The mean number of entries that a system call has lately handed over.
    pub sqe_per_enter: f64,
    /// The guard, in milliseconds: when the p99 latency exceeds it, the limit is cut at once.
    pub guard_p99_ms: f64,
    /// The device exceeds the guard even with one operation in flight.
    pub guard_infeasible: bool,
    /// How often the guard has cut the limit.
    pub guard_cuts: u64,
    /// Operations that the device has completed.
    pub completed: u64,
    /// Bytes that these operations moved.
    pub bytes: u64,
    /// Reads that the page cache served. No other number here counts them.
    pub cache_hits: u64,
    /// From the system call to the completion.
    pub completion_p50_us: f64,
    /// From the system call to the completion.
    pub completion_p99_us: f64,
    /// From the system call to the completion.
    pub completion_p999_us: f64,
    /// From the caller's request to the completion, the wait behind the limit included.
    pub total_p99_us: f64,
    /// The classes: high, normal, low.
    pub by_class: [ClassStats; 3],
}

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
pub struct ClassStats {
    /// Operations that the device has completed.
    pub completed: u64,
    /// Operations that wait behind the limit, as the rings last reported.
    pub waiting: u32,
    /// Latency with the wait behind the limit, in the last one to two seconds; 0 if nothing completed.
    pub total_p99_us: f64,
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
