//! A seeded kernel, for tests of everything above it.
//!
//! Calls are performed for real, on real files, but as late as possible, and a seed decides when, in which order and what
//! goes wrong: [`SimOptions`] lists it. Time goes by in steps, one at each `submit` and `reap` and as many as it takes in
//! a wait; nothing sleeps. The one exception is a wait without a limit for a pipe that only somebody else can fill.
//!
//! It refuses what a kernel would let pass to everybody's harm, and panics with the seed: memory of an operation in
//! flight that somebody else writes to, two operations in flight under one `user_data`, a chain cut off by a `submit`
//! (its order would silently be lost), a registered file changed under an operation on it, and a wait for completions that nothing in flight can bring.
#![expect(unsafe_code, reason = "performs calls, whose addresses the caller of `push` vouches for")]

mod fault;
mod memory;
mod options;
mod ready;
mod rng;
mod table;

use std::{
    collections::{BTreeSet, VecDeque},
    io, mem,
    time::Duration,
};

pub use options::{SimCounts, SimOptions};

use self::{
    fault::{bytes_asked, is_complete, is_misaligned, shortened},
    memory::Watch,
    rng::Rng,
    table::Table,
};
use super::{Backend, Cqe, Entry, Wait};
use crate::sys::{Bell, Call, Descriptor, errno, perform};

/// What one step of time stands for when a wait has a limit: about what a fast NVMe read takes.
const STEP: Duration = Duration::from_micros(10);

/// Refusals of `submit` in a row, so that a caller that tries again gets through whatever the probability.
const REFUSALS_MAX: u32 = 3;

/// A simulated kernel.
#[derive(Debug)]
pub(crate) struct SimBackend {
    options: SimOptions,
    rng: Rng,
    /// In steps.
    now: u64,
    /// Pushed and not yet taken.
    pushed: VecDeque<Operation>,
    /// Taken and not yet performed. An operation that is linked to none is a chain of one. Never empty inside.
    chains: Vec<VecDeque<Operation>>,
    completed: VecDeque<Cqe>,
    /// Completions behind the CQ, as the kernel keeps them with `IORING_FEAT_NODROP`.
    backlog: VecDeque<Cqe>,
    /// The `user_data` of everything pushed and not yet reaped.
    held: BTreeSet<u64>,
    refusals: u32,
    enters: u64,
    /// `None` when the platform would not give one; then the caller has to look by itself.
    bell: Option<Bell>,
    rung: bool,
    files: Table,
}

#[derive(Debug)]
struct Operation {
    entry: Entry,
    cancelled: bool,
    /// Not performed before this step.
    due: u64,
    watch: Option<Watch>,
}

impl SimBackend {
    pub(crate) fn new(options: SimOptions) -> Self {
        Self {
            rng: Rng::new(options.seed),
            options,
            now: 0,
            pushed: VecDeque::new(),
            chains: Vec::new(),
            completed: VecDeque::new(),
            backlog: VecDeque::new(),
            held: BTreeSet::new(),
            refusals: 0,
            enters: 0,
            bell: Bell::new().ok(),
            rung: false,
            files: Table::default(),
        }
    }

    /// What a failing test has to print.
    pub(crate) const fn seed(&self) -> u64 {
        self.options.seed
    }

    /// Takes whole chains from what was pushed: all of them, or with a partial submit at least one. Answers the entries.
    fn take(&mut self) -> u32 {
        let last_of_chain = |operation: &Operation| !operation.entry.link;
        assert!(
            self.pushed.back().is_none_or(last_of_chain),
            "sim seed {:#x}: a submit would cut a chain in two",
            self.seed()
        );
        let chains = self.pushed.iter().filter(|operation| last_of_chain(operation)).count() as u64;
        let taken = if chains > 1 && self.rng.chance(self.options.partial_submit) {
            self.options.count(|counts| counts.partial_submits += 1);
            1 + self.rng.below(chains - 1)
        } else {
            chains
        };
        let mut entries = 0;
        for _ in 0..taken {
            let len = self.pushed.iter().position(last_of_chain).map_or(0, |last| last + 1);
            let mut chain: VecDeque<Operation> = self.pushed.drain(..len).collect();
            entries += len as u32;
            self.start_first(&mut chain);
            self.chains.push(chain);
        }
        entries
    }

    /// From here on the first operation of the chain may be performed at any step, and its memory is the kernel's.
    fn start_first(&mut self, chain: &mut VecDeque<Operation>) {
        let Some(operation) = chain.front_mut() else { return };
        operation.due = self.now + 1;
        if operation.entry.force_async {
            operation.due += 1;
        }
        if self.options.delay_steps_max > 0 && self.rng.chance(self.options.delay) {
            self.options.count(|counts| counts.delayed += 1);
            operation.due += 1 + self.rng.below(u64::from(self.options.delay_steps_max));
        }
        if self.options.watch_memory {
            let noise = self.rng.next();
            // SAFETY: the caller of `push` keeps the memory valid and to itself until the completion is reaped, and
            // `perform` ends the watch before there is a completion.
            operation.watch = unsafe { Watch::begin(&operation.entry.call, noise) };
        }
    }

    /// Lets time go by: performs what is due.
    fn step(&mut self) {
        self.now += 1;
        let now = self.now;
        let (mut due, later): (Vec<_>, Vec<_>) = mem::take(&mut self.chains)
            .into_iter()
            .partition(|chain| chain.front().is_some_and(|first| first.is_due(now)));
        self.chains = later;
        if self.rng.chance(self.options.reorder) && self.rng.shuffle(&mut due) {
            self.options.count(|counts| counts.reordered += 1);
        }
        for chain in due {
            self.advance(chain);
        }
    }

    /// Performs the first operation of a chain, and starts the next or ends them all.
    fn advance(&mut self, mut chain: VecDeque<Operation>) {
        let Some(first) = chain.pop_front() else { return };
        let Entry { call, user_data, .. } = first.entry;
        let result = self.perform(first);
        self.complete(user_data, result);
        // SAFETY: the caller of `push` keeps the list of vectors until the completion is reaped.
        if unsafe { is_complete(&call, result) } {
            self.start_first(&mut chain);
            if !chain.is_empty() {
                self.chains.push(chain);
            }
            return;
        }
        for operation in chain {
            self.options.count(|counts| counts.links_broken += 1);
            self.complete(operation.entry.user_data, -errno::ECANCELED);
        }
    }

    fn perform(&mut self, operation: Operation) -> i32 {
        let Operation { entry: Entry { call, user_data, fixed, .. }, cancelled, watch, .. } = operation;
        if let Some(watch) = watch {
            // SAFETY: `push` had the caller promise that the memory is as it was until the completion is reaped.
            let intact = unsafe { watch.end(&call) };
            if let Err(violation) = intact {
                panic!(
                    "sim seed {:#x}: operation {user_data:#x} ({}) is in flight, but {violation}",
                    self.seed(),
                    call.name()
                );
            }
        }
        if cancelled {
            self.options.count(|counts| counts.cancelled += 1);
            return -errno::ECANCELED;
        }
        if let Some(fault) = self.fault(&call) {
            return -fault;
        }
        // SAFETY: as above, for the list of vectors.
        if unsafe { is_misaligned(&call) } {
            return -errno::EINVAL;
        }
        self.options.count(|counts| counts.performed += 1);
        let call = match self.files.resolve(&call, fixed.file) {
            Ok(call) => call,
            Err(errno) => return -errno,
        };
        if self.rng.chance(self.options.short_io) {
            // SAFETY: as above, for the list of vectors.
            if let Some(cut) = unsafe { shortened(&call, &mut self.rng) } {
                self.options.count(|counts| counts.short_io += 1);
                // SAFETY: the addresses are those of `call`, for fewer bytes, and the list of vectors is in `cut`.
                return unsafe { perform(&cut.call) };
            }
        }
        // SAFETY: the caller of `push` keeps every address valid until the completion, which is not there yet.
        unsafe { perform(&call) }
    }

    /// The errno to answer with instead of performing.
    fn fault(&mut self, call: &Call) -> Option<i32> {
        if matches!(call, Call::Nop) {
            return None;
        }
        let options = &self.options;
        if self.rng.chance(options.ecanceled) {
            options.count(|counts| counts.ecanceled += 1);
            return Some(errno::ECANCELED);
        }
        // Linux frees the descriptor of an interrupted close, so one that left it open would teach callers to try again.
        if !matches!(call, Call::Close { .. }) && self.rng.chance(options.eintr) {
            options.count(|counts| counts.eintr += 1);
            return Some(errno::EINTR);
        }
        // SAFETY: the caller of `push` keeps the list of vectors until the completion is reaped.
        if unsafe { bytes_asked(call) }.is_some() && self.rng.chance(options.eagain) {
            options.count(|counts| counts.eagain += 1);
            return Some(errno::EAGAIN);
        }
        if self.rng.chance(options.failure) {
            options.count(|counts| counts.failures += 1);
            return Some(options.failure_errno);
        }
        None
    }

    fn complete(&mut self, user_data: u64, result: i32) {
        let cqe = Cqe { user_data, result };
        // Once there is a backlog, all that follows joins it, or completions would overtake each other.
        let full = self.completed.len() as u64 >= u64::from(self.in_flight_max());
        if full || !self.backlog.is_empty() || self.rng.chance(self.options.cq_overflow) {
            self.options.count(|counts| counts.overflowed += 1);
            self.backlog.push_back(cqe);
        } else {
            self.completed.push_back(cqe);
        }
    }

    fn flush_backlog(&mut self) {
        let room = self.in_flight_max() as usize - self.completed.len();
        self.completed.extend(self.backlog.drain(..room.min(self.backlog.len())));
    }

    fn wait(&mut self, completions: u32, limit: Option<Duration>) {
        // The CQ holds no more at once, and the kernel clamps the number too.
        let wanted = completions.min(self.in_flight_max()) as usize;
        let end =
            limit.map(|limit| self.now + u64::try_from(limit.as_nanos() / STEP.as_nanos()).unwrap_or(u64::MAX / 2));
        self.flush_backlog();
        if self.completed.len() < wanted && self.rng.chance(self.options.interrupt_wait) {
            self.options.count(|counts| counts.interrupted_waits += 1);
            return;
        }
        while self.completed.len() < wanted && end.is_none_or(|end| self.now < end) {
            let now = self.now;
            let mut firsts = self.chains.iter().filter_map(VecDeque::front);
            if self.chains.is_empty() {
                assert!(
                    end.is_some(),
                    "sim seed {:#x}: a wait for {wanted} completions without limit, of which {} are there and none can \
                     follow",
                    self.seed(),
                    self.completed.len()
                );
                self.now = end.unwrap_or(now);
            } else if end.is_none() && firsts.all(|first| first.due <= now && !first.is_due(now)) {
                ready::wait_for_any(self.chains.iter().filter_map(VecDeque::front).map(|first| &first.entry.call));
            }
            self.step();
            self.flush_backlog();
        }
    }

    fn refusal(&mut self) -> Option<io::Error> {
        if self.options.refuse_for_good_after.is_some_and(|last| self.enters > last) {
            self.options.count(|counts| counts.refused_submits += 1);
            return Some(io::Error::from_raw_os_error(errno::EPERM));
        }
        if self.refusals == REFUSALS_MAX || !self.rng.chance(self.options.refuse_submit) {
            self.refusals = 0;
            return None;
        }
        self.refusals += 1;
        self.options.count(|counts| counts.refused_submits += 1);
        let errno = [errno::EAGAIN, errno::EBUSY, errno::EINTR][self.rng.below(3) as usize];
        Some(io::Error::from_raw_os_error(errno))
    }

    /// Readable while there is something to reap, or would be if time went by: `reap` is what makes it go by.
    fn update_bell(&mut self) {
        let ring = !(self.chains.is_empty() && self.completed.is_empty() && self.backlog.is_empty());
        if let Some(bell) = self.bell.as_ref().filter(|_| ring != self.rung) {
            if ring {
                bell.ring();
            } else {
                bell.quiet();
            }
            self.rung = ring;
        }
    }
}

impl Operation {
    fn is_due(&self, now: u64) -> bool {
        self.cancelled || (self.due <= now && ready::is_ready(&self.entry.call))
    }
}

impl Backend for SimBackend {
    fn room(&self) -> u32 {
        self.options.submission_entries.max(1).saturating_sub(self.unsubmitted())
    }

    fn supports(&self, _: &Call) -> bool {
        true
    }

    unsafe fn push(&mut self, entry: Entry) {
        let seed = self.seed();
        assert!(self.room() > 0, "sim seed {seed:#x}: pushed into a full submission queue");
        assert!(entry.user_data != Cqe::INTERNAL, "sim seed {seed:#x}: user_data of the backend's own");
        let user_data = entry.user_data;
        assert!(self.held.insert(user_data), "sim seed {seed:#x}: two operations in flight are called {user_data:#x}");
        self.options.count(|counts| counts.held_most = counts.held_most.max(self.held.len() as u64));
        self.pushed.push_back(Operation { entry, cancelled: false, due: 0, watch: None });
    }

    fn cancel(&mut self, user_data: u64) {
        let late = self.rng.chance(self.options.cancel_late);
        let found = self
            .pushed
            .iter_mut()
            .chain(self.chains.iter_mut().flatten())
            .find(|operation| operation.entry.user_data == user_data)
            // What waits for a pipe can always be cancelled: the kernel has only armed a poll for it.
            .filter(|operation| !late || !ready::is_ready(&operation.entry.call));
        match found {
            Some(operation) => operation.cancelled = true,
            None => self.options.count(|counts| counts.cancels_late += 1),
        }
    }

    fn submit(&mut self, wait: Wait) -> io::Result<u32> {
        if self.pushed.is_empty() && wait == Wait::No {
            self.step();
            self.update_bell();
            return Ok(0);
        }
        self.enters += 1;
        if let Some(refusal) = self.refusal() {
            self.step();
            self.update_bell();
            return Err(refusal);
        }
        let taken = self.take();
        self.step();
        // The kernel does not wait either when it has not taken all (`io_uring_enter`).
        if let (Wait::AtLeast(completions, limit), true) = (wait, self.pushed.is_empty()) {
            self.wait(completions, limit);
        }
        self.update_bell();
        Ok(taken)
    }

    fn withdraw(&mut self) -> Vec<u64> {
        let names: Vec<u64> = self.pushed.drain(..).map(|operation| operation.entry.user_data).collect();
        for name in &names {
            self.held.remove(name);
        }
        names
    }

    fn reap(&mut self, into: &mut Vec<Cqe>) {
        self.step();
        if self.completed.is_empty() {
            self.flush_backlog();
        }
        for cqe in &self.completed {
            self.held.remove(&cqe.user_data);
        }
        into.extend(self.completed.drain(..));
        self.update_bell();
    }

    fn unsubmitted(&self) -> u32 {
        self.pushed.len() as u32
    }

    fn in_flight_max(&self) -> u32 {
        self.options.completion_entries.max(1)
    }

    fn files_max(&self) -> u32 {
        table::PLACES
    }

    fn set_file(&mut self, place: u32, file: Option<Descriptor>) -> io::Result<()> {
        let names = |operation: &&Operation| operation.entry.fixed.file == Some(place);
        let user = self.pushed.iter().chain(self.chains.iter().flatten()).find(names);
        assert!(
            user.is_none(),
            "sim seed {:#x}: place {place} of the file table is changed under operation {:#x}",
            self.seed(),
            user.map_or(0, |operation| operation.entry.user_data)
        );
        self.files.set(place, file)
    }

    fn descriptor(&self) -> Option<Descriptor> {
        self.bell.as_ref().and_then(Bell::descriptor)
    }

    /// Those that a ring would have made.
    fn enters(&self) -> u64 {
        self.enters
    }
}

impl Drop for SimBackend {
    fn drop(&mut self) {
        let left: usize = self.chains.iter().map(VecDeque::len).sum();
        // Their memory is not touched again, as it may be gone by now; a kernel would not ask.
        self.options.count(|counts| counts.dropped_in_flight += left as u64);
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::Write,
        os::fd::AsRawFd,
        panic::{AssertUnwindSafe, catch_unwind},
    };

    use super::*;
    use crate::sys::poll_readable;

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

    #[test]
    fn every_entry_completes_once_whatever_the_seed() {
        for seed in 0..1000 {
            let options = SimOptions::new(seed);
            drive(options.for_ring(0, 64));
            assert_eq!(options.injected().dropped_in_flight, 0);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_history() {
        for seed in 0..20 {
            let options = [SimOptions::new(seed), SimOptions::new(seed)];
            let [first, second] = options.each_ref().map(|options| drive(options.for_ring(0, 64)));
            assert_eq!(first, second, "seed {seed}");
            assert_eq!(options[0].injected(), options[1].injected(), "seed {seed}");
            let mut other = SimOptions::new(seed);
            other.seed += 1000;
            // The driver draws from the seed as well; only the simulator's part is to differ.
            assert_ne!(first, drive(other), "seed {seed}");
        }
    }

    #[test]
    fn every_fault_happens_and_a_calm_kernel_has_none() {
        let options = SimOptions { failure: 0.02, ..SimOptions::new(5) };
        for ring in 0..20 {
            drive(options.for_ring(ring, 64));
        }
        let SimCounts {
            performed,
            reordered,
            delayed,
            short_io,
            eagain,
            eintr,
            ecanceled,
            failures,
            partial_submits,
            refused_submits,
            interrupted_waits,
            cancelled,
            cancels_late,
            links_broken,
            overflowed,
            held_most,
            dropped_in_flight,
        } = options.injected();
        let happened = [
            performed,
            reordered,
            delayed,
            short_io,
            eagain,
            eintr,
            ecanceled,
            failures,
            partial_submits,
            refused_submits,
            interrupted_waits,
            cancelled,
            cancels_late,
            links_broken,
            overflowed,
            held_most,
        ];
        assert!(happened.iter().all(|count| *count > 0), "{:?}", options.injected());
        assert_eq!(dropped_in_flight, 0);

        let calm = SimOptions::calm(5);
        let source = file();
        let mut buffers = [[0; 8]; 10];
        let mut sim = SimBackend::new(calm.clone());
        push(&mut sim, (0..).zip(&mut buffers).map(|(at, buffer)| entry(at, read(&source, buffer, 0))));
        assert_eq!(results(&finish(&mut sim, 10)), (0..10).map(|at| (at, 8)).collect::<Vec<_>>());
        assert_eq!(calm.injected(), SimCounts { performed: 10, held_most: 10, ..SimCounts::default() });
    }

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
}
