//! Which slabs are given back to the system, and when.

use std::{process::Command, sync::mpsc, time::Duration};

use super::*;

fn mapped(pool: &Pool) -> usize {
    pool.stats().bytes_mapped as usize
}

/// Acquires this many slabs as blocks of 2 MiB, and this many as blocks of 4 KiB.
fn slabs(pool: &Pool, of_each: usize) -> Vec<Block> {
    let large = (0..of_each).map(|_| pool.acquire(2 * MIB).unwrap());
    let small = (0..of_each * 512).map(|_| pool.acquire(4096).unwrap());
    large.chain(small).collect()
}

#[test]
fn trimming_gives_back_the_slabs_that_nobody_uses_and_no_others() {
    let pool = pool(64 * MIB);
    assert_eq!(pool.trim(), 0);
    let mut blocks = slabs(&pool, 5);
    assert_eq!(mapped(&pool), 20 * MIB);
    assert_eq!(pool.trim(), 0);
    let last = blocks.pop();
    drop(blocks);
    assert_eq!(pool.trim(), 18 << 20);
    assert_eq!(mapped(&pool), 2 * MIB);
    adds_up(&pool, 4096);
    drop(last);
    assert_eq!(pool.trim(), 2 << 20);
    assert_eq!(adds_up(&pool, 0).bytes_mapped, 0);
}

#[test]
fn blocks_in_the_caches_of_sleeping_threads_do_not_stop_trimming() {
    if !crate::sys::memory::barrier_on_all_threads() {
        println!("skipped: the system has no membarrier, or forbids it");
        return;
    }
    let pool = pool(64 * MIB);
    let sleepers: Vec<_> = (0..3).map(|_| Sleeper::after(move || drop(pool.acquire(4096).unwrap()))).collect();
    assert!(pool.stats().bytes_cached_threads > 0);
    assert_eq!(pool.trim(), 2 << 20);
    drop(sleepers);
    assert_eq!(adds_up(&pool, 0).bytes_mapped, 0);
}

#[test]
fn without_a_barrier_other_threads_keep_their_caches_and_go_on_using_them() {
    let pool = pool(64 * MIB);
    let (go, goes) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let other = thread::spawn(move || {
        for _ in 0..2 {
            let address = pool.acquire(4096).unwrap().as_ptr().addr();
            tell.send(address).unwrap();
            goes.recv().unwrap();
        }
    });
    let first = told.recv().unwrap();
    drop(pool.acquire(65_536).unwrap());
    sync::withheld::BARRIER.set(true);
    // The blocks in this thread's cache were given back; those in the other thread's cache were not.
    assert_eq!(pool.trim(), 2 << 20);
    assert!(adds_up(&pool, 0).bytes_cached_threads > 0);
    let hits = pool.stats().hits_thread;
    go.send(()).unwrap();
    assert_eq!(told.recv().unwrap(), first);
    assert_eq!(pool.stats().hits_thread, hits + 1);
    assert_eq!(lock(&pool.inner.caches).len(), 1);
    go.send(()).unwrap();
    other.join().unwrap();
    assert_eq!(pool.trim(), 2 << 20);
}

#[test]
fn two_runs_of_the_trimmer_give_back_all_but_a_few_slabs() {
    let pool = pool(64 * MIB);
    let blocks = slabs(&pool, 5);
    assert!(!pool.inner.trim_unused());
    drop(blocks);
    assert!(pool.inner.trim_unused());
    assert_eq!(mapped(&pool), 20 * MIB);
    assert!(!pool.inner.trim_unused());
    assert_eq!(adds_up(&pool, 0).bytes_mapped, 8 << 20);
    assert!(!pool.inner.trim_unused());
    assert_eq!(mapped(&pool), 8 * MIB);
}

#[test]
fn slabs_that_were_used_between_two_runs_stay() {
    let pool = pool(64 * MIB);
    drop(slabs(&pool, 5));
    assert!(pool.inner.trim_unused());
    // All five slabs of large blocks are used again, and one of the slabs of small blocks.
    drop((0..5).map(|_| pool.acquire(2 * MIB).unwrap()).collect::<Vec<_>>());
    drop(pool.acquire(4096).unwrap());
    assert!(pool.inner.trim_unused());
    assert_eq!(mapped(&pool), 12 * MIB);
    assert!(!pool.inner.trim_unused());
    assert_eq!(mapped(&pool), 8 * MIB);
}

#[test]
fn the_trimmers_thread_begins_when_there_is_work_and_ends_when_there_is_none() {
    let (tick, ticks) = mpsc::channel();
    let (tells, told) = mpsc::channel();
    let pool = Pool::builder().bytes_max(64 << 20).build_with(Pace::Told(Mutex::new(ticks), tells)).unwrap();
    let look = || {
        tick.send(()).unwrap();
        told.recv().unwrap()
    };
    // A few free slabs do not start it.
    drop(slabs(&pool, 2));
    assert!(!pool.inner.trimmer.runs());
    for _ in 0..2 {
        let blocks = slabs(&pool, 5);
        assert!(!pool.inner.trimmer.runs());
        drop(blocks);
        assert!(pool.inner.trimmer.runs());
        assert!(look());
        assert!(pool.inner.trimmer.runs());
        assert_eq!(mapped(&pool), 20 * MIB);
        assert!(!look());
        assert_eq!(mapped(&pool), 8 * MIB);
        assert!(!pool.inner.trimmer.runs());
    }
}

#[test]
fn the_end_of_another_thread_can_start_the_trimmers_thread() {
    let (_tick, ticks) = mpsc::channel();
    let (tells, _told) = mpsc::channel();
    let pool = Pool::builder().bytes_max(1 << 30).build_with(Pace::Told(Mutex::new(ticks), tells)).unwrap();
    // Five slabs. The thread keeps one block of each until it ends.
    elsewhere(|| {
        let blocks: Vec<_> = (0..5 * 512).map(|_| pool.acquire(4096).unwrap()).collect();
        let (ends, others): (Vec<_>, Vec<_>) = blocks.into_iter().enumerate().partition(|(at, _)| at % 512 == 511);
        drop(others);
        drop(ends);
        assert!(!pool.inner.trimmer.runs());
    });
    assert!(pool.inner.trimmer.runs());
}

#[test]
fn no_process_waits_for_the_trimmers_thread_when_it_ends() {
    const CHILD: &str = "AURAIO_TEST_TRIMS";
    const NAME: &str = "pool::tests::trimming::no_process_waits_for_the_trimmers_thread_when_it_ends";
    if std::env::var_os(CHILD).is_some() {
        let pace = Pace::Period(Duration::from_secs(3600));
        let pool = Pool::builder().bytes_max(64 << 20).build_with(pace).unwrap();
        drop(slabs(&pool, 5));
        assert!(pool.inner.trimmer.runs());
        println!("the trimmer runs");
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", "--nocapture", NAME]).env(CHILD, "1").output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("the trimmer runs"));
}

#[test]
fn threads_that_acquire_while_others_trim_never_meet_unmapped_memory() {
    let pool = pool(32 * MIB);
    together(4, |thread| {
        if thread == 3 {
            for _ in 0..100 {
                let _ = pool.trim();
                pool.inner.trim_unused();
            }
            return;
        }
        for round in 0..300 {
            let size = [4096, 65_536, MIB, 3 * MIB][round % 4];
            if let Ok(mut block) = pool.acquire(size) {
                block.fill(thread as u8);
                assert!(block.iter().all(|byte| *byte == thread as u8));
            }
        }
    });
    let _ = pool.trim();
    assert_eq!(adds_up(&pool, 0).bytes_mapped, 0);
}
