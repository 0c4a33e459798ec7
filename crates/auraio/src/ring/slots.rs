//! The slot table: what the kernel can touch lives here until its CQE.
//!
//! A slot owns everything that an operation needs while it is under way: the payload that the kernel's addresses point
//! into, and a share in each of its files, so that their descriptors cannot be closed and given to other files. A key names
//! a slot *and* which of its tenants is meant, so a late or repeated completion is never taken for the next tenant's.
//!
//! A slot has two halves. The hot half is 32 bytes, and most completions look at nothing else. The cold half holds what the
//! operation owns, and what an operation of several parts has to remember. [`flag::OWNS`] and [`flag::LONG`] say whether
//! the cold half has to be looked at. The cold half of a free slot owns nothing.

use std::{sync::Arc, task::Waker};

use super::gate::NO_LANE;
use crate::{
    buf::Payload,
    control::Priority,
    file::FileInner,
    op::{
        Done, Later, More, Prepared,
        table::{CallKind, Waits},
    },
    sys::{self, Call},
};

/// Names one operation of one ring: the slot's index in the low half, its generation above. The top bit stays clear, for
/// the backends' own entries.
pub(crate) type Key = u64;

/// Where a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    /// A future, which fetches it.
    Future,
    /// A port: its index in the ring's list, and the token that it gave.
    Port { port: u32, token: u64 },
    /// The chain that the slot is a step of.
    Chain(u32),
    /// Nobody any more.
    Nobody,
}

/// [`Sink`] without its numbers, which lie beside it in the hot half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum SinkKind {
    Future,
    Port,
    Chain,
    Nobody,
}

/// What is out of the ordinary about an operation. An operation without any flag completes in one branch.
pub(super) mod flag {
    /// The cold half owns a payload or a share in a file.
    pub(crate) const OWNS: u16 = 1;
    /// It has one of the ring's places on its lane.
    pub(crate) const IN_LANE: u16 = 1 << 1;
    /// It needs more than one call, or it came by the long path, which may write to all of the cold half.
    pub(crate) const LONG: u16 = 1 << 2;
    /// Somebody asked for it to end early.
    pub(crate) const CANCELLED: u16 = 1 << 3;
    /// It works at the file's own position.
    pub(crate) const CURSOR: u16 = 1 << 4;
    /// A worker of the kernel performs it from the start.
    pub(crate) const ASYNC: u16 = 1 << 5;
    /// It is a copy: a worker of the kernel performs it and keeps a core busy. Few run at a time.
    pub(crate) const HEAVY: u16 = 1 << 6;
    /// It was pushed without a place on its lane, and fails instead of waiting.
    pub(crate) const ATTEMPT: u16 = 1 << 7;
    /// The thread that starts it performs it: it is a close with nothing to wait for.
    pub(crate) const INLINE: u16 = 1 << 8;
    /// It is counted against a place of registered memory.
    pub(crate) const COUNTED: u16 = 1 << 9;
    /// A future fetches its result.
    pub(crate) const FUTURE: u16 = 1 << 13;
    /// It may wait for ever: it works on something that has no end (a pipe, a terminal).
    pub(crate) const ENDLESS: u16 = 1 << 10;
    /// It is in flight, and the kernel may need a worker for it.
    pub(crate) const WORKER: u16 = 1 << 11;
    /// It was so at the last alarm already.
    pub(crate) const STUCK: u16 = 1 << 12;
}

/// The half of a slot that every submission writes and every completion reads: half a cache line.
#[derive(Debug)]
pub(super) struct Hot {
    /// A port's token.
    token: u64,
    generation: u32,
    /// The port's or the chain's number; of a free slot, the next that is free.
    number: u32,
    flags: u16,
    /// The number of the lane that governs the operation.
    pub(super) lane: u16,
    pub(super) place: Place,
    sink: SinkKind,
    pub(super) class: Priority,
    kind: CallKind,
    /// How many were in flight on its lane when it was handed over, this one among them.
    pub(super) in_flight_then: u32,
    /// Completion queue entries that the call may take.
    pub(super) weight: u16,
    /// How often the kernel said "again".
    pub(super) attempts: u8,
}

/// The half of a slot that holds what an operation owns, and what one of several parts remembers.
#[derive(Debug)]
pub(super) struct Cold {
    pub(super) call: Call,
    /// Bytes that the call moves when it moves all.
    pub(super) expect: u64,
    /// When it was handed over.
    pub(super) submitted: u64,
    /// When it began to wait for a place; 0: it did not.
    pub(super) asked: u64,
    /// Bytes moved by the parts before this one.
    pub(super) moved: u64,
    /// Where the file's own position was when the operation's turn came, if it is the engine that moves it.
    pub(super) position: Option<u64>,
    pub(super) result: i64,
    pub(super) more: Option<Later>,
    pub(super) payload: Payload,
    pub(super) file: Option<Arc<FileInner>>,
    /// The second file of an operation that works on two.
    pub(super) other: Option<Arc<FileInner>>,
    pub(super) waker: Option<Waker>,
    /// The place of registered memory that the operation is counted against.
    pub(super) counted: u16,
}

impl Hot {
    /// Whether all of these flags are set. With several, use [`Hot::has_any`].
    #[inline]
    pub(super) const fn has(&self, flag: u16) -> bool {
        self.flags & flag == flag
    }

    #[inline]
    pub(super) const fn has_any(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    #[inline]
    pub(super) const fn set(&mut self, flag: u16) {
        self.flags |= flag;
    }

    #[inline]
    pub(super) const fn clear(&mut self, flag: u16) {
        self.flags &= !flag;
    }

    #[inline]
    pub(super) const fn set_to(&mut self, flag: u16, on: bool) {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }

    /// Clears a flag; answers whether it was set.
    #[inline]
    pub(super) const fn take(&mut self, flag: u16) -> bool {
        let was = self.has(flag);
        self.clear(flag);
        was
    }

    #[inline]
    pub(super) const fn sink(&self) -> Sink {
        match self.sink {
            SinkKind::Future => Sink::Future,
            SinkKind::Port => Sink::Port { port: self.number, token: self.token },
            SinkKind::Chain => Sink::Chain(self.number),
            SinkKind::Nobody => Sink::Nobody,
        }
    }

    /// Whether the operation is of the port with this number. The caller knows from the flags that it is a port's.
    #[inline(always)]
    pub(super) const fn is_number(&self, port: u32) -> bool {
        self.number == port
    }

    #[inline]
    pub(super) const fn is_of_port(&self, port: u32) -> bool {
        matches!(self.sink, SinkKind::Port) && self.number == port
    }

    #[inline]
    pub(super) const fn token(&self) -> u64 {
        self.token
    }

    #[inline]
    pub(super) const fn kind(&self) -> CallKind {
        self.kind
    }

    /// Nobody is to be told of the result any more.
    pub(super) const fn forget_sink(&mut self) {
        self.set(flag::LONG);
        self.sink = SinkKind::Nobody;
    }

    /// A close is never cancelled: the descriptor has to go back.
    pub(super) const fn is_close(&self) -> bool {
        matches!(self.kind, CallKind::Close)
    }
}

impl Cold {
    const EMPTY: Self = Self {
        call: Call::Nop,
        expect: 0,
        submitted: 0,
        asked: 0,
        moved: 0,
        position: None,
        result: 0,
        more: None,
        payload: Payload::NOTHING,
        file: None,
        other: None,
        waker: None,
        counted: 0,
    };

    /// Gives a transfer at the file's own position the offset where that position is now. The kernel could do so itself. But
    /// if a transfer fails after a part, `io_uring` reports the part and leaves the position where it was (6.18), so the
    /// next transfer would go to the same place. For a file that is appended to, the kernel finds the end.
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

    /// The result of a call as its operation counts it, and the part that follows, if there is one.
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

    /// Whether the operation opens a path.
    pub(super) fn opens(&self) -> bool {
        match self.call.facts().waits {
            Waits::Never | Waits::OnStreams => false,
            Waits::OnPaths => true,
        }
    }

    /// Whether it is an open that may wait for somebody to open the other end.
    #[cfg(unix)]
    pub(super) const fn waits_to_open(&self) -> bool {
        matches!(self.call, Call::Open { flags, .. } if flags & libc::O_NONBLOCK == 0)
    }

    #[cfg(not(unix))]
    pub(super) const fn waits_to_open(&self) -> bool {
        false
    }

    /// Whether the operation could wait for ever: for the other end of a pipe, or for a server.
    pub(super) fn is_endless(&self) -> bool {
        match self.call.facts().waits {
            Waits::Never => false,
            Waits::OnStreams => self.file.as_ref().is_some_and(|file| !file.facts().seekable),
            Waits::OnPaths => true,
        }
    }

    /// The device that the operation's file lies on.
    pub(super) fn device(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.facts().dev)
    }

    /// Whether a worker of the kernel that performs this would copy, and keep a core busy, for as long as it runs. A read of
    /// a pipe waits instead, so it does not count as a copy and holds up no copies.
    pub(super) fn is_heavy(&self) -> bool {
        matches!(self.call, Call::Read { .. } | Call::ReadVectored { .. })
            && self.file.as_ref().is_some_and(|file| file.facts().regular && !file.facts().direct)
    }
}

const NONE: u32 = u32::MAX;
/// Keeps the top bit of a key clear.
const GENERATION_MASK: u32 = 0x7fff_ffff;

/// All slots of a ring. It grows as needed and never shrinks: it holds those that wait as well as those in flight.
#[derive(Debug)]
pub(super) struct Slots {
    hot: Vec<Hot>,
    cold: Vec<Cold>,
    free: u32,
}

impl Slots {
    pub(super) const fn new() -> Self {
        Self { hot: Vec::new(), cold: Vec::new(), free: NONE }
    }

    /// Takes a free slot for an operation whose call the caller pushes at once.
    #[inline(always)]
    pub(super) fn insert(&mut self, kind: CallKind, sink: Sink, flags: u16, lane: u16, class: Priority) -> u32 {
        if self.free == NONE {
            self.grow();
        }
        let index = self.free;
        let hot = &mut self.hot[index as usize];
        self.free = hot.number;
        let (sink, number, token) = match sink {
            Sink::Future => (SinkKind::Future, 0, 0),
            Sink::Port { port, token } => (SinkKind::Port, port, token),
            Sink::Chain(chain) => (SinkKind::Chain, chain, 0),
            Sink::Nobody => (SinkKind::Nobody, 0, 0),
        };
        let generation = hot.generation;
        *hot = Hot {
            token,
            generation,
            number,
            flags,
            lane,
            place: Place::Main,
            sink,
            class,
            kind,
            in_flight_then: 0,
            weight: 1,
            attempts: 0,
        };
        index
    }

    /// Takes a free slot for an operation of any shape.
    pub(super) fn insert_long(&mut self, prepared: Prepared, sink: Sink) -> u32 {
        let Prepared { call, expect, more, payload, file, other, cursor, class, .. } = prepared;
        let class = class.unwrap_or_else(|| file.as_ref().map_or(Priority::Normal, |file| file.priority()));
        let endless = file.as_ref().is_some_and(|file| !file.facts().seekable) && call.is_transfer();
        let flags =
            flag::OWNS | flag::LONG | if cursor { flag::CURSOR } else { 0 } | if endless { flag::ENDLESS } else { 0 };
        let index = self.insert(call.kind(), sink, flags, NO_LANE, class);
        self.hot[index as usize].place = Place::Waiting;
        // A free slot owns nothing, so this drops nothing.
        self.cold[index as usize] = Cold { call, expect, more, payload, file, other, ..Cold::EMPTY };
        index
    }

    #[cold]
    fn grow(&mut self) {
        let index = self.hot.len() as u32;
        assert!(index < NONE, "four thousand million operations wait on one ring");
        self.hot.push(Hot {
            token: 0,
            generation: 0,
            number: self.free,
            flags: 0,
            lane: NO_LANE,
            place: Place::Free,
            sink: SinkKind::Nobody,
            class: Priority::Normal,
            kind: CallKind::Nop,
            in_flight_then: 0,
            weight: 1,
            attempts: 0,
        });
        self.cold.push(Cold::EMPTY);
        self.free = index;
    }

    #[inline]
    pub(super) fn key(&self, index: u32) -> Key {
        u64::from(self.hot[index as usize].generation) << 32 | u64::from(index)
    }

    /// The slot that a key names, if its tenant is still there.
    #[inline]
    pub(super) fn find(&self, key: Key) -> Option<u32> {
        let index = key as u32;
        let hot = self.hot.get(index as usize)?;
        (hot.place != Place::Free && u64::from(hot.generation) == key >> 32).then_some(index)
    }

    /// The slot that the key of a completion names. A free slot is never found, because its generation has changed already.
    #[inline(always)]
    pub(super) fn tenant(&self, key: Key) -> Option<&Hot> {
        self.hot.get(key as u32 as usize).filter(|hot| u64::from(hot.generation) == key >> 32)
    }

    #[inline]
    pub(super) fn hot(&self, index: u32) -> &Hot {
        &self.hot[index as usize]
    }

    #[inline]
    pub(super) fn hot_mut(&mut self, index: u32) -> &mut Hot {
        &mut self.hot[index as usize]
    }

    #[inline]
    pub(super) fn cold(&self, index: u32) -> &Cold {
        &self.cold[index as usize]
    }

    #[inline]
    pub(super) fn cold_mut(&mut self, index: u32) -> &mut Cold {
        &mut self.cold[index as usize]
    }

    #[inline]
    pub(super) fn both_mut(&mut self, index: u32) -> (&mut Hot, &mut Cold) {
        (&mut self.hot[index as usize], &mut self.cold[index as usize])
    }

    /// Takes an operation of the long path out of its slot, which is free from now on. Its files have been let go of before.
    #[inline(always)]
    pub(super) fn remove(&mut self, index: u32) -> Done {
        let hot = &self.hot[index as usize];
        let (kind, cancelled) = (hot.kind, hot.has(flag::CANCELLED));
        let cold = &mut self.cold[index as usize];
        let payload = std::mem::replace(&mut cold.payload, Payload::NOTHING);
        debug_assert!(cold.file.is_none() && cold.waker.is_none() && cold.more.is_none());
        // The short path, which the next tenant may take, does not write these.
        (cold.moved, cold.asked, cold.position) = (0, 0, None);
        let result = cold.result;
        self.free(index);
        Done { kind, result, refused: None, payload, cancelled }
    }

    /// Frees a slot that owns nothing any more, and whose operation ends by the short path.
    #[inline(always)]
    pub(super) fn free(&mut self, index: u32) {
        let free = self.free;
        let hot = &mut self.hot[index as usize];
        hot.place = Place::Free;
        hot.generation = (hot.generation + 1) & GENERATION_MASK;
        hot.number = free;
        self.free = index;
    }

    /// The hot halves of those in use.
    pub(super) fn iter_hot_mut(&mut self) -> impl Iterator<Item = &mut Hot> {
        self.hot.iter_mut().filter(|hot| hot.place != Place::Free)
    }

    /// Those in use, by index.
    pub(super) fn iter_used(&self) -> impl Iterator<Item = (u32, &Hot, &Cold)> {
        let all = (0..).zip(self.hot.iter().zip(&self.cold));
        all.map(|(index, (hot, cold))| (index, hot, cold)).filter(|(_, hot, _)| hot.place != Place::Free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Nop, Operation};

    #[test]
    fn a_key_outlives_its_tenant_without_naming_the_next() {
        let mut slots = Slots::new();
        let first = slots.insert_long(Nop.prepare(), Sink::Nobody);
        let key = slots.key(first);
        assert_eq!(slots.find(key), Some(first));
        let _ = slots.remove(first);
        assert_eq!(slots.find(key), None);
        let second = slots.insert_long(Nop.prepare(), Sink::Nobody);
        assert_eq!(second, first, "a free slot is used again");
        assert_eq!(slots.find(key), None);
        assert_ne!(slots.key(second), key);
        assert_eq!(slots.iter_used().count(), 1);
    }

    #[test]
    fn keys_leave_the_top_bit_to_the_backends() {
        let mut slots = Slots::new();
        let index = slots.insert_long(Nop.prepare(), Sink::Nobody);
        slots.hot_mut(index).generation = GENERATION_MASK;
        assert_eq!(slots.key(index) >> 63, 0);
        let _ = slots.remove(index);
        assert_eq!(slots.hot(index).generation, 0);
    }

    #[test]
    fn the_hot_half_is_half_a_cache_line() {
        assert_eq!(size_of::<Hot>(), 32);
    }

    #[test]
    fn a_sink_comes_back_as_it_went_in() {
        let mut slots = Slots::new();
        for sink in [Sink::Future, Sink::Port { port: 3, token: u64::MAX }, Sink::Chain(7), Sink::Nobody] {
            let index = slots.insert_long(Nop.prepare(), sink);
            assert_eq!(slots.hot(index).sink(), sink);
        }
    }
}
