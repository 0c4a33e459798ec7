//! The oracle for memory: nobody touches what an operation in flight reads or writes.
//!
//! A real kernel writes to a buffer at a moment of its own choosing. If the buffer was given back too early, it then belongs to
//! somebody else, whose bytes are overwritten, and no test sees why. The simulator fills the target of a read with noise when
//! the operation starts. Just before it makes the real call it looks at the noise: if it has changed, somebody used the
//! memory. Of the source of a write it keeps a hash. Afterwards it puts the old bytes back, so that a buffer ends with them
//! wherever the call itself writes nothing.
#![expect(unsafe_code, reason = "stands in for the kernel, which follows the addresses of the calls it was given")]

use std::{
    fmt,
    hash::{DefaultHasher, Hasher},
    mem::MaybeUninit,
    ptr, slice,
};

use crate::sys::{Call, IoVec, RawStat, io_vec_base, io_vec_len, vectors};

/// Of longer memory only so many bytes at each end are watched: reuse nearly always touches an end, and a simulated disk
/// should not spend its time on noise.
const EDGE_BYTES: usize = 16 << 10;

/// A stretch of memory that a call names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: *mut u8,
    len: usize,
}

/// What was found where memory of an operation in flight should have been as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// Somebody wrote to the target of a read.
    TargetTouched,
    /// Somebody wrote to the source of a write.
    SourceChanged,
    /// Somebody wrote to the list of vectors.
    VectorsChanged,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TargetTouched => f.write_str("its target was written to by somebody else"),
            Self::SourceChanged => f.write_str("its source was written to by somebody else"),
            Self::VectorsChanged => f.write_str("its list of vectors was written to by somebody else"),
        }
    }
}

/// What memory looked like when an operation started.
#[derive(Debug)]
pub(super) struct Watch {
    /// By address, to be compared with, never followed: the call is what gives the right to follow.
    spans: Vec<(usize, usize)>,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    /// The noise and the bytes that it covers. They may never have been written, so they are only ever copied.
    Target(u64, Vec<Vec<MaybeUninit<u8>>>),
    Source(u64),
}

impl Watch {
    /// Starts to watch the memory of a call; `None` if there is none to watch.
    ///
    /// # Safety
    /// The addresses in the call are valid as [`Backend::push`](crate::backend::Backend::push) asks, and stay so until
    /// [`Watch::end`].
    pub(super) unsafe fn begin(call: &Call, noise: u64) -> Option<Self> {
        // SAFETY: passed on from the caller.
        let (whole, role) = unsafe { memory_of(call) };
        // One call may name the same memory twice (`readv` of the same buffer): its own noise would look like a stranger's.
        if whole.iter().all(|span| span.len == 0) || overlap(&whole) {
            return None;
        }
        let edges = edges(&whole);
        let kept = match role {
            // SAFETY: passed on from the caller: what a write reads is valid, and was written before.
            Role::Source => Kept::Source(unsafe { hashed(&edges) }),
            Role::Target => {
                // SAFETY: passed on from the caller: what a read writes to is valid and nobody else's.
                Kept::Target(noise, edges.iter().map(|span| unsafe { replace(*span, noise) }).collect())
            }
        };
        Some(Self { spans: addresses(&whole), kept })
    }

    /// Checks that the memory is as [`Watch::begin`] left it, and puts back what was there before.
    ///
    /// # Safety
    /// As for `begin`, with the same call.
    pub(super) unsafe fn end(self, call: &Call) -> Result<(), Violation> {
        // SAFETY: passed on from the caller.
        let (whole, _) = unsafe { memory_of(call) };
        if addresses(&whole) != self.spans {
            return Err(Violation::VectorsChanged);
        }
        let edges = edges(&whole);
        match self.kept {
            Kept::Source(before) => {
                // SAFETY: passed on from the caller, as in `begin`.
                let now = unsafe { hashed(&edges) };
                if now == before { Ok(()) } else { Err(Violation::SourceChanged) }
            }
            Kept::Target(noise, old) => {
                for (span, old) in edges.iter().zip(old) {
                    // SAFETY: passed on from the caller; `begin` wrote to every byte of it.
                    let bytes = unsafe { slice::from_raw_parts(span.start, span.len) };
                    if !bytes.iter().enumerate().all(|(at, byte)| *byte == noise_at(noise, at)) {
                        return Err(Violation::TargetTouched);
                    }
                    // SAFETY: passed on from the caller; `old` is as long as the span and memory of our own.
                    unsafe { ptr::copy_nonoverlapping(old.as_ptr(), span.start.cast(), span.len) };
                }
                Ok(())
            }
        }
    }
}

enum Role {
    Source,
    Target,
}

/// Every stretch of memory that the kernel reads or writes for this call, but for paths and for the list of vectors.
///
/// # Safety
/// The call's list of vectors, if it has one, is valid.
unsafe fn memory_of(call: &Call) -> (Vec<Span>, Role) {
    let one = |start: *mut u8, len: u32| vec![Span { start, len: len as usize }];
    match *call {
        Call::Read { buf, len, .. } | Call::ReadPath { buf, len, .. } => (one(buf, len), Role::Target),
        Call::Write { buf, len, .. } => (one(buf.cast_mut(), len), Role::Source),
        // SAFETY: passed on from the caller.
        Call::ReadVectored { iov, count, .. } => (unsafe { spans(iov, count) }, Role::Target),
        Call::WriteVectored { iov, count, .. } | Call::WriteBuffered { iov, count, .. } => {
            // SAFETY: passed on from the caller.
            (unsafe { spans(iov, count) }, Role::Source)
        }
        Call::Stat { out, .. } => (vec![Span { start: out.cast(), len: size_of::<RawStat>() }], Role::Target),
        _ => (Vec::new(), Role::Source),
    }
}

/// # Safety
/// `iov` points to so many vectors.
unsafe fn spans(iov: *const IoVec, count: u32) -> Vec<Span> {
    // SAFETY: passed on from the caller.
    let vectors = unsafe { vectors(iov, count) };
    vectors.iter().map(|vector| Span { start: io_vec_base(vector), len: io_vec_len(vector) }).collect()
}

/// Both ends of what is long, all of what is not.
fn edges(whole: &[Span]) -> Vec<Span> {
    let ends = |span: &Span| {
        let first = span.len.min(EDGE_BYTES);
        let last = (span.len - first).min(EDGE_BYTES);
        [Span { len: first, ..*span }, Span { start: span.start.wrapping_add(span.len - last), len: last }]
    };
    whole.iter().flat_map(ends).filter(|span| span.len > 0).collect()
}

fn addresses(spans: &[Span]) -> Vec<(usize, usize)> {
    spans.iter().map(|span| (span.start.addr(), span.len)).collect()
}

fn overlap(spans: &[Span]) -> bool {
    let mut sorted = addresses(spans);
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0)
}

/// # Safety
/// The spans are valid and were written before.
unsafe fn hashed(spans: &[Span]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for span in spans {
        // SAFETY: passed on from the caller.
        hasher.write(unsafe { slice::from_raw_parts(span.start, span.len) });
    }
    hasher.finish()
}

/// Fills a span with noise and answers what was there.
///
/// # Safety
/// The span is valid and nobody else's.
unsafe fn replace(span: Span, noise: u64) -> Vec<MaybeUninit<u8>> {
    let mut old = vec![MaybeUninit::uninit(); span.len];
    // SAFETY: passed on from the caller; `old` is as long, memory of our own, and may hold what was never written.
    unsafe { ptr::copy_nonoverlapping(span.start.cast(), old.as_mut_ptr(), span.len) };
    for at in 0..span.len {
        // SAFETY: passed on from the caller, and `at` is within.
        unsafe { span.start.add(at).write(noise_at(noise, at)) };
    }
    old
}

/// 64 bits of noise over and over: two operations that were given the same memory do not take each other's for their own.
const fn noise_at(noise: u64, at: usize) -> u8 {
    noise.to_le_bytes()[at % 8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::io_vec;

    fn read_into(memory: &mut [u8]) -> Call {
        Call::Read { fd: 0, buf: memory.as_mut_ptr(), len: memory.len() as u32, offset: 0 }
    }

    #[test]
    fn untouched_memory_ends_as_it_was() {
        for len in [1, 7, 4096, 2 * EDGE_BYTES, 3 * EDGE_BYTES + 1] {
            let mut memory: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let before = memory.clone();
            let call = read_into(&mut memory);
            // SAFETY: `memory` outlives the watch and is used by nothing else meanwhile.
            let watch = unsafe { Watch::begin(&call, 77) }.unwrap();
            // SAFETY: as above.
            assert_eq!(unsafe { watch.end(&call) }, Ok(()));
            assert_eq!(memory, before);
        }
    }

    #[test]
    fn a_single_byte_written_by_somebody_else_is_found() {
        let mut memory = vec![0; 3 * EDGE_BYTES];
        for at in [0, EDGE_BYTES - 1, 2 * EDGE_BYTES, 3 * EDGE_BYTES - 1] {
            let call = read_into(&mut memory);
            // SAFETY: `memory` outlives the watch; that it is touched meanwhile is what is tested.
            let watch = unsafe { Watch::begin(&call, 77) }.unwrap();
            memory[at] = !memory[at];
            // SAFETY: as above.
            assert_eq!(unsafe { watch.end(&call) }, Err(Violation::TargetTouched), "{at}");
        }
    }

    #[test]
    fn two_reads_into_the_same_memory_are_found() {
        let mut memory = [0; 64];
        let call = read_into(&mut memory);
        // SAFETY: `memory` outlives both watches; that they share it is what is tested.
        let first = unsafe { Watch::begin(&call, 77) }.unwrap();
        // SAFETY: as above.
        let second = unsafe { Watch::begin(&call, 78) }.unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { first.end(&call) }, Err(Violation::TargetTouched));
        // SAFETY: as above.
        assert_eq!(unsafe { second.end(&call) }, Ok(()));
    }

    #[test]
    fn a_source_that_changes_is_found() {
        let mut memory = [0; 64];
        let start: *mut u8 = memory.as_mut_ptr();
        let call = Call::Write { fd: 0, buf: start, len: 64, offset: 0 };
        // SAFETY: `memory` outlives the watches; that it is written to meanwhile is what is tested.
        let [kept, broken] = [0, 1].map(|noise| unsafe { Watch::begin(&call, noise) }.unwrap());
        // SAFETY: as above.
        assert_eq!(unsafe { kept.end(&call) }, Ok(()));
        // SAFETY: `start` is that of 64 bytes.
        unsafe { start.add(63).write(1) };
        // SAFETY: as above.
        assert_eq!(unsafe { broken.end(&call) }, Err(Violation::SourceChanged));
    }

    #[test]
    fn vectors_are_watched_with_what_they_point_to() {
        let mut memory = [vec![1; 5], vec![2; 9]];
        let mut iov: Vec<IoVec> = memory.iter_mut().map(|part| io_vec(part.as_mut_ptr(), part.len())).collect();
        let call = Call::ReadVectored { fd: 0, iov: iov.as_ptr(), count: 2, offset: 0 };
        // SAFETY: `memory` and `iov` outlive the watches; that they are written to meanwhile is what is tested.
        let watch = unsafe { Watch::begin(&call, 77) }.unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { watch.end(&call) }, Ok(()));
        assert_eq!(memory, [vec![1; 5], vec![2; 9]]);

        // SAFETY: as above.
        let watch = unsafe { Watch::begin(&call, 77) }.unwrap();
        iov[1] = io_vec(memory[1].as_mut_ptr(), 8);
        // SAFETY: as above.
        assert_eq!(unsafe { watch.end(&call) }, Err(Violation::VectorsChanged));
    }

    #[test]
    fn one_call_may_name_the_same_memory_twice() {
        let mut memory = vec![1; 8];
        let iov = [io_vec(memory.as_mut_ptr(), 8), io_vec(memory.as_mut_ptr(), 8)];
        let call = Call::ReadVectored { fd: 0, iov: iov.as_ptr(), count: 2, offset: 0 };
        // SAFETY: `memory` and `iov` outlive the call.
        assert!(unsafe { Watch::begin(&call, 77) }.is_none());
    }
}
