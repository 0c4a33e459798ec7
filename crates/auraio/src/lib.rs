//! Disk I/O over `io_uring`, one sticky ring per core, with the same behaviour on threads where there is no ring.
//!
//! An [`Engine`] owns the rings; operations ([`op`]) are values that own their buffers while they are under way. They are
//! awaited on any executor:
//!
//! ```
//! use auraio::{Engine, OpenOptions};
//!
//! let engine = Engine::builder().build()?;
//! engine.block_on(async {
//!     let file = engine.open("Cargo.toml", OpenOptions::new().read(true)).await?;
//!     let (read, buffer) = file.read_at(vec![0; 4096], 0).await;
//!     assert!(buffer[..read?].starts_with(b"[package]"));
//!     file.close().await
//! })?;
//! # Ok::<(), auraio::Error>(())
//! ```
//!
//! or taken in bulk through a [`Port`]. The map of the crate: `engine` chooses a ring, `ring` keeps the slots and what
//! waits, `backend` is what stands behind a ring (the kernel, or a crew of threads; with the feature `sim` a simulated kernel too), `sys` is the platform.
//! docs/ARCHITECTURE.md follows one read through all of them.

mod backend;
mod buf;
mod chain;
mod config;
mod direct;
mod drain;
mod driver;
mod engine;
mod error;
mod file;
mod future;
mod lanes;
mod metadata;
pub mod op;
mod pool;
mod port;
mod registration;
mod ring;
mod stats;
mod sys;
pub mod topology;
mod tuning;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The double loop: how many operations may be in flight on a device, and how many go to the kernel in one call.
pub use auraio_control as control;
#[cfg(feature = "sim")]
pub use backend::sim::{SimCounts, SimOptions};
pub use buf::{BorrowedMemory, IoBuf, IoBufMut, Slice};
pub use chain::{Chain, ChainFuture, ChainResults};
pub use config::{BackendChoice, BackendKind, Builder, Routing};
pub use direct::DirectAlignment;
pub use drain::Drain;
pub use engine::{Driving, Engine};
pub use error::{Error, Result};
pub use file::File;
pub use future::OpFuture;
/// The crate whose histograms [`Engine::histogram`] gives.
pub use hdrhistogram;
pub use lanes::{ClassStats, HistogramKind, LaneDecision, LaneId, LaneMode, LaneStats};
pub use metadata::{Metadata, Timestamp};
pub use op::{OpenOptions, Operation};
pub use pool::{Acquire, Block, Pool, PoolBuilder, PoolStats};
pub use port::{Completion, Port, PortTicket, PortWaiter};
pub use registration::{RegisteredBuffer, Registration};
pub use stats::{RingStats, Stats};
pub use topology::Topology;

/// Locks, also where another thread panicked while it held the lock: what the locks of this crate guard is valid at every
/// step, and the operations of other threads must not fail with the one that panicked.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// The README's Rust is compiled and run with the other examples, so that it cannot fall behind the API.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
