//! What members may rely on, whoever reports what in which order.

use super::*;

/// xorshift64 (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let seed = std::env::var("AURAIO_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64)
        });
        println!("AURAIO_SEED={seed}");
        Self(seed.max(1))
    }

    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 20) % u64::from(end)) as u32
    }
}

/// A ring as it would use its share: it knows what it was told last, and uses that without telling.
#[derive(Clone, Copy)]
struct Ring {
    member: Member,
    knows: u32,
    in_flight: u32,
    waiting: u32,
}

impl Ring {
    fn join(shares: &mut Shares) -> Self {
        Self { member: shares.join(), knows: 0, in_flight: 0, waiting: 0 }
    }

    fn start(&mut self) {
        let places = self.knows.saturating_sub(self.in_flight).min(self.waiting);
        self.in_flight += places;
        self.waiting -= places;
    }

    /// Reports, and starts what it may.
    fn report(&mut self, shares: &mut Shares) {
        self.knows = shares.report(self.member, self.in_flight, self.waiting);
        self.start();
    }
}

/// One after the other, with so many operations that want to be done; and each reports until nothing moves.
fn settled(shares: &mut Shares, wants: &[u32]) -> Vec<Ring> {
    let mut rings: Vec<Ring> = wants.iter().map(|_| Ring::join(shares)).collect();
    for (ring, want) in rings.iter_mut().zip(wants) {
        ring.waiting = *want;
        ring.report(shares);
    }
    complete_all(shares, &mut rings, wants);
    rings
}

/// Every ring's operations complete, others come in their place, and it reports; twice.
fn complete_all(shares: &mut Shares, rings: &mut [Ring], wants: &[u32]) {
    for _ in 0..2 {
        for (ring, want) in rings.iter_mut().zip(wants) {
            (ring.in_flight, ring.waiting) = (0, *want);
            ring.report(shares);
        }
        answer_bells(shares, rings);
    }
}

fn answer_bells(shares: &mut Shares, rings: &mut [Ring]) {
    while let Some(woken) = shares.next_to_wake() {
        rings.iter_mut().find(|ring| ring.member == woken).unwrap().report(shares);
    }
}

fn jain(of: impl Iterator<Item = f64> + Clone) -> f64 {
    let (sum, squares, count) =
        of.fold((0.0, 0.0, 0.0), |(sum, squares, count), x| (sum + x, squares + x * x, count + 1.0));
    sum * sum / (count * squares)
}

#[test]
fn a_lone_member_has_it_all() {
    let mut shares = Shares::new(48);
    let rings = settled(&mut shares, &[1]);
    assert_eq!(shares.share(rings[0].member), 48);
}

#[test]
fn shares_are_max_min_fair() {
    for (limit, wants, expected) in [
        (30, &[100, 100, 100][..], &[10, 10, 10][..]),
        (30, &[4, 100, 100], &[4, 13, 13]),
        (30, &[4, 8, 100], &[4, 8, 18]),
        (30, &[0, 0, 100], &[0, 0, 30]),
        (30, &[10, 10, 10], &[10, 10, 10]),
    ] {
        let mut shares = Shares::new(limit);
        let rings = settled(&mut shares, wants);
        let got: Vec<u32> = rings.iter().map(|ring| shares.share(ring.member)).collect();
        assert_eq!(got, expected, "of {limit} for {wants:?}");
    }
}

#[test]
fn what_nobody_asks_for_is_headroom_for_all() {
    let mut shares = Shares::new(30);
    let rings = settled(&mut shares, &[4, 4, 4]);
    assert!(rings.iter().all(|ring| shares.share(ring.member) > 4));
    assert!(!shares.is_contended());
}

#[test]
fn equal_demands_are_served_equally_though_places_do_not_divide() {
    for (limit, members) in [(48_u32, 5_usize), (1, 16), (3, 7), (20, 16), (100, 128)] {
        let mut shares = Shares::new(limit);
        let wants = vec![1_000; members];
        let mut rings = settled(&mut shares, &wants);
        let mut random = Random::seeded();
        let mut done = vec![0_u32; members];
        let mut completions = 0;
        while completions < 2_000 * members {
            let busy: Vec<usize> = (0..members).filter(|&index| rings[index].in_flight > 0).collect();
            assert!(!busy.is_empty(), "of {limit} for {members}: everybody waits");
            // All operations take the same: the one that completes is any.
            let mut which = random.below(busy.iter().map(|&index| rings[index].in_flight).sum());
            let of = |index: usize| rings[index].in_flight;
            let index = busy.into_iter().find(|&index| {
                let here = which < of(index);
                which = which.saturating_sub(of(index));
                here
            });
            let index = index.unwrap();
            rings[index].in_flight -= 1;
            rings[index].waiting += 1;
            done[index] += 1;
            completions += 1;
            rings[index].report(&mut shares);
            answer_bells(&mut shares, &mut rings);
        }
        let index = jain(done.iter().map(|&done| f64::from(done)));
        assert!(index >= 0.99, "of {limit} for {members}: {index} {done:?}");
    }
}

#[test]
fn with_one_place_everybody_has_a_turn_in_every_round() {
    let mut shares = Shares::new(1);
    let mut rings: Vec<Ring> = (0..16).map(|_| Ring::join(&mut shares)).collect();
    for ring in &mut rings {
        ring.waiting = 1_000;
        ring.report(&mut shares);
    }
    let mut turns = Vec::new();
    for _ in 0..64 {
        let at = rings.iter().position(|ring| ring.in_flight > 0).unwrap();
        turns.push(at);
        rings[at].in_flight = 0;
        rings[at].report(&mut shares);
        let woken = shares.next_to_wake().expect("the place went to another");
        assert_eq!(shares.next_to_wake(), None, "one place, one bell");
        rings.iter_mut().find(|ring| ring.member == woken).unwrap().report(&mut shares);
    }
    for round in turns.chunks(16) {
        let mut round = round.to_vec();
        round.sort_unstable();
        round.dedup();
        assert_eq!(round.len(), 16, "{turns:?}");
    }
}

#[test]
fn what_was_taken_counts_as_in_use_until_its_owner_has_reported() {
    let mut shares = Shares::new(10);
    let (one, two) = (shares.join(), shares.join());
    shares.report(one, 2, 100);
    assert_eq!(shares.share(one), 10);
    // It may have started eight more since.
    assert_eq!(shares.report(two, 0, 100), 0);
    assert_eq!(shares.report(one, 7, 93), 5);
    assert_eq!(shares.share(two), 3);
}

#[test]
fn a_sleeper_that_keeps_places_is_asked_once() {
    let mut shares = Shares::new(10);
    let (one, two) = (shares.join(), shares.join());
    shares.report(one, 0, 10);
    shares.report(two, 0, 10);
    assert_eq!(shares.next_to_ask(), Some(one));
    shares.report(two, 0, 10);
    assert_eq!(shares.next_to_ask(), None, "it has not answered yet");
    shares.report(one, 0, 0);
    assert_eq!(shares.report(two, 0, 10), 10);
    assert_eq!(shares.next_to_ask(), None);
}

#[test]
fn no_more_than_two_are_asked_for_one_report() {
    let mut shares = Shares::new(640);
    let sleepers: Vec<Member> = (0..64).map(|_| shares.join()).collect();
    for sleeper in &sleepers {
        shares.report(*sleeper, 0, 2);
    }
    assert!(!shares.is_contended());
    let late = shares.join();
    let mut asked = 0;
    while shares.report(late, 0, 640) < 640 {
        let names: Vec<Member> = std::iter::from_fn(|| shares.next_to_ask()).collect();
        assert!(!names.is_empty() && names.len() <= 2, "{names:?}");
        asked += names.len();
        for name in names {
            shares.report(name, 0, 0);
        }
    }
    assert!(asked <= 64, "each of them once: {asked}");
}

#[test]
fn after_a_cut_nobody_grows_before_enough_has_come_back() {
    let mut shares = Shares::new(32);
    let mut rings = settled(&mut shares, &[1_000, 1_000]);
    assert_eq!(rings[0].in_flight + rings[1].in_flight, 32);
    shares.set_limit(8);
    assert_eq!(shares.share(rings[0].member), 4);
    let mut late = Ring::join(&mut shares);
    late.waiting = 10;
    late.report(&mut shares);
    assert_eq!(late.in_flight, 0);
    rings[0].in_flight = 0;
    rings[0].report(&mut shares);
    assert_eq!(shares.share(late.member), 0, "the other still has 16 in flight");
    rings[1].in_flight = 1;
    rings[1].report(&mut shares);
    assert_eq!(shares.next_to_wake(), Some(late.member));
    late.report(&mut shares);
    assert!(late.in_flight >= 2);
}

#[test]
fn who_has_left_has_no_share_and_reports_nothing() {
    let mut shares = Shares::new(8);
    let gone = shares.join();
    shares.report(gone, 0, 8);
    shares.leave(gone);
    shares.leave(gone);
    let here = shares.join();
    assert_eq!(shares.report(gone, 7, 7), 0);
    assert_eq!(shares.report(here, 0, 8), 8);
    assert_eq!(shares.share(gone), 0);
}

#[test]
fn no_limit_and_no_number_is_too_odd() {
    let mut shares = Shares::new(0);
    let (one, two) = (shares.join(), shares.join());
    assert_eq!(shares.report(one, 0, 5), 0);
    assert_eq!(shares.report(two, u32::MAX, u32::MAX), 0);
    shares.set_limit(u32::MAX);
    shares.report(two, u32::MAX, u32::MAX);
    shares.report(one, u32::MAX, 1);
    shares.set_limit(1);
    shares.report(two, 0, 0);
    assert_eq!(shares.report(one, 0, u32::MAX), 1);
}

#[test]
fn whatever_happens_the_limit_holds_and_nothing_lies_idle() {
    let mut random = Random::seeded();
    for _ in 0..60 {
        let mut limit = 1 + random.below(60);
        let mut shares = Shares::new(limit);
        let mut rings: Vec<Ring> = Vec::new();
        for _ in 0..600 {
            let (count, before) = (rings.len() as u32, shares.committed);
            let at = random.below(count.max(1)) as usize;
            match random.below(100) {
                0..6 if count < 20 => rings.push(Ring::join(&mut shares)),
                6..9 if count > 0 && rings[at].in_flight == 0 => shares.leave(rings.swap_remove(at).member),
                9..12 => {
                    limit = 1 + random.below(60);
                    shares.set_limit(limit);
                }
                12..40 if count > 0 => rings[at].waiting += random.below(40),
                40..70 if count > 0 => {
                    let done = random.below(rings[at].in_flight + 1);
                    rings[at].in_flight -= done;
                    rings[at].report(&mut shares);
                }
                // It starts by what it was told last.
                70..90 if count > 0 => rings[at].start(),
                _ => {
                    let name = if random.below(2) == 0 { shares.next_to_wake() } else { shares.next_to_ask() };
                    if let Some(ring) = rings.iter_mut().find(|ring| Some(ring.member) == name) {
                        ring.report(&mut shares);
                    }
                }
            }
            // A total that a cut left above the limit only ever falls, and no ring can do more than it is booked for.
            assert!(shares.committed <= before.max(u64::from(limit)));
            for ring in &rings {
                let booked = shares.seat(ring.member).unwrap().committed();
                assert!(u64::from(ring.knows.max(ring.in_flight)) <= booked);
            }
            let told: u32 = rings.iter().map(|ring| shares.share(ring.member)).sum();
            assert!(told <= limit, "shares of {told} under a limit of {limit}");
        }
        // Everybody reports once more, and again when its bell is rung: then no place is free while somebody waits.
        for _ in 0..2 {
            for ring in &mut rings {
                ring.report(&mut shares);
            }
            answer_bells(&mut shares, &mut rings);
        }
        let total: u32 = rings.iter().map(|ring| ring.in_flight).sum();
        let waiting: u32 = rings.iter().map(|ring| ring.waiting).sum();
        assert!(waiting == 0 || total >= limit, "{total} in flight, {waiting} wait, and the limit is {limit}");
    }
}
