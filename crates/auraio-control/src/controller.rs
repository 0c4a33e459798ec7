//! The controller: a law, with a timeline before it that makes samples sound.

use crate::{
    Decision, Phase, Policy, Reason, Sample, Settings,
    decision::Journal,
    guard::Sentry,
    law::{Event, Law, LawInForce, Shared},
    timeline::Timeline,
};

/// The mean work of an operation is that of about the last so many operations.
const WORK_MEMORY: f64 = 64.0;
/// One operation counts as at most so many usual ones. So a read of 1 GiB among reads of 4 KiB changes the throughput of the
/// shortest segment on a fast disk by 3 %, which is within its error.
const WORK_MAX: f64 = 8.0;

/// The outer loop of one device in one mode (direct or buffered).
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
    law: LawInForce,
}

impl Controller {
    /// A controller that knows nothing yet. Settings that [`Settings::check`] refuses are replaced by the nearest ones that it
    /// accepts.
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
        let law = LawInForce::new(settings.policy, None, 0, &shared);
        Self { settings, timeline: Timeline::default(), work_mean: 0.0, shared, law }
    }

    /// Takes note of a completion, and moves the limit if there is reason to.
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
        if let Policy::Fixed(_) = self.settings.policy {
            // It learns nothing, so the sample need not be made sound.
            return;
        }
        let event = self.event(sample);
        self.law.on_completion(&event, &mut self.shared);
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
        self.law.limit()
    }

    /// What the loop is doing.
    ///
    /// ```
    /// use auraio_control::{Controller, Settings};
    ///
    /// assert_eq!(Controller::new(Settings::default()).phase().name(), "base");
    /// ```
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.law.phase()
    }

    /// The settings in force.
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

    /// Changes the settings at the time `now`, also under load. The limit stays as it is if the new settings allow it. What
    /// the controller knows of the device's latency stays known.
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
        if settings.policy == self.settings.policy {
            self.law.bounds_or_guard_changed(at, &self.shared);
        } else {
            self.law = LawInForce::new(settings.policy, Some(from), at, &self.shared);
        }
        self.settings = settings;
        self.shared.journal.record(Decision::new(Reason::Set, self.phase(), from, self.limit()));
    }

    /// Keeps the limit at `least` or more from now on, even if the settings' minimum is smaller.
    ///
    /// `least` is the number of rings that share the limit. Each ring may always have one operation in flight, so fewer
    /// operations than rings would never be seen in flight, and a test of such a limit would wait for ever. A fixed limit
    /// stays as it is.
    ///
    /// ```
    /// use auraio_control::{Controller, Settings};
    ///
    /// let mut controller = Controller::new(Settings::default());
    /// controller.set_least(16, 0);
    /// assert_eq!(controller.limit(), 16);
    /// ```
    pub fn set_least(&mut self, least: u32, now: u64) {
        if let Policy::Fixed(_) = self.settings.policy {
            return;
        }
        let bounds = self.settings.bounds.sound();
        let min = bounds.min.max(least).min(bounds.max);
        if min == self.shared.bounds.min {
            return;
        }
        self.shared.bounds.min = min;
        if self.limit() < min {
            self.timeline.advance(now);
            let at = self.timeline.now();
            self.law.bounds_or_guard_changed(at, &self.shared);
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

    /// Whether the p99 is above the guard even at the smallest limit. The limit then stays the smallest, until a p99 well
    /// below the guard is seen there.
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

    /// Takes the oldest decision that was not taken yet. The latest 64 are kept; [`Self::dropped_decisions`] counts those that
    /// were dropped.
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

    /// How many decisions were dropped because nobody took them in time.
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

    /// Makes a sample sound: its times are put on the timeline, and its work is bounded.
    fn event(&mut self, sample: &Sample) -> Event {
        let latency = sample.now.saturating_sub(sample.submitted);
        let placed = self.timeline.advance(sample.now);
        self.shared.journal.at = sample.now;
        // `max` also turns NaN into 1.
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
