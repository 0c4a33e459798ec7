//! The slot table: what the kernel can touch lives here until its CQE.
//!
//! A slot owns everything that an operation needs while it is under way: the payload that the kernel's addresses point
//! into, a share in the file (so that its descriptor cannot be closed and given to another file), and where the result
//! is to go. A key names a slot *and* which of its tenants is meant, so a late or repeated completion can never be taken
//! for the next tenant's.

use std::{sync::Arc, task::Waker};

use super::gate::NO_LANE;
use crate::{
    buf::Payload,
    control::Priority,
    file::FileInner,
    op::{Done, Later, More, Prepared},
    sys::{self, Call},
};

/// Names one operation of one ring: the slot's index in the low half, its generation above. The top bit stays clear, for
/// the backends' own entries.
pub(crate) type Key = u64;

/// Where a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Free,
    /// Waits for its turn at a file's position, or for a file's last user.
    Held,
    /// Waits for room.
    Waiting,
    /// Pushed to the ring's backend.
    Main,
    /// Pushed to the ring's helper threads.
    Helper,
    /// Being performed by the thread that submitted it.
    Inline,
    /// Completed; the result waits to be fetched.
    Done,
}

/// Who is told of the result.
#[derive(Debug)]
pub(super) enum Sink {
    /// A future, which fetches it.
    Future(Option<Waker>),
    /// A port: its index in the ring's list, and the token that it gave.
    Port { port: u32, token: u64 },
    /// The chain that the slot is a step of.
    Chain(u32),
    /// Nobody any more.
    Nobody,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) next_free: u32,
    pub(super) place: Place,
    pub(super) cancelled: bool,
    pub(super) cursor: bool,
    /// How often the kernel said "again".
    pub(super) attempts: u8,
    pub(super) force_async: bool,
    /// A copy by a worker of the kernel that takes a core for long: few at a time.
    pub(super) heavy: bool,
    /// The number of the lane that governs the operation.
    pub(super) lane: u16,
    /// It has one of the ring's places there.
    pub(super) in_lane: bool,
    /// It was pushed without one, on condition that it does not wait.
    pub(super) attempt: bool,
    pub(super) class: Priority,
    /// When it began to wait for a place; 0: it did not.
    pub(super) asked: u64,
    /// When the call was handed over, and how many were in flight on its lane then, this one among them.
    pub(super) submitted: u64,
    pub(super) in_flight_then: u32,
    /// Completion queue entries that the call may take.
    pub(super) weight: u32,
    /// The place of registered memory that the operation is counted against.
    pub(super) counted: Option<u16>,
    /// Performed by the submitting thread when its time comes: a close with nothing to wait for.
    pub(super) inline: bool,
    pub(super) call: Call,
    pub(super) expect: u64,
    /// Where the file's own position was when the operation's turn came, if it is the engine that moves it.
    pub(super) position: Option<u64>,
    /// Bytes moved by the parts before this one.
    pub(super) moved: u64,
    pub(super) more: Option<Later>,
    pub(super) payload: Payload,
    pub(super) file: Option<Arc<FileInner>>,
    pub(super) sink: Sink,
    pub(super) result: i64,
}

impl Slot {
    /// Gives a transfer at the file's own position the place where that is now. The kernel could do so itself, but `io_uring`
    /// leaves the position where it was when a transfer fails after it has moved a part, and tells of that part all the
    /// same (6.18), so the next transfer would go to the same place. Where a file is appended to, the kernel knows best.
    pub(super) fn find_position(&mut self) {
        let Some(file) = &self.file else { return };
        if self.position.is_some() || file.facts().append && self.call.is_write() {
            return;
        }
        let Some(position) = sys::position(file.descriptor()) else { return };
        self.position = Some(position);
        self.call = self.call.at_offset(position);
        let mut next = position + self.expect;
        if let Some(More::Calls(calls)) = self.more.as_deref_mut() {
            for (call, expect) in calls {
                *call = call.at_offset(next);
                next += *expect;
            }
        }
    }

    /// What a call's result is to its operation, and the part that follows it, if one does.
    #[inline]
    pub(super) fn next_part(&mut self, result: i32) -> (i32, Option<(Call, u64)>) {
        match self.more.as_deref_mut() {
            None => (result, None),
            Some(More::Calls(calls)) if u64::try_from(result) == Ok(self.expect) => (result, calls.pop_front()),
            Some(More::Calls(_)) => (result, None),
            Some(More::Bounced(bounce)) => bounce.settle(result),
        }
    }

    /// Moves the file's own position behind what was transferred.
    pub(super) fn move_position(&self) {
        if let (Some(position), Some(file), Ok(bytes)) = (self.position, &self.file, u64::try_from(self.result)) {
            sys::set_position(file.descriptor(), position + bytes);
        }
    }

    /// Whether a worker of the kernel that does this copies for as long as it runs.
    pub(super) fn is_heavy(&self) -> bool {
        matches!(self.call, Call::Read { .. } | Call::ReadVectored { .. })
            && self.file.as_ref().is_some_and(|file| !file.facts().direct)
    }

    /// Whether the operation could wait for ever: for the other end of a pipe, or a server.
    pub(super) fn is_endless(&self) -> bool {
        matches!(self.call, Call::Open { .. }) || self.file.as_ref().is_some_and(|file| !file.facts().seekable)
    }

    /// A close is never cancelled: the descriptor has to go back.
    pub(super) const fn is_close(&self) -> bool {
        matches!(self.call, Call::Close { .. })
    }
}

const NONE: u32 = u32::MAX;
/// Keeps the top bit of a key clear.
const GENERATION_MASK: u32 = 0x7fff_ffff;

/// All slots of a ring. It grows as needed and never shrinks: it holds those that wait as well as those in flight.
#[derive(Debug)]
pub(super) struct Slots {
    entries: Vec<Slot>,
    free: u32,
}

impl Slots {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), free: NONE }
    }

    /// Gives the operation a slot.
    #[inline(always)]
    pub(super) fn insert(&mut self, prepared: Prepared, sink: Sink) -> u32 {
        let Prepared { call, expect, more, payload, file, cursor, class, .. } = prepared;
        let class = class.unwrap_or_else(|| file.as_ref().map_or(Priority::Normal, |file| file.priority()));
        if self.free == NONE {
            let index = self.entries.len() as u32;
            assert!(index < NONE, "four thousand million operations wait on one ring");
            self.entries.push(Slot {
                generation: 0,
                next_free: NONE,
                place: Place::Waiting,
                cancelled: false,
                cursor,
                attempts: 0,
                force_async: false,
                heavy: false,
                lane: NO_LANE,
                in_lane: false,
                attempt: false,
                class,
                asked: 0,
                submitted: 0,
                in_flight_then: 0,
                weight: 1,
                counted: None,
                inline: false,
                call,
                expect,
                position: None,
                moved: 0,
                more,
                payload,
                file,
                sink,
                result: 0,
            });
            return index;
        }
        let index = self.free;
        let slot = &mut self.entries[index as usize];
        self.free = slot.next_free;
        slot.place = Place::Waiting;
        slot.cancelled = false;
        slot.cursor = cursor;
        slot.attempts = 0;
        slot.force_async = false;
        slot.heavy = false;
        slot.lane = NO_LANE;
        slot.in_lane = false;
        slot.attempt = false;
        slot.in_flight_then = 0;
        slot.class = class;
        slot.asked = 0;
        slot.inline = false;
        slot.call = call;
        slot.expect = expect;
        slot.position = None;
        slot.moved = 0;
        slot.more = more;
        slot.payload = payload;
        slot.file = file;
        slot.sink = sink;
        index
    }

    pub(super) fn key(&self, index: u32) -> Key {
        u64::from(self.entries[index as usize].generation) << 32 | u64::from(index)
    }

    /// The slot that a key names, if its tenant is still there.
    #[inline]
    pub(super) fn find(&self, key: Key) -> Option<u32> {
        let index = key as u32;
        let slot = self.entries.get(index as usize)?;
        (slot.place != Place::Free && u64::from(slot.generation) == key >> 32).then_some(index)
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> &Slot {
        &self.entries[index as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.entries[index as usize]
    }

    /// Takes the operation out of its slot, which is free from now on.
    #[inline(always)]
    pub(super) fn remove(&mut self, index: u32) -> Done {
        let free = self.free;
        self.free = index;
        let slot = &mut self.entries[index as usize];
        slot.place = Place::Free;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        slot.next_free = free;
        Done {
            kind: slot.call.kind(),
            result: slot.result,
            refused: None,
            payload: std::mem::replace(&mut slot.payload, Payload::NOTHING),
            cancelled: slot.cancelled,
        }
    }

    /// Those in use, by index.
    pub(super) fn iter_used(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..).zip(&self.entries).filter(|(_, slot)| slot.place != Place::Free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Nop, Operation};

    #[test]
    fn a_key_outlives_its_tenant_without_naming_the_next() {
        let mut slots = Slots::new();
        let first = slots.insert(Nop.prepare(), Sink::Nobody);
        let key = slots.key(first);
        assert_eq!(slots.find(key), Some(first));
        let _ = slots.remove(first);
        assert_eq!(slots.find(key), None);
        let second = slots.insert(Nop.prepare(), Sink::Nobody);
        assert_eq!(second, first, "a free slot is used again");
        assert_eq!(slots.find(key), None);
        assert_ne!(slots.key(second), key);
        assert_eq!(slots.iter_used().count(), 1);
    }

    #[test]
    fn keys_leave_the_top_bit_to_the_backends() {
        let mut slots = Slots::new();
        let index = slots.insert(Nop.prepare(), Sink::Nobody);
        slots.get_mut(index).generation = GENERATION_MASK;
        assert_eq!(slots.key(index) >> 63, 0);
        let _ = slots.remove(index);
        assert_eq!(slots.get(index).generation, 0);
    }
}
