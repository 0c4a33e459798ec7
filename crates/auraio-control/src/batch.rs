//! The inner loop: how many entries a ring queues before it calls the kernel.
//!
//! A thread with time to spare does best with small batches. The device then gets its work at once, and completions that
//! come in groups do not turn into groups of submissions with an idle device in between. A saturated thread does best with
//! large batches, because each call that it saves is time for operations. So the submit batch follows the thread's
//! utilisation and the cost of a call compared with that of an operation. Both are measured. A fixed ratio of entries to
//! calls fits neither case.
//!
//! The ring tells the loop its events with their times, in nanoseconds from any origin. The loop reads no clock and makes no
//! system call. The ring sees to chains, which it never splits, and to the end of a turn, when it hands over whatever is
//! queued. If a clock stands still or jumps, the loop is less accurate for some windows.

mod cost;
#[cfg(test)]
mod tests;

use cost::EnterCost;

/// The submit batch is decided anew after each window of so many nanoseconds.
const WINDOW_NS: u64 = 10_000_000;
/// Weight of one window in the utilisation.
const UTILISATION_WEIGHT: f64 = 0.3;
/// Weight of one window in the completion rate.
const RATE_WEIGHT: f64 = 0.5;
/// Weight of one turn in the cost of an operation.
const OPERATION_WEIGHT: f64 = 0.05;
/// Weight of one reading of the device's latency, which may be the mean of a batch.
const LATENCY_WEIGHT: f64 = 1.0 / 32.0;
/// Calls may take this share of an operation's CPU time while the thread has time to spare. More would cost CPU and gain
/// nothing: see the cases with groups of `auraio-sim inner`. ...
const OVERHEAD_IDLE: f64 = 0.08;
/// ... When it has none, they may take this share.
const OVERHEAD_SATURATED: f64 = 0.02;
/// A batch holds at most this part of the in-flight limit while the thread has time to spare ...
const PART_IDLE: f64 = 1.0 / 8.0;
/// ... and this part when it has none.
const PART_SATURATED: f64 = 1.0 / 2.0;
/// Below the first utilisation the thread has time to spare, above the second it has none. In between the bounds above are
/// interpolated.
const SPARE_BELOW: f64 = 0.90;
const SATURATED_FROM: f64 = 0.97;
/// Below this utilisation entries are also handed over before the batch is full: when one has waited long, and when the device
/// is about to run out of work.
const EAGER_BELOW: f64 = 0.93;
/// An entry waits for others at most for this part of the device's latency.
const PATIENCE: f64 = 0.10;
/// The cost of an operation in one turn counts as at most so many times the known cost, plus a little. A garbage collection or
/// a preempted thread makes a turn long, and is no cost of an operation.
const OUTLIER_FACTOR: f64 = 8.0;
const OUTLIER_EXTRA_NS: f64 = 10_000.0;
/// These values are assumed before anything was measured.
const OPERATION_ASSUMED_NS: f64 = 8000.0;
const LATENCY_ASSUMED_NS: f64 = 100_000.0;
const UTILISATION_ASSUMED: f64 = 0.5;

/// How the submit batch is chosen.
///
/// ```
/// use auraio_control::BatchPolicy;
///
/// assert_eq!(BatchPolicy::default(), BatchPolicy::Tuned { max: 64 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchPolicy {
    /// The batch follows from measurements and is 1 to `max` entries (0 counts as 1).
    Tuned {
        /// The largest batch.
        max: u32,
    },
    /// The batch is always so many entries (0 counts as 1). Fewer are handed over only at the end of a turn.
    Fixed(u32),
}

impl Default for BatchPolicy {
    fn default() -> Self {
        Self::Tuned { max: 64 }
    }
}

/// The inner loop of one ring.
///
/// ```
/// use auraio_control::{BatchPolicy, SubmitBatch};
///
/// let mut batch = SubmitBatch::new(BatchPolicy::default());
/// // A thread that never sleeps, calls of 2 µs, and 1 µs for each operation: calls are to be saved.
/// for turn in 1..=200_u64 {
///     batch.on_enter(16, 2_000 + 16 * 500);
///     batch.on_enter(4, 2_000 + 4 * 500);
///     batch.on_turn(turn * 1_000_000, 1_000, 1_000_000);
/// }
/// assert!(batch.batch() > 32);
/// assert!(!batch.should_flush(0, 5, 0, 8));
/// assert!(batch.should_flush(0, batch.batch(), 0, 8));
/// ```
#[derive(Clone, Debug)]
pub struct SubmitBatch {
    policy: BatchPolicy,
    /// The in-flight limit in force.
    limit: u32,
    /// The submit batch that was decided: at least 1.
    batch: u32,
    /// Whether entries are also handed over before the batch is full.
    eager: bool,
    /// The longest time that an entry waits while `eager` is set.
    patience_ns: u64,
    /// The mean time between two completions in the last windows; `u64::MAX` while it is not known.
    interval_ns: u64,
    /// When the ring last looked for completions.
    reaped_at: u64,
    cost: EnterCost,
    /// The thread's time for one operation (c_op).
    operation_ns: f64,
    utilisation: f64,
    latency_ns: Option<f64>,
    /// Completions per nanosecond.
    rate: f64,
    window: Window,
}

/// What happened since the last decision.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// When the window began; `None` before the first event with a time.
    from: Option<u64>,
    completions: u64,
    slept_ns: u64,
}

impl SubmitBatch {
    /// A loop that knows nothing yet. It assumes that the thread has time to spare, so the batch is small.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// assert!(SubmitBatch::new(BatchPolicy::default()).batch() <= 4);
    /// assert_eq!(SubmitBatch::new(BatchPolicy::Fixed(8)).batch(), 8);
    /// ```
    #[must_use]
    pub fn new(policy: BatchPolicy) -> Self {
        let mut new = Self {
            policy,
            limit: u32::MAX,
            batch: 1,
            eager: true,
            patience_ns: 0,
            interval_ns: u64::MAX,
            reaped_at: 0,
            cost: EnterCost::new(),
            operation_ns: OPERATION_ASSUMED_NS,
            utilisation: UTILISATION_ASSUMED,
            latency_ns: None,
            rate: 0.0,
            window: Window::default(),
        };
        new.decide();
        new
    }

    /// Changes the policy, also under load. What was measured stays known.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// let mut batch = SubmitBatch::new(BatchPolicy::default());
    /// batch.set(BatchPolicy::Fixed(0));
    /// assert_eq!(batch.batch(), 1);
    /// ```
    pub fn set(&mut self, policy: BatchPolicy) {
        self.policy = policy;
        self.decide();
    }

    /// The policy in force.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// assert_eq!(SubmitBatch::new(BatchPolicy::Fixed(4)).policy(), BatchPolicy::Fixed(4));
    /// ```
    #[must_use]
    pub const fn policy(&self) -> BatchPolicy {
        self.policy
    }

    /// Tells the in-flight limit in force. A batch is at most an eighth of it, and at most half of it if the thread is
    /// saturated. So the device has work while the next batch is gathered.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// let mut batch = SubmitBatch::new(BatchPolicy::default());
    /// batch.set_limit(2);
    /// assert_eq!(batch.batch(), 1);
    /// ```
    #[inline]
    pub fn set_limit(&mut self, limit: u32) {
        if limit != self.limit {
            self.limit = limit;
            self.decide();
        }
    }

    /// Tells that a call handed over `sqes` entries and took so long. Calls that handed over none are not counted.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// let mut batch = SubmitBatch::new(BatchPolicy::default());
    /// batch.on_enter(3, 5_000);
    /// batch.on_enter(5, 8_000);
    /// assert!((batch.sqe_per_enter() - 4.0).abs() < 0.01);
    /// ```
    pub fn on_enter(&mut self, sqes: u32, took_ns: u64) {
        self.cost.add(sqes, took_ns);
    }

    /// Tells that the ring has just looked for completions. From this time on the loop estimates how many operations the
    /// kernel has left.
    ///
    /// A ring that looks for completions only at the start of its turns need not call this: [`on_turn`](Self::on_turn) tells
    /// the same, later.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// let mut batch = SubmitBatch::new(BatchPolicy::Tuned { max: 64 });
    /// batch.on_reap(1_000);
    /// ```
    #[inline]
    pub fn on_reap(&mut self, now: u64) {
        self.reaped_at = now;
    }

    /// Tells that a turn of the thread ended at `now`. Since it woke up, the thread has taken so many completions and was busy
    /// for `busy_ns`, the work of the completions' owners included. Decides the batch anew if a window is over.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// let mut batch = SubmitBatch::new(BatchPolicy::default());
    /// for turn in 1..5_000 {
    ///     batch.on_turn(turn * 100_000, 10, 40_000);
    ///     batch.on_sleep(60_000);
    /// }
    /// assert!((batch.operation_cost_ns() - 4_000.0).abs() < 10.0);
    /// assert!((batch.utilisation() - 0.4).abs() < 0.01);
    /// ```
    pub fn on_turn(&mut self, now: u64, completions: u32, busy_ns: u64) {
        if completions > 0 {
            let most = OUTLIER_FACTOR * self.operation_ns + OUTLIER_EXTRA_NS;
            let cost = (busy_ns as f64 / f64::from(completions)).min(most);
            self.operation_ns += OPERATION_WEIGHT * (cost - self.operation_ns);
            self.window.completions += u64::from(completions);
            // The turn began by looking for completions. If the clock was set back, the known time must not lie in the future.
            let began = now.saturating_sub(busy_ns);
            self.reaped_at = if self.reaped_at > now { began } else { self.reaped_at.max(began) };
        }
        self.refresh(now);
    }

    /// Tells that the thread slept for so long, waiting for completions or for work.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// let mut batch = SubmitBatch::new(BatchPolicy::default());
    /// batch.refresh(0);
    /// batch.on_sleep(1_000_000_000);
    /// batch.refresh(1_000_000_000);
    /// assert!(batch.utilisation() < 0.01);
    /// ```
    pub fn on_sleep(&mut self, slept_ns: u64) {
        self.window.slept_ns = self.window.slept_ns.saturating_add(slept_ns);
    }

    /// Tells how long the device took for an operation, or for several on average.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// let mut batch = SubmitBatch::new(BatchPolicy::default());
    /// batch.on_latency(200_000);
    /// ```
    pub fn on_latency(&mut self, ns: u64) {
        let ns = ns as f64;
        self.latency_ns = Some(self.latency_ns.map_or(ns, |known| known + LATENCY_WEIGHT * (ns - known)));
    }

    /// Decides the batch anew if a window of 10 ms is over. [`on_turn`](Self::on_turn) does so by itself.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// let mut batch = SubmitBatch::new(BatchPolicy::default());
    /// batch.refresh(0);
    /// batch.refresh(10_000_000);
    /// assert!(batch.utilisation() > 0.5, "it did not sleep");
    /// ```
    pub fn refresh(&mut self, now: u64) {
        let length = match self.window.from {
            // The first event, or the clock was set back: a new window begins, with nothing counted.
            Some(from) if from <= now => now - from,
            _ => {
                self.window = Window { from: Some(now), ..Window::default() };
                return;
            }
        };
        if length < WINDOW_NS {
            return;
        }
        let (length_ns, windows) = (length as f64, length as f64 / WINDOW_NS as f64);
        // If the thread slept, a window lasts as long as several. It then weighs as much as they would.
        let weight = |one: f64| 1.0 - (1.0 - one).powf(windows);
        let busy = (1.0 - self.window.slept_ns as f64 / length_ns).max(0.0);
        self.utilisation += weight(UTILISATION_WEIGHT) * (busy - self.utilisation);
        self.rate += weight(RATE_WEIGHT) * (self.window.completions as f64 / length_ns - self.rate);
        self.window = Window { from: Some(now), ..Window::default() };
        self.cost.fit();
        self.decide();
    }

    /// Computes from what is known the values that [`should_flush`](Self::should_flush) compares with.
    fn decide(&mut self) {
        let max = match self.policy {
            BatchPolicy::Tuned { max } => max,
            BatchPolicy::Fixed(batch) => {
                self.batch = batch.max(1);
                self.eager = false;
                return;
            }
        };
        let saturation = ((self.utilisation - SPARE_BELOW) / (SATURATED_FROM - SPARE_BELOW)).clamp(0.0, 1.0);
        let between = |idle: f64, saturated: f64| idle + saturation * (saturated - idle);
        let share = between(OVERHEAD_IDLE, OVERHEAD_SATURATED);
        let part = between(PART_IDLE, PART_SATURATED) * f64::from(self.limit);
        // If an operation cost nothing, this would be infinite. The cast saturates, and `max` bounds it.
        let wanted = (self.cost.call_ns() / (share * self.operation_ns)).ceil() as u32;
        self.batch = wanted.clamp(1, max.min(part as u32).max(1));
        self.eager = self.utilisation < EAGER_BELOW;
        self.patience_ns = (PATIENCE * self.latency_ns.unwrap_or(LATENCY_ASSUMED_NS)) as u64;
        self.interval_ns = if self.rate > 0.0 { (1.0 / self.rate) as u64 } else { u64::MAX };
    }

    /// The submit batch: the kernel is called when so many entries are queued. At least 1.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// assert_eq!(SubmitBatch::new(BatchPolicy::Fixed(16)).batch(), 16);
    /// ```
    #[inline]
    #[must_use]
    pub const fn batch(&self) -> u32 {
        self.batch
    }

    /// Whether [`should_flush`](Self::should_flush) looks at times. If not, the caller need not read the clock at each push.
    /// The answer changes only when a window ends, or when the policy or the limit is set.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// assert!(!SubmitBatch::new(BatchPolicy::Fixed(4)).needs_time());
    /// ```
    #[inline]
    #[must_use]
    pub const fn needs_time(&self) -> bool {
        self.eager && self.batch > 1
    }

    /// Whether the queued entries should be handed over now. The ring asks after each push.
    ///
    /// They should if the batch is full. While the thread has time to spare, they should also if the oldest of them, pushed at
    /// `oldest`, has waited for more than a tenth of the device's latency, or if the device is about to run out of work.
    /// `in_kernel` is how many operations were handed over and have not been seen complete.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// let batch = SubmitBatch::new(BatchPolicy::Fixed(2));
    /// assert!(!batch.should_flush(0, 1, 0, 0));
    /// assert!(batch.should_flush(0, 2, 0, 0));
    /// ```
    #[inline]
    #[must_use]
    pub const fn should_flush(&self, now: u64, queued: u32, oldest: u64, in_kernel: u32) -> bool {
        if queued >= self.batch {
            return true;
        }
        if !self.eager || queued == 0 {
            return false;
        }
        now.saturating_sub(oldest) > self.patience_ns || self.runs_dry(now, in_kernel)
    }

    /// True if the device has had time since the last look, at its usual rate, to finish all but one of the operations it
    /// holds.
    const fn runs_dry(&self, now: u64, in_kernel: u32) -> bool {
        // `as`, because `u64::from` is not const.
        let Some(others) = in_kernel.checked_sub(1) else { return true };
        now.saturating_sub(self.reaped_at) > (others as u64).saturating_mul(self.interval_ns)
    }

    /// Nanoseconds that a call costs without its entries (e0).
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// assert!(SubmitBatch::new(BatchPolicy::default()).enter_cost_ns() > 0.0);
    /// ```
    #[must_use]
    pub const fn enter_cost_ns(&self) -> f64 {
        self.cost.call_ns()
    }

    /// Nanoseconds that each entry adds to a call (c1).
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// assert!(SubmitBatch::new(BatchPolicy::default()).entry_cost_ns() >= 0.0);
    /// ```
    #[must_use]
    pub const fn entry_cost_ns(&self) -> f64 {
        self.cost.entry_ns()
    }

    /// Nanoseconds of the thread's time for one operation, the work of its owner included (c_op).
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// assert!(SubmitBatch::new(BatchPolicy::default()).operation_cost_ns() > 0.0);
    /// ```
    #[must_use]
    pub const fn operation_cost_ns(&self) -> f64 {
        self.operation_ns
    }

    /// The part of its time that the thread did not sleep, 0 to 1; 0.5 until it is known.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// assert!((0.0..=1.0).contains(&SubmitBatch::new(BatchPolicy::default()).utilisation()));
    /// ```
    #[must_use]
    pub const fn utilisation(&self) -> f64 {
        self.utilisation
    }

    /// Entries in a call, on average over about the last 500 calls; 0 before the first.
    ///
    /// ```
    /// use auraio_control::{BatchPolicy, SubmitBatch};
    ///
    /// let mut batch = SubmitBatch::new(BatchPolicy::Fixed(8));
    /// batch.on_enter(8, 10_000);
    /// assert_eq!(batch.sqe_per_enter(), 8.0);
    /// ```
    #[must_use]
    pub fn sqe_per_enter(&self) -> f64 {
        self.cost.entries_per_call()
    }
}
