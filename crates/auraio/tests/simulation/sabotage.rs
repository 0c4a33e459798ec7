//! Promises that a program breaks on purpose, to show that the rig finds out.

use std::os::unix::fs::FileExt;

use super::{FILES, OPERATIONS, asked::Asked, buffers::POISON, world::World};

/// Where a program breaks a promise on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    /// Memory that a read is writing to is written to by somebody else.
    TouchTarget,
    /// Memory that a write is reading from changes.
    TouchSource,
    /// A buffer's owner forgets that it lent its memory out, and frees it.
    FreeEarly,
    /// A file changes behind the model's back.
    CorruptFile,
    /// A completion gets lost.
    LoseCompletion,
    /// A completion comes twice.
    RepeatCompletion,
}

impl World {
    /// Does what nobody may do, where that is what the test is about.
    pub(crate) fn break_a_promise(&mut self, asked: &Asked, through_port: bool) {
        let (Some((address, len)), true) = (self.last, self.next > OPERATIONS / 4) else { return };
        let touch = match (self.sabotage, asked) {
            (Sabotage::TouchTarget, Asked::Read(..)) | (Sabotage::TouchSource, Asked::Write(..)) => 1,
            (Sabotage::FreeEarly, Asked::Read(..)) => len,
            (Sabotage::CorruptFile, _) => {
                // A place that nothing uses, or the mistake might be overwritten.
                let file = (0..FILES).find(|&file| self.is_free(file, &(0..100), true));
                if let Some(file) = file {
                    self.disk.plain[file].write_all_at(&[!self.disk.model[file][50]], 50).unwrap();
                    self.sabotage = Sabotage::None;
                }
                return;
            }
            _ => return,
        };
        self.port.flush();
        // Before the kernel has it, memory may change: the kernel would only see the change.
        if !through_port || self.port.ring_stats().iter().any(|ring| ring.queued > 0) {
            return;
        }
        // What is freed is poisoned, as `Tracked` does it.
        for at in 0..touch {
            // SAFETY: the memory of a buffer is kept until the program is over. That the simulated kernel, on this thread,
            // looks at it as well is what the test is about.
            unsafe { *address.add(at) = if self.sabotage == Sabotage::FreeEarly { POISON } else { !*address.add(at) } };
        }
    }
}
