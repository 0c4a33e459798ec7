//! How many operations a ring holds, and how many more it may take.

use crate::op::route::FLUSH_BUDGET_OPERATIONS;

/// What the ring's main backend holds, and the limits on it.
#[derive(Debug)]
pub(super) struct Load {
    /// The most completion queue entries that operations in flight may need.
    pub(super) limit: u32,
    /// Entries that are gathered for one system call, if they go to no device.
    pub(super) batch: u32,
    /// Completion queue entries that the operations in flight may need.
    pub(super) in_flight: u32,
    /// Of these, the entries of operations that may wait for ever.
    pub(super) endless: u32,
    /// Operations in flight that open a path, which may wait for ever too.
    pub(super) opening: u32,
    /// The room of the submission queue, as the backend said when last asked.
    pub(super) room: u32,
    /// The room in an empty submission queue.
    pub(super) room_max: u32,
    /// Entries that were pushed and not handed over.
    pub(super) unsubmitted: u32,
    /// The credit: how many operations the short path may push before the ring has to be looked at again. It is 0 while
    /// anything waits.
    pub(super) credit: u32,
    /// The inline work that the next flush already has to do.
    pub(super) budget: Budget,
}

impl Load {
    pub(super) const fn new(limit: u32, batch: u32, room: u32, flush_budget: u64) -> Self {
        Self {
            limit,
            batch,
            in_flight: 0,
            endless: 0,
            opening: 0,
            room,
            room_max: room,
            unsubmitted: 0,
            credit: 0,
            budget: Budget::new(flush_budget),
        }
    }

    /// Whether `entries` more may be in flight; those on the helper count too. Operations that may wait for ever get at most
    /// half of the room, so that the other half is left for operations that end.
    pub(super) const fn has_room(&self, entries: u32, helper: u32, endless: bool) -> bool {
        if endless {
            return self.endless == 0 || self.endless + entries <= self.limit / 2;
        }
        let in_flight = self.in_flight + helper;
        in_flight == self.endless || in_flight + entries <= self.limit
    }

    /// Counts one entry as pushed.
    #[inline(always)]
    pub(super) const fn push_one(&mut self) {
        self.in_flight += 1;
        self.room -= 1;
        self.unsubmitted += 1;
    }
}

/// What one flush may still attempt inside the submission. Reads beyond that go to the kernel's workers, so that no flush
/// holds the submitting thread for long. That thread is mostly an event loop.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    bytes: u64,
    operations: u32,
}

impl Budget {
    const fn new(limit: u64) -> Self {
        Self { limit, bytes: 0, operations: 0 }
    }

    /// Whether one more operation may be attempted inline.
    #[inline(always)]
    pub(super) const fn allows(&self, bytes: u64) -> bool {
        bytes == 0 || (self.bytes + bytes <= self.limit && self.operations < FLUSH_BUDGET_OPERATIONS)
    }

    /// Charges one operation; answers whether it may be attempted inline.
    #[inline(always)]
    pub(super) const fn charge(&mut self, bytes: u64) -> bool {
        self.operations += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        bytes == 0 || (self.bytes <= self.limit && self.operations <= FLUSH_BUDGET_OPERATIONS)
    }

    #[inline(always)]
    pub(super) const fn reset(&mut self) {
        self.bytes = 0;
        self.operations = 0;
    }
}
