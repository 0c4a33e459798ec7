//! Every way to open a file, and to close it.

use std::{fs, os::unix::fs::PermissionsExt};

use auraio::{Error, OpenOptions, op, op::Resolve};

use crate::support::*;

/// The answer of a plain openat2 from the working directory.
fn openat2_errno(path: &str, flags: i32, resolve: u64) -> i32 {
    let how = [flags as u64, 0, resolve];
    let path = std::ffi::CString::new(path).unwrap();
    // SAFETY: `how` has the layout of `struct open_how`, and the path is a C string.
    let fd =
        unsafe { libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), how.as_ptr(), size_of_val(&how)) };
    if fd >= 0 {
        // SAFETY: it was just opened, and nobody else has it.
        unsafe { libc::close(fd as i32) };
    }
    errno_of(fd)
}

properties! {
    fn every_option_of_an_open_works_as_documented(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let none = OpenOptions::new();
        engine.block_on(async {
            assert_eq!(our_errno(&engine.open(&path, reading()).await), libc::ENOENT);
            let file = engine.open(&path, none.write(true).create_new(true).mode(0o640)).await.unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
            file.write_at("0123456789", 0).await.0.unwrap();
            assert_eq!(our_errno(&engine.open(&path, none.write(true).create_new(true)).await), libc::EEXIST);
            engine.open(&path, none.write(true).create(true)).await.unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"0123456789");
            let log = engine.open(&path, none.append(true).read(true)).await.unwrap();
            log.write("ab").await.0.unwrap();
            assert_eq!(log.read_at(vec![0; 20], 8).await.1[..4], *b"89ab");
            engine.open(&path, none.write(true).truncate(true)).await.unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), 0);
            let folder = none.read(true).flags(libc::O_DIRECTORY);
            assert_eq!(our_errno(&engine.open(&path, folder).await), libc::ENOTDIR);
            engine.open(dir.path(), folder).await.unwrap();
            assert_eq!(our_errno(&engine.open(dir.path(), none.write(true)).await), libc::EISDIR);
            assert_eq!(our_errno(&engine.open(path.join("below"), reading()).await), libc::ENOTDIR);
            assert_eq!(our_errno(&engine.open("", reading()).await), libc::ENOENT);
            assert_eq!(our_errno(&engine.open("x".repeat(5000), reading()).await), libc::ENAMETOOLONG);
            std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
            let unfollowed = none.read(true).flags(libc::O_NOFOLLOW);
            assert_eq!(our_errno(&engine.open(dir.path().join("link"), unfollowed).await), libc::ELOOP);
            engine.open(dir.path().join("link"), reading()).await.unwrap();
        });
        assert_at_rest(&engine);
    }

    fn a_created_file_has_the_same_mode_as_one_by_a_plain_open(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        engine.block_on(engine.open(&ours, creating())).unwrap();
        fs::write(&theirs, "").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&theirs));
    }

    fn an_opened_descriptor_has_close_on_exec_and_belongs_to_the_engine(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"x");
        // SAFETY: a number only.
        let flags = unsafe { libc::fcntl(i32::try_from(file.descriptor()).unwrap(), libc::F_GETFD) };
        assert_ne!(flags & libc::FD_CLOEXEC, 0);
        assert!(file.is_seekable());
        assert_eq!(descriptors_of(&path), 1);
        engine.block_on(file.close()).unwrap();
        assert_eq!(descriptors_of(&path), 0);
        let resolved = engine.open(&path, reading().resolve(Resolve::NO_SYMLINKS));
        let file = engine.block_on(resolved).unwrap();
        // SAFETY: a number only.
        let flags = unsafe { libc::fcntl(i32::try_from(file.descriptor()).unwrap(), libc::F_GETFD) };
        assert_ne!(flags & libc::FD_CLOEXEC, 0);
        drop(file);
        assert_eq!(descriptors_of(&path), 0, "dropping a file closes it");
    }

    fn beneath_refuses_to_leave_the_directory(rig) {
        let engine = rig.engine();
        let beneath = reading().resolve(Resolve::BENEATH);
        for path in ["Cargo.toml", "src/lib.rs", "src/../Cargo.toml"] {
            engine.block_on(engine.open(path, beneath)).unwrap();
        }
        for path in ["../auraio/Cargo.toml", "..", "src/../../auraio", "/etc/passwd", "/proc/self/cwd/Cargo.toml"] {
            let refused = engine.block_on(engine.open(path, beneath));
            assert_eq!(our_errno(&refused), libc::EXDEV, "{path}: {refused:?}");
            engine.block_on(engine.open(path, reading())).unwrap();
        }
    }

    fn every_way_to_walk_a_path_answers_what_openat2_answers(rig) {
        let (engine, dir) = (rig.engine(), dir());
        fs::write(dir.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        let folder = dir.path().to_str().unwrap();
        for resolve in
            [Resolve::NO_CROSS_DEVICE, Resolve::NO_MAGIC_LINKS, Resolve::NO_SYMLINKS, Resolve::BENEATH, Resolve::IN_ROOT]
        {
            for path in
                [format!("{folder}/file"), format!("{folder}/link"), "/proc/self/exe".into(), "Cargo.toml".into(), "/x".into()]
            {
                let expected = openat2_errno(&path, libc::O_RDONLY | libc::O_CLOEXEC, resolve.bits());
                let got = engine.block_on(engine.open(&path, reading().resolve(resolve)));
                assert_eq!(our_errno(&got), expected, "{path} {resolve:?}: {got:?}");
            }
        }
    }

    fn an_open_from_the_cache_alone_fails_with_eagain_if_the_cache_is_not_enough(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("made");
        let options = creating().resolve(Resolve::CACHED);
        let refused = engine.block_on(engine.open(&path, options));
        assert_eq!(our_errno(&refused), libc::EAGAIN, "{refused:?}");
        assert!(!path.exists());
        assert_at_rest(&engine);
    }

    fn many_files_are_opened_at_once(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let paths: Vec<_> = (0..100).map(|nth| dir.path().join(format!("{nth}"))).collect();
        for (nth, path) in paths.iter().enumerate() {
            fs::write(path, format!("contents of {nth}")).unwrap();
        }
        let opens: Vec<_> = paths.iter().map(|path| engine.open(path, reading())).collect();
        engine.block_on(async {
            for (nth, open) in opens.into_iter().enumerate() {
                let file = open.await.unwrap();
                let (read, buffer) = file.read_at(vec![0; 32], 0).await;
                assert_eq!(buffer[..read.unwrap()], *format!("contents of {nth}").as_bytes());
                file.close().await.unwrap();
            }
        });
        assert!(paths.iter().all(|path| descriptors_of(path) == 0));
        assert_at_rest(&engine);
    }

    fn an_error_carries_its_number_call_and_path(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let missing = dir.path().join("missing");
        let expect = |error: Error, call: &str| {
            let Error::Os { errno, call: named, path } = error else { panic!("{call}: {error:?}") };
            assert_eq!((errno, named, path.as_ref()), (libc::ENOENT, call, Some(&missing)));
        };
        engine.block_on(async {
            expect(engine.open(&missing, reading()).await.unwrap_err(), "open");
            expect(engine.read_path(&missing, vec![0; 8]).await.0.unwrap_err(), "open");
            expect(engine.metadata(&missing).await.unwrap_err(), "stat");
            expect(engine.remove_file(&missing).await.unwrap_err(), "unlink");
            expect(engine.submit(op::RemoveDir::new(&missing)).await.unwrap_err(), "rmdir");
            expect(engine.rename(&missing, dir.path().join("b")).await.unwrap_err(), "rename");
            expect(engine.submit(op::HardLink::new(&missing, dir.path().join("b"))).await.unwrap_err(), "link");
            let below = missing.join("below");
            let error = engine.create_dir(&below).await.unwrap_err();
            assert!(matches!(&error, Error::Os { errno: libc::ENOENT, call: "mkdir", path: Some(path) } if *path == below));
            assert_eq!(error.to_string(), format!("ENOENT: mkdir '{}'", below.display()));
            let error = engine.submit(op::Symlink::new("target", &below)).await.unwrap_err();
            assert!(matches!(error, Error::Os { errno: libc::ENOENT, call: "symlink", path: Some(_) }));
        });
    }

    fn a_path_with_a_nul_is_refused_and_nothing_is_done(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let good = dir.path().join("good");
        fs::write(&good, "x").unwrap();
        let bad = dir.path().join("go\0od");
        let refused = |error: Error| assert_eq!(error, Error::NulInPath(bad.clone()));
        engine.block_on(async {
            refused(engine.open(&bad, creating()).await.unwrap_err());
            refused(engine.metadata(&bad).await.unwrap_err());
            refused(engine.submit(op::Stat::symlink(&bad)).await.unwrap_err());
            refused(engine.remove_file(&bad).await.unwrap_err());
            refused(engine.submit(op::RemoveDir::new(&bad)).await.unwrap_err());
            refused(engine.create_dir(&bad).await.unwrap_err());
            refused(engine.rename(&bad, &good).await.unwrap_err());
            refused(engine.rename(&good, &bad).await.unwrap_err());
            refused(engine.submit(op::HardLink::new(&good, &bad)).await.unwrap_err());
            refused(engine.submit(op::Symlink::new(&bad, &good)).await.unwrap_err());
            let (read, buffer) = engine.read_path(&bad, vec![1, 2, 3]).await;
            refused(read.unwrap_err());
            assert_eq!(buffer, [1, 2, 3]);
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(submitted(&engine), 0);
    }
}
