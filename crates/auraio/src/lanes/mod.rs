//! Lanes: a lane is all operations that one in-flight limit governs.
//!
//! A lane is one device in one mode: the disk under a file system, with `O_DIRECT` or through the page cache. All rings of
//! the process that use the lane share one outer loop ([`crate::control`]). With a loop each, every loop would take the load
//! of the others for slowness of the device, and all of them would raise their limits until the guard cuts. The loop's limit
//! is divided into shares, one for each ring ([`Shares`](crate::control::Shares)). A ring keeps to its share by itself
//! (`ring/gate.rs`). From time to time it reports in bulk what has completed, so that a single operation writes to no memory
//! that cores share.
//!
//! A read that the page cache serves puts no load on a device, so it is neither counted nor held back.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use crossbeam_utils::CachePadded;
use hdrhistogram::Histogram;

use crate::{control::Settings, lock};

mod clock;
mod device;
mod governor;
mod log;
mod seen;
mod stats;
mod wishes;

pub(crate) use clock::now;
use device::{Disk, disk_of};
use governor::Governor;
pub use log::LaneDecision;
pub(crate) use log::{decisions_after, decisions_so_far};
pub(crate) use seen::Sample;
pub use stats::{ClassStats, HistogramKind, LaneStats};
pub(crate) use wishes::Wishes;

/// Names a lane. A lane lives as long as the process, so its name stays valid.
///
/// ```
/// use auraio::OpenOptions;
///
/// # let engine = auraio::Engine::builder().build()?;
/// # engine.block_on(async {
/// let file = engine.open("Cargo.toml", OpenOptions::new().read(true)).await?;
/// let lane = file.lane().expect("a regular file is on a device");
/// assert!(engine.stats().lanes.iter().any(|stats| stats.id == lane));
/// # Ok::<(), auraio::Error>(())
/// # })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LaneId(pub(crate) u16);

impl LaneId {
    /// The lane's number, as in JavaScript.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// for lane in engine.stats().lanes {
    ///     println!("{}: {} {}", lane.id.number(), lane.device, lane.mode.name());
    /// }
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0 as u32
    }

    /// The id with this number. `None` if no lane can have the number.
    ///
    /// ```
    /// use auraio::LaneId;
    ///
    /// assert_eq!(LaneId::from_number(0).map(LaneId::number), Some(0));
    /// assert_eq!(LaneId::from_number(70_000), None);
    /// ```
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        u16::try_from(number).ok().map(Self)
    }
}

/// Whether a lane's files bypass the page cache.
///
/// ```
/// use auraio::LaneMode;
///
/// assert_eq!(LaneMode::Direct.name(), "direct");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LaneMode {
    /// Opened with `O_DIRECT`.
    Direct,
    /// Through the page cache.
    Buffered,
}

impl LaneMode {
    /// Its name in `stats()`.
    ///
    /// ```
    /// assert_eq!(auraio::LaneMode::Buffered.name(), "buffered");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Buffered => "buffered",
        }
    }
}

/// The most lanes of a process. Operations on further devices have no limit.
const LANES_MAX: usize = 1024;

/// Every lane of the process, by number. No lane is ever removed, so that what its loop has learnt about the device is still
/// there when the next file on it is opened.
static LANES: RwLock<Vec<Arc<Lane>>> = RwLock::new(Vec::new());

/// One device in one mode.
pub(crate) struct Lane {
    id: LaneId,
    disk: Disk,
    mode: LaneMode,
    /// Some ring waits for a place that another ring has. Then every ring reports as soon as something has completed.
    scarce: AtomicBool,
    governor: Mutex<Governor>,
}

/// What a lane tells one ring, on a cache line of its own: written when shares move, read for each operation.
pub(crate) type LaneShare = Arc<CachePadded<LaneShareCounts>>;

#[derive(Debug, Default)]
pub(crate) struct LaneShareCounts {
    /// Operations that the ring may have in flight on the lane.
    share: AtomicU32,
    /// How many of those may be of the lowest class.
    share_low: AtomicU32,
    /// Operations that the other rings had in flight on the lane when they last reported.
    others: AtomicU32,
}

impl LaneShareCounts {
    #[inline]
    pub(crate) fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn share_low(&self) -> u32 {
        self.share_low.load(Ordering::Relaxed)
    }

    pub(crate) fn others(&self) -> u32 {
        self.others.load(Ordering::Relaxed)
    }
}

/// What a ring reports to a lane.
pub(crate) struct Report<'a> {
    pub(crate) member: u32,
    pub(crate) now: u64,
    pub(crate) in_flight: u32,
    /// Operations that wait for a place, by class, the highest first.
    pub(crate) waiting: [u32; 3],
    /// What completed since the last report, in order. The report empties the list.
    pub(crate) samples: &'a mut Vec<Sample>,
    /// Reads that the page cache served since the last report.
    pub(crate) hits: u64,
    /// The submit batch that the ring's inner loop has chosen.
    pub(crate) batch: u32,
    pub(crate) sqe_per_enter: f64,
}

/// The lane of a file. `dev` is the file's `st_dev` from `stat`. `None` if the process has [`LANES_MAX`] lanes already.
pub(crate) fn lane_of(dev: u64, mount: Option<u64>, mode: LaneMode) -> Option<Arc<Lane>> {
    let disk = disk_of(dev, mount);
    let find = |lanes: &[Arc<Lane>]| lanes.iter().find(|lane| lane.disk.id == disk.id && lane.mode == mode).cloned();
    if let Some(known) = find(&LANES.read().unwrap_or_else(PoisonError::into_inner)) {
        return Some(known);
    }
    let mut lanes = LANES.write().unwrap_or_else(PoisonError::into_inner);
    // Another thread may have made the lane between the two locks.
    if let Some(known) = find(&lanes) {
        return Some(known);
    }
    if lanes.len() == LANES_MAX {
        return None;
    }
    let id = LaneId(lanes.len() as u16);
    let lane = Arc::new(Lane {
        id,
        disk,
        mode,
        scarce: AtomicBool::new(false),
        governor: Mutex::new(Governor::new(id, Settings::default())),
    });
    lanes.push(Arc::clone(&lane));
    Some(lane)
}

/// Every lane of the process.
pub(crate) fn all() -> Vec<Arc<Lane>> {
    LANES.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The lane that an id names.
pub(crate) fn by_id(id: LaneId) -> Option<Arc<Lane>> {
    LANES.read().unwrap_or_else(PoisonError::into_inner).get(id.0 as usize).cloned()
}

impl Lane {
    pub(crate) const fn id(&self) -> LaneId {
        self.id
    }

    pub(crate) const fn mode(&self) -> LaneMode {
        self.mode
    }

    /// Whether every ring has to report as soon as something has completed.
    #[inline]
    pub(crate) fn is_scarce(&self) -> bool {
        self.scarce.load(Ordering::Relaxed)
    }

    /// Takes a ring in, which can have so many in flight: its number, and where its share is told.
    pub(crate) fn join(&self, capacity: u32) -> (u32, LaneShare) {
        lock(&self.governor).join(capacity)
    }

    /// Removes a ring.
    pub(crate) fn leave(&self, member: u32) {
        lock(&self.governor).leave(member);
    }

    /// Takes a ring's report.
    pub(crate) fn report(&self, report: Report<'_>) {
        let mut governor = lock(&self.governor);
        let scarce = governor.report(report);
        if scarce != self.is_scarce() {
            self.scarce.store(scarce, Ordering::Relaxed);
        }
    }

    pub(crate) fn stats(&self) -> LaneStats {
        lock(&self.governor).stats(&self.disk, self.mode)
    }

    pub(crate) fn histogram(&self, kind: HistogramKind) -> Histogram<u64> {
        lock(&self.governor).histogram(kind)
    }

    /// Adds a client, whose wishes count from now on.
    pub(crate) fn add_client(&self, wishes: &Arc<Wishes>) {
        self.change_clients(|governor| governor.add_client(wishes));
    }

    /// Has the lane read its clients' wishes again: one has changed, or a client has gone.
    pub(crate) fn reconsider(&self) {
        self.change_clients(|_| {});
    }

    fn change_clients(&self, change: impl FnOnce(&mut Governor)) {
        let mut governor = lock(&self.governor);
        change(&mut governor);
        let kept = governor.reconsider(now());
        drop(governor);
        // This may drop the last share of a client, and the client's drop takes the governor's lock again.
        drop(kept);
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("device", &self.disk.name).field("mode", &self.mode).finish_non_exhaustive()
    }
}
