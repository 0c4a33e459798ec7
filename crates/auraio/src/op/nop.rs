//! An operation that does nothing. It goes through the whole engine, so it shows what the engine itself costs.

use super::{Done, Operation, Plain, Prepared};
use crate::{Result, buf::Payload, sys::Call};

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
    fn plain(&mut self) -> Option<Plain> {
        Some(Plain { call: Call::Nop, bytes: 0, address: 0 })
    }

    fn finish(done: Done) -> Self::Output {
        done.unit()
    }
}
