//! What is behind the class of a port: its open files, its completions, and how completions get into the shared array.

use std::{collections::HashMap, rc::Rc};

use auraio::{Completion, Engine, File, Metadata, Port, PortTicket, control::Priority, op};
use napi::Env;

use crate::{
    lend::Acquisitions,
    native::{
        CompletionArray,
        lend::{Claims, Environment},
    },
    register::Registrations,
};

/// How many numbers one completion has in the shared array.
pub(crate) const STRIDE: usize = 3;

/// How many slots a port has. The largest number of a slot is one less.
pub(crate) const SLOTS_MAX: u32 = 1 << 20;

/// What the completion of an operation brings. The operation's token says it, above the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brings {
    /// A number: of bytes, or 0.
    Number,
    /// A file that was opened.
    Opened,
    /// Metadata, which `takeStat` hands over.
    Stat,
}

impl Brings {
    /// All of them, in the order of their numbers.
    const ALL: [Self; 3] = [Self::Number, Self::Opened, Self::Stat];

    /// The token of an operation in a slot.
    #[inline]
    pub(crate) fn token(self, slot: u32) -> u64 {
        (self as u64) << 32 | u64::from(slot)
    }

    #[inline]
    fn of(token: u64) -> Self {
        // Every token was made by `token`, so the number is always one of these.
        Self::ALL.get((token >> 32) as usize).copied().unwrap_or(Self::Number)
    }
}

/// Everything of one port. The methods of the class borrow it, and so does the event loop. They never do so at once,
/// because no borrow is held while JavaScript runs.
pub(crate) struct Core {
    pub(crate) port: Option<Port>,
    /// The engine with the wishes of this port.
    engine: Engine,
    /// The engine that all ports with the same options share. It has no wishes.
    base: Engine,
    /// The priority that was set for the next operation.
    pub(crate) next_class: Option<Priority>,
    /// How many decisions of the control loops JavaScript has been told of.
    decisions_told: u64,
    pub(crate) files: Files,
    pub(crate) tickets: Vec<Option<PortTicket>>,
    pub(crate) stats: HashMap<u32, Metadata>,
    completions: CompletionArray,
    /// Completions that have not been written to the array yet.
    ready: Vec<Completion>,
    environment: Rc<Environment>,
    pub(crate) claims: Rc<Claims>,
    pub(crate) acquisitions: Acquisitions,
    pub(crate) registrations: Registrations,
}

/// Open files by handle. A handle has the index in its low 20 bits and a generation above. Each close makes the next
/// generation, so the handle of a closed file does not name the file that has its place now.
#[derive(Default)]
pub(crate) struct Files {
    entries: Vec<(u32, Option<File>)>,
    free: Vec<u32>,
}

const INDEX_BITS: u32 = 20;
const GENERATIONS: u32 = 1 << 11;

impl Files {
    pub(crate) fn insert(&mut self, file: File) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push((0, None));
            self.entries.len() as u32 - 1
        });
        let entry = &mut self.entries[index as usize];
        entry.1 = Some(file);
        entry.0 << INDEX_BITS | index
    }

    #[inline]
    pub(crate) fn get(&self, handle: u32) -> Option<&File> {
        let (generation, file) = self.entries.get((handle & ((1 << INDEX_BITS) - 1)) as usize)?;
        file.as_ref().filter(|_| *generation == handle >> INDEX_BITS)
    }

    pub(crate) fn remove(&mut self, handle: u32) -> Option<File> {
        self.get(handle)?;
        let index = handle & ((1 << INDEX_BITS) - 1);
        let entry = &mut self.entries[index as usize];
        entry.0 = (entry.0 + 1) % GENERATIONS;
        self.free.push(index);
        entry.1.take()
    }
}

impl Core {
    pub(crate) fn new(
        base: Engine,
        engine: Engine,
        port: Port,
        completions: CompletionArray,
        environment: Rc<Environment>,
    ) -> Self {
        Self {
            port: Some(port),
            decisions_told: engine.decisions_so_far(),
            engine,
            base,
            next_class: None,
            files: Files::default(),
            tickets: Vec::new(),
            stats: HashMap::new(),
            completions,
            ready: Vec::new(),
            claims: environment.add_port(),
            environment,
            acquisitions: Acquisitions::default(),
            registrations: Registrations::default(),
        }
    }

    pub(crate) fn port_mut(&mut self) -> Option<&mut Port> {
        self.port.as_mut()
    }

    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn file(&self, handle: u32) -> Option<&File> {
        self.files.get(handle)
    }

    /// Gives an open file a handle.
    pub(crate) fn insert_file(&mut self, file: File) -> u32 {
        self.files.insert(file)
    }

    pub(crate) fn close_files(&mut self) {
        self.files = Files::default();
    }

    /// Ends the port. The kernel has finished every operation by now.
    pub(crate) fn end(&mut self) {
        self.files = Files::default();
        self.ready.clear();
        self.port = None;
        // The wishes of this port end here: the engine that had them is dropped.
        self.engine = self.base.clone();
        // The rings are gone, so the kernel no longer uses any memory.
        self.registrations.clear();
        self.claims.release_all();
        self.acquisitions.clear();
        self.environment.settle();
    }

    /// To be called before the event loop sleeps.
    #[cfg(unix)]
    pub(crate) fn begin_wait(&self) {
        if let Some(port) = &self.port {
            port.begin_wait();
        }
    }

    /// To be called when the event loop has woken.
    #[cfg(unix)]
    pub(crate) fn end_wait(&self) {
        if let Some(port) = &self.port {
            port.end_wait();
        }
    }

    /// How many operations JavaScript has not been told the end of.
    pub(crate) fn outstanding(&self) -> usize {
        self.port.as_ref().map_or(0, Port::outstanding) + self.ready.len() + self.acquisitions.outstanding()
    }

    /// Makes the event loop reap in its next turn.
    pub(crate) fn wake(&self) {
        if let Some(port) = &self.port {
            port.waker().wake();
        }
    }

    /// Hands the queued operations over, and writes the completions that are there to the shared array. Answers how
    /// many.
    pub(crate) fn reap(&mut self, env: &Env) -> u32 {
        if let Some(port) = &mut self.port {
            port.poll(&mut self.ready);
            self.acquisitions.poll(|| port.waker());
        }
        let Self { ready, completions, files, stats, claims, acquisitions, .. } = self;
        let Some(mut array) = completions.open(env) else { return 0 };
        let room = array.len() / STRIDE;
        let count = ready.len().min(room);
        for (at, completion) in ready.drain(..count).enumerate() {
            let token = completion.token();
            claims.release(token as u32 as usize);
            let (low, high) = match Brings::of(token) {
                Brings::Opened => settle_open(completion, files),
                Brings::Stat => settle_stat(token as u32, completion, stats),
                Brings::Number => match completion.raw_result() {
                    result if result < 0 => (result as i32, 0),
                    result => (result as i32, (result >> 32) as i32),
                },
            };
            array.set(at * STRIDE, [token as u32 as i32, low, high]);
        }
        let mut count = count;
        while count < room
            && let Some((slot, result)) = acquisitions.next()
        {
            array.set(count * STRIDE, [slot as i32, result, 0]);
            count += 1;
        }
        // If nothing was decided, this costs one load.
        let decided = self.engine.decisions_so_far();
        if decided > self.decisions_told && count < room {
            self.decisions_told = decided;
            array.set(count * STRIDE, [-1, decided as i32, (decided >> 32) as i32]);
            count += 1;
        }
        self.environment.settle();
        count as u32
    }
}

/// The completion of an open: the descriptor and the new handle, or a negated errno.
fn settle_open(completion: Completion, files: &mut Files) -> (i32, i32) {
    match completion.into_output::<op::Open>() {
        Ok(file) => (file.descriptor() as i32, files.insert(file) as i32),
        Err(error) => (-error.errno(), 0),
    }
}

/// The completion of a stat. The metadata is kept until JavaScript takes it.
fn settle_stat(slot: u32, completion: Completion, stats: &mut HashMap<u32, Metadata>) -> (i32, i32) {
    match completion.into_output::<op::Stat>() {
        Ok(metadata) => {
            stats.insert(slot, metadata);
            (0, 0)
        }
        Err(error) => (-error.errno(), 0),
    }
}
