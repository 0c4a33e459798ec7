//! What JavaScript asks of the loops that govern depth, and sees of them.

use std::time::Duration;

use auraio::{
    Engine, Error, HistogramKind, LaneDecision, LaneId, LaneStats,
    control::{Bounds, Guard, Policy, Priority, Settings},
    hdrhistogram::{
        Histogram,
        serialization::{Serializer, V2DeflateSerializer},
    },
};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

use crate::{
    port::NativePort,
    submit::{EBADF, EINVAL},
};

/// One class of a lane's operations.
#[napi(object)]
pub struct NativeClassStats {
    /// Operations that the device has completed.
    pub completed: f64,
    /// Operations that wait behind the limit.
    pub waiting: u32,
    /// Latency with the wait, in microseconds.
    pub total_p99_us: f64,
}

/// One lane, as `auraio::LaneStats`.
#[napi(object)]
pub struct NativeLaneStats {
    /// Its number.
    pub id: u32,
    /// The disk or the file system.
    pub device: String,
    /// `'direct'` or `'buffered'`.
    pub mode: String,
    /// The policy's name.
    pub policy: String,
    /// What the outer loop does.
    pub phase: String,
    /// Operations that may be in flight.
    pub in_flight_limit: u32,
    /// Operations in flight.
    pub in_flight: u32,
    /// Operations that wait behind the limit.
    pub queued: u32,
    /// Entries that are gathered for one system call.
    pub submit_batch: u32,
    /// Entries that one has handed over lately.
    pub sqe_per_enter: f64,
    /// The guard in force.
    pub guard_p99_ms: f64,
    /// It is below what the device can do.
    pub guard_infeasible: bool,
    /// How often it has cut.
    pub guard_cuts: f64,
    /// Operations that the device has completed.
    pub completed: f64,
    /// Bytes that those have moved.
    pub bytes: f64,
    /// Reads that the page cache has served.
    pub cache_hits: f64,
    /// Of completion latency.
    pub completion_p50_us: f64,
    /// Of completion latency.
    pub completion_p99_us: f64,
    /// Of completion latency.
    pub completion_p999_us: f64,
    /// Of latency with the wait.
    pub total_p99_us: f64,
    /// High, normal, low.
    pub by_class: Vec<NativeClassStats>,
}

/// The latencies of a lane.
#[napi(object)]
pub struct NativeHistogram {
    /// Operations.
    pub count: f64,
    /// The shortest.
    pub min_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Their mean.
    pub mean_us: f64,
    /// Their standard deviation.
    pub std_dev_us: f64,
    /// Pairs of a percentile and its latency.
    pub percentiles: Vec<Vec<f64>>,
    /// HdrHistogram's compressed form, of nanoseconds.
    pub encoded: Uint8Array,
}

/// One decision of a loop, as `auraio::control::Decision`.
#[napi(object)]
pub struct NativeDecision {
    /// Decisions of the process are numbered.
    pub number: f64,
    /// Whose loop.
    pub lane: u32,
    /// When, in milliseconds of the monotonic clock.
    pub at: f64,
    /// What the loop does from then on.
    pub phase: String,
    /// Why.
    pub reason: String,
    /// The limit before.
    pub from: u32,
    /// The limit that it found.
    pub to: u32,
    /// Work per second.
    pub throughput: f64,
    /// Of completion latency.
    pub p99_us: f64,
    /// Of completion latency.
    pub mean_us: f64,
    /// Of the throughput, as a logarithm.
    pub gain: f64,
    /// What it was held against.
    pub threshold: f64,
    /// Its standard error.
    pub error: f64,
    /// Completions that it rests on.
    pub samples: f64,
}

/// The percentiles that a histogram is told by.
const PERCENTILES: [f64; 11] = [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0];

/// What an engine is asked for, in the numbers of TypeScript's `ControlOptions`. Bounds of 0 are the engine's own.
pub(crate) struct Asked<'a> {
    pub(crate) policy: &'a str,
    pub(crate) fixed: u32,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) guard_p99_ms: f64,
}

impl Asked<'_> {
    fn policy(&self) -> Result<Policy, Error> {
        Policy::from_name(self.policy, self.fixed).ok_or(Error::InvalidInput("there is no policy of this name"))
    }

    fn guard(&self) -> Guard {
        guard_of(self.guard_p99_ms).map_or(Guard::Auto, Guard::At)
    }

    /// What was not asked for is `usual`, but gives way to what was.
    fn bounds(&self, usual: Bounds) -> Bounds {
        match (self.min, self.max) {
            (0, 0) => usual,
            (0, max) => Bounds { min: usual.min.min(max), max },
            (min, 0) => Bounds { min, max: usual.max.max(min) },
            (min, max) => Bounds { min, max },
        }
    }

    /// For an engine that shares everything else with another one.
    pub(crate) fn settings(&self, base: &Engine) -> Result<Settings, Error> {
        Ok(Settings { policy: self.policy()?, guard: self.guard(), bounds: self.bounds(base.control().bounds) })
    }
}

/// The class with a number.
pub(crate) fn class_of(number: u32) -> Option<Priority> {
    Priority::ALL.get(number as usize).copied()
}

/// A guard in milliseconds; 0 is none. What is shorter than a nanosecond is one.
fn guard_of(milliseconds: f64) -> Option<Duration> {
    (milliseconds > 0.0).then(|| Duration::from_nanos((milliseconds * 1e6).max(1.0) as u64))
}

#[napi]
impl NativePort {
    /// The class of the next operation, of that one only; -1 takes it back.
    #[napi(catch_unwind)]
    pub fn next_priority(&self, priority: i32) {
        self.submitter.core.borrow_mut().next_class = u32::try_from(priority).ok().and_then(class_of);
    }

    /// The class of a file's operations from now on.
    #[napi(catch_unwind)]
    pub fn set_priority(&self, handle: u32, priority: u32) -> i32 {
        let Some(class) = class_of(priority) else { return -EINVAL };
        self.with_open(|core| {
            let Some(file) = core.file(handle) else { return -EBADF };
            file.set_priority(class);
            0
        })
    }

    /// The guard of a file's own; 0 is none.
    #[napi(catch_unwind)]
    pub fn set_guard(&self, handle: u32, milliseconds: f64) -> i32 {
        self.with_open(|core| {
            let Some(file) = core.file(handle) else { return -EBADF };
            file.set_guard(guard_of(milliseconds)).map_or_else(|error| -error.errno(), |()| 0)
        })
    }

    /// What the engine asks for from now on: 0, or a negated errno. Without a policy (`''`) that one stays as it is, and is
    /// not asked for anew.
    #[napi(catch_unwind)]
    pub fn set_control(&self, policy: String, fixed: u32, min: u32, max: u32, guard_p99_ms: f64) -> i32 {
        let asked = Asked { policy: &policy, fixed, min, max, guard_p99_ms };
        self.with_open(|core| core.ask(&asked).map_or_else(|error| -error.errno(), |()| 0))
    }

    /// The lane of a file, or -1.
    #[napi(catch_unwind)]
    pub fn lane_of(&self, handle: u32) -> i32 {
        let core = self.submitter.core.borrow();
        core.file(handle).and_then(auraio::File::lane).map_or(-1, |lane| lane.number() as i32)
    }

    /// Every lane of the process.
    #[napi(catch_unwind)]
    pub fn lanes(&self) -> Vec<NativeLaneStats> {
        self.submitter.core.borrow().engine().stats().lanes.iter().map(lane_stats).collect()
    }

    /// The latencies of a lane; `kind` is `'completion'` or `'total'`.
    #[napi(catch_unwind)]
    pub fn histogram(
        &self,
        lane: u32,
        #[napi(ts_arg_type = "'completion' | 'total'")] kind: String,
    ) -> Option<NativeHistogram> {
        let kind = if kind == "total" { HistogramKind::Total } else { HistogramKind::Completion };
        let histogram = self.submitter.core.borrow().engine().histogram(LaneId::from_number(lane)?, kind)?;
        Some(native_histogram(&histogram))
    }

    /// How many decisions the loops of the process have taken.
    #[napi(catch_unwind)]
    pub fn decisions_so_far(&self) -> f64 {
        self.submitter.core.borrow().engine().decisions_so_far() as f64
    }

    /// Those after a number.
    #[napi(catch_unwind)]
    pub fn decisions(&self, after: f64) -> Vec<NativeDecision> {
        self.submitter.core.borrow().engine().decisions(after as u64).iter().map(native_decision).collect()
    }
}

/// Asks it of an engine that is in use.
pub(crate) fn ask(engine: &Engine, base: &Engine, asked: &Asked<'_>) -> Result<(), Error> {
    if !asked.policy.is_empty() {
        engine.set_policy(asked.policy()?)?;
    }
    let (before, bounds) = (engine.control(), asked.bounds(base.control().bounds));
    if before.bounds != bounds {
        engine.set_in_flight(bounds.min, bounds.max)?;
    }
    if before.guard != asked.guard() {
        engine.set_guard(asked.guard())?;
    }
    Ok(())
}

fn lane_stats(lane: &LaneStats) -> NativeLaneStats {
    NativeLaneStats {
        id: lane.id.number(),
        device: lane.device.clone(),
        mode: lane.mode.name().to_owned(),
        policy: lane.policy.to_owned(),
        phase: lane.phase.to_owned(),
        in_flight_limit: lane.in_flight_limit,
        in_flight: lane.in_flight,
        queued: lane.queued,
        submit_batch: lane.submit_batch,
        sqe_per_enter: lane.sqe_per_enter,
        guard_p99_ms: lane.guard_p99_ms,
        guard_infeasible: lane.guard_infeasible,
        guard_cuts: lane.guard_cuts as f64,
        completed: lane.completed as f64,
        bytes: lane.bytes as f64,
        cache_hits: lane.cache_hits as f64,
        completion_p50_us: lane.completion_p50_us,
        completion_p99_us: lane.completion_p99_us,
        completion_p999_us: lane.completion_p999_us,
        total_p99_us: lane.total_p99_us,
        by_class: lane
            .by_class
            .iter()
            .map(|class| NativeClassStats {
                completed: class.completed as f64,
                waiting: class.waiting,
                total_p99_us: class.total_p99_us,
            })
            .collect(),
    }
}

fn native_histogram(histogram: &Histogram<u64>) -> NativeHistogram {
    let mut encoded = Vec::new();
    // Writing to memory does not fail; if it did, an empty form is one that no tool takes for another histogram.
    if V2DeflateSerializer::new().serialize(histogram, &mut encoded).is_err() {
        encoded.clear();
    }
    let us = |ns: u64| ns as f64 / 1e3;
    let pair = |percentile: &f64| vec![*percentile, us(histogram.value_at_percentile(*percentile))];
    NativeHistogram {
        count: histogram.len() as f64,
        min_us: us(histogram.min()),
        max_us: us(histogram.max()),
        mean_us: histogram.mean() / 1e3,
        std_dev_us: histogram.stdev() / 1e3,
        percentiles: PERCENTILES.iter().map(pair).collect(),
        encoded: Uint8Array::new(encoded),
    }
}

fn native_decision(decided: &LaneDecision) -> NativeDecision {
    let decision = &decided.decision;
    NativeDecision {
        number: decided.number as f64,
        lane: decided.lane.number(),
        at: decision.at as f64 / 1e6,
        phase: decision.phase.name().to_owned(),
        reason: decision.reason.name().to_owned(),
        from: decision.from,
        to: decision.to,
        throughput: decision.throughput,
        p99_us: decision.p99 as f64 / 1e3,
        mean_us: decision.mean as f64 / 1e3,
        gain: decision.gain,
        threshold: decision.threshold,
        error: decision.error,
        samples: decision.samples as f64,
    }
}
