//! What JavaScript wishes of the control loops, and what it is told of them: latencies and decisions.

use std::time::Duration;

use auraio::{
    Error, HistogramKind, LaneDecision, LaneId,
    control::{Policy, Priority, Wish},
    hdrhistogram::{
        Histogram,
        serialization::{Serializer, V2DeflateSerializer},
    },
};
use napi::{Either, bindgen_prelude::Uint8Array};
use napi_derive::napi;

use crate::{
    native::number::Whole32,
    numbers,
    port::NativePort,
    submit::{EBADF, EINVAL},
};

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
    /// The number of the decision. The decisions of a process are numbered from 1.
    pub number: f64,
    /// The number of the lane whose loop decided.
    pub lane: u32,
    /// When it was taken, in milliseconds of the monotonic clock.
    pub at: f64,
    /// The phase that the loop is in from then on.
    pub phase: String,
    /// Why the loop decided so.
    pub reason: String,
    /// The in-flight limit before the decision.
    pub from: u32,
    /// The in-flight limit that the loop has found.
    pub to: u32,
    /// The throughput that was measured: work per second.
    pub throughput: f64,
    /// The p99 of completion latency.
    pub p99_us: f64,
    /// The mean of completion latency.
    pub mean_us: f64,
    /// The natural logarithm of the throughput compared with that at the other limit.
    pub gain: f64,
    /// What the gain was compared with.
    pub threshold: f64,
    /// The standard error of the gain.
    pub error: f64,
    /// How many completions the numbers rest on.
    pub samples: f64,
}

/// The percentiles of a histogram that JavaScript gets.
const PERCENTILES: [f64; 11] = [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0];

/// A wish as TypeScript has it (lib/control/wishes.ts). What is undefined is no wish.
#[napi(object)]
pub struct NativeWish {
    /// The policy's name, or the limit itself.
    #[napi(ts_type = "string | number")]
    pub policy: Option<Either<String, u32>>,
    /// The guard in milliseconds.
    pub guard_p99_ms: Option<f64>,
    /// The smallest limit.
    pub in_flight_min: Option<u32>,
    /// The largest limit.
    pub in_flight_max: Option<u32>,
    /// The name of the class of files.
    pub priority: Option<String>,
}

impl NativeWish {
    /// The same wish as the core has it.
    pub(crate) fn wish(&self) -> Result<Wish, Error> {
        let policy = match &self.policy {
            Some(Either::A(name)) => {
                Some(Policy::from_name(name, 0).ok_or(Error::InvalidInput("there is no policy of this name"))?)
            }
            Some(Either::B(limit)) => Some(Policy::Fixed(*limit)),
            None => None,
        };
        let class_named = |name: &String| {
            let class = Priority::ALL.into_iter().find(|class| class.name() == name);
            class.ok_or(Error::InvalidInput("there is no priority of this name"))
        };
        Ok(Wish {
            policy,
            guard: self.guard_p99_ms.map(guard_of).transpose()?.flatten(),
            in_flight_min: self.in_flight_min,
            in_flight_max: self.in_flight_max,
            priority: self.priority.as_ref().map(class_named).transpose()?,
        })
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
    /// Sets the class of the next operation that is accepted, and of no other. -1 takes it back.
    #[napi(catch_unwind)]
    pub fn next_priority(&self, priority: i32) {
        self.submitter.core.borrow_mut().next_class = u32::try_from(priority).ok().and_then(class_of);
    }

    /// Sets the class of a file's operations from now on.
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

    /// Sets a file's own guard; 0 is no guard.
    #[napi(catch_unwind)]
    pub fn set_guard(&self, #[napi(ts_arg_type = "number")] handle: Whole32, milliseconds: f64) -> i32 {
        self.with_open(|core| {
            let Some(file) = core.file(handle.0) else { return -EBADF };
            guard_of(milliseconds).and_then(|guard| file.set_guard(guard)).map_or_else(|error| -error.errno(), |()| 0)
        })
    }

    /// Replaces the wish of the engine: 0, or a negated errno. Without a policy, the policy stays as it is, and is not asked
    /// for anew.
    #[napi(catch_unwind)]
    pub fn set_wish(&self, wish: NativeWish) -> i32 {
        self.with_open(|core| {
            let set = wish.wish().and_then(|wish| core.engine().set_wish(wish));
            set.map_or_else(|error| -error.errno(), |()| 0)
        })
    }

    /// The number of the lane of a file, or -1 if it has none.
    #[napi(catch_unwind)]
    pub fn lane_of(&self, #[napi(ts_arg_type = "number")] handle: Whole32) -> i32 {
        let core = self.submitter.core.borrow();
        core.file(handle.0).and_then(auraio::File::lane).map_or(-1, |lane| lane.number() as i32)
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

    /// The number of the last decision that a loop of the process has taken.
    #[napi(catch_unwind)]
    pub fn decisions_so_far(&self) -> f64 {
        self.submitter.core.borrow().engine().decisions_so_far() as f64
    }

    /// The decisions after the one with this number, as far as they are still kept.
    #[napi(catch_unwind)]
    pub fn decisions(&self, after: f64) -> Vec<NativeDecision> {
        // A number that does not fit is no decision's, so there are none after it.
        let after = numbers::whole(after).unwrap_or(u64::MAX);
        self.submitter.core.borrow().engine().decisions(after).iter().map(native_decision).collect()
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
