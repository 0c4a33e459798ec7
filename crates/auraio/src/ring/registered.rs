//! What a ring knows by number: memory and files that its backend has registered.
//!
//! An operation never asks for this. Memory that lies in a slab of the pool, or in what the program has registered, is
//! found by its address and named by its place in the ring's table; so is a file that is used often. What a ring has not
//! registered yet it registers when it first sees it.
//!
//! Three rules keep a name from meaning something else. A place of the table of buffers is emptied only when no operation
//! names it: a slab is given back only when no block of it is held, and for memory of the program's the operations are
//! counted. A place of the table of files belongs to one opening of a file (not to the number of its descriptor), and is
//! emptied when the last operation on that opening has completed. And nothing is looked up in what was unregistered: the
//! list of that is compared before each use.
#![expect(unsafe_code, reason = "the vectors of a call are behind an address")]

use std::{
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    backend::{
        AnyBackend, Backend, Fixed,
        registry::{self, Pin},
    },
    file::FileInner,
    lock,
    pool::{Extent, Pool},
    sys::{self, Call, Descriptor, Transfer, TransferMemory},
};

/// After so many transfers a file takes a place of the ring's table: registering and emptying a place costs a microsecond
/// together, and each transfer saves 20 to 40 ns.
const TRANSFERS_MIN: u32 = 32;

/// Descriptors above this are not worth the list that finds them.
const DESCRIPTORS_MAX: usize = 1 << 16;

/// Memory that the program has registered with an engine, for the engine's rings to look at.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    /// Grows with each change of the list.
    changes: AtomicU64,
    list: Mutex<Vec<Arc<Pin>>>,
}

impl Regions {
    /// Adds a region that overlaps no other. Answers false if it does.
    pub(crate) fn add(&self, pin: &Arc<Pin>, address: usize, len: usize) -> bool {
        let mut list = lock(&self.list);
        if overlaps(&list, address, len) {
            return false;
        }
        list.push(Arc::clone(pin));
        self.changes.fetch_add(1, Ordering::Release);
        true
    }

    pub(crate) fn overlaps(&self, address: usize, len: usize) -> bool {
        overlaps(&lock(&self.list), address, len)
    }

    pub(crate) fn remove(&self, pin: &Arc<Pin>) {
        lock(&self.list).retain(|other| !Arc::ptr_eq(other, pin));
        self.changes.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.list).len()
    }
}

fn overlaps(list: &[Arc<Pin>], address: usize, len: usize) -> bool {
    list.iter().any(|other| address < other.asked_end() && other.address < address + len)
}

fn slabs_of(extent: &Extent) -> Range<usize> {
    extent.first_slab as usize..(extent.first_slab + extent.slabs) as usize
}

/// The tables of one ring, as the ring sees them.
pub(super) struct Registered {
    buffers: Buffers,
    files: Files,
    /// Transfers so far on registered memory, and on registered files.
    on_buffers: u64,
    on_files: u64,
}

struct Buffers {
    pool: Pool,
    places_max: usize,
    vectors: bool,
    /// By slab of the pool: where it is registered.
    slabs: Vec<SlabPlace>,
    entries: Vec<Option<Entry>>,
    free: Vec<u16>,
    /// Memory of the program's, in order of its addresses.
    regions: Vec<Region>,
    all: Arc<Regions>,
    seen_changes: u64,
    seen_retirements: u64,
    /// What the kernel refused is asked for again when this has grown.
    refused_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlabPlace {
    Unknown,
    Refused,
    At(u16),
}

impl SlabPlace {
    const fn place(&self) -> Option<u16> {
        match *self {
            Self::At(place) => Some(place),
            Self::Unknown | Self::Refused => None,
        }
    }
}

struct Entry {
    pin: Arc<Pin>,
    /// Addresses that this ring has registered.
    start: usize,
    end: usize,
    /// Operations that name it, for memory of the program's.
    users: u32,
    /// The program has unregistered it.
    leaving: bool,
}

impl Entry {
    /// Whether all is registered that was to be.
    fn is_whole(&self) -> bool {
        self.end == self.pin.asked_end()
    }
}

#[derive(Clone, Copy, Debug)]
struct Region {
    start: usize,
    end: usize,
    /// `None`: it could not be registered with this ring.
    place: Option<u16>,
}

struct Files {
    places_max: u32,
    /// By descriptor: which opening of a file it was when last seen, and where that is registered.
    by_descriptor: Vec<FilePlace>,
    free: Vec<u32>,
    used: u32,
    /// To be emptied by the thread that may.
    stale: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct FilePlace {
    file: u64,
    transfers: u32,
    place: Option<u32>,
}

/// The names of what a call works on, and whether an operation has to be counted against a place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names {
    pub(super) fixed: Fixed,
    pub(super) counted: Option<u16>,
}

impl Registered {
    /// For a ring that registers nothing there is no `main`.
    pub(super) fn new(main: Option<&AnyBackend>, pool: Pool, regions: Arc<Regions>) -> Self {
        Self {
            buffers: Buffers {
                pool,
                places_max: main.map_or(0, Backend::buffers_max).min(registry::BUFFERS_MAX),
                vectors: main.is_some_and(Backend::vectors_fixed),
                slabs: Vec::new(),
                entries: Vec::new(),
                free: Vec::new(),
                regions: Vec::new(),
                all: regions,
                seen_changes: 0,
                seen_retirements: 0,
                refused_at: 0,
            },
            files: Files {
                places_max: main.map_or(0, Backend::files_max),
                by_descriptor: Vec::new(),
                free: Vec::new(),
                used: 0,
                stale: Vec::new(),
            },
            on_buffers: 0,
            on_files: 0,
        }
    }

    /// Transfers so far on registered memory, and on registered files.
    pub(super) const fn counts(&self) -> (u64, u64) {
        (self.on_buffers, self.on_files)
    }

    /// The names of what a transfer works on.
    #[inline]
    pub(super) fn names(&mut self, main: &mut AnyBackend, call: &Call, file: Option<&FileInner>) -> Names {
        let Some(Transfer { memory, .. }) = call.transfer() else { return Names::default() };
        let buffer = match memory {
            TransferMemory::One { start, len } => self.buffers.find(main, start as usize, len as usize),
            TransferMemory::Many { iov, count } => {
                // Of a file whose driver knows no vectors (much of /proc) the kernel takes the list of vectors for the memory
                // itself and reads into it (6.18). The file systems of disks know them.
                let knows_vectors = file.is_some_and(|file| file.facts().regular && file.facts().local);
                if knows_vectors { self.buffers.find_all(main, iov, count) } else { None }
            }
        };
        let file = file.and_then(|file| self.files.find(main, file));
        self.on_files += u64::from(file.is_some());
        self.on_buffers += u64::from(buffer.is_some());
        let Some((place, counted)) = buffer else {
            return Names { fixed: Fixed { buffer: None, file }, counted: None };
        };
        if counted && let Some(Some(entry)) = self.buffers.entries.get_mut(place as usize) {
            entry.users += 1;
        }
        Names { fixed: Fixed { buffer: Some(place), file }, counted: counted.then_some(place) }
    }

    /// The names of a transfer with one buffer, whose slab of the pool is known (`None`: it lies in none).
    #[inline(always)]
    pub(super) fn names_at(
        &mut self,
        main: &mut AnyBackend,
        (address, len): (usize, usize),
        slab: Option<u32>,
        file: &FileInner,
    ) -> Names {
        let known = self.buffers.places_max == 0
            || slab.is_none()
                && self.buffers.regions.is_empty()
                && self.buffers.all.changes.load(Ordering::Acquire) == self.buffers.seen_changes;
        let buffer = if known { None } else { self.buffers.find(main, address, len) };
        let file = self.files.find(main, file);
        self.on_files += u64::from(file.is_some());
        match buffer {
            None => Names { fixed: Fixed { buffer: None, file }, counted: None },
            Some(found) => self.count_in(found, file),
        }
    }

    /// Counts a transfer on registered memory.
    #[inline]
    fn count_in(&mut self, (place, counted): (u16, bool), file: Option<u32>) -> Names {
        self.on_buffers += 1;
        if counted && let Some(Some(entry)) = self.buffers.entries.get_mut(place as usize) {
            entry.users += 1;
        }
        Names { fixed: Fixed { buffer: Some(place), file }, counted: counted.then_some(place) }
    }

    /// The slab of the pool that an address lies in, if it lies in one.
    #[inline(always)]
    pub(super) fn slab_of(&self, address: usize) -> Option<u32> {
        self.buffers.pool.slab_of(address)
    }

    /// An operation that was counted has completed.
    pub(super) fn done(&mut self, main: &mut AnyBackend, place: u16) {
        if let Some(Some(entry)) = self.buffers.entries.get_mut(place as usize) {
            entry.users -= 1;
            if entry.users == 0 && entry.leaving {
                self.buffers.empty(main, place);
            }
        }
    }

    /// Lets go of what was unregistered, of slabs that are to be given back and of files that were closed.
    #[inline]
    pub(super) fn tidy(&mut self, main: &mut AnyBackend) {
        if self.buffers.places_max > 0 {
            if self.buffers.pool.retirements() != self.buffers.seen_retirements {
                self.buffers.let_go_of_retiring(main);
            }
            if self.buffers.all.changes.load(Ordering::Acquire) != self.buffers.seen_changes {
                self.buffers.look_at_regions(main);
            }
        }
        while let Some(place) = self.files.stale.pop() {
            self.files.empty(main, place);
        }
    }

    /// Whether what a call reads or writes lies in the pool, whose pages are there already.
    #[inline]
    pub(super) fn is_pool_memory(&self, call: &Call) -> bool {
        match call.transfer().map(|transfer| transfer.memory) {
            Some(TransferMemory::One { start, .. }) => self.buffers.pool.slab_of(start as usize).is_some(),
            Some(TransferMemory::Many { .. }) | None => false,
        }
    }

    /// Lets go of a file's place: nothing works on it any more.
    pub(super) fn forget_file(&mut self, main: &mut AnyBackend, descriptor: Descriptor, id: u64) {
        let known = usize::try_from(descriptor).ok().and_then(|index| self.files.by_descriptor.get_mut(index));
        if let Some(place) = known.filter(|known| known.file == id).and_then(|known| std::mem::take(known).place) {
            self.files.empty(main, place);
        }
    }
}

impl Buffers {
    /// Where memory is registered, and whether its users are counted.
    #[inline]
    fn find(&mut self, main: &mut AnyBackend, address: usize, len: usize) -> Option<(u16, bool)> {
        if self.places_max == 0 {
            return None;
        }
        if let Some(slab) = self.pool.slab_of(address) {
            let place = match self.slabs.get(slab as usize) {
                Some(&SlabPlace::At(place)) => place,
                _ => self.learn(main, slab)?,
            };
            let entry = self.entries.get(place as usize)?.as_ref()?;
            if address >= entry.start && address + len <= entry.end {
                return Some((place, false));
            }
            // A block of several slabs that were registered one by one, for smaller blocks, is registered as one.
            return if entry.is_whole() { Some((self.learn(main, slab)?, false)) } else { None };
        }
        if self.all.changes.load(Ordering::Acquire) != self.seen_changes {
            self.look_at_regions(main);
        }
        if self.regions.is_empty() {
            return None;
        }
        let after = self.regions.partition_point(|region| region.start <= address);
        let region = self.regions[..after].last()?;
        (address + len <= region.end).then_some((region.place?, true))
    }

    /// The one place that all vectors are registered under, if there is one.
    fn find_all(&mut self, main: &mut AnyBackend, iov: *const sys::IoVec, count: u32) -> Option<(u16, bool)> {
        if self.places_max == 0 || !self.vectors {
            return None;
        }
        let mut found = None;
        // SAFETY: the vectors lie in the payload of the operation's slot, which is being pushed.
        let vectors = unsafe { sys::vectors(iov, count) };
        for vector in vectors {
            let (place, counted) = self.find(main, sys::io_vec_base(vector) as usize, sys::io_vec_len(vector))?;
            if found.is_some_and(|(first, _)| first != place) {
                return None;
            }
            found = Some((place, counted));
        }
        found
    }

    /// Registers a slab that has not been seen yet, or that has become part of a larger block since it was.
    #[cold]
    fn learn(&mut self, main: &mut AnyBackend, slab: u32) -> Option<u16> {
        let index = slab as usize;
        if index >= self.slabs.len() {
            self.slabs.resize(index + 1, SlabPlace::Unknown);
        }
        if self.slabs[index] == SlabPlace::Refused && registry::unpinned() == self.refused_at {
            return None;
        }
        let made = registry::pin_slab(self.pool, slab).and_then(|pin| {
            let slabs = pin.extent().map(slabs_of)?;
            Some((self.register(main, pin)?, slabs))
        });
        let Some((place, slabs)) = made else {
            self.refused_at = registry::unpinned();
            self.slabs[index] = SlabPlace::Refused;
            return None;
        };
        let end = slabs.end;
        if end > self.slabs.len() {
            self.slabs.resize(end, SlabPlace::Unknown);
        }
        let before: Vec<u16> = self.slabs[slabs.clone()].iter().filter_map(SlabPlace::place).collect();
        self.slabs[slabs.clone()].fill(SlabPlace::At(place));
        // What is registered as a part of this now has no block of its own any more, and so no operation that names it.
        for part in before.into_iter().filter(|&part| part != place) {
            let extent = self.entries[part as usize].as_ref().and_then(|entry| entry.pin.extent()).map(slabs_of);
            if extent.is_some_and(|its| slabs.start <= its.start && its.end <= slabs.end) {
                self.empty(main, part);
            }
        }
        Some(place)
    }

    /// Gives a pin a place in this ring's table.
    fn register(&mut self, main: &mut AnyBackend, pin: Arc<Pin>) -> Option<u16> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.entries.len() < self.places_max => {
                self.entries.push(None);
                self.entries.len() as u16 - 1
            }
            None => return None,
        };
        let attempt = |len: usize| main.set_buffer(place, &pin, len);
        let Some(len) = registry::halving(pin.len, attempt).ok().filter(|len| *len > 0) else {
            self.free.push(place);
            return None;
        };
        pin.note_copy(len);
        self.entries[place as usize] =
            Some(Entry { start: pin.address, end: pin.address + len, pin, users: 0, leaving: false });
        Some(place)
    }

    /// Empties a place that no operation names.
    fn empty(&mut self, main: &mut AnyBackend, place: u16) {
        let Some(entry) = self.entries[place as usize].take() else { return };
        main.clear_buffer(place);
        self.free.push(place);
        if let Some(extent) = entry.pin.extent() {
            for slab in self.slabs.get_mut(slabs_of(extent)).into_iter().flatten() {
                if *slab == SlabPlace::At(place) {
                    *slab = SlabPlace::Unknown;
                }
            }
        }
        entry.pin.note_copy_gone(entry.end - entry.start);
    }

    #[cold]
    fn let_go_of_retiring(&mut self, main: &mut AnyBackend) {
        self.seen_retirements = self.pool.retirements();
        for place in 0..self.entries.len() {
            let extent = self.entries[place].as_ref().and_then(|entry| entry.pin.extent());
            if extent.is_some_and(|extent| slabs_of(extent).any(|slab| self.pool.is_retiring(slab as u32))) {
                self.empty(main, place as u16);
            }
        }
    }

    /// Brings this ring's list of the program's memory up to date.
    #[cold]
    fn look_at_regions(&mut self, main: &mut AnyBackend) {
        let all = Arc::clone(&self.all);
        let list = lock(&all.list);
        self.seen_changes = all.changes.load(Ordering::Acquire);
        for place in 0..self.entries.len() {
            let Some(entry) = &mut self.entries[place] else { continue };
            if entry.pin.extent().is_none() && !list.iter().any(|pin| Arc::ptr_eq(pin, &entry.pin)) {
                entry.leaving = true;
                if entry.users == 0 {
                    self.empty(main, place as u16);
                }
            }
        }
        let mut regions = Vec::with_capacity(list.len());
        for pin in list.iter() {
            let known = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| Arc::ptr_eq(&entry.pin, pin));
            let place = match self.entries.iter().position(known) {
                Some(place) => Some(place as u16),
                None if pin.len > 0 => self.register(main, Arc::clone(pin)),
                None => None,
            };
            let end = place.and_then(|place| self.entries[place as usize].as_ref()).map_or(pin.address, |its| its.end);
            regions.push(Region { start: pin.address, end, place });
        }
        regions.sort_unstable_by_key(|region| region.start);
        self.regions = regions;
    }
}

impl Files {
    /// Where a file is registered; a file that is used often is, if there is room.
    #[inline]
    fn find(&mut self, main: &mut AnyBackend, file: &FileInner) -> Option<u32> {
        if self.places_max == 0 {
            return None;
        }
        let descriptor = usize::try_from(file.descriptor()).ok()?;
        match self.by_descriptor.get(descriptor) {
            Some(known) if known.file == file.id() && known.place.is_some() => known.place,
            _ => self.learn(main, file, descriptor),
        }
    }

    fn learn(&mut self, main: &mut AnyBackend, file: &FileInner, descriptor: usize) -> Option<u32> {
        if descriptor >= self.by_descriptor.len() {
            if descriptor >= DESCRIPTORS_MAX {
                return None;
            }
            self.by_descriptor.resize(descriptor + 1, FilePlace::default());
        }
        let known = &mut self.by_descriptor[descriptor];
        if known.file != file.id() {
            // The descriptor is another file's now. That of before has no operation any more, or it would be open still.
            self.stale.extend(known.place.take());
            *known = FilePlace { file: file.id(), transfers: 0, place: None };
        }
        known.transfers += 1;
        if known.transfers < TRANSFERS_MIN && !file.wants_place() {
            return None;
        }
        known.transfers = 0;
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.used < self.places_max => {
                self.used += 1;
                self.used - 1
            }
            None => return None,
        };
        if main.set_file(place, Some(file.descriptor())).is_err() {
            self.free.push(place);
            return None;
        }
        file.note_place();
        self.by_descriptor[descriptor].place = Some(place);
        Some(place)
    }

    fn empty(&mut self, main: &mut AnyBackend, place: u32) {
        // A place that could not be emptied is not used again: the file in it stays open until the ring goes.
        if main.set_file(place, None).is_ok() {
            self.free.push(place);
        }
    }
}
