//! One in-flight limit, divided among the rings that use the same device.
//!
//! Shares are max-min fair and work-conserving. A ring gets every place that it asks for and no other ring wants. If there
//! are too few places, the rings that ask for the most get equal shares, and the others get what they ask for. Places that
//! nobody asks for are spread over the rings as headroom, so that a ring which has enough need not report.
//!
//! Every ring may always have one operation in flight, even if the sum is then above the limit. So no ring depends on
//! another one to go on. A ring whose thread is busy with something else, or sleeps for ever, holds nobody up, and no ring
//! has to be woken to learn of a free place.
//!
//! The callers hold a lock. They call seldom, because rings report in bulk.

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

/// A ring that did not report for so long, in nanoseconds, counts as having nothing in flight: its thread does something else,
/// and its operations completed long ago. A disk takes a small part of this time for its whole queue.
const SILENT_NS: u64 = 250_000_000;

/// A ring that wants nothing keeps at most so many places, which it may use before it reports. Places that a ring may use count
/// as used when another ring wants them. Without this bound a thread that moves to another core would leave all places to
/// its old ring for a while.
const IDLE_HEADROOM: u32 = 8;

/// After so many divisions, the places that do not divide evenly go to the next rings. This is seldom, because a place lies idle
/// while it passes from one ring to another.
const ROUNDS_PER_TURN: usize = 1024;

/// A limit, and the rings that share it.
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
    /// Whether a ring wanted more than its share at the last division.
    contended: bool,
    /// How many rings have operations in flight or waiting.
    busy: u32,
    /// How many divisions there were. Places that do not divide evenly go round by it.
    rounds: usize,
    /// Memory for a division, kept so that a division allocates nothing.
    demands: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    capacity: u32,
    share: u32,
    /// The most that the ring may have in flight as far as is known: what it reported last, or a larger share that it had since.
    used: u32,
    /// Its operations in flight and waiting.
    demand: u32,
    /// When it last reported.
    heard: u64,
}

impl Shares {
    /// A limit that no ring shares yet.
    ///
    /// ```
    /// assert_eq!(auraio_control::Shares::new(8).limit(), 8);
    /// ```
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self { limit, seats: Vec::new(), contended: false, busy: 0, rounds: 0, demands: Vec::new() }
    }

    /// The limit that is divided.
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

    /// A ring begins to use the device. It can have `capacity` operations in flight, so its share is never more than that.
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

    /// A ring no longer uses the device. The others get its share.
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

    /// Changes the limit. Under a smaller limit, operations that are in flight beyond it complete, and no new ones take their
    /// places.
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

    /// A ring reports how many operations it has in flight and waiting, at the time `now` in nanoseconds.
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
        // While every ring has what it wants, only a ring that wants more than its share changes anything.
        let idles = demand == 0 && seat.share > IDLE_HEADROOM;
        if demand > seat.share || idles || self.contended && !same {
            self.share_out(Some((member, now)));
        }
    }

    /// How many operations a ring may have in flight: at least 1.
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

    /// How many rings have operations in flight or waiting.
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

    /// Whether a ring wants more than its share. Then all rings are to report each completion.
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

    /// Divides the limit anew. `reporter` is the ring that has just reported, and when.
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
        // A ring grows only by places that are free. Places that another ring still uses pass on when it has reported.
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
                // The one place that every ring has is not taken from the limit, so it does not count here.
                seat.used = seat.used.max(seat.share);
            }
            // First pass: a share above its target shrinks to it. A share below it grows, as far as the ring uses places already.
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

    /// The level up to which each ring gets what it wants, and the places that are left if every ring does.
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
        // One ring at least wants more than its part; else the sum of wants would be within the limit.
        let members = members.max(1);
        (Level { places: left / members, odd: left % members }, 0)
    }
}

/// The places of each ring that wants more than there are, and how many of those rings get one place more.
struct Level {
    places: u32,
    odd: u32,
}

#[cfg(test)]
mod tests;
