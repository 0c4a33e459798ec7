//! Additive increase, multiplicative decrease, with the guard: the classic law (Chiu and Jain 1989; TCP's).
//!
//! One more in flight after every window in which the limit was in use and the p99 below the guard; a cut as soon as the
//! guard says so, or at the end of a window whose p99 is above it. It knows nothing of throughput, so on a device that stays below the guard at any depth it ends at the largest
//! limit allowed, with all the waiting moved into the device.

use crate::{
    Phase,
    decision::{Decision, Reason},
    law::{Event, Law, Shared},
    quantile::Histogram,
};

/// Where it begins: as much as keeps any device busy a little, so that the first steps are not the slowest.
const START: u32 = 8;
/// The least time between two steps, in nanoseconds. 10 ms: a hundred steps a second, 2.5 s up to 256.
const WINDOW: u64 = 10_000_000;
/// Completions that give a p99: with fewer, the largest decides.
const WINDOW_SAMPLES: u64 = 100;
/// A window is closed after this long even with fewer (in nanoseconds); below [`FEW_SAMPLES`] it moves nothing.
const WINDOW_MAX: u64 = 1_000_000_000;
const FEW_SAMPLES: u64 = 20;

/// The law's state: the limit, and the window under way.
#[derive(Clone, Debug)]
pub(crate) struct Aimd {
    limit: u32,
    began: u64,
    /// Completions in the window while others waited behind the limit.
    waited_for: u64,
    latency_sum: u64,
    /// Latencies as far as the limit can be blamed for them.
    latencies: Histogram,
    after_cut: bool,
}

impl Aimd {
    pub(crate) fn new(limit: Option<u32>, now: u64, shared: &Shared) -> Self {
        Self {
            limit: shared.bounds.clamp(limit.unwrap_or(START)),
            began: now,
            waited_for: 0,
            latency_sum: 0,
            latencies: Histogram::new(),
            after_cut: false,
        }
    }

    /// One more or a cut, if the window gives reason.
    fn end_window(&mut self, samples: u64, event: &Event, shared: &mut Shared) {
        let mean = self.latency_sum as f64 / samples.max(1) as f64;
        if samples >= FEW_SAMPLES {
            shared.sentry.set_usual_latency(mean);
            let p99 = self.latencies.quantile(0.99);
            if self.limit == shared.bounds.min {
                shared.sentry.reconsider(p99);
            }
            let late = p99 > shared.sentry.guard() as f64;
            if late && samples >= WINDOW_SAMPLES {
                self.cut(event, shared);
                return;
            }
            let in_use = self.waited_for * 2 > samples;
            if in_use && !late && self.limit < shared.bounds.max {
                let mut decision = Decision::new(Reason::Step, Phase::Increase, self.limit, self.limit + 1);
                (decision.p99, decision.mean, decision.samples) = (p99 as u64, mean as u64, samples);
                shared.journal.record(decision);
                self.limit += 1;
                self.after_cut = false;
            }
        }
        self.begin(event.now);
    }

    fn cut(&mut self, event: &Event, shared: &mut Shared) {
        let from = self.limit;
        if from <= shared.bounds.min {
            if shared.sentry.give_up() {
                shared.journal.record(Decision::new(Reason::Infeasible, self.phase(), from, from));
            }
            self.begin(event.now);
            return;
        }
        let in_use = from.min(event.in_flight);
        self.limit = shared.sentry.cut(event.now, in_use).clamp(shared.bounds.min, from);
        self.after_cut = true;
        let mut decision = Decision::new(Reason::Guard, Phase::Recover, from, self.limit);
        (decision.p99, decision.samples) = (self.latencies.quantile(0.99) as u64, self.latencies.count());
        shared.journal.record(decision);
        self.begin(event.now);
    }

    fn begin(&mut self, now: u64) {
        self.began = now;
        self.waited_for = 0;
        self.latency_sum = 0;
        self.latencies.clear();
    }
}

impl Law for Aimd {
    fn limit(&self) -> u32 {
        self.limit
    }

    fn phase(&self) -> Phase {
        if self.after_cut { Phase::Recover } else { Phase::Increase }
    }

    fn bounds_or_guard_changed(&mut self, now: u64, shared: &Shared) {
        self.limit = shared.bounds.clamp(self.limit);
        self.begin(now);
    }

    fn on_completion(&mut self, event: &Event, shared: &mut Shared) {
        if shared.sentry.watch(event, self.limit) {
            self.cut(event, shared);
            return;
        }
        if shared.sentry.is_of_before(event) {
            return;
        }
        self.latencies.record(shared.sentry.blamable(event));
        self.latency_sum = self.latency_sum.saturating_add(event.latency);
        self.waited_for += u64::from(event.waiting > 0);
        let elapsed = event.now.saturating_sub(self.began);
        let samples = self.latencies.count();
        if (elapsed >= WINDOW && samples >= WINDOW_SAMPLES) || elapsed >= WINDOW_MAX {
            self.end_window(samples, event, shared);
        }
    }
}
