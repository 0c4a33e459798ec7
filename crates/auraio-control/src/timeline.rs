//! Time as the arithmetic wants it: it never goes back, and never far ahead at once.
//!
//! Samples bear a time, and that may stand still, jump by hours either way, or come a little out of order when several
//! rings report. The timeline counts the time that provably went by.

/// How far behind the latest sample another ring's may be. What is further behind is taken for a clock that was set back.
const DISORDER_MAX: u64 = 1_000_000_000;

/// The most that goes by between two samples, in nanoseconds: an hour, so that no sum of leaps comes near the end of `u64`.
const STEP_MAX: u64 = 3_600_000_000_000;

/// Nanoseconds since the first sample.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timeline {
    /// The latest time seen, as it was given.
    latest: Option<u64>,
    now: u64,
}

impl Timeline {
    /// Where `given` is on the timeline; moves it there if that is ahead.
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

    /// The latest that it was advanced to.
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
