//! The wishes of the users of lanes: engines, and files with a guard of their own. What comes of several wishes for one device
//! is arithmetic, and stands in [`Settings::of_wishes`](crate::control::Settings::of_wishes).

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use super::Lane;
use crate::{
    control::{Priority, Settings, Wish},
    lock,
};

/// The wish of one user of lanes: an engine, or a file with a guard of its own.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    asked: Mutex<Asked>,
    /// The largest limit of a user that names none itself. A file has none.
    room: Option<u32>,
    /// The lanes that hear the wish.
    lanes: Mutex<Vec<Arc<Lane>>>,
}

/// A wish, and when its policy was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    wish: Wish,
    policy_at: u64,
}

/// Numbers the policies that the process has been asked for, so that the last one can be told.
static ASKED: AtomicU64 = AtomicU64::new(1);

impl Wishes {
    /// The wish of an engine, which can have `room` operations in flight on a device.
    pub(crate) fn of(wish: Wish, room: u32) -> Arc<Self> {
        let asked = Asked { wish, policy_at: ASKED.fetch_add(1, Ordering::Relaxed) };
        Arc::new(Self { asked: Mutex::new(asked), room: Some(room), lanes: Mutex::default() })
    }

    /// The wish as it was asked for.
    pub(crate) fn wish(&self) -> Wish {
        lock(&self.asked).wish
    }

    /// The class of files that are opened from now on.
    pub(crate) fn class(&self) -> Priority {
        self.wish().priority.unwrap_or_default()
    }

    pub(crate) const fn room(&self) -> Option<u32> {
        self.room
    }

    /// The settings if there were no other user.
    pub(crate) fn settings(&self) -> Settings {
        self.complete().1.settings()
    }

    /// The wish with what the user can have in flight at most; and when its policy was asked for.
    fn complete(&self) -> (u64, Wish) {
        let Asked { wish, policy_at } = *lock(&self.asked);
        (policy_at, self.room.map_or(wish, |room| wish.with_room(room)))
    }

    /// From now on the lane hears this wish too.
    pub(crate) fn use_lane(self: &Arc<Self>, lane: &Arc<Lane>) {
        let mut lanes = lock(&self.lanes);
        if lanes.iter().any(|used| Arc::ptr_eq(used, lane)) {
            return;
        }
        lanes.push(Arc::clone(lane));
        drop(lanes);
        lane.add_client(self);
    }

    /// Changes the wish. `change` finds no policy in it. If it puts one there, that policy counts as asked for now; if not,
    /// the policy of before stays, and so does the time when it was asked for.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Wish)) {
        let mut asked = lock(&self.asked);
        let before = asked.wish.policy.take();
        change(&mut asked.wish);
        if asked.wish.policy.is_some() {
            asked.policy_at = ASKED.fetch_add(1, Ordering::Relaxed);
        } else {
            asked.wish.policy = before;
        }
        drop(asked);
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

/// Brings the wishes of all users of a lane together.
pub(super) fn together(users: &[Arc<Wishes>]) -> Settings {
    let mut wishes: Vec<(u64, Wish)> = users.iter().map(|user| user.complete()).collect();
    wishes.sort_by_key(|(policy_at, _)| *policy_at);
    Settings::of_wishes(&wishes.into_iter().map(|(_, wish)| wish).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Bounds, Policy};

    #[test]
    fn the_policy_that_was_asked_for_last_is_in_force() {
        let wish = |policy| Wish { policy: Some(policy), ..Wish::default() };
        let users = [Wishes::of(wish(Policy::Knee), 64), Wishes::of(wish(Policy::Fixed(8)), 64)];
        assert_eq!(together(&users).policy, Policy::Fixed(8));
        users[0].change(|wish| wish.policy = Some(Policy::Aimd));
        assert_eq!(together(&users).policy, Policy::Aimd);
    }

    #[test]
    fn a_policy_that_was_only_kept_is_not_asked_for_again() {
        let users = [Wishes::of(Wish::default(), 64), Wishes::of(Wish::default(), 64)];
        users[0].change(|wish| wish.policy = Some(Policy::Aimd));
        users[1].change(|wish| wish.policy = Some(Policy::Fixed(8)));
        users[0].change(|wish| *wish = Wish { in_flight_max: Some(32), ..Wish::default() });
        assert_eq!(users[0].wish().policy, Some(Policy::Aimd));
        assert_eq!(together(&users).policy, Policy::Fixed(8));
    }

    #[test]
    fn an_engine_has_the_bounds_of_its_room_and_a_file_has_none() {
        let engine = Wishes::of(Wish::default(), 16);
        assert_eq!(engine.settings().bounds, Bounds { min: 1, max: 16 });
        engine.change(|wish| wish.in_flight_min = Some(4));
        assert_eq!(together(&[engine, Arc::default()]).bounds, Bounds { min: 4, max: 16 });
    }
}
