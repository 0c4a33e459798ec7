//! A block: memory of a pool in somebody's hands.
#![expect(unsafe_code, reason = "a block is the only name of its memory, which the compiler cannot know")]

use std::{
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
};

use super::{
    Inner, cache,
    class::{CLASSES, SLAB_BYTES, bytes_of},
};

/// Memory of a [`Pool`](crate::Pool). Dropping the block, on any thread, gives the memory back.
///
/// It begins at a multiple of 4,096, or of the alignment that was asked for. It is not zeroed: it holds the bytes that its
/// last user left there.
///
/// ```
/// let mut block = auraio::Pool::global().acquire(5000)?;
/// block[..5].copy_from_slice(b"bytes");
/// assert_eq!((block.len(), block.capacity()), (5000, 8192));
/// assert_eq!(block.as_ptr().addr() % 4096, 0);
/// # Ok::<(), auraio::Error>(())
/// ```
///
/// A block has one owner, so it cannot be given back twice, nor used afterwards:
///
/// ```compile_fail,E0382
/// let block = auraio::Pool::global().acquire(4096)?;
/// drop(block);
/// drop(block); // use of moved value
/// # Ok::<(), auraio::Error>(())
/// ```
///
/// ```compile_fail,E0382
/// let block = auraio::Pool::global().acquire(4096)?;
/// drop(block);
/// println!("{}", block[0]); // borrow of moved value
/// # Ok::<(), auraio::Error>(())
/// ```
///
/// ```compile_fail,E0505
/// let block = auraio::Pool::global().acquire(4096)?;
/// let bytes = &block[..16];
/// drop(block); // cannot move out of `block` because it is borrowed
/// println!("{bytes:?}");
/// # Ok::<(), auraio::Error>(())
/// ```
///
/// ```compile_fail,E0599
/// let block = auraio::Pool::global().acquire(4096)?;
/// let copy = block.clone(); // no method named `clone`
/// # Ok::<(), auraio::Error>(())
/// ```
pub struct Block {
    pool: &'static Inner,
    address: NonNull<u8>,
    /// The lowest eight bits are the class ([`CLASSES`] or more for whole slabs), the others the length.
    len_and_class: u64,
}

const CLASS_BITS: u32 = 8;

// SAFETY: the memory is the block's alone, and the pool takes it back on any thread.
unsafe impl Send for Block {}
// SAFETY: `&Block` gives access to a `&[u8]` only, which threads may share.
unsafe impl Sync for Block {}

impl Block {
    /// Makes a block of memory that the pool has taken out of its free blocks.
    #[inline]
    pub(super) fn new(pool: &'static Inner, address: NonNull<u8>, len: usize, class: usize) -> Self {
        Self { pool, address, len_and_class: (len as u64) << CLASS_BITS | class as u64 }
    }

    /// How many bytes were asked for.
    ///
    /// ```
    /// assert_eq!(auraio::Pool::global().acquire(100)?.len(), 100);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no block is empty; `is_empty` of a slice is there too")]
    pub fn len(&self) -> usize {
        (self.len_and_class >> CLASS_BITS) as usize
    }

    /// How many bytes the block has: a power of two from 4 KiB to 1 MiB, or a multiple of 2 MiB.
    ///
    /// ```
    /// assert_eq!(auraio::Pool::global().acquire(100)?.capacity(), 4096);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        let class = self.class();
        if class < CLASSES { bytes_of(class) } else { self.len().next_multiple_of(SLAB_BYTES) }
    }

    #[inline]
    fn class(&self) -> usize {
        (self.len_and_class & ((1 << CLASS_BITS) - 1)) as usize
    }
}

impl Deref for Block {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the memory is mapped, initialised (the system zeroes it) and at least `len` bytes long, and only this block
        // uses it until it is dropped.
        unsafe { slice::from_raw_parts(self.address.as_ptr(), self.len()) }
    }
}

impl DerefMut for Block {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.address.as_ptr(), self.len()) }
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        let class = self.class();
        if self.pool.waiters.any() || !cache::push(self.pool.id(), class, self.address) {
            self.pool.release_slow(self.address, class, self.len());
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, .. } = self;
        f.debug_struct("Block").field("address", address).field("len", &self.len()).finish_non_exhaustive()
    }
}
