//! An operation that does nothing. It goes through the whole engine, so it shows what the engine itself costs.

use super::{Done, Operation, Plain, Prepared};
use crate::{Result, buf::Payload, control::Priority, sys::Call};

/// Does nothing and completes.
///
/// ```
/// let engine = auraio::Engine::builder().build()?;
/// engine.block_on(engine.submit(auraio::op::Nop))?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Nop;

impl Operation for Nop {
    type Output = Result<()>;

    #[inline]
    fn prepare(self) -> Prepared {
        Prepared::new(Call::Nop, Payload::NOTHING)
    }

    #[inline(always)]
    fn prepare_plain(self) -> std::result::Result<Plain, Self> {
        Ok(Plain { call: Call::Nop, bytes: 0, payload: Payload::NOTHING, file: None, class: Priority::Normal })
    }

    fn finish(done: Done) -> Self::Output {
        done.unit()
    }
}
