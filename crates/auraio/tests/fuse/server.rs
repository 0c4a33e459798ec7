//! A FUSE server for one file, which answers flushes and reads with the errno that the test asks for, and counts them.
//!
//! It speaks the protocol of the kernel (`/dev/fuse`, version 7.31) on a thread of its own. Mounting takes root.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

/// The length of the file.
pub(crate) const FILE_BYTES: u64 = 4096;

/// What the file holds at each of its bytes.
pub(crate) const BYTE: u8 = 7;

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

/// `FUSE_ASYNC_READ` and `FUSE_ASYNC_DIO`: with the second the kernel completes direct transfers later.
const INIT_FLAGS: u32 = 1 | 1 << 15;

/// The length of a request's header.
const HEADER_BYTES: usize = 40;

/// What the server answers, and what it was asked.
#[derive(Default)]
pub(crate) struct Answers {
    /// A positive errno, or 0: the flush works.
    pub(crate) flush: AtomicI32,
    pub(crate) read: AtomicI32,
    pub(crate) flushes: AtomicU64,
    pub(crate) reads: AtomicU64,
    /// Nothing is answered.
    pub(crate) silent: AtomicBool,
    /// Requests that wait for an answer because of that.
    pub(crate) unanswered: AtomicU64,
}

/// A mounted file system. Dropping it unmounts.
pub(crate) struct Mount {
    pub(crate) answers: Arc<Answers>,
    dir: tempfile::TempDir,
    server: Option<JoinHandle<()>>,
}

impl Mount {
    /// `None` where FUSE cannot be had; then it says why.
    pub(crate) fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        // Other users are let in, so that a test can be one of them.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let device = match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
            Ok(device) => device,
            Err(error) => {
                println!("skipped: no /dev/fuse: {error}");
                return None;
            }
        };
        let data = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other\0", device.as_raw_fd());
        let target = format!("{}\0", dir.path().display());
        // SAFETY: all three texts end in a NUL and outlive the call.
        let mounted = unsafe {
            libc::mount(c"auraio".as_ptr(), target.as_ptr().cast(), c"fuse".as_ptr(), 0, data.as_ptr().cast())
        };
        if mounted != 0 {
            println!("skipped: FUSE cannot be mounted: {}", std::io::Error::last_os_error());
            return None;
        }
        let answers = Arc::<Answers>::default();
        let theirs = Arc::clone(&answers);
        let server = std::thread::spawn(move || serve(device, &theirs));
        Some(Self { answers, dir, server: Some(server) })
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("file")
    }

    /// From now on the server answers again, also what it was asked before.
    pub(crate) fn speak(&self) {
        self.answers.silent.store(false, Ordering::SeqCst);
        // The server sees that with the next request.
        std::fs::metadata(self.dir.path()).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let target = format!("{}\0", self.dir.path().display());
        // SAFETY: the text ends in a NUL and outlives the call.
        unsafe { libc::umount2(target.as_ptr().cast(), libc::MNT_DETACH) };
        // The server ends when the kernel has let go of the last file.
        if let Some(server) = self.server.take()
            && !std::thread::panicking()
        {
            server.join().unwrap();
        }
    }
}

fn serve(mut device: File, answers: &Answers) {
    let mut request = vec![0; 1 << 20];
    let mut unanswered: Vec<Vec<u8>> = Vec::new();
    loop {
        let len = match device.read(&mut request) {
            Ok(len) => len,
            // A request that was taken back, or a signal.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR | libc::EAGAIN)) => continue,
            // The file system was unmounted.
            Err(_) => return,
        };
        if len < HEADER_BYTES {
            continue;
        }
        if answers.silent.load(Ordering::SeqCst) {
            unanswered.push(request[..len].to_vec());
            answers.unanswered.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        for earlier in unanswered.drain(..).chain([request[..len].to_vec()]) {
            if let Some(answer) = answer(&earlier, answers) {
                // The kernel refuses an answer to a request that was taken back meanwhile.
                let _ = device.write(&answer);
            }
        }
    }
}

/// The answer to a request, if one is wanted.
fn answer(request: &[u8], answers: &Answers) -> Option<Vec<u8>> {
    let number = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
    let (operation, unique) = (number(4), &request[8..16]);
    let (error, body) = match operation {
        FORGET | BATCH_FORGET | INTERRUPT => return None,
        INIT => (0, init()),
        LOOKUP => (0, [2_u64.to_le_bytes().to_vec(), vec![0; 32], attributes(false)].concat()),
        GETATTR => (0, [vec![0; 16], attributes(number(16) == 1)].concat()),
        OPEN => (0, [1_u64.to_le_bytes(), [0; 8]].concat()),
        READ => {
            answers.reads.fetch_add(1, Ordering::SeqCst);
            (answers.read.load(Ordering::SeqCst), vec![BYTE; number(HEADER_BYTES + 16) as usize])
        }
        WRITE => (0, [number(HEADER_BYTES + 16).to_le_bytes(), [0; 4]].concat()),
        RELEASE => (0, Vec::new()),
        FLUSH => {
            answers.flushes.fetch_add(1, Ordering::SeqCst);
            (answers.flush.load(Ordering::SeqCst), Vec::new())
        }
        _ => (libc::ENOSYS, Vec::new()),
    };
    let body = if error == 0 { body } else { Vec::new() };
    let head = [(16 + body.len() as u32).to_le_bytes(), (-error).to_le_bytes()].concat();
    Some([head, unique.to_vec(), body].concat())
}

fn init() -> Vec<u8> {
    let mut body: Vec<u8> = [7, 31, 65_536, INIT_FLAGS].into_iter().flat_map(u32::to_le_bytes).collect();
    body.extend([16_u16, 12].into_iter().flat_map(u16::to_le_bytes));
    body.extend([65_536_u32, 1].into_iter().flat_map(u32::to_le_bytes));
    body.extend([16_u16, 0].into_iter().flat_map(u16::to_le_bytes));
    body.resize(64, 0);
    body
}

/// `struct fuse_attr` of the directory or of the file in it.
fn attributes(directory: bool) -> Vec<u8> {
    let (inode, size, mode) =
        if directory { (1, 0, libc::S_IFDIR | 0o755) } else { (2, FILE_BYTES, libc::S_IFREG | 0o644) };
    let mut body: Vec<u8> = [inode, size, 8, 0, 0, 0].into_iter().flat_map(u64::to_le_bytes).collect();
    body.extend([0, 0, 0, mode, 1, 0, 0, 0, 4096, 0].into_iter().flat_map(u32::to_le_bytes));
    body
}
