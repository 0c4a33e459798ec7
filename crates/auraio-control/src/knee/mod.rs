//! The knee: the smallest limit at which a device gives its full throughput.
//!
//! Beyond the knee operations only wait inside the device, where nobody can reorder or cancel them, and their latency grows
//! with the limit. Latency alone does not show where the knee is: one disk has it at 8 times the latency of a lone operation,
//! another at 1. So the law finds it by throughput, in these states:
//!
//! - `Base`: one operation is in flight, to learn the latency of a lone one.
//! - `Climb`: the limit doubles for as long as a paired test shows that throughput grows.
//! - `Search`: bisection finds the smallest limit whose throughput is within [`TOLERANCE`] of the plateau's.
//! - `Hold`: the limit stays. Windows of throughput notice abrupt changes; `Pulse`, `TestUp` and `TestDown` notice others.
//! - `Recover`: the guard has cut. The throughput is measured, and a search follows.
//!
//! The guard watches in every state and may cut in every state. All measurements are made in segments (`segment`), and
//! throughputs are compared in pairs (`paired`).
//!
//! A slow device, such as a hard disk, completes some hundred operations a second. There a bisection would take minutes. So
//! the climb takes larger steps, a test may take seconds until enough completions are counted, and the limit at which the
//! climb ends is held. Tests of the nearest limits do the rest.

mod ceiling;
mod climb;
mod expected;
mod hold;
mod paired;
mod pulse;
mod search;
mod segment;

use ceiling::Ceiling;
use climb::{Climb, DOUBLE, HALF_STEP, QUADRUPLE};
use expected::Expected;
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

/// The part of the throughput that may be given up for a smaller limit. Together with the errors of tests, 97 % of the plateau
/// is kept. In simulation, with 2.6 % the limit comes down from too deep too slowly, and with 3 % queues grow in an open
/// load at 91 % of the device's throughput.
const TOLERANCE: f64 = 0.027;
/// A p99 below this does no harm, so the limit is not lowered for it. Nanoseconds: 200 us.
const FLOOR: f64 = 200_000.0;
/// The limit grows at most until the p99 is expected to be this part of the guard.
const HEADROOM: f64 = 0.95;
/// At most this part of all operations, in flight and waiting, may be in flight. If all were, none would wait, and nothing
/// could be learnt.
const OFFERED: f64 = 0.95;
/// The weight of one completion in the mean number of operations in flight and waiting.
const DEMAND_WEIGHT: f64 = 0.02;

/// Lone operations at the beginning. Their latency varies little, so the mean of 8 is right within some 10 %.
const BASE_LENGTH: Length = Length { completions: 8, turns: 1, time: 0, time_if_few: 0 };
/// So many more on a slow device. Its guard follows from their mean, which is then right within 4 %.
const BASE_LENGTH_SLOW: Length = Length { completions: 56, turns: 1, time: 0, time_if_few: 0 };
/// A device is slow if a lone operation takes long and it completes fewer operations a second than this. A device that is only
/// far away completes more, as soon as many are in flight.
const SLOW_PER_SECOND: f64 = 1_000.0;
/// Where the climb begins: any device can do this many at once.
const CLIMB_START: u32 = 4;
/// The segment after a cut.
const RECOVER_LENGTH: Length =
    Length { completions: 40, turns: 1, time: 5 * MILLISECOND, time_if_few: 5 * MILLISECOND };
/// A segment after a cut may end after so many times its length, even if no operation waited.
const RECOVER_PATIENCE: u64 = 4;

/// A segment in which too few operations wait ends after this time, in nanoseconds, or after so many times the length of the
/// segment before it, whichever is longer.
const STARVED_TIME: u64 = 300 * MILLISECOND;
const STARVED_SEGMENTS: u64 = 6;

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
    /// The limit found so far. Tests and pulses put another one in force for a while, which is the segment's.
    found: u32,
    segment: Segment,
    /// The test under way, in the states that make one.
    test: Option<Paired>,
    /// The last segment that ended.
    latest: Measured,
    expected: Expected,
    ceiling: Ceiling,
    /// The mean number of operations in flight and waiting.
    demand: f64,
    /// Whether the limit was found by tests. False if it was set by a load that was too small for tests.
    tried: bool,
    /// The first step down of the next search.
    first_step: f64,
    /// Whether the device is slow: see [`SLOW_PER_SECOND`].
    slow: bool,
    watch: Watch,
    pulses: Pulses,
    unrest: Unrest,
}

impl Knee {
    /// Begins with the limit that another law had, or anew.
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
            test: None,
            latest: nothing,
            expected: Expected::nothing(),
            ceiling: Ceiling::none(),
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

    /// Goes on after a segment that is complete.
    fn segment_ended(&mut self, measured: Measured, shared: &mut Shared) {
        self.latest = measured;
        shared.sentry.set_usual_latency(measured.mean);
        let per_second = measured.throughput / measured.work;
        self.slow = shared.sentry.is_slow_device() && per_second < SLOW_PER_SECOND;
        self.ceiling.raise(self.now);
        match self.state {
            State::Base => self.based(measured, shared),
            State::Hold => self.held(measured, shared),
            State::Pulse => self.pulsed(measured, shared),
            State::Recover => self.recovered(measured, shared),
            State::Climb(_) | State::Search(_) | State::TestDown | State::TestUp => self.tested(measured, shared),
        }
    }

    /// Ends a segment in which too few operations waited: the load is too small for it.
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

    /// After what time a segment with too few completions ends.
    fn starved_after(&self) -> u64 {
        STARVED_TIME.max(self.latest.duration.saturating_mul(STARVED_SEGMENTS))
    }

    /// After what time the law looks whether the present segment has too few completions.
    fn patience(&self) -> u64 {
        match self.state {
            State::Base | State::Hold => u64::MAX,
            State::Recover => RECOVER_PATIENCE * RECOVER_LENGTH.time,
            _ => self.starved_after(),
        }
    }

    /// Holds, because the load is too small to learn from. A climb that was under way goes on when the load has grown.
    fn starved(&mut self, shared: &mut Shared) {
        let tried = self.tried && !matches!(self.state, State::Climb(_));
        let is_news = matches!(self.state, State::Climb(_) | State::Search(_) | State::Recover);
        self.hold(shared);
        self.tried = tried;
        if is_news {
            self.tell(Reason::Demand, self.found, shared);
        }
    }

    /// Goes on when the latency of a lone operation is known.
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

    /// Goes on when the throughput after a cut is known. On a slow device the limit climbs back to the ceiling; a search would
    /// give up more than the cut did.
    fn recovered(&mut self, measured: Measured, shared: &mut Shared) {
        self.expected.set(&measured);
        self.expected.level = 1.0;
        if self.slow {
            self.climb(Climb { factor: HALF_STEP, below: 0 }, Some(measured), shared);
            return;
        }
        self.search(0, self.found, None, shared);
    }

    /// Begins a test. `state` is what the law does while the test lasts.
    fn test(&mut self, state: State, limits: (u32, u32), threshold: f64, rules: Rules, known: Option<Measured>) {
        let rule = if self.slow { rules.slow } else { rules.usual };
        let test = Paired::new(limits, threshold, rule, known, self.unrest, self.now);
        self.state = state;
        self.test = Some(test);
        self.begin(test.first(), rule.length);
    }

    /// Goes on after a segment of a test.
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

    /// Begins the next pair of a test, with the limit that was just measured.
    fn next_pair(&mut self) {
        let length = self.segment.length();
        self.begin(self.limit(), length);
    }

    /// Puts a limit in force, and begins a segment.
    fn begin(&mut self, limit: u32, length: Length) {
        self.segment.begin(limit, length, self.now);
        self.segment.patience_ends = self.now.saturating_add(self.patience());
    }

    /// Cuts the limit, because the p99 is above the guard.
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
            self.ceiling = Ceiling::after_cut(in_use, self.found, self.now);
        }
        self.test = None;
        self.state = State::Recover;
        shared.journal.record(self.decision(Reason::Guard, Phase::Recover, from, &before));
        self.begin(self.found, RECOVER_LENGTH);
    }

    /// By what factor the limit may grow before the p99, which is `p99` here, comes near to the guard.
    fn headroom(&self, p99: f64, shared: &Shared) -> f64 {
        if p99 > 0.0 { HEADROOM * shared.sentry.guard() as f64 / p99 } else { f64::INFINITY }
    }

    /// The largest limit that the bounds and the ceiling allow now.
    fn most(&self, shared: &Shared) -> f64 {
        self.ceiling.limit().min(f64::from(shared.bounds.max))
    }

    /// The largest limit that the load can fill.
    fn offered(&self) -> f64 {
        OFFERED * self.demand
    }

    /// The gain that a smaller limit must reach: the tolerance, without the part that the limit found lacks already.
    fn tolerated(&self) -> f64 {
        ((1.0 - TOLERANCE) / self.expected.level).ln()
    }

    /// A decision with the numbers of a segment.
    fn decision(&self, reason: Reason, phase: Phase, from: u32, measured: &Measured) -> Decision {
        Decision {
            throughput: measured.throughput,
            p99: measured.p99 as u64,
            mean: measured.mean as u64,
            samples: measured.samples,
            ..Decision::new(reason, phase, from, self.found)
        }
    }

    /// Records a decision that leads to the present state.
    fn tell(&self, reason: Reason, from: u32, shared: &mut Shared) {
        self.tell_phase(reason, self.phase(), from, shared);
    }

    fn tell_phase(&self, reason: Reason, phase: Phase, from: u32, shared: &mut Shared) {
        shared.journal.record(self.decision(reason, phase, from, &self.latest));
    }

    /// Records a decision that a test led to.
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
        self.ceiling = Ceiling::none();
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
        } else if self.now > self.segment.patience_ends {
            self.give_up_waiting(shared);
        }
    }
}

/// Turns an `f64` into a limit: at least 0, at most `u32::MAX`.
fn as_limit(limit: f64) -> u32 {
    limit as u32
}
