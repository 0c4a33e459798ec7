//! The memory and the files that a ring's backend has registered, and that the ring therefore knows by number.
//!
//! The user need not ask for it. The ring finds memory by its address, if it lies in a slab of the pool or in a region that
//! the program has registered, and names it by its place in the ring's table. It names a file so that is used often. A slab
//! or region that the ring has not registered yet is registered when an operation first uses it.
//!
//! Three rules keep a place from meaning something else than intended:
//! - A place of the table of buffers is emptied only when no operation uses it. A slab is given back only when no block of
//!   it is held. The operations on a region are counted.
//! - A place of the table of files belongs to one opening of a file, and not to the number of its descriptor. It is emptied
//!   when the last operation on that opening has completed.
//! - Memory that was unregistered is not found any more. Before each use the ring compares its list of regions with the
//!   engine's.
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

/// After this many transfers a file gets a place in the ring's table. To register and to empty a place costs a microsecond
/// together, and each transfer on a registered file saves 20 to 40 ns.
const TRANSFERS_MIN: u32 = 32;

/// A file with a higher descriptor is not registered, because the list that finds files by descriptor would be too long.
const DESCRIPTORS_MAX: usize = 1 << 16;

/// The memory that the program has registered with an engine. The engine's rings read it.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    /// Grows with each change of the list.
    changes: AtomicU64,
    list: Mutex<Vec<Arc<Pin>>>,
}

impl Regions {
    /// Adds a region. Answers false, and adds nothing, if it overlaps another.
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
    /// Where each slab of the pool is registered.
    slabs: Vec<SlabPlace>,
    entries: Vec<Option<Entry>>,
    free: Vec<u16>,
    /// The regions, in order of their addresses.
    regions: Vec<Region>,
    all: Arc<Regions>,
    seen_changes: u64,
    seen_retirements: u64,
    /// The count of unpinned memory (`registry::unpinned`) when the kernel last refused a registration. When the count has
    /// grown, refused registrations are tried again.
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
    /// The first address that this ring has registered.
    start: usize,
    end: usize,
    /// The number of operations that use the place. Only those on regions are counted.
    users: u32,
    /// The program has unregistered it.
    leaving: bool,
}

impl Entry {
    /// Whether all of the memory is registered.
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
    /// For each descriptor: the opening of a file that it last named, and where that opening is registered.
    by_descriptor: Vec<FilePlace>,
    free: Vec<u32>,
    used: u32,
    /// Places that have to be emptied, by a thread that may enter the ring.
    stale: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct FilePlace {
    file: u64,
    transfers: u32,
    place: Option<u32>,
}

/// The numbers of the memory and the file that a call works on. `counted` is the place whose operations are counted, if it
/// is one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names {
    pub(super) fixed: Fixed,
    pub(super) counted: Option<u16>,
}

impl Registered {
    /// Makes the tables. `main` is `None` for a ring that registers nothing.
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

    /// The numbers of the memory and the file that a transfer works on.
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

    /// Empties the places of regions that were unregistered, of slabs that the pool wants back, and of files that were
    /// closed.
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

    /// Whether the memory of a call lies in the pool, whose pages are mapped already.
    #[inline]
    pub(super) fn is_pool_memory(&self, call: &Call) -> bool {
        match call.transfer().map(|transfer| transfer.memory) {
            Some(TransferMemory::One { start, .. }) => self.buffers.pool.slab_of(start as usize).is_some(),
            Some(TransferMemory::Many { .. }) | None => false,
        }
    }

    /// Empties a file's place. The caller knows that nothing works on the file any more.
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
            // A block of several slabs is registered as a whole, even if its slabs were registered one by one before, for
            // smaller blocks.
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

    /// The place that covers all vectors, if there is one such place.
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

    /// Registers a slab that the ring has not seen yet, or that has become part of a larger block since then.
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
        // The slabs that this registration covers were registered for blocks of their own. Those blocks are gone, so no
        // operation uses the old places.
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

    /// Empties a place that no operation uses.
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

    /// Brings this ring's list of regions up to date.
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
    /// Where a file is registered. A file that is used often gets a place if there is one.
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
            // The descriptor names another file now. The file before has no operation any more; otherwise it would still be
            // open.
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
        // If a place could not be emptied, it is not used again, and the file in it stays open until the ring ends.
        if main.set_file(place, None).is_ok() {
            self.free.push(place);
        }
    }
}
