//! The double loop: arithmetic that is handed samples and answers with limits. No clock, no I/O.

mod batch;
mod priority;

pub use batch::{BatchPolicy, SubmitBatch};
pub use priority::Priority;
