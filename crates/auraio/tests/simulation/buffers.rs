//! Buffers that tell when they are let go of.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use auraio::{IoBuf, IoBufMut};

/// The byte that fills memory that was let go of. It is found neither in the simulator's noise nor in contents.
pub(crate) const POISON: u8 = 0xdd;

/// The memory of all buffers. When a buffer lets go of its memory, the memory is filled with poison and kept until the
/// program is over, so that whoever still uses it finds poison and not the bytes of another owner.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    kept: Arc<Mutex<Vec<Box<[u8]>>>>,
    /// Buffers that were let go of before they might.
    pub(crate) early: Arc<AtomicU64>,
    /// Buffers that are alive.
    pub(crate) alive: Arc<AtomicU64>,
}

impl Memory {
    /// A buffer with these bytes, and their address.
    pub(crate) fn buffer(&self, bytes: &[u8], may_go: &Arc<AtomicBool>) -> (Tracked, *mut u8) {
        self.alive.fetch_add(1, Ordering::SeqCst);
        let mut bytes: Box<[u8]> = bytes.into();
        let address = bytes.as_mut_ptr();
        (Tracked { bytes: Some(bytes), memory: self.clone(), may_go: Arc::clone(may_go) }, address)
    }
}

/// A buffer that tells when it is let go of.
pub(crate) struct Tracked {
    bytes: Option<Box<[u8]>>,
    memory: Memory,
    /// The program sets it once it has the buffer back, or has given it up. Before that nobody may drop the buffer.
    may_go: Arc<AtomicBool>,
}

impl Tracked {
    pub(crate) fn part(&self) -> &[u8] {
        self.bytes.as_deref().unwrap()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if !self.may_go.load(Ordering::SeqCst) {
            self.memory.early.fetch_add(1, Ordering::SeqCst);
        }
        self.memory.alive.fetch_sub(1, Ordering::SeqCst);
        if let Some(mut bytes) = self.bytes.take() {
            bytes.fill(POISON);
            self.memory.kept.lock().unwrap().push(bytes);
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
