//! An operation with a class of its own, instead of its file's class.

use super::{Done, Operation, Prepared};
use crate::control::Priority;

/// What [`Operation::with_priority`] gives. Its completion is that of the operation itself.
///
/// ```
/// use auraio::{OpenOptions, Operation, control::Priority, op};
///
/// # let engine = auraio::Engine::builder().build()?;
/// # let file = engine.block_on(engine.open("Cargo.toml", OpenOptions::new().read(true)))?;
/// # let mut port = engine.port()?;
/// port.submit(op::Read::at(&file, vec![0; 9], 0).with_priority(Priority::Low), 7);
/// let mut completions = Vec::new();
/// port.wait(&mut completions, None);
/// let (read, buffer) = completions.remove(0).into_output::<op::Read<Vec<u8>>>();
/// assert_eq!(&buffer[..read?], b"[package]");
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct Prioritized<O> {
    operation: O,
    class: Priority,
}

impl<O> Prioritized<O> {
    pub(super) const fn new(operation: O, class: Priority) -> Self {
        Self { operation, class }
    }
}

impl<O: Operation> Operation for Prioritized<O> {
    type Output = O::Output;

    #[inline]
    fn prepare(self) -> Prepared {
        Prepared { class: Some(self.class), ..self.operation.prepare() }
    }

    #[inline]
    fn finish(done: Done) -> Self::Output {
        O::finish(done)
    }
}
