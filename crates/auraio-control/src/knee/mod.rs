//! The knee: the smallest limit at which a device gives its full throughput.
//!
//! Beyond it operations only wait inside the device, where nobody can reorder or cancel them and their latency grows with
//! the limit. Latency alone does not show it (one disk's knee is at 8 times its latency when idle, another's at once), so
//! it is found by throughput:
//!
//! - `Base`: one in flight, for the latency of a lone operation.
//! - `Climb`: the limit doubles for as long as a paired test shows a gain.
//! - `Search`: bisection for the smallest limit within [`TOLERANCE`] of the plateau.
//! - `Hold`: the limit stays. Windows of throughput notice what changes abruptly; `Pulse`, `TestUp` and `TestDown` the rest.
//! - `Recover`: the guard has cut; a search follows from there.
//!
//! The guard watches all the while, and cuts from any of them. Everything is measured in segments (`segment`), and whatever
//! is compared is compared in pairs (`paired`).

mod climb;
mod hold;
mod paired;
mod pulse;
mod search;
mod segment;

use climb::{Climb, DOUBLE, HALF_STEP, QUADRUPLE};
use hold::Watch;
use paired::{Next, Paired, Rules, Unrest, Verdict};
use pulse::Pulses;
use search::{HALVE, Search};
use segment::{Length, Measured, Segment};

use crate::{
    Phase,
    decision::{Decision, Reason},
    law::{Event, Law, Shared},
};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// How much throughput may be given up for a smaller limit: 2.7 %, of which tests can tell half, so that 97 % of the plateau
/// is kept. In simulation 2.6 % takes longer to come down from too deep; 3 % lets queues grow at 91 % of an open load.
const TOLERANCE: f64 = 0.027;
/// A p99 below this (in nanoseconds: 200 us) does no harm, so depth is not given up for less.
const FLOOR: f64 = 200_000.0;
/// Growth stops where the p99 would be this near to the guard.
const HEADROOM: f64 = 0.95;
/// Of the operations on offer this part may be in flight: if all were, none would wait, and nothing could be learnt.
const OFFERED: f64 = 0.95;
/// Completions that the mean of what is on offer remembers: 1 / 50.
const DEMAND_WEIGHT: f64 = 0.02;

/// Lone operations at the beginning: their mean is right within a few per cent, as they vary little.
const BASE_LENGTH: Length = Length { completions: 8, turns: 1, time: 0, time_if_few: 0 };
/// More of them on a slow device, whose guard follows from their mean: it is right within 4 %.
const BASE_LENGTH_SLOW: Length = Length { completions: 56, turns: 1, time: 0, time_if_few: 0 };
/// A device that completes fewer operations a second than this, each of them slowly, is called slow. One that is slow only
/// because it is far away completes many at once, as soon as it is asked for many.
const SLOW_PER_SECOND: f64 = 1_000.0;
/// Where the climb begins: any device can do this many at once.
const CLIMB_START: u32 = 4;
/// After a cut.
const RECOVER_LENGTH: Length =
    Length { completions: 40, turns: 1, time: 5 * MILLISECOND, time_if_few: 5 * MILLISECOND };
/// After this many of its lengths a segment after a cut may end, even if nothing waited.
const RECOVER_PATIENCE: u64 = 4;

/// After a cut the limit may grow to this part of what was too much...
const CEILING: f64 = 0.92;
/// ...and so much more with each second: 10 s until twice that is tried.
const CEILING_GROWTH: f64 = 1.08;

/// A segment that lacks completions ends after this time, in nanoseconds, and this many times the last segment's.
const STARVED_TIME: u64 = 300 * MILLISECOND;
const STARVED_SEGMENTS: u64 = 6;

/// What is expected stays a number whatever was measured.
const EXPECTED_LEAST: f64 = 1e-9;
const EXPECTED_MOST: f64 = 1e18;

/// What the law is doing.
#[derive(Clone, Copy, Debug)]
enum State {
    Base,
    Climb(Climb),
    Search(Search),
    Hold,
    TestDown,
    TestUp,
    Pulse,
    Recover,
}

/// The law's state.
#[derive(Clone, Debug)]
pub(crate) struct Knee {
    state: State,
    now: u64,
    /// The limit found so far. Tests and pulses put another one in force for a while: the segment's.
    found: u32,
    segment: Segment,
    /// From when on it is looked whether the segment lacks completions.
    patience_ends: u64,
    /// The test under way, in the states that make one.
    test: Option<Paired>,
    /// The last segment that ended.
    latest: Measured,
    /// Throughput at the limit found as a part of the plateau's, as far as is known: (0, 1].
    level: f64,
    /// Throughput that holding expects; 0 while nothing is known.
    expected: f64,
    /// Work of an operation that goes with it.
    expected_work: f64,
    /// The limit that the last cut allows, for the time being.
    ceiling: f64,
    ceiling_raised: u64,
    /// Mean of operations in flight and waiting.
    demand: f64,
    /// Whether the limit was found by trying, and not by a load too small to try.
    tried: bool,
    /// The first step down of the next search.
    first_step: f64,
    /// Whether the device is slow: see [`SLOW_PER_SECOND`]. Its tests need patience, and each has to tell much.
    slow: bool,
    watch: Watch,
    pulses: Pulses,
    unrest: Unrest,
}

impl Knee {
    /// Begins with a limit that another law had, or anew.
    pub(crate) fn new(limit: Option<u32>, now: u64, shared: &Shared) -> Self {
        let found = shared.bounds.clamp(limit.unwrap_or(1));
        let nothing = Measured {
            throughput: 1.0,
            work: 1.0,
            samples: 1,
            saturation: 0.0,
            mean: 0.0,
            p99: 0.0,
            gap: 0,
            duration: 0,
        };
        let mut knee = Self {
            state: State::Base,
            now,
            found,
            segment: Segment::new(found, BASE_LENGTH, now),
            patience_ends: u64::MAX,
            test: None,
            latest: nothing,
            level: 1.0,
            expected: 0.0,
            expected_work: 1.0,
            ceiling: f64::INFINITY,
            ceiling_raised: now,
            demand: 0.0,
            tried: true,
            first_step: HALVE,
            slow: false,
            watch: Watch::new(),
            pulses: Pulses::new(),
            unrest: Unrest::default(),
        };
        if limit.is_some() {
            knee.bounds_or_guard_changed(now, shared);
        }
        knee
    }

    /// A segment has all that it was to have.
    fn segment_ended(&mut self, measured: Measured, shared: &mut Shared) {
        self.latest = measured;
        shared.sentry.set_usual_latency(measured.mean);
        let per_second = measured.throughput / measured.work;
        self.slow = shared.sentry.is_slow_device() && per_second < SLOW_PER_SECOND;
        self.raise_ceiling();
        match self.state {
            State::Base => self.based(measured, shared),
            State::Hold => self.held(measured, shared),
            State::Pulse => self.pulsed(measured, shared),
            State::Recover => self.recovered(measured, shared),
            State::Climb(_) | State::Search(_) | State::TestDown | State::TestUp => self.tested(measured, shared),
        }
    }

    /// A segment that lacks completions while others wait shows that the load is small, and ends.
    #[cold]
    fn give_up_waiting(&mut self, shared: &mut Shared) {
        let is_old = self.segment.age(self.now) > self.starved_after();
        let is_over = match self.state {
            State::Base | State::Hold => false,
            State::Recover if self.segment.is_unwaited() => true,
            _ => is_old && self.segment.is_starved(),
        };
        if is_over {
            self.starved(shared);
        }
    }

    /// How long completions may be lacking.
    fn starved_after(&self) -> u64 {
        STARVED_TIME.max(self.latest.duration.saturating_mul(STARVED_SEGMENTS))
    }

    /// How long the present segment runs before anything of that kind is looked at.
    fn patience(&self) -> u64 {
        match self.state {
            State::Base | State::Hold => u64::MAX,
            State::Recover => RECOVER_PATIENCE * RECOVER_LENGTH.time,
            _ => self.starved_after(),
        }
    }

    /// The load is too small to learn from: stays. A limit that a climb had not yet tried out is tried later.
    fn starved(&mut self, shared: &mut Shared) {
        let tried = self.tried && !matches!(self.state, State::Climb(_));
        let is_news = matches!(self.state, State::Climb(_) | State::Search(_) | State::Recover);
        self.hold(shared);
        self.tried = tried;
        if is_news {
            self.tell(Reason::Demand, self.found, shared);
        }
    }

    /// The latency of a lone operation is known.
    fn based(&mut self, base: Measured, shared: &mut Shared) {
        let from = self.found;
        if shared.sentry.base_is_late() {
            let is_news = shared.sentry.give_up();
            self.hold(shared);
            if is_news {
                self.tell(Reason::Infeasible, from, shared);
            }
            return;
        }
        if self.slow && base.samples < BASE_LENGTH_SLOW.completions {
            self.begin(from, BASE_LENGTH_SLOW);
            return;
        }
        let known = (from >= CLIMB_START || shared.bounds.max < CLIMB_START).then_some(base);
        if known.is_none() {
            self.found = CLIMB_START;
        }
        shared.journal.record(self.decision(Reason::Started, Phase::Climb, from, &base));
        let factor = if self.slow { QUADRUPLE } else { DOUBLE };
        self.climb(Climb { factor, below: 0 }, known, shared);
    }

    /// Throughput after a cut is known: the search goes on from there.
    fn recovered(&mut self, measured: Measured, shared: &mut Shared) {
        self.expect(&measured);
        self.level = 1.0;
        if self.slow {
            self.climb(Climb { factor: HALF_STEP, below: 0 }, Some(measured), shared);
            return;
        }
        self.search(0, self.found, None, shared);
    }

    /// Begins a test, whose outcome is for `state`.
    fn test(&mut self, state: State, limits: (u32, u32), threshold: f64, rules: Rules, known: Option<Measured>) {
        let rule = if self.slow { rules.slow } else { rules.usual };
        let test = Paired::new(limits, threshold, rule, known, self.unrest, self.now);
        self.state = state;
        self.test = Some(test);
        self.begin(test.first(), rule.length);
    }

    /// A segment of a test is over.
    fn tested(&mut self, measured: Measured, shared: &mut Shared) {
        let limit = self.limit();
        let stalled = shared.sentry.is_stall(measured.gap);
        let Some(test) = &mut self.test else { return self.hold(shared) };
        let other = test.b;
        match test.take(limit, measured, stalled, self.now) {
            Next::Measure(limit) => {
                let length = test.length();
                self.begin(limit, length);
            }
            Next::Compared(verdict) => {
                if verdict.answer.is_some() {
                    self.unrest.learn(&verdict);
                }
                match self.state {
                    State::Climb(climb) => self.climb_compared(climb, other, verdict, shared),
                    State::Search(search) => self.search_compared(search, other, verdict, shared),
                    State::TestUp => self.up_compared(other, verdict, shared),
                    _ => self.down_compared(other, verdict, shared),
                }
            }
        }
    }

    /// The next pair of a test: it begins with the side just measured.
    fn next_pair(&mut self) {
        let length = self.segment.length();
        self.begin(self.limit(), length);
    }

    /// Puts a limit in force, and measures.
    fn begin(&mut self, limit: u32, length: Length) {
        self.segment.begin(limit, length, self.now);
        self.patience_ends = self.now.saturating_add(self.patience());
    }

    /// The guard says that the p99 is too high.
    fn late(&mut self, event: &Event, shared: &mut Shared) {
        let from = self.found;
        if from <= shared.bounds.min {
            if self.limit() > from {
                shared.sentry.forget_late();
            } else if shared.sentry.give_up() {
                self.tell(Reason::Infeasible, from, shared);
            }
            return;
        }
        let before = self.segment.measured(self.now);
        let stalled = shared.sentry.is_stall(shared.sentry.gap().max(self.segment.gap()));
        let in_use = self.limit().min(event.in_flight);
        self.found = shared.sentry.cut(self.now, in_use).min(from).max(shared.bounds.min);
        if !stalled {
            self.ceiling = (CEILING * f64::from(in_use)).max(f64::from(self.found) + 1.0);
            self.ceiling_raised = self.now;
        }
        self.test = None;
        self.state = State::Recover;
        shared.journal.record(self.decision(Reason::Guard, Phase::Recover, from, &before));
        self.begin(self.found, RECOVER_LENGTH);
    }

    /// What a cut taught is forgotten little by little.
    fn raise_ceiling(&mut self) {
        if self.now.saturating_sub(self.ceiling_raised) > SECOND {
            self.ceiling *= CEILING_GROWTH;
            self.ceiling_raised = self.now;
        }
    }

    /// How many times the limit the guard leaves room for, at a p99 here.
    fn headroom(&self, p99: f64, shared: &Shared) -> f64 {
        if p99 > 0.0 { HEADROOM * shared.sentry.guard() as f64 / p99 } else { f64::INFINITY }
    }

    /// The most that may be in flight for now.
    fn most(&self, shared: &Shared) -> f64 {
        self.ceiling.min(f64::from(shared.bounds.max))
    }

    /// The most that the load can fill.
    fn offered(&self) -> f64 {
        OFFERED * self.demand
    }

    /// The gain that a smaller limit must reach: the tolerance, less what the limit found already lacks.
    fn tolerated(&self) -> f64 {
        ((1.0 - TOLERANCE) / self.level).ln()
    }

    /// What was measured is what is to be expected.
    fn expect(&mut self, measured: &Measured) {
        self.expected = measured.throughput;
        self.expected_work = measured.work;
    }

    /// Throughput is expected to be e^gain times what it was.
    fn expect_times(&mut self, gain: f64) {
        if self.expected > 0.0 {
            self.expected = (self.expected * gain.exp()).clamp(EXPECTED_LEAST, EXPECTED_MOST);
        }
    }

    /// A decision with a segment's numbers.
    fn decision(&self, reason: Reason, phase: Phase, from: u32, measured: &Measured) -> Decision {
        Decision {
            throughput: measured.throughput,
            p99: measured.p99 as u64,
            mean: measured.mean as u64,
            samples: measured.samples,
            ..Decision::new(reason, phase, from, self.found)
        }
    }

    /// Tells of a decision that leads to the present state.
    fn tell(&self, reason: Reason, from: u32, shared: &mut Shared) {
        self.tell_phase(reason, self.phase(), from, shared);
    }

    fn tell_phase(&self, reason: Reason, phase: Phase, from: u32, shared: &mut Shared) {
        shared.journal.record(self.decision(reason, phase, from, &self.latest));
    }

    /// Tells of a decision that a test led to.
    fn tell_verdict(&self, reason: Reason, phase: Phase, from: u32, verdict: &Verdict, shared: &mut Shared) {
        let decision = self.decision(reason, phase, from, &verdict.at_b);
        let (gain, threshold, error) = (verdict.gain, verdict.threshold, verdict.error);
        shared.journal.record(Decision { gain, threshold, error, ..decision });
    }
}

impl Law for Knee {
    fn limit(&self) -> u32 {
        self.segment.limit()
    }

    fn phase(&self) -> Phase {
        match self.state {
            State::Base => Phase::Base,
            State::Climb(_) => Phase::Climb,
            State::Search(_) => Phase::Search,
            State::Hold => Phase::Hold,
            State::TestDown => Phase::TestDown,
            State::TestUp => Phase::TestUp,
            State::Pulse => Phase::Pulse,
            State::Recover => Phase::Recover,
        }
    }

    /// Other bounds or another guard: stays as near as it may, and climbs from there as soon as the load allows.
    fn bounds_or_guard_changed(&mut self, now: u64, shared: &Shared) {
        self.now = self.now.max(now);
        self.ceiling = f64::INFINITY;
        self.test = None;
        self.hold(shared);
        self.tried = false;
    }

    #[inline]
    fn on_completion(&mut self, event: &Event, shared: &mut Shared) {
        self.now = event.now;
        let offered = f64::from(event.in_flight) + f64::from(event.waiting);
        self.demand += DEMAND_WEIGHT * (offered - self.demand);
        if shared.sentry.watch(event, self.limit()) {
            self.late(event, shared);
        }
        self.segment.take(event);
        if self.segment.is_complete() {
            let measured = self.segment.measured(self.now);
            self.segment_ended(measured, shared);
        } else if self.now > self.patience_ends {
            self.give_up_waiting(shared);
        }
    }
}

/// Where an `f64` becomes a limit: at least 0, at most `u32::MAX`.
fn as_limit(limit: f64) -> u32 {
    limit as u32
}
