//! Which class is served next, where operations wait behind the in-flight limit.
//!
//! High goes first. But for every nine units of work that high gets while others wait, the others are owed one unit. Normal and
//! low share by weight, eight to one. The shares are of work, not of operations. A class that has nothing waiting saves
//! nothing up. So every class that waits is served before long, whatever the others do.
//!
//! The queues belong to the caller. The order alone does not keep a reader fast whose device is already full of other
//! operations: see [`Foreground`](super::Foreground).

use super::Priority;

/// For so many units of high's work, the others are owed one unit: high has 90 % while others wait.
const HIGH_WEIGHT: f64 = 9.0;
/// Normal gets so many units of work for each unit of low.
const NORMAL_WEIGHT: f64 = 8.0;
/// One operation is charged as at most so much work (4 MiB), and at least as one unit. Otherwise the class of a huge operation
/// would not be served until the others had caught up with it.
const WORK_MAX: f64 = 64.0;
const WORK_MIN: f64 = 1.0;

/// The order of three queues.
///
/// ```
/// use auraio_control::{Classes, Priority};
///
/// let mut classes = Classes::new();
/// let mut served = [0; 3];
/// for _ in 0..1000 {
///     // Always something waits in each.
///     let class = classes.pick([1, 1, 1]).unwrap();
///     classes.charge(class, 1.0);
///     served[class.index()] += 1;
/// }
/// assert_eq!(served, [900, 89, 11]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Classes {
    /// The work that the others are owed because high went first. It is negative if they were given more than that.
    owed: f64,
    /// How much work normal is ahead of low, in units of low's work.
    lead: f64,
    /// Whether normal or low waited when the last class was picked.
    others_waited: bool,
}

impl Classes {
    /// An order in which no class is owed anything.
    ///
    /// ```
    /// assert_eq!(auraio_control::Classes::new().pick([0, 0, 0]), None);
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self { owed: 0.0, lead: 0.0, others_waited: false }
    }

    /// Picks the class whose first operation is to be started. `waiting` is how many operations wait in each class, in the
    /// order of [`Priority::ALL`]; it is 0 for a class that may not start any now. The answer is `None` if none waits.
    ///
    /// ```
    /// use auraio_control::{Classes, Priority};
    ///
    /// let mut classes = Classes::new();
    /// assert_eq!(classes.pick([1, 5, 5]), Some(Priority::High));
    /// assert_eq!(classes.pick([0, 5, 5]), Some(Priority::Normal));
    /// assert_eq!(classes.pick([0, 0, 5]), Some(Priority::Low));
    /// ```
    #[inline]
    #[must_use]
    pub fn pick(&mut self, waiting: [u32; 3]) -> Option<Priority> {
        let [high, normal, low] = waiting.map(|count| count > 0);
        self.others_waited = normal || low;
        if !self.others_waited {
            // The others do not wait, so they are owed nothing.
            self.owed = 0.0;
            return high.then_some(Priority::High);
        }
        if high && self.owed < 1.0 {
            return Some(Priority::High);
        }
        match (normal, low) {
            (true, true) => Some(if self.lead <= 0.0 { Priority::Normal } else { Priority::Low }),
            // A class that waits alone runs up no debt to the other one.
            (true, false) => {
                self.lead = self.lead.min(0.0);
                Some(Priority::Normal)
            }
            (false, _) => {
                self.lead = self.lead.max(0.0);
                Some(Priority::Low)
            }
        }
    }

    /// Tells that an operation of a class was started, and how much work it is (1 + bytes / 64 KiB).
    ///
    /// ```
    /// use auraio_control::{Classes, Priority};
    ///
    /// let mut classes = Classes::new();
    /// let class = classes.pick([0, 1, 1]).unwrap();
    /// classes.charge(class, 1.0);
    /// ```
    #[inline]
    pub fn charge(&mut self, class: Priority, work: f64) {
        // NaN counts as the least.
        let work = if work.is_nan() { WORK_MIN } else { work.clamp(WORK_MIN, WORK_MAX) };
        match class {
            Priority::High if self.others_waited => self.owed += work / HIGH_WEIGHT,
            Priority::High => {}
            Priority::Normal => {
                self.owed = (self.owed - work).max(-WORK_MAX);
                self.lead += work / NORMAL_WEIGHT;
            }
            Priority::Low => {
                self.owed = (self.owed - work).max(-WORK_MAX);
                self.lead -= work;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves so many operations of the given work out of queues that never end; the work that each class had.
    fn serve(classes: &mut Classes, count: u32, waiting: [u32; 3], work: [f64; 3]) -> [f64; 3] {
        let mut served = [0.0; 3];
        for _ in 0..count {
            let class = classes.pick(waiting).unwrap();
            classes.charge(class, work[class.index()]);
            served[class.index()] += work[class.index()];
        }
        served
    }

    fn share(served: [f64; 3], class: Priority) -> f64 {
        served[class.index()] / served.iter().sum::<f64>()
    }

    #[test]
    fn high_is_served_first_within_nine_tenths() {
        let served = serve(&mut Classes::new(), 10_000, [9, 9, 9], [1.0; 3]);
        assert!((share(served, Priority::High) - 0.9).abs() < 0.001, "{served:?}");
        let mut classes = Classes::new();
        assert_eq!(serve(&mut classes, 5, [1, 1, 1], [1.0; 3]), [5.0, 0.0, 0.0]);
    }

    #[test]
    fn a_lone_high_operation_never_waits_for_more_than_one_other() {
        let mut classes = Classes::new();
        for round in 0..1_000 {
            // One of high among so many others that are served between two of it.
            let first = classes.pick([1, 50, 50]).unwrap();
            classes.charge(first, 1.0);
            if first != Priority::High {
                assert_eq!(classes.pick([1, 50, 50]), Some(Priority::High), "round {round}");
                classes.charge(Priority::High, 1.0);
            }
            let _ = serve(&mut classes, round % 20, [0, 50, 50], [1.0; 3]);
        }
    }

    #[test]
    fn normal_has_eight_times_the_work_of_low() {
        for work in [[1.0; 3], [1.0, 1.0, 17.0], [1.0, 17.0, 1.0]] {
            let served = serve(&mut Classes::new(), 50_000, [0, 9, 9], work);
            assert!((served[1] / served[2] - 8.0).abs() < 0.1, "{served:?}");
        }
    }

    #[test]
    fn what_is_large_does_not_win_by_it() {
        let served = serve(&mut Classes::new(), 50_000, [9, 9, 9], [1.0, 1.0, 30.0]);
        assert!((share(served, Priority::High) - 0.9).abs() < 0.01, "{served:?}");
        let served = serve(&mut Classes::new(), 50_000, [9, 9, 9], [30.0, 1.0, 1.0]);
        assert!((share(served, Priority::High) - 0.9).abs() < 0.01, "{served:?}");
    }

    #[test]
    fn who_had_nothing_waiting_has_saved_nothing_up() {
        let mut classes = Classes::new();
        let _ = serve(&mut classes, 10_000, [0, 9, 0], [1.0; 3]);
        let served = serve(&mut classes, 900, [0, 9, 9], [1.0; 3]);
        assert!((served[1] / served[2] - 8.0).abs() < 0.2, "low came back: {served:?}");
        let _ = serve(&mut classes, 10_000, [0, 0, 9], [1.0; 3]);
        let served = serve(&mut classes, 900, [0, 9, 9], [1.0; 3]);
        assert!((served[1] / served[2] - 8.0).abs() < 0.2, "normal came back: {served:?}");
        let _ = serve(&mut classes, 10_000, [9, 0, 0], [1.0; 3]);
        assert_eq!(classes.pick([1, 1, 1]), Some(Priority::High), "nobody waited");
    }

    #[test]
    fn nobody_waits_for_ever_whatever_the_work() {
        for work in [0.0, -1.0, 1.0, 1e9, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            let mut classes = Classes::new();
            let mut since = [0_u32; 3];
            for turn in 0..20_000_u32 {
                let class = classes.pick([9, 9, 9]).unwrap();
                // Now and then one that makes no sense, among ordinary ones.
                classes.charge(class, if turn % 100 == 0 { work } else { 1.0 });
                since = since.map(|turns| turns + 1);
                since[class.index()] = 0;
                // A charge of 64 units of low is caught up with after 64 x 9 x 10 turns.
                assert!(since.iter().all(|&turns| turns < 7_000), "{work}: {since:?}");
            }
        }
    }

    #[test]
    fn a_class_that_may_not_start_is_passed_over() {
        let mut classes = Classes::new();
        assert_eq!(serve(&mut classes, 100, [0, 0, 3], [1.0; 3]), [0.0, 0.0, 100.0]);
        assert_eq!(classes.pick([0; 3]), None);
    }
}
