//! Answers of a FUSE server that a local file system never gives: closes that fail, reads that are always told to come again,
//! and none at all.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test panics where something is not as it should be")]
#![allow(unsafe_code, reason = "mounts a file system")]

#[path = "fuse/server.rs"]
mod server;

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    sync::{atomic::Ordering, mpsc},
    thread,
    time::Duration,
};

use auraio::{BackendChoice, Engine, Error, OpenOptions, op};

use self::server::{BYTE, Mount};

/// The most reads of the server that one read of an engine may cause. The kernel asks twice for each call where it reads ahead.
const READS_MAX: u64 = 2 * 20;

/// An engine on each backend that can be had.
fn engines() -> Vec<(&'static str, Engine)> {
    let all = [("uring", BackendChoice::Uring), ("threads", BackendChoice::Threads)];
    let built = all.map(|(name, choice)| (name, Engine::builder().backend(choice).build()));
    let there = built.into_iter().filter_map(|(name, engine)| match engine {
        Ok(engine) => Some((name, engine)),
        Err(error) => {
            println!("skipped: {name}: {error}");
            None
        }
    });
    there.collect()
}

/// How often this process has a file open.
fn open_count(path: &Path) -> usize {
    let all = fs::read_dir("/proc/self/fd").unwrap();
    all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).filter(|open| open == path).count()
}

#[test]
fn a_close_is_performed_once_whatever_the_file_system_answers() {
    let Some(mount) = Mount::new() else { return };
    for (name, engine) in engines() {
        for errno in [0, libc::EINTR, libc::EAGAIN, libc::ECANCELED, libc::EIO] {
            let told = if errno == libc::EINTR { 0 } else { errno };
            mount.answers.flush.store(errno, Ordering::SeqCst);
            for write in [false, true] {
                let open = OpenOptions::new().read(true).write(write);
                let file = engine.block_on(engine.open(mount.file(), open)).unwrap();
                assert_eq!(open_count(&mount.file()), 1);
                let before = mount.answers.flushes.load(Ordering::SeqCst);
                let closed = engine.block_on(file.close());
                let what = format!("{name}, {errno}: {closed:?}");
                assert_eq!(closed.as_ref().err().map_or(0, Error::errno), told, "{what}");
                assert_eq!(mount.answers.flushes.load(Ordering::SeqCst), before + 1, "{what}");
                assert_eq!(open_count(&mount.file()), 0, "{what}");
            }
        }
    }
}

/// The name under which the test below starts itself as a process of its own.
const CHILD: &str = "AURAIO_TEST_FUSE_FILE";

#[test]
fn a_close_for_which_the_kernel_finds_no_worker_is_performed_once() {
    if let Some(path) = std::env::var_os(CHILD) {
        return close_without_threads(Path::new(&path));
    }
    let Some(mount) = Mount::new() else { return };
    for errno in [0, libc::ECANCELED] {
        mount.answers.flush.store(errno, Ordering::SeqCst);
        let before = mount.answers.flushes.load(Ordering::SeqCst);
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args(["--exact", "a_close_for_which_the_kernel_finds_no_worker_is_performed_once", "--nocapture"]);
        // The limit on processes does not bind root.
        test.env(CHILD, mount.file()).env("AURAIO_TEST_ERRNO", errno.to_string()).uid(65_534).gid(65_534);
        match test.output() {
            Ok(output) if String::from_utf8_lossy(&output.stdout).contains("skipped:") => {
                return println!("skipped: {}", String::from_utf8_lossy(&output.stdout));
            }
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(error) => return println!("skipped: another user cannot start this test: {error}"),
        }
        assert_eq!(mount.answers.flushes.load(Ordering::SeqCst), before + 1, "{errno}");
    }
}

/// Opens and closes a file on a ring where no thread can be started, neither by the kernel nor by the engine.
fn close_without_threads(path: &Path) {
    let none = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
    // SAFETY: the limit is read, and lives for the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const none) }, 0);
    let told: i32 = std::env::var("AURAIO_TEST_ERRNO").unwrap().parse().unwrap();
    let engine = match Engine::builder().backend(BackendChoice::Uring).build() {
        Ok(engine) => engine,
        Err(error) => return println!("skipped: {error}"),
    };
    let file = engine.block_on(engine.open(path, OpenOptions::new().read(true))).unwrap();
    assert_eq!(open_count(path), 1);
    let closed = engine.block_on(file.close());
    assert_eq!(closed.as_ref().err().map_or(0, Error::errno), told, "{closed:?}");
    assert_eq!(open_count(path), 0);
}

#[test]
fn a_cancelled_close_is_performed_all_the_same() {
    let Some(mount) = Mount::new() else { return };
    for (name, engine) in engines() {
        let file = engine.block_on(engine.open(mount.file(), OpenOptions::new().read(true))).unwrap();
        let close = file.close();
        close.cancel();
        engine.block_on(close).unwrap();
        assert_eq!(open_count(&mount.file()), 0, "{name}");
    }
}

#[test]
fn a_server_that_always_says_eagain_is_asked_seldom() {
    let Some(mount) = Mount::new() else { return };
    for (name, engine) in engines() {
        for direct in [false, true] {
            let open = OpenOptions::new().read(true).direct(direct);
            let file = engine.block_on(engine.open(mount.file(), open)).unwrap();
            mount.answers.read.store(libc::EAGAIN, Ordering::SeqCst);
            let before = mount.answers.reads.load(Ordering::SeqCst);
            let (read, buffer) = engine.block_on(file.read_at(vec![9_u8; 4096], 0));
            let asked = mount.answers.reads.load(Ordering::SeqCst) - before;
            let what = format!("{name}, direct {direct}: {read:?}, asked {asked} times");
            assert_eq!(read.unwrap_err().errno(), libc::EAGAIN, "{what}");
            assert!((2..=READS_MAX).contains(&asked) && buffer == [9; 4096], "{what}");
            mount.answers.read.store(0, Ordering::SeqCst);
            let (read, buffer) = engine.block_on(file.read_at(vec![9_u8; 4096], 0));
            assert_eq!((read.unwrap(), buffer), (4096, vec![BYTE; 4096]), "{what}");
            engine.block_on(file.close()).unwrap();
        }
    }
}

#[test]
fn a_read_that_is_always_told_to_come_again_can_be_cancelled() {
    let Some(mount) = Mount::new() else { return };
    mount.answers.read.store(libc::EAGAIN, Ordering::SeqCst);
    for (name, engine) in engines() {
        for direct in [false, true] {
            let open = OpenOptions::new().read(true).direct(direct);
            let file = engine.block_on(engine.open(mount.file(), open)).unwrap();
            let mut port = engine.port().unwrap();
            let before = mount.answers.reads.load(Ordering::SeqCst);
            let ticket = port.submit(op::Read::at(&file, vec![9_u8; 4096], 0), 1);
            let mut completions = Vec::new();
            while mount.answers.reads.load(Ordering::SeqCst) < before + 2 {
                port.poll(&mut completions);
            }
            port.cancel(ticket);
            while completions.is_empty() {
                port.wait(&mut completions, None);
            }
            let (outcome, _) = completions.remove(0).into_output::<op::Read<Vec<u8>>>();
            assert!(matches!(outcome, Err(Error::Cancelled)), "{name}, direct {direct}: {outcome:?}");
        }
    }
}

/// How long other work may take before it counts as held up. It takes less than a second on a machine at rest.
const HELD_UP: Duration = Duration::from_secs(30);

/// More calls than the kernel has workers and the crew has threads.
const MANY: usize = 64;

/// Work on a local directory, of each kind that a worker or a thread performs, and by each way to submit.
fn work_elsewhere(engine: &Engine) {
    let dir = tempfile::tempdir().unwrap();
    // One call alone: nothing that is begun later helps it on.
    assert!(engine.block_on(engine.metadata(dir.path())).unwrap().is_dir());
    let path = dir.path().join("file");
    let open = OpenOptions::new().read(true).write(true).create(true);
    for round in 0..4 {
        let file = engine.block_on(engine.open(&path, open)).unwrap();
        let written = vec![round; 1 << 20];
        assert_eq!(engine.block_on(file.write_at(written.clone(), 0)).0.unwrap(), 1 << 20);
        engine.block_on(engine.submit(op::Sync::all(&file))).unwrap();
        assert_eq!(engine.block_on(file.read_at(vec![0; 1 << 20], 0)).1, written);
        engine.block_on(file.set_mode(0o600)).unwrap();
        assert_eq!(engine.block_on(engine.metadata(&path)).unwrap().len(), 1 << 20);
        let mut port = engine.port().unwrap();
        port.submit(op::Stat::path(&path), 1);
        port.submit(op::Sync::data(&file), 2);
        assert_eq!(port.wait_for(2, &mut Vec::new()), 2);
        engine.block_on(file.close()).unwrap();
        engine.block_on(engine.remove_file(&path)).unwrap();
    }
}

/// Begins something that the silent server does not answer, and sees that other work goes on meanwhile.
fn goes_on_beside<T>(mount: &Mount, engine: &Engine, name: &str, begin: impl FnOnce() -> Vec<T>) -> Vec<T> {
    let before = mount.answers.unanswered.load(Ordering::SeqCst);
    mount.answers.silent.store(true, Ordering::SeqCst);
    let begun = begin();
    while mount.answers.unanswered.load(Ordering::SeqCst) == before {
        engine.turn(Some(Duration::from_millis(1)));
    }
    let (tell, told) = mpsc::channel();
    // The other work is begun on the same thread, as the kernel has workers for each thread.
    let goes_on = thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let goes_on = told.recv_timeout(HELD_UP).is_ok();
            mount.speak();
            goes_on
        });
        work_elsewhere(engine);
        tell.send(()).unwrap();
        watch.join().unwrap()
    });
    assert!(goes_on, "{name}: other work is held up");
    begun
}

#[test]
fn calls_by_path_on_a_silent_mount_hold_up_no_others() {
    let Some(mount) = Mount::new() else { return };
    for (name, engine) in engines() {
        fs::metadata(mount.file()).unwrap();
        let stats = goes_on_beside(&mount, &engine, name, || {
            (0..MANY).map(|_| engine.metadata(mount.file())).collect::<Vec<_>>()
        });
        for stat in stats {
            assert_eq!(engine.block_on(stat).unwrap().len(), server::FILE_BYTES, "{name}");
        }
        let opens = goes_on_beside(&mount, &engine, name, || {
            (0..MANY).map(|_| engine.open(mount.file(), OpenOptions::new().read(true))).collect::<Vec<_>>()
        });
        for open in opens {
            engine.block_on(async { open.await?.close().await }).unwrap();
        }
    }
}

#[test]
fn reads_of_a_silent_mount_hold_up_no_others() {
    let Some(mount) = Mount::new() else { return };
    for (name, engine) in engines() {
        for direct in [false, true] {
            let open = OpenOptions::new().read(true).direct(direct);
            let file = engine.block_on(engine.open(mount.file(), open)).unwrap();
            let reads = goes_on_beside(&mount, &engine, name, || {
                (0..MANY).map(|_| file.read_at(vec![0_u8; 4096], 0)).collect::<Vec<_>>()
            });
            for read in reads {
                assert_eq!(engine.block_on(read), (Ok(4096), vec![BYTE; 4096]), "{name}, direct {direct}");
            }
            engine.block_on(file.close()).unwrap();
        }
    }
}

#[test]
fn a_close_that_a_silent_mount_does_not_answer_holds_up_no_others() {
    let Some(mount) = Mount::new() else { return };
    for (name, engine) in engines() {
        let open = || engine.block_on(engine.open(mount.file(), OpenOptions::new().read(true).write(true))).unwrap();
        let files: Vec<_> = (0..MANY).map(|_| open()).collect();
        let closes = goes_on_beside(&mount, &engine, name, || files.into_iter().map(auraio::File::close).collect());
        for close in closes {
            engine.block_on(close).unwrap();
        }
        assert_eq!(open_count(&mount.file()), 0, "{name}");
    }
}
