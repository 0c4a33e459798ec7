//! The Node.js binding of auraio. It converts; it decides nothing.
//!
//! `port.rs` is what TypeScript sees: one class, whose methods take numbers and views and queue operations on a port of
//! the core. `perform.rs` has a row for every operation that is not hot, and `kinds.rs` numbers them. `state.rs` is what is
//! behind the class, and `submit.rs` the way of an operation to the port. `control.rs` is for the loops that govern depth.
//! `native.rs` is everything that N-API and libuv need raw pointers for: views, the shared array of completions, waking the
//! event loop, and tear-down. The types for TypeScript are generated from `port.rs`.

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
mod submit;
