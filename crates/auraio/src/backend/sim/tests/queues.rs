//! The queues: cancellation, overflow, refusals, partial submissions, waits, and the descriptor to poll.

use std::time::Duration;

use super::*;
use crate::{backend::sim::submission::REFUSALS_MAX, sys::poll_readable};

#[test]
fn a_cancelled_operation_completes_once_and_does_nothing() {
    let source = file();
    let mut buffers = [[9; 8]; 4];
    let mut sim = SimBackend::new(SimOptions { delay: 1.0, ..SimOptions::calm(1) });
    sim.cancel(77);
    push(&mut sim, (0..).zip(&mut buffers).map(|(at, buffer)| entry(at, read(&source, buffer, 0))));
    sim.cancel(0);
    sim.submit(Wait::No).unwrap();
    sim.cancel(2);
    let mut cqes = results(&finish(&mut sim, 4));
    cqes.sort_unstable();
    assert_eq!(cqes, [(0, -errno::ECANCELED), (1, 8), (2, -errno::ECANCELED), (3, 8)]);
    assert_eq!((buffers[0], buffers[2]), ([9; 8], [9; 8]));
    let counts = sim.options.injected();
    assert_eq!((counts.cancelled, counts.cancels_late), (2, 1));
}

#[test]
fn a_cancellation_that_comes_too_late_changes_nothing() {
    let source = file();
    let mut buffer = [0; 8];
    let mut sim = SimBackend::new(SimOptions { delay: 1.0, cancel_late: 1.0, ..SimOptions::calm(1) });
    push(&mut sim, [entry(0, read(&source, &mut buffer, 0))]);
    sim.submit(Wait::No).unwrap();
    sim.cancel(0);
    assert_eq!(results(&finish(&mut sim, 1)), [(0, 8)]);
    assert_eq!(sim.options.injected().cancels_late, 1);
}

#[test]
fn more_completions_than_the_queue_holds_wait_behind_it() {
    let mut sim = SimBackend::new(SimOptions { completion_entries: 8, ..SimOptions::calm(1) });
    push(&mut sim, (0..30).map(|at| entry(at, Call::Nop)));
    assert_eq!(sim.submit(Wait::No).unwrap(), 30);
    let mut reaped = Vec::new();
    for expected in [8, 16, 24, 30, 30] {
        sim.reap(&mut reaped);
        assert_eq!(reaped.len(), expected);
    }
    assert!(reaped.iter().map(|cqe| cqe.user_data).eq(0..30));
    assert_eq!(sim.options.injected().overflowed, 22);
}

#[test]
fn a_refused_submit_loses_nothing_and_a_stubborn_caller_gets_through() {
    let mut sim = SimBackend::new(SimOptions { refuse_submit: 1.0, ..SimOptions::calm(1) });
    push(&mut sim, (0..5).map(|at| entry(at, Call::Nop)));
    for _ in 0..REFUSALS_MAX {
        let errno = sim.submit(Wait::No).unwrap_err().raw_os_error();
        assert!([errno::EAGAIN, errno::EBUSY, errno::EINTR].map(Some).contains(&errno));
        assert_eq!(sim.unsubmitted(), 5);
    }
    assert_eq!(sim.submit(Wait::No).unwrap(), 5);
    assert_eq!((sim.unsubmitted(), sim.enters()), (0, 4));
    assert_eq!(finish(&mut sim, 5).len(), 5);
}

#[test]
fn what_a_kernel_refuses_for_good_can_be_withdrawn() {
    let options = SimOptions { refuse_for_good_after: Some(1), ..SimOptions::calm(1) };
    let mut sim = SimBackend::new(options);
    push(&mut sim, [entry(0, Call::Nop)]);
    sim.submit(Wait::No).unwrap();
    push(&mut sim, [linked(1, Call::Nop), entry(2, Call::Nop)]);
    for _ in 0..10 {
        assert_eq!(sim.submit(Wait::No).unwrap_err().raw_os_error(), Some(errno::EPERM));
    }
    assert_eq!(sim.withdraw(), [1, 2]);
    assert_eq!(sim.unsubmitted(), 0);
    // What was taken before goes on; what was withdrawn is forgotten and may come again.
    let mut reaped = Vec::new();
    sim.reap(&mut reaped);
    assert_eq!(results(&reaped), [(0, 0)]);
    push(&mut sim, [entry(1, Call::Nop)]);
}

#[test]
fn a_partial_submit_takes_whole_chains() {
    let mut sim = SimBackend::new(SimOptions { partial_submit: 1.0, ..SimOptions::calm(1) });
    push(&mut sim, (0..9).map(|at| Entry { link: at % 3 != 2, ..entry(at, Call::Nop) }));
    let taken = sim.submit(Wait::AtLeast(9, None)).unwrap();
    assert!([3, 6].contains(&taken), "{taken}");
    assert_eq!(finish(&mut sim, 9).len(), 9);
}

#[test]
fn what_is_forced_to_be_async_is_not_performed_inside_submit() {
    let mut sim = SimBackend::new(SimOptions::calm(1));
    push(&mut sim, [entry(0, Call::Nop), Entry { force_async: true, ..entry(1, Call::Nop) }]);
    sim.submit(Wait::No).unwrap();
    assert_eq!(sim.completed, [Cqe { user_data: 0, result: 0 }]);
    assert_eq!(finish(&mut sim, 2).len(), 2);
}

#[test]
fn a_wait_is_over_when_its_time_is_though_no_clock_ran() {
    let mut sim = SimBackend::new(SimOptions { delay: 1.0, delay_steps_max: 1000, ..SimOptions::calm(3) });
    assert_eq!(sim.submit(Wait::AtLeast(1, Some(Duration::from_secs(3600)))).unwrap(), 0);
    assert!(sim.now >= 360_000_000);
    push(&mut sim, (0..20).map(|at| entry(at, Call::Nop)));
    let start = sim.now;
    sim.submit(Wait::AtLeast(20, Some(STEP * 100))).unwrap();
    assert!((100..=101).contains(&(sim.now - start)));
    sim.submit(Wait::AtLeast(20, None)).unwrap();
    assert_eq!(sim.completed.len(), 20);
}

#[test]
fn an_empty_pipe_holds_nothing_up_and_is_read_when_it_fills() {
    let (heard, mut said) = io::pipe().unwrap();
    let mut buffers = [[0; 4]; 2];
    let [first, second] = buffers.each_mut().map(|buffer| Call::Read {
        fd: heard.as_raw_fd(),
        buf: buffer.as_mut_ptr(),
        len: 4,
        offset: crate::sys::CURRENT_POSITION,
    });
    // Late or not, what waits for a pipe is cancelled.
    let mut sim = SimBackend::new(SimOptions { cancel_late: 1.0, ..SimOptions::calm(1) });
    push(&mut sim, [entry(0, first), entry(1, second), entry(2, Call::Nop)]);
    assert_eq!(results(&finish(&mut sim, 1)), [(2, 0)]);
    sim.cancel(1);
    assert_eq!(results(&finish(&mut sim, 1)), [(1, -errno::ECANCELED)]);
    // A wait without a limit is the one that sleeps, here until another thread has spoken.
    let speaker = std::thread::spawn(move || said.write_all(b"here").unwrap());
    sim.submit(Wait::AtLeast(1, None)).unwrap();
    assert_eq!(results(&finish(&mut sim, 1)), [(0, 4)]);
    assert_eq!(&buffers[0], b"here");
    speaker.join().unwrap();
}

#[test]
fn the_descriptor_is_readable_until_all_is_reaped() {
    let mut sim = SimBackend::new(SimOptions::new(3));
    let bell = sim.descriptor().unwrap();
    let readable = || poll_readable(&[bell], Some(Duration::ZERO)).unwrap();
    assert!(!readable());
    push(&mut sim, (0..20).map(|at| entry(at, Call::Nop)));
    assert!(!readable());
    let mut reaped = Vec::new();
    while reaped.len() < 20 {
        if sim.unsubmitted() > 0 {
            let _ = sim.submit(Wait::No);
        }
        if readable() {
            sim.reap(&mut reaped);
        } else {
            assert!(sim.unsubmitted() > 0, "a wake-up was lost");
        }
    }
    assert!(!readable());
}
