//! Additive increase, multiplicative decrease, with the guard: the classic law (Chiu and Jain 1989; TCP's).
//!
//! The limit grows by one after every window in which it was in use and the p99 was below the guard. It is cut as soon as the
//! guard says so, or at the end of a window whose p99 is above the guard. The law knows nothing of throughput. So on a device
//! that stays below the guard at any depth the limit ends at the largest allowed, and all waiting happens in the device.

use crate::{
    Phase,
    decision::{Decision, Reason},
    law::{Event, Law, Shared},
    quantile::Histogram,
};

/// The first limit. It keeps any device a little busy; from 1 the first steps would be the slowest.
const START: u32 = 8;
/// The least time between two steps, in nanoseconds. With 10 ms it takes 2.5 s to a limit of 256.
const WINDOW: u64 = 10_000_000;
/// A window has so many completions, unless it lasts too long: with fewer, the p99 is their largest latency.
const WINDOW_SAMPLES: u64 = 100;
/// A window ends after this time, in nanoseconds, even if it has fewer. With fewer than [`FEW_SAMPLES`] it moves nothing.
const WINDOW_MAX: u64 = 1_000_000_000;
const FEW_SAMPLES: u64 = 20;

/// The law's state: the limit, and the window under way.
#[derive(Clone, Debug)]
pub(crate) struct Aimd {
    limit: u32,
    began: u64,
    /// Completions in the window at which other operations waited behind the limit.
    waited_for: u64,
    latency_sum: u64,
    /// Latencies, without the time that the limit cannot be blamed for.
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

    /// Ends a window: the limit grows by one or is cut, if the window gives reason to.
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
