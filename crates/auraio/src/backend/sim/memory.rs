//! The oracle for memory: nobody touches what an operation in flight reads or writes.
//!
//! A real kernel writes to a buffer at a moment of its own choosing, so memory given back too early is overwritten later,
//! by then in the hands of somebody else, and no test sees why. Here the target of a read is filled with noise when the
//! operation starts; whoever used it since then has changed the noise, and is found out just before the real call is
//! made. The source of a write and the text of a path are remembered by a hash. Afterwards the old bytes are put back, so that beyond what the
//! call itself writes a buffer ends as it was.
#![expect(unsafe_code, reason = "stands in for the kernel, which follows the addresses of the calls it was given")]

use std::{
    fmt,
    hash::{DefaultHasher, Hasher},
    mem::MaybeUninit,
    ptr, slice,
};

use crate::{
    op::areas::{Area, Areas},
    sys::{Call, IoVec, io_vec_base, io_vec_len, text_len, vectors},
};

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
    spans: [Vec<(usize, usize)>; 2],
    /// The hash of all that the kernel reads.
    sources: u64,
    target: Option<Target>,
}

/// Memory that the kernel writes to.
#[derive(Debug)]
struct Target {
    noise: u64,
    /// The bytes that the noise covers. They may never have been written, so they are only ever copied.
    old: Vec<Vec<MaybeUninit<u8>>>,
}

impl Watch {
    /// Starts to watch the memory of a call; `None` if there is none to watch.
    ///
    /// # Safety
    /// The addresses in the call are valid as [`Backend::push`](crate::backend::Backend::push) asks, and stay so until
    /// [`Watch::end`].
    pub(super) unsafe fn begin(call: &Call, noise: u64) -> Option<Self> {
        // SAFETY: passed on from the caller.
        let memory = unsafe { memory_of(call) };
        // One call may name the same memory twice (`readv` of the same buffer): its own noise would look like a stranger's.
        let is_target = memory.target.iter().any(|span| span.len > 0) && !overlap(&memory.target);
        if !is_target && memory.sources.is_empty() {
            return None;
        }
        let spans = memory.addresses();
        // SAFETY: passed on from the caller: what the kernel reads is valid, and was written before.
        let sources = unsafe { hashed(&edges(&memory.sources)) };
        let target = is_target.then(|| {
            let edges = edges(&memory.target);
            // SAFETY: passed on from the caller: what the kernel writes to is valid and nobody else's.
            Target { noise, old: edges.iter().map(|span| unsafe { replace(*span, noise) }).collect() }
        });
        Some(Self { spans, sources, target })
    }

    /// Checks that the memory is as [`Watch::begin`] left it, and puts back what was there before.
    ///
    /// # Safety
    /// As for `begin`, with the same call.
    pub(super) unsafe fn end(self, call: &Call) -> Result<(), Violation> {
        // SAFETY: passed on from the caller.
        let memory = unsafe { memory_of(call) };
        // The lengths of paths are among the addresses, and a path that changed may have another length.
        let [targets, sources] = memory.addresses();
        if targets != self.spans[0] {
            return Err(Violation::VectorsChanged);
        }
        if sources != self.spans[1] {
            let vectored = call.areas().read.iter().any(|area| is_vectored(*area));
            return Err(if vectored { Violation::VectorsChanged } else { Violation::SourceChanged });
        }
        // SAFETY: passed on from the caller, as in `begin`.
        if unsafe { hashed(&edges(&memory.sources)) } != self.sources {
            return Err(Violation::SourceChanged);
        }
        let Some(Target { noise, old }) = self.target else { return Ok(()) };
        for (span, old) in edges(&memory.target).iter().zip(old) {
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

/// Every stretch of memory that the kernel reads or writes for a call, but for the list of vectors.
struct Memory {
    target: Vec<Span>,
    sources: Vec<Span>,
}

impl Memory {
    fn addresses(&self) -> [Vec<(usize, usize)>; 2] {
        [addresses(&self.target), addresses(&self.sources)]
    }
}

/// # Safety
/// The call's paths and its list of vectors, if it has such, are valid.
unsafe fn memory_of(call: &Call) -> Memory {
    let Areas { read, written } = call.areas();
    // SAFETY: passed on from the caller.
    let [target, first, second] = [written, read[0], read[1]].map(|area| unsafe { spans_of(area) });
    Memory { target, sources: first.into_iter().chain(second).filter(|span| span.len > 0).collect() }
}

/// # Safety
/// A path and a list of vectors are valid.
unsafe fn spans_of(area: Area) -> Vec<Span> {
    match area {
        Area::Nothing => Vec::new(),
        Area::Bytes(start, len) => vec![Span { start, len }],
        // SAFETY: passed on from the caller.
        Area::Vectors(iov, count) => unsafe { spans(iov, count) },
        // SAFETY: passed on from the caller.
        Area::Text(path) => vec![Span { start: path.cast_mut().cast(), len: unsafe { text_len(path) } }],
    }
}

const fn is_vectored(area: Area) -> bool {
    match area {
        Area::Vectors(..) => true,
        Area::Nothing | Area::Bytes(..) | Area::Text(_) => false,
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

    #[cfg(unix)]
    #[test]
    fn a_path_is_watched_like_the_source_of_a_write() {
        let mut text = *b"some/path\0";
        let start: *mut u8 = text.as_mut_ptr();
        let call = Call::CreateDir { path: start.cast_const().cast(), mode: 0 };
        // SAFETY: `text` outlives the watches; that it is written to meanwhile is what is tested.
        let watches = [0; 3].map(|noise| unsafe { Watch::begin(&call, noise) }.unwrap());
        let ends = [b's', b'S', 0].into_iter().zip(watches).map(|(first, watch)| {
            // SAFETY: `start` is that of ten bytes.
            unsafe { start.write(first) };
            // SAFETY: as above.
            unsafe { watch.end(&call) }
        });
        let changed = Err(Violation::SourceChanged);
        assert_eq!(ends.collect::<Vec<_>>(), [Ok(()), changed, changed]);
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
