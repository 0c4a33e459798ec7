//! The double loop: arithmetic that is handed samples and answers with limits. No clock, no I/O.

mod batch;
mod classes;
mod foreground;
mod priority;
mod share;

pub use batch::{BatchPolicy, SubmitBatch};
pub use classes::Classes;
pub use foreground::Foreground;
pub use priority::Priority;
pub use share::{Member, Shares};
