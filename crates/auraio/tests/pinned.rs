//! The kernel pins registered memory once for the process, however many rings there are, and unpins it afterwards.
//!
//! This is a program of its own, and its tests run one at a time: the kernel counts pinned memory (`VmPin`) for the whole
//! process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test panics where something is not as it should be")]

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use auraio::{BackendChoice, Block, Engine, OpenOptions, Pool, Routing};

const SLAB: u64 = 2 << 20;

/// How long the kernel may take to unpin the memory of a closed ring: it does so in the background.
const SOON: Duration = Duration::from_secs(5);

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // The kernel lets go of a ring, and of its pinned memory, some time after the ring's descriptor is closed.
    until("what an earlier test pinned stays", || pinned() == 0);
    turn
}

fn engine(pool: Pool, routing: Routing) -> Option<Engine> {
    match Engine::builder().backend(BackendChoice::Uring).routing(routing).pool(pool).build() {
        Ok(engine) => Some(engine),
        Err(reason) => {
            println!("skipped: {reason}");
            None
        }
    }
}

/// How many bytes of the process are pinned.
fn pinned() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmPin:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn until(what: &str, so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < SOON, "{what}");
        thread::yield_now();
    }
}

fn read(engine: &Engine, block: Block) -> Block {
    engine.block_on(async {
        let file = engine.open("Cargo.toml", OpenOptions::new().read(true)).await.unwrap();
        let (read, block) = file.read_at(block, 0).await;
        assert!(block[..read.unwrap()].starts_with(b"[package]"));
        file.close().await.unwrap();
        block
    })
}

fn fixed(engine: &Engine) -> u64 {
    engine.stats().rings.iter().map(|ring| ring.fixed_buffers).sum()
}

#[test]
fn slabs_are_pinned_once_for_all_rings_and_given_back_when_they_are_free() {
    let _turn = turn();
    let pool = Pool::builder().bytes_max(64 << 20).build().unwrap();
    let Some(engine) = engine(pool, Routing::Thread) else { return };
    let before = pinned();
    let blocks: Vec<Block> = (0..3).map(|_| pool.acquire(1 << 20).unwrap()).collect();
    // Each thread has a ring of its own.
    let readers: Vec<_> = blocks
        .into_iter()
        .map(|block| {
            let engine = engine.clone();
            thread::spawn(move || {
                let block = read(&engine, block);
                (block, pinned())
            })
        })
        .collect();
    let blocks: Vec<Block> = readers.into_iter().map(|reader| reader.join().unwrap().0).collect();
    let blocks: Vec<Block> = blocks.into_iter().map(|block| read(&engine, block)).collect();
    assert!(fixed(&engine) >= 3);
    let registered = pool.stats().bytes_registered;
    assert!(registered >= 2 * SLAB && registered <= pool.stats().bytes_mapped, "{:?}", pool.stats());
    // The registrations that the threads' rings had copied end with these rings, in the background.
    until("what is pinned is not what is registered", || pinned() - before == registered);
    drop(blocks);
    drop(engine);
    until("what was pinned stays", || {
        let _ = pool.trim();
        pinned() == before && pool.stats().bytes_mapped == 0
    });
    assert_eq!(pool.stats().bytes_registered, 0);
}

#[test]
fn a_ring_that_lives_on_lets_go_of_slabs_that_are_to_be_unmapped() {
    let _turn = turn();
    let pool = Pool::builder().bytes_max(64 << 20).build().unwrap();
    let Some(engine) = engine(pool, Routing::Core) else { return };
    let before = pinned();
    for _ in 0..3 {
        let block = read(&engine, pool.acquire(8 << 20).unwrap());
        assert_eq!(pinned() - before, 8 << 20);
        drop(block);
        until("the slabs stay mapped", || {
            let _ = pool.trim();
            pool.stats().bytes_mapped == 0
        });
        assert_eq!((pinned(), pool.stats().bytes_registered), (before, 0));
    }
}

#[test]
fn a_port_lets_go_when_its_bell_rings() {
    let _turn = turn();
    let pool = Pool::builder().bytes_max(64 << 20).build().unwrap();
    let Some(engine) = engine(pool, Routing::Thread) else { return };
    let file = engine.block_on(engine.open("Cargo.toml", OpenOptions::new().read(true))).unwrap();
    let mut port = engine.port().unwrap();
    let mut completions = Vec::new();
    port.submit(auraio::op::Read::at(&file, pool.acquire(1 << 20).unwrap(), 0), 0);
    port.wait(&mut completions, None);
    completions.clear();
    assert_eq!(pool.stats().bytes_registered, SLAB);
    // Another thread trims, and may not touch this ring.
    thread::spawn(move || pool.trim()).join().unwrap();
    assert_eq!(pool.stats().bytes_registered, SLAB, "the ring still has it");
    let waiter = port.waiter();
    waiter.wait(Some(SOON));
    port.poll(&mut completions);
    assert_eq!((pool.stats().bytes_registered, pool.stats().bytes_mapped), (0, 0));
}

#[test]
fn a_block_over_slabs_that_were_registered_one_by_one_is_registered_as_one() {
    let _turn = turn();
    let pool = Pool::builder().bytes_max(64 << 20).build().unwrap();
    let Some(engine) = engine(pool, Routing::Thread) else { return };
    let singles: Vec<Block> = (0..2).map(|_| read(&engine, pool.acquire(2 << 20).unwrap())).collect();
    assert_eq!((fixed(&engine), pool.stats().bytes_registered), (2, 2 * SLAB));
    let address = singles[0].as_ptr();
    drop(singles);
    let double = read(&engine, pool.acquire(4 << 20).unwrap());
    assert_eq!(double.as_ptr(), address, "the pool takes the lowest slabs that are free");
    assert_eq!((fixed(&engine), pool.stats().bytes_registered), (3, 2 * SLAB));
    drop(double);
    // The other way round: memory that was registered as one serves blocks in its parts.
    let single = read(&engine, pool.acquire(2 << 20).unwrap());
    assert_eq!((fixed(&engine), pool.stats().bytes_registered), (4, 2 * SLAB));
    drop((single, engine));
    until("what was pinned stays", || {
        let _ = pool.trim();
        pinned() == 0 && pool.stats().bytes_mapped == 0
    });
}

#[test]
fn the_programs_own_memory_is_pinned_while_it_is_registered() {
    let _turn = turn();
    let pool = Pool::global();
    let Some(engine) = engine(pool, Routing::Core) else { return };
    let before = (pinned(), pool.stats().bytes_registered);
    let buffer = engine.register_buffer(vec![0u8; 4 << 20]).unwrap();
    let bytes = buffer.registration().bytes() as u64;
    assert_eq!(pool.stats().bytes_registered - before.1, bytes);
    // The vector does not begin at the start of a page, so the kernel pins one page more.
    assert!(pinned() - before.0 >= bytes && pinned() - before.0 <= bytes + 4096);
    drop(buffer.into_inner());
    assert_eq!((pinned(), pool.stats().bytes_registered), before);
}

#[test]
fn an_engine_that_registers_nothing_pins_nothing() {
    let _turn = turn();
    let pool = Pool::builder().bytes_max(64 << 20).build().unwrap();
    let before = pinned();
    let builder = Engine::builder().pool(pool).register(false);
    let engine = builder.build().unwrap();
    let block = read(&engine, pool.acquire(1 << 20).unwrap());
    let buffer = engine.register_buffer(vec![0u8; 1 << 20]).unwrap();
    assert_eq!((pinned(), pool.stats().bytes_registered, fixed(&engine)), (before, 0, 0));
    assert_eq!(buffer.registration().bytes(), 0);
    drop(block);
}
