//! A close waits for the last share in its file, wherever that share lies: also in an operation that was never submitted.

use std::{sync::Arc, thread};

use auraio::{Engine, File, op};

use crate::{
    support::*,
    watch::{poll_once, until},
};

/// A file in which something keeps a share while its close begins; afterwards `let_go` gives the share up.
fn closes_after<T>(rig: Rig, keep: impl FnOnce(&Engine, &File) -> T, let_go: impl FnOnce(&Engine, T)) {
    let (engine, dir) = (rig.engine(), dir());
    let path = dir.path().join("file");
    let file = file_of(&engine, &path, b"contents");
    let kept = keep(&engine, &file);
    let mut close = file.close();
    assert!(poll_once(&mut close).is_pending(), "somebody has a share");
    let_go(&engine, kept);
    engine.block_on(close).unwrap();
    assert_eq!(descriptors_of(&path), 0);
}

scenarios! {
    fn after_an_operation_that_is_dropped(rig) {
        closes_after(rig, |_, file| op::Read::at(file, vec![0; 8], 0), |_, read| drop(read));
    }

    fn after_an_operation_that_is_dropped_on_another_thread(rig) {
        let elsewhere = |_: &Engine, sync: op::Sync| thread::spawn(move || drop(sync)).join().unwrap();
        closes_after(rig, |_, file| op::Sync::all(file), elsewhere);
    }

    fn after_a_read_of_nothing(rig) {
        let read = |engine: &Engine, read: op::Read<Vec<u8>>| assert_eq!(engine.block_on(engine.submit(read)).0, Ok(0));
        closes_after(rig, |_, file| op::Read::at(file, Vec::<u8>::new(), 0), read);
    }

    fn after_a_read_that_is_refused(rig) {
        let read = |engine: &Engine, read: op::Read<Vec<u8>>| assert!(engine.block_on(engine.submit(read)).0.is_err());
        closes_after(rig, |_, file| op::Read::at(file, vec![0; 1], u64::MAX), read);
    }

    fn after_a_batch_whose_reads_are_refused(rig) {
        closes_after(rig, |_, file| op::Read::at(file, vec![0; 1], u64::MAX), |engine, read| {
            let mut port = engine.port().unwrap();
            port.submit_batch([(read, 1)]);
            assert_eq!(port.wait_for(1, &mut Vec::new()), 1);
        });
    }

    fn after_a_read_by_a_port_that_is_refused(rig) {
        closes_after(rig, |_, file| op::Read::at(file, vec![0; 1], u64::MAX), |engine, read| {
            let mut port = engine.port().unwrap();
            port.submit(read, 1);
        });
    }

    fn after_a_chain_that_is_dropped(rig) {
        closes_after(rig, |engine, file| engine.chain().then(op::Sync::all(file)), |_, chain| drop(chain));
    }

    fn after_a_chain_that_is_refused(rig) {
        closes_after(rig, |engine, file| engine.chain().then(op::Read::at(file, vec![0; 1], 0)), |engine, chain| {
            let chain = chain.then(op::RemoveFile::new("a\0b"));
            assert!(!engine.block_on(chain.submit().unwrap()).all_succeeded());
        });
    }

    fn after_a_chain_that_cannot_be_linked(rig) {
        closes_after(rig, |engine, file| engine.chain().then(op::Read::at_position(file, vec![0; 1])), |_, chain| {
            assert!(chain.submit().is_err());
        });
    }

    fn that_nobody_waits_for(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"contents");
        let read = op::Read::at(&file, vec![0; 8], 0);
        drop(file.close());
        drop(read);
        until(|| descriptors_of(&path) == 0);
    }

    fn that_was_never_submitted(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let close = op::Close::new(file_of(&engine, &path, b"contents"));
        drop(close);
        until(|| descriptors_of(&path) == 0);
    }

    fn of_a_file_whose_engine_is_gone(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, b"contents");
        drop(engine);
        let read = op::Read::at(&file, vec![0; 8], 0);
        let close = file.close();
        thread::spawn(move || drop(read)).join().unwrap();
        pollster::block_on(close).unwrap();
        assert_eq!(descriptors_of(&path), 0);
    }

    fn of_a_file_that_is_shared(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = Arc::new(file_of(&engine, &path, b"contents"));
        let theirs = Arc::clone(&file);
        let reader = thread::spawn(move || {
            let read = op::Read::at(&theirs, vec![0; 8], 0);
            drop(theirs);
            read
        });
        let read = reader.join().unwrap();
        let close = Arc::into_inner(file).unwrap().close();
        drop(read);
        engine.block_on(close).unwrap();
    }
}
