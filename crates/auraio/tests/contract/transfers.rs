//! Reads and writes of every kind have the same results as plain calls.

use std::{fs, os::unix::fs::FileExt};

use auraio::{IoBuf, IoBufMut, OpenOptions, op};

use crate::support::*;

const GIB: u64 = 1 << 30;

properties! {
    fn a_nop_completes(rig) {
        let engine = rig.engine();
        engine.block_on(engine.submit(op::Nop)).unwrap();
        assert_eq!((submitted(&engine), completed(&engine)), (1, 1));
        assert_at_rest(&engine);
    }

    fn bytes_written_at_an_offset_are_in_the_file_and_are_read_back(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = engine.block_on(engine.open(&path, creating())).unwrap();
        // The last two are so large that they go to a worker.
        for (salt, (len, offset)) in
            [(1, 0), (10, 3), (4096, 4096), (5000, 12_345), (300_000, 70_001), (3 << 20, 1 << 20)].into_iter().enumerate()
        {
            let bytes = pattern(len, salt);
            let (written, back) = engine.block_on(file.write_at(bytes.clone(), offset));
            assert_eq!((written.unwrap(), &back), (len, &bytes));
            let (read, back) = engine.block_on(file.read_at(vec![0; len], offset));
            assert_eq!(read.unwrap(), len);
            assert!(back == bytes, "{len} at {offset}");
            let mut plain = vec![0; len];
            fs::File::open(&path).unwrap().read_exact_at(&mut plain, offset).unwrap();
            assert!(plain == bytes, "{len} at {offset}");
        }
        assert_at_rest(&engine);
    }

    fn every_kind_of_buffer_can_be_written_and_a_slice_is_a_part(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        engine.block_on(async {
            let file = engine.open(&path, creating()).await.unwrap();
            assert_eq!(file.write_at("ab", 0).await.0.unwrap(), 2);
            assert_eq!(file.write_at(b"cd".as_slice(), 2).await.0.unwrap(), 2);
            assert_eq!(file.write_at(String::from("ef"), 4).await.0.unwrap(), 2);
            assert_eq!(file.write_at(vec![b'g', b'h'].into_boxed_slice(), 6).await.0.unwrap(), 2);
            assert_eq!(file.write_at(std::sync::Arc::<[u8]>::from(*b"ij"), 8).await.0.unwrap(), 2);
            assert_eq!(file.write_at(vec![b'.', b'k', b'l', b'.'].slice(1..3), 10).await.0.unwrap(), 2);
            assert_eq!(fs::read(&path).unwrap(), b"abcdefghijkl");
            let (read, part) = file.read_at(vec![b'-'; 6].slice(2..=3), 4).await;
            assert_eq!((read.unwrap(), part.into_inner()), (2, b"--ef--".to_vec()));
        });
    }

    fn a_read_across_the_end_is_short_and_one_past_it_reads_nothing(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let bytes = pattern(1000, 1);
        let file = file_of(&engine, &dir.path().join("file"), &bytes);
        for (offset, expected) in [(0, 1000), (999, 1), (1000, 0), (1001, 0), (1 << 40, 0)] {
            let (read, buffer) = engine.block_on(file.read_at(vec![0xee; 4096], offset));
            assert_eq!(read.unwrap(), expected);
            assert!(buffer[..expected] == bytes[1000 - expected..], "at {offset}");
            assert!(buffer[expected..].iter().all(|byte| *byte == 0xee), "at {offset}");
        }
    }

    fn a_transfer_of_no_bytes_makes_no_call(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"contents");
        let before = submitted(&engine);
        engine.block_on(async {
            assert_eq!(file.read_at(Vec::new(), 0).await, (Ok(0), Vec::new()));
            assert_eq!(file.read(Vec::new()).await, (Ok(0), Vec::new()));
            assert_eq!(file.write_at(Vec::new(), 3).await, (Ok(0), Vec::new()));
            assert_eq!(file.write("").await, (Ok(0), ""));
            assert_eq!(file.readv_at(Vec::<Vec<u8>>::new(), 0).await, (Ok(0), Vec::new()));
            assert_eq!(file.writev_at(vec!["", ""], 9).await, (Ok(0), vec!["", ""]));
        });
        assert_eq!(submitted(&engine), before);
        assert_eq!(fs::read(&path).unwrap(), b"contents");
    }

    fn vectors_past_the_limit_of_one_call_go_on_in_the_next(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        // 2,000 buffers, some of them empty, of which one call takes 1,024.
        let buffers: Vec<Vec<u8>> = (0..2000).map(|nth| pattern(nth % 7, nth)).collect();
        let whole = buffers.concat();
        engine.block_on(async {
            let file = engine.open(&path, creating()).await.unwrap();
            let (written, back) = file.writev_at(buffers.clone(), 11).await;
            assert_eq!(written.unwrap(), whole.len());
            assert!(back == buffers);
            assert!(fs::read(&path).unwrap()[11..] == whole);
            let (read, back) = file.readv_at(buffers.iter().map(|buffer| vec![0; buffer.len()]).collect(), 11).await;
            assert_eq!(read.unwrap(), whole.len());
            assert!(back == buffers);
            // At the file's own position. The end of the file comes in the second call.
            let back: Vec<Vec<u8>> = (0..2000).map(|_| vec![0; 4]).collect();
            let (read, back) = engine.submit(op::ReadVectored::at_position(&file, back)).await;
            let expected = fs::read(&path).unwrap();
            assert_eq!(read.unwrap(), expected.len());
            assert!(back.concat()[..expected.len()] == expected);
            file.close().await.unwrap();
        });
        assert_at_rest(&engine);
    }

    fn a_vectored_transfer_that_ends_early_reports_how_many_bytes_it_moved(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), &pattern(100, 3));
        let buffers = vec![vec![0xee; 60], vec![0xee; 60], vec![0xee; 60]];
        let (read, buffers) = engine.block_on(file.readv_at(buffers, 10));
        assert_eq!(read.unwrap(), 90);
        assert!(buffers.concat()[..90] == pattern(100, 3)[10..]);
        assert!(buffers.concat()[90..].iter().all(|byte| *byte == 0xee));
    }

    fn positions_past_four_gib_are_kept_whole(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("sparse");
        engine.block_on(async {
            let file = engine.open(&path, creating()).await.unwrap();
            for at in [4 * GIB - 3, 4 * GIB + 5, 5 * GIB, 6 * GIB + 1] {
                assert_eq!(file.write_at(at.to_le_bytes().to_vec(), at).await.0.unwrap(), 8);
                let parts = vec![at.to_be_bytes()[..3].to_vec(), at.to_be_bytes()[3..].to_vec()];
                assert_eq!(file.writev_at(parts, at + 100).await.0.unwrap(), 8);
            }
            assert_eq!(file.metadata().await.unwrap().len(), 6 * GIB + 109);
            let plain = fs::File::open(&path).unwrap();
            for at in [4 * GIB - 3, 4 * GIB + 5, 5 * GIB, 6 * GIB + 1] {
                assert_eq!(file.read_at(vec![0; 8], at).await.1, at.to_le_bytes());
                assert_eq!(file.readv_at(vec![vec![0; 5], vec![0; 3]], at + 100).await.1.concat(), at.to_be_bytes());
                let mut eight = [0; 8];
                plain.read_exact_at(&mut eight, at).unwrap();
                assert_eq!(eight, at.to_le_bytes());
            }
            // If an offset were cut to its low 32 bits, it would be in a hole of the file.
            assert_eq!(file.read_at(vec![1; 8], GIB).await.1, [0; 8]);
            file.set_len(7 * GIB).await.unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), 7 * GIB);
            file.sync_range(5 * GIB, 5 * GIB, op::SyncRangeFlags::WRITE).await.unwrap();
            file.advise(4 * GIB, 5 * GIB, op::Advice::DontNeed).await.unwrap();
        });
    }

    fn an_offset_past_the_largest_is_refused_and_does_not_move_the_position(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"0123456789");
        // If u64::MAX were passed on unchanged, it would mean the file's own position.
        for offset in [1 << 63, u64::MAX - 1, u64::MAX] {
            let (read, _) = engine.block_on(file.read_at(vec![0; 4], offset));
            assert_eq!(our_errno(&read), libc::EINVAL, "read at {offset:#x}: {read:?}");
            let (read, _) = engine.block_on(file.readv_at(vec![vec![0; 4]], offset));
            assert_eq!(our_errno(&read), libc::EINVAL, "readv at {offset:#x}: {read:?}");
            let (written, _) = engine.block_on(file.write_at("xy", offset));
            assert_eq!(our_errno(&written), libc::EINVAL, "write at {offset:#x}: {written:?}");
        }
        assert_eq!(fs::read(&path).unwrap(), b"0123456789");
        assert_eq!(engine.block_on(file.read(vec![0; 4])).1, b"0123");
    }

    fn a_read_at_the_largest_offset_answers_the_same_as_pread(rig) {
        use std::os::fd::AsRawFd;
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"0123456789");
        let plain = fs::File::open(&path).unwrap();
        for offset in [i64::MAX, i64::MAX - 3, i64::MAX - 4096] {
            let mut buffer = [0u8; 8];
            // SAFETY: the buffer has eight bytes.
            let expected = unsafe { libc::pread(plain.as_raw_fd(), buffer.as_mut_ptr().cast(), 8, offset) };
            let expected = errno_of(expected as i64);
            let (read, _) = engine.block_on(file.read_at(vec![0; 8], offset as u64));
            assert_eq!(our_errno(&read), expected, "{offset:#x}: {read:?}");
        }
    }

    fn reads_at_the_position_started_at_once_give_disjoint_chunks_in_order(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let bytes = pattern(50 * 100 + 30, 2);
        let file = file_of(&engine, &dir.path().join("file"), &bytes);
        let reads: Vec<_> = (0..52).map(|_| file.read(vec![0; 100])).collect();
        let mut whole = Vec::new();
        engine.block_on(async {
            for read in reads {
                let (read, buffer) = read.await;
                whole.extend_from_slice(&buffer[..read.unwrap()]);
            }
        });
        assert!(whole == bytes);
        assert_at_rest(&engine);
    }

    fn writes_at_the_position_started_at_once_follow_each_other(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = engine.block_on(engine.open(&path, creating())).unwrap();
        let parts: Vec<Vec<u8>> = (0..50).map(|nth| pattern(nth + 1, nth)).collect();
        let writes: Vec<_> = parts.iter().map(|part| file.write(part.clone())).collect();
        // Writes at an offset do not wait for them, and do not move the position.
        let aside = file.write_at("!", 100_000);
        engine.block_on(async {
            for (write, part) in writes.into_iter().zip(&parts) {
                assert_eq!(write.await.0.unwrap(), part.len());
            }
            assert_eq!(aside.await.0.unwrap(), 1);
        });
        assert!(fs::read(&path).unwrap()[..50 * 51 / 2] == parts.concat());
    }

    fn when_a_wait_for_the_position_is_cancelled_the_next_operation_gets_it(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), &pattern(1000, 1));
        let mut reads: Vec<_> = (0..10).map(|_| file.read(vec![0; 10])).collect();
        reads[3].cancel();
        reads[7].cancel();
        drop(reads.remove(5));
        let got = engine.block_on(async {
            let mut got = Vec::new();
            for read in reads {
                let (read, buffer) = read.await;
                got.push(read.map(|_| buffer));
            }
            got
        });
        let chunks: Vec<Vec<u8>> = got.into_iter().flatten().collect();
        assert!(chunks.len() >= 7);
        let mut distinct = chunks.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), chunks.len(), "two reads got the same chunk");
        assert_at_rest(&engine);
    }

    fn an_append_goes_to_the_end_whatever_the_offset(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("log");
        fs::write(&path, "begin ").unwrap();
        let file = engine.block_on(engine.open(&path, OpenOptions::new().append(true))).unwrap();
        let writes: Vec<_> = (0..50).map(|nth| file.write_at(format!("[{nth:03}]"), 0)).collect();
        engine.block_on(async {
            for write in writes {
                assert_eq!(write.await.0.unwrap(), 5);
            }
            assert_eq!(file.write("end").await.0.unwrap(), 3);
        });
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("begin ") && text.ends_with("end"), "{text}");
        let mut lines: Vec<&str> = text.as_bytes()[6..256].chunks(5).map(|c| std::str::from_utf8(c).unwrap()).collect();
        lines.sort_unstable();
        assert!(lines.into_iter().map(String::from).eq((0..50).map(|nth| format!("[{nth:03}]"))));
    }

    fn a_pipe_ignores_offsets(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (file, _) = fifo(&engine, dir.path());
        assert!(!file.is_seekable());
        engine.block_on(async {
            assert_eq!(file.write_at("hello ", 1000).await.0.unwrap(), 6);
            assert_eq!(file.writev_at(vec!["wor", "ld"], 5).await.0.unwrap(), 5);
            let (read, buffer) = file.read_at(vec![0; 8], 77).await;
            assert_eq!(&buffer[..read.unwrap()], b"hello wo");
            let (read, buffers) = file.readv_at(vec![vec![0; 2], vec![0; 2]], 3).await;
            assert_eq!((read.unwrap(), buffers.concat()), (3, b"rld\0".to_vec()));
            file.close().await.unwrap();
        });
    }

    fn a_read_of_an_empty_pipe_waits_for_data(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (file, path) = fifo(&engine, dir.path());
        let read = file.read(vec![0; 16]);
        engine.turn(Some(std::time::Duration::ZERO));
        let writer = std::thread::spawn(move || fill(&path, b"late"));
        let (read, buffer) = engine.block_on(read);
        assert_eq!(&buffer[..read.unwrap()], b"late");
        writer.join().unwrap();
    }

    fn a_nonblocking_pipe_is_waited_for_and_can_be_cancelled(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (_keep, path) = fifo(&engine, dir.path());
        let options = OpenOptions::new().read(true).write(true).flags(libc::O_NONBLOCK);
        let file = engine.block_on(engine.open(&path, options)).unwrap();
        let read = file.read(vec![0; 16]);
        engine.turn(Some(std::time::Duration::ZERO));
        read.cancel();
        let (outcome, buffer) = engine.block_on(read);
        assert!(matches!(our_errno(&outcome), libc::EAGAIN | libc::ECANCELED), "{outcome:?}");
        assert_eq!(buffer.len(), 16);
        assert_at_rest(&engine);
    }

    fn files_in_proc_are_read_though_their_length_is_zero(rig) {
        let engine = rig.engine();
        let (read, buffer) = engine.block_on(async {
            let file = engine.open("/proc/self/status", reading()).await.unwrap();
            assert!(!file.is_local());
            file.read_at(vec![0; 65_536], 0).await
        });
        assert!(buffer[..read.unwrap()].starts_with(b"Name:"));
    }

    fn a_write_to_a_full_device_fails_with_enospc(rig) {
        let engine = rig.engine();
        let (written, buffer) = engine.block_on(async {
            let full = engine.open("/dev/full", OpenOptions::new().write(true)).await.unwrap();
            full.write_at(vec![1; 100], 0).await
        });
        assert_eq!((our_errno(&written), buffer), (libc::ENOSPC, vec![1; 100]));
    }

    fn direct_transfers_work_where_the_file_system_has_them(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("direct");
        let file = match engine.block_on(engine.open(&path, creating().direct(true))) {
            Ok(file) => file,
            Err(error) => {
                println!("skipped: {error}");
                return;
            }
        };
        engine.block_on(async {
            for (salt, len) in [4096, 65_536, 3 << 20].into_iter().enumerate() {
                let mut buffer = Aligned::new(len);
                buffer.as_mut_slice().copy_from_slice(&pattern(len, salt));
                let (written, _) = file.write_at(buffer, 4096).await;
                assert_eq!(written.unwrap(), len);
                let (read, back) = file.read_at(Aligned::new(len), 4096).await;
                assert_eq!(read.unwrap(), len);
                assert!(back.as_slice() == pattern(len, salt));
                let end = 4096 + len as u64;
                let (read, _) = file.read_at(Aligned::new(8192), end - 4096).await;
                assert!(read.unwrap() >= 4096);
            }
            // Unaligned memory is refused if the kernel refuses it, and taken if not.
            let (read, back) = file.read_at(Aligned::new(8192).slice(1..4097), 4096).await;
            assert!(matches!(our_errno(&read), 0 | libc::EINVAL), "{read:?}");
            drop(back);
            file.close().await.unwrap();
        });
        assert!(fs::read(&path).unwrap()[4096..] == pattern(3 << 20, 2));
    }
}
