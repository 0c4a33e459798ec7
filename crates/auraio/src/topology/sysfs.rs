//! Reads the topology from a tree like Linux's `/sys`, by plain file reads.
//!
//! The kernel's Documentation/ABI/stable/sysfs-devices-node and Documentation/admin-guide/cputopology.rst describe the files.
//! Only `devices/system/cpu/online` is required: kernels without NUMA have no `devices/system/node`. A file that is damaged is
//! refused, with its name.

use std::{fs, io, path::Path};

use super::{Topology, TopologyBuilder, TopologyError, parse_cpu_list};

pub(super) fn read(root: &Path) -> Result<Topology, TopologyError> {
    let system = root.join("devices/system");
    let online = read_list(&system.join("cpu/online"))?;
    // Some containers have no such file; then the CPUs that are online are all that there are.
    let possible = optional(read_list(&system.join("cpu/possible")))?.unwrap_or_default();

    let mut nodes = Vec::new();
    for id in node_ids(&system.join("node"))? {
        let mut cpus = read_list(&system.join(format!("node/node{id}/cpulist")))?;
        cpus.retain(|cpu| online.binary_search(cpu).is_ok());
        nodes.push((id, cpus));
    }
    // A tree may name no node for a CPU (no NUMA, or a container that hides a part of /sys). It goes to the lowest node.
    let homeless: Vec<u32> =
        online.iter().copied().filter(|cpu| !nodes.iter().any(|(_, cpus)| cpus.contains(cpu))).collect();
    match nodes.first_mut() {
        Some((_, cpus)) => cpus.extend(homeless),
        None => nodes.push((0, homeless)),
    }

    let builder = nodes.into_iter().fold(TopologyBuilder::default(), |builder, (id, cpus)| builder.node(id, cpus));
    builder.cpu_max(possible.last().copied().unwrap_or(0)).build()
}

/// The numbers of the directories `node0`, `node1` ..., ascending.
fn node_ids(nodes: &Path) -> Result<Vec<u32>, TopologyError> {
    let failed = |source| TopologyError::Io { path: nodes.to_owned(), source };
    let Some(entries) = optional(fs::read_dir(nodes).map_err(failed))? else { return Ok(Vec::new()) };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        // The same directory has `has_cpu`, `online`, `power` and others.
        let digits = name.to_str().and_then(|name| name.strip_prefix("node"));
        ids.extend(digits.and_then(|digits| digits.parse::<u32>().ok()));
    }
    ids.sort_unstable();
    Ok(ids)
}

fn read_list(path: &Path) -> Result<Vec<u32>, TopologyError> {
    let text = fs::read_to_string(path).map_err(|source| TopologyError::Io { path: path.to_owned(), source })?;
    parse_cpu_list(&text).map_err(|source| TopologyError::Malformed { path: path.to_owned(), source })
}

/// `None` if the file does not exist.
fn optional<T>(read: Result<T, TopologyError>) -> Result<Option<T>, TopologyError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(TopologyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes the `/sys` of a machine: with the CPUs that are online, those that are possible, and those of each node.
    fn tree(online: &str, possible: Option<&str>, nodes: &[(u32, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let system = root.path().join("devices/system");
        fs::create_dir_all(system.join("cpu")).unwrap();
        fs::write(system.join("cpu/online"), online).unwrap();
        if let Some(possible) = possible {
            fs::write(system.join("cpu/possible"), possible).unwrap();
        }
        for (id, cpus) in nodes {
            let node = system.join(format!("node/node{id}"));
            fs::create_dir_all(&node).unwrap();
            fs::write(node.join("cpulist"), cpus).unwrap();
        }
        root
    }

    #[test]
    fn a_machine_of_128_cores_and_4_nodes_is_read() {
        let nodes = [(0, "0-15,64-79\n"), (1, "16-31,80-95\n"), (2, "32-47,96-111\n"), (3, "48-63,112-127\n")];
        let root = tree("0-127\n", Some("0-255\n"), &nodes);
        fs::create_dir(root.path().join("devices/system/node/power")).unwrap();
        fs::write(root.path().join("devices/system/node/online"), "0-3\n").unwrap();
        let machine = read(root.path()).unwrap();
        assert_eq!(machine.cpus().len(), 128);
        assert_eq!(machine.nodes(), [0, 1, 2, 3]);
        assert_eq!(machine.cpu_max(), 255);
        assert_eq!(machine.node_of(79), Some(0));
        assert_eq!(machine.node_of(112), Some(3));
        assert_eq!(machine.node_of(128), None);
        assert_eq!(machine.cpus_of(2), (32..48).chain(96..112).collect::<Vec<u32>>());
        for cpu in 0..128 {
            let node = machine.node_of(cpu).unwrap();
            assert!(machine.cpus_of(node).contains(&cpu));
        }
    }

    #[test]
    fn offline_cpus_and_gaps_are_left_out() {
        let root = tree("0-2,5,7\n", Some("0-7\n"), &[(0, "0-3\n"), (2, "4-7\n")]);
        let machine = read(root.path()).unwrap();
        assert_eq!(machine.cpus(), [0, 1, 2, 5, 7]);
        assert_eq!(machine.nodes(), [0, 2]);
        assert_eq!(machine.cpus_of(0), [0, 1, 2]);
        assert_eq!(machine.cpus_of(2), [5, 7]);
        assert_eq!(machine.cpus_of(1), []);
        assert_eq!(machine.node_of(3), None);
        assert_eq!(machine.cpu_max(), 7);
    }

    #[test]
    fn a_node_without_cpus_is_a_node() {
        let root = tree("0-3", None, &[(0, "0-3\n"), (1, "\n")]);
        let machine = read(root.path()).unwrap();
        assert_eq!(machine.nodes(), [0, 1]);
        assert_eq!(machine.cpus_of(1), []);
        assert_eq!(machine.cpu_max(), 3);
    }

    #[test]
    fn nodes_sort_by_number_and_not_by_name() {
        let root = tree("0-11", None, &[(10, "10"), (2, "2"), (1, "0-1,3-9,11")]);
        assert_eq!(read(root.path()).unwrap().nodes(), [1, 2, 10]);
    }

    #[test]
    fn without_nodes_all_cpus_are_on_node_0() {
        let machine = read(tree("1,3", None, &[]).path()).unwrap();
        assert_eq!(machine.nodes(), [0]);
        assert_eq!(machine.cpus_of(0), [1, 3]);
    }

    #[test]
    fn a_cpu_that_no_node_names_goes_to_the_lowest_node() {
        let machine = read(tree("0-3", None, &[(1, "0-1"), (3, "2")]).path()).unwrap();
        assert_eq!(machine.cpus_of(1), [0, 1, 3]);
        assert_eq!(machine.node_of(3), Some(1));
    }

    #[test]
    fn a_damaged_tree_is_refused_with_the_name_of_the_damaged_file() {
        let fault = |root: tempfile::TempDir| match read(root.path()) {
            Err(TopologyError::Malformed { path, .. }) => path.strip_prefix(root.path()).unwrap().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(fault(tree("0-", None, &[])), Path::new("devices/system/cpu/online"));
        assert_eq!(fault(tree("0", Some("?"), &[])), Path::new("devices/system/cpu/possible"));
        assert_eq!(fault(tree("0", None, &[(0, "1-0")])), Path::new("devices/system/node/node0/cpulist"));
        assert!(matches!(read(tree("\n", None, &[]).path()), Err(TopologyError::NoCpus)));
        assert!(matches!(
            read(tree("0-1", None, &[(0, "0-1"), (1, "1")]).path()),
            Err(TopologyError::CpuInTwoNodes { cpu: 1 })
        ));
        let bare = tempfile::tempdir().unwrap();
        let missing = read(bare.path());
        assert!(matches!(missing, Err(TopologyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound));
    }
}
