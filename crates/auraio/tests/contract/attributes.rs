//! The metadata of files, and the attributes that can be set.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use auraio::{Metadata, Timestamp, op};

use crate::support::*;

fn assert_same(ours: &Metadata, theirs: &fs::Metadata) {
    assert_eq!(
        (ours.dev(), ours.ino(), ours.mode(), ours.nlink(), ours.uid(), ours.gid(), ours.rdev()),
        (theirs.dev(), theirs.ino(), theirs.mode(), theirs.nlink(), theirs.uid(), theirs.gid(), theirs.rdev())
    );
    assert_eq!(
        (ours.len(), ours.blocks(), u64::from(ours.block_size())),
        (theirs.size(), theirs.blocks(), theirs.blksize())
    );
    let time = |moment: Timestamp| (moment.seconds, i64::from(moment.nanos));
    assert_eq!(time(ours.accessed()), (theirs.atime(), theirs.atime_nsec()));
    assert_eq!(time(ours.modified()), (theirs.mtime(), theirs.mtime_nsec()));
    assert_eq!(time(ours.changed()), (theirs.ctime(), theirs.ctime_nsec()));
    if let (Some(ours), Ok(theirs)) = (ours.created(), theirs.created()) {
        let since = theirs.duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!((ours.seconds, ours.nanos), (since.as_secs() as i64, since.subsec_nanos()));
    }
    assert_eq!(
        (ours.is_file(), ours.is_dir(), ours.is_symlink()),
        (theirs.is_file(), theirs.is_dir(), theirs.is_symlink())
    );
}

properties! {
    fn the_metadata_of_a_path_is_that_of_stat(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = dir.path().join("file");
        let link = dir.path().join("link");
        fs::write(&file, pattern(5000, 1)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        engine.block_on(async {
            let all: [&Path; 6] =
                [&file, &link, dir.path(), Path::new("/dev/null"), Path::new("/proc/self/status"), Path::new("/")];
            for path in all {
                // Files in /proc have another time at each stat.
                if !path.starts_with("/proc") {
                    assert_same(&engine.metadata(path).await.unwrap(), &fs::metadata(path).unwrap());
                    let itself = engine.symlink_metadata(path).await.unwrap();
                    assert_same(&itself, &fs::symlink_metadata(path).unwrap());
                }
            }
            assert!(engine.submit(op::Stat::symlink(&link)).await.unwrap().is_symlink());
            assert!(engine.metadata("/proc/self/status").await.unwrap().is_file());
        });
        assert_at_rest(&engine);
    }

    fn the_metadata_of_an_open_file_is_that_of_fstat(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, &pattern(777, 1));
        let (pipe, fifo) = fifo(&engine, dir.path());
        engine.block_on(async {
            assert_same(&file.metadata().await.unwrap(), &fs::metadata(&path).unwrap());
            assert_same(&pipe.metadata().await.unwrap(), &fs::metadata(&fifo).unwrap());
            assert!(pipe.metadata().await.unwrap().is_fifo());
            file.write_at("more", 10_000).await.0.unwrap();
            assert_eq!(file.metadata().await.unwrap().len(), 10_004);
            fs::remove_file(&path).unwrap();
            assert_eq!(file.metadata().await.unwrap().nlink(), 0);
            let proc = engine.open("/proc/self/status", reading()).await.unwrap();
            assert!(proc.metadata().await.unwrap().is_file());
            assert!(proc.metadata_now().is_none());
        });
        if file.is_local() {
            assert_eq!(file.metadata_now().unwrap().unwrap().len(), 10_004);
        }
        assert_at_rest(&engine);
    }

    fn permissions_owner_and_times_are_set(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"x");
        let before = fs::metadata(&path).unwrap();
        engine.block_on(async {
            for mode in [0o600, 0o644, 0o1777, 0o4711, 0] {
                file.set_mode(mode).await.unwrap();
                assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
            }
            let (accessed, modified) =
                (Timestamp { seconds: 1_000_000_001, nanos: 123_456_789 }, Timestamp { seconds: -5, nanos: 500_000_000 });
            file.set_times(accessed, modified).await.unwrap();
            let now = fs::metadata(&path).unwrap();
            assert_eq!((now.atime(), now.atime_nsec()), (1_000_000_001, 123_456_789));
            assert_eq!((now.mtime(), now.mtime_nsec()), (-5, 500_000_000));
            assert_eq!(file.metadata().await.unwrap().modified(), modified);
            let never = Timestamp { seconds: 1, nanos: 1_000_000_000 };
            assert_eq!(our_errno(&file.set_times(never, never).await), libc::EINVAL);
            file.set_owner(None, None).await.unwrap();
            file.set_owner(Some(before.uid()), Some(before.gid())).await.unwrap();
            // SAFETY: the call takes nothing and answers a number.
            if unsafe { libc::geteuid() } == 0 {
                file.set_owner(Some(12_345), None).await.unwrap();
                file.set_owner(None, Some(23_456)).await.unwrap();
                let now = fs::metadata(&path).unwrap();
                assert_eq!((now.uid(), now.gid()), (12_345, 23_456));
            } else {
                println!("not root: the owner was left as it is");
            }
        });
        assert_at_rest(&engine);
    }

    fn no_time_is_taken_for_utime_now_or_utime_omit(rig) {
        // UTIME_NOW and UTIME_OMIT are numbers of nanoseconds that no moment has.
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"x");
        let then = Timestamp { seconds: 1_000_000_000, nanos: 0 };
        engine.block_on(file.set_times(then, then)).unwrap();
        for nanos in [0x3fff_ffff, 0x3fff_fffe] {
            let word = Timestamp { seconds: 5, nanos };
            let refused = engine.block_on(file.set_times(word, word));
            assert_eq!(our_errno(&refused), libc::EINVAL, "{nanos:#x}: {refused:?}");
        }
        assert_eq!(fs::metadata(&path).unwrap().mtime(), 1_000_000_000);
    }
}
