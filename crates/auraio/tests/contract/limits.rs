//! How many operations are in flight, and how many calls hand them over.

use std::{fs, time::Duration};

use auraio::{Error, op};

use crate::support::*;

properties! {
    fn never_more_is_in_flight_than_the_queue_is_deep(rig) {
        let dir = dir();
        let engine = rig.builder().queue_depth(4).build().unwrap();
        let file = file_of(&engine, &dir.path().join("file"), &pattern(200 * 64, 1));
        let mut reads = Vec::new();
        let within = || assert!(in_flight_of_each(&engine) <= 4, "{:?}", engine.stats());
        for nth in 0..200 {
            reads.push(file.read_at(vec![0; 64], nth * 64));
            within();
        }
        engine.block_on(async {
            for (nth, read) in reads.into_iter().enumerate() {
                let (read, buffer) = read.await;
                assert_eq!(read, Ok(64));
                assert!(buffer == pattern(200 * 64, 1)[nth * 64..][..64]);
                within();
            }
        });
        assert_at_rest(&engine);
    }

    fn when_reads_of_pipes_that_fill_the_queue_end_others_go_on(rig) {
        let dir = dir();
        let engine = rig.builder().queue_depth(4).build().unwrap();
        assert!(pin(0));
        let (pipe, path) = fifo(&engine, dir.path());
        let reads: Vec<_> = (0..20).map(|_| pipe.read(vec![0; 4])).collect();
        engine.turn(Some(Duration::ZERO));
        assert!(in_flight_of_each(&engine) <= 4, "{:?}", engine.stats());
        for nth in 0..20u8 {
            fill(&path, &[nth; 4]);
        }
        engine.block_on(async {
            let mut got = Vec::new();
            for read in reads {
                let (read, buffer) = read.await;
                assert_eq!(read, Ok(4));
                got.push(buffer[0]);
            }
            got.sort_unstable();
            assert!(got.into_iter().eq(0..20));
        });
        assert_at_rest(&engine);
    }

    fn operations_of_the_helper_keep_to_the_queue_depth_too(rig) {
        let dir = dir();
        let engine = rig.builder().queue_depth(4).build().unwrap();
        let file = file_of(&engine, &dir.path().join("file"), b"x");
        let mut sets = Vec::new();
        for _ in 0..100 {
            sets.push(file.set_mode(0o600));
            assert!(in_flight_of_each(&engine) <= 4, "{:?}", engine.stats());
        }
        engine.block_on(async {
            for set in sets {
                set.await.unwrap();
            }
        });
        assert_at_rest(&engine);
    }

    fn a_queue_of_one_serves_everything(rig) {
        let dir = dir();
        let engine = rig.builder().queue_depth(1).submit_batch(1).build().unwrap();
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, &pattern(1000, 1));
        let nops: Vec<_> = (0..20).map(|_| engine.submit(op::Nop)).collect();
        let paths: Vec<_> = (0..10).map(|_| engine.read_path(&path, vec![0; 1000])).collect();
        let chain = (0..8).fold(engine.chain(), |chain, _| chain.then(op::Write::at(&file, pattern(10, 1), 0)));
        let chain = chain.submit().unwrap();
        let vectors = file.readv_at(vec![vec![0; 1]; 1500], 0);
        engine.block_on(async {
            for nop in nops {
                nop.await.unwrap();
            }
            for path in paths {
                let (read, buffer) = path.await;
                assert_eq!(read, Ok(1000));
                assert!(buffer == pattern(1000, 1));
            }
            assert!(chain.await.all_succeeded());
            assert_eq!(vectors.await.0, Ok(1000));
            file.close().await.unwrap();
        });
        assert_at_rest(&engine);
    }

    fn a_chain_longer_than_the_queue_depth_is_performed_alone(rig) {
        let dir = dir();
        let engine = rig.builder().queue_depth(4).build().unwrap();
        let file = file_of(&engine, &dir.path().join("file"), b"");
        let chains: Vec<_> = (0..5u64)
            .map(|nth| {
                let steps = (0..32).fold(engine.chain(), |chain, step| {
                    chain.then(op::Write::at(&file, vec![1], nth * 32 + step))
                });
                steps.submit().unwrap()
            })
            .collect();
        let reads: Vec<_> = (0..20).map(|_| file.read_at(vec![0; 1], 0)).collect();
        engine.block_on(async {
            for chain in chains {
                assert!(chain.await.all_succeeded());
            }
            for read in reads {
                read.await.0.unwrap();
            }
            assert_eq!(file.metadata().await.unwrap().len(), 160);
        });
        assert_at_rest(&engine);
    }

    fn paths_that_have_to_wait_for_room_are_read_when_there_is_some(rig) {
        // More than the ring's file table has places, all handed over at once by a flush.
        let dir = dir();
        let engine = rig.builder().queue_depth(256).build().unwrap();
        assert!(pin(0));
        let (pipe, _) = fifo(&engine, dir.path());
        let path = dir.path().join("file");
        fs::write(&path, pattern(100, 1)).unwrap();
        let blockers: Vec<_> = (0..256).map(|_| pipe.read(vec![0; 1])).collect();
        engine.turn(Some(Duration::ZERO));
        let reads: Vec<_> = (0..200).map(|_| engine.read_path(&path, vec![0; 100])).collect();
        blockers.iter().for_each(auraio::OpFuture::cancel);
        engine.block_on(async {
            for blocker in blockers {
                assert_eq!(blocker.await.0, Err(Error::Cancelled));
            }
            for read in reads {
                let (read, buffer) = read.await;
                assert_eq!(read, Ok(100));
                assert!(buffer == pattern(100, 1));
            }
        });
        assert_at_rest(&engine);
    }

    fn a_batch_is_handed_over_when_it_is_full_in_one_call(rig) {
        if rig.on != On::Uring {
            println!("skipped: only with io_uring are there calls to count");
            return;
        }
        let engine = rig.builder().submit_batch(16).build().unwrap();
        assert!(pin(0));
        // The first operation makes the ring.
        engine.block_on(engine.submit(op::Nop)).unwrap();
        let enters = |engine: &auraio::Engine| engine.stats().rings.iter().map(|ring| ring.enters).sum::<u64>();
        let before = enters(&engine);
        let nops: Vec<_> = (0..64).map(|_| engine.submit(op::Nop)).collect();
        assert_eq!(enters(&engine) - before, 4);
        engine.block_on(async {
            for nop in nops {
                nop.await.unwrap();
            }
        });
        let made = enters(&engine) - before;
        assert!((4..=5).contains(&made), "{made} calls for four batches");
    }

    fn numbers_out_of_range_are_refused(rig) {
        for builder in [
            rig.builder().queue_depth(0),
            rig.builder().queue_depth(32_769),
            rig.builder().submit_batch(0),
            rig.builder().submit_batch(1025),
            rig.builder().threads_max(0),
            rig.builder().threads_max(1025),
        ] {
            assert!(matches!(builder.build(), Err(Error::InvalidInput(_))));
        }
        for builder in [rig.builder().queue_depth(32_768), rig.builder().submit_batch(1024), rig.builder().threads_max(1)] {
            let engine = builder.build().unwrap();
            engine.block_on(engine.submit(op::Nop)).unwrap();
        }
    }
}

/// The largest number of operations that any ring holds in flight.
fn in_flight_of_each(engine: &auraio::Engine) -> u64 {
    engine.stats().rings.iter().map(|ring| ring.in_flight).max().unwrap_or(0)
}
