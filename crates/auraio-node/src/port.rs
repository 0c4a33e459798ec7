//! The class that TypeScript's `Port` is (lib/operations/port.ts says what each method means).

use std::{cell::RefCell, path::PathBuf, rc::Rc};

use auraio::{Block, BorrowedMemory, Error, File, IoBuf, Metadata, OpenOptions, Timestamp, op};
use napi::{
    Either, Env, Unknown,
    bindgen_prelude::{Function, Int32Array, Uint8Array},
};
use napi_derive::napi;

use crate::{
    control::NativeWish,
    native::{
        CompletionArray, StatOut, View, Watch, Watcher, hot,
        lend::{Environment, Span},
    },
    perform::{self, Asked},
    shared,
    state::{Core, NUMBER, OPENED, SLOTS_MAX, STAT},
    submit::{EBADF, EINVAL, Submitter, offset_of},
};

/// How a port is to be made.
#[napi(object)]
pub struct NativePortOptions {
    /// `'auto'`, `'uring'` or `'threads'`.
    pub backend: String,
    /// `'core'` or `'thread'`.
    pub routing: String,
    /// Operations that one ring may hold in flight.
    pub queue_depth: u32,
    /// SQEs queued before a flush happens by itself; 0: tuned.
    pub submit_batch: u32,
    /// Whether rings register memory and files.
    pub register: bool,
    /// What the engine wishes of the loops that govern depth.
    pub wish: NativeWish,
}

/// A port of the engine, for one JavaScript environment.
#[napi]
pub struct NativePort {
    pub(crate) submitter: Submitter,
    backend: &'static str,
}

#[napi]
impl NativePort {
    /// `dispatch` is called from the event loop with the number of completions in `completions`.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        env: Env,
        options: NativePortOptions,
        #[napi(ts_arg_type = "(count: number) => void")] dispatch: Function<'_, u32, ()>,
        completions: Int32Array,
    ) -> napi::Result<Self> {
        // Before the watcher's: hooks run in the reverse order, and memory comes back last.
        let environment = Environment::of(&env)?;
        let key = shared::Key {
            backend: options.backend,
            routing: options.routing,
            queue_depth: options.queue_depth,
            submit_batch: options.submit_batch,
            register: options.register,
        };
        let base = shared::engine(key).map_err(refuse)?;
        let wish = options.wish.wish().map_err(refuse)?;
        let engine = base.with_control(wish).map_err(refuse)?;
        let port = engine.port().map_err(refuse)?;
        let backend = port.backend().name();
        let watch = Watch::of(&port);
        let completions = CompletionArray::new(&env, completions)?;
        let core = Rc::new(RefCell::new(Core::new(base, engine, port, completions, environment)));
        let watcher = Watcher::start(&env, Rc::clone(&core), watch, dispatch)?;
        Ok(Self { submitter: Submitter { core, watcher }, backend })
    }

    /// What performs the operations.
    #[napi(getter)]
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// Why that, in one sentence; and in another, where memory is not registered, why not.
    #[napi(getter)]
    pub fn backend_reason(&self) -> String {
        self.submitter.core.borrow().engine().backend_reason()
    }

    /// Reads into a part of a view. A function of its own, to be taken once: it needs no receiver, and none of
    /// what napi-rs does around a method of a class (native/hot.rs).
    #[napi(
        getter,
        ts_return_type = "(slot: number, handle: number, view: ArrayBufferView, ...rest: [offset: number, length: number, position: number] | [position: number]) => number"
    )]
    pub fn read(&self, env: Env) -> napi::Result<Unknown<'static>> {
        hot::function(&env, &self.submitter, hot::Which::Read)
    }

    /// Writes a part of a view. As with `read`.
    #[napi(
        getter,
        ts_return_type = "(slot: number, handle: number, view: ArrayBufferView, ...rest: [offset: number, length: number, position: number] | [position: number]) => number"
    )]
    pub fn write(&self, env: Env) -> napi::Result<Unknown<'static>> {
        hot::function(&env, &self.submitter, hot::Which::Write)
    }

    /// Reads into views in turn.
    #[napi(catch_unwind)]
    pub fn readv(
        &self,
        slot: u32,
        handle: u32,
        #[napi(ts_arg_type = "Array<ArrayBufferView>")] views: Vec<View>,
        position: f64,
    ) -> i32 {
        let memory = views.iter().map(View::all).collect::<Vec<BorrowedMemory>>();
        let span = span_of(&memory);
        self.submitter.on_memory(slot, handle, NUMBER, span, |file| match offset_of(position) {
            Some(offset) => op::ReadVectored::at(file, memory, offset),
            None => op::ReadVectored::at_position(file, memory),
        })
    }

    /// Writes views in turn.
    #[napi(catch_unwind)]
    pub fn writev(
        &self,
        slot: u32,
        handle: u32,
        #[napi(ts_arg_type = "Array<ArrayBufferView>")] views: Vec<View>,
        position: f64,
    ) -> i32 {
        let memory = views.iter().map(View::all).collect::<Vec<BorrowedMemory>>();
        let span = span_of(&memory);
        self.submitter.on_memory(slot, handle, NUMBER, span, |file| match offset_of(position) {
            Some(offset) => op::WriteVectored::at(file, memory, offset),
            None => op::WriteVectored::at_position(file, memory),
        })
    }

    /// Makes what was written durable.
    #[napi(catch_unwind)]
    pub fn sync(&self, slot: u32, handle: u32, data_only: bool) -> i32 {
        self.submitter.on_file(
            slot,
            handle,
            NUMBER,
            |file| if data_only { op::Sync::data(file) } else { op::Sync::all(file) },
        )
    }

    /// Cuts or extends.
    #[napi(catch_unwind)]
    pub fn truncate(&self, slot: u32, handle: u32, length: f64) -> i32 {
        let Some(length) = offset_of(length) else { return -EINVAL };
        self.submitter.on_file(slot, handle, NUMBER, |file| op::Truncate::new(file, length))
    }

    /// Sets the permission bits.
    #[napi(catch_unwind)]
    pub fn chmod(&self, slot: u32, handle: u32, mode: u32) -> i32 {
        self.submitter.on_file(slot, handle, NUMBER, |file| op::SetMode::new(file, mode))
    }

    /// Sets owner and group; 4,294,967,295 leaves one as it is.
    #[napi(catch_unwind)]
    pub fn chown(&self, slot: u32, handle: u32, uid: f64, gid: f64) -> i32 {
        let id = |id: f64| Some(id as u32).filter(|id| *id != u32::MAX);
        self.submitter.on_file(slot, handle, NUMBER, |file| op::SetOwner::new(file, id(uid), id(gid)))
    }

    /// Sets the times of last access and change, in seconds since 1970.
    #[napi(catch_unwind)]
    pub fn utimes(&self, slot: u32, handle: u32, accessed: f64, modified: f64) -> i32 {
        self.submitter
            .on_file(slot, handle, NUMBER, |file| op::SetTimes::new(file, timestamp(accessed), timestamp(modified)))
    }

    /// Closes when the handle's operations have completed.
    #[napi(catch_unwind)]
    pub fn close(&self, slot: u32, handle: u32) -> i32 {
        let core = &mut *self.submitter.core.borrow_mut();
        if slot >= SLOTS_MAX {
            return -EINVAL;
        }
        let Some(file) = core.files.remove(handle) else { return -EBADF };
        self.submitter.queue(core, slot, NUMBER, Span::NONE, op::Close::new(file))
    }

    /// Opens; completes with the descriptor and a handle. With `bounce`, a direct file takes any alignment.
    #[napi(catch_unwind)]
    pub fn open(
        &self,
        slot: u32,
        #[napi(ts_arg_type = "string | Uint8Array")] path: Either<String, Uint8Array>,
        flags: i32,
        mode: u32,
        bounce: bool,
    ) -> i32 {
        let Some(path) = owned_path(&path) else { return -EINVAL };
        let core = &mut *self.submitter.core.borrow_mut();
        let options = OpenOptions::new().flags(flags).mode(mode).direct(bounce);
        let operation = op::Open::new(core.engine(), path, options);
        self.submitter.queue(core, slot, OPENED, Span::NONE, operation)
    }

    /// Begins any operation that has no method of its own: `kind` is its number (src/kinds.rs), and src/perform.rs says which
    /// numbers and paths a kind takes. `handle` is looked at by the kinds that work on an open file.
    #[napi(catch_unwind)]
    pub fn perform(
        &self,
        slot: u32,
        kind: u32,
        handle: u32,
        #[napi(ts_arg_type = "ReadonlyArray<number>")] numbers: Vec<f64>,
        #[napi(ts_arg_type = "ReadonlyArray<string | Uint8Array>")] paths: Vec<Either<String, Uint8Array>>,
    ) -> i32 {
        perform::perform_number(&self.submitter, kind, &Asked { slot, handle, numbers: &numbers, paths: &paths })
    }

    /// The stat of an open file, at once: 0, a negated errno, or 1 where it could have to wait.
    #[napi(catch_unwind)]
    pub fn stat(&self, handle: u32, #[napi(ts_arg_type = "Float64Array | BigInt64Array")] mut out: StatOut) -> i32 {
        let core = &*self.submitter.core.borrow();
        let Some(file) = core.files.get(handle) else { return -EBADF };
        match file.metadata_now() {
            None => 1,
            Some(Err(error)) => -error.errno(),
            Some(Ok(metadata)) => out.fill(&stat_fields(&metadata)),
        }
    }

    /// Whether an open file has positions; pipes, sockets and terminals have none.
    #[napi(catch_unwind)]
    pub fn seekable(&self, handle: u32) -> bool {
        self.submitter.core.borrow().files.get(handle).is_none_or(File::is_seekable)
    }

    /// What the addresses, and the positions and lengths, of a direct file's transfers have to be multiples of; nothing for
    /// any other file.
    #[napi(catch_unwind)]
    pub fn direct_alignment(&self, handle: u32) -> Vec<u32> {
        let core = &*self.submitter.core.borrow();
        let alignment = core.files.get(handle).and_then(File::direct_alignment);
        alignment.map_or_else(Vec::new, |alignment| vec![alignment.memory, alignment.offset])
    }

    /// The same as an operation.
    #[napi(catch_unwind)]
    pub fn stat_later(&self, slot: u32, handle: u32) -> i32 {
        self.submitter.on_file(slot, handle, STAT, op::Stat::file)
    }

    /// What `statLater` found.
    #[napi(catch_unwind)]
    pub fn take_stat(&self, slot: u32, #[napi(ts_arg_type = "Float64Array | BigInt64Array")] mut out: StatOut) {
        if let Some(metadata) = self.submitter.core.borrow_mut().stats.remove(&slot) {
            out.fill(&stat_fields(&metadata));
        }
    }

    /// Asks an operation to end early.
    #[napi(catch_unwind)]
    pub fn cancel(&self, slot: u32) {
        let core = &mut *self.submitter.core.borrow_mut();
        if core.acquisitions.cancel(slot) {
            return core.wake();
        }
        if let (Some(port), Some(Some(ticket))) = (&mut core.port, core.tickets.get(slot as usize)) {
            port.cancel(*ticket);
        }
    }

    /// Hands over what is queued; with `reap` takes what has completed.
    #[napi(catch_unwind)]
    pub fn flush(&self, env: Env, reap: bool) -> u32 {
        let core = &mut *self.submitter.core.borrow_mut();
        if reap {
            let count = core.reap(&env);
            if core.outstanding() == 0 {
                self.submitter.watcher.idle();
            }
            return count;
        }
        if let Some(port) = &mut core.port {
            port.flush();
        }
        0
    }

    /// Gives everything back.
    #[napi(catch_unwind)]
    pub fn shutdown(&self) {
        self.submitter.watcher.stop();
    }
}

impl NativePort {
    /// Begins something under a slot that is no operation of the port's.
    pub(crate) fn with_core(&self, slot: u32, begin: impl FnOnce(&mut Core)) -> i32 {
        let core = &mut *self.submitter.core.borrow_mut();
        if slot >= SLOTS_MAX {
            return -EINVAL;
        }
        if core.port.is_none() {
            return -EBADF;
        }
        begin(core);
        self.submitter.watcher.busy();
        0
    }

    /// Does something at once; `-EBADF` after the end.
    pub(crate) fn with_open(&self, work: impl FnOnce(&mut Core) -> i32) -> i32 {
        let core = &mut *self.submitter.core.borrow_mut();
        if core.port.is_none() { -EBADF } else { work(core) }
    }

    /// The block that an acquisition got.
    pub(crate) fn take_granted(&self, slot: u32) -> Option<Block> {
        self.submitter.core.borrow_mut().acquisitions.take_granted(slot)
    }
}

impl Drop for NativePort {
    /// The class's object was collected: nobody can submit any more, so an idle port is given back. One that is not idle
    /// lives on until its environment ends.
    fn drop(&mut self) {
        if self.submitter.core.try_borrow().is_ok_and(|core| core.outstanding() == 0) {
            self.submitter.watcher.stop();
        }
    }
}

/// What covers all of them.
fn span_of(memory: &[BorrowedMemory]) -> Span {
    memory.iter().fold(Span::NONE, |span, one| span.and(Span::of(one.as_slice())))
}

fn refuse(error: Error) -> napi::Error {
    let code = match &error {
        Error::InvalidInput(_) => "ERR_INVALID_ARG_VALUE",
        _ => "ERR_AURAIO_RESOURCES",
    };
    match error {
        // TypeScript says that the backend cannot be had; here is why.
        Error::Unavailable { reason, .. } => napi::Error::from_reason(reason),
        error => napi::Error::from_reason(format!("{code}: {error}")),
    }
}

/// A path as JavaScript gives it; `None` where bytes are none on this platform.
pub(crate) fn owned_path(path: &Either<String, Uint8Array>) -> Option<PathBuf> {
    match path {
        Either::A(path) => Some(PathBuf::from(path)),
        Either::B(bytes) => bytes_path(bytes),
    }
}

pub(crate) fn timestamp(seconds: f64) -> Timestamp {
    let whole = seconds.floor();
    let nanos = ((seconds - whole) * 1e6).round() * 1e3;
    // Rounding up to a whole second is one second more, not a thousand million nanoseconds.
    if nanos >= 1e9 {
        Timestamp { seconds: whole as i64 + 1, nanos: 0 }
    } else {
        Timestamp { seconds: whole as i64, nanos: nanos as u32 }
    }
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other platforms have byte paths that are none")]
fn bytes_path(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
}

#[cfg(not(unix))]
fn bytes_path(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

/// In the order that lib/operations/port.ts gives.
fn stat_fields(metadata: &Metadata) -> [i64; 18] {
    let (accessed, modified) = (metadata.accessed(), metadata.modified());
    // A file system that does not keep the time of creation has the time of the last change in its place, as in Node.
    let changed = metadata.changed();
    let created = metadata.created().unwrap_or(changed);
    [
        metadata.dev() as i64,
        i64::from(metadata.mode()),
        metadata.nlink() as i64,
        i64::from(metadata.uid()),
        i64::from(metadata.gid()),
        metadata.rdev() as i64,
        i64::from(metadata.block_size()),
        metadata.ino() as i64,
        metadata.len() as i64,
        metadata.blocks() as i64,
        accessed.seconds,
        i64::from(accessed.nanos),
        modified.seconds,
        i64::from(modified.nanos),
        changed.seconds,
        i64::from(changed.nanos),
        created.seconds,
        i64::from(created.nanos),
    ]
}
