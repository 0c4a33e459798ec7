//! Linked operations are performed in order, and a chain ends at the first step that does not transfer or do all that was asked.

use std::{fs, sync::Arc};

use auraio::{Error, op};

use crate::support::*;

type Write = op::Write<Vec<u8>>;
type Read = op::Read<Vec<u8>>;

properties! {
    fn a_write_then_a_sync_are_one_unit(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = engine.block_on(engine.open(&path, creating())).unwrap();
        let chain = engine.chain().then(op::Write::at(&file, vec![7; 5000], 100)).then(op::Sync::data(&file));
        let mut results = engine.block_on(chain.submit().unwrap());
        assert!(results.all_succeeded());
        assert_eq!(results.first_failure(), None);
        assert_eq!(results.take::<Write>(), (Ok(5000), vec![7; 5000]));
        assert_eq!(results.take::<op::Sync>(), Ok(()));
        assert!(fs::read(&path).unwrap()[100..] == [7; 5000]);
        assert_at_rest(&engine);
    }

    fn the_steps_of_a_chain_are_performed_in_order(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), &[0; 8]);
        engine.block_on(async {
            for round in 1..=20u8 {
                let mut chain = engine.chain();
                for step in 0..8 {
                    chain = chain.then(op::Write::at(&file, vec![round + step; 8], 0));
                    chain = chain.then(op::Read::at(&file, vec![0; 8], 0));
                }
                let mut results = chain.submit().unwrap().await;
                for step in 0..8 {
                    assert_eq!(results.take::<Write>().0, Ok(8));
                    assert_eq!(results.take::<Read>(), (Ok(8), vec![round + step; 8]));
                }
            }
        });
        assert_at_rest(&engine);
    }

    fn a_failing_step_cancels_those_behind_it_even_if_the_kernel_does_not_cut_its_link(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (path, missing) = (dir.path().join("file"), dir.path().join("missing"));
        let file = file_of(&engine, &path, b"kept");
        let read_only = engine.block_on(engine.open(&path, reading())).unwrap();
        let keep = || op::RemoveFile::new(&path);
        let chains = [
            engine.chain().then(op::RemoveFile::new(&missing)).then(keep()),
            engine.chain().then(op::Rename::new(&missing, dir.path().join("other"))).then(keep()),
            engine.chain().then(op::CreateDir::new(&path)).then(keep()),
            engine.chain().then(op::HardLink::new(&missing, dir.path().join("other"))).then(keep()),
            engine.chain().then(op::Stat::path(&missing)).then(keep()),
            engine.chain().then(op::Truncate::new(&read_only, 0)).then(keep()),
            engine.chain().then(op::Allocate::new(&file, op::AllocateMode::Extend, 0, 0)).then(keep()),
        ];
        for (number, chain) in chains.into_iter().enumerate() {
            let results = engine.block_on(chain.submit().unwrap());
            assert_eq!(results.first_failure(), Some(0), "chain {number}");
            assert_eq!(fs::read(&path).unwrap(), b"kept", "chain {number}");
        }
        assert_at_rest(&engine);
    }

    fn a_failing_step_cancels_those_behind_it_and_gives_every_buffer_back(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"before");
        let closed_to_writing = engine.block_on(engine.open(&path, reading())).unwrap();
        let drops = Drops::default();
        let chain = engine
            .chain()
            .then(op::Write::at(&file, b"B".to_vec(), 0))
            .then(op::Write::at(&closed_to_writing, drops.buffer(3), 0))
            .then(op::Read::at(&file, drops.buffer(3), 0))
            .then(op::RemoveFile::new(&path));
        let mut results = engine.block_on(chain.submit().unwrap());
        assert!(!results.all_succeeded());
        assert_eq!(results.first_failure(), Some(1));
        assert_eq!(results.take::<Write>().0, Ok(1));
        let (written, _) = results.take::<op::Write<Counted>>();
        assert_eq!(our_errno(&written), libc::EBADF);
        let (read, buffer) = results.take::<op::Read<Counted>>();
        assert_eq!((our_errno(&read), buffer.bytes.as_slice()), (libc::ECANCELED, [0; 3].as_slice()));
        assert_eq!(our_errno(&results.take::<op::RemoveFile>()), libc::ECANCELED);
        drop((buffer, results));
        assert_eq!(drops.count(), 2);
        assert_eq!(fs::read(&path).unwrap(), b"Before");
        assert_at_rest(&engine);
    }

    fn a_read_to_the_end_of_the_file_cancels_what_follows(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"0123456789");
        let chain = engine.chain().then(op::Read::at(&file, vec![0; 20], 5)).then(op::Truncate::new(&file, 0));
        let mut results = engine.block_on(chain.submit().unwrap());
        let (read, buffer) = results.take::<Read>();
        assert_eq!((read, &buffer[..5]), (Ok(5), b"56789".as_slice()));
        assert_eq!(results.take::<op::Truncate>(), Err(Error::Cancelled));
        assert_eq!(fs::read(&path).unwrap(), b"0123456789");
    }

    fn a_refused_step_stops_the_chain_before_anything_is_done(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"before");
        let before = submitted(&engine);
        let chain = engine
            .chain()
            .then(op::Write::at(&file, b"after!".to_vec(), 0))
            .then(op::CreateDir::new("a\0b"))
            .then(op::Open::new(&engine, &path, reading()))
            .then(op::Stat::path(&path));
        let mut results = engine.block_on(chain.submit().unwrap());
        let (written, buffer) = results.take::<Write>();
        assert_eq!((our_errno(&written), buffer), (libc::ECANCELED, b"after!".to_vec()));
        assert_eq!(results.take::<op::CreateDir>(), Err(Error::NulInPath("a\0b".into())));
        assert_eq!(our_errno(&results.take::<op::Open>()), libc::ECANCELED);
        assert_eq!(our_errno(&results.take::<op::Stat>()), libc::ECANCELED);
        assert_eq!(fs::read(&path).unwrap(), b"before");
        assert_eq!(submitted(&engine), before);
    }

    fn operations_that_cannot_be_linked_are_refused(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"0123456789");
        let other = engine.block_on(engine.open(&path, reading())).unwrap();
        let refused = |chain: auraio::Chain| assert!(matches!(chain.submit(), Err(Error::InvalidInput(_))));
        refused(engine.chain());
        refused((0..33).fold(engine.chain(), |chain, _| chain.then(op::Nop)));
        refused(engine.chain().then(op::Read::at_position(&file, vec![0; 4])));
        refused(engine.chain().then(op::ReadPath::new(&path, vec![0; 4])));
        refused(engine.chain().then(op::WriteVectored::at(&file, vec![vec![1]; 2000], 0)));
        refused(engine.chain().then(op::Nop).then(op::Close::new(other)));
        // A refused chain keeps no turn at a position, no file and no descriptor.
        assert_eq!(engine.block_on(file.read(vec![0; 4])), (Ok(4), b"0123".to_vec()));
        engine.block_on(file.close()).unwrap();
        assert_eq!(descriptors_of(&path), 0);
    }

    fn the_longest_chain_is_taken_whole(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), b"");
        let mut chain = engine.chain();
        for step in 0..32u8 {
            chain = chain.then(op::Write::at(&file, vec![step], step.into()));
        }
        let mut results = engine.block_on(chain.submit().unwrap());
        assert!((0..32).all(|_| results.take::<Write>().0 == Ok(1)));
        assert_eq!(engine.block_on(file.read_at(vec![0; 32], 0)).1, (0..32).collect::<Vec<u8>>());
    }

    fn a_chain_is_typed_step_by_step(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let at = |name: &str| dir.path().join(name);
        let chain = engine
            .chain()
            .then(op::CreateDir::new(at("folder")))
            .then(op::Open::new(&engine, at("folder/new"), creating()))
            .then(op::Rename::new(at("folder/new"), at("folder/named")))
            .then(op::Stat::path(at("folder/named")))
            .then(op::HardLink::new(at("folder/named"), at("second")));
        let mut results = engine.block_on(chain.submit().unwrap());
        results.take::<op::CreateDir>().unwrap();
        let file = results.take::<op::Open>().unwrap();
        results.take::<op::Rename>().unwrap();
        assert!(results.take::<op::Stat>().unwrap().is_file());
        results.take::<op::HardLink>().unwrap();
        // A step that no ring can perform is taken too, and a step that transfers nothing keeps its position in the chain.
        let chain = engine
            .chain()
            .then(op::Write::at(&file, vec![1], 0))
            .then(op::SetMode::new(&file, 0o600))
            .then(op::Read::at(&file, Vec::new(), 0))
            .then(op::Stat::file(&file));
        let mut results = engine.block_on(chain.submit().unwrap());
        results.take::<Write>().0.unwrap();
        results.take::<op::SetMode>().unwrap();
        assert_eq!(results.take::<Read>(), (Ok(0), Vec::new()));
        let metadata = results.take::<op::Stat>().unwrap();
        assert_eq!((metadata.len(), metadata.nlink(), metadata.mode() & 0o777), (1, 2, 0o600));
        assert_at_rest(&engine);
    }

    fn taking_another_type_than_the_step_has_panics_and_loses_no_result(rig) {
        let engine = rig.engine();
        let mut results = engine.block_on(engine.chain().then(op::Nop).then(op::Nop).submit().unwrap());
        let wrong = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| results.take::<Read>()));
        assert!(wrong.is_err());
        results.take::<op::Nop>().unwrap();
        let none = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| results.take::<op::Nop>()));
        assert!(none.is_err());
        engine.block_on(engine.submit(op::Nop)).unwrap();
    }

    fn a_chain_that_nobody_waits_for_goes_on(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"");
        let drops = Drops::default();
        let chain = engine
            .chain()
            .then(op::Write::at(&file, drops.buffer(10), 0))
            .then(op::Write::at(&file, drops.buffer(10), 10))
            .then(op::Sync::all(&file));
        drop(chain.submit().unwrap());
        drop(file);
        until_elsewhere(|| drops.count() == 2 && descriptors_of(&path) == 0);
        assert_eq!(fs::read(&path).unwrap(), [0; 20]);
    }

    fn a_close_waits_for_the_chains_of_its_file(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        for _ in 0..10 {
            let file = file_of(&engine, &path, b"");
            let chain = (0..10).fold(engine.chain(), |chain, nth| chain.then(op::Write::at(&file, vec![1; 10], nth * 10)));
            let chain = chain.submit().unwrap();
            let close = file.close();
            engine.block_on(async {
                close.await.unwrap();
                assert!(chain.await.all_succeeded());
            });
            assert_eq!(fs::read(&path).unwrap(), [1; 100]);
            assert_eq!(descriptors_of(&path), 0);
        }
        assert_at_rest(&engine);
    }

    fn a_step_on_a_pipe_holds_the_chain_up_until_it_fills(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let made = dir.path().join("made");
        let chain = engine.chain().then(op::Read::at(&pipe, vec![0; 4], 0)).then(op::CreateDir::new(&made));
        let chain = chain.submit().unwrap();
        engine.turn(Some(std::time::Duration::ZERO));
        assert!(!made.exists());
        fill(&path, b"go!!");
        let mut results = engine.block_on(chain);
        assert_eq!(results.take::<Read>(), (Ok(4), b"go!!".to_vec()));
        results.take::<op::CreateDir>().unwrap();
        assert!(made.is_dir());
    }

    fn closing_a_pipe_ends_a_chain_that_waits_for_it(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, _) = fifo(&engine, dir.path());
        let made = dir.path().join("made");
        let chain = engine.chain().then(op::Read::at(&pipe, vec![0; 4], 0)).then(op::CreateDir::new(&made));
        let chain = chain.submit().unwrap();
        engine.turn(Some(std::time::Duration::ZERO));
        engine.block_on(pipe.close()).unwrap();
        let mut results = engine.block_on(chain);
        assert_eq!(results.take::<Read>().0, Err(Error::Cancelled));
        assert_eq!(our_errno(&results.take::<op::CreateDir>()), libc::ECANCELED);
        assert!(!made.exists());
    }

    fn chains_of_many_threads_do_not_mix(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = Arc::new(file_of(&engine, &path, &[0; 64]));
        let workers: Vec<_> = (0..4u64)
            .map(|mine| {
                let (engine, file) = (engine.clone(), Arc::clone(&file));
                std::thread::spawn(move || {
                    for round in 0..50u8 {
                        let write = op::Write::at(&file, vec![round; 16], mine * 16);
                        let chain = engine.chain().then(write).then(op::Read::at(&file, vec![0; 16], mine * 16));
                        let mut results = engine.block_on(chain.submit().unwrap());
                        assert_eq!(results.take::<Write>().0, Ok(16));
                        assert_eq!(results.take::<Read>(), (Ok(16), vec![round; 16]));
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        assert_at_rest(&engine);
    }
}
