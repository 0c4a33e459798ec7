//! The parts of bounced transfers, against a kernel that is a vector of bytes: it takes aligned calls only, and may move less
//! than it was asked to.

use super::*;
use crate::sys::{NO_DESCRIPTOR, transfer_len};

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

const ALIGNMENT: DirectAlignment =
    DirectAlignment { memory: 512, offset: 512, write_offset: 4096, ..DirectAlignment::ANY };

fn bounce(kind: Kind, memory: &mut [impl AsMut<[u8]>], offset: u64) -> Bounce {
    let parts = memory.iter_mut().map(AsMut::as_mut).filter(|part| !part.is_empty());
    let vectors: Vec<IoVec> = parts.map(|part| io_vec(part.as_mut_ptr(), part.len())).collect();
    let memory = Memory { vectors, at: 0, gone: 0 };
    Bounce {
        kind,
        fd: NO_DESCRIPTOR,
        twin: ptr::null(),
        alignment: ALIGNMENT,
        pool: Pool::global(),
        offset,
        left: memory.len(),
        memory,
        part: Part::Plain { wanted: 0 },
        block: None,
        vectors: Vec::new(),
    }
}

/// Performs a call on a file in memory; up to `most` bytes, as far as a call may come up short there.
fn perform(file: &mut Vec<u8>, call: &Call, most: u64) -> i32 {
    let cut = |len: u64, unit: u64| if most < len { most / unit * unit } else { len } as usize;
    match *call {
        Call::Read { buf, len, offset, .. } => {
            assert!(buf.addr() % 512 == 0 && (offset | u64::from(len)) % 512 == 0, "{call:?}");
            let start = file.len().min(offset as usize);
            let bytes = &file[start..file.len().min(offset as usize + cut(len.into(), 512))];
            // SAFETY: the call names memory of at least `len` bytes.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), buf, bytes.len()) };
            bytes.len() as i32
        }
        Call::Write { buf, len, offset, .. } => {
            assert!(buf.addr() % 512 == 0 && (offset | u64::from(len)) % 4096 == 0, "{call:?}");
            let len = cut(len.into(), 4096);
            // SAFETY: as above.
            let bytes = unsafe { std::slice::from_raw_parts(buf, len) };
            write(file, bytes, offset)
        }
        Call::WriteBuffered { iov, count, offset, .. } => {
            // SAFETY: as above.
            let parts = unsafe { vectors(iov, count) };
            let all: Vec<u8> = parts
                .iter()
                // SAFETY: as above.
                .flat_map(|part| unsafe {
                    std::slice::from_raw_parts(io_vec_base(part).cast_const(), io_vec_len(part))
                })
                .copied()
                .collect();
            write(file, &all[..cut(all.len() as u64, 1)], offset)
        }
        _ => panic!("no transfer: {call:?}"),
    }
}

fn write(file: &mut Vec<u8>, bytes: &[u8], offset: u64) -> i32 {
    let start = if offset == CURRENT_POSITION { file.len() } else { offset as usize };
    file.resize(file.len().max(start + bytes.len()), 0);
    file[start..start + bytes.len()].copy_from_slice(bytes);
    bytes.len() as i32
}

/// Performs a transfer to its end; answers what it moved, and how many calls it took.
fn drive(file: &mut Vec<u8>, bounce: &mut Bounce, mut most: impl FnMut() -> u64) -> (usize, usize) {
    let mut call = bounce.next().ok();
    let (mut moved, mut calls) = (0, 0);
    while let Some((now, expect)) = call {
        // SAFETY: the bounce keeps the vectors.
        assert_eq!(unsafe { transfer_len(&now) }, Some(expect));
        let result = perform(file, &now, most());
        let (bytes, next) = bounce.settle(result);
        moved += usize::try_from(bytes).unwrap();
        calls += 1;
        call = next;
    }
    (moved, calls)
}

/// A place: often at or beside a sector, a block or a part.
fn place(rng: &mut Rng, limit: u64) -> u64 {
    let any = rng.below(limit);
    let unit = [1, 512, 4096, PART_MAX][rng.below(4) as usize];
    (any / unit * unit + [0, 0, 1, unit - 1][rng.below(4) as usize]).min(limit - 1)
}

/// Memory of so many bytes, in one to five parts.
fn memory(rng: &mut Rng, len: u64) -> Vec<Vec<u8>> {
    let mut cuts: Vec<u64> = (0..rng.below(5)).map(|_| place(rng, len + 1)).chain([0, len]).collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|ends| (ends[0]..ends[1]).map(|_| rng.below(251) as u8).collect()).collect()
}

#[test]
fn the_parts_of_any_read_give_what_the_file_holds() {
    for seed in 0..150 {
        let mut rng = Rng(seed);
        let mut file: Vec<u8> = (0..rng.below(3 << 20)).map(|at| (at * 7 % 251) as u8).collect();
        let (offset, len) = (place(&mut rng, 3 << 20), 1 + place(&mut rng, 3 << 20));
        let mut memory = memory(&mut rng, len);
        let before = memory.concat();
        let mut bounce = bounce(Kind::Read, &mut memory, offset);
        let short = seed % 3 == 0;
        let most = || if short { 512 + rng.below(1 << 20) } else { u64::MAX };
        let (moved, _) = drive(&mut file, &mut bounce, most);
        let available = file.len().saturating_sub(offset as usize).min(len as usize);
        assert!(if short { moved <= available } else { moved == available }, "seed {seed}: {moved} of {available}");
        let after = memory.concat();
        let start = file.len().min(offset as usize);
        assert!(after[..moved] == file[start..start + moved], "seed {seed}");
        assert!(after[moved..] == before[moved..], "seed {seed}: wrote behind what it read");
    }
}

#[test]
fn the_parts_of_any_write_change_what_they_say_and_nothing_else() {
    for seed in 0..150 {
        let mut rng = Rng(seed);
        let mut file: Vec<u8> = (0..rng.below(3 << 20)).map(|at| (at * 7 % 251) as u8).collect();
        let mut model = file.clone();
        let (offset, len) = (place(&mut rng, 3 << 20), 1 + place(&mut rng, 3 << 20));
        let mut memory = memory(&mut rng, len);
        let bytes = memory.concat();
        let mut bounce = bounce(Kind::Write, &mut memory, offset);
        let short = seed % 3 == 0;
        let most = || if short { 4096 + rng.below(1 << 20) } else { u64::MAX };
        let (moved, _) = drive(&mut file, &mut bounce, most);
        assert!(if short { moved <= bytes.len() } else { moved == bytes.len() }, "seed {seed}");
        write(&mut model, &bytes[..moved], offset);
        assert!(file == model, "seed {seed}");
        assert!(memory.concat() == bytes, "seed {seed}: wrote to what it reads from");
    }
}

#[test]
fn an_append_is_one_call_wherever_the_file_ends() {
    let mut file = vec![1; 100];
    let mut memory = vec![vec![2; 70_000], vec![3; 70_000]];
    let mut bounce = bounce(Kind::Append, &mut memory, CURRENT_POSITION);
    assert_eq!(drive(&mut file, &mut bounce, || u64::MAX), (140_000, 1));
    assert!(file[100..] == memory.concat());
}

#[test]
fn a_small_write_is_one_call_and_a_large_one_goes_past_the_page_cache_in_the_middle() {
    let calls = |offset, len| {
        // At an odd address, which no allocation has.
        let mut memory = vec![1; 1 + len];
        drive(&mut Vec::new(), &mut bounce(Kind::Write, &mut [&mut memory[1..]], offset), || u64::MAX).1
    };
    assert_eq!(calls(1, 1), 1);
    assert_eq!(calls(4095, WHOLE_MIN as usize), 1);
    assert_eq!(calls(4095, 1 + WHOLE_MIN as usize + 1), 3);
    assert_eq!(calls(4096, WHOLE_MIN as usize + 1), 2);
    // Only its address is wrong.
    assert_eq!(calls(0, 4096), 1);
    assert_eq!(calls(0, 2 * PART_MAX as usize), 2);
}

#[test]
fn a_read_takes_one_block_of_a_bounded_size() {
    let mut memory = vec![vec![0; 3 << 20]];
    let mut bounce = bounce(Kind::Read, &mut memory, 5);
    let mut file = vec![7; 4 << 20];
    assert_eq!(drive(&mut file, &mut bounce, || u64::MAX), (3 << 20, 4));
    assert!(bounce.block.as_ref().is_some_and(|block| block.len() as u64 >= PART_MAX));
    assert!(memory[0].iter().all(|byte| *byte == 7));
}

#[test]
fn a_part_that_fails_ends_the_transfer() {
    let mut memory = vec![vec![0; 2 << 20]];
    let mut bounce = bounce(Kind::Read, &mut memory, 1);
    assert!(bounce.next().is_ok());
    assert_eq!(bounce.settle(-errno::EIO), (-errno::EIO, None));
}
