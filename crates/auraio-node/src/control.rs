//! The control loops, which govern how many operations a device is given: what JavaScript wishes for, and the numbers
//! that it sees.

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
    native::number::Whole32,
    numbers,
    port::NativePort,
    submit::{EBADF, EINVAL},
};

/// The operations of one priority on a lane.
#[napi(object)]
pub struct NativeClassStats {
    /// Operations that the device has completed.
    pub completed: f64,
    /// Operations that wait behind the limit.
    pub waiting: u32,
    /// Latency including the wait behind the limit, in microseconds.
    pub total_p99_us: f64,
}

/// One lane, as `auraio::LaneStats`.
#[napi(object)]
pub struct NativeLaneStats {
    /// The number of the lane.
    pub id: u32,
    /// The name of the disk or the file system.
    pub device: String,
    /// `'direct'` or `'buffered'`.
    pub mode: String,
    /// `'knee'`, `'aimd'` or `'fixed'`.
    pub policy: String,
    /// The phase of the outer loop.
    pub phase: String,
    /// How many operations may be in flight.
    pub in_flight_limit: u32,
    /// How many operations are in flight.
    pub in_flight: u32,
    /// Operations that wait behind the limit.
    pub queued: u32,
    /// How many entries are gathered before one system call hands them over.
    pub submit_batch: u32,
    /// How many entries one system call has handed over lately, on average.
    pub sqe_per_enter: f64,
    /// The guard that is in force, in milliseconds.
    pub guard_p99_ms: f64,
    /// True if the guard is below what the device can do even with one operation in flight.
    pub guard_infeasible: bool,
    /// How often the guard has cut the limit.
    pub guard_cuts: f64,
    /// Operations that the device has completed.
    pub completed: f64,
    /// The bytes that those operations have moved.
    pub bytes: f64,
    /// Reads that the page cache has served.
    pub cache_hits: f64,
    /// Half of all completion latencies are below this, in microseconds.
    pub completion_p50_us: f64,
    /// 99 % of all completion latencies are below this.
    pub completion_p99_us: f64,
    /// 99.9 % of all completion latencies are below this.
    pub completion_p999_us: f64,
    /// 99 % of all latencies, including the wait behind the limit, are below this.
    pub total_p99_us: f64,
    /// One for each priority: high, normal, low.
    pub by_class: Vec<NativeClassStats>,
}

/// The latencies of a lane.
#[napi(object)]
pub struct NativeHistogram {
    /// How many latencies there are.
    pub count: f64,
    /// The shortest latency.
    pub min_us: f64,
    /// The longest latency.
    pub max_us: f64,
    /// The mean of the latencies.
    pub mean_us: f64,
    /// The standard deviation of the latencies.
    pub std_dev_us: f64,
    /// Pairs of a percentile and its latency.
    pub percentiles: Vec<Vec<f64>>,
    /// The histogram in HdrHistogram's compressed form, in nanoseconds.
    pub encoded: Uint8Array,
}

/// One decision of a control loop, as `auraio::control::Decision`.
#[napi(object)]
pub struct NativeDecision {
    /// The number of the decision. All decisions of the process are numbered in turn.
    pub number: f64,
    /// The number of the lane that the decision is about.
    pub lane: u32,
    /// When it was taken, in milliseconds of the monotonic clock.
    pub at: f64,
    /// The phase of the loop from then on.
    pub phase: String,
    /// Why it was taken.
    pub reason: String,
    /// The limit before.
    pub from: u32,
    /// The limit from then on.
    pub to: u32,
    /// The throughput that was measured: work per second.
    pub throughput: f64,
    /// 99 % of the completion latencies were below this.
    pub p99_us: f64,
    /// The mean of the completion latencies.
    pub mean_us: f64,
    /// By how much the throughput grew, as a logarithm.
    pub gain: f64,
    /// The gain was compared with this.
    pub threshold: f64,
    /// The standard error of the gain.
    pub error: f64,
    /// How many completions were measured.
    pub samples: f64,
}

/// The percentiles that a histogram has for JavaScript.
const PERCENTILES: [f64; 11] = [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0];

/// The wishes of an engine, as TypeScript's `ControlOptions` has them. A bound of 0 means no wish.
pub(crate) struct Asked<'a> {
    pub(crate) policy: &'a str,
    pub(crate) fixed: u32,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) guard_p99_ms: f64,
}

impl Asked<'_> {
    fn policy(&self) -> Result<Policy, Error> {
        match self.policy {
            "knee" => Ok(Policy::Knee),
            "aimd" => Ok(Policy::Aimd),
            "fixed" => Ok(Policy::Fixed(self.fixed)),
            _ => Err(Error::InvalidInput("policy must be 'knee', 'aimd' or 'fixed'")),
        }
    }

    fn guard(&self) -> Result<Guard, Error> {
        Ok(guard_of(self.guard_p99_ms)?.map_or(Guard::Auto, Guard::At))
    }

    /// The bounds of the limit. If one of them was not wished for, it is the `usual` one, unless that contradicts the
    /// other.
    fn bounds(&self, usual: Bounds) -> Bounds {
        match (self.min, self.max) {
            (0, 0) => usual,
            (0, max) => Bounds { min: usual.min.min(max), max },
            (min, 0) => Bounds { min, max: usual.max.max(min) },
            (min, max) => Bounds { min, max },
        }
    }

    /// The settings for an engine that shares everything else with `base`.
    pub(crate) fn settings(&self, base: &Engine) -> Result<Settings, Error> {
        Ok(Settings { policy: self.policy()?, guard: self.guard()?, bounds: self.bounds(base.control().bounds) })
    }
}

/// The priority with this number.
pub(crate) fn class_of(number: u32) -> Option<Priority> {
    Priority::ALL.get(number as usize).copied()
}

/// A guard in milliseconds. 0 is none, and the shortest is a nanosecond.
fn guard_of(milliseconds: f64) -> Result<Option<Duration>, Error> {
    let guard = Duration::try_from_secs_f64(milliseconds / 1e3)
        .map_err(|_| Error::InvalidInput("a guard must be a number of milliseconds"))?;
    Ok((milliseconds > 0.0).then(|| guard.max(Duration::from_nanos(1))))
}

#[napi]
impl NativePort {
    /// Sets the priority of the next operation, and of that one only. -1 takes it back.
    #[napi(catch_unwind)]
    pub fn next_priority(&self, priority: i32) {
        self.submitter.core.borrow_mut().next_class = u32::try_from(priority).ok().and_then(class_of);
    }

    /// Sets the priority of a file's operations from now on.
    #[napi(catch_unwind)]
    pub fn set_priority(
        &self,
        #[napi(ts_arg_type = "number")] handle: Whole32,
        #[napi(ts_arg_type = "number")] priority: Whole32,
    ) -> i32 {
        let Some(class) = class_of(priority.0) else { return -EINVAL };
        self.with_open(|core| {
            let Some(file) = core.file(handle.0) else { return -EBADF };
            file.set_priority(class);
            0
        })
    }

    /// Sets a file's own guard; 0 is none.
    #[napi(catch_unwind)]
    pub fn set_guard(&self, #[napi(ts_arg_type = "number")] handle: Whole32, milliseconds: f64) -> i32 {
        self.with_open(|core| {
            let Some(file) = core.file(handle.0) else { return -EBADF };
            guard_of(milliseconds).and_then(|guard| file.set_guard(guard)).map_or_else(|error| -error.errno(), |()| 0)
        })
    }

    /// Sets the wishes of the engine from now on. Answers 0, or a negated errno. With an empty `policy`, the policy
    /// stays as it was, and does not count as the one that was asked for last.
    #[napi(catch_unwind)]
    pub fn set_control(&self, policy: String, fixed: u32, min: u32, max: u32, guard_p99_ms: f64) -> i32 {
        let asked = Asked { policy: &policy, fixed, min, max, guard_p99_ms };
        self.with_open(|core| core.ask(&asked).map_or_else(|error| -error.errno(), |()| 0))
    }

    /// The number of the lane of a file, or -1 if it has none.
    #[napi(catch_unwind)]
    pub fn lane_of(&self, #[napi(ts_arg_type = "number")] handle: Whole32) -> i32 {
        let core = self.submitter.core.borrow();
        core.file(handle.0).and_then(auraio::File::lane).map_or(-1, |lane| lane.number() as i32)
    }

    /// The numbers of every lane of the process.
    #[napi(catch_unwind)]
    pub fn lanes(&self) -> Vec<NativeLaneStats> {
        self.submitter.core.borrow().engine().stats().lanes.iter().map(lane_stats).collect()
    }

    /// The latencies of a lane; `kind` is `'completion'` or `'total'`.
    #[napi(catch_unwind)]
    pub fn histogram(
        &self,
        #[napi(ts_arg_type = "number")] lane: Whole32,
        #[napi(ts_arg_type = "'completion' | 'total'")] kind: String,
    ) -> Option<NativeHistogram> {
        let kind = if kind == "total" { HistogramKind::Total } else { HistogramKind::Completion };
        let histogram = self.submitter.core.borrow().engine().histogram(LaneId::from_number(lane.0)?, kind)?;
        Some(native_histogram(&histogram))
    }

    /// How many decisions the loops of the process have taken.
    #[napi(catch_unwind)]
    pub fn decisions_so_far(&self) -> f64 {
        self.submitter.core.borrow().engine().decisions_so_far() as f64
    }

    /// The decisions after the one with this number.
    #[napi(catch_unwind)]
    pub fn decisions(&self, after: f64) -> Vec<NativeDecision> {
        // A number that does not fit is no decision's, so there are none after it.
        let after = numbers::whole(after).unwrap_or(u64::MAX);
        self.submitter.core.borrow().engine().decisions(after).iter().map(native_decision).collect()
    }
}

/// Sets the wishes of an engine that is in use. What has not changed is not set again.
pub(crate) fn ask(engine: &Engine, base: &Engine, asked: &Asked<'_>) -> Result<(), Error> {
    let guard = asked.guard()?;
    if !asked.policy.is_empty() {
        engine.set_policy(asked.policy()?)?;
    }
    let (before, bounds) = (engine.control(), asked.bounds(base.control().bounds));
    if before.bounds != bounds {
        engine.set_in_flight(bounds.min, bounds.max)?;
    }
    if before.guard != guard {
        engine.set_guard(guard)?;
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
    // Writing to memory does not fail. If it did, JavaScript would get nothing: no tool takes that for a histogram.
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
