//! What a lane tells of itself.

use super::{LaneId, LaneMode};

/// One lane, as it is now. Latencies are of the last one to two seconds, in microseconds; 0 where nothing completed.
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
    /// Operations that may be in flight on the device at once, for all rings of the process.
    pub in_flight_limit: u32,
    /// Operations that have a place now, as last reported by the rings: in flight, or about to be handed over.
    pub in_flight: u32,
    /// Operations that wait behind the limit, as last reported.
    pub queued: u32,
    /// Entries that are gathered for one system call just now.
    pub submit_batch: u32,
    /// Entries handed over by a system call, on average lately.
    pub sqe_per_enter: f64,
    /// The p99 past which concurrency is cut at once, in milliseconds.
    pub guard_p99_ms: f64,
    /// The guard is below what the device can do with one operation in flight.
    pub guard_infeasible: bool,
    /// How often the guard has cut.
    pub guard_cuts: u64,
    /// Operations that the device has completed.
    pub completed: u64,
    /// Bytes that those moved.
    pub bytes: u64,
    /// Reads that the page cache served: they are in no other number here.
    pub cache_hits: u64,
    /// From the system call to the completion.
    pub completion_p50_us: f64,
    /// From the system call to the completion.
    pub completion_p99_us: f64,
    /// From the system call to the completion.
    pub completion_p999_us: f64,
    /// With the wait behind the limit.
    pub total_p99_us: f64,
    /// High, normal, low.
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
    /// Operations that wait behind the limit, as last reported.
    pub waiting: u32,
    /// Latency with the wait, in the last one to two seconds; 0 where nothing completed.
    pub total_p99_us: f64,
}

/// Which latencies a histogram is of.
///
/// ```
/// use auraio::HistogramKind;
///
/// assert_eq!(HistogramKind::default(), HistogramKind::Completion);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HistogramKind {
    /// From the system call that carried an operation to its completion.
    #[default]
    Completion,
    /// The same with the wait behind the in-flight limit.
    Total,
}
