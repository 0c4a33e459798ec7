//! The Node.js binding of auraio. It converts; it decides nothing.
//!
//! - `port.rs` has the class that TypeScript sees. Its methods take numbers and views, and queue operations on a port
//!   of the core. napi-rs generates the types for TypeScript from it.
//! - `perform.rs` has a row for every operation that is not hot, and `kinds.rs` numbers these operations.
//! - `submit.rs` queues an operation, and `state.rs` has the open files and the completions of a port.
//! - `numbers.rs` checks the numbers that come from JavaScript.
//! - `control.rs` passes on wishes for the control loops, and their decisions; `stats.rs` has the numbers of everything.
//! - `lend.rs` lends memory of the pool, and `register.rs` registers memory and descriptors of others.
//! - `shared.rs` keeps the engines that the environments of a process share.
//! - `native.rs` has everything that N-API and libuv need raw pointers for: views, the shared array of completions, the
//!   wake-up of the event loop, and tear-down.

mod control;
mod kinds;
pub mod lend;
mod native;
mod numbers;
mod perform;
mod port;
mod register;
mod shared;
mod state;
pub mod stats;
mod submit;
