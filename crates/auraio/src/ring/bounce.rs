//! Transfers on a direct file that are not aligned, made of transfers that are.
//!
//! A file that was opened for direct I/O of any alignment gives the same results as any file. A read reads the whole units
//! around the wanted bytes into an aligned block, and copies the wanted bytes out. A write whose address alone is not
//! aligned is copied to a block and written from there. If a write changes only a part of a block of the file system, that
//! part goes through the page cache ([`Call::WriteBuffered`]). There the kernel reads and changes the block under the lock
//! of the inode, so nobody else's bytes are lost, and the file ends where the write ends.
//!
//! The parts of a transfer are performed one after the other. Until a part completes, the bounce keeps the block or the
//! vectors that its call points to. The bounce lies in the slot, like everything that the kernel can touch. A part that is
//! short or fails ends the transfer; the result is what the parts before it moved.
#![expect(unsafe_code, reason = "copies between a block and the memory that an operation's calls name")]

use std::ptr;

use super::{
    State,
    effects::Effects,
    slots::{Cold, Place, flag},
};
use crate::{
    Block, DirectAlignment, Pool,
    direct::{is_misaligned, is_plainly_aligned},
    file::FileInner,
    op::{Later, More},
    sys::{
        BYTES_MAX, BufferedTwin, CURRENT_POSITION, Call, Descriptor, IoVec, VECTORS_MAX, errno, io_vec, io_vec_base,
        io_vec_len, transfer_len, vectors,
    },
};

/// The most bytes that one call moves by way of a block. It bounds the memory of a transfer, and is a multiple of every
/// unit.
const PART_MAX: u64 = 1 << 20;

/// If a write has at least this many bytes of whole blocks in its middle, they go past the page cache by calls of their own.
/// With fewer, the whole write is one call through the page cache.
const WHOLE_MIN: u64 = 64 << 10;

/// At a position beyond this, the end of the last unit would be no valid position.
const POSITION_MAX: u64 = i64::MAX as u64 - PART_MAX;

/// A transfer that is made of several parts.
#[derive(Debug)]
pub(crate) struct Bounce {
    kind: Kind,
    fd: Descriptor,
    twin: *const BufferedTwin,
    alignment: DirectAlignment,
    pool: Pool,
    /// The position where the rest begins. For [`Kind::Append`] it is the position that the caller gave.
    offset: u64,
    left: u64,
    /// The caller's memory for the rest.
    memory: Memory,
    part: Part,
    /// The block. It is taken from the pool when it is first needed.
    block: Option<Block>,
    /// The vectors of a call through the page cache.
    vectors: Vec<IoVec>,
}

// SAFETY: the addresses are those of memory that the slot keeps: of its payload, and of its file. They are followed by who
// holds the ring's lock, and by the kernel.
unsafe impl Send for Bounce {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// A write in one piece to the end of the file, wherever the kernel finds that.
    Append,
}

/// What the present call does for the transfer.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// It reads into the block: first `before` bytes in front of the wanted ones, then the `wanted` bytes.
    Around { before: u64, wanted: u64 },
    /// It moves `wanted` bytes of the caller's memory.
    Plain { wanted: u64 },
}

impl Bounce {
    /// The transfer that a slot's calls make.
    ///
    /// # Safety
    /// The addresses in the calls are valid, and so is what their vectors name, until the bounce is dropped.
    unsafe fn new(call: &Call, more: Option<Later>, file: &FileInner) -> Option<Self> {
        let (offset, writes) = match *call {
            Call::Read { offset, .. } | Call::ReadVectored { offset, .. } => (offset, false),
            Call::Write { offset, .. } | Call::WriteVectored { offset, .. } => (offset, true),
            _ => return None,
        };
        let mut memory = Memory::default();
        // SAFETY: the caller's promise.
        unsafe { memory.add(call) };
        if let Some(More::Calls(calls)) = more.map(|more| *more) {
            for (call, _) in &calls {
                // SAFETY: the caller's promise.
                unsafe { memory.add(call) };
            }
        }
        Some(Self {
            kind: match writes {
                false => Kind::Read,
                true if file.facts().append => Kind::Append,
                true => Kind::Write,
            },
            fd: file.descriptor(),
            twin: file.twin(),
            alignment: file.facts().alignment,
            pool: file.pool(),
            offset,
            left: memory.len(),
            memory,
            part: Part::Plain { wanted: 0 },
            block: None,
            vectors: Vec::new(),
        })
    }

    /// Takes the result of a part. Answers how many of the caller's bytes it moved, or its negated errno, and the next part.
    pub(super) fn settle(&mut self, result: i32) -> (i32, Option<(Call, u64)>) {
        let Ok(moved) = u64::try_from(result) else { return (result, None) };
        let (moved, wanted) = match self.part {
            Part::Plain { wanted } => (moved, wanted),
            Part::Around { before, wanted } => {
                let moved = moved.saturating_sub(before).min(wanted);
                if let Some(block) = &self.block {
                    self.memory.copy_from(&block[before as usize..][..moved as usize]);
                }
                (moved, wanted)
            }
        };
        self.memory.advance(moved);
        self.left -= moved;
        if self.offset != CURRENT_POSITION {
            self.offset += moved;
        }
        // If the next part cannot begin, the transfer ends short. The caller's next transfer, for the rest, gets the error.
        let next = (moved == wanted && self.left > 0).then(|| self.next().ok()).flatten();
        (moved as i32, next)
    }

    /// The next call, and the bytes that it moves if it moves all.
    fn next(&mut self) -> Result<(Call, u64), i32> {
        match self.kind {
            Kind::Read => self.next_read(),
            Kind::Write => self.next_write(),
            Kind::Append => Ok(self.buffered(self.left)),
        }
    }

    fn next_read(&mut self) -> Result<(Call, u64), i32> {
        let unit = u64::from(self.alignment.offset);
        let before = self.offset % unit;
        // If the rest is larger than a block and aligned, it goes straight to the caller's memory. If it is smaller, one
        // call with a copy is cheaper than two calls.
        if before == 0
            && let Some((address, len)) = self.straight(self.left, unit).filter(|(_, len)| *len >= PART_MAX)
        {
            self.part = Part::Plain { wanted: len };
            return Ok((Call::Read { fd: self.fd, buf: address, len: len as u32, offset: self.offset }, len));
        }
        let block = self.block((before + self.left).next_multiple_of(unit), unit)?;
        let (buf, room) = (block.as_mut_ptr(), block.len() as u64);
        let wanted = self.left.min(room.min(PART_MAX) / unit * unit - before);
        let len = (before + wanted).next_multiple_of(unit);
        self.part = Part::Around { before, wanted };
        Ok((Call::Read { fd: self.fd, buf, len: len as u32, offset: self.offset - before }, len))
    }

    fn next_write(&mut self) -> Result<(Call, u64), i32> {
        let unit = u64::from(self.alignment.write_offset);
        let head = self.offset.next_multiple_of(unit) - self.offset;
        let whole = self.left.saturating_sub(head) / unit * unit;
        if whole < self.left && whole < WHOLE_MIN {
            return Ok(self.buffered(self.left));
        }
        if head > 0 {
            return Ok(self.buffered(head));
        }
        let straight = self.straight(whole, unit).filter(|(_, len)| *len >= whole.min(PART_MAX));
        let (buf, len) = match straight {
            Some(found) => found,
            None => {
                let room = self.block(whole, unit)?.len() as u64;
                let len = whole.min(room.min(PART_MAX) / unit * unit);
                let Some(block) = &mut self.block else { return Err(errno::ENOMEM) };
                self.memory.copy_to(&mut block[..len as usize]);
                (block.as_mut_ptr(), len)
            }
        };
        self.part = Part::Plain { wanted: len };
        Ok((Call::Write { fd: self.fd, buf, len: len as u32, offset: self.offset }, len))
    }

    /// A call that moves the next bytes through the page cache: `bytes` of them, or as many as one call can.
    fn buffered(&mut self, bytes: u64) -> (Call, u64) {
        self.vectors.clear();
        let mut wanted = 0;
        for (address, len) in self.memory.first(bytes.min(BYTES_MAX.into())).take(VECTORS_MAX as usize) {
            self.vectors.push(io_vec(address, len));
            wanted += len as u64;
        }
        self.part = Part::Plain { wanted };
        let (iov, count) = (self.vectors.as_ptr(), self.vectors.len() as u32);
        (Call::WriteBuffered { twin: self.twin, iov, count, offset: self.offset }, wanted)
    }

    /// The whole units at the front of the caller's memory, if they are aligned for the device: at most `bytes`.
    fn straight(&self, bytes: u64, unit: u64) -> Option<(*mut u8, u64)> {
        let (address, len) = self.memory.first(bytes.min(BYTES_MAX.into())).next()?;
        let aligned = address.addr() & (self.alignment.memory as usize - 1) == 0;
        aligned.then_some((address, len as u64 / unit * unit))
    }

    /// The block. It has room for `bytes` if the pool has such a block, and for at least one unit.
    fn block(&mut self, bytes: u64, unit: u64) -> Result<&mut Block, i32> {
        let mut bytes = bytes.min(PART_MAX);
        let alignment = (self.alignment.memory as usize).max(4096);
        while self.block.is_none() {
            match self.pool.acquire_aligned(bytes as usize, alignment) {
                Ok(block) => self.block = Some(block),
                Err(_) if bytes > unit => bytes = (bytes / 2).next_multiple_of(unit).min(bytes - unit),
                Err(_) => return Err(errno::ENOMEM),
            }
        }
        self.block.as_mut().ok_or(errno::ENOMEM)
    }
}

/// The rest of the caller's memory, in order.
#[derive(Debug, Default)]
struct Memory {
    vectors: Vec<IoVec>,
    /// The index of the first vector that is left. `start` is how much of it is used already.
    at: usize,
    gone: usize,
}

impl Memory {
    /// Adds the memory of a call.
    ///
    /// # Safety
    /// The vectors of a vectored call can be read.
    unsafe fn add(&mut self, call: &Call) {
        match *call {
            Call::Read { buf, len, .. } => self.vectors.push(io_vec(buf, len as usize)),
            Call::Write { buf, len, .. } => self.vectors.push(io_vec(buf.cast_mut(), len as usize)),
            Call::ReadVectored { iov, count, .. } | Call::WriteVectored { iov, count, .. } => {
                // SAFETY: the caller's promise.
                self.vectors.extend_from_slice(unsafe { vectors(iov, count) });
            }
            _ => {}
        }
    }

    fn len(&self) -> u64 {
        self.first(u64::MAX).map(|(_, len)| len as u64).sum()
    }

    /// The next `bytes` of the memory, or all that is left if that is less.
    fn first(&self, mut bytes: u64) -> impl Iterator<Item = (*mut u8, usize)> {
        let mut gone = self.gone;
        self.vectors[self.at..].iter().map_while(move |vector| {
            let start = std::mem::take(&mut gone);
            let len = (io_vec_len(vector) - start).min(usize::try_from(bytes).unwrap_or(usize::MAX));
            bytes -= len as u64;
            // No vector of an operation is empty, so an empty part means that all bytes have been given.
            (len > 0).then(|| (io_vec_base(vector).wrapping_add(start), len))
        })
    }

    fn advance(&mut self, bytes: u64) {
        self.gone += bytes as usize;
        while let Some(vector) = self.vectors.get(self.at)
            && self.gone >= io_vec_len(vector)
        {
            self.gone -= io_vec_len(vector);
            self.at += 1;
        }
    }

    /// Copies bytes to the front of the memory.
    fn copy_from(&self, mut from: &[u8]) {
        for (address, len) in self.first(from.len() as u64) {
            let (part, rest) = from.split_at(len);
            // SAFETY: a read may write to all the memory that its operation names, which the slot keeps; the block is
            // memory of its own.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), address, len) };
            from = rest;
        }
    }

    /// Copies bytes from the front of the memory.
    fn copy_to(&self, mut to: &mut [u8]) {
        for (address, len) in self.first(to.len() as u64) {
            let (part, rest) = to.split_at_mut(len);
            // SAFETY: a write may read all the memory that its operation names, which the slot keeps; the block is memory
            // of its own.
            unsafe { ptr::copy_nonoverlapping(address.cast_const(), part.as_mut_ptr(), len) };
            to = rest;
        }
    }
}

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
            _ => 0,
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

#[cfg(test)]
mod tests;
