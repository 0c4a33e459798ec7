//! NUMA: threads draw from slabs of their node.

use super::{shards::pretended, *};

/// A machine with two nodes of two cores. The pool places slabs as on such a machine, as far as the real one allows it.
fn pool_of_two_nodes(bytes_max: usize) -> Pool {
    let machine = Topology::builder().node(0, 0..2).node(5, 2..4).build().unwrap();
    Pool::builder().bytes_max(bytes_max as u64).topology(machine).build_with(Pace::Never).unwrap()
}

/// Runs `work` on a thread of its own, which believes that it runs on this core.
fn on<T: Send>(cpu: u32, work: impl FnOnce() -> T + Send) -> T {
    elsewhere(|| {
        pretended::CPU.set(Some(cpu));
        work()
    })
}

fn node_of(pool: &Pool, block: &Block) -> u32 {
    pool.inner.arena().unwrap().node_of(slab_of(pool, block))
}

#[test]
fn a_thread_gets_memory_of_its_node() {
    let pool = pool_of_two_nodes(64 * MIB);
    let blocks = [0, 2, 1, 3].map(|cpu| on(cpu, || [4096, 65_536, 3 * MIB].map(|size| pool.acquire(size).unwrap())));
    for (blocks, node) in blocks.iter().zip([0, 5, 0, 5]) {
        assert!(blocks.iter().all(|block| node_of(&pool, block) == node));
    }
}

#[test]
fn cores_of_a_node_share_its_slabs() {
    let pool = pool_of_two_nodes(64 * MIB);
    let blocks = [0, 1].map(|cpu| on(cpu, || pool.acquire(4096).unwrap()));
    assert_eq!(slab_of(&pool, &blocks[0]), slab_of(&pool, &blocks[1]));
    assert_eq!(adds_up(&pool, 8192).bytes_mapped, 2 << 20);
}

#[test]
fn a_block_goes_back_to_its_node_from_wherever_it_is_released() {
    let pool = pool_of_two_nodes(64 * MIB);
    let blocks: Vec<_> = on(0, || (0..100).map(|_| pool.acquire(4096).unwrap()).collect());
    on(3, || drop(blocks));
    // The thread has ended, so no cache holds a block: node 5 has to map a slab, and node 0 need not.
    let of_five = on(2, || pool.acquire(4096).unwrap());
    assert_eq!(node_of(&pool, &of_five), 5);
    let of_zero = on(1, || pool.acquire(4096).unwrap());
    assert_eq!(node_of(&pool, &of_zero), 0);
    assert_eq!(adds_up(&pool, 8192).bytes_mapped, 4 << 20);
}

#[test]
fn memory_of_another_node_is_better_than_none() {
    let pool = pool_of_two_nodes(4 * MIB);
    let here = on(0, || pool.acquire(4096).unwrap());
    let large = on(0, || pool.acquire(2 * MIB).unwrap());
    // The ceiling is reached, so a thread of node 5 gets blocks of node 0's slab, or a free slab of node 0.
    let there = on(2, || pool.acquire(4096).unwrap());
    assert_eq!(slab_of(&pool, &there), slab_of(&pool, &here));
    drop(large);
    let there = on(2, || pool.acquire(8192).unwrap());
    assert_eq!(node_of(&pool, &there), 0);
    drop((here, there));
}

#[test]
fn a_free_slab_of_the_node_comes_before_a_new_one() {
    let pool = pool_of_two_nodes(64 * MIB);
    drop([0, 2].map(|cpu| on(cpu, || pool.acquire(2 * MIB).unwrap())));
    let blocks = [0, 2].map(|cpu| on(cpu, || pool.acquire(4096).unwrap()));
    assert_eq!(blocks.each_ref().map(|block| node_of(&pool, block)), [0, 5]);
    assert_eq!(adds_up(&pool, 8192).bytes_mapped, 4 << 20);
}
