//! The oracles: what a real kernel would let pass to the harm of everybody is found here.

use std::{collections::BTreeSet, io::Read};

use super::*;

#[test]
fn memory_of_an_operation_in_flight_that_somebody_else_uses_is_found() {
    let source = file();
    let mut buffer = [0; 64];
    let late = SimOptions { delay: 1.0, ..SimOptions::calm(42) };
    let said = caught(late.clone(), |sim| {
        push(sim, [entry(7, read(&source, &mut buffer, 0))]);
        sim.submit(Wait::No).unwrap();
        buffer[5] ^= 1;
        finish(sim, 1);
    });
    assert_eq!(said, "operation 0x7 (read) is in flight, but its target was written to by somebody else");
    let said = caught(late, |sim| {
        push(sim, [entry(7, write(&source, &buffer, 0))]);
        sim.submit(Wait::No).unwrap();
        buffer[63] ^= 1;
        finish(sim, 1);
    });
    assert_eq!(said, "operation 0x7 (write) is in flight, but its source was written to by somebody else");
}

#[test]
fn memory_is_left_alone_when_nobody_asks_to_watch_it() {
    let source = file();
    let mut buffer = [0; 4];
    let mut sim = SimBackend::new(SimOptions { delay: 1.0, watch_memory: false, ..SimOptions::calm(42) });
    push(&mut sim, [entry(7, read(&source, &mut buffer, 0))]);
    sim.submit(Wait::No).unwrap();
    buffer[0] = 1;
    assert_eq!(results(&finish(&mut sim, 1)), [(7, 4)]);
    assert_eq!(buffer, [0, 1, 2, 3].map(byte_at));
}

#[test]
fn mistakes_that_a_kernel_would_let_pass_are_found() {
    let nop = |user_data| entry(user_data, Call::Nop);
    let calm = || SimOptions::calm(42);
    assert_eq!(caught(calm(), |sim| push(sim, [nop(1), nop(1)])), "two operations in flight are called 0x1");
    assert_eq!(caught(calm(), |sim| push(sim, [nop(u64::MAX)])), "user_data of the backend's own");
    assert_eq!(caught(calm(), |sim| push(sim, (0..33).map(nop))), "pushed into a full submission queue");
    let cut = caught(calm(), |sim| {
        push(sim, [linked(1, Call::Nop)]);
        let _ = sim.submit(Wait::No);
    });
    assert_eq!(cut, "a submit would cut a chain in two");
    let for_ever = caught(calm(), |sim| {
        push(sim, [nop(1)]);
        let _ = sim.submit(Wait::AtLeast(2, None));
    });
    assert_eq!(for_ever, "a wait for 2 completions without limit, of which 1 are there and none can follow");
}

#[test]
fn what_is_in_flight_when_the_ring_goes_is_counted() {
    let options = SimOptions { delay: 1.0, ..SimOptions::calm(1) };
    let mut sim = SimBackend::new(options.clone());
    push(&mut sim, [entry(0, Call::Nop), entry(1, Call::Nop)]);
    sim.submit(Wait::No).unwrap();
    drop(sim);
    assert_eq!(options.injected().dropped_in_flight, 2);
}

#[test]
fn a_close_that_answers_an_error_was_performed_all_the_same() {
    let options = SimOptions { close_error: 1.0, ..SimOptions::calm(42) };
    let mut seen = BTreeSet::new();
    let mut sim = SimBackend::new(options);
    for user_data in 0..64 {
        let (mut heard, said) = io::pipe().unwrap();
        push(&mut sim, [entry(user_data, Call::Close { fd: said.into_raw_fd() })]);
        seen.insert(-finish(&mut sim, 1)[0].result);
        // The end of the pipe says that its only writer is closed.
        assert_eq!(heard.read(&mut [0; 1]).unwrap(), 0);
    }
    assert_eq!(seen, [errno::EINTR, errno::EAGAIN, errno::ECANCELED, errno::EIO].into());
}

#[test]
fn a_close_that_is_performed_again_is_found() {
    let said = caught(SimOptions { close_error: 1.0, ..SimOptions::calm(42) }, |sim| {
        let call = close(file());
        push(sim, [entry(7, call)]);
        finish(sim, 1);
        push(sim, [entry(7, call)]);
        finish(sim, 1);
    });
    let (start, end) = said.split_at(said.find(" of descriptor").unwrap());
    assert_eq!(start, "close 0x7");
    assert!(end.ends_with("was performed before, and is performed again"), "{said}");
}

#[test]
fn an_operation_that_never_ends_is_answered_with_eagain_each_time() {
    let source = file();
    let mut buffer = [9; 8];
    let mut sim = SimBackend::new(SimOptions { eagain_for_ever: 0.5, ..SimOptions::calm(42) });
    let mut answers = |user_data| {
        push(&mut sim, [entry(user_data, read(&source, &mut buffer, 0))]);
        finish(&mut sim, 1)[0].result
    };
    let first: Vec<i32> = (0..20).map(&mut answers).collect();
    assert!(first.contains(&8) && first.contains(&-errno::EAGAIN), "{first:?}");
    for _ in 0..10 {
        assert!((0..20).map(&mut answers).eq(first.iter().copied()));
    }
}
