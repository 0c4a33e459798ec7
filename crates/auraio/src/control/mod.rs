//! The double loop: arithmetic that is handed samples and answers with limits. No clock, no I/O.

mod batch;

pub use batch::{BatchPolicy, SubmitBatch};
