//! Order: chains keep it, other operations do not, and a failed link ends its chain.

use std::collections::BTreeSet;

use super::*;

#[test]
fn a_chain_keeps_its_order_among_others_that_do_not() {
    for seed in 0..200 {
        let source = file();
        let (text, mut back) = ([seed as u8; 16], [0; 16]);
        let options = SimOptions { reorder: 1.0, delay: 0.7, ..SimOptions::calm(seed) };
        let mut sim = SimBackend::new(options);
        push(&mut sim, [linked(0, write(&source, &text, 8)), entry(1, read(&source, &mut back, 8))]);
        push(&mut sim, (2..20).map(|at| entry(at, Call::Nop)));
        let cqes = results(&finish(&mut sim, 20));
        let place = |user_data| cqes.iter().position(|cqe| cqe.0 == user_data).unwrap();
        assert!(place(0) < place(1), "seed {seed}");
        assert_eq!((cqes[place(1)], back), ((1, 16), text), "seed {seed}");
    }
}

#[test]
fn every_order_of_completion_happens() {
    let orders: BTreeSet<Vec<u64>> = (0..200)
        .map(|seed| {
            let mut sim = SimBackend::new(SimOptions { reorder: 0.9, ..SimOptions::calm(seed) });
            push(&mut sim, (0..3).map(|at| entry(at, Call::Nop)));
            finish(&mut sim, 3).iter().map(|cqe| cqe.user_data).collect()
        })
        .collect();
    assert_eq!(orders.len(), 6);
}

#[test]
fn a_short_or_failed_link_ends_its_chain_and_no_other() {
    let source = file();
    let (mut short, mut never) = ([0; 64], [0; 8]);
    let mut sim = SimBackend::new(SimOptions::calm(1));
    let past_the_end = FILE_BYTES as u64 - 10;
    push(
        &mut sim,
        [
            linked(0, read(&source, &mut short, past_the_end)),
            linked(1, Call::Nop),
            entry(2, read(&source, &mut never, 0)),
            linked(3, Call::Sync { fd: crate::sys::NO_DESCRIPTOR, data_only: false }),
            entry(4, Call::Nop),
            linked(5, Call::Nop),
            entry(6, Call::Nop),
        ],
    );
    let mut cqes = results(&finish(&mut sim, 7));
    cqes.sort_unstable();
    let ended = -errno::ECANCELED;
    assert_eq!(cqes, [(0, 10), (1, ended), (2, ended), (3, -errno::EBADF), (4, ended), (5, 0), (6, 0)]);
    assert_eq!(never, [0; 8]);
    assert_eq!(sim.options.injected().links_broken, 3);
}
