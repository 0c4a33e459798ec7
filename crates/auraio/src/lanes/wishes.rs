//! What engines and files ask of the lanes that they use, and how several wishes become one setting.
//!
//! A lane has one loop, so the wishes of its users are combined: the strictest guard, the smallest maximum, the largest
//! minimum that is not above it, and the policy that was asked for last.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use super::Lane;
use crate::{
    control::{Bounds, Guard, Policy, Priority, Settings},
    lock,
};

/// What one engine or file asks of its lanes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    /// The policy, and a number that tells the order in which policies were asked for. The last one wins.
    pub(crate) policy: Option<(u64, Policy)>,
    pub(crate) guard: Option<Guard>,
    pub(crate) bounds: Option<Bounds>,
}

/// The wishes of one client: an engine, or a file with a guard of its own.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    wish: Mutex<Wish>,
    /// The class of files that the engine opens from now on, as [`Priority::index`].
    class: AtomicU8,
    /// The lanes that read these wishes.
    lanes: Mutex<Vec<Arc<Lane>>>,
}

static ASKED: AtomicU64 = AtomicU64::new(1);

impl Wishes {
    pub(crate) fn of(settings: &Settings, class: Priority) -> Arc<Self> {
        let wish = Wish {
            policy: Some((ASKED.fetch_add(1, Ordering::Relaxed), settings.policy)),
            guard: Some(settings.guard),
            bounds: Some(settings.bounds),
        };
        Arc::new(Self { wish: Mutex::new(wish), class: AtomicU8::new(class as u8), lanes: Mutex::default() })
    }

    pub(crate) fn class(&self) -> Priority {
        Priority::ALL[usize::from(self.class.load(Ordering::Relaxed)).min(2)]
    }

    pub(crate) fn set_class(&self, class: Priority) {
        self.class.store(class as u8, Ordering::Relaxed);
    }

    /// What the client asked for. Where it asked for nothing, the defaults.
    pub(crate) fn settings(&self) -> Settings {
        together(&[self.get()])
    }

    pub(crate) fn get(&self) -> Wish {
        *lock(&self.wish)
    }

    /// From now on the lane reads these wishes too.
    pub(crate) fn use_lane(self: &Arc<Self>, lane: &Arc<Lane>) {
        let mut lanes = lock(&self.lanes);
        if lanes.iter().any(|used| Arc::ptr_eq(used, lane)) {
            return;
        }
        lanes.push(Arc::clone(lane));
        drop(lanes);
        lane.add_client(self);
    }

    pub(crate) fn set_policy(&self, policy: Policy) {
        self.change(|wish| wish.policy = Some((ASKED.fetch_add(1, Ordering::Relaxed), policy)));
    }

    pub(crate) fn set_guard(&self, guard: Option<Guard>) {
        self.change(|wish| wish.guard = guard);
    }

    pub(crate) fn set_bounds(&self, bounds: Bounds) {
        self.change(|wish| wish.bounds = Some(bounds));
    }

    fn change(&self, change: impl FnOnce(&mut Wish)) {
        change(&mut lock(&self.wish));
        let lanes = lock(&self.lanes).clone();
        lanes.iter().for_each(|lane| lane.reconsider());
    }
}

impl Drop for Wishes {
    fn drop(&mut self) {
        let lanes = std::mem::take(&mut *lock(&self.lanes));
        lanes.iter().for_each(|lane| lane.reconsider());
    }
}

/// Combines all wishes to one setting.
pub(super) fn together(wishes: &[Wish]) -> Settings {
    let mut settings = Settings::default();
    if let Some((_, policy)) = wishes.iter().filter_map(|wish| wish.policy).max_by_key(|(asked, _)| *asked) {
        settings.policy = policy;
    }
    settings.guard = wishes.iter().filter_map(|wish| wish.guard).reduce(stricter).unwrap_or_default();
    if let Some(max) = wishes.iter().filter_map(|wish| wish.bounds).map(|bounds| bounds.max).min() {
        let min = wishes.iter().filter_map(|wish| wish.bounds).map(|bounds| bounds.min).max().unwrap_or(1);
        settings.bounds = Bounds { min: min.min(max), max };
    }
    settings
}

/// The stricter of two guards. A guard that a client chose counts as stricter than the default.
fn stricter(one: Guard, other: Guard) -> Guard {
    match (one, other) {
        (Guard::Auto, guard) | (guard, Guard::Auto) => guard,
        (Guard::At(one), Guard::At(other)) => Guard::At(one.min(other)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wish(asked: u64, policy: Policy, guard: Guard, min: u32, max: u32) -> Wish {
        Wish { policy: Some((asked, policy)), guard: Some(guard), bounds: Some(Bounds { min, max }) }
    }

    #[test]
    fn nobody_s_wishes_are_the_defaults() {
        assert_eq!(together(&[]), Settings::default());
    }

    #[test]
    fn the_strictest_guard_the_last_policy_and_the_narrowest_bounds_win() {
        let (ten, two) = (Guard::At(Duration::from_millis(10)), Guard::At(Duration::from_millis(2)));
        let merged = together(&[
            wish(2, Policy::Fixed(8), ten, 1, 64),
            wish(1, Policy::Knee, two, 4, 256),
            Wish { guard: Some(Guard::Auto), ..Wish::default() },
        ]);
        assert_eq!(merged.policy, Policy::Fixed(8));
        assert_eq!(merged.guard, two);
        assert_eq!(merged.bounds, Bounds { min: 4, max: 64 });
    }

    #[test]
    fn a_minimum_above_another_user_s_maximum_gives_way() {
        let merged = together(&[wish(1, Policy::Knee, Guard::Auto, 32, 64), wish(2, Policy::Knee, Guard::Auto, 1, 16)]);
        assert_eq!(merged.bounds, Bounds { min: 16, max: 16 });
    }
}
