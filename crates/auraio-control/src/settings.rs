//! Settings of an outer loop: the policy, the bounds of the limit, and the guard.

use std::{fmt, time::Duration};

/// How the in-flight limit is found.
///
/// ```
/// use auraio_control::Policy;
///
/// assert_eq!(Policy::default(), Policy::Knee);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// This limit, 1 to 65,536, whatever the device does. It is kept within the bounds of the settings. The guard is not
    /// kept.
    Fixed(u32),
    /// Additive increase while the limit is in use and the p99 is below the guard; multiplicative decrease when the p99 is
    /// above it. It finds the deepest queue that the guard allows. On a fast device that is far deeper than throughput
    /// needs.
    Aimd,
    /// The smallest limit at which the device gives its full throughput, found by experiment. The guard is kept as with
    /// [`Policy::Aimd`].
    #[default]
    Knee,
}

impl Policy {
    /// The largest limit that [`Policy::Fixed`] may have.
    pub const FIXED_MAX: u32 = 65_536;

    /// One of each kind, the default first. The limit of the fixed one stands for any.
    ///
    /// ```
    /// use auraio_control::Policy;
    ///
    /// assert_eq!(Policy::ALL.map(Policy::name), ["knee", "aimd", "fixed"]);
    /// ```
    pub const ALL: [Self; 3] = [Self::Knee, Self::Aimd, Self::Fixed(1)];

    /// Its name in options and statistics.
    ///
    /// ```
    /// assert_eq!(auraio_control::Policy::Fixed(24).name(), "fixed");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Knee => "knee",
            Self::Aimd => "aimd",
            Self::Fixed(_) => "fixed",
        }
    }

    /// The policy of a name, or `None` if none has that name. A fixed policy gets the limit `fixed`; the others do not look
    /// at it.
    ///
    /// ```
    /// use auraio_control::Policy;
    ///
    /// assert_eq!(Policy::from_name("fixed", 24), Some(Policy::Fixed(24)));
    /// assert_eq!(Policy::from_name("knee", 0), Some(Policy::Knee));
    /// assert_eq!(Policy::from_name("vegas", 0), None);
    /// ```
    #[must_use]
    pub fn from_name(name: &str, fixed: u32) -> Option<Self> {
        let named = Self::ALL.into_iter().find(|policy| policy.name() == name)?;
        Some(match named {
            Self::Fixed(_) => Self::Fixed(fixed),
            Self::Knee | Self::Aimd => named,
        })
    }
}

/// The p99 of completion latency above which the limit is cut at once.
///
/// ```
/// use auraio_control::Guard;
///
/// assert_eq!(Guard::default(), Guard::Auto);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// 10 ms. On a device whose lone operations take more than 3.8 ms on average (a hard disk), 20 times that average.
    #[default]
    Auto,
    /// This duration, which is not zero. If the p99 is above it even at the smallest limit, the limit stays the smallest and
    /// [`Controller::is_infeasible`](super::Controller::is_infeasible) answers true.
    At(Duration),
}

/// The smallest and the largest in-flight limit: 1 <= `min` <= `max`.
///
/// ```
/// use auraio_control::Bounds;
///
/// assert_eq!(Bounds::default(), Bounds { min: 1, max: 1024 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Never fewer in flight are allowed than this.
    pub min: u32,
    /// Never more in flight are allowed than this.
    pub max: u32,
}

impl Bounds {
    /// Bounds for which 1 <= min <= max holds, whatever these are. The arithmetic relies on it.
    pub(crate) fn sound(self) -> Self {
        let min = self.min.max(1);
        Self { min, max: self.max.max(min) }
    }

    pub(crate) fn clamp(self, limit: u32) -> u32 {
        limit.clamp(self.min, self.max)
    }
}

impl Default for Bounds {
    /// 1 to 1,024: what the largest queue of a common NVMe device holds.
    fn default() -> Self {
        Self { min: 1, max: 1024 }
    }
}

/// The settings of an outer loop.
///
/// ```
/// use std::time::Duration;
/// use auraio_control::{Guard, Settings};
///
/// let settings = Settings { guard: Guard::At(Duration::from_millis(2)), ..Settings::default() };
/// assert!(settings.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How the limit is found.
    pub policy: Policy,
    /// The smallest and the largest limit.
    pub bounds: Bounds,
    /// The p99 above which the limit is cut.
    pub guard: Guard,
}

impl Settings {
    /// Checks that they can be obeyed.
    ///
    /// ```
    /// use auraio_control::{Bounds, Settings};
    ///
    /// let settings = Settings { bounds: Bounds { min: 8, max: 4 }, ..Settings::default() };
    /// assert!(settings.check().is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidSettings`] for a guard of zero, a minimum of zero or above the maximum, and a fixed limit outside
    /// 1 to 65,536.
    pub fn check(&self) -> Result<(), InvalidSettings> {
        if self.guard == Guard::At(Duration::ZERO) {
            return Err(InvalidSettings("the guard must be longer than zero"));
        }
        if self.bounds.min == 0 {
            return Err(InvalidSettings("the smallest in-flight limit must be at least 1"));
        }
        if self.bounds.min > self.bounds.max {
            return Err(InvalidSettings("the smallest in-flight limit must not be above the largest"));
        }
        if matches!(self.policy, Policy::Fixed(limit) if !(1..=Policy::FIXED_MAX).contains(&limit)) {
            return Err(InvalidSettings("a fixed in-flight limit must be 1 to 65536"));
        }
        Ok(())
    }
}

/// Settings that cannot be obeyed. The text says which one, and what it may be.
///
/// ```
/// use auraio_control::{InvalidSettings, Policy, Settings};
///
/// let refused = Settings { policy: Policy::Fixed(0), ..Settings::default() }.check();
/// assert_eq!(refused, Err(InvalidSettings("a fixed in-flight limit must be 1 to 65536")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSettings(pub &'static str);

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidSettings {}
