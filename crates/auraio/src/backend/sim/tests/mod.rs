//! What the tests of the simulated kernel have in common: entries, a driver, and a catcher of panics.
#![expect(unsafe_code, reason = "pushes entries, whose memory the tests keep")]

mod chains;
mod histories;
mod oracles;
mod queues;

use std::{
    fs::File,
    io::Write,
    os::fd::{AsRawFd, IntoRawFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{rng::Rng, steps::STEP, *};
use crate::sys::{Call, errno};

const FILE_BYTES: usize = 1000;
fn byte_at(offset: usize) -> u8 {
    (offset * 7 % 251) as u8
}

fn file() -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&(0..FILE_BYTES).map(byte_at).collect::<Vec<u8>>()).unwrap();
    file
}

fn entry(user_data: u64, call: Call) -> Entry {
    Entry::new(call, user_data)
}

fn linked(user_data: u64, call: Call) -> Entry {
    Entry { link: true, ..entry(user_data, call) }
}

fn read(file: &File, into: &mut [u8], offset: u64) -> Call {
    Call::Read { fd: file.as_raw_fd(), buf: into.as_mut_ptr(), len: into.len() as u32, offset }
}

fn write(file: &File, from: &[u8], offset: u64) -> Call {
    Call::Write { fd: file.as_raw_fd(), buf: from.as_ptr(), len: from.len() as u32, offset }
}

/// The close of a file that nobody else closes.
fn close(file: File) -> Call {
    Call::Close { fd: file.into_raw_fd() }
}

/// Pushes calls whose memory the test keeps until it has reaped them (or that are meant to be caught).
fn push(sim: &mut SimBackend, entries: impl IntoIterator<Item = Entry>) {
    for entry in entries {
        // SAFETY: as said above.
        unsafe { sim.push(entry) };
    }
}

/// Submits until all is taken, and reaps so many completions.
fn finish(sim: &mut SimBackend, count: usize) -> Vec<Cqe> {
    let mut reaped = Vec::new();
    for _ in 0..10_000 {
        if reaped.len() >= count {
            assert_eq!(reaped.len(), count);
            return reaped;
        }
        let _ = sim.submit(Wait::AtLeast(1, Some(STEP)));
        sim.reap(&mut reaped);
    }
    panic!("sim seed {:#x}: {} of {count} completed", sim.seed(), reaped.len());
}

fn results(cqes: &[Cqe]) -> Vec<(u64, i32)> {
    cqes.iter().map(|cqe| (cqe.user_data, cqe.result)).collect()
}

/// The message of a panic, which must name the seed.
fn caught(options: SimOptions, run: impl FnOnce(&mut SimBackend)) -> String {
    let seed = format!("sim seed {:#x}: ", options.seed);
    let mut sim = SimBackend::new(options);
    let panic = catch_unwind(AssertUnwindSafe(|| run(&mut sim))).expect_err("nothing was caught");
    let text = panic.downcast_ref::<String>().expect("a message").clone();
    text.strip_prefix(&seed).expect("the seed comes first").to_owned()
}

/// Drives 100 operations of all kinds through a simulation, as a ring would, and checks what every driver may rely on:
/// each entry completes once, a read gives the file's bytes and leaves the rest of its buffer alone, what was not
/// performed changed nothing. Answers all that could be seen.
fn drive(options: SimOptions) -> Vec<(u64, i32)> {
    const COUNT: u64 = 100;
    let seed = options.seed;
    let source = file();
    let target = tempfile::tempfile().unwrap();
    let mut dice = Rng::new(!seed);
    let mut buffers = vec![[0xee_u8; 24]; COUNT as usize];
    let mut sim = SimBackend::new(options);
    let (mut next, mut reaped, mut history) = (0, Vec::new(), Vec::new());
    let mut chained = false;
    while (reaped.len() as u64) < COUNT {
        while next < COUNT && sim.room() > 0 && next - (reaped.len() as u64) < u64::from(sim.in_flight_max()) {
            let buffer = &mut buffers[next as usize];
            let call = match next % 4 {
                0 => Call::Nop,
                1 => {
                    buffer.fill(next as u8);
                    write(&target, buffer, next * 24)
                }
                _ => read(&source, buffer, next * 5),
            };
            let in_flight = next + 1 - reaped.len() as u64;
            let last = next + 1 == COUNT || sim.room() == 1 || in_flight == u64::from(sim.in_flight_max());
            let link = !last && dice.chance(0.2);
            chained |= link;
            push(&mut sim, [Entry { link, force_async: dice.chance(0.2), ..Entry::new(call, next) }]);
            next += 1;
            if !link && dice.chance(0.3) {
                break;
            }
        }
        if dice.chance(0.05) {
            sim.cancel(dice.below(COUNT));
        }
        let wait = if dice.chance(0.5) { Wait::No } else { Wait::AtLeast(1, Some(STEP * 20)) };
        let before = sim.unsubmitted();
        match sim.submit(wait) {
            Ok(taken) => assert_eq!(sim.unsubmitted(), before - taken),
            Err(_) => assert_eq!(sim.unsubmitted(), before),
        }
        let seen = reaped.len();
        sim.reap(&mut reaped);
        history.push((seen as u64, i32::try_from(before).unwrap()));
    }
    assert!(chained);
    // Time goes on, but nothing completes twice.
    for _ in 0..20 {
        sim.reap(&mut reaped);
    }
    let mut once: Vec<u64> = reaped.iter().map(|cqe| cqe.user_data).collect();
    once.sort_unstable();
    assert_eq!(once, (0..COUNT).collect::<Vec<u64>>(), "seed {seed}");
    for cqe in &reaped {
        let at = cqe.user_data as usize;
        let moved = usize::try_from(cqe.result).unwrap_or(0);
        match at % 4 {
            0 => assert!(cqe.result == 0 || cqe.result == -errno::ECANCELED),
            1 => {
                assert!(buffers[at].iter().all(|byte| *byte == at as u8));
                let mut written = [0; 24];
                let in_file = std::os::unix::fs::FileExt::read_at(&target, &mut written, at as u64 * 24).unwrap();
                assert!(written[..moved].iter().all(|byte| *byte == at as u8) && moved <= in_file, "seed {seed}");
                assert!(written[moved..].iter().all(|byte| *byte == 0), "seed {seed}");
            }
            _ => {
                let bytes = (at * 5..).map(byte_at);
                assert!(buffers[at][..moved].iter().copied().eq(bytes.take(moved)), "seed {seed}");
                assert!(buffers[at][moved..].iter().all(|byte| *byte == 0xee), "seed {seed}");
            }
        }
    }
    history.extend(results(&reaped));
    history
}
