//! Which transfers of a ring are bounced, and how a slot's transfer becomes one of parts. The parts themselves are worked out
//! in `op/bounce.rs`.
#![expect(unsafe_code, reason = "looks at the vectors that a slot's calls name")]

use super::{
    State,
    effects::Effects,
    slots::{Cold, Place, flag},
};
use crate::{
    direct::{is_misaligned, is_plainly_aligned},
    op::{
        More,
        bounce::{Bounce, POSITION_MAX},
    },
    sys::{Call, errno, transfer_len},
};

impl Cold {
    /// Whether the slot's transfer has to bounce: its file takes any alignment, and the transfer is not aligned.
    #[inline(always)]
    pub(super) fn must_bounce(&self) -> bool {
        let Some(file) = &self.file else { return false };
        let facts = file.facts();
        facts.bounces && !(self.more.is_none() && is_plainly_aligned(&self.call, facts)) && self.is_misaligned()
    }

    fn is_misaligned(&self) -> bool {
        let Some(file) = &self.file else { return false };
        // SAFETY: the slot keeps the vectors of its calls.
        let misaligned = |call: &Call| unsafe { is_misaligned(call, file.facts()) };
        let rest = match self.more.as_deref() {
            None => false,
            Some(More::Calls(calls)) => calls.iter().any(|(call, _)| misaligned(call)),
            Some(More::Bounced(_)) => return false,
        };
        (rest || misaligned(&self.call)) && self.is_bounceable()
    }

    /// False if the transfer would pass the largest file offset. The kernel answers such a transfer with an error, so it is
    /// left to the kernel.
    fn is_bounceable(&self) -> bool {
        let (Call::Read { offset, .. } | Call::ReadVectored { offset, .. }) = self.call else { return true };
        offset.saturating_add(self.asked()) <= POSITION_MAX
    }

    /// The bytes that all calls of the operation are asked to move.
    fn asked(&self) -> u64 {
        let rest = match self.more.as_deref() {
            Some(More::Calls(calls)) => calls.iter().map(|(_, bytes)| bytes).sum(),
            Some(More::Bounced(_)) | None => 0,
        };
        // SAFETY: the slot keeps the vectors of its call.
        unsafe { transfer_len(&self.call) }.unwrap_or(0) + rest
    }

    /// Turns the transfer into one of parts. Its call becomes the first part.
    fn bounce(&mut self) -> Result<(), i32> {
        let Some(file) = &self.file else { return Err(errno::EBADF) };
        // SAFETY: the payload keeps the memory, the file's share the twin, and both stay in the slot until it is complete,
        // which drops the bounce first.
        let bounce = unsafe { Bounce::new(&self.call, self.more.take(), file) };
        let mut bounce = bounce.ok_or(errno::EINVAL)?;
        (self.call, self.expect) = bounce.next()?;
        self.more = Some(Box::new(More::Bounced(bounce)));
        Ok(())
    }
}

impl State {
    /// Begins to bounce a slot's transfer. Answers false if that was impossible; then the operation is complete.
    #[cold]
    pub(super) fn bounce(&mut self, index: u32, effects: &mut Effects) -> bool {
        self.totals.bounced += 1;
        let (hot, cold) = self.slots.both_mut(index);
        let Err(error) = cold.bounce() else { return true };
        hot.place = Place::Inline;
        self.complete(index, -error, None, &mut Vec::new(), effects);
        false
    }

    /// Called when the kernel refused a direct write to the end of a file. If the reason is that the file does not end where
    /// a direct write may begin, the write is made again through the page cache.
    #[cold]
    pub(super) fn append_buffered(&mut self, index: u32) -> bool {
        let (hot, cold) = self.slots.both_mut(index);
        let appends = cold.call.is_write() && cold.file.as_ref().is_some_and(|file| file.facts().append);
        let direct = cold.file.as_ref().is_some_and(|file| file.facts().bounces);
        if !(appends && direct) || cold.moved > 0 || hot.has(flag::CANCELLED) || cold.bounce().is_err() {
            return false;
        }
        self.totals.bounced += 1;
        self.push_helper(index);
        true
    }
}
