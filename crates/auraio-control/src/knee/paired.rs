//! A paired test: which of two limits gives more throughput, on a device that itself becomes faster and slower.
//!
//! To tell two limits apart whose throughputs differ by d, each side needs N >= 2 (z cv / d)^2 completions. With a coefficient
//! of variation cv of 0.4 and z = 1.6 these are 1,300 for 2.5 %. A device that completes 80,000 a second needs 30 ms for that,
//! and drifts by more than 2.5 % meanwhile. So the limits take turns, A B B A A B. Each pair gives the logarithm of a ratio,
//! in which slow drift cancels. The test ends as soon as the mean of the logarithms is clear of a threshold; most tests end
//! after two pairs.

use super::{
    MILLISECOND,
    segment::{Length, Measured},
};

/// The variance of ln(throughput) in a segment is this over the number of its completions: 0.5^2, because the service times of
/// devices vary by 0.4 to 0.5.
const VARIANCE_PER_COMPLETION: f64 = 0.25;
/// The standard deviation of a pair even with endless completions: the device drifts within a pair.
const PAIR_DRIFT: f64 = 0.008;
/// With so many pairs their own spread is used. Two pairs say too little about it.
const PAIRS_FOR_SPREAD: u32 = 3;
/// The spread is at least this part of what the counts explain: three pairs may agree by chance.
const SPREAD_LEAST: f64 = 0.8;
/// A single pair decides if it is so many standard errors clear of the threshold: p = 0.014 one-sided.
const SINGLE_PAIR_Z: f64 = 2.2;
/// So many segments in which the device stalled are measured again. More of them count, or the test might never end.
const REDONE_MAX: u32 = 4;
/// The logarithm of a ratio counts as at most this. It is gain enough for any decision, and a larger one is mostly chance.
const RATIO_MAX: f64 = 0.9;
/// A device is calm if the variance of pairs is at most this beyond what the counts explain (7 %, squared). The few pairs of a
/// test could not show a smaller variance.
const CALM: f64 = 0.005;
/// The weight of one test in that variance.
const UNREST_WEIGHT: f64 = 0.3;
/// On a device that is not calm a test may take so many times the pairs and the time.
const UNREST_PATIENCE: u32 = 2;
/// And if such a test ends without a clear answer, the other limit has to be better by so many standard errors of the unrest.
/// Otherwise steps that are taken by chance would add up, all of them down.
const UNREST_DOUBT: f64 = 0.5;
/// A gain that later steps build upon is reduced by so many standard errors. Among many steps the lucky ones are taken (the
/// winner's curse); a decision at 1.3 to 1.6 standard errors overestimates the gain by about 0.7.
const SHRINK: f64 = 0.7;

/// How a test of one kind is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// How long its segments are.
    pub(super) length: Length,
    /// So many standard errors below the threshold, a mean decides before the end: 1.3 is 10 %, 1.6 is 5 % one-sided.
    pub(super) clear: f64,
    /// The most pairs.
    pub(super) pairs_max: u32,
    /// The most time in nanoseconds, to which [`Self::segments_max`] of the longer segment are added.
    pub(super) time_max: u64,
    pub(super) segments_max: u64,
    /// At the end of a test without a clear answer, so many standard errors are added to the gain.
    pub(super) doubt: f64,
    /// A yes needs a standard error of at most this, also at the end.
    pub(super) yes_error_max: f64,
    /// A no needs a standard error of at most this, unless the time is up.
    pub(super) no_error_max: f64,
    /// So many standard errors above the threshold, a single pair says yes.
    pub(super) single: f64,
    /// So many standard errors above the threshold, the mean of several pairs says yes before the end.
    pub(super) clear_yes: f64,
}

/// The rules of one kind of test: on most devices, and on a slow one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) usual: Rule,
    pub(super) slow: Rule,
}

const SOON: u64 = 170 * MILLISECOND;
const LATER: u64 = 600 * MILLISECOND;

/// The most pairs and the most time of a test on a slow device: it takes so long to count enough completions.
const SLOWLY: u64 = 20_000 * MILLISECOND;
const PAIRS_SLOW: u32 = 24;

const CLIMB_USUAL: Rule = Rule {
    length: Length { completions: 24, turns: 1, time: 4 * MILLISECOND, time_if_few: 4 * MILLISECOND },
    clear: 1.3,
    clear_yes: 1.3,
    single: SINGLE_PAIR_Z,
    pairs_max: 8,
    time_max: SOON,
    segments_max: 4,
    doubt: 0.5,
    yes_error_max: f64::INFINITY,
    no_error_max: f64::INFINITY,
};
const FINE_LENGTH: Length = Length { completions: 40, turns: 1, time: 4 * MILLISECOND, time_if_few: 10 * MILLISECOND };
const FINE_USUAL: Rule = Rule { length: FINE_LENGTH, clear: 1.6, clear_yes: 1.6, doubt: 0.0, ..CLIMB_USUAL };
const UP_USUAL: Rule = Rule { pairs_max: 12, time_max: LATER, segments_max: 12, doubt: -0.5, ..FINE_USUAL };
const COARSE_USUAL: Rule = Rule {
    length: Length { completions: 32, turns: 1, time: 4 * MILLISECOND, time_if_few: 4 * MILLISECOND },
    clear: 1.6,
    clear_yes: 1.6,
    pairs_max: 6,
    ..CLIMB_USUAL
};
const DOWN_USUAL: Rule = Rule { yes_error_max: 0.022, ..UP_USUAL };

/// A segment of a climb on a slow device has two turns; in the first the queue fills.
const SLOW_LENGTH: Length = Length { completions: 40, turns: 2, time: 0, time_if_few: 0 };

/// For a climb: quick, and in doubt a yes, because a search undoes a step too far. On a slow device a yes is quicker still, for a
/// wrong no costs throughput until the next test.
pub(super) const CLIMB: Rules = Rules {
    usual: CLIMB_USUAL,
    slow: Rule { length: SLOW_LENGTH, clear_yes: 0.5, single: 0.5, no_error_max: 0.06, ..CLIMB_USUAL.slowly() },
};
/// For a step down while no limit is known to be too small: in doubt a yes, because finer steps correct it.
pub(super) const COARSE: Rules =
    Rules { usual: COARSE_USUAL, slow: Rule { yes_error_max: 0.03, ..COARSE_USUAL.slowly() } };
/// For a bisection.
pub(super) const FINE: Rules = Rules { usual: FINE_USUAL, slow: Rule { yes_error_max: 0.03, ..FINE_USUAL.slowly() } };
/// For a larger limit than the one that holds: it has time, and in doubt the limit stays.
pub(super) const UP: Rules = Rules { usual: UP_USUAL, slow: Rule { clear_yes: 1.0, ..UP_USUAL.slowly() } };
/// For a smaller limit: a wrong yes costs throughput until the next test, so a yes needs an error below the tolerance of 2.7 %.
pub(super) const DOWN: Rules = Rules { usual: DOWN_USUAL, slow: DOWN_USUAL.slowly() };

impl Rule {
    const fn slowly(self) -> Self {
        Self { pairs_max: PAIRS_SLOW, time_max: SLOWLY, ..self }
    }
}

/// A test under way: whether limit `b` has at least e^`threshold` times the throughput of limit `a`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paired {
    pub(super) a: u32,
    pub(super) b: u32,
    rule: Rule,
    threshold: f64,
    began: u64,
    measured_a: Option<Measured>,
    measured_b: Option<Measured>,
    pairs: u32,
    sum: f64,
    squares: f64,
    redone: u32,
    /// The variance of a pair beyond what the counts explain, as earlier tests found; 0 if the device is calm.
    unrest: f64,
}

/// How much the throughput of a device varies from segment to segment, beyond what the counts explain. It is next to nothing on
/// a disk of one's own, and a third on a disk whose host is shared with others. Every test adds to it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unrest(f64);

impl Unrest {
    pub(super) fn learn(&mut self, verdict: &Verdict) {
        if let Some(seen) = verdict.unrest {
            self.0 += UNREST_WEIGHT * (seen.max(0.0) - self.0);
        }
    }

    /// The variance of a pair if the device is not calm, else 0.
    fn beyond_calm(self) -> f64 {
        if self.0 > CALM { self.0 } else { 0.0 }
    }
}

/// What the pairs so far say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    /// Whether `b` reaches the threshold; `None` while that is not known.
    pub(super) answer: Option<bool>,
    /// The mean of ln(throughput at b / throughput at a).
    pub(super) gain: f64,
    /// Its standard error.
    pub(super) error: f64,
    pub(super) threshold: f64,
    /// The variance of the pairs beyond what the counts explain, if there were enough pairs.
    pub(super) unrest: Option<f64>,
    /// The latest segment of each side.
    pub(super) at_a: Measured,
    pub(super) at_b: Measured,
}

impl Verdict {
    /// The gain, reduced for the luck in it.
    pub(super) fn cautious_gain(&self) -> f64 {
        self.gain.signum() * (self.gain.abs() - SHRINK * self.error).max(0.0)
    }
}

/// What comes after a segment of a test.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// Another segment, at this limit.
    Measure(u32),
    /// A pair is complete. If there is no answer yet, the next pair begins with the limit just measured.
    Compared(Verdict),
}

impl Paired {
    /// Begins a test. `known` is a measurement at limit `a` that was just made.
    pub(super) fn new(
        (a, b): (u32, u32),
        threshold: f64,
        rule: Rule,
        known: Option<Measured>,
        unrest: Unrest,
        now: u64,
    ) -> Self {
        Self {
            a,
            b,
            rule,
            threshold,
            began: now,
            measured_a: known,
            measured_b: None,
            pairs: 0,
            sum: 0.0,
            squares: 0.0,
            redone: 0,
            unrest: unrest.beyond_calm(),
        }
    }

    /// The limit of its first segment.
    pub(super) const fn first(&self) -> u32 {
        if self.measured_a.is_some() { self.b } else { self.a }
    }

    pub(super) const fn length(&self) -> Length {
        self.rule.length
    }

    /// Takes a segment that was measured at a limit. `stalled` tells whether the device stalled in it.
    pub(super) fn take(&mut self, limit: u32, measured: Measured, stalled: bool, now: u64) -> Next {
        if stalled && self.redone < REDONE_MAX {
            self.redone += 1;
            return Next::Measure(limit);
        }
        if limit == self.b {
            self.measured_b = Some(measured);
        } else {
            self.measured_a = Some(measured);
        }
        match (self.measured_a, self.measured_b) {
            (Some(at_a), Some(at_b)) => {
                (self.measured_a, self.measured_b) = (None, None);
                Next::Compared(self.compare(at_a, at_b, now))
            }
            _ => Next::Measure(if limit == self.a { self.b } else { self.a }),
        }
    }

    fn compare(&mut self, at_a: Measured, at_b: Measured, now: u64) -> Verdict {
        let ratio = (at_b.throughput / at_a.throughput).ln().clamp(-RATIO_MAX, RATIO_MAX);
        self.pairs += 1;
        self.sum += ratio;
        self.squares += ratio * ratio;
        let pairs = f64::from(self.pairs);
        let gain = self.sum / pairs;
        let by_counts = spread(&at_a, &at_b, PAIR_DRIFT);
        let expected = by_counts.hypot(self.unrest.sqrt());
        let variance = (self.squares / pairs - gain * gain).max(0.0) * pairs / (pairs - 1.0).max(1.0);
        let spread =
            if self.pairs >= PAIRS_FOR_SPREAD { variance.sqrt().max(SPREAD_LEAST * expected) } else { expected };
        let error = spread / pairs.sqrt();
        let longest = at_a.duration.max(at_b.duration);
        let time_max = self.rule.time_max.saturating_add(self.rule.segments_max * longest);
        let time_is_up = now.saturating_sub(self.began) > time_max.saturating_mul(u64::from(self.patience()));
        let answer = self.answer(gain, error, time_is_up);
        let unrest = (self.pairs >= PAIRS_FOR_SPREAD).then_some(variance - by_counts * by_counts);
        Verdict { answer, gain, error, threshold: self.threshold, unrest, at_a, at_b }
    }

    /// How many times the usual pairs and time it may take.
    const fn patience(&self) -> u32 {
        if self.unrest > 0.0 { UNREST_PATIENCE } else { 1 }
    }

    fn answer(&self, gain: f64, error: f64, time_is_up: bool) -> Option<bool> {
        let rule = &self.rule;
        let above = gain > self.threshold;
        let clearance = (gain - self.threshold).abs();
        let enough = if self.unrest > 0.0 {
            self.pairs >= PAIRS_FOR_SPREAD
        } else {
            let single = if above { rule.single } else { SINGLE_PAIR_Z };
            self.pairs >= 2 || clearance > single * error
        };
        let needed = if above { rule.clear_yes } else { rule.clear };
        let clear = enough && clearance > needed * error && (above || error <= rule.no_error_max);
        let doubtful = gain + rule.doubt * error - UNREST_DOUBT * (self.unrest / f64::from(self.pairs)).sqrt();
        let yes = if clear { above } else { doubtful > self.threshold };
        (clear || time_is_up || self.pairs >= rule.pairs_max * self.patience())
            .then_some(yes && error <= rule.yes_error_max)
    }
}

/// The standard deviation of ln(throughput ratio) of two segments, as far as the counts and drift explain it.
pub(super) fn spread(one: &Measured, other: &Measured, drift: f64) -> f64 {
    let counts = VARIANCE_PER_COMPLETION / one.samples as f64 + VARIANCE_PER_COMPLETION / other.samples as f64;
    (counts + drift * drift).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(throughput: f64) -> Measured {
        let duration = 5 * MILLISECOND;
        Measured { throughput, work: 1.0, samples: 400, saturation: 1.0, mean: 1e6, p99: 2e6, gap: 0, duration }
    }

    /// Runs a test in which limit 10 has throughput 1,000 and limit 20 has `b`, and the device has a factor that depends
    /// on the segment. Returns the answer and the segments that it took.
    fn outcome(rule: Rule, threshold: f64, b: f64, device: impl Fn(u32) -> f64) -> (bool, u32) {
        let mut test = Paired::new((10, 20), threshold, rule, None, Unrest::default(), 0);
        let mut limit = test.first();
        for segment in 1..100 {
            let throughput = if limit == 20 { b } else { 1_000.0 } * device(segment);
            match test.take(limit, measured(throughput), false, u64::from(segment) * 5 * MILLISECOND) {
                Next::Measure(other) => limit = other,
                Next::Compared(Verdict { answer: Some(answer), .. }) => return (answer, segment),
                Next::Compared(_) => {}
            }
        }
        panic!("no answer");
    }

    #[test]
    fn what_is_clear_is_answered_soon() {
        assert_eq!(outcome(FINE.usual, 0.04, 1_300.0, |_| 1.0), (true, 2));
        assert_eq!(outcome(FINE.usual, 0.04, 900.0, |_| 1.0), (false, 2));
    }

    #[test]
    fn what_is_not_clear_ends_and_the_rule_has_the_benefit_of_the_doubt() {
        let at_threshold = 1_000.0 * 0.04_f64.exp() * 1.0001;
        assert_eq!(outcome(CLIMB.usual, 0.04, at_threshold, |_| 1.0), (true, 16));
        assert_eq!(outcome(UP.usual, 0.04, at_threshold, |_| 1.0), (false, 24));
    }

    #[test]
    fn a_device_that_slows_down_steadily_does_not_look_like_a_loss() {
        let (answer, _) = outcome(FINE.usual, -0.03, 1_000.0, |segment| 0.98_f64.powi(segment as i32));
        assert!(answer);
    }

    #[test]
    fn on_a_slow_device_a_climb_says_yes_at_once_and_no_only_for_certain() {
        // 40 completions a segment: one pair is known within 11 %.
        let few = |throughput| Measured { samples: 40, ..measured(throughput) };
        let pairs = |b: f64| {
            let mut test = Paired::new((4, 16), 0.078, CLIMB.slow, None, Unrest::default(), 0);
            (1..100).find_map(|pair| {
                let _ = test.take(test.first(), few(1_000.0), false, 0);
                match test.take(16, few(b), false, 0) {
                    Next::Compared(Verdict { answer: Some(answer), error, .. }) => Some((answer, pair, error)),
                    _ => None,
                }
            })
        };
        assert!(matches!(pairs(1_300.0), Some((true, 1, _))));
        let no = pairs(900.0);
        assert!(matches!(no, Some((false, pair, error)) if pair > 2 && error <= 0.06), "{no:?}");
    }

    #[test]
    fn a_segment_with_a_stall_is_measured_again_but_not_for_ever() {
        let mut test = Paired::new((10, 20), 0.0, FINE.usual, None, Unrest::default(), 0);
        for _ in 0..REDONE_MAX {
            assert!(matches!(test.take(10, measured(1.0), true, 0), Next::Measure(10)));
        }
        assert!(matches!(test.take(10, measured(1.0), true, 0), Next::Measure(20)));
    }

    #[test]
    fn an_unquiet_device_gets_more_pairs_and_no_benefit_of_the_doubt() {
        let mut unrest = Unrest::default();
        for _ in 0..9 {
            let verdict = Verdict {
                answer: None,
                gain: 0.0,
                error: 0.1,
                threshold: 0.0,
                unrest: Some(0.04),
                at_a: measured(1.0),
                at_b: measured(1.0),
            };
            unrest.learn(&verdict);
        }
        // Every pair says now 30 % more and now 30 % less: nothing is known after as many pairs as there may be.
        let mut test = Paired::new((10, 20), 0.0, FINE.usual, None, unrest, 0);
        let (mut limit, mut segments, mut swing) = (test.first(), 0, 0.7);
        let answer = loop {
            segments += 1;
            if limit == 20 {
                swing = 1.0 / swing;
            }
            let throughput = if limit == 20 { 1_000.0 * swing } else { 1_000.0 };
            match test.take(limit, measured(throughput), false, 0) {
                Next::Measure(other) => limit = other,
                Next::Compared(Verdict { answer: Some(answer), .. }) => break answer,
                Next::Compared(_) => {}
            }
        };
        assert!(!answer);
        assert!(segments > 2 * FINE.usual.pairs_max, "{segments}");
    }
}
