//! What a user of an engine can wish of the double loop, and see of it. A builder, an engine and a file all carry a
//! [`Wish`]. What is in force on a device comes of the wishes of all its users.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{
    Builder, Engine, File, HistogramKind, LaneDecision, LaneId, Result,
    backend::BackendKind,
    config::QUEUE_DEPTH_MAX,
    control::{BatchPolicy, Guard, Policy, Priority, Settings, Wish},
    lanes::{self, Wishes},
};

impl Builder {
    /// Sets the policy, which finds the in-flight limit of each device (default [`Policy::Knee`]).
    ///
    /// ```
    /// use auraio::{Engine, control::Policy};
    ///
    /// let engine = Engine::builder().policy(Policy::Fixed(32)).build()?;
    /// assert_eq!(engine.control().policy, Policy::Fixed(32));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.wish.policy = Some(policy);
        self
    }

    /// Sets the guard: when a device's p99 latency exceeds it, the in-flight limit is cut at once. Without this call the
    /// guard is 10 ms, or 20 times the mean latency of the idle device if that is more.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use auraio::{Engine, control::Guard};
    ///
    /// let engine = Engine::builder().guard_p99(Duration::from_millis(2)).build()?;
    /// assert_eq!(engine.control().guard, Guard::At(Duration::from_millis(2)));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn guard_p99(mut self, guard: Duration) -> Self {
        self.wish.guard = Some(guard);
        self
    }

    /// Sets the bounds of a device's in-flight limit. Without this call they are 1 and the queue depth; on the backend
    /// `threads` they are 1 and the number of threads.
    ///
    /// ```
    /// use auraio::{Engine, Error};
    ///
    /// let engine = Engine::builder().in_flight(1, 64).build()?;
    /// assert_eq!(engine.control().bounds.max, 64);
    /// assert!(matches!(Engine::builder().in_flight(65, 64).build(), Err(Error::InvalidInput(_))));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn in_flight(mut self, min: u32, max: u32) -> Self {
        (self.wish.in_flight_min, self.wish.in_flight_max) = (Some(min), Some(max));
        self
    }

    /// Sets the class of transfers on files that have no class of their own (default [`Priority::Normal`]).
    ///
    /// ```
    /// use auraio::{Engine, control::Priority};
    ///
    /// let bulk = Engine::builder().priority(Priority::Low).build()?;
    /// # drop(bulk);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn priority(mut self, class: Priority) -> Self {
        self.wish.priority = Some(class);
        self
    }

    /// How many operations an engine on a backend can have in flight on one device.
    pub(crate) const fn room(&self, backend: BackendKind) -> u32 {
        match backend {
            BackendKind::Threads => self.threads_max,
            BackendKind::Uring => self.queue_depth,
            #[cfg(feature = "sim")]
            BackendKind::Sim => self.queue_depth,
        }
    }

    pub(crate) fn batch_policy(&self) -> BatchPolicy {
        self.submit_batch.map_or_else(BatchPolicy::default, BatchPolicy::Fixed)
    }
}

impl Engine {
    /// The same engine for another user: the same rings, threads and files' rules, but with a wish of its own about the
    /// devices that its files are on. Where users of a process wish different things of one device, they get the strictest
    /// guard, the smallest maximum, the largest minimum that fits under it, and the policy that was asked for last.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) as [`Wish::check`] says.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use auraio::{Engine, control::Wish};
    ///
    /// let engine = Engine::builder().build()?;
    /// let strict = engine.with_control(Wish { guard: Some(Duration::from_millis(2)), ..engine.wish() })?;
    /// assert_ne!(strict.control().guard, engine.control().guard);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn with_control(&self, wish: Wish) -> Result<Self> {
        wish.check()?;
        let (shared, client) = (self.shared(), self.client());
        let room = client.room().unwrap_or(QUEUE_DEPTH_MAX);
        Ok(Self::from_shared(shared, Wishes::of(wish, room)))
    }

    /// What this engine wishes of the devices that its files are on.
    ///
    /// ```
    /// use auraio::{Engine, control::{Policy, Wish}};
    ///
    /// let engine = Engine::builder().policy(Policy::Aimd).build()?;
    /// assert_eq!(engine.wish(), Wish { policy: Some(Policy::Aimd), ..Wish::default() });
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn wish(&self) -> Wish {
        self.client().wish()
    }

    /// Replaces the whole wish, also while operations are in flight. A wish without a policy leaves the policy as it is:
    /// a policy that is asked for again would go before those that other users have asked for in the meantime.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) as [`Wish::check`] says. Then nothing has changed.
    ///
    /// ```
    /// use auraio::{Engine, control::{Policy, Wish}};
    ///
    /// let engine = Engine::builder().policy(Policy::Aimd).build()?;
    /// engine.set_wish(Wish { in_flight_max: Some(32), ..Wish::default() })?;
    /// assert_eq!((engine.control().policy, engine.control().bounds.max), (Policy::Aimd, 32));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn set_wish(&self, wish: Wish) -> Result<()> {
        wish.check()?;
        self.client().change(|before| *before = wish);
        Ok(())
    }

    /// The settings that this engine's wish leads to on a device that it alone uses.
    ///
    /// ```
    /// use auraio::{Engine, control::Settings};
    ///
    /// assert_eq!(Engine::builder().build()?.control().policy, Settings::default().policy);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn control(&self) -> Settings {
        self.client().settings()
    }

    /// Changes the policy, also while operations are in flight.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for a fixed limit out of range.
    ///
    /// ```
    /// use auraio::control::Policy;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// engine.set_policy(Policy::Aimd)?;
    /// assert!(engine.set_policy(Policy::Fixed(0)).is_err());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn set_policy(&self, policy: Policy) -> Result<()> {
        let policy = Some(policy);
        Wish { policy, ..Wish::default() }.check()?;
        self.client().change(|wish| wish.policy = policy);
        Ok(())
    }

    /// Changes the guard, also while operations are in flight.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for a guard of zero.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use auraio::control::Guard;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// engine.set_guard(Guard::At(Duration::from_millis(2)))?;
    /// assert!(engine.set_guard(Guard::At(Duration::ZERO)).is_err());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn set_guard(&self, guard: Guard) -> Result<()> {
        let guard = match guard {
            Guard::Auto => None,
            Guard::At(duration) => Some(duration),
        };
        Wish { guard, ..Wish::default() }.check()?;
        self.client().change(|wish| wish.guard = guard);
        Ok(())
    }

    /// Changes the bounds of the in-flight limit, also while operations are in flight.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for a minimum of zero, or one above the maximum.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// engine.set_in_flight(1, 32)?;
    /// assert!(engine.set_in_flight(33, 32).is_err());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn set_in_flight(&self, min: u32, max: u32) -> Result<()> {
        let (in_flight_min, in_flight_max) = (Some(min), Some(max));
        Wish { in_flight_min, in_flight_max, ..Wish::default() }.check()?;
        self.client().change(|wish| *wish = Wish { in_flight_min, in_flight_max, ..*wish });
        Ok(())
    }

    /// Changes the class of the files that this engine opens from now on.
    ///
    /// ```
    /// use auraio::control::Priority;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// engine.set_priority(Priority::Low);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn set_priority(&self, class: Priority) {
        self.client().change(|wish| wish.priority = Some(class));
    }

    /// The latencies of a lane since it was first used, in nanoseconds, with an error of at most 1 %. `None` if there is no
    /// such lane.
    ///
    /// ```
    /// use auraio::{HistogramKind, OpenOptions};
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # engine.block_on(async {
    /// let file = engine.open("Cargo.toml", OpenOptions::new().read(true)).await?;
    /// let lane = file.lane().expect("a regular file is on a device");
    /// let latencies = engine.histogram(lane, HistogramKind::Total).expect("the lane is there");
    /// println!("p99 {} us of {}", latencies.value_at_quantile(0.99) / 1000, latencies.len());
    /// # Ok::<(), auraio::Error>(())
    /// # })?;
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn histogram(&self, lane: LaneId, kind: HistogramKind) -> Option<Histogram<u64>> {
        self.shared().rings().iter().for_each(|ring| ring.report_lanes());
        lanes::by_id(lane).map(|lane| lane.histogram(kind))
    }

    /// The decisions of all loops of the process that have a number above `after`, oldest first. The last 1,024 are kept.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// let mut seen = 0;
    /// for decided in engine.decisions(seen) {
    ///     println!("{} because of {}", decided.decision.to, decided.decision.reason.name());
    ///     seen = decided.number;
    /// }
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn decisions(&self, after: u64) -> Vec<LaneDecision> {
        lanes::decisions_after(after)
    }

    /// The number of the last decision, or 0 if there was none. It costs one load.
    ///
    /// ```
    /// # let engine = auraio::Engine::builder().build()?;
    /// assert!(engine.decisions(engine.decisions_so_far()).is_empty());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn decisions_so_far(&self) -> u64 {
        lanes::decisions_so_far()
    }
}

impl File {
    /// The lane that governs transfers on the file. `None` if it is not a regular file.
    ///
    /// ```
    /// use auraio::OpenOptions;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// let file = engine.block_on(engine.open("Cargo.toml", OpenOptions::new().read(true)))?;
    /// assert!(file.lane().is_some());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn lane(&self) -> Option<LaneId> {
        self.inner().lane().map(|lane| lane.id())
    }

    /// Sets a guard for the file's device, for as long as the file is open. The strictest of all guards of the device
    /// counts. `None` takes the guard back.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for zero.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use auraio::OpenOptions;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// let file = engine.block_on(engine.open("Cargo.toml", OpenOptions::new().read(true)))?;
    /// file.set_guard(Some(Duration::from_millis(2)))?;
    /// let lane = engine.stats().lanes.into_iter().find(|lane| Some(lane.id) == file.lane()).expect("it is there");
    /// assert!(lane.guard_p99_ms <= 2.0);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn set_guard(&self, guard: Option<Duration>) -> Result<()> {
        Wish { guard, ..Wish::default() }.check()?;
        self.inner().wish(|wish| wish.guard = guard);
        Ok(())
    }

    /// Sets the class of the file's transfers from now on. A transfer with a class of its own keeps that.
    ///
    /// ```
    /// use auraio::{OpenOptions, control::Priority};
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// let file = engine.block_on(engine.open("Cargo.toml", OpenOptions::new().read(true)))?;
    /// file.set_priority(Priority::High);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn set_priority(&self, class: Priority) {
        self.inner().set_priority(class);
    }
}
