//! What the pool does when the system refuses memory. The system's limits count for a whole process, so each test runs again
//! in a process of its own.
#![cfg(target_os = "linux")]

use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

const CHILD: &str = "AURAIO_TEST_LIMITS";

/// Runs a test of this file in a process of its own; true in that process.
fn in_a_process_of_its_own(name: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let name = format!("pool::tests::limits::{name}");
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", "--nocapture", &name]).env(CHILD, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    false
}

/// Lowers a limit, and answers a function that restores it.
fn lowered(resource: Resource, to: u64) -> impl FnOnce() {
    let before = getrlimit(resource);
    setrlimit(resource, Rlimit { current: Some(to), maximum: before.maximum }).unwrap();
    move || setrlimit(resource, before).unwrap()
}

/// A line of /proc/self/status, in bytes.
fn status(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let value = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    value.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn without_address_space_acquiring_fails_with_the_systems_error_and_works_again_later() {
    if !in_a_process_of_its_own("without_address_space_acquiring_fails_with_the_systems_error_and_works_again_later") {
        return;
    }
    let pool = pool(64 * MIB);
    let raise = lowered(Resource::As, status("VmSize:") + (32 << 20));
    let error = pool.acquire(4096).unwrap_err();
    assert_eq!(pool.stats().bytes_mapped, 0);
    raise();
    assert_eq!(error, Error::os(12, "mmap"));
    assert_eq!(pool.acquire(4096).unwrap().len(), 4096);
}

#[test]
fn memory_that_the_system_refuses_is_an_error_and_changes_nothing() {
    if !in_a_process_of_its_own("memory_that_the_system_refuses_is_an_error_and_changes_nothing") {
        return;
    }
    let pool = pool(64 * MIB);
    let block = pool.acquire(4096).unwrap();
    // There is room for one slab and for the test itself, but not for three slabs.
    let raise = lowered(Resource::Data, status("VmData:") + (5 << 20));
    let slab = pool.acquire(8192).unwrap();
    let refused = [6 * MIB, 4 * MIB].map(|size| pool.acquire(size).map(|block| block.len()));
    let stats = adds_up(&pool, 3 * 4096);
    raise();
    assert_eq!(refused, [6 * MIB, 4 * MIB].map(|wanted| Err(Error::PoolExhausted { wanted })));
    assert_eq!(stats.bytes_mapped, 4 << 20);
    assert_eq!(pool.acquire(6 * MIB).unwrap().len(), 6 * MIB);
    drop((block, slab));
    adds_up(&pool, 0);
}
