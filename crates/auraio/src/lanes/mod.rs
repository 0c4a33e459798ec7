//! Lanes: operations that share one in-flight limit.

#[cfg_attr(not(test), expect(dead_code, reason = "what opens files asks for their disk"))]
pub(crate) mod device;
