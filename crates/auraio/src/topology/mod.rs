//! The CPUs of the machine that are online, and the NUMA node of each.
//!
//! An engine reads the topology once, when it is built, and hands it to the code that makes rings and shards. So a test on
//! two cores can use a made-up machine of 128. The module does not follow hot-plug: a CPU that comes online later is served
//! by the ring of another CPU, and [`Topology::cpu_max`] leaves room in tables for it. The CPU on which a thread runs *now*
//! is asked of the kernel each time ([`current_cpu`], [`Affinity`]).

mod cpu;
mod cpu_list;
mod sysfs;

use std::{collections::BTreeMap, error, fmt, io, path::Path, path::PathBuf, thread};

pub use cpu::{Affinity, current_cpu, pin_this_thread};
pub use cpu_list::{CpuListError, parse_cpu_list};

/// The CPUs and NUMA nodes of this machine, or of a made-up one.
///
/// A "CPU" is a logical one, as Linux numbers them: with SMT, two of them share a physical core. The numbers may have gaps.
///
/// ```
/// use auraio::topology::Topology;
///
/// let machine = Topology::detect();
/// for node in machine.nodes() {
///     println!("node {node}: CPUs {:?}", machine.cpus_of(*node));
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The CPUs that are online, ascending.
    cpus: Vec<u32>,
    /// The nodes, ascending.
    nodes: Vec<u32>,
    /// The CPUs of each of `nodes`, ascending.
    cpus_of_node: Vec<Vec<u32>>,
    cpu_max: u32,
}

impl Topology {
    /// The topology of this machine. On Linux it is read from `/sys`. If that cannot be read (other platforms, bare
    /// containers), it has as many CPUs as [`std::thread::available_parallelism`] answers, from 0 on, all on node 0. It has
    /// also those CPUs that the process may not use; [`Affinity`] says which it may use.
    ///
    /// ```
    /// assert!(!auraio::topology::Topology::detect().cpus().is_empty());
    /// ```
    #[must_use]
    pub fn detect() -> Self {
        let found = if cfg!(target_os = "linux") { Self::read_from(Path::new("/sys")).ok() } else { None };
        found.unwrap_or_else(Self::assumed)
    }

    fn assumed() -> Self {
        let count = thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
        let cpus: Vec<u32> = (0..count).collect();
        Self { cpus: cpus.clone(), nodes: vec![0], cpus_of_node: vec![cpus], cpu_max: count - 1 }
    }

    /// Reads a topology from a tree like Linux's `/sys`: from `devices/system/cpu/online` below `root` and, if they exist,
    /// from `devices/system/cpu/possible` and `devices/system/node/node*/cpulist`. A CPU that no node names counts to the
    /// lowest node.
    ///
    /// # Errors
    /// [`TopologyError`] if a file cannot be read or is not a list of CPUs, if no CPU is online, or if a CPU is in two nodes.
    ///
    /// ```
    /// use auraio::topology::{Topology, TopologyError};
    ///
    /// let nothing = Topology::read_from("/no/such/tree".as_ref());
    /// assert!(matches!(nothing, Err(TopologyError::Io { .. })));
    /// ```
    pub fn read_from(root: &Path) -> Result<Self, TopologyError> {
        sysfs::read(root)
    }

    /// Makes up a machine, to see where an engine would put its rings and shards on it.
    ///
    /// ```
    /// use auraio::topology::Topology;
    ///
    /// let machine = Topology::builder().node(0, 0..64).node(1, 64..128).build()?;
    /// assert_eq!(machine.cpus().len(), 128);
    /// assert_eq!(machine.node_of(100), Some(1));
    /// # Ok::<(), auraio::topology::TopologyError>(())
    /// ```
    pub fn builder() -> TopologyBuilder {
        TopologyBuilder::default()
    }

    /// The CPUs that are online, ascending; at least one.
    ///
    /// ```
    /// use auraio::topology::Topology;
    ///
    /// let machine = Topology::builder().node(0, [0, 2]).node(1, [5]).build()?;
    /// assert_eq!(machine.cpus(), [0, 2, 5]);
    /// # Ok::<(), auraio::topology::TopologyError>(())
    /// ```
    #[must_use]
    pub fn cpus(&self) -> &[u32] {
        &self.cpus
    }

    /// The NUMA nodes, ascending; at least one. A node may have no CPUs (memory alone).
    ///
    /// ```
    /// use auraio::topology::Topology;
    ///
    /// let machine = Topology::builder().node(0, [0, 1]).node(2, []).build()?;
    /// assert_eq!(machine.nodes(), [0, 2]);
    /// # Ok::<(), auraio::topology::TopologyError>(())
    /// ```
    #[must_use]
    pub fn nodes(&self) -> &[u32] {
        &self.nodes
    }

    /// The node that a CPU belongs to; `None` if no such CPU is online.
    ///
    /// ```
    /// use auraio::topology::Topology;
    ///
    /// let machine = Topology::builder().node(0, [0, 1]).node(1, [2, 3]).build()?;
    /// assert_eq!(machine.node_of(3), Some(1));
    /// assert_eq!(machine.node_of(4), None);
    /// # Ok::<(), auraio::topology::TopologyError>(())
    /// ```
    #[must_use]
    pub fn node_of(&self, cpu: u32) -> Option<u32> {
        let at = self.cpus_of_node.iter().position(|cpus| cpus.binary_search(&cpu).is_ok())?;
        self.nodes.get(at).copied()
    }

    /// The online CPUs of a node, ascending; empty if the node does not exist or has none.
    ///
    /// ```
    /// use auraio::topology::Topology;
    ///
    /// let machine = Topology::builder().node(0, [0, 1]).node(1, [2, 3]).build()?;
    /// assert_eq!(machine.cpus_of(1), [2, 3]);
    /// assert_eq!(machine.cpus_of(7), []);
    /// # Ok::<(), auraio::topology::TopologyError>(())
    /// ```
    #[must_use]
    pub fn cpus_of(&self, node: u32) -> &[u32] {
        self.nodes.binary_search(&node).map_or(&[], |at| &self.cpus_of_node[at])
    }

    /// The highest number that a CPU of this machine can have, also one that is offline now. A table that is indexed by CPU
    /// number needs `cpu_max() + 1` rows.
    ///
    /// ```
    /// use auraio::topology::Topology;
    ///
    /// let machine = Topology::builder().node(0, [0, 9]).build()?;
    /// assert_eq!(machine.cpu_max(), 9);
    /// # Ok::<(), auraio::topology::TopologyError>(())
    /// ```
    #[must_use]
    pub const fn cpu_max(&self) -> u32 {
        self.cpu_max
    }
}

/// Makes a [`Topology`] by hand.
///
/// ```
/// use auraio::topology::Topology;
///
/// let machine = Topology::builder().node(0, 0..8).cpu_max(15).build()?;
/// assert_eq!((machine.cpus().len(), machine.cpu_max()), (8, 15));
/// # Ok::<(), auraio::topology::TopologyError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct TopologyBuilder {
    nodes: BTreeMap<u32, Vec<u32>>,
    cpu_max: u32,
}

impl TopologyBuilder {
    /// Adds CPUs that are online to a node, in any order. A node without CPUs is allowed.
    ///
    /// ```
    /// use auraio::topology::Topology;
    ///
    /// let machine = Topology::builder().node(1, 4..8).node(0, 0..4).node(1, [8]).build()?;
    /// assert_eq!(machine.cpus_of(1), [4, 5, 6, 7, 8]);
    /// # Ok::<(), auraio::topology::TopologyError>(())
    /// ```
    pub fn node(mut self, id: u32, cpus: impl IntoIterator<Item = u32>) -> Self {
        self.nodes.entry(id).or_default().extend(cpus);
        self
    }

    /// Says that CPUs with numbers up to this one may come online later. [`Topology::cpu_max`] answers this number, or that of
    /// the highest CPU online if it is higher.
    ///
    /// ```
    /// let machine = auraio::topology::Topology::builder().node(0, 0..8).cpu_max(3).build()?;
    /// assert_eq!(machine.cpu_max(), 7);
    /// # Ok::<(), auraio::topology::TopologyError>(())
    /// ```
    pub fn cpu_max(mut self, cpu: u32) -> Self {
        self.cpu_max = cpu;
        self
    }

    /// Makes the topology.
    ///
    /// # Errors
    /// [`TopologyError::NoCpus`] or [`TopologyError::CpuInTwoNodes`].
    ///
    /// ```
    /// use auraio::topology::{Topology, TopologyError};
    ///
    /// let twice = Topology::builder().node(0, [0, 1]).node(1, [1]).build();
    /// assert!(matches!(twice, Err(TopologyError::CpuInTwoNodes { cpu: 1 })));
    /// ```
    pub fn build(self) -> Result<Topology, TopologyError> {
        let (nodes, mut cpus_of_node): (Vec<u32>, Vec<Vec<u32>>) = self.nodes.into_iter().unzip();
        for cpus in &mut cpus_of_node {
            cpus.sort_unstable();
            cpus.dedup();
        }
        let mut cpus = cpus_of_node.concat();
        cpus.sort_unstable();
        if let Some(pair) = cpus.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(TopologyError::CpuInTwoNodes { cpu: pair[0] });
        }
        let highest = *cpus.last().ok_or(TopologyError::NoCpus)?;
        Ok(Topology { cpus, nodes, cpus_of_node, cpu_max: highest.max(self.cpu_max) })
    }
}

/// Why a description of a machine was refused.
#[derive(Debug)]
#[non_exhaustive]
pub enum TopologyError {
    /// A file or directory could not be read.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why it could not be read.
        source: io::Error,
    },
    /// A file does not hold a list of CPUs.
    Malformed {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        source: CpuListError,
    },
    /// No CPU is online.
    NoCpus,
    /// Two nodes claim the same CPU.
    CpuInTwoNodes {
        /// The CPU.
        cpu: u32,
    },
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{} cannot be read: {source}", path.display()),
            Self::Malformed { path, source } => write!(f, "{} is not a list of CPUs: {source}", path.display()),
            Self::NoCpus => f.write_str("the description has no CPU: give a node at least one"),
            Self::CpuInTwoNodes { cpu } => write!(f, "CPU {cpu} belongs to two nodes: give it to one of them"),
        }
    }
}

impl error::Error for TopologyError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Malformed { source, .. } => Some(source),
            Self::NoCpus | Self::CpuInTwoNodes { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_node_for_every_cpu() {
        let machine = Topology::detect();
        assert!(machine.cpus().is_sorted());
        assert!(machine.cpus().iter().all(|cpu| machine.node_of(*cpu).is_some()));
        assert!(machine.cpu_max() >= *machine.cpus().last().unwrap());
        assert!(Affinity::of_this_thread().cpus().iter().all(|cpu| machine.cpus().contains(cpu)));
        assert!(current_cpu() <= machine.cpu_max());
    }

    #[test]
    fn without_a_description_there_is_one_node() {
        let machine = Topology::assumed();
        assert_eq!(machine.nodes(), [0]);
        assert_eq!(machine.cpus(), machine.cpus_of(0));
        assert_eq!(machine.cpus().len(), thread::available_parallelism().unwrap().get());
    }

    #[test]
    fn a_machine_without_cpus_is_refused() {
        assert!(matches!(Topology::builder().build(), Err(TopologyError::NoCpus)));
        assert!(matches!(Topology::builder().node(0, []).build(), Err(TopologyError::NoCpus)));
    }

    #[test]
    fn cpus_are_sorted_and_listed_once() {
        let machine = Topology::builder().node(3, [9, 7, 9]).node(1, [8]).build().unwrap();
        assert_eq!(machine.cpus(), [7, 8, 9]);
        assert_eq!(machine.nodes(), [1, 3]);
        assert_eq!(machine.cpus_of(3), [7, 9]);
    }
}
