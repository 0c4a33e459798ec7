//! Random operations on direct files against a model, and many writers of one file at once. A failure prints its seed;
//! `AURAIO_SEED` repeats the run, and `AURAIO_FSX_OPS` makes it longer.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use auraio::{Engine, File, IoBuf, IoBufMut, OpenOptions};

use crate::support::*;

const SIZE_MAX: u64 = 400_000;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn new(salt: u64) -> Self {
        let given = std::env::var("AURAIO_SEED").ok().and_then(|seed| seed.parse().ok());
        let random = std::collections::hash_map::RandomState::new();
        let seed = given.unwrap_or_else(|| std::hash::BuildHasher::hash_one(&random, salt) >> 16);
        println!("AURAIO_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// A position or a length below the limit. It is often a multiple of a sector or a page, or next to one.
    fn place(&mut self, limit: u64) -> u64 {
        let any = self.below(limit);
        let near = match self.below(4) {
            0 => any / 512 * 512,
            1 => any / 4096 * 4096,
            2 => (any / 4096 * 4096 + self.below(3)).saturating_sub(1),
            _ => any,
        };
        near.min(limit - 1)
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        let salt = self.below(1 << 20) as usize;
        pattern(len as usize, salt)
    }
}

fn open(engine: &Engine, path: &Path, options: OpenOptions) -> Option<File> {
    let opened = engine.block_on(engine.open(path, options));
    if opened.is_err() {
        println!("skipped: the file system of {} has no direct I/O", path.display());
    }
    opened.ok()
}

const fn direct() -> OpenOptions {
    OpenOptions::new().read(true).write(true).create(true).direct(true)
}

/// Memory that begins anywhere in a page.
fn memory(rng: &mut Rng, bytes: &[u8]) -> auraio::Slice<Aligned> {
    let skew = [0, 0, 512, 1 + rng.below(4095)][rng.below(4) as usize] as usize;
    let mut memory = Aligned::new(bytes.len() + skew + 1);
    memory.as_mut_slice()[skew..skew + bytes.len()].copy_from_slice(bytes);
    memory.slice(skew..skew + bytes.len())
}

/// The same in up to four parts.
fn parts(rng: &mut Rng, bytes: &[u8]) -> Vec<auraio::Slice<Aligned>> {
    let mut cuts = vec![0, bytes.len()];
    for _ in 0..rng.below(4) {
        cuts.push(rng.place(bytes.len() as u64 + 1) as usize);
    }
    cuts.sort_unstable();
    cuts.windows(2).map(|ends| memory(rng, &bytes[ends[0]..ends[1]])).collect()
}

/// One random operation on the file and on its model, through one of two handles, of which the second is not direct.
fn step(engine: &Engine, rng: &mut Rng, handles: &[File; 2], model: &mut Vec<u8>) {
    // Nearly always through the direct one. Each handle must see the writes of the other.
    let file = &handles[usize::from(rng.below(5) == 0)];
    let offset = rng.place(SIZE_MAX);
    let most = [16, 600, 9000, 150_000][rng.below(4) as usize];
    let len = 1 + rng.place(most);
    let (start, end) = (offset as usize, (offset + len) as usize);
    match rng.below(20) {
        0 => {
            let len = rng.place(SIZE_MAX);
            engine.block_on(file.set_len(len)).unwrap();
            model.resize(len as usize, 0);
        }
        1 => engine.block_on(file.sync_data()).unwrap(),
        2..=9 => {
            let bytes = rng.bytes(len);
            model.resize(model.len().max(end), 0);
            model[start..end].copy_from_slice(&bytes);
            let written = if rng.below(3) == 0 {
                let buffers = parts(rng, &bytes);
                engine.block_on(file.writev_at(buffers, offset)).0
            } else {
                engine.block_on(file.write_at(memory(rng, &bytes), offset)).0
            };
            assert_eq!(written.unwrap(), len as usize, "written at {offset}");
        }
        _ => {
            let expected = &model[start.min(model.len())..end.min(model.len())];
            let blank = vec![0xee; len as usize];
            let (read, bytes) = if rng.below(3) == 0 {
                let buffers = parts(rng, &blank);
                let (read, buffers) = engine.block_on(file.readv_at(buffers, offset));
                (read, buffers.iter().flat_map(|buffer| buffer.as_slice().iter().copied()).collect::<Vec<u8>>())
            } else {
                let (read, buffer) = engine.block_on(file.read_at(memory(rng, &blank), offset));
                (read, buffer.as_slice().to_vec())
            };
            assert_eq!(read.unwrap(), expected.len(), "read at {offset}, {len} bytes");
            assert!(bytes[..expected.len()] == *expected, "read at {offset}, {len} bytes");
        }
    }
}

properties! {
    fn after_random_operations_the_file_equals_its_model(rig) {
        let operations = std::env::var("AURAIO_FSX_OPS").ok().and_then(|ops| ops.parse().ok()).unwrap_or(400);
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let Some(file) = open(&engine, &path, direct()) else { return };
        let plain = engine.block_on(engine.open(&path, creating())).unwrap();
        let handles = [file, plain];
        let mut rng = Rng::new(1);
        let mut model = Vec::new();
        for nth in 0..operations {
            step(&engine, &mut rng, &handles, &mut model);
            if nth % 50 == 49 {
                assert!(fs::read(&path).unwrap() == model, "after operation {nth}");
            }
        }
        assert!(fs::read(&path).unwrap() == model);
        assert_at_rest(&engine);
    }

    fn many_writes_at_once_to_ranges_of_their_own_all_arrive(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let Some(file) = open(&engine, &path, direct()) else { return };
        let mut rng = Rng::new(2);
        let mut model = vec![0; SIZE_MAX as usize];
        fs::write(&path, &model).unwrap();
        for _ in 0..8 {
            // Neighbouring ranges share pages and sectors, and some of the writes are aligned.
            let mut cuts: Vec<u64> = (0..60).map(|_| rng.place(SIZE_MAX)).chain([0, SIZE_MAX]).collect();
            cuts.sort_unstable();
            cuts.dedup();
            let writes: Vec<_> = cuts
                .windows(2)
                .map(|ends| {
                    let bytes = rng.bytes(ends[1] - ends[0]);
                    model[ends[0] as usize..ends[1] as usize].copy_from_slice(&bytes);
                    file.write_at(memory(&mut rng, &bytes), ends[0])
                })
                .collect();
            engine.block_on(async {
                for write in writes {
                    write.await.0.unwrap();
                }
                // The kernel reports a collision between the page cache and the device here.
                file.sync_data().await.unwrap();
            });
            assert!(fs::read(&path).unwrap() == model);
            let reads: Vec<_> = cuts
                .windows(2)
                .map(|ends| (ends[0], file.read_at(memory(&mut rng, &vec![0; (ends[1] - ends[0]) as usize]), ends[0])))
                .collect();
            engine.block_on(async {
                for (offset, read) in reads {
                    let (len, bytes) = read.await;
                    let start = offset as usize;
                    assert!(bytes.as_slice() == &model[start..start + len.unwrap()], "{offset}");
                }
            });
        }
        assert_at_rest(&engine);
    }

    fn writes_to_the_same_blocks_through_several_handles_all_arrive(rig) {
        const WRITERS: usize = 4;
        const ROUNDS: usize = 25;
        /// The part of each page that belongs to one writer. Neither its length nor its position is aligned.
        const SHARE: usize = 700;
        const PAGES: usize = 4;
        let dir = dir();
        let path = dir.path().join("file");
        fs::write(&path, vec![0; PAGES * 4096]).unwrap();
        if open(&rig.engine(), &path, direct()).is_none() {
            return;
        }
        let finished = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|mine| {
                let (path, finished) = (path.clone(), Arc::clone(&finished));
                thread::spawn(move || {
                    let engine = rig.engine();
                    // One of the handles is not direct.
                    let options = if mine == 0 { creating() } else { direct() };
                    let file = open(&engine, &path, options).unwrap();
                    for round in 0..ROUNDS {
                        for page in 0..PAGES {
                            let at = page * 4096 + 100 + mine * SHARE;
                            let bytes = pattern(SHARE, round * 31 + mine * 7 + page);
                            assert_eq!(engine.block_on(file.write_at(bytes.clone(), at as u64)).0, Ok(SHARE));
                            let (read, back) = engine.block_on(file.read_at(vec![0; SHARE], at as u64));
                            assert_eq!(read, Ok(SHARE));
                            assert!(back == bytes, "writer {mine} does not find what it wrote in round {round}");
                        }
                    }
                    finished.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(finished.load(Ordering::SeqCst), WRITERS);
        let there = fs::read(&path).unwrap();
        assert_eq!(there.len(), PAGES * 4096);
        for page in 0..PAGES {
            for mine in 0..WRITERS {
                let at = page * 4096 + 100 + mine * SHARE;
                let last = pattern(SHARE, (ROUNDS - 1) * 31 + mine * 7 + page);
                assert!(there[at..at + SHARE] == last, "what writer {mine} wrote to page {page} is lost");
            }
            assert_eq!(there[page * 4096..page * 4096 + 100], [0; 100]);
            assert!(there[page * 4096 + 100 + WRITERS * SHARE..(page + 1) * 4096].iter().all(|byte| *byte == 0));
        }
    }

    fn sectors_written_beside_parts_of_sectors_of_one_block_are_not_undone(rig) {
        const ROUNDS: u64 = 150;
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        fs::write(&path, vec![0; 4096]).unwrap();
        let Some(file) = open(&engine, &path, direct()) else { return };
        // Whole sectors, which a device may take by themselves, and parts of the sectors beside them, are in flight at once. The
        // block that the page cache writes back has all of them.
        for round in 1..=ROUNDS {
            let value = (round % 250) as u8 + 1;
            let mut writes = Vec::new();
            for sector in 0..8 {
                let len = if sector % 2 == 0 { 512 } else { 300 };
                let mut memory = Aligned::new(512);
                memory.as_mut_slice().fill(value);
                writes.push(file.write_at(memory.slice(..len), sector * 512));
            }
            engine.block_on(async {
                for write in writes {
                    write.await.0.unwrap();
                }
                if round % 3 == 0 {
                    file.sync_data().await.unwrap();
                }
            });
            let (read, bytes) = engine.block_on(file.read_at(Aligned::new(4096), 0));
            assert_eq!(read, Ok(4096));
            for (sector, bytes) in bytes.as_slice().chunks(512).enumerate() {
                let len = if sector % 2 == 0 { 512 } else { 300 };
                assert!(bytes[..len].iter().all(|byte| *byte == value), "sector {sector} in round {round}");
                assert!(bytes[len..].iter().all(|byte| *byte == 0), "sector {sector} in round {round}");
            }
        }
        assert_at_rest(&engine);
    }
}
