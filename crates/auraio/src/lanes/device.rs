//! Finds the disk that a file lies on. Operations on all partitions of a disk, and on devices that are mapped onto it one to
//! one, compete for the same queue. Therefore they share one in-flight limit.
//!
//! Linux tells the disk in `/sys/dev/block` (Documentation/ABI/stable/sysfs-block). For file systems with anonymous device
//! numbers it tells the source in `/proc/self/mountinfo` (proc_pid_mountinfo(5)). An open on a device that was not seen
//! before reads both, and writes neither. If the disk cannot be found, the device counts as a disk of its own, whose only
//! drawback is a limit of its own.
//!
//! The search stops at a loop device, because its image file is often read through another lane as well. It also stops at an
//! array of several disks, because the array's queue is not that of any one of them.

#[cfg(target_os = "linux")]
mod linux;

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

/// Names a disk. It is equal for all devices that lie on the same disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DiskId(u64);

/// A disk, or a device that counts as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) id: DiskId,
    /// The kernel's name of the disk (`nvme0n1`). If it is no block device, its type and number (`tmpfs 0:35`).
    pub(crate) name: String,
    /// Whether the disk has moving heads. `None` if that is not known.
    pub(crate) rotational: Option<bool>,
}

/// When the table has this many entries, it is emptied, because devices and mounts come and go in a long-lived process.
const KNOWN_MAX: usize = 1024;

/// The device number that `stat` gives, and the mount's id. The number is needed too, because the kernel uses an id again
/// after an unmount, and older kernels do not tell it.
type Key = (u64, Option<u64>);

static KNOWN: RwLock<Option<HashMap<Key, Disk>>> = RwLock::new(None);

/// The disk under the device that `stat` names in `st_dev`. `mount` is the id that `statx` gives with STATX_MNT_ID
/// (Linux 5.8). Without the id the disk under a btrfs is not found, because `stat` gives btrfs subvolumes numbers of their
/// own.
///
/// The answer is remembered, so that only the first open on a device reads files. If a device is unplugged and another one
/// gets its number, both count as the same disk until the table is emptied.
pub(crate) fn disk_of(st_dev: u64, mount: Option<u64>) -> Disk {
    let key = (st_dev, mount);
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|map| map.get(&key).cloned());
    if let Some(disk) = known {
        return disk;
    }
    let disk = look_up(key);
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    let map = known.get_or_insert_default();
    if map.len() >= KNOWN_MAX {
        map.clear();
    }
    map.insert(key, disk.clone());
    disk
}

#[cfg(target_os = "linux")]
fn look_up((st_dev, mount): Key) -> Disk {
    linux::Trees::of_this_machine().disk_of(st_dev, mount)
}

/// Other systems number volumes, and the number does not tell which disk a volume lies on.
#[cfg(not(target_os = "linux"))]
fn look_up((st_dev, _): Key) -> Disk {
    Disk { id: DiskId(st_dev), name: format!("device {:x}:{:x}", st_dev >> 32, st_dev & 0xFFFF_FFFF), rotational: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_does_not_exist_is_a_disk_of_its_own() {
        let odd = disk_of(u64::MAX, None);
        assert_eq!(odd, disk_of(u64::MAX, None));
        assert_ne!(odd.id, disk_of(u64::MAX - 1, None).id);
        assert_eq!(odd.rotational, None);
    }

    #[test]
    fn the_table_is_bounded() {
        for mount in 0..=KNOWN_MAX as u64 {
            disk_of(0xDEAD_0000_0000, Some(mount));
        }
        let known = KNOWN.read().unwrap();
        assert!(known.as_ref().unwrap().len() <= KNOWN_MAX);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn files_in_one_directory_lie_on_one_disk_which_has_a_name() {
        use std::os::unix::fs::MetadataExt;

        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), "").unwrap();
        let [one, two] = ["", "file"].map(|name| std::fs::metadata(directory.path().join(name)).unwrap().dev());
        let disk = disk_of(one, None);
        assert_eq!(disk, disk_of(two, None));
        assert!(!disk.name.is_empty());
    }
}
