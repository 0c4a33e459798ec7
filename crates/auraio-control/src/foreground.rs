//! Room for the foreground: how many places low operations may take while high operations are about.
//!
//! An operation in the device's queue can no longer be overtaken. So a high operation that is submitted first of all those
//! that wait still waits in the device for the low ones that are there. Therefore low operations get fewer places while
//! high ones complete. If more than one in a hundred of the high ones takes longer than the goal, twice what they take
//! alone, the places are cut by a factor. While they keep the goal, the places grow again, little by little. The places
//! never fall below a floor, because throughput falls with them: 0.75 of a limit at the device's knee keeps 90 % of the
//! throughput (`auraio-sim foreground`). When no high operation has completed for a while, low ones may take all places.
//!
//! The floor comes before the goal. On most disks latency grows with the queue from the first operation on, and there the
//! goal alone would cost half of the throughput. A user who wants that sets a lower floor.
//!
//! While low operations are held back, the outer loop must not take them for operations that wait behind the limit. It has
//! to be told that none wait while [`holds_back`](Foreground::holds_back) answers true. Otherwise it would find that
//! throughput grows with the limit, of which low operations get a part, and it would raise the limit until that part is at
//! the knee.

mod rings;
#[cfg(test)]
mod tests;

pub use rings::RingPlaces;

/// The goal: the p99 of high operations is at most so many times what it is when they are alone.
const GOAL: f64 = 2.0;
/// The share of the limit that low operations keep in any case, unless the caller sets another.
const FLOOR: f64 = 0.75;
/// The share is multiplied by this when the goal is missed ...
const CUT: f64 = 0.75;
/// ... and by this while it is kept ...
const GROW: f64 = 1.05;
/// ... once in so many high operations, which are about enough to know a p99.
const CALM: u32 = 150;
/// The share is never below this, even if the floor is: from 0 no factor could make it grow.
const SHARE_MIN: f64 = 0.01;
/// The goal is missed when this score is reached: each high operation over the goal adds 1 to it, each other one takes 1/99
/// away.
const OVER_MAX: f64 = 4.0;
/// Below this score the share may grow.
const OVER_FEW: f64 = 1.0;
/// How long after the last high completion low operations are held back.
const QUIET_NS: u64 = 100_000_000;
/// The estimate of the p99 of lone operations goes up by 5 % with one that takes longer, and down by 1/99 of that with each
/// other one.
const FOLLOW: f64 = 0.05;
/// While only the mean latency of lone operations is known, their p99 is taken to be so many times the mean.
const P99_OF_MEAN: f64 = 1.3;

/// How many places low operations may take on one lane.
///
/// ```
/// use auraio_control::Foreground;
///
/// let mut foreground = Foreground::default();
/// assert_eq!(foreground.low_places(0, 40), 40, "nothing high is about");
/// // Alone, high operations take 100 µs; beside low ones 700 µs.
/// for now in (1..=1000_u64).map(|count| count * 1_000_000) {
///     foreground.on_high(now, now - 100_000, true);
/// }
/// for now in (1001..=1100_u64).map(|count| count * 1_000_000) {
///     foreground.on_high(now, now - 700_000, false);
/// }
/// assert_eq!(foreground.low_places(1_100_000_000, 40), 30);
/// assert_eq!(foreground.low_places(1_300_000_000, 40), 40, "it has gone");
/// ```
#[derive(Clone, Debug)]
pub struct Foreground {
    floor: f64,
    /// The part of the limit that low operations may take while high ones are about.
    share: f64,
    /// The p99 of high operations when they are alone, in nanoseconds; 0 while it is not known.
    alone: f64,
    /// When the last high operation completed.
    last: Option<u64>,
    /// The score of [`OVER_MAX`].
    over: f64,
    /// High operations since the share was last cut, or last looked at whether it may grow.
    calm: u32,
    /// When the share was last cut. Operations that were submitted before that are not counted.
    cut_at: u64,
}

impl Default for Foreground {
    fn default() -> Self {
        Self::new(FLOOR)
    }
}

impl Foreground {
    /// A rule that leaves low operations at least the share `floor` of the limit, 0 to 1, and always one place. NaN stands for
    /// 0.75.
    ///
    /// ```
    /// use auraio_control::Foreground;
    ///
    /// assert_eq!(Foreground::new(f64::NAN).floor(), 0.75);
    /// assert_eq!(Foreground::new(-3.0).floor(), 0.0);
    /// ```
    #[must_use]
    pub fn new(floor: f64) -> Self {
        let floor = if floor.is_nan() { FLOOR } else { floor.clamp(0.0, 1.0) };
        Self { floor, share: 1.0, alone: 0.0, last: None, over: 0.0, calm: 0, cut_at: 0 }
    }

    /// The share of the limit that low operations keep in any case.
    ///
    /// ```
    /// assert_eq!(auraio_control::Foreground::default().floor(), 0.75);
    /// ```
    #[must_use]
    pub const fn floor(&self) -> f64 {
        self.floor
    }

    /// Tells the mean latency of a lone operation. The goal follows from it until high operations have been alone on the
    /// device themselves.
    ///
    /// ```
    /// let mut foreground = auraio_control::Foreground::default();
    /// foreground.set_no_load(100_000);
    /// assert_eq!(foreground.goal_ns(), Some(260_000));
    /// ```
    pub fn set_no_load(&mut self, mean_ns: u64) {
        if self.alone == 0.0 {
            self.alone = P99_OF_MEAN * mean_ns as f64;
        }
    }

    /// Tells that a high operation completed at `now` that was submitted at `submitted`. `alone` says that no operation of the
    /// other classes was in flight when it was submitted.
    ///
    /// ```
    /// let mut foreground = auraio_control::Foreground::default();
    /// foreground.on_high(1_100_000, 1_000_000, true);
    /// assert!(foreground.goal_ns().is_some());
    /// ```
    pub fn on_high(&mut self, now: u64, submitted: u64, alone: bool) {
        self.last = Some(now);
        let latency = now.saturating_sub(submitted) as f64;
        if alone {
            self.learn(latency);
            return;
        }
        // If a clock was set back, the cut lies in the future, and operations count again.
        if submitted < self.cut_at && self.cut_at <= now {
            return;
        }
        if self.alone == 0.0 {
            return;
        }
        self.over = if latency > GOAL * self.alone { self.over + 1.0 } else { (self.over - 1.0 / 99.0).max(0.0) };
        self.calm += 1;
        if self.over >= OVER_MAX {
            self.share = (CUT * self.share).max(self.floor).max(SHARE_MIN);
            self.cut_at = now;
            (self.over, self.calm) = (0.0, 0);
        } else if self.calm >= CALM {
            self.calm = 0;
            // With a score between `OVER_FEW` and `OVER_MAX` the share stays: with more places the goal would be missed.
            if self.over < OVER_FEW {
                self.share = (self.share * GROW).min(1.0);
            }
        }
    }

    /// Follows the p99 of high operations that are alone.
    fn learn(&mut self, latency: f64) {
        if self.alone == 0.0 {
            self.alone = P99_OF_MEAN * latency;
        } else if latency > self.alone {
            self.alone *= 1.0 + FOLLOW;
        } else {
            self.alone *= 1.0 - FOLLOW / 99.0;
        }
    }

    /// The goal for the p99 of high operations; `None` while it is not known what they take alone.
    ///
    /// ```
    /// assert_eq!(auraio_control::Foreground::default().goal_ns(), None);
    /// ```
    #[must_use]
    pub fn goal_ns(&self) -> Option<u64> {
        (self.alone > 0.0).then_some((GOAL * self.alone) as u64)
    }

    /// Whether high operations are about: one has completed within the last tenth of a second.
    ///
    /// ```
    /// assert!(!auraio_control::Foreground::default().is_active(0));
    /// ```
    #[must_use]
    pub fn is_active(&self, now: u64) -> bool {
        self.last.is_some_and(|last| now.saturating_sub(last) < QUIET_NS)
    }

    /// Whether low operations may take fewer places now than the limit would leave them. Then low operations that wait do not
    /// wait behind the limit, and the outer loop is to be told that none wait.
    ///
    /// ```
    /// assert!(!auraio_control::Foreground::default().holds_back(0, 32));
    /// ```
    #[must_use]
    pub fn holds_back(&self, now: u64, limit: u32) -> bool {
        self.is_active(now) && self.low_places(now, limit) < limit.saturating_sub(1)
    }

    /// How many low operations may be in flight under a limit: at least 1, if the limit is not 0. While high operations are
    /// about, at least one place is left to them if the limit is above 1. Where several rings share the limit, see
    /// [`divide`](Self::divide).
    ///
    /// ```
    /// assert_eq!(auraio_control::Foreground::default().low_places(0, 32), 32);
    /// ```
    #[must_use]
    pub fn low_places(&self, now: u64, limit: u32) -> u32 {
        if !self.is_active(now) {
            return limit;
        }
        let places = (self.share * f64::from(limit)).round() as u32;
        // One place is left to high operations, so that they need not wait for it. A limit of one is taken in turns.
        places.clamp(1, limit.saturating_sub(1).max(1)).min(limit)
    }
}
