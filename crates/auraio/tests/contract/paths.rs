//! Operations on names do the same as the plain calls.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use auraio::{op, op::RenameFlags};

use crate::support::*;

properties! {
    fn a_rename_moves_and_replaces(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "a").unwrap();
        fs::write(at("b"), "b").unwrap();
        engine.block_on(engine.rename(at("a"), at("b"))).unwrap();
        assert!(!at("a").exists());
        assert_eq!(fs::read(at("b")).unwrap(), b"a");
        fs::create_dir(at("folder")).unwrap();
        assert_eq!(our_errno(&engine.block_on(engine.rename(at("b"), at("folder")))), libc::EISDIR);
        assert_eq!(our_errno(&engine.block_on(engine.rename(at("folder"), at("folder/below")))), libc::EINVAL);
    }

    fn a_rename_can_refuse_to_replace_and_can_exchange(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "a").unwrap();
        fs::write(at("b"), "b").unwrap();
        engine.block_on(async {
            let kept = engine.submit(op::Rename::new(at("a"), at("b")).flags(RenameFlags::NO_REPLACE)).await;
            assert_eq!(our_errno(&kept), libc::EEXIST);
            assert_eq!((fs::read(at("a")).unwrap(), fs::read(at("b")).unwrap()), (b"a".to_vec(), b"b".to_vec()));
            engine.submit(op::Rename::new(at("a"), at("b")).flags(RenameFlags::EXCHANGE)).await.unwrap();
            assert_eq!((fs::read(at("a")).unwrap(), fs::read(at("b")).unwrap()), (b"b".to_vec(), b"a".to_vec()));
            engine.submit(op::Rename::new(at("a"), at("c")).flags(RenameFlags::NO_REPLACE)).await.unwrap();
            let lost = engine.submit(op::Rename::new(at("a"), at("b")).flags(RenameFlags::EXCHANGE)).await;
            assert_eq!(our_errno(&lost), libc::ENOENT);
            let both = RenameFlags::EXCHANGE | RenameFlags::NO_REPLACE;
            assert_eq!(our_errno(&engine.submit(op::Rename::new(at("b"), at("c")).flags(both)).await), libc::EINVAL);
        });
    }

    fn files_and_directories_are_made_and_removed(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let at = |name: &str| dir.path().join(name);
        engine.block_on(async {
            engine.submit(op::CreateDir::new(at("folder")).mode(0o700)).await.unwrap();
            assert_eq!(fs::metadata(at("folder")).unwrap().permissions().mode() & 0o7777, 0o700);
            engine.create_dir(at("plain")).await.unwrap();
            fs::create_dir(at("theirs")).unwrap();
            assert_eq!(fs::metadata(at("plain")).unwrap().mode(), fs::metadata(at("theirs")).unwrap().mode());
            assert_eq!(our_errno(&engine.create_dir(at("folder")).await), libc::EEXIST);
            fs::write(at("folder/file"), "x").unwrap();
            assert_eq!(our_errno(&engine.submit(op::RemoveDir::new(at("folder"))).await), libc::ENOTEMPTY);
            assert_eq!(our_errno(&engine.submit(op::RemoveDir::new(at("folder/file"))).await), libc::ENOTDIR);
            assert_eq!(our_errno(&engine.remove_file(at("folder")).await), libc::EISDIR);
            engine.remove_file(at("folder/file")).await.unwrap();
            engine.submit(op::RemoveDir::new(at("folder"))).await.unwrap();
            assert!(!at("folder").exists());
            assert_eq!(our_errno(&engine.remove_file(at("folder")).await), libc::ENOENT);
        });
        assert_at_rest(&engine);
    }

    fn links_are_made(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "x").unwrap();
        engine.block_on(async {
            engine.submit(op::HardLink::new(at("file"), at("hard"))).await.unwrap();
            assert_eq!(fs::metadata(at("hard")).unwrap().ino(), fs::metadata(at("file")).unwrap().ino());
            assert_eq!(our_errno(&engine.submit(op::HardLink::new(at("file"), at("hard"))).await), libc::EEXIST);
            engine.submit(op::Symlink::new("no/such place", at("soft"))).await.unwrap();
            assert_eq!(fs::read_link(at("soft")).unwrap(), std::path::Path::new("no/such place"));
            assert_eq!(our_errno(&engine.submit(op::Symlink::new("x", at("soft"))).await), libc::EEXIST);
            // A hard link to a symbolic link is a symbolic link, as in link(2).
            engine.submit(op::HardLink::new(at("soft"), at("soft again"))).await.unwrap();
            assert!(fs::symlink_metadata(at("soft again")).unwrap().is_symlink());
            engine.remove_file(at("soft")).await.unwrap();
            assert!(fs::symlink_metadata(at("soft")).is_err());
        });
    }

    fn read_path_reads_from_the_start_up_to_the_length_of_the_buffer(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let bytes = pattern(10_000, 4);
        fs::write(&path, &bytes).unwrap();
        engine.block_on(async {
            for len in [1, 4096, 10_000, 10_001, 1 << 20] {
                let (read, buffer) = engine.read_path(&path, vec![0xee; len]).await;
                let read = read.unwrap();
                assert_eq!(read, len.min(10_000));
                assert!(buffer[..read] == bytes[..read] && buffer[read..].iter().all(|byte| *byte == 0xee));
            }
            let (read, _) = engine.read_path(dir.path(), vec![0; 10]).await;
            assert_eq!(our_errno(&read), libc::EISDIR);
            let (read, _) = engine.read_path(&path, Vec::new()).await;
            assert_eq!(read, Ok(0));
            let (read, _) = engine.read_path(dir.path().join("none"), Vec::new()).await;
            assert_eq!(our_errno(&read), libc::ENOENT, "nothing to read, but nothing to open either");
        });
        assert_eq!(descriptors_of(&path), 0);
        assert_at_rest(&engine);
    }

    fn many_paths_are_read_at_once(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let paths: Vec<_> = (0..300).map(|nth| dir.path().join(format!("{nth}"))).collect();
        for (nth, path) in paths.iter().enumerate() {
            fs::write(path, pattern(200 + nth, nth)).unwrap();
        }
        let reads: Vec<_> = paths.iter().map(|path| engine.read_path(path, vec![0; 600])).collect();
        engine.block_on(async {
            for (nth, read) in reads.into_iter().enumerate() {
                let (read, buffer) = read.await;
                assert!(buffer[..read.unwrap()] == pattern(200 + nth, nth), "{nth}");
            }
        });
        assert_at_rest(&engine);
    }
}
