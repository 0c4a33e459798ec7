//! What one user of a device wishes for, and how the wishes of several users become the settings of its loop.

use std::time::Duration;

use crate::{Bounds, Guard, InvalidSettings, Policy, Priority, Settings};

/// What one user of a device wishes for. A field that is `None` is no wish: the wishes of others decide, or the defaults.
///
/// ```
/// use std::time::Duration;
/// use auraio_control::{Guard, Settings, Wish};
///
/// let wish = Wish { guard: Some(Duration::from_millis(2)), ..Wish::default() };
/// assert_eq!(wish.settings().guard, Guard::At(Duration::from_millis(2)));
/// assert_eq!(Wish::default().settings(), Settings::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// How the in-flight limit is found. Of several users' policies, the one that was asked for last is in force.
    pub policy: Option<Policy>,
    /// The p99 of completion latency above which the limit is cut at once. Of several, the smallest is in force.
    pub guard: Option<Duration>,
    /// The smallest in-flight limit. Of several, the largest that is not above the maximum is in force.
    pub in_flight_min: Option<u32>,
    /// The largest in-flight limit. Of several, the smallest is in force.
    pub in_flight_max: Option<u32>,
    /// The class of the user's own operations that name none themselves. It is no setting of the loop.
    pub priority: Option<Priority>,
}

impl Wish {
    /// The settings if nobody else had a wish.
    ///
    /// ```
    /// use auraio_control::{Bounds, Wish};
    ///
    /// let wish = Wish { in_flight_max: Some(32), ..Wish::default() };
    /// assert_eq!(wish.settings().bounds, Bounds { min: 1, max: 32 });
    /// ```
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings::of_wishes(&[*self])
    }

    /// The same wish, with `room` as the largest limit if it names none itself. If its smallest limit is larger than
    /// `room`, that is the largest one too.
    ///
    /// ```
    /// use auraio_control::Wish;
    ///
    /// let wish = Wish { in_flight_min: Some(20), ..Wish::default() };
    /// assert_eq!(wish.with_room(64).in_flight_max, Some(64));
    /// assert_eq!(wish.with_room(16).in_flight_max, Some(20));
    /// ```
    #[must_use]
    pub fn with_room(self, room: u32) -> Self {
        let max = self.in_flight_max.unwrap_or_else(|| room.max(self.in_flight_min.unwrap_or(1)));
        Self { in_flight_max: Some(max), ..self }
    }

    /// Checks that it can be fulfilled.
    ///
    /// ```
    /// use auraio_control::Wish;
    ///
    /// assert!(Wish { in_flight_min: Some(8), in_flight_max: Some(4), ..Wish::default() }.check().is_err());
    /// assert!(Wish { in_flight_min: Some(8), ..Wish::default() }.check().is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidSettings`], as [`Settings::check`] says.
    pub fn check(&self) -> Result<(), InvalidSettings> {
        let min = self.in_flight_min.unwrap_or(1);
        let bounds = Bounds { min, max: self.in_flight_max.unwrap_or(u32::MAX) };
        let guard = self.guard.map_or(Guard::Auto, Guard::At);
        Settings { policy: self.policy.unwrap_or_default(), bounds, guard }.check()
    }
}

impl Settings {
    /// Brings the wishes of all users of a device together. They stand in the order in which their policies were asked for.
    ///
    /// ```
    /// use auraio_control::{Bounds, Policy, Settings, Wish};
    ///
    /// let one = Wish { policy: Some(Policy::Fixed(8)), in_flight_max: Some(64), ..Wish::default() };
    /// let other = Wish { policy: Some(Policy::Aimd), in_flight_max: Some(16), ..Wish::default() };
    /// let settings = Settings::of_wishes(&[one, other]);
    /// assert_eq!((settings.policy, settings.bounds), (Policy::Aimd, Bounds { min: 1, max: 16 }));
    /// ```
    #[must_use]
    pub fn of_wishes(wishes: &[Wish]) -> Self {
        let usual = Bounds::default();
        let max = wishes.iter().filter_map(|wish| wish.in_flight_max).min().unwrap_or(usual.max);
        let min = wishes.iter().filter_map(|wish| wish.in_flight_min).max().unwrap_or(usual.min);
        Self {
            policy: wishes.iter().rev().find_map(|wish| wish.policy).unwrap_or_default(),
            bounds: Bounds { min: min.min(max), max },
            guard: wishes.iter().filter_map(|wish| wish.guard).min().map_or(Guard::Auto, Guard::At),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(policy: Policy, guard: Option<Duration>, min: u32, max: u32) -> Wish {
        let (in_flight_min, in_flight_max) = (Some(min), Some(max));
        Wish { policy: Some(policy), guard, in_flight_min, in_flight_max, priority: None }
    }

    #[test]
    fn nobody_s_wishes_are_the_defaults() {
        assert_eq!(Settings::of_wishes(&[]), Settings::default());
    }

    #[test]
    fn the_strictest_guard_the_last_policy_and_the_narrowest_bounds_win() {
        let (ten, two) = (Some(Duration::from_millis(10)), Some(Duration::from_millis(2)));
        let merged = Settings::of_wishes(&[
            wish(Policy::Knee, two, 4, 256),
            wish(Policy::Fixed(8), ten, 1, 64),
            Wish { guard: None, ..Wish::default() },
        ]);
        assert_eq!(merged.policy, Policy::Fixed(8));
        assert_eq!(merged.guard, Guard::At(Duration::from_millis(2)));
        assert_eq!(merged.bounds, Bounds { min: 4, max: 64 });
    }

    #[test]
    fn a_minimum_above_another_user_s_maximum_gives_way() {
        let merged = Settings::of_wishes(&[wish(Policy::Knee, None, 32, 64), wish(Policy::Knee, None, 1, 16)]);
        assert_eq!(merged.bounds, Bounds { min: 16, max: 16 });
    }

    #[test]
    fn a_wish_is_checked_like_settings() {
        let refused = [
            Wish { policy: Some(Policy::Fixed(0)), ..Wish::default() },
            Wish { guard: Some(Duration::ZERO), ..Wish::default() },
            Wish { in_flight_min: Some(0), ..Wish::default() },
            Wish { in_flight_max: Some(0), ..Wish::default() },
        ];
        assert!(refused.iter().all(|wish| wish.check().is_err()));
        assert!(Wish::default().check().is_ok());
    }
}
