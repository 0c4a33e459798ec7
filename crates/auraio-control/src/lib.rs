//! The double loop. The outer one: how many operations may be in flight on one device, how that is shared out among rings
//! and classes. The inner one: how many of a ring's operations go to the kernel in one call.
//!
//! A [`Controller`] is told of every completion ([`Sample`]) and answers with an in-flight limit. All rings of a process
//! that use a device report to one controller and share its limit: two that search on their own see each other's load as
//! a slower device, and both end at the guard.
//!
//! It is arithmetic. It reads no clock (time comes with the samples, from any origin), does no I/O, takes no lock and
//! allocates nothing after it was made; so a test replays hours of a disk in a second. A sample costs a few dozen
//! instructions, and a quantile is looked up only where a segment of measurement ends, at most some hundred times a second.
//!
//! Too little evidence moves nothing. That holds for a load that never met the limit, for time that a completion may have
//! spent unseen because the host was busy, and for moments in which the device completed nothing at all.
//!
//! Inside: `timeline` makes time go forward only, `guard` watches the p99, `aimd` and `knee` are the laws, `quantile` and
//! `decision` are what they measure with and what they tell. `share` divides a limit among rings, `classes` and `foreground`
//! among priorities; `batch` is the inner loop. docs/decisions/0020-double-loop.md has the reasons and figures.

mod aimd;
mod batch;
mod classes;
mod decision;
mod foreground;
mod guard;
mod knee;
mod priority;
mod quantile;
mod settings;
mod share;
mod timeline;

#[cfg(test)]
mod tests;

use aimd::Aimd;
pub use batch::{BatchPolicy, SubmitBatch};
pub use classes::Classes;
use decision::Journal;
pub use decision::{Decision, Phase, Reason};
pub use foreground::Foreground;
use guard::Sentry;
use knee::Knee;
pub use priority::Priority;
pub use settings::{Bounds, Guard, InvalidSettings, Policy, Settings};
pub use share::{Member, Shares};
use timeline::Timeline;

/// What a controller is told of one completed operation. Times are nanoseconds from any one origin, which need not be a
/// clock; nothing that is given here makes it fail.
///
/// ```
/// use auraio_control::{Controller, Sample, Settings};
///
/// let mut controller = Controller::new(Settings::default());
/// controller.on_completion(&Sample {
///     now: 1_080_000,
///     submitted: 1_000_000,
///     in_flight: 0,
///     waiting: 31,
///     unseen: 0,
///     in_flight_then: 1,
///     work: 1.0 + 4_096.0 / 65_536.0,
/// });
/// assert_eq!(controller.limit(), 1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was reaped.
    pub now: u64,
    /// When the system call that carried it was made.
    pub submitted: u64,
    /// Operations still in flight on the device, without this one.
    pub in_flight: u32,
    /// Operations that wait behind the limit.
    pub waiting: u32,
    /// For how long it may have lain completed before the host looked: since the completion queue was last seen empty, or
    /// since it was submitted if that is later; 0 if the host slept and was woken by it.
    pub unseen: u64,
    /// Operations in flight when it was submitted, with this one.
    pub in_flight_then: u32,
    /// What it was worth: operations plus bytes / 64 KiB, so about 1 for the smallest. One that is worth many times what
    /// is usual counts as 8 usual ones.
    pub work: f32,
}

/// A sample made sound: times on the timeline, latencies that are not negative, work that is a number.
#[derive(Clone, Copy, Debug)]
struct Event {
    now: u64,
    submitted: u64,
    latency: u64,
    unseen: u64,
    /// In flight just before it completed: with it.
    in_flight: u32,
    waiting: u32,
    work: f64,
}

/// What the laws have in common, and what outlives a change of law.
#[derive(Clone, Debug)]
struct Shared {
    bounds: Bounds,
    sentry: Sentry,
    journal: Journal,
}

#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for a device, and a box would be a miss of the cache each time"
)]
enum Law {
    Fixed(u32),
    Aimd(Aimd),
    Knee(Knee),
}

/// Operations that the mean of work remembers.
const WORK_MEMORY: f64 = 64.0;
/// The most that one operation counts, in usual ones: 1 GiB among reads of 4 KiB is 3 % of the shortest segment at the
/// depth of a fast disk, within its error.
const WORK_MAX: f64 = 8.0;

/// One outer loop, for one device in one mode (direct or buffered).
///
/// ```
/// use auraio_control::{Controller, Sample, Settings};
///
/// // A device that does one operation at a time, each in 2 ms, with 50 waiting: more than 1 or 2 in flight gain nothing.
/// let mut controller = Controller::new(Settings::default());
/// let mut in_flight = std::collections::VecDeque::new();
/// for now in (0..20_000).map(|step| step * 2_000_000) {
///     if let Some((submitted, in_flight_then)) = in_flight.pop_front() {
///         let sample = Sample {
///             now,
///             submitted,
///             in_flight: in_flight.len() as u32,
///             waiting: 50,
///             unseen: 0,
///             in_flight_then,
///             work: 1.0,
///         };
///         controller.on_completion(&sample);
///     }
///     while (in_flight.len() as u32) < controller.limit() {
///         in_flight.push_back((now, in_flight.len() as u32 + 1));
///     }
/// }
/// assert!(controller.limit() <= 8);
/// ```
#[derive(Clone, Debug)]
pub struct Controller {
    settings: Settings,
    timeline: Timeline,
    /// Mean work of an operation; 0 before the first.
    work_mean: f64,
    shared: Shared,
    law: Law,
}

impl Controller {
    /// A controller that knows nothing yet. What [`Settings::check`] would refuse is taken as the nearest that it would not.
    ///
    /// ```
    /// use auraio_control::{Bounds, Controller, Settings};
    ///
    /// let settings = Settings { bounds: Bounds { min: 4, max: 64 }, ..Settings::default() };
    /// assert_eq!(Controller::new(settings).limit(), 4);
    /// ```
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let shared =
            Shared { bounds: settings.bounds.sound(), sentry: Sentry::new(settings.guard), journal: Journal::new() };
        let law = Law::new(settings.policy, None, 0, &shared);
        Self { settings, timeline: Timeline::default(), work_mean: 0.0, shared, law }
    }

    /// Takes note of a completion, and moves the limit if that is due.
    ///
    /// ```
    /// use auraio_control::{Controller, Policy, Sample, Settings};
    ///
    /// let mut controller = Controller::new(Settings { policy: Policy::Aimd, ..Settings::default() });
    /// let before = controller.limit();
    /// for now in (0..2_000).map(|step| 1_000_000_000 + step * 100_000) {
    ///     let (in_flight, waiting, in_flight_then) = (7, 50, 8);
    ///     let submitted = now - 800_000;
    ///     controller.on_completion(&Sample { now, submitted, in_flight, waiting, unseen: 0, in_flight_then, work: 1.0 });
    /// }
    /// assert!(controller.limit() > before);
    /// ```
    pub fn on_completion(&mut self, sample: &Sample) {
        if sample.in_flight_then == 1 {
            self.shared.sentry.learn_base(sample.now.saturating_sub(sample.submitted));
        }
        if let Law::Fixed(_) = self.law {
            return;
        }
        let event = self.event(sample);
        match &mut self.law {
            Law::Fixed(_) => {}
            Law::Aimd(aimd) => aimd.on_completion(&event, &mut self.shared),
            Law::Knee(knee) => knee.on_completion(&event, &mut self.shared),
        }
    }

    /// The in-flight limit in force now, within the bounds.
    ///
    /// ```
    /// use auraio_control::{Controller, Policy, Settings};
    ///
    /// let settings = Settings { policy: Policy::Fixed(24), ..Settings::default() };
    /// assert_eq!(Controller::new(settings).limit(), 24);
    /// ```
    #[must_use]
    pub fn limit(&self) -> u32 {
        match &self.law {
            Law::Fixed(limit) => *limit,
            Law::Aimd(aimd) => aimd.limit(),
            Law::Knee(knee) => knee.limit(),
        }
    }

    /// What it is doing.
    ///
    /// ```
    /// use auraio_control::{Controller, Settings};
    ///
    /// assert_eq!(Controller::new(Settings::default()).phase().name(), "base");
    /// ```
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.law {
            Law::Fixed(_) => Phase::Fixed,
            Law::Aimd(aimd) => aimd.phase(),
            Law::Knee(knee) => knee.phase(),
        }
    }

    /// What it was told to do.
    ///
    /// ```
    /// use auraio_control::{Controller, Policy, Settings};
    ///
    /// assert_eq!(Controller::new(Settings::default()).settings().policy, Policy::Knee);
    /// ```
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Other settings from now on, also under load. The limit stays what it is where the new settings allow it, and what is
    /// known of the device's latency stays known.
    ///
    /// ```
    /// use auraio_control::{Bounds, Controller, Policy, Settings};
    ///
    /// let mut controller = Controller::new(Settings { policy: Policy::Fixed(64), ..Settings::default() });
    /// controller.set(Settings { policy: Policy::Knee, bounds: Bounds { min: 1, max: 32 }, ..Settings::default() }, 0);
    /// assert_eq!(controller.limit(), 32);
    /// ```
    pub fn set(&mut self, settings: Settings, now: u64) {
        if settings == self.settings {
            return;
        }
        let from = self.limit();
        self.timeline.advance(now);
        let at = self.timeline.now();
        self.shared.journal.at = now;
        self.shared.bounds = settings.bounds.sound();
        self.shared.sentry.set(settings.guard);
        match &mut self.law {
            Law::Aimd(aimd) if settings.policy == Policy::Aimd => aimd.settings_changed(at, &self.shared),
            Law::Knee(knee) if settings.policy == Policy::Knee => knee.settings_changed(at, &self.shared),
            _ => self.law = Law::new(settings.policy, Some(from), at, &self.shared),
        }
        self.settings = settings;
        self.shared.journal.record(Decision::new(Reason::Set, self.phase(), from, self.limit()));
    }

    /// The limit will not be kept below this, whatever the settings' minimum: so many rings share it, and each may always have
    /// one operation in flight. A controller that thought of less would wait for ever to see it.
    ///
    /// ```
    /// use auraio_control::{Controller, Settings};
    ///
    /// let mut controller = Controller::new(Settings::default());
    /// controller.set_least(16, 0);
    /// assert_eq!(controller.limit(), 16);
    /// ```
    pub fn set_least(&mut self, least: u32, now: u64) {
        let bounds = self.settings.bounds.sound();
        let min = bounds.min.max(least).min(bounds.max);
        if min == self.shared.bounds.min {
            return;
        }
        self.shared.bounds.min = min;
        if self.limit() < min {
            self.timeline.advance(now);
            let at = self.timeline.now();
            match &mut self.law {
                Law::Fixed(_) => {}
                Law::Aimd(aimd) => aimd.settings_changed(at, &self.shared),
                Law::Knee(knee) => knee.settings_changed(at, &self.shared),
            }
        }
    }

    /// The guard in force, in nanoseconds.
    ///
    /// ```
    /// use auraio_control::{Controller, Settings};
    ///
    /// assert_eq!(Controller::new(Settings::default()).guard_ns(), 10_000_000);
    /// ```
    #[must_use]
    pub const fn guard_ns(&self) -> u64 {
        self.shared.sentry.guard()
    }

    /// Whether the guard is below what the device can do at the smallest limit. The limit stays there then; it is told, not
    /// chased.
    ///
    /// ```
    /// use auraio_control::{Controller, Settings};
    ///
    /// assert!(!Controller::new(Settings::default()).is_infeasible());
    /// ```
    #[must_use]
    pub const fn is_infeasible(&self) -> bool {
        self.shared.sentry.is_infeasible()
    }

    /// How often the guard has cut the limit.
    ///
    /// ```
    /// use auraio_control::{Controller, Settings};
    ///
    /// assert_eq!(Controller::new(Settings::default()).cuts(), 0);
    /// ```
    #[must_use]
    pub const fn cuts(&self) -> u64 {
        self.shared.sentry.cuts()
    }

    /// The oldest decision that was not taken yet. 64 are kept; [`Self::dropped_decisions`] counts the others.
    ///
    /// ```
    /// use auraio_control::{Controller, Settings};
    ///
    /// let mut controller = Controller::new(Settings::default());
    /// while let Some(decision) = controller.next_decision() {
    ///     println!("{} -> {}: {}", decision.from, decision.to, decision.reason.name());
    /// }
    /// ```
    pub fn next_decision(&mut self) -> Option<Decision> {
        self.shared.journal.next()
    }

    /// Decisions that nobody took in time.
    ///
    /// ```
    /// use auraio_control::{Controller, Settings};
    ///
    /// assert_eq!(Controller::new(Settings::default()).dropped_decisions(), 0);
    /// ```
    #[must_use]
    pub const fn dropped_decisions(&self) -> u64 {
        self.shared.journal.dropped()
    }

    /// A sample on the timeline and within reason.
    fn event(&mut self, sample: &Sample) -> Event {
        let latency = sample.now.saturating_sub(sample.submitted);
        let placed = self.timeline.advance(sample.now);
        self.shared.journal.at = sample.now;
        // `max` also turns what is not a number into 1.
        let asked = f64::from(sample.work.max(1.0));
        if self.work_mean == 0.0 {
            self.work_mean = asked.min(f64::from(u32::MAX));
        }
        let work = asked.min(WORK_MAX * self.work_mean);
        self.work_mean += (work - self.work_mean) / WORK_MEMORY;
        Event {
            now: self.timeline.now(),
            submitted: placed.saturating_sub(latency),
            latency,
            unseen: sample.unseen,
            in_flight: sample.in_flight.saturating_add(1),
            waiting: sample.waiting,
            work,
        }
    }
}

impl Law {
    /// The law of a policy, beginning at a limit that another one had, or anew.
    fn new(policy: Policy, limit: Option<u32>, now: u64, shared: &Shared) -> Self {
        match policy {
            Policy::Fixed(limit) => Self::Fixed(shared.bounds.clamp(limit)),
            Policy::Aimd => Self::Aimd(Aimd::new(limit, now, shared)),
            Policy::Knee => Self::Knee(Knee::new(limit, now, shared)),
        }
    }
}
