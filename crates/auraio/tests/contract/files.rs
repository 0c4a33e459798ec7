//! Syncs, lengths and blocks of open files.

use std::{
    fs,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::Path,
};

use auraio::op::{AllocateMode, SyncRangeFlags};
use auraio::{OpenOptions, op};

use crate::support::*;

const MODES: [(AllocateMode, i32); 8] = [
    (AllocateMode::Extend, 0),
    (AllocateMode::KeepSize, libc::FALLOC_FL_KEEP_SIZE),
    (AllocateMode::PunchHole, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE),
    (AllocateMode::Zero, libc::FALLOC_FL_ZERO_RANGE),
    (AllocateMode::ZeroKeepSize, libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE),
    (AllocateMode::Collapse, libc::FALLOC_FL_COLLAPSE_RANGE),
    (AllocateMode::Insert, libc::FALLOC_FL_INSERT_RANGE),
    (AllocateMode::Unshare, libc::FALLOC_FL_UNSHARE_RANGE),
];

/// Allocates in two files, in one by the engine and in the other by the plain call, and compares them.
fn allocate_and_compare(rig: Rig, dir: &Path) {
    let engine = rig.engine();
    let bytes = pattern(100_000, 5);
    for (mode, flags) in MODES {
        for (offset, len) in [(0, 4096), (8192, 16_384), (4096, 200_000), (1000, 5000), (200_000, 4096), (0, 0)] {
            let (ours, theirs) = (dir.join("ours"), dir.join("theirs"));
            let file = file_of(&engine, &ours, &bytes);
            fs::write(&theirs, &bytes).unwrap();
            let plain = fs::OpenOptions::new().write(true).open(&theirs).unwrap();
            // SAFETY: the call takes numbers only.
            let expected = unsafe { libc::fallocate(plain.as_raw_fd(), flags, offset, len) };
            let expected = errno_of(expected.into());
            let got = engine.block_on(file.allocate(mode, offset as u64, len as u64));
            assert_eq!(our_errno(&got), expected, "{mode:?} {offset} {len}: {got:?}");
            assert!(fs::read(&ours).unwrap() == fs::read(&theirs).unwrap(), "{mode:?} {offset} {len}");
            engine.block_on(file.close()).unwrap();
        }
    }
}

properties! {
    fn every_mode_of_allocation_does_the_same_as_fallocate(rig) {
        let dir = dir();
        allocate_and_compare(rig, dir.path());
    }

    fn every_mode_of_allocation_does_the_same_as_fallocate_on_a_tmpfs(rig) {
        match tempfile::tempdir_in("/dev/shm") {
            Ok(dir) => allocate_and_compare(rig, dir.path()),
            Err(error) => println!("skipped: no /dev/shm: {error}"),
        }
    }

    fn allocation_fails_where_fallocate_fails(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        let file = engine.block_on(engine.open(&path, reading())).unwrap();
        let refused = engine.block_on(file.allocate(AllocateMode::Extend, 0, 4096));
        assert!(matches!(refused, Err(auraio::Error::Os { errno: libc::EBADF, call: "fallocate", .. })), "{refused:?}");
        let (pipe, _) = fifo(&engine, dir.path());
        assert_eq!(our_errno(&engine.block_on(pipe.allocate(AllocateMode::Extend, 0, 4096))), libc::ESPIPE);
    }

    fn a_length_is_cut_and_extended_with_zeros(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"0123456789");
        engine.block_on(async {
            file.set_len(4).await.unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"0123");
            file.set_len(6).await.unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"0123\0\0");
            file.set_len(0).await.unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"");
            assert_eq!(our_errno(&file.set_len(1 << 63).await), libc::EINVAL);
            assert_eq!(our_errno(&file.set_len(i64::MAX as u64).await), libc::EFBIG);
            let read_only = engine.open(&path, reading()).await.unwrap();
            assert_eq!(our_errno(&read_only.set_len(1).await), libc::EINVAL);
        });
    }

    fn syncs_succeed_and_fail_where_the_plain_calls_do(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, &pattern(100_000, 1));
        let (pipe, _) = fifo(&engine, dir.path());
        engine.block_on(async {
            file.write_at("new", 5).await.0.unwrap();
            file.sync_all().await.unwrap();
            file.sync_data().await.unwrap();
            let all = SyncRangeFlags::all();
            for (offset, len, flags) in
                [(0, 0, all), (4096, 8192, SyncRangeFlags::WRITE), (0, 1 << 40, all), (7, 11, SyncRangeFlags::empty())]
            {
                file.sync_range(offset, len, flags).await.unwrap();
            }
            let refused = file.sync_range(1 << 63, 1, all).await;
            assert_eq!(our_errno(&refused), libc::EINVAL, "{refused:?}");
            assert_eq!(our_errno(&pipe.sync_all().await), libc::EINVAL);
            let refused = pipe.sync_data().await;
            assert!(matches!(refused, Err(auraio::Error::Os { errno: libc::EINVAL, call: "fdatasync", .. })));
            assert_eq!(our_errno(&pipe.sync_range(0, 0, all).await), libc::ESPIPE);
        });
    }

    fn every_advice_is_accepted_and_changes_no_byte(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, &pattern(100_000, 1));
        let (pipe, _) = fifo(&engine, dir.path());
        use op::Advice::{DontNeed, NoReuse, Normal, Random, Sequential, WillNeed};
        engine.block_on(async {
            for advice in [Normal, Random, Sequential, WillNeed, DontNeed, NoReuse] {
                for (offset, len) in [(0, 0), (4096, 8192), (0, 1 << 40), (1 << 40, 1)] {
                    file.advise(offset, len, advice).await.unwrap();
                }
            }
            assert_eq!(our_errno(&pipe.advise(0, 0, Random).await), libc::ESPIPE);
        });
        assert!(fs::read(&path).unwrap() == pattern(100_000, 1));
    }

    fn a_transfer_that_the_file_was_not_opened_for_fails_and_gives_its_buffer_back(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        fs::write(&path, "contents").unwrap();
        engine.block_on(async {
            let writing = engine.open(&path, OpenOptions::new().write(true)).await.unwrap();
            let (read, buffer) = writing.read_at(vec![7; 10], 0).await;
            assert!(matches!(read, Err(auraio::Error::Os { errno: libc::EBADF, call: "read", .. })), "{read:?}");
            assert_eq!(buffer, [7; 10]);
            let (read, buffers) = writing.readv_at(vec![vec![7; 2]; 3], 0).await;
            assert_eq!((our_errno(&read), buffers), (libc::EBADF, vec![vec![7; 2]; 3]));
            let only_reading = engine.open(&path, reading()).await.unwrap();
            let (written, buffer) = only_reading.write_at(String::from("no"), 0).await;
            assert!(matches!(written, Err(auraio::Error::Os { errno: libc::EBADF, call: "write", .. })), "{written:?}");
            assert_eq!(buffer, "no");
            let (written, buffer) = only_reading.write("no").await;
            assert_eq!((our_errno(&written), buffer), (libc::EBADF, "no"));
            let folder = engine.open(dir.path(), reading()).await.unwrap();
            assert_eq!(our_errno(&folder.read_at(vec![0; 1], 0).await.0), libc::EISDIR);
        });
        assert_eq!(fs::read(&path).unwrap(), b"contents");
    }

    fn each_operation_gives_back_the_buffer_that_it_took(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), &pattern(5000, 1));
        let drops = Drops::default();
        engine.block_on(async {
            for len in [0, 1, 4096] {
                let buffer = drops.buffer(len);
                let address = buffer.bytes.as_ptr();
                let (read, buffer) = file.read_at(buffer, 100).await;
                assert_eq!((read.unwrap(), buffer.bytes.as_ptr()), (len, address));
                let (written, buffer) = file.write_at(buffer, 100).await;
                assert_eq!((written.unwrap(), buffer.bytes.as_ptr()), (len, address));
                let (read, buffer) = engine.read_path(dir.path().join("none"), buffer).await;
                assert_eq!((our_errno(&read), buffer.bytes.as_ptr()), (libc::ENOENT, address));
                let (read, buffer) = engine.read_path("a\0b", buffer).await;
                assert_eq!((our_errno(&read), buffer.bytes.as_ptr()), (libc::EINVAL, address));
                let (read, buffer) = engine.read_path(dir.path().join("file"), buffer).await;
                assert_eq!((read.unwrap(), buffer.bytes.as_ptr()), (len, address));
                let (read, mut buffers) = file.readv_at(vec![buffer, drops.buffer(10)], 0).await;
                assert_eq!(read.unwrap(), len + 10);
                assert_eq!(buffers.swap_remove(0).bytes.as_ptr(), address);
            }
        });
        // Three buffers, and three more that went with them.
        assert_eq!(drops.count(), 6);
        assert!(file_is_intact(&dir.path().join("file")));
    }
}

fn file_is_intact(path: &Path) -> bool {
    let mut bytes = vec![0; 5000];
    fs::File::open(path).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    bytes == pattern(5000, 1)
}
