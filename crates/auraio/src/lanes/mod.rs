//! Lanes: operations that share one in-flight limit.

pub(crate) mod device;
