//! Random programs on the simulated kernel, against a model of the files.
//!
//! Each seed decides what a program does (reads and writes of every kind, over a few files, up to 64 at once in disjoint
//! ranges, through a port and through futures, some of them cancelled or dropped) and what the simulated kernel does to
//! it. What must hold, whatever the seed: every operation completes once, with its own buffer; no buffer is let go of
//! before its completion; no more is in flight than allowed; what is read is what was written; and all of it comes to an
//! end within a number of steps. A failure prints its seed; `AURAIO_SIM_SEEDS=100000` runs so many, and
//! `AURAIO_SIM_SEED=7` that one alone.
//!
//! The last tests break each promise on purpose, to show that the rig finds out.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test panics where something is not as it should be")]
#![allow(unsafe_code, reason = "buffers of the tests' own")]

use std::{
    collections::BTreeMap,
    fs,
    mem::ManuallyDrop,
    ops::Range,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use auraio::{
    BackendChoice, Completion, Engine, Error, File, IoBuf, IoBufMut, OpFuture, OpenOptions, Port, PortTicket, Routing,
    SimCounts, SimOptions, control::Policy, op,
};

/// Programs that a plain `cargo test` runs.
const SEEDS: u64 = 1000;

/// Operations of one program.
const OPERATIONS: u64 = 400;

const FILES: usize = 3;
const FILE_BYTES: usize = 64 << 10;
const IN_FLIGHT_MAX: usize = 64;

/// Steps after the last operation within which all must have completed: far more than any delay adds up to.
const STEPS_MAX: u32 = 100_000;

/// What is left in memory that was let go of: neither noise nor contents.
const POISON: u8 = 0xdd;

/// Where a program breaks a promise on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sabotage {
    None,
    /// Memory that a read is writing to is written to by somebody else.
    TouchTarget,
    /// Memory that a write is reading from changes.
    TouchSource,
    /// A buffer's owner forgets that it lent its memory out, and frees it.
    FreeEarly,
    /// A file changes behind the model's back.
    CorruptFile,
    /// A completion gets lost.
    LoseCompletion,
    /// A completion comes twice.
    RepeatCompletion,
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// The memory of buffers. It is poisoned when a buffer lets go of it, and kept until the program is over, so that whoever
/// uses it then finds poison and no stranger's bytes.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<Box<[u8]>>>>);

/// A buffer that tells when it is let go of.
struct Tracked {
    bytes: Option<Box<[u8]>>,
    memory: Memory,
    /// Set by whoever may drop it: the program, once it has it back, or has given it up.
    may_go: Arc<AtomicBool>,
    early: Arc<AtomicU64>,
    /// Those alive.
    alive: Arc<AtomicU64>,
}

impl Tracked {
    fn part(&self) -> &[u8] {
        self.bytes.as_deref().unwrap()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if !self.may_go.load(Ordering::SeqCst) {
            self.early.fetch_add(1, Ordering::SeqCst);
        }
        self.alive.fetch_sub(1, Ordering::SeqCst);
        if let Some(mut bytes) = self.bytes.take() {
            bytes.fill(POISON);
            self.memory.0.lock().unwrap().push(bytes);
        }
    }
}

// SAFETY: the bytes lie in a box, which nobody replaces before the drop.
unsafe impl IoBuf for Tracked {
    fn as_slice(&self) -> &[u8] {
        self.part()
    }
}

// SAFETY: as above.
unsafe impl IoBufMut for Tracked {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.as_deref_mut().unwrap()
    }
}

/// What an operation was asked to do.
#[derive(Clone, Debug)]
enum Asked {
    Nop,
    Sync,
    Stat,
    Mode,
    Read(usize, Range<usize>),
    ReadVectors(usize, Range<usize>),
    Write(usize, usize, Vec<u8>),
    WriteVectors(usize, usize, Vec<u8>),
}

impl Asked {
    /// What it uses of which file, and whether it changes that.
    fn range(&self) -> Option<(usize, Range<usize>, bool)> {
        match self {
            Self::Read(file, range) | Self::ReadVectors(file, range) => Some((*file, range.clone(), false)),
            Self::Write(file, at, bytes) | Self::WriteVectors(file, at, bytes) => {
                Some((*file, *at..at + bytes.len(), true))
            }
            _ => None,
        }
    }
}

enum Waiting {
    Port(PortTicket),
    Plain(OpFuture<op::Nop>),
    Sync(OpFuture<op::Sync>),
    Stat(OpFuture<op::Stat>),
    Mode(OpFuture<op::SetMode>),
    Read(OpFuture<op::Read<Tracked>>),
    Write(OpFuture<op::Write<Tracked>>),
    ReadVectors(OpFuture<op::ReadVectored<Tracked>>),
    WriteVectors(OpFuture<op::WriteVectored<Tracked>>),
}

struct Pending {
    asked: Asked,
    waiting: Waiting,
    may_go: Arc<AtomicBool>,
    cancelled: bool,
}

/// What became of an operation.
type Outcome = (Result<usize, Error>, Vec<Tracked>);

fn one<T>((outcome, buffer): (auraio::Result<usize>, T)) -> (auraio::Result<usize>, Vec<T>) {
    (outcome, vec![buffer])
}

struct World {
    seed: u64,
    rng: Rng,
    depth: u64,
    failures: bool,
    /// Whether the engine's own threads may take part, which come back when they are done: no seed decides that.
    threads: bool,
    options: SimOptions,
    sabotage: Sabotage,
    /// Where the memory of the last read or write that was started lies.
    last: Option<(*mut u8, usize)>,
    engine: Engine,
    port: Port,
    files: Vec<File>,
    plain: Vec<fs::File>,
    model: Vec<Vec<u8>>,
    pending: BTreeMap<u64, Pending>,
    /// Writes that nobody waits for any more: how far they came is seen in the end.
    given_up: Vec<(usize, usize, Vec<u8>)>,
    /// All ranges that are in use: those of `pending`, and of what was given up.
    busy: BTreeMap<u64, (usize, Range<usize>, bool)>,
    memory: Memory,
    early: Arc<AtomicU64>,
    alive: Arc<AtomicU64>,
    next: u64,
    /// Of everything that was observed, in order.
    history: u64,
    completions: Vec<Completion>,
}

impl World {
    fn new(seed: u64, options: &SimOptions, sabotage: Sabotage, dir: &std::path::Path) -> Self {
        let mut rng = Rng(seed);
        let depth = [4, 16, 64, 1024][rng.below(4) as usize];
        let builder = Engine::builder()
            .backend(BackendChoice::Sim(options.clone()))
            .routing(if rng.chance(2) { Routing::Core } else { Routing::Thread })
            .submit_batch([1, 7, 32][rng.below(3) as usize])
            .queue_depth(depth)
            // A limit that follows the clock, and is shared with the engines of the tests beside this one, would give no
            // history twice; tests/lanes.rs has limits that bind.
            .policy(Policy::Fixed(UNBOUNDED))
            .in_flight(1, UNBOUNDED);
        let engine = builder.build().unwrap();
        let port = engine.port().unwrap();
        let open = OpenOptions::new().read(true).write(true);
        let (mut files, mut plain, mut model) = (Vec::new(), Vec::new(), Vec::new());
        for nth in 0..FILES {
            let path = dir.join(nth.to_string());
            let bytes: Vec<u8> = (0..FILE_BYTES).map(|_| rng.next() as u8).collect();
            fs::write(&path, &bytes).unwrap();
            // One is direct, where the file system can: nothing that is done to it is aligned, so all of it is bounced. Then
            // the memory that the kernel has is not the program's, whose sabotage nobody would notice.
            let mut direct = nth == 1 && sabotage == Sabotage::None;
            // With failures an open may fail like anything else, unperformed.
            files.push(loop {
                match engine.block_on(engine.open(&path, open.direct(direct))) {
                    Ok(file) => break file,
                    Err(error) if direct && error.errno() == libc::EINVAL => direct = false,
                    Err(error) => assert_eq!(error.errno(), libc::EIO, "{error}"),
                }
            });
            plain.push(fs::OpenOptions::new().read(true).write(true).open(&path).unwrap());
            model.push(bytes);
        }
        Self {
            seed,
            rng,
            depth: depth.into(),
            failures: options.failure > 0.0,
            threads: options.eintr + options.ecanceled > 0.0,
            options: options.clone(),
            sabotage,
            last: None,
            engine,
            port,
            files,
            plain,
            model,
            pending: BTreeMap::new(),
            given_up: Vec::new(),
            busy: BTreeMap::new(),
            memory: Memory::default(),
            early: Arc::default(),
            alive: Arc::default(),
            next: 0,
            history: 0,
            completions: Vec::new(),
        }
    }

    fn buffer(&mut self, bytes: &[u8], may_go: &Arc<AtomicBool>) -> Tracked {
        self.alive.fetch_add(1, Ordering::SeqCst);
        let mut bytes: Box<[u8]> = bytes.into();
        self.last = Some((bytes.as_mut_ptr(), bytes.len()));
        Tracked {
            bytes: Some(bytes),
            memory: self.memory.clone(),
            may_go: Arc::clone(may_go),
            early: Arc::clone(&self.early),
            alive: Arc::clone(&self.alive),
        }
    }

    /// Buffers that together hold these bytes, one of them maybe empty.
    fn buffers(&mut self, bytes: &[u8], may_go: &Arc<AtomicBool>) -> Vec<Tracked> {
        let mut cuts: Vec<usize> =
            (0..1 + self.rng.below(4)).map(|_| self.rng.below(bytes.len() as u64 + 1) as usize).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let parts: Vec<_> = cuts.windows(2).map(|ends| bytes[ends[0]..ends[1]].to_vec()).collect();
        parts.iter().map(|part| self.buffer(part, may_go)).collect()
    }

    fn is_free(&self, file: usize, range: &Range<usize>, writes: bool) -> bool {
        !self.busy.values().any(|(other, used, changes)| {
            *other == file && (writes || *changes) && used.start < range.end && range.start < used.end
        })
    }

    /// Something to do that does not get into the way of what is under way.
    fn ask(&mut self) -> Asked {
        let file = self.rng.below(FILES as u64) as usize;
        let at = self.rng.below(FILE_BYTES as u64) as usize;
        let len = 1 + self.rng.below([16, 600, 9000][self.rng.0 as usize % 3]) as usize;
        match self.rng.below(12) {
            0 => return Asked::Nop,
            1 => return Asked::Sync,
            2 => return Asked::Stat,
            3 if self.threads => return Asked::Mode,
            4..=7 => {
                let bytes: Vec<u8> = (0..len.min(FILE_BYTES - at)).map(|_| self.rng.next() as u8).collect();
                if self.is_free(file, &(at..at + bytes.len()), true) {
                    let vectors = self.rng.chance(3);
                    return if vectors { Asked::WriteVectors(file, at, bytes) } else { Asked::Write(file, at, bytes) };
                }
            }
            _ => {
                // Now and then past the end of the file.
                let range = at..at + len;
                if self.is_free(file, &range, false) {
                    let vectors = self.rng.chance(3);
                    return if vectors { Asked::ReadVectors(file, range) } else { Asked::Read(file, range) };
                }
            }
        }
        Asked::Nop
    }

    fn start(&mut self) {
        let asked = self.ask();
        let token = self.next;
        self.next += 1;
        let may_go = Arc::new(AtomicBool::new(false));
        if let Some(busy) = asked.range() {
            self.busy.insert(token, busy);
        }
        let through_port = self.rng.chance(2);
        // A macro, because each kind of operation is a type of its own.
        macro_rules! begin {
            ($kind:ident, $operation:expr) => {{
                let operation = $operation;
                if through_port {
                    Waiting::Port(self.port.submit(operation, token))
                } else {
                    Waiting::$kind(self.engine.submit(operation))
                }
            }};
        }
        let blank = |range: &Range<usize>| vec![0xee; range.len()];
        let waiting = match &asked {
            Asked::Nop => begin!(Plain, op::Nop),
            Asked::Sync => begin!(Sync, op::Sync::data(&self.files[0])),
            Asked::Stat => begin!(Stat, op::Stat::file(&self.files[0])),
            Asked::Mode => begin!(Mode, op::SetMode::new(&self.files[0], 0o600)),
            Asked::Read(file, range) => {
                let buffer = self.buffer(&blank(range), &may_go);
                begin!(Read, op::Read::at(&self.files[*file], buffer, range.start as u64))
            }
            Asked::Write(file, at, bytes) => {
                let buffer = self.buffer(bytes, &may_go);
                begin!(Write, op::Write::at(&self.files[*file], buffer, *at as u64))
            }
            Asked::ReadVectors(file, range) => {
                let buffers = self.buffers(&blank(range), &may_go);
                begin!(ReadVectors, op::ReadVectored::at(&self.files[*file], buffers, range.start as u64))
            }
            Asked::WriteVectors(file, at, bytes) => {
                let buffers = self.buffers(bytes, &may_go);
                begin!(WriteVectors, op::WriteVectored::at(&self.files[*file], buffers, *at as u64))
            }
        };
        self.break_a_promise(&asked, through_port);
        self.pending.insert(token, Pending { asked, waiting, may_go, cancelled: false });
    }

    /// Does what nobody may do, where that is what the test is about.
    fn break_a_promise(&mut self, asked: &Asked, through_port: bool) {
        let (Some((address, len)), true) = (self.last, self.next > OPERATIONS / 4) else { return };
        let touch = match (self.sabotage, asked) {
            (Sabotage::TouchTarget, Asked::Read(..)) | (Sabotage::TouchSource, Asked::Write(..)) => 1,
            (Sabotage::FreeEarly, Asked::Read(..)) => len,
            (Sabotage::CorruptFile, _) => {
                // A place that nothing uses, or the mistake might be overwritten.
                let file = (0..FILES).find(|&file| self.is_free(file, &(0..100), true));
                if let Some(file) = file {
                    self.plain[file].write_all_at(&[!self.model[file][50]], 50).unwrap();
                    self.sabotage = Sabotage::None;
                }
                return;
            }
            _ => return,
        };
        self.port.flush();
        // Before the kernel has it, memory may change: the kernel would only see the change.
        if !through_port || self.port.ring_stats().iter().any(|ring| ring.queued > 0) {
            return;
        }
        // What is freed is poisoned, as `Tracked` does it.
        for at in 0..touch {
            // SAFETY: the memory of a buffer is kept until the program is over. That the simulated kernel, on this thread,
            // looks at it as well is what the test is about.
            unsafe { *address.add(at) = if self.sabotage == Sabotage::FreeEarly { POISON } else { !*address.add(at) } };
        }
    }

    /// A completed operation, with what it gave.
    fn complete(&mut self, token: u64, (outcome, buffers): Outcome) {
        let seed = self.seed;
        let Some(Pending { asked, may_go, cancelled, .. }) = self.pending.remove(&token) else {
            panic!("seed {seed}: operation {token} completes, but it is not under way")
        };
        may_go.store(true, Ordering::SeqCst);
        self.busy.remove(&token);
        let value = match &outcome {
            Ok(value) => *value as u64,
            Err(error) => u64::MAX - error.errno() as u64,
        };
        self.history = (self.history ^ token ^ value << 20).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(7);
        let moved = match outcome {
            Ok(moved) => moved,
            Err(Error::Cancelled) if cancelled => 0,
            Err(error) if self.failures && error.errno() == libc::EIO => 0,
            Err(error) => panic!("seed {seed}: operation {token} fails with {error}: {asked:?}"),
        };
        let bytes: Vec<u8> = buffers.iter().flat_map(Tracked::part).copied().collect();
        match asked {
            Asked::Read(file, range) | Asked::ReadVectors(file, range) => {
                let end = range.end.min(FILE_BYTES);
                assert_eq!(bytes.len(), range.len(), "seed {seed}: operation {token} lost its buffer");
                assert!(moved <= end - range.start, "seed {seed}: operation {token} read past the end");
                let expected = &self.model[file][range.start..][..moved];
                assert!(bytes[..moved] == *expected, "seed {seed}: operation {token} read what was never written");
                let rest = bytes[moved..].iter().all(|byte| *byte == 0xee);
                assert!(rest, "seed {seed}: operation {token} changed its buffer behind what it read");
            }
            Asked::Write(file, at, wanted) | Asked::WriteVectors(file, at, wanted) => {
                assert!(bytes == wanted, "seed {seed}: operation {token} changed what it wrote from");
                assert!(moved <= wanted.len());
                self.model[file][at..at + moved].copy_from_slice(&wanted[..moved]);
            }
            Asked::Nop | Asked::Sync | Asked::Stat | Asked::Mode => {}
        }
    }

    fn poll_port(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        match self.rng.below(3) {
            0 => self.port.reap(&mut completions),
            _ => self.port.poll(&mut completions),
        };
        if self.sabotage == Sabotage::LoseCompletion && self.next > OPERATIONS / 2 && !completions.is_empty() {
            completions.pop();
            self.sabotage = Sabotage::None;
        }
        for completion in completions.drain(..) {
            let token = completion.token();
            let outcome: Outcome = match self.pending.get(&token).map(|pending| &pending.asked) {
                Some(Asked::Read(..)) => one(completion.into_output::<op::Read<Tracked>>()),
                Some(Asked::Write(..)) => one(completion.into_output::<op::Write<Tracked>>()),
                Some(Asked::ReadVectors(..)) => completion.into_output::<op::ReadVectored<Tracked>>(),
                Some(Asked::WriteVectors(..)) => completion.into_output::<op::WriteVectored<Tracked>>(),
                Some(Asked::Sync) => (completion.into_output::<op::Sync>().map(|()| 0), Vec::new()),
                Some(Asked::Mode) => (completion.into_output::<op::SetMode>().map(|()| 0), Vec::new()),
                Some(Asked::Stat) => (self.stat(completion.into_output::<op::Stat>()), Vec::new()),
                _ => (completion.into_output::<op::Nop>().map(|()| 0), Vec::new()),
            };
            let again = self.sabotage == Sabotage::RepeatCompletion && self.next > OPERATIONS / 2;
            self.complete(token, outcome);
            if again {
                self.complete(token, (Ok(0), Vec::new()));
            }
        }
        self.completions = completions;
    }

    fn stat(&self, outcome: auraio::Result<auraio::Metadata>) -> Result<usize, Error> {
        outcome.map(|metadata| {
            assert_eq!(metadata.len(), FILE_BYTES as u64, "seed {}", self.seed);
            0
        })
    }

    fn poll_future(&mut self, token: u64) {
        fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
            Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
        }
        let Some(pending) = self.pending.get_mut(&token) else { return };
        let none = |outcome: auraio::Result<()>| (outcome.map(|()| 0), Vec::new());
        let polled: Poll<Outcome> = match &mut pending.waiting {
            Waiting::Port(_) => return,
            Waiting::Plain(future) => poll(future).map(none),
            Waiting::Sync(future) => poll(future).map(none),
            Waiting::Mode(future) => poll(future).map(none),
            Waiting::Read(future) => poll(future).map(one),
            Waiting::Write(future) => poll(future).map(one),
            Waiting::ReadVectors(future) => poll(future),
            Waiting::WriteVectors(future) => poll(future),
            Waiting::Stat(future) => match poll(future) {
                Poll::Ready(outcome) => Poll::Ready((self.stat(outcome), Vec::new())),
                Poll::Pending => Poll::Pending,
            },
        };
        if let Poll::Ready(outcome) = polled {
            self.complete(token, outcome);
        }
    }

    fn random_pending(&mut self) -> Option<u64> {
        let nth = self.rng.below(self.pending.len().max(1) as u64) as usize;
        self.pending.keys().nth(nth).copied()
    }

    fn cancel_one(&mut self) {
        let Some(token) = self.random_pending() else { return };
        let pending = self.pending.get_mut(&token).unwrap();
        pending.cancelled = true;
        match &pending.waiting {
            Waiting::Port(ticket) => self.port.cancel(*ticket),
            Waiting::Plain(future) => future.cancel(),
            Waiting::Sync(future) => future.cancel(),
            Waiting::Stat(future) => future.cancel(),
            Waiting::Mode(future) => future.cancel(),
            Waiting::Read(future) => future.cancel(),
            Waiting::Write(future) => future.cancel(),
            Waiting::ReadVectors(future) => future.cancel(),
            Waiting::WriteVectors(future) => future.cancel(),
        }
    }

    /// Drops a future. Its range stays in use: the operation goes on.
    fn give_up_one(&mut self) {
        let Some(token) = self.random_pending() else { return };
        if matches!(self.pending[&token].waiting, Waiting::Port(_)) {
            return;
        }
        let Pending { asked, waiting, may_go, .. } = self.pending.remove(&token).unwrap();
        may_go.store(true, Ordering::SeqCst);
        if let Asked::Write(file, at, bytes) | Asked::WriteVectors(file, at, bytes) = asked {
            self.given_up.push((file, at, bytes));
        }
        drop(waiting);
    }

    fn step(&mut self) {
        match self.rng.below(40) {
            0..=17 if self.pending.len() < IN_FLIGHT_MAX => self.start(),
            0..=21 => self.poll_port(),
            22 => self.port.flush(),
            23..=25 => self.cancel_one(),
            26 => self.give_up_one(),
            _ => {
                if let Some(token) = self.random_pending() {
                    self.poll_future(token);
                }
            }
        }
        self.check();
    }

    fn check(&self) {
        let seed = self.seed;
        assert_eq!(self.early.load(Ordering::SeqCst), 0, "seed {seed}: a buffer was let go of before its completion");
        let held = self.options.injected().held_most;
        assert!(held <= self.depth, "seed {seed}: a ring holds {held}, though its queue is {} deep", self.depth);
        for ring in self.engine.stats().rings {
            assert!(ring.completed <= ring.submitted, "seed {seed}: {ring:?}");
        }
    }

    /// Waits for what is under way, in a number of steps.
    fn settle(&mut self) {
        let mut steps = 0;
        let at_rest = |engine: &Engine| engine.stats().rings.iter().all(|ring| ring.submitted == ring.completed);
        while !self.pending.is_empty() || !at_rest(&self.engine) {
            steps += 1;
            let left: Vec<u64> = self.pending.keys().copied().collect();
            assert!(steps < STEPS_MAX, "seed {}: {left:?} never complete: {:?}", self.seed, self.engine.stats());
            // What a lost completion was for, the port does not wait for.
            let lost = self.port.outstanding() == 0 && at_rest(&self.engine);
            left.into_iter().for_each(|token| self.poll_future(token));
            self.poll_port();
            self.engine.turn(Some(std::time::Duration::ZERO));
            assert!(!lost || self.pending.is_empty() || steps < 1000, "seed {}: a completion got lost", self.seed);
        }
        self.check();
    }

    /// At rest, with nobody else about.
    fn finish(&mut self) {
        let seed = self.seed;
        assert_eq!(self.port.outstanding(), 0, "seed {seed}");
        assert_eq!(self.alive.load(Ordering::SeqCst), 0, "seed {seed}: buffers were kept");
        for (file, at, bytes) in std::mem::take(&mut self.given_up) {
            let mut there = vec![0; bytes.len()];
            self.plain[file].read_exact_at(&mut there, at as u64).unwrap();
            let before = &mut self.model[file][at..at + bytes.len()];
            // How far a write came that nobody waited for, nobody knows; but it came no further than its own end.
            let same = |moved: usize| there[..moved] == bytes[..moved] && there[moved..] == before[moved..];
            assert!((0..=bytes.len()).any(same), "seed {seed}: a write that was given up left something else");
            before.copy_from_slice(&there);
        }
        for (nth, plain) in self.plain.iter().enumerate() {
            let mut there = vec![0; FILE_BYTES];
            plain.read_exact_at(&mut there, 0).unwrap();
            assert!(there == self.model[nth], "seed {seed}: file {nth} is not what the model says");
            assert_eq!(plain.metadata().unwrap().len(), FILE_BYTES as u64, "seed {seed}");
        }
        for ring in self.engine.stats().rings {
            assert_eq!((ring.in_flight, ring.queued), (0, 0), "seed {seed}: {ring:?}");
        }
    }
}

/// Keeps the thread on one core, so that it stays on one ring and a seed means the same each time.
fn pin() {
    // SAFETY: plain bits; the kernel reads no further than their size.
    unsafe {
        let cpu = usize::try_from(libc::sched_getcpu()).unwrap();
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut one);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one);
    }
}

/// What the simulated kernel does to the program of a seed.
fn options_of(seed: u64) -> SimOptions {
    let mut rng = Rng(seed ^ 0x5eed);
    let mut options = SimOptions::new(seed);
    options.submission_entries = [32, 64, 256][rng.below(3) as usize];
    match rng.below(6) {
        0 => options.failure = 0.03,
        1 => {
            options.reorder = 1.0;
            options.delay = 1.0;
            options.delay_steps_max = 40;
        }
        2 => {
            options.eagain = 0.3;
            options.eintr = 0.3;
        }
        3 => options.refuse_for_good_after = Some(rng.below(200)),
        4 => {
            options.ecanceled = 0.2;
            options.cq_overflow = 0.5;
            options.partial_submit = 0.7;
            options.refuse_submit = 0.5;
        }
        _ => options.short_io = 0.5,
    }
    options
}

/// Runs the program of a seed; answers what was observed, and what the kernel did.
fn run(seed: u64, options: &SimOptions, sabotage: Sabotage) -> (u64, SimCounts) {
    static TURN: Mutex<()> = Mutex::new(());
    // Rings of other tests share the lane of this one's files.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    pin();
    let dir = tempfile::tempdir_in(if fs::exists("/dev/shm").unwrap() { "/dev/shm" } else { "/tmp" }).unwrap();
    // A simulated kernel that has panicked completes nothing any more, so what is left of a failed program is leaked
    // rather than waited for.
    let mut world = ManuallyDrop::new(World::new(seed, options, sabotage, dir.path()));
    // Inside block_on no thread of the engine's own takes part, which would make the history depend on the scheduler.
    let outside = world.engine.clone();
    outside.block_on(async {
        while world.next < OPERATIONS {
            world.step();
        }
        world.settle();
        world.finish();
    });
    let history = world.history;
    drop(outside);
    drop(ManuallyDrop::into_inner(world));
    let counts = options.injected();
    assert_eq!(counts.dropped_in_flight, 0, "seed {seed}: something was in flight when its ring went");
    (history, counts)
}

#[test]
fn whatever_the_seed_every_promise_is_kept() {
    let number = |name| std::env::var(name).ok().and_then(|value: String| value.parse::<u64>().ok());
    let seeds = match number("AURAIO_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("AURAIO_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let whole = seeds.end - seeds.start >= 100;
    let mut sum = SimCounts::default();
    for seed in seeds {
        let caught = std::panic::catch_unwind(|| run(seed, &options_of(seed), Sabotage::None).1);
        let Ok(counts) = caught else { panic!("seed {seed} fails; run it alone with AURAIO_SIM_SEED={seed}") };
        sum.short_io += counts.short_io;
        sum.eagain += counts.eagain;
        sum.eintr += counts.eintr;
        sum.ecanceled += counts.ecanceled;
        sum.failures += counts.failures;
        sum.partial_submits += counts.partial_submits;
        sum.refused_submits += counts.refused_submits;
        sum.cancelled += counts.cancelled;
        sum.cancels_late += counts.cancels_late;
        sum.overflowed += counts.overflowed;
        sum.reordered += counts.reordered;
    }
    println!("{sum:?}");
    if whole {
        let faults = [sum.short_io, sum.eagain, sum.eintr, sum.ecanceled, sum.failures, sum.partial_submits];
        let others = [sum.refused_submits, sum.cancelled, sum.cancels_late, sum.overflowed, sum.reordered];
        assert!(faults.iter().chain(&others).all(|count| *count > 0), "a fault never happened: {sum:?}");
    }
}

#[test]
fn a_seed_gives_the_same_history_each_time() {
    for seed in [1, 2, 3, 4, 6, 8] {
        let mut options = SimOptions::new(seed);
        // What goes to the helper's real threads comes back when they are done, which no seed decides.
        (options.ecanceled, options.eagain, options.eintr) = (0.0, 0.0, 0.0);
        let first = run(seed, &options, Sabotage::None);
        let mut again = SimOptions::new(seed);
        (again.ecanceled, again.eagain, again.eintr) = (0.0, 0.0, 0.0);
        assert_eq!(first, run(seed, &again, Sabotage::None), "seed {seed}");
    }
}

/// More than is ever in flight here, shared among more rings than there ever are.
const UNBOUNDED: u32 = 65_536;

/// A kernel that leaves everything in flight for a while.
fn slow(seed: u64) -> SimOptions {
    let mut options = SimOptions::calm(seed);
    options.delay = 1.0;
    options.delay_steps_max = 50;
    options
}

#[test]
#[should_panic(expected = "its target was written to by somebody else")]
fn the_rig_finds_memory_of_a_read_that_somebody_else_writes_to() {
    run(1, &slow(1), Sabotage::TouchTarget);
}

#[test]
#[should_panic(expected = "its source was written to by somebody else")]
fn the_rig_finds_memory_of_a_write_that_changes() {
    run(1, &slow(1), Sabotage::TouchSource);
}

#[test]
#[should_panic(expected = "its target was written to by somebody else")]
fn the_rig_finds_a_buffer_that_is_freed_in_flight() {
    run(2, &slow(2), Sabotage::FreeEarly);
}

#[test]
#[should_panic(expected = "seed 3")]
fn the_rig_finds_a_file_that_is_not_what_was_written() {
    run(3, &slow(3), Sabotage::CorruptFile);
}

#[test]
#[should_panic(expected = "seed 4")]
fn the_rig_finds_a_completion_that_gets_lost() {
    run(4, &slow(4), Sabotage::LoseCompletion);
}

#[test]
#[should_panic(expected = "but it is not under way")]
fn the_rig_finds_a_completion_that_comes_twice() {
    run(5, &slow(5), Sabotage::RepeatCompletion);
}

#[test]
fn the_rig_counts_a_buffer_that_goes_before_it_may() {
    let early = Arc::<AtomicU64>::default();
    let buffer = Tracked {
        bytes: Some(vec![1; 8].into()),
        memory: Memory::default(),
        may_go: Arc::default(),
        early: Arc::clone(&early),
        alive: Arc::new(AtomicU64::new(1)),
    };
    drop(buffer);
    assert_eq!(early.load(Ordering::SeqCst), 1);
}
