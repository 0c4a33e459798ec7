//! Runs a scenario in a child process, and tells how it ended.

use std::{
    env, fs,
    os::unix::process::ExitStatusExt,
    pin::pin,
    process::{Command, ExitStatus},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use auraio::Routing;

use crate::{
    expected::{Expected, expected},
    support::{On, Rig},
};

/// How long a scenario may take, in seconds, before it counts as hanging. None takes one second on a machine at rest.
const HANGS: u32 = 20;

/// The same for a scenario that is expected to fail: there is no doubt that needs more time.
const HANGS_AS_EXPECTED: u32 = 4;

/// Names the scenario that the child is to run.
const SCENARIO: &str = "AURAIO_SCENARIO";

/// How long the child may take.
const LIMIT: &str = "AURAIO_SCENARIO_LIMIT";

/// One test for each scenario, backend and routing.
macro_rules! scenarios {
    ($($(#[$meta:meta])* fn $name:ident($rig:ident) $body:block)*) => {
        $(
            $(#[$meta])*
            fn $name($rig: crate::support::Rig) $body

            mod $name {
                use auraio::Routing;
                use crate::{support::On, watch::watched};

                #[test]
                fn uring_core() {
                    watched(concat!(module_path!(), "::uring_core"), On::Uring, Routing::Core, super::$name);
                }

                #[test]
                fn uring_thread() {
                    watched(concat!(module_path!(), "::uring_thread"), On::Uring, Routing::Thread, super::$name);
                }

                #[test]
                fn threads_core() {
                    watched(concat!(module_path!(), "::threads_core"), On::Threads, Routing::Core, super::$name);
                }

                #[test]
                fn threads_thread() {
                    watched(concat!(module_path!(), "::threads_thread"), On::Threads, Routing::Thread, super::$name);
                }
            }
        )*
    };
}

/// In the parent: starts a child for the scenario, and fails if the child does. In that child: runs the scenario.
pub(crate) fn watched(path: &str, on: On, routing: Routing, scenario: fn(Rig)) {
    // The test harness names tests without the program's own name.
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    let rig = Rig { on, routing };
    if env::var(SCENARIO).is_ok_and(|wanted| wanted == name) {
        let limit = env::var(LIMIT).ok().and_then(|limit| limit.parse().ok()).unwrap_or(HANGS);
        // SAFETY: it takes a number. The signal kills the process, even if its parent has gone meanwhile.
        unsafe { libc::alarm(limit) };
        return scenario(rig);
    }
    if let Err(reason) = rig.builder().build() {
        println!("skipped on {on:?}: {reason}");
        return;
    }
    let expected = expected(name);
    let limit = if expected == Expected::Pass { HANGS } else { HANGS_AS_EXPECTED };
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(SCENARIO, name)
        .env(LIMIT, limit.to_string())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(said.contains("running 1 test"), "the child did not find the scenario {name}: {said}");
    match (how_it_failed(child.status), expected) {
        (None, Expected::Pass | Expected::Either) => {}
        (Some(how), Expected::Fail | Expected::Either) => println!("{name} {how}, as expected"),
        (Some(how), Expected::Pass) => panic!("{name} {how}; it said:\n{said}"),
        (None, Expected::Fail) => panic!("{name} passes now: take it off the list in hangs/expected.rs"),
    }
}

fn how_it_failed(status: ExitStatus) -> Option<String> {
    match status.signal() {
        Some(libc::SIGALRM) => Some("hangs".into()),
        Some(libc::SIGABRT) => Some("aborts".into()),
        Some(signal) => Some(format!("is killed by signal {signal}")),
        None if status.success() => None,
        None => Some("fails".into()),
    }
}

/// Polls a future once, for nobody.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Starts an operation that the kernel takes a while for, or that waits, and drops its future.
pub(crate) fn start_and_drop<F: Future + Unpin>(mut future: F) {
    let _ = poll_once(&mut future);
}

/// Threads of this process that have this name.
pub(crate) fn threads_named(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|its| its.trim_end() == name).count()
}

/// Waits for what another thread brings about. The watchdog ends it.
pub(crate) fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        thread::sleep(Duration::from_millis(1));
    }
}
