//! The arithmetic of transfers: how many bytes a call asks for, how to ask for fewer, and whether a result is all of them.
#![expect(unsafe_code, reason = "reads the list of vectors of a call, as the kernel does")]

use super::rng::Rng;
use crate::sys::{Call, Descriptor, IoVec, io_vec, io_vec_base, io_vec_len, transfer_len, vectors};
#[cfg(target_os = "linux")]
use crate::{
    direct,
    sys::{Transfer, file_facts},
};

/// A short read or write with `O_DIRECT` still ends at a multiple of the device's block; no device asks for more than this.
const DIRECT_BYTES: u64 = 4096;

/// A call that asks for less than another did.
#[derive(Debug)]
pub(super) struct Shortened {
    pub(super) call: Call,
    /// What `call` points to, if it is vectored.
    _vectors: Vec<IoVec>,
}

/// The bytes that a read or write may move; `None` for every other call.
///
/// # Safety
/// The call's list of vectors, if it has one, is valid.
pub(super) unsafe fn bytes_asked(call: &Call) -> Option<u64> {
    if let Call::ReadPath { len, .. } = *call {
        return Some(u64::from(len));
    }
    // SAFETY: passed on from the caller.
    unsafe { transfer_len(call) }
}

/// Whether a call with this result did all that it was asked to, so that what is linked behind it may start. A file that
/// ends early breaks a chain like any short read (`req_set_fail` in io_uring/rw.c of the kernel). What `ReadPath` is asked for is a
/// bound, not an amount.
///
/// # Safety
/// As for [`bytes_asked`].
pub(super) unsafe fn is_complete(call: &Call, result: i32) -> bool {
    // SAFETY: passed on from the caller.
    let asked = unsafe { transfer_len(call) };
    u64::try_from(result).is_ok_and(|moved| asked.is_none_or(|asked| moved == asked))
}

/// The same call for some of its bytes, at least one and not all; `None` if it cannot be cut.
///
/// # Safety
/// As for [`bytes_asked`].
pub(super) unsafe fn shortened(call: &Call, rng: &mut Rng) -> Option<Shortened> {
    // SAFETY: passed on from the caller.
    let asked = unsafe { bytes_asked(call) }?;
    let unit = call.transfer().map_or(1, |transfer| unit_of(transfer.fd));
    // The most whole units that are less than all.
    let units = asked.saturating_sub(1) / unit;
    if units == 0 {
        return None;
    }
    let bytes = unit * (1 + rng.below(units));
    let mut cut = *call;
    let mut kept = Vec::new();
    match &mut cut {
        Call::Read { len, .. }
        | Call::Write { len, .. }
        | Call::ReadPath { len, .. }
        | Call::CopyFileRange { len, .. } => {
            *len = u32::try_from(bytes).unwrap_or(*len);
        }
        Call::ReadVectored { iov, count, .. }
        | Call::WriteVectored { iov, count, .. }
        | Call::WriteBuffered { iov, count, .. } => {
            // SAFETY: passed on from the caller.
            kept = first_bytes(unsafe { vectors(*iov, *count) }, bytes);
            *iov = kept.as_ptr();
            *count = u32::try_from(kept.len()).unwrap_or(*count);
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
        | Call::SetTimes { .. } => return None,
    }
    Some(Shortened { call: cut, _vectors: kept })
}

fn first_bytes(vectors: &[IoVec], mut bytes: u64) -> Vec<IoVec> {
    let mut first = Vec::new();
    for vector in vectors {
        let len = bytes.min(io_vec_len(vector) as u64);
        first.push(io_vec(io_vec_base(vector), len as usize));
        bytes -= len;
        if bytes == 0 {
            break;
        }
    }
    first
}

/// What the length of a read or write of this file must be a multiple of.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn unit_of(fd: Descriptor) -> u64 {
    if direct_flags(fd).is_some() { DIRECT_BYTES } else { 1 }
}

/// The flags of a file that is open for direct I/O; of any other, nothing.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn direct_flags(fd: Descriptor) -> Option<rustix::fs::OFlags> {
    if fd < 0 {
        return None;
    }
    // SAFETY: the caller of `Backend::push` keeps the descriptor open; if it did not, the flags of another file, or
    // `EBADF`, are all that can come of it. It is borrowed for this one call.
    let file = unsafe { rustix::fd::BorrowedFd::borrow_raw(fd) };
    rustix::fs::fcntl_getfl(file).ok().filter(|flags| flags.contains(rustix::fs::OFlags::DIRECT))
}

/// Whether a kernel would refuse a direct transfer because it is not aligned. Some file systems take anything, and go through
/// the page cache for it; this one does not, so that what asks for alignment is found out on any of them.
///
/// # Safety
/// As for [`bytes_asked`].
#[cfg(target_os = "linux")]
pub(super) unsafe fn is_misaligned(call: &Call) -> bool {
    let Some(Transfer { fd, .. }) = call.transfer() else { return false };
    let Some(flags) = direct_flags(fd) else { return false };
    // The rules are those of a handle that leaves them to the kernel.
    file_facts(fd, flags.bits().cast_signed()).is_ok_and(|facts| {
        let facts = facts.for_transfers(false);
        // SAFETY: passed on from the caller.
        facts.seekable && unsafe { direct::is_misaligned(call, &facts) }
    })
}

/// Elsewhere there is either no such I/O, or a kernel that refuses by itself.
///
/// # Safety
/// None is asked for.
#[cfg(not(target_os = "linux"))]
pub(super) const unsafe fn is_misaligned(_: &Call) -> bool {
    false
}

/// The other Unixes bypass the cache, if at all, without rules for lengths; Windows has rules but does not tell whether a
/// handle is under them, so there everything is.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
const fn unit_of(_: Descriptor) -> u64 {
    if cfg!(windows) { DIRECT_BYTES } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_cut_to_at_least_a_byte_and_less_than_all() {
        let mut rng = Rng::new(3);
        let mut memory = [0; 5];
        let call = Call::ReadPath { path: std::ptr::null(), buf: memory.as_mut_ptr(), len: 5 };
        let mut seen = [false; 6];
        for _ in 0..100 {
            // SAFETY: the call is not vectored.
            let cut = unsafe { shortened(&call, &mut rng) }.unwrap();
            // SAFETY: as above.
            seen[unsafe { bytes_asked(&cut.call) }.unwrap() as usize] = true;
        }
        assert_eq!(seen, [false, true, true, true, true, false]);
        let one = Call::ReadPath { path: std::ptr::null(), buf: memory.as_mut_ptr(), len: 1 };
        // SAFETY: as above.
        assert!(unsafe { shortened(&one, &mut rng) }.is_none());
    }

    #[test]
    fn vectors_are_cut_where_the_bytes_end() {
        let mut memory = [0; 10];
        let start: *mut u8 = memory.as_mut_ptr();
        let iov = [io_vec(start, 3), io_vec(start.wrapping_add(3), 0), io_vec(start.wrapping_add(3), 7)];
        let lens = |bytes| first_bytes(&iov, bytes).iter().map(|vector| io_vec_len(vector) as u64).collect::<Vec<_>>();
        assert_eq!(lens(1), [1]);
        assert_eq!(lens(3), [3]);
        assert_eq!(lens(4), [3, 0, 1]);
        assert_eq!(lens(9), [3, 0, 6]);
    }

    #[test]
    fn a_short_count_is_not_complete() {
        let read = Call::Read { fd: 0, buf: std::ptr::null_mut(), len: 8, offset: 0 };
        // SAFETY: none of the calls is vectored.
        let complete = |call: &Call, result| unsafe { is_complete(call, result) };
        assert!(complete(&read, 8) && !complete(&read, 7) && !complete(&read, 0) && !complete(&read, -5));
        assert!(complete(&Call::Nop, 0) && !complete(&Call::Nop, -125));
        assert!(complete(&Call::Open { path: std::ptr::null(), flags: 0, mode: 0, resolve: 0 }, 12));
        let path = Call::ReadPath { path: std::ptr::null(), buf: std::ptr::null_mut(), len: 8 };
        assert!(complete(&path, 3));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn with_o_direct_a_cut_ends_at_a_block() {
        use std::os::{fd::AsRawFd, unix::fs::OpenOptionsExt};

        let file = tempfile::NamedTempFile::new().unwrap();
        let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
        let direct = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(file.path()) {
            Ok(direct) => direct,
            Err(error) => return println!("skipped: no O_DIRECT in the temporary directory: {error}"),
        };
        let mut rng = Rng::new(3);
        let read = |len| Call::Read { fd: direct.as_raw_fd(), buf: std::ptr::null_mut(), len, offset: 0 };
        for _ in 0..100 {
            // SAFETY: the calls are not vectored.
            let cut = unsafe { shortened(&read(16384), &mut rng) }.unwrap();
            // SAFETY: as above.
            assert!([4096, 8192, 12288].map(Some).contains(&unsafe { bytes_asked(&cut.call) }));
            // SAFETY: as above.
            assert!(unsafe { shortened(&read(4096), &mut rng) }.is_none());
        }
    }
}
