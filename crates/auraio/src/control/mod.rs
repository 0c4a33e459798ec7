//! The double loop: arithmetic that is handed samples and answers with limits. No clock, no I/O.

mod batch;
mod priority;
mod share;

pub use batch::{BatchPolicy, SubmitBatch};
pub use priority::Priority;
pub use share::{Member, Shares};
