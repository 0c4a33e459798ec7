//! One in-flight limit, shared out among the rings that use the same device.
//!
//! Shares are max-min fair and work-conserving: no ring is kept from a place that nobody else wants, and none has more than
//! it asks for while another has less than that and less than the first. What nobody asks for is spread as headroom, so
//! that rings which have enough need not say anything.
//!
//! Every ring may always have one operation in flight, even where that is more than the limit in all. So no ring ever
//! depends on another to let it go on: one whose thread is busy with something else for a second, or has gone to sleep
//! for good, holds nobody up, and nobody has to be woken to be told of a place.
//!
//! It is called under a lock, seldom: rings report in bulk.

/// Names a ring among those that share a limit.
///
/// ```
/// use auraio_control::Shares;
///
/// let mut shares = Shares::new(8);
/// let (one, other) = (shares.join(64), shares.join(64));
/// assert_ne!(one, other);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member(usize);

/// A ring that was not heard of for so long is taken to have nothing in flight: its thread does something else, and what it
/// has in flight completed long ago. Nanoseconds; many times what a disk takes for its whole queue.
const SILENT_NS: u64 = 250_000_000;

/// What a ring that wants nothing may begin with before it says so. What it may use counts as used when another ring wants
/// it, so a thread that moves to another core would leave its old ring with all places for a while.
const IDLE_HEADROOM: u32 = 8;

/// How often shares are worked out before places that do not divide evenly go to the next rings: seldom, because a place
/// that goes round lies idle on its way.
const ROUNDS_PER_TURN: usize = 1024;

/// A limit and its shares.
///
/// ```
/// use auraio_control::Shares;
///
/// let mut shares = Shares::new(48);
/// let (busy, idle) = (shares.join(64), shares.join(64));
/// shares.report(busy, 0, 100, 0);
/// assert_eq!(shares.share(busy), 48);
/// // The other one wants its part now; it gets it as the first one's operations complete.
/// shares.report(idle, 0, 100, 0);
/// shares.report(busy, 24, 76, 0);
/// shares.report(idle, 1, 99, 0);
/// assert_eq!((shares.share(busy), shares.share(idle)), (24, 24));
/// ```
#[derive(Clone, Debug)]
pub struct Shares {
    limit: u32,
    seats: Vec<Option<Seat>>,
    /// Somebody wanted more than there was when shares were last worked out.
    contended: bool,
    /// Those that want anything.
    busy: u32,
    /// How often shares were worked out: places that do not divide evenly go round with it.
    rounds: usize,
    /// For the pass over demands, kept to allocate nothing.
    demands: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    capacity: u32,
    share: u32,
    /// What it may have in flight for all that is known: what it said last, or a share that was larger since.
    used: u32,
    /// In flight and waiting.
    demand: u32,
    heard: u64,
}

impl Shares {
    /// A limit that nobody shares yet.
    ///
    /// ```
    /// assert_eq!(auraio_control::Shares::new(8).limit(), 8);
    /// ```
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self { limit, seats: Vec::new(), contended: false, busy: 0, rounds: 0, demands: Vec::new() }
    }

    /// What is shared out.
    ///
    /// ```
    /// let mut shares = auraio_control::Shares::new(8);
    /// shares.set_limit(4);
    /// assert_eq!(shares.limit(), 4);
    /// ```
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// A ring begins to use the device. Its share is never more than what it could have in flight: `capacity`.
    ///
    /// ```
    /// let mut shares = auraio_control::Shares::new(8);
    /// let only = shares.join(64);
    /// assert_eq!(shares.share(only), 8);
    /// ```
    pub fn join(&mut self, capacity: u32) -> Member {
        let at = self.seats.iter().position(Option::is_none).unwrap_or(self.seats.len());
        if at == self.seats.len() {
            self.seats.push(None);
        }
        self.seats[at] = Some(Seat { capacity, ..Seat::default() });
        self.share_out(None);
        Member(at)
    }

    /// A ring has ended; its share is for the others.
    ///
    /// ```
    /// let mut shares = auraio_control::Shares::new(8);
    /// let (one, other) = (shares.join(64), shares.join(64));
    /// shares.leave(one);
    /// assert_eq!(shares.share(other), 8);
    /// ```
    pub fn leave(&mut self, member: Member) {
        if let Some(seat) = self.seats.get_mut(member.0) {
            self.busy -= u32::from(seat.is_some_and(|seat| seat.demand > 0));
            *seat = None;
            self.share_out(None);
        }
    }

    /// Changes the limit. What is in flight past a smaller one completes; nothing new takes its place.
    ///
    /// ```
    /// let mut shares = auraio_control::Shares::new(8);
    /// let only = shares.join(64);
    /// shares.set_limit(2);
    /// assert_eq!(shares.share(only), 2);
    /// ```
    pub fn set_limit(&mut self, limit: u32) {
        if limit != self.limit {
            self.limit = limit;
            self.share_out(None);
        }
    }

    /// What a ring has in flight and what waits there, at a time in nanoseconds.
    ///
    /// ```
    /// let mut shares = auraio_control::Shares::new(8);
    /// let (one, _other) = (shares.join(64), shares.join(64));
    /// shares.report(one, 2, 6, 0);
    /// assert_eq!(shares.share(one), 8);
    /// ```
    pub fn report(&mut self, member: Member, in_flight: u32, waiting: u32, now: u64) {
        let Some(Some(seat)) = self.seats.get_mut(member.0) else { return };
        let demand = in_flight.saturating_add(waiting);
        self.busy = self.busy + u32::from(demand > 0) - u32::from(seat.demand > 0);
        let same = seat.used == in_flight && seat.demand == demand;
        (seat.used, seat.demand, seat.heard) = (in_flight, demand, now);
        // Where all have what they want, only who wants more than it has moves anything.
        let idles = demand == 0 && seat.share > IDLE_HEADROOM;
        if demand > seat.share || idles || self.contended && !same {
            self.share_out(Some((member, now)));
        }
    }

    /// How many a ring may have in flight: at least 1.
    ///
    /// ```
    /// let mut shares = auraio_control::Shares::new(1);
    /// let (one, other) = (shares.join(64), shares.join(64));
    /// assert_eq!((shares.share(one), shares.share(other)), (1, 1));
    /// ```
    #[must_use]
    pub fn share(&self, member: Member) -> u32 {
        self.seats.get(member.0).copied().flatten().map_or(1, |seat| seat.share)
    }

    /// Rings that want anything.
    ///
    /// ```
    /// let mut shares = auraio_control::Shares::new(8);
    /// let (one, _other) = (shares.join(64), shares.join(64));
    /// shares.report(one, 1, 0, 0);
    /// assert_eq!(shares.busy(), 1);
    /// ```
    #[must_use]
    pub const fn busy(&self) -> u32 {
        self.busy
    }

    /// Whether somebody wants more than it has: then rings report each completion.
    ///
    /// ```
    /// let mut shares = auraio_control::Shares::new(8);
    /// let (one, other) = (shares.join(64), shares.join(64));
    /// shares.report(one, 4, 0, 0);
    /// assert!(!shares.is_contended());
    /// shares.report(other, 4, 9, 0);
    /// assert!(shares.is_contended());
    /// ```
    #[must_use]
    pub const fn is_contended(&self) -> bool {
        self.contended
    }

    /// Works all shares out anew.
    fn share_out(&mut self, reporter: Option<(Member, u64)>) {
        let members = self.seats.iter().flatten().count() as u32;
        if members == 0 {
            self.contended = false;
            return;
        }
        self.rounds = self.rounds.wrapping_add(1);
        let first = self.rounds / ROUNDS_PER_TURN % self.seats.len();
        let (level, left) = self.level();
        let (headroom, mut odd) = (left / members, left % members);
        // What falls to a ring comes from what is free: places that another one still uses pass over as it is done with them.
        let mut free = u64::from(self.limit);
        let mut odd_level = level.odd;
        let count = self.seats.len();
        for at in (0..count).map(|step| (first + step) % count) {
            let Some(seat) = &mut self.seats[at] else { continue };
            let mut target = seat.demand.min(level.places);
            if seat.demand > level.places && odd_level > 0 {
                odd_level -= 1;
                target += 1;
            }
            target += if seat.demand > 0 || members == 1 && reporter.is_none() {
                headroom + u32::from(odd > 0)
            } else {
                (headroom + u32::from(odd > 0)).min(IDLE_HEADROOM)
            };
            odd = odd.saturating_sub(1);
            target = target.min(seat.capacity);
            let is_silent = reporter.is_some_and(|(_, now)| now.saturating_sub(seat.heard) > SILENT_NS);
            let is_reporter = reporter.is_some_and(|(member, _)| member.0 == at);
            if is_silent {
                seat.used = 0;
            } else if !is_reporter && target < seat.share && seat.share > 1 {
                // The one that every ring may have is not of the limit.
                seat.used = seat.used.max(seat.share);
            }
            // Up to what it uses already a share costs nothing; above its target it shrinks.
            seat.share = target.min(seat.share.max(seat.used));
            free = free.saturating_sub(u64::from(seat.share.max(seat.used)));
            self.demands.push(target);
        }
        let mut targets = self.demands.drain(..);
        for at in (0..count).map(|step| (first + step) % count) {
            let Some(seat) = &mut self.seats[at] else { continue };
            let target = targets.next().unwrap_or(0);
            let more = u64::from(target.saturating_sub(seat.share)).min(free);
            free -= more;
            seat.share = (seat.share + more as u32).max(1);
        }
        drop(targets);
        self.contended = self.seats.iter().flatten().any(|seat| seat.demand > seat.share);
    }

    /// Up to how many each ring gets what it wants, and what is left if all do.
    fn level(&mut self) -> (Level, u32) {
        let wanted: u64 = self.seats.iter().flatten().map(|seat| u64::from(seat.demand)).sum();
        if wanted <= u64::from(self.limit) {
            return (Level { places: u32::MAX, odd: 0 }, self.limit - wanted as u32);
        }
        self.demands.extend(self.seats.iter().flatten().map(|seat| seat.demand));
        self.demands.sort_unstable();
        let mut left = self.limit;
        let mut members = self.demands.len() as u32;
        for demand in self.demands.drain(..) {
            if demand > left / members {
                break;
            }
            left -= demand;
            members -= 1;
        }
        // Somebody wants more than its part, else all would have had theirs.
        let members = members.max(1);
        (Level { places: left / members, odd: left % members }, 0)
    }
}

/// What each ring that wants more has to be content with, and how many of them get one more than that.
struct Level {
    places: u32,
    odd: u32,
}

#[cfg(test)]
mod tests;
