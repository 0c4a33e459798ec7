//! Room for the foreground: how many of the places may be taken by what is of low priority while something high is about.
//!
//! An operation that is in the device's queue cannot be overtaken any more, so a reader that is served first still waits
//! there for all that went before it. While high operations complete, low ones get fewer places: fewer by a factor when
//! more than one in a hundred of the high ones took longer than twice what they take alone, more again, little by
//! little, while they do not. It ends at a floor, because throughput falls with the places: 0.75 of a limit that the outer loop
//! has put at the device's knee keeps 90 % of the throughput there (`auraio-sim foreground`). Once nothing high has completed for a while, low
//! operations may have all places.
//!
//! The floor comes before the goal. On a device whose latency grows with its queue from the first operation on (most
//! disks), the goal of twice the latency alone would cost half of the throughput; whoever wants that sets a lower floor.
//!
//! No clock, no I/O: times are nanoseconds from any one origin. While it holds low operations back the outer loop must
//! not take them for operations that wait behind the limit: it is told that none wait while
//! [`holds_back`](Foreground::holds_back) says so. Else it finds that throughput grows with the limit, of which low
//! operations get their part, and the limit ends where the part is the knee.

mod rings;
#[cfg(test)]
mod tests;

pub use rings::RingPlaces;

/// What high operations may take, as a multiple of what they take alone, by their p99.
const GOAL: f64 = 2.0;
/// The share of the limit that low operations keep, unless said otherwise.
const FLOOR: f64 = 0.75;
/// Cut by this when the goal is missed ...
const CUT: f64 = 0.75;
/// ... and grown by this factor ...
const GROW: f64 = 1.05;
/// ... after so many high operations without a cut: about as many as a p99 is known by.
const CALM: u32 = 150;
/// The least share, also without a floor: a factor must have something to grow.
const SHARE_MIN: f64 = 0.01;
/// Operations over the goal, beyond one in a hundred, that make a cut. The count falls by 1/99 with each that is within.
const OVER_MAX: f64 = 4.0;
/// And so many still let the places grow.
const OVER_FEW: f64 = 1.0;
/// How long after the last high completion low operations are held back.
const QUIET_NS: u64 = 100_000_000;
/// How the p99 of operations alone follows them: by 5 % up with one that is above, by 1/99 of that down with one below.
const FOLLOW: f64 = 0.05;
/// The p99 of a depth of one beside its mean, where only the mean is known.
const P99_OF_MEAN: f64 = 1.3;

/// The rule for one lane.
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
    /// Of the limit, for low operations, while something high is about.
    share: f64,
    /// The p99 that high operations have alone, in nanoseconds; 0 while it is not known.
    alone: f64,
    /// When the last high operation completed.
    last: Option<u64>,
    over: f64,
    calm: u32,
    /// Operations that were submitted before this do not know of the last cut.
    cut_at: u64,
}

impl Default for Foreground {
    fn default() -> Self {
        Self::new(FLOOR)
    }
}

impl Foreground {
    /// A rule that leaves low operations at least this share of the limit, 0 to 1 (what is not a number is 0.75), and
    /// always one place.
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

    /// The outer loop's mean latency of an operation alone on the device, by which the goal is set until high operations
    /// have been alone themselves.
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

    /// A high operation completed that was submitted at `submitted`; `alone`: nothing of the other classes was in flight
    /// then.
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
        // A clock that jumped back leaves a cut in the future; it is over then.
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
            // Between the two it stays: so many are late that with less room more than one in a hundred would be.
            if self.over < OVER_FEW {
                self.share = (self.share * GROW).min(1.0);
            }
        }
    }

    /// Follows the 99th percentile of what high operations take alone.
    fn learn(&mut self, latency: f64) {
        if self.alone == 0.0 {
            self.alone = P99_OF_MEAN * latency;
        } else if latency > self.alone {
            self.alone *= 1.0 + FOLLOW;
        } else {
            self.alone *= 1.0 - FOLLOW / 99.0;
        }
    }

    /// What the p99 of high operations is to stay within; `None` while it is not known what they take alone.
    ///
    /// ```
    /// assert_eq!(auraio_control::Foreground::default().goal_ns(), None);
    /// ```
    #[must_use]
    pub fn goal_ns(&self) -> Option<u64> {
        (self.alone > 0.0).then_some((GOAL * self.alone) as u64)
    }

    /// Whether low operations are held back now.
    ///
    /// ```
    /// assert!(!auraio_control::Foreground::default().is_active(0));
    /// ```
    #[must_use]
    pub fn is_active(&self, now: u64) -> bool {
        self.last.is_some_and(|last| now.saturating_sub(last) < QUIET_NS)
    }

    /// Whether low operations may have fewer places now than the limit leaves: then what waits of them does not wait behind
    /// the limit, and the outer loop is told that nothing does.
    ///
    /// ```
    /// assert!(!auraio_control::Foreground::default().holds_back(0, 32));
    /// ```
    #[must_use]
    pub fn holds_back(&self, now: u64, limit: u32) -> bool {
        self.is_active(now) && self.low_places(now, limit) < limit.saturating_sub(1)
    }

    /// How many low operations may be in flight, out of a limit: at least 1 if the limit is.
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
        // One is left for what is high, so that it need not wait for a place; a limit of one is taken in turns.
        places.clamp(1, limit.saturating_sub(1).max(1)).min(limit)
    }
}
