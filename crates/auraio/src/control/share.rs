//! One in-flight limit, shared out among the rings that use the same device.
//!
//! Shares are max-min fair: no ring gets more than it asks for while another has less than it asks for and less than that
//! ring. Half of what nobody asks for is spread as headroom, so that rings which have enough need not say anything. It is meant to
//! be called under a lock, and seldom: a ring reports when it runs out of its share, and at the end of its turns while
//! [`is_contended`](Shares::is_contended) says that somebody is short. Nothing is written by operations that fit.
//!
//! A place moves only when it is free for certain. A ring may use its share without telling, so what is taken from a ring
//! counts as in use until that ring has reported; a ring that does not by itself (it sleeps) is asked to
//! ([`next_to_ask`](Shares::next_to_ask)). A cut of the limit drains first for the same reason.

#[cfg(test)]
mod tests;

/// Bells that one report may cause to be rung for [`Shares::next_to_ask`]. Whoever is asked reports, and so asks the next.
const ASKED_PER_REPORT: u32 = 2;
/// What is left over when places do not divide evenly goes round while rings have fewer places than this. With more, one
/// place is too little to be unfair (Jain's index 0.999).
const ROTATE_BELOW: u32 = 16;

/// A ring among those that share. Of one that has left it stays invalid for ever, whoever comes in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    index: usize,
    generation: u64,
}

/// Who has how many places of one limit.
///
/// ```
/// use auraio::control::Shares;
///
/// let mut shares = Shares::new(48);
/// let (one, two) = (shares.join(), shares.join());
/// assert_eq!(shares.report(one, 0, 100), 48, "the other wants nothing");
/// // The other wants as much: it has to wait for what the first has in flight.
/// assert_eq!(shares.report(two, 0, 100), 0);
/// assert_eq!(shares.share(one), 24);
/// assert_eq!(shares.report(one, 40, 100), 24);
/// assert_eq!(shares.share(two), 8);
/// shares.report(one, 24, 100);
/// assert_eq!(shares.share(two), 24);
/// ```
#[derive(Clone, Debug)]
pub struct Shares {
    limit: u32,
    seats: Vec<Option<Seat>>,
    members: u32,
    generation: u64,
    /// Sum of what may be in flight: of each member its share, or what it has in flight beyond it.
    committed: u64,
    /// Members that ask for more than their share.
    short: u32,
    /// The most that a member gets which is not satisfied with less; `None` while the limit is enough for all.
    level: Option<u32>,
    /// Where the search for the next in turn begins.
    cursor: usize,
    /// Counts the times that somebody became short.
    epoch: u64,
    /// Whether somebody was short when the last call ended.
    contended: bool,
    /// Bells that may still be rung on account of the last report.
    asks: u32,
    /// Members that were given a place while they had nothing to wait for it by.
    to_wake: u32,
}

/// What is known of a member.
#[derive(Clone, Copy, Debug)]
struct Seat {
    generation: u64,
    share: u32,
    /// The most that it may have in flight beside its share: what it reported, or a share that it does not know to be
    /// smaller now.
    held: u32,
    in_flight: u32,
    waiting: u32,
    /// Its share when it last reported: what it has had the time to use.
    told: u32,
    /// Whether one place more than the level is meant for it.
    extra: bool,
    /// Its share was cut since its last report.
    owes: bool,
    /// The epoch in which it last reported.
    heard: u64,
    /// It was asked to report, and has not yet.
    asked: bool,
    wake: bool,
}

impl Seat {
    const fn demand(&self) -> u32 {
        self.in_flight.saturating_add(self.waiting)
    }

    fn committed(&self) -> u64 {
        u64::from(self.share.max(self.held))
    }

    const fn is_short(&self) -> bool {
        self.demand() > self.share
    }
}

impl Shares {
    /// Nobody shares yet.
    ///
    /// ```
    /// assert_eq!(auraio::control::Shares::new(32).limit(), 32);
    /// ```
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self {
            limit,
            seats: Vec::new(),
            members: 0,
            generation: 0,
            committed: 0,
            short: 0,
            level: None,
            cursor: 0,
            epoch: 0,
            contended: false,
            asks: 0,
            to_wake: 0,
        }
    }

    /// What all shares together come to at most.
    ///
    /// ```
    /// assert_eq!(auraio::control::Shares::new(32).limit(), 32);
    /// ```
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// A new member, with no share yet.
    ///
    /// ```
    /// let mut shares = auraio::control::Shares::new(32);
    /// let ring = shares.join();
    /// assert_eq!(shares.share(ring), 0);
    /// ```
    pub fn join(&mut self) -> Member {
        self.generation += 1;
        let seat = Seat {
            generation: self.generation,
            share: 0,
            held: 0,
            in_flight: 0,
            waiting: 0,
            told: 0,
            extra: false,
            owes: false,
            heard: self.epoch,
            asked: false,
            wake: false,
        };
        self.members += 1;
        let index = self.seats.iter().position(Option::is_none).unwrap_or(self.seats.len());
        if index == self.seats.len() {
            self.seats.push(None);
        }
        self.seats[index] = Some(seat);
        Member { index, generation: self.generation }
    }

    /// A member leaves, and its places are free at once: it must have nothing in flight any more.
    ///
    /// ```
    /// let mut shares = auraio::control::Shares::new(32);
    /// let (one, two) = (shares.join(), shares.join());
    /// shares.report(one, 0, 100);
    /// shares.report(two, 0, 100);
    /// shares.leave(one);
    /// assert_eq!(shares.share(two), 32);
    /// assert_eq!(shares.share(one), 0);
    /// ```
    pub fn leave(&mut self, member: Member) {
        let Some(seat) = self.seat(member).copied() else { return };
        self.committed -= seat.committed();
        self.short -= u32::from(seat.is_short());
        self.to_wake -= u32::from(seat.wake);
        self.members -= 1;
        self.seats[member.index] = None;
        self.share_out(None);
        self.settle();
    }

    /// Changes the limit. After a cut nobody's share grows until enough has come back.
    ///
    /// ```
    /// let mut shares = auraio::control::Shares::new(32);
    /// let ring = shares.join();
    /// shares.report(ring, 0, 100);
    /// shares.set_limit(8);
    /// assert_eq!(shares.share(ring), 8);
    /// ```
    pub fn set_limit(&mut self, limit: u32) {
        if limit != self.limit {
            self.limit = limit;
            self.share_out(None);
            self.settle();
        }
    }

    /// A member says what it has in flight, and how many operations wait besides; the answer is its share now. It must not
    /// start more than that before it reports or asks again.
    ///
    /// ```
    /// let mut shares = auraio::control::Shares::new(10);
    /// let (one, two) = (shares.join(), shares.join());
    /// assert_eq!(shares.report(one, 0, 2), 4, "2, and a part of what nobody wants");
    /// assert_eq!(shares.report(two, 0, 1), 2, "which is its part");
    /// ```
    pub fn report(&mut self, member: Member, in_flight: u32, waiting: u32) -> u32 {
        let Some(seat) = self.seat_mut(member) else { return 0 };
        let before = *seat;
        seat.held = in_flight;
        seat.in_flight = in_flight;
        seat.waiting = waiting;
        seat.owes = false;
        seat.asked = false;
        let woken = std::mem::take(&mut seat.wake);
        let after = *seat;
        self.to_wake -= u32::from(woken);
        self.committed = self.committed - before.committed() + after.committed();
        self.short = self.short - u32::from(before.is_short()) + u32::from(after.is_short());
        self.asks = ASKED_PER_REPORT;
        if self.short == 0 {
            // From here on it is not followed who wants what.
            self.level = None;
        } else {
            // Whoever wants more than the level wants the same, however much it is.
            let clipped = |seat: &Seat| seat.demand().min(self.level.unwrap_or(u32::MAX).saturating_add(1));
            if self.level.is_none() || clipped(&before) != clipped(&after) {
                self.share_out(Some(member.index));
            } else {
                self.rotate(member.index);
                self.pay_out();
            }
        }
        self.settle();
        let epoch = self.epoch;
        self.seat_mut(member).map_or(0, |seat| {
            seat.heard = epoch;
            seat.told = seat.share;
            seat.share
        })
    }

    /// What a member may have in flight; 0 of one that has left. Whoever starts operations by this answer does so under the
    /// same lock, or has reported before.
    ///
    /// ```
    /// let mut shares = auraio::control::Shares::new(10);
    /// let ring = shares.join();
    /// shares.report(ring, 0, 1);
    /// assert_eq!(shares.share(ring), 10);
    /// ```
    #[must_use]
    pub fn share(&self, member: Member) -> u32 {
        self.seat(member).map_or(0, |seat| seat.share)
    }

    /// Whether somebody is short: then every member should report at the end of its turns, and before it sleeps.
    ///
    /// ```
    /// let mut shares = auraio::control::Shares::new(1);
    /// let (one, two) = (shares.join(), shares.join());
    /// shares.report(one, 0, 1);
    /// assert!(!shares.is_contended());
    /// shares.report(two, 0, 1);
    /// assert!(shares.is_contended());
    /// ```
    #[must_use]
    pub const fn is_contended(&self) -> bool {
        self.contended
    }

    /// A member that got its first place while it had nothing in flight, so that nothing else would tell it: ring its bell.
    /// Each is named once.
    ///
    /// ```
    /// let mut shares = auraio::control::Shares::new(1);
    /// let (one, two) = (shares.join(), shares.join());
    /// shares.report(one, 0, 1);
    /// shares.report(two, 0, 1);
    /// assert_eq!(shares.next_to_wake(), None);
    /// shares.report(one, 0, 0);
    /// assert_eq!(shares.next_to_wake(), Some(two));
    /// assert_eq!(shares.next_to_wake(), None);
    /// ```
    pub fn next_to_wake(&mut self) -> Option<Member> {
        if self.to_wake == 0 {
            return None;
        }
        self.to_wake -= 1;
        let index = self.seats.iter().position(|seat| seat.is_some_and(|seat| seat.wake))?;
        let seat = self.seats[index].as_mut()?;
        seat.wake = false;
        Some(Member { index, generation: seat.generation })
    }

    /// A member that may keep places which others wait for, without knowing it: ring its bell, so that it reports. At most
    /// two for each report, and each member once until it has answered.
    ///
    /// ```
    /// let mut shares = auraio::control::Shares::new(8);
    /// let (one, two) = (shares.join(), shares.join());
    /// shares.report(one, 0, 8);
    /// shares.report(two, 0, 8);
    /// assert_eq!(shares.next_to_ask(), Some(one), "it was cut to 4");
    /// assert_eq!(shares.next_to_ask(), None);
    /// ```
    pub fn next_to_ask(&mut self) -> Option<Member> {
        if !self.contended || self.asks == 0 {
            return None;
        }
        let epoch = self.epoch;
        let may_keep = |seat: &Seat| !seat.asked && seat.committed() > 0 && (seat.owes || seat.heard != epoch);
        let index = self.next_in_turn(may_keep)?;
        self.asks -= 1;
        let seat = self.seats[index].as_mut()?;
        seat.asked = true;
        Some(Member { index, generation: seat.generation })
    }

    fn seat(&self, member: Member) -> Option<&Seat> {
        self.seats.get(member.index)?.as_ref().filter(|seat| seat.generation == member.generation)
    }

    fn seat_mut(&mut self, member: Member) -> Option<&mut Seat> {
        self.seats.get_mut(member.index)?.as_mut().filter(|seat| seat.generation == member.generation)
    }

    /// The first from the cursor on that will do.
    fn next_in_turn(&self, will_do: impl Fn(&Seat) -> bool) -> Option<usize> {
        let count = self.seats.len();
        (self.cursor..count)
            .chain(0..self.cursor.min(count))
            .find(|&index| self.seats[index].as_ref().is_some_and(&will_do))
    }

    /// Changes a share, and keeps the sums. `knows`: the member itself is calling.
    fn set_share(&mut self, index: usize, share: u32, knows: bool) {
        let Some(seat) = self.seats[index].as_mut() else { return };
        let before = *seat;
        if share < seat.share && !knows {
            seat.held = seat.held.max(seat.share);
            seat.owes = true;
        }
        if seat.share == 0 && share > 0 && !knows && seat.held == 0 && seat.waiting > 0 && !seat.wake {
            seat.wake = true;
            self.to_wake += 1;
        }
        seat.share = share;
        let after = *seat;
        self.committed = self.committed - before.committed() + after.committed();
        self.short = self.short - u32::from(before.is_short()) + u32::from(after.is_short());
    }

    /// Decides anew what everybody should have: takes from those who have more at once, and gives to the others what is
    /// free for certain.
    fn share_out(&mut self, caller: Option<usize>) {
        let demand: u64 = self.taken().map(|(_, seat)| u64::from(seat.demand())).sum();
        self.level = (demand > u64::from(self.limit)).then(|| self.fair_level());
        self.mean_extras();
        for index in 0..self.seats.len() {
            let Some(seat) = self.seats[index] else { continue };
            let target = self.target(&seat, demand);
            if target < seat.share {
                self.set_share(index, target, caller == Some(index));
            }
        }
        self.pay_out_by(demand, caller);
    }

    /// Gives to whoever has less than it should what is free for certain.
    fn pay_out(&mut self) {
        if self.committed < u64::from(self.limit) {
            self.pay_out_by(u64::MAX, None);
        }
    }

    fn pay_out_by(&mut self, demand: u64, caller: Option<usize>) {
        let count = self.seats.len();
        let from = self.cursor;
        for index in (from..count).chain(0..from.min(count)) {
            let free = u64::from(self.limit).saturating_sub(self.committed);
            if free == 0 {
                return;
            }
            let Some(seat) = self.seats[index] else { continue };
            let target = self.target(&seat, demand);
            if target > seat.share {
                // What it holds beyond its share is its own already.
                let room = seat.committed() + free;
                let share = target.min(u32::try_from(room).unwrap_or(u32::MAX));
                self.set_share(index, share, caller == Some(index));
            }
        }
    }

    /// What a member should have. `demand` is that of all together.
    fn target(&self, seat: &Seat, demand: u64) -> u32 {
        match self.level {
            Some(level) => seat.demand().min(level.saturating_add(u32::from(seat.extra))),
            None => {
                // Half of it stays with nobody, so that whoever wants more need not wait for another's answer; but a lone
                // member has it all.
                let parts = u64::from(self.members.max(1)) * 2 - 1;
                let spare = u64::from(self.limit).saturating_sub(demand) / parts;
                seat.demand().saturating_add(u32::try_from(spare).unwrap_or(u32::MAX))
            }
        }
    }

    /// The largest number such that everybody can have as much, or what it asks for if that is less.
    fn fair_level(&self) -> u32 {
        let mut level = self.limit / self.members.max(1);
        loop {
            // Those who ask for less leave something to the others, who can then have more, which may satisfy some.
            let (mut left, mut unsatisfied) = (u64::from(self.limit), 0);
            for (_, seat) in self.taken() {
                if seat.demand() <= level {
                    left -= u64::from(seat.demand());
                } else {
                    unsatisfied += 1;
                }
            }
            let higher = u32::try_from(left / u64::max(unsatisfied, 1)).unwrap_or(u32::MAX);
            if unsatisfied == 0 || higher <= level {
                return level;
            }
            level = higher;
        }
    }

    /// Says for whom the places are meant that the level leaves over: for those who have one, then by turns.
    fn mean_extras(&mut self) {
        let Some(level) = self.level else { return };
        let given: u64 = self.taken().map(|(_, seat)| u64::from(seat.demand().min(level))).sum();
        let mut left = u64::from(self.limit).saturating_sub(given);
        let count = self.seats.len();
        let order = (self.cursor..count).chain(0..self.cursor.min(count));
        for (had, index) in order.clone().map(|index| (true, index)).chain(order.map(|index| (false, index))) {
            let Some(seat) = self.seats[index].as_mut() else { continue };
            if had {
                seat.extra &= seat.demand() > level && left > 0;
            } else if !seat.extra && seat.demand() > level && left > 0 {
                seat.extra = true;
            } else {
                continue;
            }
            left -= u64::from(seat.extra);
        }
    }

    /// The caller passes a place beyond the level on, if it is not in use and another wants it.
    fn rotate(&mut self, caller: usize) {
        let (Some(level), Some(seat)) = (self.level, self.seats[caller]) else { return };
        // One that has only now come to hear of its place is to use it first.
        let has_used = seat.extra && seat.share > level && seat.told > level && seat.in_flight < seat.share;
        if level >= ROTATE_BELOW || !has_used {
            return;
        }
        self.cursor = caller + 1;
        let Some(next) = self.next_in_turn(|seat| !seat.extra && seat.demand() > level) else { return };
        self.set_share(caller, level, true);
        for (index, extra) in [(caller, false), (next, true)] {
            if let Some(seat) = self.seats[index].as_mut() {
                seat.extra = extra;
            }
        }
        // It gets what has come free first, and the search for the one after it begins behind it.
        self.cursor = next;
    }

    /// Notes at the end of a call whether somebody is short.
    fn settle(&mut self) {
        let contended = self.short > 0;
        if contended && !self.contended {
            self.epoch += 1;
        }
        self.contended = contended;
    }

    fn taken(&self) -> impl Iterator<Item = (usize, &Seat)> {
        self.seats.iter().enumerate().filter_map(|(index, seat)| Some((index, seat.as_ref()?)))
    }
}
