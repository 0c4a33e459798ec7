//! The shards of a pool, and which of them a thread uses: the shard of its core, on the core's NUMA node.

use crossbeam_utils::CachePadded;

use super::shard::Shard;
use crate::{Topology, topology};

/// The shards of a pool, and the cores that each of them serves.
#[derive(Debug)]
pub(super) struct Shards {
    shards: Box<[CachePadded<Shard>]>,
    of_cpu: Box<[u8]>,
}

/// A search through more shards would be slower, and with 64 of them threads rarely meet at one lock.
const SHARDS_MAX: usize = 64;

impl Shards {
    /// Makes as many shards as there are cores, rounded up to a power of two; at most 64. A shard serves cores of one NUMA
    /// node, except on machines where a node has fewer cores than one shard serves.
    pub(super) fn new(topology: &Topology) -> Self {
        let cpus = topology.cpus().len();
        let count = cpus.next_power_of_two().min(SHARDS_MAX);
        let mut node_of_shard = vec![None; count];
        let mut of_cpu: Box<[u8]> = (0..=topology.cpu_max() as usize).map(|cpu| (cpu % count) as u8).collect();
        let mut before = 0;
        for node in topology.nodes() {
            let cpus_here = topology.cpus_of(*node);
            let first = before * count / cpus;
            before += cpus_here.len();
            let behind = before * count / cpus;
            node_of_shard[first..behind].fill(Some(*node));
            for (at, cpu) in cpus_here.iter().enumerate() {
                // If a node has fewer cores than one shard serves, it uses the first shard of the next node.
                of_cpu[*cpu as usize] = (first + at % (behind - first).max(1)) as u8;
            }
        }
        let shard = |(number, node): (usize, Option<u32>)| {
            CachePadded::new(Shard::new(number as u32, node.unwrap_or(topology.nodes()[0])))
        };
        Self { shards: node_of_shard.into_iter().enumerate().map(shard).collect(), of_cpu }
    }

    /// The number of the shard of the calling thread's core.
    pub(super) fn here(&self) -> usize {
        #[cfg(test)]
        if let Some(cpu) = pretended::CPU.get() {
            return self.of_cpu[cpu as usize] as usize;
        }
        let cpu = topology::current_cpu() as usize;
        self.of_cpu.get(cpu).map_or(cpu % self.shards.len(), |shard| *shard as usize)
    }

    /// Whether the shards belong to several NUMA nodes.
    pub(super) fn has_nodes(&self) -> bool {
        self.shards.iter().any(|shard| shard.node != self.shards[0].node)
    }

    pub(super) fn get(&self, number: usize) -> &Shard {
        &self.shards[number]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter().map(|shard| &**shard)
    }

    /// All shards of a node, beginning with the number `first` and going round.
    pub(super) fn of_node_from(&self, node: u32, first: usize) -> impl Iterator<Item = &Shard> {
        let (before, from) = self.shards.split_at(first);
        from.iter().chain(before).map(|shard| &**shard).filter(move |shard| shard.node == node)
    }
}

/// Lets a test run on a core that this machine does not have.
#[cfg(test)]
pub(super) mod pretended {
    use std::cell::Cell;

    thread_local! {
        pub(in crate::pool) static CPU: Cell<Option<u32>> = const { Cell::new(None) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_out(topology: &Topology) -> (Vec<u32>, Vec<u8>) {
        let shards = Shards::new(topology);
        (shards.iter().map(|shard| shard.node).collect(), shards.of_cpu.to_vec())
    }

    #[test]
    fn every_core_of_a_small_machine_has_its_shard() {
        let (nodes, of_cpu) = laid_out(&Topology::builder().node(0, 0..2).node(1, 2..3).build().unwrap());
        assert_eq!(of_cpu.len(), 3);
        assert_eq!(nodes.len(), 4);
        let machine = Topology::builder().node(0, 0..2).node(1, 2..4).build().unwrap();
        assert_eq!(laid_out(&machine), (vec![0, 0, 1, 1], vec![0, 1, 2, 3]));
    }

    #[test]
    fn a_large_machine_has_sixty_four_and_none_serves_two_nodes() {
        let machine = Topology::builder().node(0, 0..96).node(3, 96..192).build().unwrap();
        let (nodes, of_cpu) = laid_out(&machine);
        assert_eq!(nodes.len(), 64);
        for cpu in machine.cpus() {
            assert_eq!(nodes[of_cpu[*cpu as usize] as usize], machine.node_of(*cpu).unwrap(), "{cpu}");
        }
        assert_eq!((0..64).filter(|shard| of_cpu.contains(shard)).count(), 64);
    }

    #[test]
    fn cores_in_any_order_go_to_their_own_node() {
        let odd = (0..128).filter(|cpu| cpu % 2 == 1);
        let even = (0..128).filter(|cpu| cpu % 2 == 0);
        let machine = Topology::builder().node(0, even).node(1, odd).node(2, []).build().unwrap();
        let (nodes, of_cpu) = laid_out(&machine);
        assert!((0..128).all(|cpu| nodes[of_cpu[cpu] as usize] == cpu as u32 % 2));
    }

    #[test]
    fn many_tiny_nodes_share_and_every_core_has_a_shard_that_is_there() {
        let mut builder = Topology::builder();
        for node in 0..100 {
            builder = builder.node(node, node * 2..node * 2 + 2);
        }
        let (nodes, of_cpu) = laid_out(&builder.build().unwrap());
        assert_eq!(nodes.len(), 64);
        assert!(of_cpu.iter().all(|shard| usize::from(*shard) < 64));
    }

    #[test]
    fn a_core_that_came_later_has_a_shard_too() {
        let shards = Shards::new(&Topology::builder().node(0, 0..2).cpu_max(9).build().unwrap());
        assert_eq!(shards.shards.len(), 2);
        pretended::CPU.set(Some(9));
        assert!(shards.here() < 2);
        pretended::CPU.set(None);
    }
}
