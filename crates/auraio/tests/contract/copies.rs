//! Copies from one open file to another.

use std::{fs, os::fd::AsRawFd};

use auraio::{OpenOptions, op};

use crate::support::*;

properties! {
    fn a_copy_moves_the_bytes_and_neither_position(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let bytes = pattern(700_000, 3);
        let source = file_of(&engine, &dir.path().join("source"), &bytes);
        let target = file_of(&engine, &dir.path().join("target"), &[7; 50]);
        engine.block_on(async {
            for (from, to, len) in [(0, 0, 1), (1, 20, 300_000), (699_999, 5, 1), (100_000, 700_000, 600_000)] {
                assert_eq!(source.copy_range_to(from, &target, to, len).await, Ok(len));
                let (read, copy) = target.read_at(vec![0; len as usize], to).await;
                assert_eq!(read, Ok(len as usize));
                assert!(copy == bytes[from as usize..][..len as usize], "{from} {to} {len}");
            }
            assert_eq!(source.read(vec![0; 3]).await.1, bytes[..3]);
            assert_eq!(target.read(vec![0; 1]).await.1, bytes[..1]);
        });
    }

    fn a_copy_that_meets_the_end_is_short(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let source = file_of(&engine, &dir.path().join("source"), b"0123456789");
        let path = dir.path().join("target");
        let target = file_of(&engine, &path, b"");
        engine.block_on(async {
            assert_eq!(source.copy_range_to(4, &target, 0, 100).await, Ok(6));
            assert_eq!(source.copy_range_to(0, &target, 6, u64::MAX).await, Ok(10));
            assert_eq!(source.copy_range_to(10, &target, 0, 100).await, Ok(0));
            assert_eq!(source.copy_range_to(1 << 40, &target, 0, 100).await, Ok(0));
            assert_eq!(source.copy_range_to(0, &target, 0, 0).await, Ok(0));
        });
        assert_eq!(fs::read(&path).unwrap(), b"4567890123456789");
    }

    fn a_copy_is_refused_where_the_plain_call_refuses(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let source = file_of(&engine, &dir.path().join("source"), b"0123456789");
        let target = file_of(&engine, &dir.path().join("target"), b"abcdefghij");
        let (pipe, _) = fifo(&engine, dir.path());
        engine.block_on(async {
            let open = async |options| engine.open(dir.path().join("target"), options).await.unwrap();
            let read_only = open(reading()).await;
            let refused = source.copy_range_to(0, &read_only, 0, 5).await;
            let named = matches!(refused, Err(auraio::Error::Os { errno: libc::EBADF, call: "copy_file_range", .. }));
            assert!(named, "{refused:?}");
            let appending = open(OpenOptions::new().append(true)).await;
            assert_eq!(our_errno(&source.copy_range_to(0, &appending, 0, 5).await), libc::EBADF);
            let writing = open(OpenOptions::new().write(true)).await;
            assert_eq!(our_errno(&writing.copy_range_to(0, &target, 0, 5).await), libc::EBADF);
            assert_eq!(our_errno(&source.copy_range_to(0, &source, 2, 5).await), libc::EINVAL);
            assert_eq!(source.copy_range_to(0, &source, 5, 5).await, Ok(5));
            assert_ne!(our_errno(&source.copy_range_to(0, &pipe, 0, 5).await), 0);
            assert_ne!(our_errno(&pipe.copy_range_to(0, &target, 0, 5).await), 0);
            let refused = source.copy_range_to(1 << 63, &target, 0, 5).await;
            assert!(matches!(refused, Err(auraio::Error::InvalidInput(_))), "{refused:?}");
        });
        assert_eq!(fs::read(dir.path().join("target")).unwrap(), b"abcdefghij");
        assert_at_rest(&engine);
    }

    fn another_file_system_is_told_as_the_kernel_tells_it(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return println!("skipped: no /dev/shm") };
        let source = file_of(&engine, &dir.path().join("source"), b"0123456789");
        let target = file_of(&engine, &other.path().join("target"), b"");
        let plain = [dir.path().join("source"), other.path().join("target")]
            .map(|path| fs::OpenOptions::new().read(true).write(true).open(path).unwrap());
        let (mut from, mut to) = (0, 0);
        let (source_fd, target_fd) = (plain[0].as_raw_fd(), plain[1].as_raw_fd());
        // SAFETY: the offsets are places on this stack.
        let result = unsafe { libc::copy_file_range(source_fd, &raw mut from, target_fd, &raw mut to, 10, 0) };
        let expected = errno_of(result as i64);
        let copied = engine.block_on(source.copy_range_to(0, &target, 0, 10));
        assert_eq!(our_errno(&copied), expected, "{copied:?}");
    }

    fn the_close_of_either_file_waits_for_the_copy(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let bytes = pattern(3 << 20, 1);
        fs::write(dir.path().join("source"), &bytes).unwrap();
        for first in [true, false] {
            let source = engine.block_on(engine.open(dir.path().join("source"), reading())).unwrap();
            let target = engine.block_on(engine.open(dir.path().join("target"), creating())).unwrap();
            let copy = source.copy_range_to(0, &target, 0, bytes.len() as u64);
            // Nothing was handed over yet, so the copy is under way when the closes begin.
            let (source, target) = (source.close(), target.close());
            engine.block_on(async {
                let (one, two) = if first { (source, target) } else { (target, source) };
                one.await.unwrap();
                two.await.unwrap();
                assert_eq!(copy.await, Ok(bytes.len() as u64));
            });
            assert!(fs::read(dir.path().join("target")).unwrap() == bytes);
            assert_eq!(descriptors_of(&dir.path().join("source")) + descriptors_of(&dir.path().join("target")), 0);
        }
        assert_at_rest(&engine);
    }

    fn files_that_are_dropped_stay_open_for_the_copy(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let bytes = pattern(1 << 20, 1);
        let source = file_of(&engine, &dir.path().join("source"), &bytes);
        let target = engine.block_on(engine.open(dir.path().join("target"), creating())).unwrap();
        let copy = source.copy_range_to(0, &target, 0, bytes.len() as u64);
        drop((source, target));
        assert_eq!(engine.block_on(copy), Ok(bytes.len() as u64));
        assert!(fs::read(dir.path().join("target")).unwrap() == bytes);
        until(&engine, || descriptors_of(&dir.path().join("target")) == 0);
        assert_at_rest(&engine);
    }

    fn a_copy_is_a_step_of_a_chain(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let source = file_of(&engine, &dir.path().join("source"), b"0123456789");
        let target = file_of(&engine, &dir.path().join("target"), b"");
        for (len, goes_on) in [(10, true), (11, false)] {
            let chain = engine
                .chain()
                .then(op::CopyFileRange::new(&source, 0, &target, 0, len))
                .then(op::Sync::all(&target))
                .submit()
                .unwrap();
            let mut results = engine.block_on(chain);
            assert_eq!(results.take::<op::CopyFileRange>(), Ok(10));
            assert_eq!(results.take::<op::Sync>().is_ok(), goes_on, "a short copy is a failure, like a short write");
        }
        assert_at_rest(&engine);
    }
}
