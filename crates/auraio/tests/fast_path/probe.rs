//! The code that `tests/fast_path.rs` disassembles: the pool's fast path, and controls with instructions that must not be in it.

use std::{
    hint::black_box,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use auraio::{Block, Pool, Result};

#[unsafe(no_mangle)]
#[inline(never)]
fn probe_acquire(pool: Pool, size: usize) -> Result<Block> {
    pool.acquire(size)
}

#[unsafe(no_mangle)]
#[inline(never)]
fn probe_acquire_aligned(pool: Pool, size: usize, alignment: usize) -> Result<Block> {
    pool.acquire_aligned(size, alignment)
}

#[unsafe(no_mangle)]
#[inline(never)]
fn probe_release(block: Block) {
    drop(block);
}

#[unsafe(no_mangle)]
#[inline(never)]
fn control_add(number: &AtomicU64) -> u64 {
    number.fetch_add(1, Ordering::Relaxed)
}

#[unsafe(no_mangle)]
#[inline(never)]
fn control_exchange(number: &AtomicU64) -> u64 {
    number.swap(1, Ordering::Relaxed)
}

#[unsafe(no_mangle)]
#[inline(never)]
fn control_fence(number: &AtomicU64) -> u64 {
    number.store(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    number.load(Ordering::Relaxed)
}

#[unsafe(no_mangle)]
#[inline(never)]
fn control_lock(number: &Mutex<u64>) -> u64 {
    number.lock().map_or(0, |number| *number)
}

#[unsafe(no_mangle)]
#[inline(never)]
fn control_call(number: &mut Vec<u64>) {
    number.reserve(100);
}

fn main() {
    let pool = black_box(Pool::global());
    for _ in 0..black_box(3) {
        let one = probe_acquire(pool, black_box(5000)).unwrap();
        let two = probe_acquire_aligned(pool, black_box(5000), black_box(65_536)).unwrap();
        probe_release(black_box(one));
        probe_release(black_box(two));
    }
    let number = black_box(AtomicU64::new(1));
    let sum = control_add(&number) + control_exchange(&number) + control_fence(&number);
    let mut numbers = black_box(vec![control_lock(&black_box(Mutex::new(sum)))]);
    control_call(&mut numbers);
    println!("{:?}", pool.stats());
}
