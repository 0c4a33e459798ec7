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
//! or taken in bulk through a [`Port`].
//!
//! # The modules and their order
//! A module uses only modules that stand above it in this list. The test `house` reads the imports and fails on a cycle. It
//! also holds the limits on the length of files, functions and types.
//!
//! | modules | what they are |
//! | --- | --- |
//! | `sys` | the platform: system calls, error numbers, what is known of a file |
//! | `error`, `topology`, `numbers` | what can go wrong; what the hardware is; what a number of the statistics means |
//! | `pool`, `buf` | aligned memory; the buffers that an operation can own |
//! | `lanes` | devices, what users wish of them, and the in-flight limit of each |
//! | `file` | an open file. It knows its engine and rings only as the traits `Home` and `Resume` |
//! | `op`, `direct` | the operations and the table of all their facts; the alignment of direct transfers |
//! | `backend` | what stands behind a ring: the kernel, a crew of threads, with the feature `sim` a simulated kernel |
//! | `ring` | one ring: its slots, what waits, and what is registered with the kernel |
//! | `stats`, `config` | the numbers that an engine counts; the options that it is made with |
//! | `engine` | chooses a ring for each submission, and sees to it that somebody reaps |
//! | `future`, `chain`, `port` | the three ways to submit and to learn the result |
//! | `files`, `tuning`, `drain`, `registration` | methods of [`Engine`] and [`File`]: one file for each subject |
//!
//! A module adds methods to a type of a module above it, so that the type need not know it: `future` adds `Engine::submit`, and
//! `files` adds `File::read_at`. docs/ARCHITECTURE.md follows one read through all of them.

mod backend;
mod buf;
mod chain;
mod config;
mod direct;
mod drain;
mod engine;
mod error;
mod file;
mod files;
mod future;
mod lanes;
mod numbers;
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
pub use backend::{BackendChoice, BackendKind};
pub use buf::{BorrowedMemory, IoBuf, IoBufMut, Slice};
pub use chain::{Chain, ChainFuture, ChainResults};
pub use config::{Builder, Routing};
pub use drain::Drain;
pub use engine::{Driving, Engine};
pub use error::{Error, Result};
pub use file::File;
pub use future::OpFuture;
/// The crate whose histograms [`Engine::histogram`] gives.
pub use hdrhistogram;
pub use lanes::{ClassStats, HistogramKind, LaneDecision, LaneId, LaneMode, LaneStats};
pub use numbers::{Number, NumberKind, Unit};
pub use op::{OpenOptions, Operation};
pub use pool::{Acquire, Block, Pool, PoolBuilder, PoolStats};
pub use port::{Port, PortTicket, PortWaiter};
pub use registration::{RegisteredBuffer, Registration};
pub use ring::{Completion, RingStats};
pub use stats::Stats;
pub use sys::{DirectAlignment, Metadata, Timestamp};
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
