//! Queues operations on the port of the core.

use std::{cell::RefCell, rc::Rc};

use auraio::{BorrowedMemory, File, IoBuf, Operation, op};

use crate::{
    native::{Watcher, lend::Span},
    numbers::Position,
    state::{Brings, Core, SLOTS_MAX},
};

pub(crate) const EBADF: i32 = 9;
pub(crate) const EINVAL: i32 = 22;

/// What is needed to queue an operation: the port, and the watcher, which keeps the process alive while something is in
/// flight.
#[derive(Clone)]
pub(crate) struct Submitter {
    pub(crate) core: Rc<RefCell<Core>>,
    pub(crate) watcher: Rc<Watcher>,
}

impl Submitter {
    /// Queues an operation under a slot. Answers 0, or a negated errno. `span` is the memory that the operation works
    /// on.
    #[inline]
    pub(crate) fn queue<O: Operation>(
        &self,
        core: &mut Core,
        slot: u32,
        brings: Brings,
        span: Span,
        operation: O,
    ) -> i32 {
        if slot >= SLOTS_MAX {
            return -EINVAL;
        }
        let Some(port) = &mut core.port else { return -EBADF };
        // The kernel may use the memory as soon as the operation is queued, so the memory is claimed before.
        if !core.claims.claim(slot as usize, span) {
            return -EINVAL;
        }
        let token = brings.token(slot);
        let ticket = match core.next_class.take() {
            None => port.submit(operation, token),
            Some(class) => port.submit(operation.with_priority(class), token),
        };
        if port.outstanding() == 1 {
            self.watcher.busy();
        }
        let slot = slot as usize;
        if slot >= core.tickets.len() {
            core.tickets.resize(slot + 1, None);
        }
        core.tickets[slot] = Some(ticket);
        0
    }

    /// Queues an operation on an open file.
    #[inline]
    pub(crate) fn on_file<O: Operation>(
        &self,
        slot: u32,
        handle: u32,
        brings: Brings,
        make: impl FnOnce(&File) -> O,
    ) -> i32 {
        self.on_memory(slot, handle, brings, Span::NONE, make)
    }

    /// Queues an operation that works on an open file and on memory.
    #[inline]
    pub(crate) fn on_memory<O: Operation>(
        &self,
        slot: u32,
        handle: u32,
        brings: Brings,
        span: Span,
        make: impl FnOnce(&File) -> O,
    ) -> i32 {
        let core = &mut *self.core.borrow_mut();
        let Some(file) = core.files.get(handle) else { return -EBADF };
        let operation = make(file);
        self.queue(core, slot, brings, span, operation)
    }

    /// Reads into a part of a view.
    pub(crate) fn read(&self, slot: u32, handle: u32, memory: BorrowedMemory, position: f64) -> i32 {
        let Some(position) = Position::of(position) else { return -EINVAL };
        let span = Span::of(memory.as_slice());
        self.on_memory(slot, handle, Brings::Number, span, |file| match position {
            Position::At(offset) => op::Read::at(file, memory, offset),
            Position::Own => op::Read::at_position(file, memory),
        })
    }

    /// Writes a part of a view.
    pub(crate) fn write(&self, slot: u32, handle: u32, memory: BorrowedMemory, position: f64) -> i32 {
        let Some(position) = Position::of(position) else { return -EINVAL };
        let span = Span::of(memory.as_slice());
        self.on_memory(slot, handle, Brings::Number, span, |file| match position {
            Position::At(offset) => op::Write::at(file, memory, offset),
            Position::Own => op::Write::at_position(file, memory),
        })
    }
}
