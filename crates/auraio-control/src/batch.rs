//! Inner loop: how many entries are queued before the kernel is called.
//!
//! A thread with time to spare does best with small batches: the device gets its work at once, and completions that come
//! in groups do not turn into groups of submissions, with the device dry in between. A thread that is saturated does best
//! with large ones, since each call it saves is time for operations. So the submit batch follows the thread's
//! utilisation, and what a call costs beside an operation; both are measured. A fixed ratio of entries to calls fits
//! neither case.
//!
//! It is fed by the ring that it belongs to: times are nanoseconds from any one origin, and come in with the events. It
//! reads no clock and makes no call. It knows nothing of chains, which the ring never splits, and nothing of the end of a
//! turn, when the ring flushes whatever is queued. Clocks that stand still or jump cost it accuracy for some windows and
//! nothing else.

mod cost;
#[cfg(test)]
mod tests;

use cost::EnterCost;

/// How often the submit batch is decided anew, and what one reading of the utilisation covers.
const WINDOW_NS: u64 = 10_000_000;
/// Weight of one window in the utilisation.
const UTILISATION_WEIGHT: f64 = 0.3;
/// Weight of one window in the completion rate.
const RATE_WEIGHT: f64 = 0.5;
/// Weight of one turn in the cost of an operation.
const OPERATION_WEIGHT: f64 = 0.05;
/// Weight of one reading of the device's latency, which may be the mean of a batch.
const LATENCY_WEIGHT: f64 = 1.0 / 32.0;
/// Calls may take this share of an operation's CPU time while the thread has time to spare (more than this costs CPU and
/// gains nothing: `auraio-sim inner`, the cases with groups) ...
const OVERHEAD_IDLE: f64 = 0.08;
/// ... and this share when it has none.
const OVERHEAD_SATURATED: f64 = 0.02;
/// A batch holds at most this share of what may be in flight while the thread has time to spare ...
const PART_IDLE: f64 = 1.0 / 8.0;
/// ... and this when it has none.
const PART_SATURATED: f64 = 1.0 / 2.0;
/// Between these utilisations the one turns into the other.
const SPARE_BELOW: f64 = 0.90;
const SATURATED_FROM: f64 = 0.97;
/// Below this utilisation entries are also handed over early, by time and for a device about to run dry.
const EAGER_BELOW: f64 = 0.93;
/// An entry waits for company at most this share of what the device takes.
const PATIENCE: f64 = 0.10;
/// A turn counts for at most this many times the cost known so far, and a little: a garbage collection, or a
/// thread that was preempted, is no operation's cost.
const OUTLIER_FACTOR: f64 = 8.0;
const OUTLIER_EXTRA_NS: f64 = 10_000.0;
/// What is assumed before anything was measured.
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
    /// By what is measured, between 1 and `max` entries (0 counts as 1).
    Tuned {
        /// The most entries that wait for one call.
        max: u32,
    },
    /// Always this many entries (0 counts as 1), and never earlier but at the end of a turn.
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
    /// The decision: at least 1.
    batch: u32,
    /// Whether entries are also handed over early.
    eager: bool,
    /// The longest that an entry waits while `eager`.
    patience_ns: u64,
    /// Between two completions, at the rate of the last windows; `u64::MAX` while none is known.
    interval_ns: u64,
    /// When completions were last looked for.
    reaped_at: u64,
    cost: EnterCost,
    /// Thread time for each completion (c_op).
    operation_ns: f64,
    utilisation: f64,
    latency_ns: Option<f64>,
    /// Completions per nanosecond.
    rate: f64,
    window: Window,
}

/// What has come together since the last decision.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// `None` before the first event with a time.
    from: Option<u64>,
    completions: u64,
    slept_ns: u64,
}

impl SubmitBatch {
    /// A loop that knows nothing yet: it assumes a thread with time to spare, and so a small batch.
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

    /// Changes the policy, also under load; what was measured stays.
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

    /// The in-flight limit in force: at most an eighth of it is gathered in one batch, and by a saturated thread at most
    /// half, so that the device works on the one while the other is gathered.
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

    /// A call handed over `sqes` entries and took this long. Calls that handed over none are not counted.
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

    /// Completions were just looked for: from now on the kernel's side is estimated to run down.
    ///
    /// A ring that reaps only at the start of its turns may leave it out: [`on_turn`](Self::on_turn) says the same, later.
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

    /// A turn of the thread ended: since it woke up it has brought so many completions and was busy for so long, with
    /// whatever the completions' owners did meanwhile. Decides anew when a window is over.
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
            // The turn began with a look for completions; a clock that jumped back must not leave a time in the future.
            let began = now.saturating_sub(busy_ns);
            self.reaped_at = if self.reaped_at > now { began } else { self.reaped_at.max(began) };
        }
        self.refresh(now);
    }

    /// The thread was asleep for so long, waiting for completions or for work.
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

    /// The device took so long for an operation, or for a batch of them on average.
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

    /// Decides anew if a window of 10 ms is over. [`on_turn`](Self::on_turn) does it by itself.
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
            // A clock that jumped back: the window starts afresh, and with it what was counted.
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
        // A window that lasted as long as several (the thread slept) weighs as much as they would.
        let weight = |one: f64| 1.0 - (1.0 - one).powf(windows);
        let busy = (1.0 - self.window.slept_ns as f64 / length_ns).max(0.0);
        self.utilisation += weight(UTILISATION_WEIGHT) * (busy - self.utilisation);
        self.rate += weight(RATE_WEIGHT) * (self.window.completions as f64 / length_ns - self.rate);
        self.window = Window { from: Some(now), ..Window::default() };
        self.cost.fit();
        self.decide();
    }

    /// Draws what [`should_flush`](Self::should_flush) compares with from what is known.
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
        // An operation of no cost at all would want an endless batch; the cast saturates, and `max` bounds it.
        let wanted = (self.cost.call_ns() / (share * self.operation_ns)).ceil() as u32;
        self.batch = wanted.clamp(1, max.min(part as u32).max(1));
        self.eager = self.utilisation < EAGER_BELOW;
        self.patience_ns = (PATIENCE * self.latency_ns.unwrap_or(LATENCY_ASSUMED_NS)) as u64;
        self.interval_ns = if self.rate > 0.0 { (1.0 / self.rate) as u64 } else { u64::MAX };
    }

    /// The submit batch: so many entries are queued before the kernel is called. At least 1.
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

    /// Whether [`should_flush`](Self::should_flush) looks at times at all: where it does not, the caller need not ask the
    /// clock at each push. It changes only when a window ends, or the policy or limit is set.
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

    /// Whether the queued entries should be handed over now, asked after each push: the batch is full; or, while the
    /// thread has time to spare, the oldest of them (pushed at `oldest`) has waited for more than a tenth of what the
    /// device takes, or the device is about to run dry (`in_kernel`: handed over, and not seen complete yet).
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

    /// Whether less than one operation is left to the device, if it has gone on at its usual rate since the last look.
    const fn runs_dry(&self, now: u64, in_kernel: u32) -> bool {
        // What lasts until the last one but one is done, in the time since; a cast that `u64::from` would be, were it const.
        let Some(others) = in_kernel.checked_sub(1) else { return true };
        now.saturating_sub(self.reaped_at) > (others as u64).saturating_mul(self.interval_ns)
    }

    /// Nanoseconds that a call costs by itself, without its entries (e0).
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

    /// Nanoseconds that a call costs more with each entry (c1).
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

    /// Nanoseconds of the thread's time for each operation, with whatever its owner does between two (c_op).
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

    /// The share of its time that the thread was not asleep, 0 to 1; 0.5 until it is known.
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

    /// Entries per call, a mean in which the last 500 or so calls count; 0 before the first.
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
