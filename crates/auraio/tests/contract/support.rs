//! The backends that properties run on, and buffers that count how many of them were dropped.

use std::{
    alloc::Layout,
    ffi::CString,
    fs, io,
    os::unix::ffi::OsStrExt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use auraio::{BackendChoice, Builder, Engine, File, IoBuf, IoBufMut, OpenOptions, Routing, SimOptions};
use tempfile::TempDir;

/// How long a property may take before it counts as hanging. Each takes less than a second.
const HANGS: Duration = Duration::from_secs(5);

/// How long a test waits for another thread.
const NEVER: Duration = Duration::from_secs(3);

/// The backend of a property's engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Uring,
    Threads,
    Sim,
}

/// The backend and routing that a property is tested with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rig {
    pub(crate) on: On,
    pub(crate) routing: Routing,
}

impl Rig {
    pub(crate) fn builder(&self) -> Builder {
        let backend = match self.on {
            On::Uring => BackendChoice::Uring,
            On::Threads => BackendChoice::Threads,
            On::Sim => {
                let mut options = SimOptions::new(7);
                options.short_io = 0.0;
                BackendChoice::Sim(options)
            }
        };
        Engine::builder().backend(backend).routing(self.routing)
    }

    /// On `sim`, an engine whose kernel refuses each submission three times (`EAGAIN`, `EBUSY`, `EINTR`) before it takes it, as
    /// a kernel that is short of memory does.
    pub(crate) fn reluctant(&self) -> Option<Engine> {
        if self.on != On::Sim {
            println!("skipped: only the simulated kernel refuses when a test wants it to");
            return None;
        }
        let mut options = SimOptions::calm(7);
        options.refuse_submit = 1.0;
        self.builder().backend(BackendChoice::Sim(options)).build().ok()
    }

    pub(crate) fn engine(&self) -> Engine {
        self.builder().build().unwrap()
    }
}

/// Runs a property, or prints why it is skipped. A property that hangs fails.
pub(crate) fn run(on: On, routing: Routing, property: fn(Rig)) {
    let rig = Rig { on, routing };
    if let Err(reason) = rig.builder().build() {
        println!("skipped on {on:?}: {reason}");
        return;
    }
    let (say, hear) = mpsc::channel();
    let body = move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| property(rig)));
        let _ = say.send(outcome);
    };
    thread::Builder::new().name(format!("{on:?} {routing:?}")).spawn(body).unwrap();
    match hear.recv_timeout(HANGS) {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => panic!("the property hangs on {on:?} with {routing:?}"),
    }
}

/// Makes one test for each property, backend and routing.
macro_rules! properties {
    ($($(#[$meta:meta])* fn $name:ident($rig:ident) $body:block)*) => {
        $(
            $(#[$meta])*
            fn $name($rig: crate::support::Rig) $body

            mod $name {
                use auraio::Routing;
                use crate::support::{On, run};

                #[test]
                fn uring_core() {
                    run(On::Uring, Routing::Core, super::$name);
                }

                #[test]
                fn uring_thread() {
                    run(On::Uring, Routing::Thread, super::$name);
                }

                #[test]
                fn threads_core() {
                    run(On::Threads, Routing::Core, super::$name);
                }

                #[test]
                fn threads_thread() {
                    run(On::Threads, Routing::Thread, super::$name);
                }

                #[test]
                fn sim_core() {
                    run(On::Sim, Routing::Core, super::$name);
                }

                #[test]
                fn sim_thread() {
                    run(On::Sim, Routing::Thread, super::$name);
                }
            }
        )*
    };
}

/// A directory that is removed when the test ends.
pub(crate) fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Bytes that differ from position to position, so that a test notices bytes in the wrong position.
pub(crate) fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 31 + at / 251 + salt * 7) & 0xff) as u8).collect()
}

pub(crate) const fn reading() -> OpenOptions {
    OpenOptions::new().read(true)
}

pub(crate) const fn creating() -> OpenOptions {
    OpenOptions::new().read(true).write(true).create(true)
}

/// A file with contents, opened for reading and writing.
pub(crate) fn file_of(engine: &Engine, path: &Path, contents: &[u8]) -> File {
    fs::write(path, contents).unwrap();
    engine.block_on(engine.open(path, OpenOptions::new().read(true).write(true))).unwrap()
}

pub(crate) fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// A FIFO that is opened on both ends, so that neither an open nor a close has to wait.
pub(crate) fn fifo(engine: &Engine, dir: &Path) -> (File, PathBuf) {
    let path = dir.join("fifo");
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(c_path(&path).as_ptr(), 0o600) }, 0);
    let file = engine.block_on(engine.open(&path, OpenOptions::new().read(true).write(true))).unwrap();
    (file, path)
}

/// Writes into a FIFO without the engine.
pub(crate) fn fill(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    fs::OpenOptions::new().read(true).write(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// The errno of a plain call, or 0.
pub(crate) fn errno_of(result: i64) -> i32 {
    if result < 0 { io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

/// The errno of a result of the engine, or 0.
pub(crate) fn our_errno<T>(result: &auraio::Result<T>) -> i32 {
    result.as_ref().err().map_or(0, auraio::Error::errno)
}

/// How many descriptors of this process are open on a path.
pub(crate) fn descriptors_of(path: &Path) -> usize {
    let all = fs::read_dir("/proc/self/fd").unwrap();
    all.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).filter(|target| target == path).count()
}

/// Binds this thread to the `nth` of the cores that it may run on; false if there are fewer.
pub(crate) fn pin(nth: usize) -> bool {
    // SAFETY: a set of cores consists of plain bits, and the kernel writes no further than its size.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: as above.
    assert_eq!(unsafe { libc::sched_getaffinity(0, size, &raw mut allowed) }, 0);
    // SAFETY: the number is within the set.
    let Some(cpu) = (0..1024).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &allowed) }).nth(nth) else { return false };
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::CPU_SET(cpu, &mut one) };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::sched_setaffinity(0, size, &raw const one) }, 0);
    true
}

/// Turns the engine until the condition is true. It fails after a time limit, so that it does not spin for ever.
pub(crate) fn until(engine: &Engine, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < NEVER, "what was waited for never happens");
        engine.turn(Some(Duration::from_millis(1)));
    }
}

/// Waits until another thread has made the condition true.
pub(crate) fn until_elsewhere(mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < NEVER, "what was waited for never happens");
        thread::yield_now();
    }
}

pub(crate) fn submitted(engine: &Engine) -> u64 {
    engine.stats().rings.iter().map(|ring| ring.submitted).sum()
}

pub(crate) fn completed(engine: &Engine) -> u64 {
    engine.stats().rings.iter().map(|ring| ring.completed).sum()
}

/// Checks that the engine is at rest: every operation has completed, and none is held or waits.
pub(crate) fn assert_at_rest(engine: &Engine) {
    for ring in engine.stats().rings {
        assert_eq!(ring.submitted, ring.completed, "{ring:?}");
        assert_eq!((ring.in_flight, ring.queued), (0, 0), "{ring:?}");
    }
}

/// A buffer that counts how many of its kind were dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) bytes: Vec<u8>,
    drops: Drops,
}

/// The count of dropped buffers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drops(Arc<AtomicUsize>);

impl Drops {
    pub(crate) fn buffer(&self, len: usize) -> Counted {
        Counted { bytes: vec![0; len], drops: self.clone() }
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.drops.0.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: the bytes lie on the heap, and nothing resizes them.
unsafe impl IoBuf for Counted {
    fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

// SAFETY: as above.
unsafe impl IoBufMut for Counted {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// Memory that begins at a page, which is aligned for direct I/O.
#[derive(Debug)]
pub(crate) struct Aligned {
    address: *mut u8,
    len: usize,
}

impl Aligned {
    pub(crate) fn new(len: usize) -> Self {
        assert!(len > 0);
        // SAFETY: the size of the layout is not zero.
        let address = unsafe { std::alloc::alloc_zeroed(Self::layout(len)) };
        assert!(!address.is_null());
        Self { address, len }
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len, 4096).unwrap()
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { std::alloc::dealloc(self.address, Self::layout(self.len)) };
    }
}

// SAFETY: the value owns its memory, as a box does.
unsafe impl Send for Aligned {}

// SAFETY: the memory stays where it is until the drop.
unsafe impl IoBuf for Aligned {
    fn as_slice(&self) -> &[u8] {
        // SAFETY: there are `len` bytes, which were zeroed when they were allocated.
        unsafe { std::slice::from_raw_parts(self.address, self.len) }
    }
}

// SAFETY: as above.
unsafe impl IoBufMut for Aligned {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has the address.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.len) }
    }
}
