//! What low operations leave to high ones where several rings share one limit.

use super::{Foreground, QUIET_NS};

/// For how long the same rings come first where places do not divide evenly. Nanoseconds; long beside one operation, so that
/// a place is used before it moves on.
const TURN_NS: u64 = 100_000_000;

/// One of the rings that share a limit, as [`Foreground::divide`] sees it.
///
/// ```
/// let ring = auraio_control::RingPlaces { share: 4, last_high: None, low: 0 };
/// assert!(ring.low <= ring.share);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingPlaces {
    /// How many operations the ring may have in flight.
    pub share: u32,
    /// When the ring last had a high operation, waiting or completed; `None` if it never had one.
    pub last_high: Option<u64>,
    /// How many low operations the ring may have in flight: [`Foreground::divide`] writes it.
    pub low: u32,
}

impl RingPlaces {
    /// What low operations could still give up: each ring may always have one of them in flight.
    const fn spare(self) -> u32 {
        self.low.saturating_sub(1)
    }

    fn has_high(&self, now: u64) -> bool {
        self.last_high.is_some_and(|last| now.saturating_sub(last) < QUIET_NS)
    }
}

impl Foreground {
    /// Divides the places that low operations may have now among all rings of a lane.
    ///
    /// The rule holds over the whole lane: together the rings leave free what one ring with all the places would leave free
    /// ([`low_places`](Self::low_places)), and at least one place while high operations are about. A ring that has high
    /// operations leaves one of its own places free first, so that they find it there. The rest is taken from all rings in
    /// proportion to their shares. What does not divide evenly is taken from one ring after another in turns of a tenth of
    /// a second.
    ///
    /// Every ring may always have one low operation in flight, so no ring waits for another one and none starves. Where
    /// each ring has a share of one, nothing can be left free: high operations then take each ring's place in turn, before
    /// the low ones that wait there.
    ///
    /// ```
    /// use auraio_control::{Foreground, RingPlaces};
    ///
    /// let mut foreground = Foreground::default();
    /// foreground.on_high(1_000, 0, true);
    /// let mut rings = [RingPlaces { share: 2, ..RingPlaces::default() }; 8];
    /// rings[3].last_high = Some(1_000);
    /// foreground.divide(1_000, &mut rings);
    /// assert_eq!(rings.map(|ring| ring.low), [2, 2, 2, 1, 2, 2, 2, 2]);
    /// ```
    pub fn divide(&self, now: u64, rings: &mut [RingPlaces]) {
        rings.iter_mut().for_each(|ring| ring.low = ring.share);
        if rings.is_empty() || !self.is_active(now) {
            return;
        }
        let total = rings.iter().fold(0, |sum: u32, ring| sum.saturating_add(ring.share));
        let mut kept = total - self.low_places(now, total);
        let first = (now / TURN_NS % rings.len() as u64) as usize;
        rings.rotate_left(first);
        for ring in rings.iter_mut().filter(|ring| ring.spare() > 0 && ring.has_high(now)) {
            if kept == 0 {
                break;
            }
            ring.low -= 1;
            kept -= 1;
        }
        take_in_proportion(u64::from(kept), rings);
        rings.rotate_right(first);
    }
}

/// Takes so many places from low operations, from each ring in proportion to what it can spare, and never more than that.
fn take_in_proportion(places: u64, rings: &mut [RingPlaces]) {
    let spare: u64 = rings.iter().map(|ring| u64::from(ring.spare())).sum();
    let places = places.min(spare);
    if places == 0 {
        return;
    }
    // The sum up to each ring is rounded, not the part of each: so the parts add up to `places`.
    let (mut spare_so_far, mut taken) = (0, 0);
    for ring in rings {
        spare_so_far += u64::from(ring.spare());
        let due = (u128::from(places) * u128::from(spare_so_far) / u128::from(spare)) as u64;
        ring.low -= (due - taken) as u32;
        taken = due;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A rule beside which high operations are about until the time that is returned. With `late`, it has cut to its floor.
    fn foreground(late: bool) -> (Foreground, u64) {
        let mut foreground = Foreground::default();
        (1..=1_000).for_each(|ms| foreground.on_high(ms * MS, ms * MS - 100_000, true));
        let latency = if late { 900_000 } else { 100_000 };
        (1_001..=1_100).for_each(|ms| foreground.on_high(ms * MS, ms * MS - latency, false));
        (foreground, 1_100 * MS)
    }

    fn rings(shares: &[u32]) -> Vec<RingPlaces> {
        shares.iter().map(|&share| RingPlaces { share, ..RingPlaces::default() }).collect()
    }

    fn low(rings: &[RingPlaces]) -> Vec<u32> {
        rings.iter().map(|ring| ring.low).collect()
    }

    #[test]
    fn many_rings_with_small_shares_leave_free_what_one_ring_would() {
        let (foreground, now) = foreground(true);
        let mut eight = rings(&[2; 8]);
        foreground.divide(now, &mut eight);
        assert_eq!(low(&eight).iter().sum::<u32>(), foreground.low_places(now, 16));
        assert_eq!(foreground.low_places(now, 16), 12);
        assert!(eight.iter().all(|ring| ring.low >= 1));
    }

    #[test]
    fn at_least_one_place_is_free_while_high_operations_are_about_and_none_when_they_have_gone() {
        let (foreground, now) = foreground(false);
        let mut eight = rings(&[2; 8]);
        foreground.divide(now, &mut eight);
        assert_eq!(low(&eight).iter().sum::<u32>(), 15);
        foreground.divide(now + 2 * QUIET_NS, &mut eight);
        assert_eq!(low(&eight), [2; 8]);
    }

    #[test]
    fn the_rings_that_have_high_operations_leave_their_own_places_first() {
        let (foreground, now) = foreground(true);
        let mut eight = rings(&[2; 8]);
        for reader in [1, 4, 5, 7] {
            eight[reader].last_high = Some(now);
        }
        // It had some long ago.
        eight[2].last_high = Some(now - 2 * QUIET_NS);
        foreground.divide(now, &mut eight);
        assert_eq!(low(&eight), [2, 1, 2, 2, 1, 1, 2, 1]);
    }

    #[test]
    fn what_does_not_divide_evenly_is_taken_from_each_in_turn() {
        let (foreground, now) = foreground(false);
        let mut sums = [0; 8];
        for turn in 0..8 {
            let mut foreground = foreground.clone();
            let now = now + turn * TURN_NS;
            foreground.on_high(now, now - 100_000, false);
            let mut eight = rings(&[2; 8]);
            foreground.divide(now, &mut eight);
            eight.iter().zip(&mut sums).for_each(|(ring, sum)| *sum += ring.low);
        }
        assert_eq!(sums, [15; 8]);
    }

    #[test]
    fn a_share_of_one_for_each_ring_is_taken_in_turns() {
        let (foreground, now) = foreground(true);
        let mut eight = rings(&[1; 8]);
        foreground.divide(now, &mut eight);
        assert_eq!(low(&eight), [1; 8]);
        let mut nobody = [];
        foreground.divide(now, &mut nobody);
    }

    #[test]
    fn a_large_ring_beside_small_ones_gives_most() {
        let (foreground, now) = foreground(true);
        let mut unequal = rings(&[32, 1, 1, 2, 4]);
        foreground.divide(now, &mut unequal);
        assert_eq!(low(&unequal).iter().sum::<u32>(), 30);
        assert!((22..=24).contains(&unequal[0].low), "{unequal:?}");
    }

    #[test]
    fn whatever_the_shares_the_lane_keeps_its_places_and_each_ring_has_one() {
        // xorshift64 (Marsaglia 2003).
        let mut state = 0x0DD_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for round in 0..20_000 {
            let (foreground, now) = foreground(random(2) == 0);
            let count = 1 + random(20);
            let largest = [1, 2, 3, 60, u64::from(u32::MAX)][random(5) as usize];
            let mut some: Vec<RingPlaces> = (0..count)
                .map(|_| RingPlaces {
                    share: 1 + random(largest) as u32,
                    last_high: (random(3) == 0).then_some(now - random(200 * MS)),
                    low: 0,
                })
                .collect();
            foreground.divide(now, &mut some);
            assert!(some.iter().all(|ring| (1..=ring.share).contains(&ring.low)), "round {round}: {some:?}");
            let total = some.iter().fold(0, |sum: u32, ring| sum.saturating_add(ring.share));
            let spare = some.iter().fold(0, |sum: u64, ring| sum + u64::from(ring.share - 1));
            let kept: u64 = some.iter().map(|ring| u64::from(ring.share - ring.low)).sum();
            let wanted = u64::from(total - foreground.low_places(now, total));
            assert_eq!(kept, wanted.min(spare), "round {round}: {some:?}");
        }
    }
}
