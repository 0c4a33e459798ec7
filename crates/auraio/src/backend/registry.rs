//! Memory that the kernel has pinned for the process, so that the process's rings need not pin it again for each operation.
//!
//! From 6.13 on the kernel can copy a registration from one ring to another. There each piece of memory is registered once,
//! with a ring that does nothing else (the master), and every other ring copies the registration, which takes a microsecond.
//! So the memory is pinned and counted once, however many rings there are. On older kernels each ring registers the memory
//! itself, and the kernel counts it each time.
//!
//! If the process may not pin so much (RLIMIT_MEMLOCK), half as much is tried, and half of that, down to nothing. An
//! operation on memory that is not registered works too; it only costs more.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    lock,
    pool::{Extent, Pool},
    sys::{self, errno},
};

/// The most entries that a ring's table of buffers can have (Linux).
pub(crate) const BUFFERS_MAX: usize = 16_384;

/// The most bytes that one entry can have (Linux).
pub(crate) const BUFFER_BYTES_MAX: usize = 1 << 30;

/// A smaller piece of memory is not worth an entry.
const BYTES_MIN: usize = 64 << 10;

/// One piece of memory that is registered, or may be. When the last share in it is dropped, it is unpinned.
#[derive(Debug)]
pub(crate) struct Pin {
    pub(crate) address: usize,
    /// The number of bytes, from the address on, that rings may register.
    pub(crate) len: usize,
    /// The number of bytes that the caller wanted registered.
    asked: usize,
    /// Its place in the master's table, if it is there.
    source: Option<u32>,
    /// The slabs that it keeps mapped.
    held: Option<(Pool, Extent)>,
}

/// The place that a ring copies a registration from.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// The descriptor of the ring that has it.
    pub(crate) ring: sys::Descriptor,
    /// Its place in that ring's table.
    pub(crate) index: u32,
}

impl Pin {
    /// Where to copy the registration from. With `None` a ring has to register the memory itself.
    #[cfg(target_os = "linux")]
    pub(crate) fn source(&self) -> Option<Source> {
        let index = self.source?;
        registry().master().map(|master| Source { ring: master.descriptor(), index })
    }

    /// The slabs that it covers.
    pub(crate) fn extent(&self) -> Option<&Extent> {
        self.held.as_ref().map(|(_, extent)| extent)
    }

    fn pool(&self) -> Option<Pool> {
        self.held.as_ref().map(|(pool, _)| *pool)
    }

    /// The end of the memory that the caller wanted registered, whether or not all of it is.
    pub(crate) const fn asked_end(&self) -> usize {
        self.address + self.asked
    }

    /// Counts bytes of this memory that a ring has registered.
    pub(crate) fn note_copy(&self, len: usize) {
        if self.source.is_none() {
            note_registered(self.pool(), len as i64);
        }
    }

    /// Counts bytes of this memory that a ring has unregistered.
    pub(crate) fn note_copy_gone(&self, len: usize) {
        if self.source.is_none() {
            note_registered(self.pool(), -(len as i64));
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let registry = registry();
        if let (Some(index), Some(master)) = (self.source, registry.master()) {
            let mut state = lock(&registry.state);
            master.clear(index);
            state.free.push(index);
            state.bytes -= self.len;
            drop(state);
            note_registered(self.pool(), -(self.len as i64));
        }
        if let Some((pool, extent)) = self.held.take() {
            pool.let_go(extent);
        }
        registry.unpinned.fetch_add(1, Ordering::Release);
    }
}

/// Counts bytes that a ring has registered by itself, or that the master has.
fn note_registered(pool: Option<Pool>, delta: i64) {
    pool.unwrap_or_else(Pool::global).note_registered(delta);
}

struct Registry {
    state: Mutex<RegistryState>,
    master: OnceLock<Option<Master>>,
    /// Grows when memory is unpinned. Then memory that was refused may be tried again.
    unpinned: AtomicU64,
    /// The reason why some memory is not registered. It is set when that first happens.
    shed: OnceLock<String>,
}

#[derive(Default)]
struct RegistryState {
    /// By pool and first slab. Slabs have a share from each ring that uses them, none from here.
    slabs: HashMap<(usize, u32), Weak<Pin>>,
    /// Places of the master's table that were used and are free again.
    free: Vec<u32>,
    used: u32,
    bytes: usize,
}

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| Registry {
        state: Mutex::default(),
        master: OnceLock::new(),
        unpinned: AtomicU64::new(0),
        shed: OnceLock::new(),
    })
}

/// Whether rings copy registrations instead of making their own.
#[cfg(target_os = "linux")]
pub(crate) fn copies() -> bool {
    registry().master().is_some()
}

/// How often memory was unpinned so far. While this number stays the same, a registration that was refused need not be tried
/// again.
pub(crate) fn unpinned() -> u64 {
    registry().unpinned.load(Ordering::Acquire)
}

/// The reason why some memory is not registered, if that has happened.
pub(crate) fn shed() -> Option<&'static str> {
    registry().shed.get().map(String::as_str)
}

/// Notes that memory is not registered because the process may not pin more.
pub(crate) fn note_shed() {
    let limit =
        sys::locked_memory_max().map_or(String::new(), |bytes| format!(" (RLIMIT_MEMLOCK, {} KiB)", bytes >> 10));
    let why = || format!("some memory is not registered, because the limit of locked memory{limit} has no room for it");
    registry().shed.get_or_init(why);
}

/// The registration of a slab of the pool. It is made if it does not exist yet. `None` if there is nothing to register, or
/// if the process may not pin more.
pub(crate) fn pin_slab(pool: Pool, slab: u32) -> Option<Arc<Pin>> {
    let registry = registry();
    let extent = pool.hold(slab)?;
    let key = (pool.id(), extent.first_slab);
    let mut state = lock(&registry.state);
    // This share is kept until the lock has been let go, because dropping the last share takes the lock.
    let known = state.slabs.get(&key).and_then(Weak::upgrade);
    if known.as_ref().and_then(|pin| pin.extent()).is_some_and(|its| its.slabs == extent.slabs) {
        drop(state);
        pool.let_go(extent);
        return known;
    }
    let (address, asked) = (extent.address, extent.len);
    let registered = registry.register(&mut state, address, asked.min(BUFFER_BYTES_MAX));
    let Some((len, source)) = registered.ok().filter(|(len, _)| *len > 0) else {
        drop(state);
        pool.let_go(extent);
        return None;
    };
    let pin = Arc::new(Pin { address, len, asked, source, held: Some((pool, extent)) });
    state.slabs.insert(key, Arc::downgrade(&pin));
    drop(state);
    if pin.source.is_some() {
        note_registered(Some(pool), len as i64);
    }
    Some(pin)
}

/// Registers memory that belongs to the caller.
///
/// # Errors
/// What the kernel gives for memory that cannot be registered: `EFAULT`, and sometimes `EOPNOTSUPP`, for file-backed,
/// read-only or unmapped memory. It never fails with `ENOMEM`: then fewer bytes are registered, down to none.
pub(crate) fn pin_memory(address: usize, len: usize) -> io::Result<Arc<Pin>> {
    let registry = registry();
    let mut state = lock(&registry.state);
    let asked = len;
    let (len, source) = registry.register(&mut state, address, len)?;
    drop(state);
    if source.is_some() {
        note_registered(None, len as i64);
    }
    Ok(Arc::new(Pin { address, len, asked, source, held: None }))
}

/// The same for an engine whose backend cannot register memory: none of it is registered.
pub(crate) fn unpinned_memory(address: usize, len: usize) -> Arc<Pin> {
    Arc::new(Pin { address, len: 0, asked: len, source: None, held: None })
}

impl Registry {
    /// The ring that the others copy from. `None` if the kernel cannot copy registrations.
    fn master(&self) -> Option<&Master> {
        self.master.get_or_init(Master::new).as_ref()
    }

    /// Registers with the master, in halves if need be. Answers how many bytes may be registered, and where they are.
    fn register(&self, state: &mut RegistryState, address: usize, len: usize) -> io::Result<(usize, Option<u32>)> {
        let Some(master) = self.master() else { return Ok((len, None)) };
        let len = Self::allowed(state, len);
        if len == 0 {
            return Ok((0, None));
        }
        let index = match state.free.pop() {
            Some(index) => index,
            None if (state.used as usize) < BUFFERS_MAX => {
                state.used += 1;
                state.used - 1
            }
            None => return Ok((0, None)),
        };
        match halving(len, |len| master.set(index, address, len)) {
            Ok(0) => {
                state.free.push(index);
                Ok((0, None))
            }
            Ok(len) => {
                state.bytes += len;
                Ok((len, Some(index)))
            }
            Err(error) => {
                state.free.push(index);
                Err(error)
            }
        }
    }
}

/// The part of the limit on locked memory that registered buffers may use: one in this many. The rest is left to rings,
/// whose own memory counts against the same limit, and which are worth more than registered buffers.
const LIMIT_SHARE: usize = 2;

impl Registry {
    fn allowed(state: &RegistryState, len: usize) -> usize {
        let Some(limit) = sys::locked_memory_max() else { return len };
        let left = (limit / LIMIT_SHARE).saturating_sub(state.bytes) & !4095;
        if left < len {
            note_shed();
        }
        if left >= len || left >= BYTES_MIN { left.min(len) } else { 0 }
    }
}

/// Tries to register `len` bytes, and halves that for as long as the kernel answers that the process may not pin so many.
/// Answers how many bytes were registered.
pub(crate) fn halving(len: usize, mut attempt: impl FnMut(usize) -> io::Result<()>) -> io::Result<usize> {
    let mut part = len;
    loop {
        match attempt(part) {
            Ok(()) => return Ok(part),
            Err(error) if error.raw_os_error() == Some(errno::ENOMEM) => {
                note_shed();
                part = (part / 2) & !4095;
                if part < BYTES_MIN {
                    return Ok(0);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(target_os = "linux")]
use super::uring::Master;

/// There is no `io_uring` on this platform, and so no master.
#[cfg(not(target_os = "linux"))]
enum Master {}

#[cfg(not(target_os = "linux"))]
impl Master {
    const fn new() -> Option<Self> {
        None
    }

    const fn set(&self, _: u32, _: usize, _: usize) -> io::Result<()> {
        match *self {}
    }

    const fn clear(&self, _: u32) {
        match *self {}
    }
}
