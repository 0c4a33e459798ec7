//! A program: an engine on a simulated kernel, files, a model of them, and all that is under way.

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use auraio::{BackendChoice, Completion, Engine, File, OpenOptions, Port, Routing, SimOptions, control::Policy, op};

use super::{
    FILE_BYTES, FILES, IN_FLIGHT_MAX, STEPS_MAX, UNBOUNDED,
    asked::{Asked, Pending, Waiting},
    buffers::{Memory, Tracked},
    rng::Rng,
    sabotage::Sabotage,
};

/// What a program is built with.
pub(crate) struct Rules {
    pub(crate) depth: u64,
    /// Whether operations may fail.
    pub(crate) failures: bool,
    /// Whether threads of the engine may take part. They complete when they are done, so then no seed decides the history.
    pub(crate) threads: bool,
    pub(crate) options: SimOptions,
}

/// The files of a program, and the model of what they hold.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) files: Vec<File>,
    /// The same files, opened without the engine.
    pub(crate) plain: Vec<fs::File>,
    pub(crate) model: Vec<Vec<u8>>,
    /// Writes that nobody waits for any more. How far they came is seen at the end.
    pub(crate) given_up: Vec<(usize, usize, Vec<u8>)>,
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) rng: Rng,
    pub(crate) rules: Rules,
    pub(crate) sabotage: Sabotage,
    /// The memory of the read or write that was started last.
    pub(crate) last: Option<(*mut u8, usize)>,
    pub(crate) engine: Engine,
    pub(crate) port: Port,
    pub(crate) disk: Disk,
    pub(crate) pending: BTreeMap<u64, Pending>,
    /// All ranges in use: those of `pending`, and those of what was given up.
    pub(crate) busy: BTreeMap<u64, (usize, Range<usize>, bool)>,
    pub(crate) memory: Memory,
    pub(crate) next: u64,
    /// A hash of everything that was observed, in order.
    pub(crate) history: u64,
    pub(crate) completions: Vec<Completion>,
}

impl World {
    pub(crate) fn new(seed: u64, options: &SimOptions, sabotage: Sabotage, dir: &Path) -> Self {
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
        let rules = Rules {
            depth: depth.into(),
            failures: options.failure > 0.0,
            threads: options.eintr + options.ecanceled > 0.0,
            options: options.clone(),
        };
        Self {
            seed,
            rng,
            rules,
            sabotage,
            last: None,
            engine,
            port,
            disk: Disk { files, plain, model, given_up: Vec::new() },
            pending: BTreeMap::new(),
            busy: BTreeMap::new(),
            memory: Memory::default(),
            next: 0,
            history: 0,
            completions: Vec::new(),
        }
    }

    pub(crate) fn buffer(&mut self, bytes: &[u8], may_go: &Arc<AtomicBool>) -> Tracked {
        let (buffer, address) = self.memory.buffer(bytes, may_go);
        self.last = Some((address, bytes.len()));
        buffer
    }

    /// Buffers that together hold these bytes, one of them maybe empty.
    pub(crate) fn buffers(&mut self, bytes: &[u8], may_go: &Arc<AtomicBool>) -> Vec<Tracked> {
        let mut cuts: Vec<usize> =
            (0..1 + self.rng.below(4)).map(|_| self.rng.below(bytes.len() as u64 + 1) as usize).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let parts: Vec<_> = cuts.windows(2).map(|ends| bytes[ends[0]..ends[1]].to_vec()).collect();
        parts.iter().map(|part| self.buffer(part, may_go)).collect()
    }

    pub(crate) fn is_free(&self, file: usize, range: &Range<usize>, writes: bool) -> bool {
        !self.busy.values().any(|(other, used, changes)| {
            *other == file && (writes || *changes) && used.start < range.end && range.start < used.end
        })
    }

    /// Chooses an operation that does not use what another operation changes, nor changes what another one uses.
    pub(crate) fn ask(&mut self) -> Asked {
        let file = self.rng.below(FILES as u64) as usize;
        let at = self.rng.below(FILE_BYTES as u64) as usize;
        let len = 1 + self.rng.below([16, 600, 9000][self.rng.0 as usize % 3]) as usize;
        match self.rng.below(12) {
            0 => return Asked::Nop,
            1 => return Asked::Sync,
            2 => return Asked::Stat,
            3 if self.rules.threads => return Asked::Mode,
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

    pub(crate) fn start(&mut self) {
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
            Asked::Sync => begin!(Sync, op::Sync::data(&self.disk.files[0])),
            Asked::Stat => begin!(Stat, op::Stat::file(&self.disk.files[0])),
            Asked::Mode => begin!(Mode, op::SetMode::new(&self.disk.files[0], 0o600)),
            Asked::Read(file, range) => {
                let buffer = self.buffer(&blank(range), &may_go);
                begin!(Read, op::Read::at(&self.disk.files[*file], buffer, range.start as u64))
            }
            Asked::Write(file, at, bytes) => {
                let buffer = self.buffer(bytes, &may_go);
                begin!(Write, op::Write::at(&self.disk.files[*file], buffer, *at as u64))
            }
            Asked::ReadVectors(file, range) => {
                let buffers = self.buffers(&blank(range), &may_go);
                begin!(ReadVectors, op::ReadVectored::at(&self.disk.files[*file], buffers, range.start as u64))
            }
            Asked::WriteVectors(file, at, bytes) => {
                let buffers = self.buffers(bytes, &may_go);
                begin!(WriteVectors, op::WriteVectored::at(&self.disk.files[*file], buffers, *at as u64))
            }
        };
        self.break_a_promise(&asked, through_port);
        self.pending.insert(token, Pending { asked, waiting, may_go, cancelled: false });
    }

    pub(crate) fn step(&mut self) {
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

    pub(crate) fn check(&self) {
        let seed = self.seed;
        assert_eq!(
            self.memory.early.load(Ordering::SeqCst),
            0,
            "seed {seed}: a buffer was let go of before its completion"
        );
        let held = self.rules.options.injected().held_most;
        assert!(
            held <= self.rules.depth,
            "seed {seed}: a ring holds {held}, though its queue is {} deep",
            self.rules.depth
        );
        for ring in self.engine.stats().rings {
            assert!(ring.completed <= ring.submitted, "seed {seed}: {ring:?}");
        }
    }

    /// Waits for what is under way, in a number of steps.
    pub(crate) fn settle(&mut self) {
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
    pub(crate) fn finish(&mut self) {
        let seed = self.seed;
        assert_eq!(self.port.outstanding(), 0, "seed {seed}");
        assert_eq!(self.memory.alive.load(Ordering::SeqCst), 0, "seed {seed}: buffers were kept");
        for (file, at, bytes) in std::mem::take(&mut self.disk.given_up) {
            let mut there = vec![0; bytes.len()];
            self.disk.plain[file].read_exact_at(&mut there, at as u64).unwrap();
            let before = &mut self.disk.model[file][at..at + bytes.len()];
            // How far a write came that nobody waited for, nobody knows; but it came no further than its own end.
            let same = |moved: usize| there[..moved] == bytes[..moved] && there[moved..] == before[moved..];
            assert!((0..=bytes.len()).any(same), "seed {seed}: a write that was given up left something else");
            before.copy_from_slice(&there);
        }
        for (nth, plain) in self.disk.plain.iter().enumerate() {
            let mut there = vec![0; FILE_BYTES];
            plain.read_exact_at(&mut there, 0).unwrap();
            assert!(there == self.disk.model[nth], "seed {seed}: file {nth} is not what the model says");
            assert_eq!(plain.metadata().unwrap().len(), FILE_BYTES as u64, "seed {seed}");
        }
        for ring in self.engine.stats().rings {
            assert_eq!((ring.in_flight, ring.queued), (0, 0), "seed {seed}: {ring:?}");
        }
    }
}
