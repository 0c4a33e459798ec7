//! Makes pools: the one of the process, and those of programs. It refuses a ceiling below one slab, because such a pool
//! could never hand out a block.

use super::{
    Inner, Pool, SLAB_BYTES,
    trim::{self, Pace},
};
use crate::{Error, Result, Topology, sys::memory};

/// The address space of the pool of the process. Reserving it takes no memory; the ceiling bounds how much of it is mapped.
#[cfg(target_pointer_width = "64")]
pub(super) const ADDRESS_SPACE: usize = 64 << 30;
#[cfg(not(target_pointer_width = "64"))]
pub(super) const ADDRESS_SPACE: usize = 512 << 20;

/// A pool is refused if the system gives less address space than this.
pub(super) const ADDRESS_SPACE_MIN: usize = 64 << 20;

/// Makes a [`Pool`].
///
/// ```
/// let pool = auraio::Pool::builder().bytes_max(64 << 20).build()?;
/// assert_eq!(pool.acquire(4096)?.len(), 4096);
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct PoolBuilder {
    bytes_max: Option<u64>,
    pub(super) topology: Option<Topology>,
    pub(super) debug: bool,
}

impl PoolBuilder {
    /// How many bytes the pool may map at most, 2 MiB or more (default: a quarter of the machine's memory). The pool maps
    /// whole slabs of 2 MiB. Each slab serves one block size at a time, so a pool of one slab has blocks of one size only.
    ///
    /// ```
    /// use auraio::{Error, Pool};
    ///
    /// assert!(matches!(Pool::builder().bytes_max(4096).build(), Err(Error::InvalidInput(_))));
    /// ```
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = Some(bytes);
        self
    }

    /// Makes the pool for another machine than the one detected; for tests.
    ///
    /// ```
    /// use auraio::{Pool, Topology};
    ///
    /// let machine = Topology::builder().node(0, 0..4).node(1, 4..8).build()?;
    /// let pool = Pool::builder().topology(machine).build()?;
    /// assert_eq!(pool.acquire(4096)?.len(), 4096);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topology(mut self, topology: Topology) -> Self {
        self.topology = Some(topology);
        self
    }

    /// Helps to find `unsafe` code that writes to a block after its release. The pool overwrites each block when it comes
    /// back. Before it hands the block out again, it checks that nobody has written to it, and counts damaged blocks in
    /// [`PoolStats::damaged`](crate::PoolStats::damaged). This is slow: every acquisition and release takes a lock and goes
    /// through all of the block's memory.
    ///
    /// ```
    /// let pool = auraio::Pool::builder().debug(true).build()?;
    /// pool.acquire(4096)?.fill(7);
    /// assert!(pool.acquire(4096)?.iter().all(|byte| *byte != 7));
    /// assert_eq!(pool.stats().damaged, 0);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn debug(mut self, debug: bool) -> Self {
        self.debug = debug;
        self
    }

    /// Makes the pool. It lives as long as the process.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a ceiling below 2 MiB.
    ///
    /// ```
    /// assert!(auraio::Pool::builder().build().is_ok());
    /// ```
    pub fn build(self) -> Result<Pool> {
        self.build_with(Pace::Period(trim::PERIOD))
    }

    pub(super) fn build_with(self, pace: Pace) -> Result<Pool> {
        let bytes_max = self.bytes_max.unwrap_or_else(default_bytes_max).min(ADDRESS_SPACE as u64);
        if bytes_max < SLAB_BYTES as u64 {
            return Err(Error::InvalidInput("bytes_max must be 2,097,152 (2 MiB) or more"));
        }
        // More address space than the ceiling: large blocks need slabs in a row, and the ceiling may be raised.
        let address_space = (bytes_max as usize).next_power_of_two().saturating_mul(4);
        let address_space = address_space.clamp(ADDRESS_SPACE_MIN, ADDRESS_SPACE);
        Ok(Pool { inner: Box::leak(Box::new(Inner::new(self, bytes_max, address_space, pace))) })
    }
}

/// A quarter of the machine's memory; 1 GiB if the system does not say how much memory it has.
fn default_bytes_max() -> u64 {
    let quarter = Some(memory::physical_memory() / 4).filter(|bytes| *bytes > SLAB_BYTES as u64).unwrap_or(1 << 30);
    quarter.min(ADDRESS_SPACE as u64)
}

/// The pool of the process.
pub(super) fn global() -> Inner {
    Inner::new(PoolBuilder::default(), default_bytes_max(), ADDRESS_SPACE, Pace::Period(trim::PERIOD))
}
