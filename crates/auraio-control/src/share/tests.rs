use super::*;

/// A small generator of its own, so that a failure names the seed it came from.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn total(shares: &Shares, members: &[Member]) -> u32 {
    members.iter().map(|member| shares.share(*member)).sum()
}

#[test]
fn one_ring_has_the_whole_limit_whatever_it_asked_for() {
    let mut shares = Shares::new(46);
    let only = shares.join(1_024);
    assert_eq!(shares.share(only), 46);
    shares.report(only, 3, 0, 1);
    assert_eq!(shares.share(only), 46);
    shares.set_limit(12);
    assert_eq!(shares.share(only), 12);
}

#[test]
fn equal_demands_get_equal_shares_to_the_last_place() {
    for members in 1..=16_u32 {
        let mut shares = Shares::new(46);
        let rings: Vec<_> = (0..members).map(|_| shares.join(1_024)).collect();
        // Two rounds: what the first had of all passes over.
        for _ in 0..2 {
            for ring in &rings {
                let in_flight = shares.share(*ring);
                shares.report(*ring, in_flight, 100, 1);
            }
        }
        let (least, most) = rings.iter().fold((u32::MAX, 0), |(least, most), ring| {
            let share = shares.share(*ring);
            (least.min(share), most.max(share))
        });
        assert!(most - least <= 1, "{members} rings have {least} to {most}");
        assert_eq!(total(&shares, &rings), 46);
    }
}

#[test]
fn what_a_small_ring_does_not_want_is_the_large_one_s() {
    let mut shares = Shares::new(40);
    let (small, large) = (shares.join(1_024), shares.join(1_024));
    shares.report(small, 2, 0, 1);
    shares.report(large, 20, 200, 1);
    // For all that is known the small one still uses what it might have used.
    assert_eq!((shares.share(small), shares.share(large)), (2, 32));
    shares.report(small, 2, 0, 1);
    assert_eq!((shares.share(small), shares.share(large)), (2, 38));
    // It wants more, and gets it as soon as the other has let go of it.
    shares.report(small, 2, 60, 1);
    assert_eq!((shares.share(small), shares.share(large)), (2, 20));
    shares.report(large, 20, 200, 1);
    assert_eq!((shares.share(small), shares.share(large)), (20, 20));
}

#[test]
fn a_place_passes_over_only_when_it_is_free() {
    let mut shares = Shares::new(10);
    let (first, second) = (shares.join(1_024), shares.join(1_024));
    shares.report(first, 10, 50, 1);
    shares.report(second, 0, 50, 1);
    assert_eq!(shares.share(first), 5);
    assert_eq!(shares.share(second), 1, "one is always allowed; the other four are still in use");
    shares.report(first, 7, 50, 1);
    assert_eq!(shares.share(second), 3);
    shares.report(first, 5, 50, 1);
    assert_eq!(shares.share(second), 5);
}

#[test]
fn a_ring_whose_thread_is_away_keeps_nobody_from_its_places_for_long() {
    let mut shares = Shares::new(40);
    let (away, here) = (shares.join(1_024), shares.join(1_024));
    shares.report(away, 40, 0, 1);
    shares.report(here, 1, 99, 2);
    assert_eq!(shares.share(here), 1, "{shares:?}");
    shares.report(here, 1, 98, SILENT_NS + 10);
    assert_eq!(shares.share(here), 20);
}

#[test]
fn with_fewer_places_than_rings_each_still_has_one() {
    let mut shares = Shares::new(1);
    let rings: Vec<_> = (0..16).map(|_| shares.join(1_024)).collect();
    for ring in &rings {
        shares.report(*ring, 0, 9, 1);
    }
    assert!(rings.iter().all(|ring| shares.share(*ring) == 1));
}

#[test]
fn any_sequence_of_reports_keeps_to_the_limit_and_leaves_no_place_idle_that_somebody_wants() {
    for seed in 1..=64 {
        println!("seed {seed}");
        let mut dice = Dice(seed);
        let mut limit = 1 + dice.below(200) as u32;
        let mut shares = Shares::new(limit);
        let mut rings: Vec<(Member, u32)> = (0..1 + dice.below(12)).map(|_| (shares.join(1_024), 0)).collect();
        for step in 0..2_000 {
            match dice.below(40) {
                0 => {
                    limit = 1 + dice.below(200) as u32;
                    shares.set_limit(limit);
                }
                1 if rings.len() < 24 => rings.push((shares.join(1_024), 0)),
                2 if rings.len() > 1 => {
                    let (gone, _) = rings.swap_remove(dice.below(rings.len() as u64) as usize);
                    shares.leave(gone);
                }
                _ => {
                    let at = dice.below(rings.len() as u64) as usize;
                    let (ring, in_flight) = &mut rings[at];
                    // A ring takes at most its share, and completes any number of what it has.
                    let may = shares.share(*ring).max(*in_flight);
                    *in_flight = dice.below(u64::from(may) + 1) as u32;
                    shares.report(*ring, *in_flight, dice.below(300) as u32, 1);
                }
            }
            let sum: u32 = rings.iter().map(|(ring, _)| shares.share(*ring)).sum();
            assert!(sum <= limit + rings.len() as u32, "seed {seed}, step {step}: {sum} of {limit}");
        }
        // Everybody wants a lot: after a round of reports nothing lies idle, but for what is just going round.
        let mut most = 0;
        for _ in 0..3 {
            for (ring, in_flight) in &mut rings {
                *in_flight = shares.share(*ring);
                shares.report(*ring, *in_flight, 1_000, 1);
            }
            most = most.max(rings.iter().map(|(ring, _)| shares.share(*ring)).sum());
        }
        assert_eq!(most, limit.max(rings.len() as u32), "seed {seed}: {shares:?}");
    }
}
