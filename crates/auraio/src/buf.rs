//! Buffers that an operation can own.
//!
//! An operation takes its buffer by value and gives it back with its result. While the operation is in flight, the buffer
//! lies in its slot. So a program cannot free or change memory that the kernel still uses. For the same reason an operation
//! refuses borrowed memory (`&mut [u8]`), except by the `unsafe` [`BorrowedMemory::new`].
#![expect(unsafe_code, reason = "the traits promise a stable address, which only an implementer can argue")]

use std::{
    any::Any,
    mem::ManuallyDrop,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use crate::Block;

/// A buffer whose bytes can be written to a file.
///
/// # Safety
/// [`IoBuf::as_slice`] gives the same address and length until the value is used by `&mut` or dropped, even if the value
/// itself is moved.
///
/// ```
/// use auraio::IoBuf;
///
/// struct Page(Box<[u8; 4096]>);
///
/// // SAFETY: the bytes of a box stay where they are when the box is moved.
/// unsafe impl IoBuf for Page {
///     fn as_slice(&self) -> &[u8] {
///         &*self.0
///     }
/// }
/// assert_eq!(Page(Box::new([0; 4096])).slice(..512).as_slice().len(), 512);
/// ```
pub unsafe trait IoBuf: Send + 'static {
    /// The bytes of the buffer.
    ///
    /// ```
    /// use auraio::IoBuf;
    ///
    /// assert_eq!("text".as_slice(), b"text");
    /// ```
    fn as_slice(&self) -> &[u8];

    /// Turns the buffer into the form in which a slot keeps it. Only this crate calls it.
    #[doc(hidden)]
    fn into_payload(self) -> Payload
    where
        Self: Sized,
    {
        Payload::of(OwnedMemory::Any(Box::new(self)))
    }

    /// The inverse of [`IoBuf::into_payload`].
    #[doc(hidden)]
    #[must_use]
    fn from_payload(payload: Payload) -> Self
    where
        Self: Sized,
    {
        payload.take_any()
    }

    /// Takes a part of this buffer, so that an operation uses that part only.
    ///
    /// # Panics
    /// If the range is not inside the buffer.
    ///
    /// ```
    /// use auraio::IoBuf;
    ///
    /// let part = vec![1, 2, 3, 4].slice(1..3);
    /// assert_eq!(part.as_slice(), [2, 3]);
    /// assert_eq!(part.into_inner(), [1, 2, 3, 4]);
    /// ```
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self>
    where
        Self: Sized,
    {
        let len = self.as_slice().len();
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => len,
        };
        assert!(start <= end && end <= len, "{start}..{end} does not lie in a buffer of {len} bytes");
        Slice { whole: self, start, end }
    }
}

/// A buffer that can be filled from a file.
///
/// # Safety
/// As for [`IoBuf`], and [`IoBufMut::as_mut_slice`] gives the same address and length as [`IoBuf::as_slice`].
///
/// ```
/// use auraio::IoBufMut;
///
/// fn zero(buffer: &mut impl IoBufMut) {
///     buffer.as_mut_slice().fill(0);
/// }
/// let mut buffer = vec![7; 3];
/// zero(&mut buffer);
/// assert_eq!(buffer, [0; 3]);
/// ```
pub unsafe trait IoBufMut: IoBuf {
    /// The bytes of the buffer, writable.
    ///
    /// ```
    /// use auraio::{IoBuf, IoBufMut};
    ///
    /// let mut part = vec![7; 3].slice(1..);
    /// part.as_mut_slice().fill(0);
    /// assert_eq!(part.into_inner(), [7, 0, 0]);
    /// ```
    fn as_mut_slice(&mut self) -> &mut [u8];
}

/// The memory that a slot keeps for an operation: everything that the kernel may read or write until the completion.
#[doc(hidden)]
#[derive(Debug)]
pub struct Payload(ManuallyDrop<OwnedMemory>);

/// The forms of a payload. The most common buffers lie in the slot itself, so that an operation on them does not allocate.
#[derive(Debug)]
pub(crate) enum OwnedMemory {
    Nothing,
    Vec(Vec<u8>),
    Borrowed(BorrowedMemory),
    Block(Block),
    Any(Box<dyn Any + Send>),
}

impl Drop for Payload {
    /// Frees what the payload keeps. Most payloads keep nothing, or memory that somebody else owns: these cost one
    /// comparison and no call.
    #[inline(always)]
    fn drop(&mut self) {
        if !matches!(self.kept(), OwnedMemory::Nothing | OwnedMemory::Borrowed(_)) {
            self.drop_kept();
        }
    }
}

impl Payload {
    pub(crate) const NOTHING: Self = Self(ManuallyDrop::new(OwnedMemory::Nothing));

    #[inline(always)]
    pub(crate) const fn of(kept: OwnedMemory) -> Self {
        Self(ManuallyDrop::new(kept))
    }

    /// Whether the payload keeps nothing.
    pub(crate) const fn is_nothing(&self) -> bool {
        matches!(self.kept(), OwnedMemory::Nothing)
    }

    #[inline(always)]
    const fn kept(&self) -> &OwnedMemory {
        // SAFETY: a `ManuallyDrop` has the layout of what it holds; `drop` and `into_kept` are the only ones that take it.
        unsafe { &*(&raw const self.0).cast::<OwnedMemory>() }
    }

    #[cold]
    fn drop_kept(&mut self) {
        // SAFETY: called by `drop` alone, once.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }

    /// Takes out what the payload keeps.
    #[inline(always)]
    fn into_kept(self) -> OwnedMemory {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again, and its own drop does not run.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }

    pub(crate) fn any<T: Any + Send>(value: T) -> Self {
        Self::of(OwnedMemory::Any(Box::new(value)))
    }

    /// The value that [`Payload::any`] was made from.
    pub(crate) fn take_any<T: 'static>(self) -> T {
        let OwnedMemory::Any(any) = self.into_kept() else {
            unreachable!("the operation that made a payload takes it back")
        };
        match any.downcast::<T>() {
            Ok(value) => *value,
            Err(_) => unreachable!("the operation that made a payload takes it back"),
        }
    }
}

// SAFETY: a vector's bytes lie on the heap, and moving the vector does not move them.
unsafe impl IoBuf for Vec<u8> {
    fn as_slice(&self) -> &[u8] {
        self
    }

    fn into_payload(self) -> Payload {
        Payload::of(OwnedMemory::Vec(self))
    }

    fn from_payload(payload: Payload) -> Self {
        match payload.into_kept() {
            OwnedMemory::Vec(vec) => vec,
            _ => unreachable!("the operation that made a payload takes it back"),
        }
    }
}

// SAFETY: as above.
unsafe impl IoBufMut for Vec<u8> {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        self
    }
}

// SAFETY: a block's bytes lie in the pool's slabs, and moving the block does not move them.
unsafe impl IoBuf for Block {
    fn as_slice(&self) -> &[u8] {
        self
    }

    fn into_payload(self) -> Payload {
        Payload::of(OwnedMemory::Block(self))
    }

    fn from_payload(payload: Payload) -> Self {
        match payload.into_kept() {
            OwnedMemory::Block(block) => block,
            _ => unreachable!("the operation that made a payload takes it back"),
        }
    }
}

// SAFETY: as above.
unsafe impl IoBufMut for Block {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        self
    }
}

// SAFETY: a boxed slice's bytes lie on the heap, and moving the box does not move them.
unsafe impl IoBuf for Box<[u8]> {
    fn as_slice(&self) -> &[u8] {
        self
    }
}

// SAFETY: as above.
unsafe impl IoBufMut for Box<[u8]> {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        self
    }
}

// SAFETY: shared bytes never move, and nobody can write to them while they are shared. So there is no `IoBufMut` for them.
unsafe impl IoBuf for Arc<[u8]> {
    fn as_slice(&self) -> &[u8] {
        self
    }
}

// SAFETY: static bytes never move.
unsafe impl IoBuf for &'static [u8] {
    fn as_slice(&self) -> &[u8] {
        self
    }
}

// SAFETY: static bytes never move.
unsafe impl IoBuf for &'static str {
    fn as_slice(&self) -> &[u8] {
        self.as_bytes()
    }
}

// SAFETY: a string's bytes lie on the heap, and moving the string does not move them.
unsafe impl IoBuf for String {
    fn as_slice(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// A part of a buffer, made by [`IoBuf::slice`].
///
/// ```
/// use auraio::{IoBuf, op};
///
/// # let engine = auraio::Engine::builder().build()?;
/// let part = vec![0; 16].slice(4..13);
/// let (read, part) = engine.block_on(engine.submit(op::ReadPath::new("Cargo.toml", part)));
/// assert_eq!((read?, &part.into_inner()[4..13]), (9, b"[package]".as_slice()));
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct Slice<B> {
    whole: B,
    start: usize,
    end: usize,
}

impl<B> Slice<B> {
    /// The whole buffer.
    ///
    /// ```
    /// use auraio::IoBuf;
    ///
    /// assert_eq!(vec![7; 3].slice(..2).into_inner(), [7, 7, 7]);
    /// ```
    pub fn into_inner(self) -> B {
        self.whole
    }
}

// SAFETY: the whole has a stable address and length, and the bounds of the part never change.
unsafe impl<B: IoBuf> IoBuf for Slice<B> {
    fn as_slice(&self) -> &[u8] {
        &self.whole.as_slice()[self.start..self.end]
    }
}

// SAFETY: as above.
unsafe impl<B: IoBufMut> IoBufMut for Slice<B> {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.whole.as_mut_slice()[self.start..self.end]
    }
}

/// Memory that the caller keeps alive, such as a JavaScript `ArrayBuffer` or a mapping.
///
/// ```
/// use auraio::{BorrowedMemory, IoBuf};
///
/// let mut memory = [0u8; 16];
/// // SAFETY: `memory` outlives `borrowed`, and nothing else uses it in between.
/// let borrowed = unsafe { BorrowedMemory::new(memory.as_mut_ptr(), memory.len()) };
/// assert_eq!(borrowed.as_slice().len(), 16);
/// ```
#[derive(Debug)]
pub struct BorrowedMemory {
    address: *mut u8,
    len: usize,
}

impl BorrowedMemory {
    /// Borrows the memory at an address.
    ///
    /// # Safety
    /// From now until this value is dropped or given back by its operation, `len` bytes from `address` on stay mapped, and
    /// nobody writes to them. If an operation reads into them, nobody reads them either.
    ///
    /// ```
    /// use auraio::{BorrowedMemory, Engine};
    ///
    /// let mut memory = [0u8; 9];
    /// let engine = Engine::builder().build()?;
    /// // SAFETY: `memory` outlives the operation, which is awaited, and nothing else uses it until then.
    /// let borrowed = unsafe { BorrowedMemory::new(memory.as_mut_ptr(), memory.len()) };
    /// engine.block_on(engine.read_path("Cargo.toml", borrowed)).0?;
    /// assert_eq!(&memory, b"[package]");
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const unsafe fn new(address: *mut u8, len: usize) -> Self {
        Self { address, len }
    }
}

// SAFETY: by the contract of `new`, nobody else uses the memory meanwhile, on any thread.
unsafe impl Send for BorrowedMemory {}

// SAFETY: the address and length of the value never change.
unsafe impl IoBuf for BorrowedMemory {
    fn as_slice(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: by the contract of `new`, `len` bytes are mapped, and nobody writes to them meanwhile.
        unsafe { std::slice::from_raw_parts(self.address, self.len) }
    }

    fn into_payload(self) -> Payload {
        Payload::of(OwnedMemory::Borrowed(self))
    }

    fn from_payload(payload: Payload) -> Self {
        match payload.into_kept() {
            OwnedMemory::Borrowed(memory) => memory,
            _ => unreachable!("the operation that made a payload takes it back"),
        }
    }
}

// SAFETY: as above.
unsafe impl IoBufMut for BorrowedMemory {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: by the contract of `new`, `len` bytes are mapped, and nobody else uses them meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.len) }
    }
}
