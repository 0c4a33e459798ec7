//! The vectors of a vectored read or write, and how many bytes a transfer asks for.
#![expect(unsafe_code, reason = "the vectors of a call are behind an address")]

use super::Call;

/// One piece of memory of a vectored call, laid out as the kernel reads it.
#[cfg(unix)]
pub(crate) type IoVec = libc::iovec;

/// One piece of memory of a vectored call. Windows has no such call for cached files; [`perform`](super::perform) walks
/// the vectors itself.
#[cfg(windows)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct IoVec {
    iov_base: *mut u8,
    iov_len: usize,
}

/// A vector of `len` bytes at `ptr`. Making it reads and writes nothing; a call that uses it does.
pub(crate) const fn io_vec(ptr: *mut u8, len: usize) -> IoVec {
    IoVec { iov_base: ptr.cast(), iov_len: len }
}

/// The first address of the piece.
pub(crate) const fn io_vec_base(vec: &IoVec) -> *mut u8 {
    vec.iov_base.cast()
}

/// How many bytes the piece has.
pub(crate) const fn io_vec_len(vec: &IoVec) -> usize {
    vec.iov_len
}

/// The bytes that a call has to move: if it moves fewer, it came up short. `None` for a call that moves no bytes, and for
/// [`Call::ReadPath`], whose length is only a bound.
///
/// # Safety
/// The vectors of a vectored call can be read.
pub(crate) unsafe fn transfer_len(call: &Call) -> Option<u64> {
    match *call {
        Call::Read { len, .. } | Call::Write { len, .. } | Call::CopyFileRange { len, .. } => Some(u64::from(len)),
        Call::ReadVectored { iov, count, .. }
        | Call::WriteVectored { iov, count, .. }
        | Call::WriteBuffered { iov, count, .. } => {
            // SAFETY: the caller keeps the vectors of this call readable.
            let vectors = unsafe { vectors(iov, count) };
            Some(vectors.iter().map(|vec| io_vec_len(vec) as u64).fold(0, u64::saturating_add))
        }
        Call::Nop
        | Call::Sync { .. }
        | Call::SyncRange { .. }
        | Call::Open { .. }
        | Call::Close { .. }
        | Call::Stat { .. }
        | Call::Allocate { .. }
        | Call::Truncate { .. }
        | Call::Advise { .. }
        | Call::Rename { .. }
        | Call::RemoveFile { .. }
        | Call::RemoveDir { .. }
        | Call::CreateDir { .. }
        | Call::HardLink { .. }
        | Call::Symlink { .. }
        | Call::SetMode { .. }
        | Call::SetOwner { .. }
        | Call::SetTimes { .. }
        | Call::ReadPath { .. } => None,
    }
}

/// The vectors of a call as a slice.
///
/// # Safety
/// `count` vectors at `iov` can be read for as long as the slice is used. `iov` may be null when `count` is 0.
pub(crate) unsafe fn vectors<'a>(iov: *const IoVec, count: u32) -> &'a [IoVec] {
    if count == 0 {
        return &[];
    }
    // SAFETY: the caller promises that there are `count` vectors.
    unsafe { std::slice::from_raw_parts(iov, count as usize) }
}

/// The offset of a read or write, `None` for any other call.
#[cfg(unix)]
pub(crate) const fn transfer_offset(call: &Call) -> Option<u64> {
    match call.transfer() {
        Some(transfer) => Some(transfer.offset),
        None => None,
    }
}
