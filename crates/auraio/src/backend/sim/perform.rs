//! Performs one operation: checks its memory, decides whether it goes wrong, and makes the real call.
#![expect(unsafe_code, reason = "performs calls, whose addresses the caller of `push` vouches for")]

use super::{
    Operation, SimBackend,
    fault::{bytes_asked, is_misaligned, shortened},
};
use crate::{
    backend::Entry,
    sys::{Call, Descriptor, errno, perform},
};

/// What a file system may answer to a close that it has performed.
const CLOSE_ERRORS: [i32; 4] = [errno::EINTR, errno::EAGAIN, errno::ECANCELED, errno::EIO];

impl SimBackend {
    /// The result of an operation, as its completion tells it.
    pub(super) fn perform(&mut self, operation: Operation) -> i32 {
        let Operation { entry: Entry { call, user_data, fixed, .. }, cancelled, watch, .. } = operation;
        if let Some(watch) = watch {
            // SAFETY: `push` had the caller promise that the memory is as it was until the completion is reaped.
            let intact = unsafe { watch.end(&call) };
            if let Err(violation) = intact {
                panic!(
                    "sim seed {:#x}: operation {user_data:#x} ({}) is in flight, but {violation}",
                    self.seed(),
                    call.name()
                );
            }
        }
        if cancelled {
            self.options.count(|counts| counts.cancelled += 1);
            return -errno::ECANCELED;
        }
        if let Call::Close { fd } = call {
            return self.close(fd, user_data);
        }
        if let Some(fault) = self.fault(&call, user_data) {
            return -fault;
        }
        // SAFETY: as above, for the list of vectors.
        if unsafe { is_misaligned(&call) } {
            return -errno::EINVAL;
        }
        self.options.count(|counts| counts.performed += 1);
        let call = match self.files.resolve(&call, fixed.file) {
            Ok(call) => call,
            Err(errno) => return -errno,
        };
        if self.rng.chance(self.options.short_io) {
            // SAFETY: as above, for the list of vectors.
            if let Some(cut) = unsafe { shortened(&call, &mut self.rng) } {
                self.options.count(|counts| counts.short_io += 1);
                // SAFETY: the addresses are those of `call`, for fewer bytes, and the list of vectors is in `cut`.
                return unsafe { perform(&cut.call) };
            }
        }
        // SAFETY: the caller of `push` keeps every address valid until the completion, which is not there yet.
        unsafe { perform(&call) }
    }

    /// A close is always performed, because the kernel gives the descriptor back before the file system can answer with an
    /// error. Only the answer goes wrong. A second close of the same opening would close whatever has the number by then.
    fn close(&mut self, fd: Descriptor, user_data: u64) -> i32 {
        assert!(
            self.options.marks.close(user_data),
            "sim seed {:#x}: close {user_data:#x} of descriptor {fd} was performed before, and is performed again",
            self.seed()
        );
        self.options.count(|counts| counts.performed += 1);
        // SAFETY: the call has no address.
        let result = unsafe { perform(&Call::Close { fd }) };
        if self.rng.chance(self.options.close_error) {
            self.options.count(|counts| counts.close_errors += 1);
            return -CLOSE_ERRORS[self.rng.below(CLOSE_ERRORS.len() as u64) as usize];
        }
        result
    }

    /// The errno to answer with instead of performing the call, if it goes wrong.
    fn fault(&mut self, call: &Call, user_data: u64) -> Option<i32> {
        if matches!(call, Call::Nop) {
            return None;
        }
        let options = &self.options;
        if self.rng.chance(options.ecanceled) {
            options.count(|counts| counts.ecanceled += 1);
            return Some(errno::ECANCELED);
        }
        if self.rng.chance(options.eintr) {
            options.count(|counts| counts.eintr += 1);
            return Some(errno::EINTR);
        }
        // SAFETY: the caller of `push` keeps the list of vectors until the completion is reaped.
        if unsafe { bytes_asked(call) }.is_some() {
            let may = options.eagain_for_ever > 0.0;
            if may && self.options.marks.is_endless(user_data, || self.rng.chance(options.eagain_for_ever)) {
                return Some(options.endless_answer());
            }
            if self.rng.chance(options.eagain) {
                options.count(|counts| counts.eagain += 1);
                return Some(errno::EAGAIN);
            }
        }
        if self.rng.chance(options.failure) {
            options.count(|counts| counts.failures += 1);
            return Some(options.failure_errno);
        }
        None
    }
}
