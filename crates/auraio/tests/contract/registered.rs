//! Registered files and memory: an operation never hits another file or other memory, even if files are closed, numbers reused
//! or memory unregistered meanwhile.

use std::{
    fs::{self, OpenOptions as StdOptions},
    io::Read as _,
    os::fd::{AsRawFd, OwnedFd},
    sync::mpsc,
    thread,
};

use auraio::{BorrowedMemory, Completion, Engine, Error, Registration, op};

use crate::support::*;

/// After this many transfers every ring with a table has registered the file.
const OFTEN: usize = 40;

fn fixed_files(engine: &Engine) -> u64 {
    engine.stats().rings.iter().map(|ring| ring.fixed_files).sum()
}

fn fixed_buffers(engine: &Engine) -> u64 {
    engine.stats().rings.iter().map(|ring| ring.fixed_buffers).sum()
}

properties! {
    fn a_file_whose_descriptor_number_was_used_before_is_read_right(rig) {
        let (engine, dir) = (rig.engine(), dir());
        for round in 0..12 {
            let bytes = pattern(64, round);
            let file = file_of(&engine, &dir.path().join(round.to_string()), &bytes);
            for _ in 0..OFTEN {
                let (read, buffer) = engine.block_on(file.read_at(vec![0; 64], 0));
                assert_eq!((read, buffer), (Ok(64), bytes.clone()));
            }
            engine.block_on(file.close()).unwrap();
        }
        if rig.on != On::Threads {
            assert!(fixed_files(&engine) > 0, "files that are used often are registered");
        }
        assert_at_rest(&engine);
    }

    fn more_files_than_a_table_has_places_are_all_read_right(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let files: Vec<_> = (0..20)
            .map(|number| file_of(&engine, &dir.path().join(number.to_string()), &pattern(64, number)))
            .collect();
        for _ in 0..OFTEN {
            let reads: Vec<_> = files.iter().map(|file| file.read_at(vec![0; 64], 0)).collect();
            for (number, read) in reads.into_iter().enumerate() {
                let (read, buffer) = engine.block_on(read);
                assert_eq!((read, buffer), (Ok(64), pattern(64, number)));
            }
        }
        for file in files {
            engine.block_on(file.close()).unwrap();
        }
        assert_at_rest(&engine);
    }

    fn closing_a_registered_file_empties_its_place(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (held, path) = fifo(&engine, dir.path());
        let mut reader = StdOptions::new().read(true).open(&path).unwrap();
        let writer = engine.block_on(engine.open(&path, auraio::OpenOptions::new().write(true))).unwrap();
        engine.block_on(held.close()).unwrap();
        for _ in 0..OFTEN {
            engine.block_on(writer.write("x")).0.unwrap();
        }
        engine.block_on(writer.close()).unwrap();
        // If a place still held the pipe, the reader would wait for more data.
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        assert_eq!(all, "x".repeat(OFTEN));
    }

    fn dropping_a_registered_file_empties_its_place(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        let file = file_of(&engine, &path, &pattern(64, 1));
        for _ in 0..OFTEN {
            engine.block_on(file.read_at(vec![0; 64], 0)).0.unwrap();
        }
        drop(file);
        assert_eq!(descriptors_of(&path), 0);
        let file = file_of(&engine, &dir.path().join("other"), &pattern(64, 2));
        assert_eq!(engine.block_on(file.read_at(vec![0; 64], 0)).1, pattern(64, 2));
    }

    fn a_file_that_the_port_of_another_thread_has_registered_can_be_closed(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (held, path) = fifo(&engine, dir.path());
        let reader = StdOptions::new().read(true).open(&path).unwrap();
        let writer = engine.block_on(engine.open(&path, auraio::OpenOptions::new().write(true))).unwrap();
        engine.block_on(held.close()).unwrap();
        let (give, take) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let elsewhere = thread::spawn({
            let engine = engine.clone();
            move || {
                let mut port = engine.port().unwrap();
                let mut completions: Vec<Completion> = Vec::new();
                for _ in 0..OFTEN {
                    port.submit(op::Write::at_position(&writer, "x"), 0);
                    port.wait(&mut completions, None);
                }
                give.send(writer).unwrap();
                // The port lives on, and its thread polls it when its bell rings.
                while stopped.try_recv().is_err() {
                    port.poll(&mut completions);
                    thread::yield_now();
                }
                completions.len()
            }
        });
        let writer = take.recv().unwrap();
        engine.block_on(writer.close()).unwrap();
        let mut all = String::new();
        (&reader).read_to_string(&mut all).unwrap();
        assert_eq!(all, "x".repeat(OFTEN));
        stop.send(()).unwrap();
        assert_eq!(elsewhere.join().unwrap(), OFTEN);
    }

    fn a_call_of_register_registers_a_file_at_once(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), &pattern(64, 1));
        file.register();
        let reads = 3;
        for _ in 0..reads {
            assert_eq!(engine.block_on(file.read_at(vec![0; 64], 0)).1, pattern(64, 1));
        }
        let expected = if rig.on == On::Threads { 0 } else { reads };
        assert_eq!(fixed_files(&engine), expected);
        engine.block_on(file.close()).unwrap();
    }

    fn an_adopted_descriptor_works_like_an_opened_file(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let path = dir.path().join("file");
        fs::write(&path, pattern(100, 1)).unwrap();
        let opened = StdOptions::new().read(true).write(true).open(&path).unwrap();
        let number = i64::from(opened.as_raw_fd());
        let mut file = engine.adopt(OwnedFd::from(opened)).unwrap();
        assert_eq!(file.descriptor(), number);
        assert_eq!(engine.block_on(file.read_at(vec![0; 100], 0)).1, pattern(100, 1));
        engine.block_on(file.write_at("new", 0)).0.unwrap();
        // Another file replaces it; operations under way finish on the one before.
        let under_way = file.read_at(vec![0; 3], 0);
        fs::write(dir.path().join("other"), "abc").unwrap();
        let other = StdOptions::new().read(true).open(dir.path().join("other")).unwrap();
        let before = std::mem::replace(&mut file, engine.adopt(OwnedFd::from(other)).unwrap());
        let closing = before.close();
        assert_eq!(engine.block_on(under_way).1, b"new");
        engine.block_on(closing).unwrap();
        assert_eq!(engine.block_on(file.read_at(vec![0; 3], 0)).1, b"abc");
        assert_eq!(descriptors_of(&path), 0);
    }

    fn reads_and_writes_on_registered_memory_move_the_right_bytes(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), &pattern(100_000, 1));
        let buffer = engine.register_buffer(vec![0; 65_536]).unwrap();
        let (read, mut buffer) = engine.block_on(file.read_at(buffer, 17));
        assert_eq!(read, Ok(65_536));
        assert_eq!(&buffer[..], &pattern(100_000, 1)[17..17 + 65_536]);
        buffer.fill(7);
        let (written, buffer) = engine.block_on(file.write_at(buffer, 0));
        assert_eq!(written, Ok(65_536));
        drop(buffer);
        let expected = [&[7; 65_536][..], &pattern(100_000, 1)[65_536..]].concat();
        assert_eq!(fs::read(dir.path().join("file")).unwrap(), expected);
        assert_eq!(fixed_buffers(&engine) > 0, rig.on == On::Uring);
    }

    fn vectors_inside_and_outside_a_registered_buffer_are_read_right(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), &pattern(40, 1));
        let mut memory = vec![0u8; 8192];
        let mut outside = vec![0u8; 10];
        // SAFETY: the vector outlives the registration, and is not resized.
        let registration = unsafe { engine.register_memory(memory.as_mut_ptr(), 4096) }.unwrap();
        // SAFETY: the pieces do not overlap, and outlive the reads, which are awaited.
        let piece = |from: &mut [u8]| unsafe { BorrowedMemory::new(from.as_mut_ptr(), from.len()) };
        let (first, second) = memory.split_at_mut(100);
        let within = vec![piece(&mut first[..10]), piece(&mut second[..10])];
        assert_eq!(engine.block_on(file.readv_at(within, 0)).0, Ok(20));
        let beyond = vec![piece(&mut first[20..30]), piece(&mut outside)];
        assert_eq!(engine.block_on(file.readv_at(beyond, 20)).0, Ok(20));
        drop(registration);
        let bytes = pattern(40, 1);
        assert_eq!((&memory[..10], &memory[100..110]), (&bytes[..10], &bytes[10..20]));
        assert_eq!((&memory[20..30], &outside[..]), (&bytes[20..30], &bytes[30..]));
    }

    fn files_whose_driver_knows_no_vectors_are_read_right_into_registered_vectors(rig) {
        let engine = rig.engine();
        // The driver of this file cannot read into more than one piece of memory at once.
        let path = "/proc/self/environ";
        let expected = fs::read(path).unwrap();
        let file = engine.block_on(engine.open(path, auraio::OpenOptions::new().read(true))).unwrap();
        let mut memory = vec![0u8; 4096];
        // SAFETY: the vector outlives the registration, and is not resized.
        let registration = unsafe { engine.register_memory(memory.as_mut_ptr(), 4096) }.unwrap();
        let (first, second) = memory.split_at_mut(10);
        // SAFETY: the pieces do not overlap, and outlive the read, which is awaited.
        let piece = |from: &mut [u8]| unsafe { BorrowedMemory::new(from.as_mut_ptr(), from.len()) };
        let pieces = vec![piece(&mut first[..10]), piece(&mut second[..20])];
        let (read, pieces) = engine.block_on(file.readv_at(pieces, 0));
        drop((pieces, registration));
        let wanted = expected.len().min(30);
        // A driver may give fewer bytes at a time than asked for, but they are the file's.
        let read = read.unwrap();
        assert!(read >= wanted.min(10), "{read}");
        assert_eq!(&memory[..read], &expected[..read]);
    }

    fn unregistering_memory_during_an_operation_does_no_harm(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let (pipe, path) = fifo(&engine, dir.path());
        let mut memory = vec![0u8; 4096];
        // SAFETY: the vector outlives the registration and the read, and nobody uses it in between.
        let (registration, borrowed) = unsafe {
            let registration = engine.register_memory(memory.as_mut_ptr(), memory.len()).unwrap();
            (registration, BorrowedMemory::new(memory.as_mut_ptr(), memory.len()))
        };
        let read = pipe.read(borrowed);
        engine.turn(Some(std::time::Duration::ZERO));
        drop(registration);
        // If the place in the table was emptied too early, other memory would take it.
        let other = engine.register_buffer(vec![0; 4096]).unwrap();
        fill(&path, b"late");
        assert_eq!(engine.block_on(read).0, Ok(4));
        assert_eq!(&memory[..4], b"late");
        assert!(other.iter().all(|&byte| byte == 0));
    }

    fn memory_that_was_unregistered_is_used_as_ordinary_memory(rig) {
        let (engine, dir) = (rig.engine(), dir());
        let file = file_of(&engine, &dir.path().join("file"), &pattern(4096, 1));
        for round in 0..20 {
            // Freed and mapped again each time, most likely at the same address.
            let buffer = engine.register_buffer(vec![0; 1 << 20]).unwrap();
            let (read, buffer) = engine.block_on(file.read_at(buffer, 0));
            assert_eq!((read, &buffer[..4096]), (Ok(4096), &pattern(4096, 1)[..]), "round {round}");
            drop(buffer);
            let (read, plain) = engine.block_on(file.read_at(vec![0; 1 << 20], 0));
            assert_eq!((read, &plain[..4096]), (Ok(4096), &pattern(4096, 1)[..]), "round {round}");
        }
    }

    fn memory_that_cannot_be_registered_is_refused_and_nothing_changes(rig) {
        let engine = rig.engine();
        let mut memory = vec![0u8; 8192];
        let address = memory.as_mut_ptr();
        // SAFETY: the vector outlives every registration; memory outside it is refused.
        let register = |offset: usize, len: usize| unsafe { engine.register_memory(address.wrapping_add(offset), len) };
        let refused = |outcome: Result<Registration, Error>| matches!(outcome, Err(Error::InvalidInput(_)));
        let first = register(0, 4096).unwrap();
        assert!(refused(register(0, 0)));
        assert!(refused(register(0, (1 << 30) + 1)));
        assert!(refused(register(0, 4096)), "the same again");
        assert!(refused(register(4095, 2)), "one byte in common");
        let second = register(4096, 4096).unwrap();
        drop(first);
        let again = register(0, 4096).unwrap();
        drop((second, again));
        let block = engine.acquire(4096).unwrap();
        assert!(refused(engine.register_buffer(block).map(|_| unreachable!("pool memory is registered by itself"))));
    }
}

/// Memory that the kernel does not pin: mapped from a file, shared.
#[test]
fn file_backed_memory_is_refused() {
    let engine = Engine::builder().build().unwrap();
    if engine.backend().name() != "uring" {
        println!("skipped: {}", engine.backend_reason());
        return;
    }
    // On a disk: a file on tmpfs would be pinned.
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.as_file().set_len(8192).unwrap();
    let (shared, both) = (libc::MAP_SHARED, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a new mapping of two pages; the system picks the address.
    let mapped = unsafe { libc::mmap(std::ptr::null_mut(), 8192, both, shared, file.as_file().as_raw_fd(), 0) };
    assert_ne!(mapped, libc::MAP_FAILED);
    // SAFETY: the mapping outlives the call.
    let outcome = unsafe { engine.register_memory(mapped.cast(), 8192) };
    match outcome {
        Err(error) => assert_eq!(error, Error::NotRegistrable),
        Ok(registration) => println!("this file system's pages can be pinned: {registration:?}"),
    }
    // SAFETY: it was mapped above, and is not registered.
    unsafe { libc::munmap(mapped, 8192) };
}
