//! Finds the disk of a file on Linux: in `/sys` for block devices, and in the list of mounts for file systems without a device
//! number of their own. It only reads files, and never fails: if something cannot be read, the file's device counts as a disk of
//! its own, whose only drawback is a limit of its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Disk, DiskId};

/// How many devices may lie one over another (a file system in a logical volume on an encrypted partition has three).
const LAYERS_MAX: u32 = 16;

/// A device number, as the kernel writes it: `8:1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    major: u32,
    minor: u32,
}

impl Number {
    fn of(st_dev: u64) -> Self {
        Self { major: libc::major(st_dev), minor: libc::minor(st_dev) }
    }

    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    fn id(self) -> DiskId {
        DiskId(libc::makedev(self.major, self.minor))
    }

    /// A disk of its own. Only its kind is known.
    fn alone(self, kind: &str) -> Disk {
        Disk { id: self.id(), name: format!("{kind} {}:{}", self.major, self.minor), rotational: None }
    }
}

/// The directories and files to read: the machine's own, or those of a test.
#[derive(Clone, Debug)]
pub(super) struct Trees {
    sys: PathBuf,
    dev: PathBuf,
    mounts: PathBuf,
}

impl Trees {
    pub(super) fn of_this_machine() -> Self {
        Self { sys: "/sys".into(), dev: "/dev".into(), mounts: "/proc/self/mountinfo".into() }
    }

    /// The disk of a device. Never fails: if something cannot be read, the search ends, and the answer is the disk found so far.
    pub(super) fn disk_of(&self, st_dev: u64, mount: Option<u64>) -> Disk {
        let number = Number::of(st_dev);
        // A file system on no device, or on several, has a number with major 0.
        if number.major == 0 { self.under_file_system(number, mount) } else { self.under_block_device(number) }
    }

    /// Goes down from a partition or a mapped device to its disk.
    fn under_block_device(&self, number: Number) -> Disk {
        let link = self.sys.join(format!("dev/block/{}:{}", number.major, number.minor));
        let Ok(mut path) = fs::canonicalize(link) else { return number.alone("device") };
        for _ in 0..LAYERS_MAX {
            match below(&path) {
                Some(lower) => path = lower,
                None => break,
            }
        }
        // The number is read even if nothing lies below, so that a disk has the same name whichever way it was found.
        let Some(found) = number_in(&path) else { return number.alone("device") };
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().replace('!', "/"));
        Disk { id: found.id(), name, rotational: flag(&path.join("queue/rotational")) }
    }

    /// The disk of a file system: the block device that it was mounted from, if it was (btrfs); else a disk of its own.
    fn under_file_system(&self, number: Number, mount: Option<u64>) -> Disk {
        let list = fs::read(&self.mounts).unwrap_or_default();
        let list = String::from_utf8_lossy(&list);
        let Some(mount) = Mount::find(&list, number, mount) else { return number.alone("device") };
        match self.number_of_node(&unescape(mount.source)) {
            Some(device) => self.under_block_device(device),
            // All subvolumes and layers of one mount get the mount's number, whatever numbers `stat` gives their files.
            None => mount.number.alone(mount.kind),
        }
    }

    /// The number of a device, from its path in `/dev`. It is found by the name and not by the device node, because a container
    /// may lack the node.
    fn number_of_node(&self, source: &str) -> Option<Number> {
        let in_dev = Path::new(source).strip_prefix("/dev").ok()?;
        let node = fs::canonicalize(self.dev.join(in_dev)).ok();
        let root = fs::canonicalize(&self.dev).ok();
        let resolved = node.as_deref().zip(root.as_deref()).and_then(|(node, root)| node.strip_prefix(root).ok());
        // sysfs writes the slash in `cciss/c0d0` as `!`.
        let name = resolved.unwrap_or(in_dev).to_str()?.replace('/', "!");
        if name.is_empty() || name.starts_with('.') {
            return None;
        }
        number_in(&self.sys.join("class/block").join(name))
    }
}

/// The disk of a partition, or the device below a mapped device or array, if there is only one.
fn below(path: &Path) -> Option<PathBuf> {
    if path.join("partition").exists() {
        return path.parent().filter(|disk| number_in(disk).is_some()).map(Path::to_owned);
    }
    let mut slaves = fs::read_dir(path.join("slaves")).ok()?;
    let only = slaves.next()?.ok()?;
    if slaves.next().is_some() {
        return None;
    }
    fs::canonicalize(only.path()).ok().filter(|slave| number_in(slave).is_some())
}

fn number_in(directory: &Path) -> Option<Number> {
    Number::parse(&fs::read_to_string(directory.join("dev")).ok()?)
}

fn flag(path: &Path) -> Option<bool> {
    match fs::read_to_string(path).ok()?.trim() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// A line such as `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw`.
#[derive(Clone, Copy, Debug)]
struct Mount<'a> {
    number: Number,
    kind: &'a str,
    /// The source, with its escapes.
    source: &'a str,
}

impl<'a> Mount<'a> {
    /// Finds a mount by its id, if the kernel says it (5.8); else by the device. For btrfs that fails, because `stat` gives
    /// another device than the list.
    fn find(list: &'a str, number: Number, id: Option<u64>) -> Option<Self> {
        list.lines().find_map(|line| {
            let (front, back) = line.split_once(" - ")?;
            let mut front = front.split(' ');
            let this: u64 = front.next()?.parse().ok()?;
            let device = Number::parse(front.nth(1)?)?;
            if !id.map_or(device == number, |wanted| wanted == this) {
                return None;
            }
            let mut back = back.split(' ');
            Some(Mount { number: device, kind: back.next()?, source: back.next().unwrap_or_default() })
        })
    }
}

/// The kernel writes a space, tab, newline, backslash or hash in a name as a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = (first == b'\\').then(|| after.get(..3)).flatten();
        let code = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A made-up machine: its trees lie in a temporary directory.
    struct Machine {
        root: tempfile::TempDir,
        trees: Trees,
    }

    impl Machine {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let at = |name: &str| root.path().join(name);
            let trees = Trees { sys: at("sys"), dev: at("dev"), mounts: at("mountinfo") };
            for directory in ["sys/dev/block", "sys/class/block", "dev/mapper"] {
                fs::create_dir_all(at(directory)).unwrap();
            }
            Self { root, trees }
        }

        /// A block device at `path` below `sys/devices`: its directory, and the links that lead to it.
        fn device(&self, path: &str, number: &str) -> PathBuf {
            let directory = self.trees.sys.join("devices").join(path);
            fs::create_dir_all(directory.join("slaves")).unwrap();
            fs::write(directory.join("dev"), format!("{number}\n")).unwrap();
            symlink(&directory, self.trees.sys.join("dev/block").join(number)).unwrap();
            let name = directory.file_name().unwrap();
            symlink(&directory, self.trees.sys.join("class/block").join(name)).unwrap();
            fs::write(self.trees.dev.join(name), "").unwrap();
            directory
        }

        fn disk(&self, path: &str, number: &str, rotational: &str) -> PathBuf {
            let directory = self.device(path, number);
            fs::create_dir(directory.join("queue")).unwrap();
            fs::write(directory.join("queue/rotational"), rotational).unwrap();
            directory
        }

        fn partition(&self, path: &str, number: &str) -> PathBuf {
            let directory = self.device(path, number);
            fs::remove_dir(directory.join("slaves")).unwrap();
            fs::write(directory.join("partition"), "1\n").unwrap();
            directory
        }

        fn mounts(&self, list: &str) {
            fs::write(&self.trees.mounts, list).unwrap();
        }

        fn find(&self, major: u32, minor: u32) -> Disk {
            self.trees.disk_of(libc::makedev(major, minor), None)
        }
    }

    fn lies_over(upper: &Path, lower: &Path) {
        symlink(lower, upper.join("slaves").join(lower.file_name().unwrap())).unwrap();
    }

    fn id(major: u32, minor: u32) -> DiskId {
        DiskId(libc::makedev(major, minor))
    }

    #[test]
    fn a_partition_is_a_part_of_its_disk() {
        let machine = Machine::new();
        machine.disk("pci0/nvme/nvme0/nvme0n1", "259:0", "0\n");
        machine.partition("pci0/nvme/nvme0/nvme0n1/nvme0n1p2", "259:2");
        let disk = machine.find(259, 2);
        assert_eq!(disk, Disk { id: id(259, 0), name: "nvme0n1".into(), rotational: Some(false) });
        assert_eq!(disk, machine.find(259, 0));
    }

    #[test]
    fn a_mapped_device_over_one_disk_counts_as_that_disk_through_all_layers() {
        let machine = Machine::new();
        machine.disk("ata1/block/sda", "8:0", "1\n");
        let partition = machine.partition("ata1/block/sda/sda3", "8:3");
        let crypt = machine.device("virtual/block/dm-0", "253:0");
        lies_over(&crypt, &partition);
        let volume = machine.device("virtual/block/dm-1", "253:1");
        lies_over(&volume, &crypt);
        assert_eq!(machine.find(253, 1), Disk { id: id(8, 0), name: "sda".into(), rotational: Some(true) });
    }

    #[test]
    fn an_array_of_several_disks_counts_as_a_disk_of_its_own() {
        let machine = Machine::new();
        let array = machine.disk("virtual/block/md0", "9:0", "0");
        lies_over(&array, &machine.disk("ata1/block/sda", "8:0", "0"));
        lies_over(&array, &machine.disk("ata2/block/sdb", "8:16", "0"));
        assert_eq!(machine.find(9, 0), Disk { id: id(9, 0), name: "md0".into(), rotational: Some(false) });
    }

    #[test]
    fn a_loop_device_counts_as_a_disk_of_its_own() {
        let machine = Machine::new();
        let device = machine.device("virtual/block/loop0", "7:0");
        fs::create_dir(device.join("loop")).unwrap();
        fs::write(device.join("loop/backing_file"), "/var/images/a.img\n").unwrap();
        assert_eq!(machine.find(7, 0), Disk { id: id(7, 0), name: "loop0".into(), rotational: None });
    }

    #[test]
    fn the_search_ends_when_devices_lie_over_one_another_in_a_circle() {
        let machine = Machine::new();
        let one = machine.device("virtual/block/dm-0", "253:0");
        let two = machine.device("virtual/block/dm-1", "253:1");
        lies_over(&one, &two);
        lies_over(&two, &one);
        assert!(["dm-0", "dm-1"].contains(&machine.find(253, 0).name.as_str()));
    }

    #[test]
    fn a_name_with_a_slash_is_reported_as_in_dev() {
        let machine = Machine::new();
        machine.device("pci0/cciss!c0d0", "104:0");
        assert_eq!(machine.find(104, 0).name, "cciss/c0d0");
    }

    #[test]
    fn the_disk_of_btrfs_is_the_one_it_was_mounted_from() {
        let machine = Machine::new();
        machine.disk("ata1/block/sda", "8:0", "0");
        let partition = machine.partition("ata1/block/sda/sda2", "8:2");
        let volume = machine.device("virtual/block/dm-4", "253:4");
        lies_over(&volume, &partition);
        symlink("../dm-4", machine.root.path().join("dev/mapper/my\tvolume")).unwrap();
        machine.mounts(
            "22 1 0:21 / /proc rw - proc proc rw\n\
             30 1 0:44 /sub /a\\040b rw shared:1 - btrfs /dev/mapper/my\\011volume rw\n\
             31 1 0:45 / /c rw - btrfs /dev/sda2 rw\n",
        );
        assert_eq!(machine.find(0, 44).name, "sda");
        assert_eq!(machine.find(0, 45).name, "sda");
        // The device that `stat` gives for a subvolume is in no list; the mount's id is.
        assert_eq!(machine.find(0, 99).name, "device 0:99");
        assert_eq!(machine.trees.disk_of(libc::makedev(0, 99), Some(31)).id, id(8, 0));
    }

    #[test]
    fn a_file_system_on_no_device_counts_as_a_disk_of_its_own() {
        let machine = Machine::new();
        machine.mounts(
            "25 1 0:35 / /tmp rw - tmpfs tmpfs rw\n\
             26 1 0:36 / /net rw - nfs4 server:/dev/sda rw\n\
             27 1 0:37 / /over rw - overlay overlay rw,lowerdir=/x\n\
             28 1 0:38 / /bare rw - fuse\n\
             29 1 0:39 / /gone rw - btrfs /dev/sdz rw\n\
             30 1 0:40 / /odd rw - fuse /dev/.. rw\n",
        );
        for (minor, name) in [(35, "tmpfs"), (36, "nfs4"), (37, "overlay"), (38, "fuse"), (39, "btrfs"), (40, "fuse")] {
            assert_eq!(machine.find(0, minor), Number { major: 0, minor }.alone(name));
        }
        let layer = machine.trees.disk_of(libc::makedev(0, 77), Some(27));
        assert_eq!(layer.id, id(0, 37), "the layers of a mount are one disk");
    }

    #[test]
    fn a_device_that_cannot_be_looked_up_counts_as_a_disk_of_its_own() {
        let empty = Trees { sys: "/no/sys".into(), dev: "/no/dev".into(), mounts: "/no/mounts".into() };
        assert_eq!(empty.disk_of(libc::makedev(8, 1), None).name, "device 8:1");
        assert_eq!(empty.disk_of(libc::makedev(0, 9), Some(3)).id, id(0, 9));

        let machine = Machine::new();
        let disk = machine.disk("ata1/block/sda", "8:0", "maybe");
        machine.partition("ata1/block/sda/sda1", "8:1");
        assert_eq!(machine.find(8, 0).rotational, None);
        fs::write(disk.join("dev"), "nonsense").unwrap();
        assert_eq!(machine.find(8, 1).name, "sda1", "the disk does not say its number, the partition does");
        assert_eq!(machine.find(8, 0).name, "device 8:0");
        machine.mounts("\n - \n1\n1 2 x - y\n1 2 0:5 /\nno \u{fffd} line\n5 6 0:70 / / rw - ext4");
        assert_eq!(machine.find(0, 70).name, "ext4 0:70");
    }

    #[test]
    fn escapes_in_the_list_of_mounts_are_decoded() {
        assert_eq!(unescape(r"a\040b\011c\012d\134e\043f"), "a b\tc\nd\\e#f");
        assert_eq!(unescape(r"\04"), r"\04");
        assert_eq!(unescape(r"\999\777\"), r"\999\777\");
        assert_eq!(unescape(r"\134040"), r"\040");
    }
}
