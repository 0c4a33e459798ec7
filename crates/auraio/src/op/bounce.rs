//! Transfers on a direct file that are not aligned, made of transfers that are.
//!
//! A file that was opened for direct I/O of any alignment gives what any file gives. A read takes in whole units around what
//! was asked for, into an aligned block, and copies out what was asked for. A write that is only at the wrong address is
//! copied to a block and written from there. What a write changes of a block of the file system without filling it goes
//! through the page cache, where the kernel reads, changes and keeps the block under the lock of the inode, so that nobody
//! else's bytes are lost, and the file ends where the write ends ([`Call::WriteBuffered`]).
//!
//! The parts of one transfer follow each other, and each has the block (or the vectors) that its call names until its
//! completion: a bounce lies in its slot like everything else that the kernel can touch. A part that comes up short ends the
//! transfer, and so does one that fails; what the parts before it moved is the result.
#![expect(unsafe_code, reason = "copies between a block and the memory that an operation's calls name")]

use std::ptr;

use super::{Later, More};
use crate::{
    Block, DirectAlignment, Pool,
    file::FileInner,
    sys::{
        BYTES_MAX, BufferedTwin, CURRENT_POSITION, Call, Descriptor, IoVec, Transfer, TransferMemory, VECTORS_MAX,
        errno, io_vec, io_vec_base, io_vec_len, vectors,
    },
};

/// The most that one call moves by way of a block, which bounds the memory of a transfer. A multiple of every unit.
const PART_MAX: u64 = 1 << 20;

/// Whole blocks in the middle of a write that are worth calls of their own past the page cache. With fewer, the write is one
/// call through it.
const WHOLE_MIN: u64 = 64 << 10;

/// Past this, the end of the last unit is not a position.
pub(crate) const POSITION_MAX: u64 = i64::MAX as u64 - PART_MAX;

/// A transfer that is made in parts.
#[derive(Debug)]
pub(crate) struct Bounce {
    kind: Kind,
    fd: Descriptor,
    twin: *const BufferedTwin,
    alignment: DirectAlignment,
    pool: Pool,
    /// Where the rest begins; for [`Kind::Append`] whatever was asked for.
    offset: u64,
    left: u64,
    /// The caller's, for the rest.
    memory: Memory,
    part: Part,
    /// Taken when it is first needed.
    block: Option<Block>,
    /// What a call through the page cache names.
    vectors: Vec<IoVec>,
}

// SAFETY: the addresses are those of memory that the slot keeps: of its payload, and of its file. They are followed by who
// holds the ring's lock, and by the kernel.
unsafe impl Send for Bounce {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// To the end of the file, wherever the kernel finds that, in one piece.
    Append,
}

/// What the call under way means for the transfer.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// It reads into the block: so many bytes before what was asked for, then so many that were.
    Around { before: u64, wanted: u64 },
    /// It moves so many of the caller's bytes.
    Plain { wanted: u64 },
}

impl Bounce {
    /// The transfer that a slot's calls make.
    ///
    /// # Safety
    /// The addresses in the calls are valid, and so is what their vectors name, until the bounce is dropped.
    pub(crate) unsafe fn new(call: &Call, more: Option<Later>, file: &FileInner) -> Option<Self> {
        let Transfer { offset, writes, .. } = call.transfer()?;
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

    /// A part is done: what it moved of the caller's bytes, or its negated errno, and the next.
    pub(crate) fn settle(&mut self, result: i32) -> (i32, Option<(Call, u64)>) {
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
        // What a part that cannot be begun would have moved, the next transfer asks for, and is told why.
        let next = (moved == wanted && self.left > 0).then(|| self.next().ok()).flatten();
        (moved as i32, next)
    }

    /// The next call, and how many bytes it moves when it moves all.
    pub(crate) fn next(&mut self) -> Result<(Call, u64), i32> {
        match self.kind {
            Kind::Read => self.next_read(),
            Kind::Write => self.next_write(),
            Kind::Append => Ok(self.buffered(self.left)),
        }
    }

    fn next_read(&mut self) -> Result<(Call, u64), i32> {
        let unit = u64::from(self.alignment.offset);
        let before = self.offset % unit;
        // What would take several blocks, and lies right, takes none. Less is one call, with a copy, instead of two.
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

    /// The next bytes through the page cache: so many, or as many as one call can.
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

    /// The whole units at the front of the caller's memory that lie right for the device, up to so many bytes.
    fn straight(&self, bytes: u64, unit: u64) -> Option<(*mut u8, u64)> {
        let (address, len) = self.memory.first(bytes.min(BYTES_MAX.into())).next()?;
        let aligned = address.addr() & (self.alignment.memory as usize - 1) == 0;
        aligned.then_some((address, len as u64 / unit * unit))
    }

    /// The block, for so many bytes if they are to be had, but at least for one unit.
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

/// The caller's memory: what is left of it, in order.
#[derive(Debug, Default)]
struct Memory {
    vectors: Vec<IoVec>,
    /// The first that is left, and how much of it is gone.
    at: usize,
    gone: usize,
}

impl Memory {
    /// Adds what a transfer names.
    ///
    /// # Safety
    /// The vectors of a vectored call can be read.
    unsafe fn add(&mut self, call: &Call) {
        match call.transfer().map(|transfer| transfer.memory) {
            Some(TransferMemory::One { start, len }) => self.vectors.push(io_vec(start, len as usize)),
            // SAFETY: the caller's promise.
            Some(TransferMemory::Many { iov, count }) => self.vectors.extend_from_slice(unsafe { vectors(iov, count) }),
            None => {}
        }
    }

    fn len(&self) -> u64 {
        self.first(u64::MAX).map(|(_, len)| len as u64).sum()
    }

    /// The first bytes that are left, as far as there are so many.
    fn first(&self, mut bytes: u64) -> impl Iterator<Item = (*mut u8, usize)> {
        let mut gone = self.gone;
        self.vectors[self.at..].iter().map_while(move |vector| {
            let start = std::mem::take(&mut gone);
            let len = (io_vec_len(vector) - start).min(usize::try_from(bytes).unwrap_or(usize::MAX));
            bytes -= len as u64;
            // Of the vectors of an operation none is empty, so this one is the first behind the end.
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

    /// Writes bytes to the front.
    fn copy_from(&self, mut from: &[u8]) {
        for (address, len) in self.first(from.len() as u64) {
            let (part, rest) = from.split_at(len);
            // SAFETY: a read may write to all the memory that its operation names, which the slot keeps; the block is
            // memory of its own.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), address, len) };
            from = rest;
        }
    }

    /// Reads bytes from the front.
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

#[cfg(test)]
mod tests;
