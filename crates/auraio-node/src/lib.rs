//! The Node.js binding of auraio. It converts; it decides nothing.
//!
//! `port.rs` is what TypeScript sees: one class, whose methods take numbers and views and queue operations on a port of
//! the core; `state.rs` is what is behind it, and `submit.rs` the way of an operation to the port; `control.rs` is for the loops that govern depth. `native.rs` is everything that N-API and libuv need raw pointers for: views, the shared array of
//! completions, waking the event loop, and tear-down. The types for TypeScript are generated from `port.rs`.

mod control;
pub mod lend;
mod native;
mod port;
mod register;
mod shared;
mod state;
mod submit;
