//! What a law is: the rule by which an in-flight limit is found. [`Fixed`], [`Aimd`] and [`Knee`] are the three of them.

use crate::{Bounds, Phase, Policy, aimd::Aimd, decision::Journal, fixed::Fixed, guard::Sentry, knee::Knee};

/// A rule that moves an in-flight limit by what it is told of completions.
///
/// The controller calls a law for every completion, in the order of time, and reads the limit after each call. A law owes
/// the following.
///
/// - **To the bounds**: [`limit`](Law::limit) is never below `shared.bounds.min` nor above `shared.bounds.max`. The bounds
///   change only before a call of [`bounds_or_guard_changed`](Law::bounds_or_guard_changed), which brings the limit inside.
/// - **To the guard**: it shows every completion to [`Sentry::watch`], with the limit in force. If that answers that the p99
///   is above the guard, the law lowers the limit at once to what [`Sentry::cut`] answers. If the limit is the smallest
///   already, it calls [`Sentry::give_up`] in place of a cut, and stays. A law that does not keep the guard (only [`Fixed`]
///   does not) says so in its documentation.
/// - **To the segment**: it draws no conclusion about a limit from operations that were submitted under another one, nor
///   from time in which no operation waited behind the limit. Too little evidence moves nothing.
/// - **To the journal**: it records a [`Decision`](crate::Decision) whenever the limit that it has found changes, and when the
///   guard turns out to be infeasible. Limits that it tries for a moment are no decisions.
/// - **To the caller**: a call takes constant time but at the end of a segment, allocates nothing, and never fails.
pub(crate) trait Law {
    /// The limit in force now. While the law tests another limit than the one it has found, this is the tested one.
    fn limit(&self) -> u32;

    /// What the law is doing.
    fn phase(&self) -> Phase;

    /// Takes note of a completion, and moves the limit if that is due.
    fn on_completion(&mut self, event: &Event, shared: &mut Shared);

    /// The bounds or the guard in `shared` are others from `now` on. The law keeps its limit where they allow it.
    fn bounds_or_guard_changed(&mut self, now: u64, shared: &Shared);
}

/// A completion as laws see it: the times are on the timeline, and the work is a number within reason.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// When it was reaped.
    pub(crate) now: u64,
    /// When it was submitted; never after `now`.
    pub(crate) submitted: u64,
    /// From submission to reaping.
    pub(crate) latency: u64,
    /// For how much of the latency it may have lain completed, because the host was busy.
    pub(crate) unseen: u64,
    /// Operations in flight just before it completed, with this one.
    pub(crate) in_flight: u32,
    /// Operations that wait behind the limit.
    pub(crate) waiting: u32,
    /// What it was worth, in operations.
    pub(crate) work: f64,
}

/// What every law works with, and what stays when the law is exchanged for another.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) bounds: Bounds,
    pub(crate) sentry: Sentry,
    pub(crate) journal: Journal,
}

/// The law in force: one of the three.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a device has one law, and a box would cost a cache miss for every completion"
)]
pub(crate) enum LawInForce {
    Fixed(Fixed),
    Aimd(Aimd),
    Knee(Knee),
}

impl LawInForce {
    /// The law of a policy. It begins at `limit`, which another law had found, or anew if there is none.
    pub(crate) fn new(policy: Policy, limit: Option<u32>, now: u64, shared: &Shared) -> Self {
        match policy {
            Policy::Fixed(limit) => Self::Fixed(Fixed::new(limit, shared)),
            Policy::Aimd => Self::Aimd(Aimd::new(limit, now, shared)),
            Policy::Knee => Self::Knee(Knee::new(limit, now, shared)),
        }
    }

    fn law(&self) -> &dyn Law {
        match self {
            Self::Fixed(fixed) => fixed,
            Self::Aimd(aimd) => aimd,
            Self::Knee(knee) => knee,
        }
    }

    fn law_mut(&mut self) -> &mut dyn Law {
        match self {
            Self::Fixed(fixed) => fixed,
            Self::Aimd(aimd) => aimd,
            Self::Knee(knee) => knee,
        }
    }
}

impl Law for LawInForce {
    #[inline]
    fn limit(&self) -> u32 {
        match self {
            Self::Fixed(fixed) => fixed.limit(),
            Self::Aimd(aimd) => aimd.limit(),
            Self::Knee(knee) => knee.limit(),
        }
    }

    fn phase(&self) -> Phase {
        self.law().phase()
    }

    /// Called for every completion, so the call of the law is a direct one.
    #[inline]
    fn on_completion(&mut self, event: &Event, shared: &mut Shared) {
        match self {
            Self::Fixed(fixed) => fixed.on_completion(event, shared),
            Self::Aimd(aimd) => aimd.on_completion(event, shared),
            Self::Knee(knee) => knee.on_completion(event, shared),
        }
    }

    fn bounds_or_guard_changed(&mut self, now: u64, shared: &Shared) {
        self.law_mut().bounds_or_guard_changed(now, shared);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Guard;

    /// Every law, driven by the same completions: all late, in bounds that change on the way.
    #[test]
    fn every_law_keeps_its_limit_within_bounds_that_change() {
        for policy in Policy::ALL {
            let bounds = Bounds { min: 4, max: 64 };
            let mut shared = Shared { bounds, sentry: Sentry::new(Guard::Auto), journal: Journal::new() };
            let mut law = LawInForce::new(policy, Some(32), 0, &shared);
            for step in 1..20_000_u64 {
                let now = step * 50_000;
                if step % 5_000 == 0 {
                    shared.bounds = Bounds { min: 8, max: 8 + (step / 1_000) as u32 };
                    law.bounds_or_guard_changed(now, &shared);
                }
                let latency = if step % 7 == 0 { 30_000_000 } else { 200_000 };
                let submitted = now.saturating_sub(latency);
                let in_flight = law.limit();
                law.on_completion(
                    &Event { now, submitted, latency, unseen: 0, in_flight, waiting: 9, work: 1.0 },
                    &mut shared,
                );
                let Bounds { min, max } = shared.bounds;
                assert!((min..=max).contains(&law.limit()), "{}: {} at step {step}", policy.name(), law.limit());
            }
        }
    }
}
