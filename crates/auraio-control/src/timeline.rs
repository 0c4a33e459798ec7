//! Time as the arithmetic needs it: it never goes back, and never far ahead at once.
//!
//! The times of samples may stand still or jump by hours, forward or back. They come a little out of order when several rings
//! report. The timeline counts only time that went by for certain.

/// How far a sample of another ring may be behind the latest one, in nanoseconds. If it is further behind, the clock was set
/// back.
const DISORDER_MAX: u64 = 1_000_000_000;

/// At most this much time goes by between two samples, in nanoseconds: an hour. So the sum of many leaps stays far from the
/// end of `u64`.
const STEP_MAX: u64 = 3_600_000_000_000;

/// Nanoseconds since the first sample.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timeline {
    /// The latest time seen, as it was given.
    latest: Option<u64>,
    now: u64,
}

impl Timeline {
    /// Answers where the time `given` is on the timeline, and moves the timeline there if that is ahead.
    pub(crate) fn advance(&mut self, given: u64) -> u64 {
        let latest = *self.latest.get_or_insert(given);
        if given >= latest {
            self.now = self.now.saturating_add((given - latest).min(STEP_MAX));
        } else if latest - given < DISORDER_MAX {
            return self.now.saturating_sub(latest - given);
        }
        self.latest = Some(given);
        self.now
    }

    /// The latest time on the timeline.
    pub(crate) const fn now(&self) -> u64 {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_that_is_a_little_late_is_placed_where_it_belongs() {
        let mut timeline = Timeline::default();
        assert_eq!(timeline.advance(5_000), 0);
        assert_eq!(timeline.advance(9_000), 4_000);
        assert_eq!(timeline.advance(8_000), 3_000);
        assert_eq!(timeline.now(), 4_000);
        assert_eq!(timeline.advance(9_500), 4_500);
    }

    #[test]
    fn a_clock_that_is_set_back_goes_on_from_there() {
        let mut timeline = Timeline::default();
        timeline.advance(u64::MAX / 2);
        assert_eq!(timeline.advance(7), 0);
        assert_eq!(timeline.advance(8), 1);
    }

    #[test]
    fn a_clock_that_leaps_to_and_fro_does_not_wear_out_the_timeline() {
        let mut timeline = Timeline::default();
        for _ in 0..1_000 {
            timeline.advance(u64::MAX);
            timeline.advance(0);
        }
        assert_eq!(timeline.now(), 999 * STEP_MAX);
    }
}
