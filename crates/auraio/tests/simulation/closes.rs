//! Closes that are answered with an error: each descriptor is closed once, whatever the answer is.
//!
//! The program writes to files and closes them, through a port and through futures, some of which are cancelled or dropped.
//! Between any two steps it opens files of its own, which get the numbers that were given back just now. A second close of
//! one number would therefore close one of these files, and the program looks at each of them after every step.

use std::{
    collections::BTreeMap,
    fs,
    os::{fd::IntoRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use auraio::{BackendChoice, Engine, File, OpFuture, OpenOptions, Port, Routing, SimCounts, SimOptions, op};

use super::{alone, directory, pin, rng::Rng};

const ROUNDS: u64 = 12;
const STEPS_MAX: u32 = 10_000;

/// Whether the program makes a close again that has failed, which is the mistake that the test is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retries {
    No,
    Yes,
}

/// Files that were opened beside the engine, each a file of its own: their numbers and inodes. They are numbers and not of
/// type `File`, which takes the process down if its number was closed by somebody else.
struct Bystanders {
    dir: PathBuf,
    opened: Vec<(i32, u64)>,
}

impl Bystanders {
    /// Opens one more. It gets the lowest number that is free.
    fn add(&mut self) {
        let path = self.dir.join(format!("bystander-{}", self.opened.len()));
        let file = fs::File::create(path).unwrap();
        let inode = file.metadata().unwrap().ino();
        self.opened.push((file.into_raw_fd(), inode));
    }

    fn check(&self, seed: u64) {
        for (number, inode) in &self.opened {
            assert_eq!(inode_of(*number), Some(*inode), "seed {seed}: descriptor {number} was closed under its owner");
        }
    }

    fn has(&self, number: i64) -> bool {
        self.opened.iter().any(|(its, _)| i64::from(*its) == number)
    }
}

impl Drop for Bystanders {
    fn drop(&mut self) {
        for (number, inode) in &self.opened {
            if inode_of(*number) == Some(*inode) {
                // SAFETY: the number still belongs to the file that was opened here.
                unsafe { libc::close(*number) };
            }
        }
    }
}

/// The inode of the file that a number stands for now.
fn inode_of(number: i32) -> Option<u64> {
    fs::metadata(format!("/proc/self/fd/{number}")).ok().map(|metadata| metadata.ino())
}

struct Program {
    seed: u64,
    rng: Rng,
    retries: Retries,
    engine: Engine,
    port: Port,
    /// The numbers of files that the port closes, by token.
    by_port: BTreeMap<u64, i64>,
    by_future: Vec<(OpFuture<op::Close>, i64)>,
    bystanders: Bystanders,
    next: u64,
}

impl Program {
    fn new(seed: u64, options: &SimOptions, retries: Retries, dir: &Path) -> Self {
        let mut rng = Rng(seed);
        let routing = if rng.chance(2) { Routing::Core } else { Routing::Thread };
        let builder = Engine::builder().backend(BackendChoice::Sim(options.clone())).routing(routing).queue_depth(16);
        let engine = builder.build().unwrap();
        let port = engine.port().unwrap();
        let bystanders = Bystanders { dir: dir.to_owned(), opened: Vec::new() };
        let (by_port, by_future) = (BTreeMap::new(), Vec::new());
        Self { seed, rng, retries, engine, port, by_port, by_future, bystanders, next: 0 }
    }

    /// A file that a ring closes, because it was written through.
    fn file(&mut self) -> File {
        let path = self.bystanders.dir.join(format!("file-{}", self.next));
        self.next += 1;
        let open = OpenOptions::new().write(true).create(true);
        let file = self.engine.block_on(self.engine.open(path, open)).unwrap();
        let (written, _) = self.engine.block_on(file.write_at(vec![1_u8], 0));
        assert_eq!(written.unwrap(), 1);
        file
    }

    fn close(&mut self, file: File) {
        let number = file.descriptor();
        match self.rng.below(8) {
            0 => drop(file),
            1 => drop(self.engine.submit(op::Close::new(file))),
            2..=4 => {
                let close = self.engine.submit(op::Close::new(file));
                if self.rng.chance(2) {
                    close.cancel();
                }
                self.by_future.push((close, number));
            }
            _ => {
                let ticket = self.port.submit(op::Close::new(file), self.next);
                self.by_port.insert(self.next, number);
                self.next += 1;
                if self.rng.chance(2) {
                    self.port.cancel(ticket);
                }
            }
        }
    }

    /// Reaps what has completed.
    fn step(&mut self) {
        self.bystanders.add();
        let mut closed = Vec::new();
        let mut completions = Vec::new();
        self.port.poll(&mut completions);
        for completion in completions {
            let number = self.by_port.remove(&completion.token()).unwrap();
            closed.push((completion.into_output::<op::Close>(), number));
        }
        for (mut close, number) in std::mem::take(&mut self.by_future) {
            match Pin::new(&mut close).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => closed.push((result, number)),
                Poll::Pending => self.by_future.push((close, number)),
            }
        }
        for (result, number) in closed {
            self.bystanders.add();
            if let Err(error) = result {
                let told = [libc::EAGAIN, libc::ECANCELED, libc::EIO];
                assert!(told.contains(&error.errno()), "seed {}: a close fails with {error}", self.seed);
                if self.retries == Retries::Yes && self.bystanders.has(number) {
                    // SAFETY: the number belongs to a bystander of this program, which does not use it again.
                    unsafe { libc::close(i32::try_from(number).unwrap()) };
                }
            }
        }
        self.bystanders.check(self.seed);
    }

    fn run(&mut self) {
        for _ in 0..ROUNDS {
            let files: Vec<File> = (0..1 + self.rng.below(8)).map(|_| self.file()).collect();
            files.into_iter().for_each(|file| self.close(file));
            self.step();
        }
        let at_rest = |engine: &Engine| engine.stats().rings.iter().all(|ring| ring.submitted == ring.completed);
        let mut steps = 0;
        while !(self.by_port.is_empty() && self.by_future.is_empty() && at_rest(&self.engine)) {
            steps += 1;
            assert!(steps < STEPS_MAX, "seed {}: closes never complete: {:?}", self.seed, self.engine.stats());
            self.step();
            self.engine.turn(Some(std::time::Duration::ZERO));
        }
        let open = open_under(&self.bystanders.dir);
        let only_bystanders = open.iter().all(|path| path.to_string_lossy().contains("bystander"));
        assert!(only_bystanders, "seed {}: descriptors are left open: {open:?}", self.seed);
        assert_eq!(open.len(), self.bystanders.opened.len(), "seed {}", self.seed);
    }
}

/// What this process has open in a directory.
fn open_under(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir("/proc/self/fd").unwrap();
    let paths = all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    paths.filter(|path| path.starts_with(dir)).collect()
}

/// A kernel whose closes mostly fail.
fn failing(seed: u64) -> SimOptions {
    let mut options = SimOptions::new(seed);
    options.short_io = 0.0;
    options.close_error = 0.7;
    (options.eagain, options.eintr, options.ecanceled) = (0.1, 0.1, 0.1);
    options
}

fn run(seed: u64, retries: Retries) -> SimCounts {
    let _alone = alone();
    pin();
    let dir = directory();
    let options = failing(seed);
    Program::new(seed, &options, retries, dir.path()).run();
    let counts = options.injected();
    assert_eq!(counts.dropped_in_flight, 0, "seed {seed}: something was in flight when its ring went");
    counts
}

#[test]
fn a_close_is_performed_once_whatever_it_answers() {
    let errors: u64 = (0..60).map(|seed| run(seed, Retries::No).close_errors).sum();
    assert!(errors > 200, "{errors}");
}

#[test]
#[should_panic(expected = "was closed under its owner")]
fn the_rig_finds_a_close_that_is_made_again() {
    for seed in 0..10 {
        run(seed, Retries::Yes);
    }
}
