//! Which disk a file lies on: operations on its partitions, and on whatever is laid over it one to one, compete for the
//! same queue, so they share one in-flight limit.
//!
//! Linux tells it in `/sys/dev/block` (Documentation/ABI/stable/sysfs-block) and, of file systems with anonymous device
//! numbers, in `/proc/self/mountinfo` (proc_pid_mountinfo(5)). Both are only read, by an open on a device not seen before.
//! What cannot be told is a disk of its own: the worst that follows is a limit of its own.
//!
//! It does not look behind loop devices, whose image file is read through another lane as often as not, nor under arrays
//! of several disks, which have the queue of none of them.

#[cfg(target_os = "linux")]
mod linux;

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

/// Which disk: equal for all devices that lead to the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DiskId(u64);

/// A disk, or what has to pass for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) id: DiskId,
    /// The kernel's name for it (`nvme0n1`), or of what is no block device its type and number (`tmpfs 0:35`).
    pub(crate) name: String,
    /// Whether it has heads that move, where that is known.
    pub(crate) rotational: Option<bool>,
}

/// Devices and mounts come and go in a long-lived process; past this many the table starts afresh.
const KNOWN_MAX: usize = 1024;

/// What `stat` gives, and the mount's id: an id is used again after an unmount, and not every kernel tells it.
type Key = (u64, Option<u64>);

static KNOWN: RwLock<Option<HashMap<Key, Disk>>> = RwLock::new(None);

/// The disk under the device that `stat` names in `st_dev`. `mount` is the id that `statx` gives with STATX_MNT_ID
/// (Linux 5.8): without it the disk under a btrfs is not found, for `stat` names its subvolumes by numbers of their own.
///
/// Remembered, so that only the first open on a device waits for anything. A device that is unplugged, and another that
/// gets its number, are one and the same until then.
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

/// Other systems number volumes, and do not tell by the number which disk they lie on.
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
