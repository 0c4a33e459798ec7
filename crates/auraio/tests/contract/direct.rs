//! Transfers on direct files have the same results as on any file, whatever their alignment; aligned ones go straight.
//!
//! The directory for temporary files decides which file system is tested: `TMPDIR=/mnt/xfs cargo test --test contract direct`.

use std::{fs, os::unix::fs::FileExt, path::Path};

use auraio::{BackendChoice, Engine, Error, File, IoBuf, IoBufMut, OpenOptions, SimOptions, Slice, op};

use crate::support::*;

const PAGE: usize = 4096;

/// Larger than the block of the pool that one part of a transfer uses.
const LARGE: usize = (2 << 20) + 12_345;

/// Opens a direct file, or says why it cannot be opened.
fn open(engine: &Engine, path: &Path, options: OpenOptions) -> Option<File> {
    match engine.block_on(engine.open(path, options)) {
        Ok(file) => Some(file),
        Err(error) if error.errno() == libc::EINVAL => {
            println!("skipped: the file system of {} has no direct I/O", path.display());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

const fn direct() -> OpenOptions {
    OpenOptions::new().read(true).write(true).create(true).direct(true)
}

fn bounced(engine: &Engine) -> u64 {
    engine.stats().rings.iter().map(|ring| ring.bounced).sum()
}

/// Memory that begins this many bytes after the start of a page.
fn skewed(bytes: &[u8], by: usize) -> Slice<Aligned> {
    let mut memory = Aligned::new(bytes.len() + by);
    memory.as_mut_slice()[by..].copy_from_slice(bytes);
    memory.slice(by..)
}

fn plain_read(file: &fs::File, len: usize, offset: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut read = 0;
    while read < len {
        match file.read_at(&mut bytes[read..], offset + read as u64).unwrap() {
            0 => break,
            more => read += more,
        }
    }
    bytes.truncate(read);
    bytes
}

/// The largest length of a file on this file system.
fn largest_file(path: &Path) -> u64 {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let (mut fits, mut too_long) = (0, 1 << 63);
    while too_long - fits > 1 {
        let middle = fits + (too_long - fits) / 2;
        if file.set_len(middle).is_ok() { fits = middle } else { too_long = middle }
    }
    file.set_len(0).unwrap();
    fits
}

/// Checks that a read gives this many bytes of the file, and does not change the rest of its buffer.
fn assert_reads(engine: &Engine, file: &File, plain: &fs::File, len: usize, offset: u64, skew: usize) {
    let expected = plain_read(plain, len, offset);
    let (read, buffer) = engine.block_on(file.read_at(skewed(&vec![0xee; len], skew), offset));
    let what = format!("{len} at {offset} into memory at {skew}");
    assert_eq!(read.unwrap(), expected.len(), "{what}");
    assert!(buffer.as_slice()[..expected.len()] == expected, "{what}");
    assert!(buffer.as_slice()[expected.len()..].iter().all(|byte| *byte == 0xee), "{what}");
}

/// Writes to the file and to a model of it, and checks that both have the same bytes afterwards.
fn assert_writes(
    engine: &Engine,
    file: &File,
    path: &Path,
    model: &mut Vec<u8>,
    len: usize,
    offset: usize,
    skew: usize,
) {
    let bytes = pattern(len, model.len() + offset + skew);
    model.resize(model.len().max(offset + len), 0);
    model[offset..offset + len].copy_from_slice(&bytes);
    let (written, buffer) = engine.block_on(file.write_at(skewed(&bytes, skew), offset as u64));
    let what = format!("{len} at {offset} from memory at {skew}");
    assert_eq!(written.unwrap(), len, "{what}");
    assert!(buffer.as_slice() == bytes, "{what}");
    let there = fs::read(path).unwrap();
    assert_eq!(there.len(), model.len(), "{what}");
    assert!(there == *model, "{what}");
}

properties! {
    fn a_read_of_any_alignment_gives_the_same_bytes_as_a_plain_one(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        // It ends within a sector.
        fs::write(&path, pattern(3 * PAGE + 777, 1)).unwrap();
        let Some(file) = open(&engine, &path, reading().direct(true)) else { return };
        let alignment = file.direct_alignment().unwrap();
        let plain = fs::File::open(&path).unwrap();
        for offset in [0, 1, 511, 512, 4095, 4096, 5000, 12_288, 12_800, 13_000, 13_064, 13_065, 13_312, 20_000, 1 << 40] {
            for len in [1, 100, 511, 512, 513, 4096, 4097, 9000, 50_000] {
                for skew in [0, 1, 512] {
                    let units = (offset | len as u64).is_multiple_of(alignment.offset.into());
                    if units && skew % alignment.memory as usize == 0 {
                        continue; // aligned, so the kernel performs it: it may write to the buffer past the end of the file
                    }
                    assert_reads(&engine, &file, &plain, len, offset, skew);
                }
            }
        }
        assert_at_rest(&engine);
    }

    fn a_write_of_any_alignment_changes_its_own_bytes_and_no_others(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        fs::write(&path, b"").unwrap();
        let Some(file) = open(&engine, &path, direct()) else { return };
        let mut model = Vec::new();
        for (len, offset, skew) in [
            // Into an empty file, over existing bytes, past the end, and across the end.
            (10, 0, 0), (1, 9, 7), (100, 5, 1), (5000, 100, 0), (4096, 4096, 512), (4096, 4096, 1), (1, 20_000, 0),
            (30_000, 1, 3), (512, 40_960, 0), (1, 40_960 + 511, 0), (70_000, 4096, 0), (70_000, 4095, 1),
            (200_000, 12_345, 0), (65_536, 65_536, 0), (65_536, 65_536, 8), (131_072, 65_537, 512), (3, 333_333, 0),
        ] {
            assert_writes(&engine, &file, &path, &mut model, len, offset, skew);
        }
        engine.block_on(file.sync_all()).unwrap();
        assert_at_rest(&engine);
    }

    fn a_transfer_in_several_parts_moves_all_bytes(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let Some(file) = open(&engine, &path, direct()) else { return };
        let mut model = Vec::new();
        // An unaligned position, length or address; and an aligned address with an unaligned end.
        for (len, offset, skew) in [(LARGE, 7, 0), (LARGE, 4096, 0), (3 << 20, 8192, 1), (LARGE, 0, 0), (LARGE, 4095, 1)] {
            assert_writes(&engine, &file, &path, &mut model, len, offset, skew);
        }
        let plain = fs::File::open(&path).unwrap();
        for (len, offset, skew) in [(LARGE, 7, 0), (3 << 20, 0, 1), (LARGE, 4096, 0), (4 << 20, 12_288, 1), (4 << 20, 5, 0)] {
            assert_reads(&engine, &file, &plain, len, offset, skew);
        }
        assert_at_rest(&engine);
    }

    fn vectors_of_any_alignment_are_taken(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let Some(file) = open(&engine, &path, direct()) else { return };
        let mut model = vec![0; 6_000_000];
        // The last transfer has more vectors than one call takes. The one before it has most of its bytes in one aligned vector.
        for (offset, lens) in [
            (0, vec![1, 2, 3]), (4000, vec![96, 4096, 4096, 96]), (8192, vec![4096, 4096]), (8192, vec![512, 3584]),
            (12_289, vec![100_000, 1, 200_000]), (4096, vec![8192, 2 << 20, 5]), (77, (0..2000).map(|nth| 1 + nth % 7).collect()),
        ] {
            let parts: Vec<Vec<u8>> = lens.iter().enumerate().map(|(nth, len)| pattern(*len, nth + offset)).collect();
            let whole = parts.concat();
            model[offset..offset + whole.len()].copy_from_slice(&whole);
            let buffers = parts.iter().enumerate().map(|(nth, part)| skewed(part, nth % 3)).collect();
            let (written, _) = engine.block_on(file.writev_at(buffers, offset as u64));
            assert_eq!(written.unwrap(), whole.len(), "{offset}");
            let there = fs::read(&path).unwrap();
            assert!(there == model[..there.len()], "written at {offset}");
            let buffers = lens.iter().enumerate().map(|(nth, len)| skewed(&vec![0xee; *len], nth % 3)).collect();
            let (read, buffers) = engine.block_on(file.readv_at(buffers, offset as u64));
            assert_eq!(read.unwrap(), whole.len(), "{offset}");
            let back: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.as_slice().iter().copied()).collect();
            assert!(back == whole, "read at {offset}");
        }
        // To the end of the file, and past it.
        let end = fs::metadata(&path).unwrap().len();
        let (read, buffers) = engine.block_on(file.readv_at(vec![vec![0xee; 10], vec![0xee; 10]], end - 15));
        assert_eq!(read.unwrap(), 15);
        assert_eq!(buffers[1][5..], [0xee; 5]);
        assert_at_rest(&engine);
    }

    fn the_files_position_may_be_unaligned_and_moves_by_the_bytes_transferred(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let Some(file) = open(&engine, &path, direct()) else { return };
        engine.block_on(async {
            let parts = ["one", " two", " and three"];
            let writes = parts.map(|part| file.write(part));
            for (write, part) in writes.into_iter().zip(parts) {
                assert_eq!(write.await.0, Ok(part.len()));
            }
            assert_eq!(fs::read(&path).unwrap(), b"one two and three");
            file.close().await.unwrap();
            let file = engine.open(&path, direct()).await.unwrap();
            let reads = [3, 4, 100, 100].map(|len| file.read(vec![0; len]));
            let mut read = Vec::new();
            for one in reads {
                let (len, bytes) = one.await;
                read.push(bytes[..len.unwrap()].to_vec());
            }
            assert_eq!(read.concat(), b"one two and three");
            assert_eq!(read.iter().map(Vec::len).collect::<Vec<_>>(), [3, 4, 10, 0]);
            // After the bytes that were read.
            file.write("!").await.0.unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"one two and three!");
        });
        assert_at_rest(&engine);
    }

    fn appends_of_any_length_follow_each_other(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let append = OpenOptions::new().read(true).append(true).create(true).direct(true);
        let Some(file) = open(&engine, &path, append) else { return };
        let mut model = Vec::new();
        // Whole pages are appended when the file ends at a page, within a sector, and within a page.
        for (len, skew) in [(4096, 0), (4096, 1), (10, 0), (4096, 0), (8192, 0), (502, 0), (4096, 0), (100_000, 0), (LARGE, 3)] {
            let bytes = pattern(len, model.len());
            model.extend_from_slice(&bytes);
            // The given position makes no difference.
            let written = if len % 4096 == 0 {
                engine.block_on(file.write(skewed(&bytes, skew))).0
            } else {
                engine.block_on(file.write_at(skewed(&bytes, skew), 3)).0
            };
            assert_eq!(written.unwrap(), len);
            assert!(fs::read(&path).unwrap() == model, "{len}");
        }
        let (written, _) = engine.block_on(file.writev_at(vec![vec![1; 5], vec![2; 4096]], 0));
        assert_eq!(written.unwrap(), 4101);
        model.extend([vec![1; 5], vec![2; 4096]].concat());
        assert!(fs::read(&path).unwrap() == model);
        // A write at the file's own position moves it to the end, so nothing is left to read there.
        engine.block_on(file.write("end")).0.unwrap();
        assert_eq!(engine.block_on(file.read(vec![0; 10])).0.unwrap(), 0);
        assert_at_rest(&engine);
    }

    fn appends_through_many_handles_at_once_all_arrive_and_each_stays_in_one_piece(rig) {
        const WRITERS: u8 = 4;
        const ROUNDS: usize = 40;
        let dir = dir();
        let path = dir.path().join("log");
        let append = OpenOptions::new().append(true).create(true).direct(true);
        if open(&rig.engine(), &path, append).is_none() {
            return;
        }
        let writers: Vec<_> = (1..=WRITERS)
            .map(|mine| {
                let path = path.clone();
                std::thread::spawn(move || {
                    let engine = rig.engine();
                    let file = open(&engine, &path, append).unwrap();
                    for round in 0..ROUNDS {
                        let record = vec![mine; 100 + round * 37];
                        assert_eq!(engine.block_on(file.write(record)).0.unwrap(), 100 + round * 37);
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let log = fs::read(&path).unwrap();
        let mut rounds = [0; WRITERS as usize];
        let mut rest = log.as_slice();
        while let Some(&writer) = rest.first() {
            let round = &mut rounds[usize::from(writer - 1)];
            let len = 100 + *round * 37;
            assert!(rest[..len].iter().all(|byte| *byte == writer), "record {round} of writer {writer} is torn");
            *round += 1;
            rest = &rest[len..];
        }
        assert_eq!(rounds, [ROUNDS; WRITERS as usize]);
    }

    fn aligned_transfers_are_not_bounced_and_others_are_counted(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let Some(file) = open(&engine, &dir.path().join("file"), direct()) else { return };
        let alignment = file.direct_alignment().unwrap();
        assert!(alignment.memory.is_power_of_two() && alignment.offset.is_power_of_two());
        assert!(alignment.write_offset >= alignment.offset && alignment.write_offset % 4096 == 0);
        engine.block_on(async {
            for nth in 0..4 {
                file.write_at(Aligned::new(4 * 65_536), nth * 65_536).await.0.unwrap();
                file.read_at(Aligned::new(PAGE), nth * 4096).await.0.unwrap();
                file.read_at(Aligned::new(alignment.offset as usize), nth * u64::from(alignment.offset)).await.0.unwrap();
            }
            file.writev_at(vec![Aligned::new(65_536), Aligned::new(65_536)], 0).await.0.unwrap();
            file.readv_at(vec![Aligned::new(512 * PAGE), Aligned::new(PAGE)], 4096).await.0.unwrap();
            file.write(Aligned::new(65_536)).await.0.unwrap();
            file.read(Aligned::new(PAGE)).await.0.unwrap();
        });
        assert_eq!(bounced(&engine), 0);
        engine.block_on(async {
            file.read_at(Aligned::new(PAGE), 1).await.0.unwrap();
            file.read_at(Aligned::new(PAGE).slice(..100), 0).await.0.unwrap();
            file.read_at(Aligned::new(PAGE).slice(1..513), 0).await.0.unwrap();
            file.write_at(Aligned::new(PAGE), 1).await.0.unwrap();
            file.write_at(Aligned::new(PAGE).slice(..100), 0).await.0.unwrap();
            file.readv_at(vec![Aligned::new(PAGE), Aligned::new(1)], 0).await.0.unwrap();
        });
        assert_eq!(bounced(&engine), 6);
        assert_at_rest(&engine);
    }

    fn a_file_that_is_not_direct_is_never_bounced(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), &pattern(5000, 1));
        assert_eq!(file.direct_alignment(), None);
        engine.block_on(file.read_at(vec![0; 77], 3)).0.unwrap();
        engine.block_on(file.write_at(vec![0; 77], 3)).0.unwrap();
        assert_eq!(bounced(&engine), 0);
    }

    fn a_strict_file_leaves_unaligned_transfers_to_the_kernel(rig) {
        // A simulated kernel without faults: with faults it may fail to find a worker, and then the real kernel answers.
        let calm = BackendChoice::Sim(SimOptions::calm(7));
        let builder = if rig.on == On::Sim { rig.builder().backend(calm) } else { rig.builder() };
        let (engine, dir) = (builder.build().unwrap(), dir());
        let path = dir.path().join("file");
        fs::write(&path, pattern(8192, 1)).unwrap();
        let strict = OpenOptions::new().read(true).write(true).direct_strict(true);
        let by_flag = OpenOptions::new().read(true).write(true).flags(libc::O_DIRECT);
        for options in [strict, strict.direct(true), by_flag] {
            let Some(file) = open(&engine, &path, options) else { return };
            let alignment = file.direct_alignment().unwrap();
            assert_eq!(alignment.write_offset, alignment.offset);
            // The answer of a plain call, or of the simulated kernel, which refuses unaligned transfers on any file system.
            let plain = {
                use std::os::unix::fs::OpenOptionsExt;
                fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path).unwrap()
            };
            let refused = plain.read_at(&mut [0; 100], 1).is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL));
            let expected = if refused || rig.on == On::Sim { libc::EINVAL } else { 0 };
            engine.block_on(async {
                assert_eq!(our_errno(&file.read_at(vec![0; 100], 1).await.0), expected);
                assert_eq!(our_errno(&file.write_at(vec![0; 100], 1).await.0), expected);
                assert_eq!(our_errno(&file.readv_at(vec![vec![0; 1], vec![0; 2]], 0).await.0), expected);
                assert_eq!(file.read_at(Aligned::new(PAGE), 4096).await.0, Ok(PAGE));
                assert_eq!(file.write_at(Aligned::new(PAGE), 4096).await.0, Ok(PAGE));
            });
            assert_eq!(bounced(&engine), 0);
        }
    }

    fn a_chain_refuses_an_unaligned_step_before_any_step_is_performed(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        fs::write(&path, pattern(8192, 1)).unwrap();
        let Some(file) = open(&engine, &path, direct()) else { return };
        let chain = engine
            .chain()
            .then(op::Write::at(&file, Aligned::new(PAGE), 0))
            .then(op::Write::at(&file, vec![1; 10], 4096))
            .then(op::Sync::data(&file));
        let mut results = engine.block_on(chain.submit().unwrap());
        assert_eq!(our_errno(&results.take::<op::Write<Aligned>>().0), libc::ECANCELED);
        assert_eq!(our_errno(&results.take::<op::Write<Vec<u8>>>().0), libc::EINVAL);
        assert_eq!(our_errno(&results.take::<op::Sync>()), libc::ECANCELED);
        assert!(fs::read(&path).unwrap() == pattern(8192, 1));
        let chain = engine.chain().then(op::Write::at(&file, Aligned::new(PAGE), 0)).then(op::Sync::data(&file));
        assert!(engine.block_on(chain.submit().unwrap()).all_succeeded());
        assert!(fs::read(&path).unwrap()[..PAGE] == [0; PAGE]);
        assert_at_rest(&engine);
    }

    fn a_handle_does_only_what_it_was_opened_for(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        fs::write(&path, b"kept").unwrap();
        let Some(reader) = open(&engine, &path, reading().direct(true)) else { return };
        let writer = open(&engine, &path, OpenOptions::new().write(true).direct(true)).unwrap();
        engine.block_on(async {
            assert_eq!(our_errno(&reader.write_at("lost", 1).await.0), libc::EBADF);
            assert_eq!(our_errno(&reader.write_at(vec![1; 100_001], 1).await.0), libc::EBADF);
            assert_eq!(our_errno(&writer.read_at(vec![0; 1], 1).await.0), libc::EBADF);
            assert_eq!(writer.write_at("e", 1).await.0, Ok(1));
        });
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        let folder = open(&engine, dir.path(), reading().direct(true));
        assert!(folder.is_none_or(|folder| our_errno(&engine.block_on(folder.read_at(vec![0; 1], 0)).0) == libc::EISDIR));
    }

    fn a_write_that_fails_in_part_reports_the_part(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let Some(file) = open(&engine, &path, direct()) else { return };
        // The end of this write is past the largest length of a file.
        let most = largest_file(&path);
        let (len, offset) = (300_000, most - 100_000);
        let (written, _) = engine.block_on(file.write_at(vec![7; len], offset));
        match written {
            Ok(written) => {
                assert!(written <= 100_000);
                assert_eq!(fs::metadata(&path).unwrap().len(), offset + written as u64);
            }
            Err(error) => assert!([libc::EFBIG, libc::ENOSPC, libc::EINVAL].contains(&error.errno()), "{error}"),
        }
        let plain = fs::OpenOptions::new().write(true).open(&path).unwrap().write_at(&[7; 10], most);
        let expected = plain.map_or_else(|error| error.raw_os_error().unwrap(), |_| 0);
        assert_eq!(our_errno(&engine.block_on(file.write_at(vec![7; 10], most)).0), expected);
        assert_at_rest(&engine);
    }

    fn closing_gives_back_every_descriptor_of_the_file(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let Some(file) = open(&engine, &path, direct()) else { return };
        let write = file.write_at("through the page cache", 3);
        let closing = file.close();
        engine.block_on(async {
            assert_eq!(write.await.0, Ok(22));
            closing.await.unwrap();
        });
        assert_eq!(descriptors_of(&path), 0);
        let file = open(&engine, &path, direct()).unwrap();
        engine.block_on(file.write_at("again", 3)).0.unwrap();
        drop(file);
        assert_eq!(descriptors_of(&path), 0);
    }

    fn a_direct_file_stays_direct(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let Some(file) = open(&engine, &dir.path().join("file"), direct()) else { return };
        for nth in 0..10 {
            engine.block_on(file.write_at("x", nth * 1000)).0.unwrap();
            // SAFETY: the call takes and answers numbers only.
            let flags = unsafe { libc::fcntl(file.descriptor() as i32, libc::F_GETFL) };
            assert!(flags & libc::O_DIRECT != 0);
        }
    }

    fn buffers_come_back_once_and_those_of_dropped_futures_are_freed(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        fs::write(&path, pattern(100_000, 1)).unwrap();
        let Some(file) = open(&engine, &path, direct()) else { return };
        let drops = Drops::default();
        for nth in 0..20 {
            drop(file.read_at(drops.buffer(5000), nth * 100 + 1));
            drop(file.write_at(drops.buffer(70_000), nth * 100 + 1));
        }
        drop(file);
        until(&engine, || drops.count() == 40);
        until(&engine, || descriptors_of(&path) == 0);
        assert_eq!(fs::metadata(&path).unwrap().len(), 100_000);
        assert_at_rest(&engine);
    }

    fn a_cancelled_transfer_reports_how_many_bytes_it_moved(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        fs::write(&path, vec![0; 8 << 20]).unwrap();
        let Some(file) = open(&engine, &path, direct()) else { return };
        for nth in 0..8 {
            let write = file.write_at(vec![nth + 1; 4 << 20], 77);
            engine.turn(Some(std::time::Duration::ZERO));
            write.cancel();
            let written = match engine.block_on(write).0 {
                Ok(written) => written,
                Err(Error::Cancelled) => 0,
                Err(error) => panic!("{error}"),
            };
            let there = fs::read(&path).unwrap();
            assert!(there[77..77 + written].iter().all(|byte| *byte == nth + 1));
            assert!(there[77 + written..].iter().all(|byte| *byte != nth + 1));
        }
        assert_at_rest(&engine);
    }
}
