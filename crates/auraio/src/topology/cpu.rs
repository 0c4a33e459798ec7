//! The CPU that the calling thread runs on, and the CPUs that it may run on.

use std::io;

#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::Topology;

/// The CPUs that a thread may run on.
///
/// ```
/// use auraio::topology::Affinity;
///
/// let here = Affinity::of_this_thread();
/// assert!(!here.is_empty());
/// if let Some(cpu) = here.is_pinned_to_one() {
///     println!("rings and shards of this thread go to CPU {cpu}");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// The CPUs, ascending, each once.
    cpus: Vec<u32>,
}

impl Affinity {
    /// The CPUs that the kernel allows the calling thread: those of its own mask that the cpuset of its cgroup has too. It
    /// costs one system call, so use it for set-up and not for every operation. If the platform has no affinity, or does not
    /// say, it is every CPU.
    ///
    /// ```
    /// let here = auraio::topology::Affinity::of_this_thread();
    /// assert!(here.len() >= 1);
    /// ```
    #[must_use]
    pub fn of_this_thread() -> Self {
        let allowed = Self::allowed();
        if allowed.is_empty() { Topology::detect().cpus().iter().copied().collect() } else { allowed }
    }

    #[cfg(target_os = "linux")]
    fn allowed() -> Self {
        match sched_getaffinity(None) {
            Ok(set) => {
                (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).filter_map(|cpu| cpu.try_into().ok()).collect()
            }
            // EINVAL means that the kernel's mask has more than the 1,024 bits of the set. /proc has it at any width.
            Err(_) => std::fs::read_to_string("/proc/thread-self/status")
                .map_or_else(|_| Self { cpus: Vec::new() }, |status| Self::from_status(&status)),
        }
    }

    #[cfg(not(target_os = "linux"))]
    const fn allowed() -> Self {
        Self { cpus: Vec::new() }
    }

    /// The CPUs that the text of `/proc/<pid>/status` names; empty if it names none.
    #[cfg(any(target_os = "linux", test))]
    fn from_status(status: &str) -> Self {
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Self { cpus: list.and_then(|list| super::parse_cpu_list(list).ok()).unwrap_or_default() }
    }

    /// The CPU that the thread may run on, if there is only one. For a ring, such a thread is "pinned": the answer of
    /// [`current_cpu`] cannot change.
    ///
    /// ```
    /// use auraio::topology::Affinity;
    ///
    /// assert_eq!(Affinity::from_iter([3]).is_pinned_to_one(), Some(3));
    /// assert_eq!(Affinity::from_iter([3, 4]).is_pinned_to_one(), None);
    /// ```
    #[must_use]
    pub fn is_pinned_to_one(&self) -> Option<u32> {
        match self.cpus[..] {
            [cpu] => Some(cpu),
            _ => None,
        }
    }

    /// Whether the thread may run on this CPU.
    ///
    /// ```
    /// use auraio::topology::Affinity;
    ///
    /// assert!(Affinity::from_iter([0, 2]).contains(2));
    /// assert!(!Affinity::from_iter([0, 2]).contains(1));
    /// ```
    #[must_use]
    pub fn contains(&self, cpu: u32) -> bool {
        self.cpus.binary_search(&cpu).is_ok()
    }

    /// The CPUs, ascending.
    ///
    /// ```
    /// use auraio::topology::Affinity;
    ///
    /// assert_eq!(Affinity::from_iter([5, 1]).cpus(), [1, 5]);
    /// ```
    #[must_use]
    pub fn cpus(&self) -> &[u32] {
        &self.cpus
    }

    /// How many CPUs there are.
    ///
    /// ```
    /// use auraio::topology::Affinity;
    ///
    /// assert_eq!(Affinity::from_iter([1, 5, 5]).len(), 2);
    /// ```
    #[must_use]
    pub const fn len(&self) -> usize {
        self.cpus.len()
    }

    /// Whether there are no CPUs, which is never true for a thread that runs.
    ///
    /// ```
    /// assert!(auraio::topology::Affinity::from_iter([]).is_empty());
    /// ```
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cpus.is_empty()
    }
}

impl FromIterator<u32> for Affinity {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        let mut cpus: Vec<u32> = cpus.into_iter().collect();
        cpus.sort_unstable();
        cpus.dedup();
        Self { cpus }
    }
}

/// The CPU that the calling thread runs on now; 0 on platforms that do not say. Unless the thread is pinned, the scheduler may
/// move it at any time: use the answer to choose a ring, never to conclude that nobody else runs on that CPU.
///
/// With glibc 2.35 or later it is one load from memory that the kernel keeps up to date (restartable sequences, Linux 4.18).
///
/// ```
/// let cpu = auraio::topology::current_cpu();
/// assert!(cpu <= auraio::topology::Topology::detect().cpu_max());
/// ```
#[must_use]
#[inline]
pub fn current_cpu() -> u32 {
    #[cfg(target_os = "linux")]
    let cpu = crate::sys::current_cpu();
    #[cfg(not(target_os = "linux"))]
    let cpu = 0;
    cpu
}

/// Binds the calling thread to one CPU, as `taskset` does: for tests, benches, and programs that pin their threads.
/// Threads that it starts afterwards inherit the binding. On other platforms than Linux it fails with `Unsupported`.
///
/// # Errors
/// `EINVAL` (kind `InvalidInput`) for a CPU that is not online, that the cgroup of this process forbids, or whose number is
/// 1,024 or more; `EPERM` if a sandbox forbids the call.
///
/// ```
/// # #[cfg(target_os = "linux")]
/// # fn main() -> std::io::Result<()> {
/// use auraio::topology::{Affinity, current_cpu, pin_this_thread};
///
/// let cpu = Affinity::of_this_thread().cpus()[0];
/// pin_this_thread(cpu)?;
/// assert_eq!(Affinity::of_this_thread().is_pinned_to_one(), Some(cpu));
/// assert_eq!(current_cpu(), cpu);
/// # Ok(())
/// # }
/// # #[cfg(not(target_os = "linux"))]
/// # fn main() {}
/// ```
pub fn pin_this_thread(cpu: u32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let bit = usize::try_from(cpu).ok().filter(|bit| *bit < CpuSet::MAX_CPU);
        // `CpuSet::set` panics for a CPU past the end of the set.
        let bit = bit.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut set = CpuSet::new();
        set.set(bit);
        Ok(sched_setaffinity(None, &set)?)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = cpu;
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_file_gives_masks_of_any_width() {
        let status = "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-1,1500-1502\nMems_allowed_list:\t0\n";
        assert_eq!(Affinity::from_status(status).cpus(), [0, 1, 1500, 1501, 1502]);
        assert!(Affinity::from_status("Name:\tx\n").is_empty());
        assert!(Affinity::from_status("Cpus_allowed_list:\t1-\n").is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_status_file_and_the_system_call_agree() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let here = Affinity::of_this_thread();
        assert!(here.cpus().iter().all(|cpu| Affinity::from_status(&status).contains(*cpu)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pinned_thread_stays_on_its_cpu() {
        for cpu in Affinity::of_this_thread().cpus().to_vec() {
            std::thread::spawn(move || {
                pin_this_thread(cpu).unwrap();
                assert_eq!(Affinity::of_this_thread().is_pinned_to_one(), Some(cpu));
                for _ in 0..1000 {
                    assert_eq!(current_cpu(), cpu);
                }
            })
            .join()
            .unwrap();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_cpu_that_does_not_exist_is_refused() {
        for cpu in [1023, 1024, u32::MAX] {
            assert_eq!(pin_this_thread(cpu).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{cpu}");
        }
    }
}
