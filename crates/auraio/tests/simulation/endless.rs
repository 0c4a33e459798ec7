//! Operations that the kernel answers with `EAGAIN` for ever, as some FUSE servers do: they are made again after pauses, they
//! can be cancelled, and in the end they fail with that answer.

use std::fs;

use auraio::{BackendChoice, Engine, Error, OpenOptions, SimOptions, op};

use super::{alone, directory, pin};

/// The most calls of one operation: those on the ring, and those of the threads behind it.
const CALLS_MAX: u64 = 3 + 20;

fn endless(seed: u64) -> (SimOptions, Engine) {
    let mut options = SimOptions::calm(seed);
    options.eagain_for_ever = 1.0;
    let engine = Engine::builder().backend(BackendChoice::Sim(options.clone())).build().unwrap();
    (options, engine)
}

#[test]
fn an_answer_of_eagain_that_never_ends_is_passed_on_after_a_bounded_number_of_calls() {
    let _alone = alone();
    pin();
    let dir = directory();
    let path = dir.path().join("file");
    fs::write(&path, [7; 100]).unwrap();
    let (options, engine) = endless(1);
    let file = engine.block_on(engine.open(&path, OpenOptions::new().read(true).write(true))).unwrap();
    let (read, buffer) = engine.block_on(file.read_at(vec![9_u8; 10], 0));
    assert_eq!(read.unwrap_err().errno(), libc::EAGAIN);
    assert_eq!((buffer, options.injected().eagain_for_ever), (vec![9; 10], CALLS_MAX));
    let (written, _) = engine.block_on(file.write_at(vec![9_u8; 10], 0));
    assert_eq!(written.unwrap_err().errno(), libc::EAGAIN);
    assert_eq!(options.injected().eagain_for_ever, 2 * CALLS_MAX);
    assert_eq!(fs::read(&path).unwrap(), [7; 100]);
    assert_eq!(options.injected().dropped_in_flight, 0);
}

#[test]
fn an_operation_that_is_answered_with_eagain_for_ever_can_be_cancelled() {
    let _alone = alone();
    pin();
    let dir = directory();
    let path = dir.path().join("file");
    fs::write(&path, [7; 100]).unwrap();
    for seed in 0..20 {
        let (options, engine) = endless(seed);
        let file = engine.block_on(engine.open(&path, OpenOptions::new().read(true))).unwrap();
        let mut port = engine.port().unwrap();
        let ticket = port.submit(op::Read::at(&file, vec![9_u8; 10], 0), 5);
        let mut completions = Vec::new();
        // The event to wait for: the threads have been asked too, or with an odd seed not even the ring has had its answers.
        while seed % 2 == 0 && options.injected().eagain_for_ever <= 3 {
            port.poll(&mut completions);
        }
        port.cancel(ticket);
        while completions.is_empty() {
            port.wait(&mut completions, None);
        }
        let (outcome, _) = completions.remove(0).into_output::<op::Read<Vec<u8>>>();
        assert!(matches!(outcome, Err(Error::Cancelled)), "seed {seed}: {outcome:?}");
        assert!(options.injected().eagain_for_ever < CALLS_MAX, "seed {seed}");
    }
}
