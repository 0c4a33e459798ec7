//! The facts about a file that the engine needs to route its operations. It asks for them once, when the file is opened.
//!
//! The question must not wait. On Linux it is one statx that is told not to ask a FUSE or NFS server. The file system's type
//! is looked up in the list of mounts, and never with statfs, which would ask the server too. docs/decisions/0008-file-facts.md
//! has the reasons.

use super::{Descriptor, DirectAlignment, Metadata};

/// Facts about an open file. They hold as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileFacts {
    /// It takes an offset: it is a regular file, a directory or a block device.
    pub(crate) seekable: bool,
    /// This kernel serves it from a device or from memory, so calls on it that need no device never wait. False for network
    /// file systems and FUSE, and for file systems that run code of the kernel when they are read (proc, sysfs).
    pub(crate) local: bool,
    /// Its close is the kernel's own business: no file system is asked, so the close neither waits nor fails.
    pub(crate) plain_close: bool,
    /// A FUSE server serves it, which may answer anything at any time.
    pub(crate) fuse: bool,
    /// It was opened for direct I/O.
    pub(crate) direct: bool,
    /// It was opened for direct I/O of any alignment: transfers that are not aligned are bounced (`op/bounce.rs`).
    pub(crate) bounces: bool,
    /// Positions, lengths and addresses of its direct transfers must be multiples of these numbers.
    pub(crate) alignment: DirectAlignment,
    /// Every write goes to the end.
    pub(crate) append: bool,
    /// Its device, as `st_dev` of `stat`.
    pub(crate) dev: u64,
    /// The id of the mount that it was opened through, if the kernel says it.
    pub(crate) mount: Option<u64>,
    pub(crate) regular: bool,
    /// The file system's preferred size of a transfer.
    pub(crate) block_size: u32,
}

impl FileFacts {
    /// The same facts with `bounces` set, if the file is direct and seekable. Otherwise the kernel decides which transfers to
    /// refuse.
    pub(crate) fn for_transfers(self, bounces: bool) -> Self {
        let bounces = bounces && self.direct && self.seekable;
        let alignment = if bounces { self.alignment } else { self.alignment.strict() };
        Self { bounces, alignment, ..self }
    }
}

/// The alignment of a file's direct transfers.
fn alignment_of(metadata: &Metadata, direct: bool) -> DirectAlignment {
    if !direct {
        return DirectAlignment::ANY;
    }
    let told = (metadata.direct_memory_alignment(), metadata.direct_offset_alignment());
    DirectAlignment::of_file(told, metadata.block_size())
}

/// Asks for the facts; the error is a positive errno. `open_flags` are the flags that the file was opened with.
#[cfg(target_os = "linux")]
pub(crate) fn file_facts(fd: Descriptor, open_flags: i32) -> Result<FileFacts, i32> {
    let raw = super::linux::stat_without_sync(fd)?;
    let metadata = Metadata::from_raw(&raw);
    let direct = open_flags & libc::O_DIRECT != 0;
    let mount = mounts::kind(metadata.mount_id(), metadata.dev());
    Ok(FileFacts {
        seekable: metadata.is_seekable(),
        local: mount.local,
        // A driver of a character device may have a `flush` too.
        plain_close: mount.local && !mount.flushes && metadata.is_seekable(),
        fuse: mount.fuse,
        direct,
        bounces: false,
        alignment: alignment_of(&metadata, direct),
        append: open_flags & libc::O_APPEND != 0,
        dev: metadata.dev(),
        mount: metadata.mount_id(),
        regular: metadata.is_file(),
        block_size: metadata.block_size(),
    })
}

/// Asks for the facts; the error is a positive errno. `open_flags` are the flags that the file was opened with.
#[cfg(not(target_os = "linux"))]
#[expect(unsafe_code, reason = "a stat of an open file writes to an address")]
pub(crate) fn file_facts(fd: Descriptor, open_flags: i32) -> Result<FileFacts, i32> {
    #[cfg(unix)]
    use libc::O_APPEND;

    #[cfg(windows)]
    use super::windows::flags::O_APPEND;

    let mut raw = super::raw_stat_zeroed();
    let call = super::Call::Stat { fd, path: std::ptr::null(), follow: true, out: &raw mut raw };
    // SAFETY: the call writes to `raw`, which outlives it.
    let result = unsafe { super::perform(&call) };
    if result < 0 {
        return Err(-result);
    }
    let metadata = Metadata::from_raw(&raw);
    let direct = super::O_DIRECT.is_some_and(|flag| open_flags & flag != 0);
    Ok(FileFacts {
        seekable: metadata.is_seekable(),
        local: true,
        plain_close: true,
        fuse: false,
        direct,
        bounces: false,
        alignment: alignment_of(&metadata, direct),
        append: open_flags & O_APPEND != 0,
        dev: metadata.dev(),
        mount: None,
        regular: metadata.is_file(),
        block_size: metadata.block_size(),
    })
}

/// What kind of file system a mount has.
#[cfg(target_os = "linux")]
mod mounts {
    use std::{
        collections::HashMap,
        sync::{PoisonError, RwLock},
    };

    /// File systems that answer from a local device or from memory. FUSE, network file systems, proc, sysfs and devtmpfs are
    /// left out on purpose. A file system that is not in this list counts as not local.
    const LOCAL: [&str; 22] = [
        "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "iso9660", "jfs", "msdos",
        "nilfs2", "ntfs3", "overlay", "ramfs", "squashfs", "tmpfs", "udf", "vfat", "xfs", "zfs",
    ];

    /// The local file systems that are asked at each close (`flush` in their `file_operations`): overlay passes the question on
    /// to the file system below, f2fs ends an atomic write.
    const FLUSHING: [&str; 2] = ["f2fs", "overlay"];

    /// What is known of a mount.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Kind {
        pub(super) local: bool,
        /// Whether a close asks the file system, which may then wait or answer with an error.
        pub(super) flushes: bool,
        pub(super) fuse: bool,
    }

    impl Kind {
        /// A mount that is not in the list (it belongs to another namespace, or there is no /proc) counts as not local.
        fn of(file_system: Option<&str>) -> Self {
            let local = file_system.is_some_and(|name| LOCAL.binary_search(&name).is_ok());
            let flushes = file_system.is_none_or(|name| !local || FLUSHING.contains(&name));
            let fuse = file_system.is_some_and(|name| matches!(name, "fuse" | "fuseblk") || name.starts_with("fuse."));
            Self { local, flushes, fuse }
        }
    }

    /// How many mounts the table may have. Mounts come and go in a long-lived process; a full table is emptied.
    const KNOWN_MAX: usize = 1024;

    /// The kind of each known mount, by mount id and device. The id names the mount, because btrfs and overlay report devices
    /// that the list of mounts does not show. The device is part of the key, because an id is used again after an unmount.
    static KNOWN: RwLock<Option<HashMap<MountKey, Kind>>> = RwLock::new(None);

    /// The mount's id, if the kernel says it, and the device.
    type MountKey = (Option<u64>, u64);

    pub(super) fn kind(mount_id: Option<u64>, dev: u64) -> Kind {
        let key = (mount_id, dev);
        let known =
            KNOWN.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|map| map.get(&key).copied());
        if let Some(kind) = known {
            return kind;
        }
        // A mount that is not in the list (another namespace, or no /proc) counts as not local.
        let list = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let kind = Kind::of(type_of_mount(&String::from_utf8_lossy(&list), mount_id, dev));
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        let map = known.get_or_insert_default();
        if map.len() >= KNOWN_MAX {
            map.clear();
        }
        map.insert(key, kind);
        kind
    }

    /// The type of a mount's file system. A line of the list looks like
    /// `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw`. Kernels before 5.8 report no id; then the mount is found by
    /// its device.
    fn type_of_mount(list: &str, mount_id: Option<u64>, dev: u64) -> Option<&str> {
        list.lines().find_map(|line| {
            let (front, back) = line.split_once(" - ")?;
            let mut fields = front.split(' ');
            let id: u64 = fields.next()?.parse().ok()?;
            let (major, minor) = fields.nth(1)?.split_once(':')?;
            let device = libc::makedev(major.parse().ok()?, minor.parse().ok()?);
            let matches = mount_id.map_or(device == dev, |wanted| wanted == id);
            matches.then(|| back.split(' ').next()).flatten()
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_local_types_are_sorted_for_the_binary_search() {
            assert!(LOCAL.is_sorted());
        }

        #[test]
        fn a_close_asks_what_is_not_local_and_two_that_are() {
            let flushes = |name| Kind::of(name).flushes;
            assert!(["ext4", "tmpfs", "xfs"].into_iter().all(|name| !flushes(Some(name))));
            assert!(["overlay", "f2fs", "nfs4", "fuse.sshfs", "unknown"].into_iter().all(|name| flushes(Some(name))));
            assert!(flushes(None));
        }

        #[test]
        fn a_fuse_mount_is_known_by_its_type() {
            let fuse = |name| Kind::of(Some(name)).fuse;
            assert!(fuse("fuse") && fuse("fuseblk") && fuse("fuse.sshfs"));
            assert!(!fuse("fusectl") && !fuse("virtiofs") && !fuse("ext4"));
        }

        #[test]
        fn a_mount_is_found_by_its_id_and_without_one_by_its_device() {
            let list = "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                        36 22 0:45 / /mnt/a\\040b rw,noatime master:1 propagate_from:2 - fuse.sshfs host:/ rw\n\
                        not a mount\n";
            assert_eq!(type_of_mount(list, Some(36), 0), Some("fuse.sshfs"));
            assert_eq!(type_of_mount(list, None, libc::makedev(8, 1)), Some("ext4"));
            assert_eq!(type_of_mount(list, Some(99), libc::makedev(8, 1)), None);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::{fd::AsRawFd, unix::fs::MetadataExt};

    use super::*;
    use crate::sys::errno;

    #[test]
    fn a_regular_file_is_seekable_and_has_the_device_of_stat() {
        let file = tempfile::tempfile().unwrap();
        let facts = file_facts(file.as_raw_fd(), libc::O_APPEND | libc::O_DIRECT).unwrap();
        assert!(facts.seekable && facts.regular && facts.append && facts.direct);
        assert_eq!(facts.dev, file.metadata().unwrap().dev());
        assert!(facts.block_size >= 512);
    }

    #[test]
    fn proc_is_not_local_and_a_pipe_cannot_seek() {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        let facts = file_facts(file.as_raw_fd(), 0).unwrap();
        assert!(facts.regular && !facts.local && !facts.plain_close && !facts.direct && !facts.append);
        let (reader, _writer) = std::io::pipe().unwrap();
        let facts = file_facts(reader.as_raw_fd(), 0).unwrap();
        assert!(!facts.seekable && !facts.regular);
    }

    #[test]
    fn a_tmpfs_is_local() {
        let Ok(file) = tempfile::tempfile_in("/dev/shm") else {
            println!("skipped: no /dev/shm here");
            return;
        };
        let list = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        if !list.lines().any(|line| line.contains(" /dev/shm ") && line.contains(" - tmpfs ")) {
            println!("skipped: /dev/shm is no tmpfs here");
            return;
        }
        let facts = file_facts(file.as_raw_fd(), 0).unwrap();
        assert!(facts.local && facts.plain_close);
    }

    #[test]
    fn a_descriptor_of_no_file_is_refused_with_ebadf() {
        assert_eq!(file_facts(-1, 0), Err(errno::EBADF));
    }
}
