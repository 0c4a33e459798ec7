//! The class `NativePort`, which implements TypeScript's `Port`. lib/operations/port.ts says what each method means.

use std::{cell::RefCell, path::PathBuf, rc::Rc};

use auraio::{Block, BorrowedMemory, Error, File, IoBuf, Metadata, OpenOptions, op};
use napi::{
    Either, Env, Unknown,
    bindgen_prelude::{Function, Int32Array, Uint8Array},
};
use napi_derive::napi;

use crate::{
    control::NativeWish,
    kinds::Kind,
    native::{
        CompletionArray, StatOut, View, Watch, Watcher, hot,
        lend::{Environment, Span},
        number::Whole32,
    },
    numbers::Position,
    perform::{self, Asked},
    shared,
    state::{Brings, Core, SLOTS_MAX},
    submit::{EBADF, EINVAL, Submitter},
};

/// The options of a port.
#[napi(object)]
pub struct NativePortOptions {
    /// `'auto'`, `'uring'` or `'threads'`.
    pub backend: String,
    /// `'core'` or `'thread'`.
    pub routing: String,
    /// Operations that one ring may hold in flight.
    pub queue_depth: u32,
    /// How many queued SQEs are handed to the kernel without waiting for a flush. 0 means that the core finds it.
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
        // The environment registers its cleanup hook here, before the watcher registers its own. Hooks run in the
        // reverse order, so memory comes back last.
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

    /// The name of the backend that performs the operations.
    #[napi(getter)]
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// One sentence that says why it is this backend. If memory is not registered, another sentence says why not.
    #[napi(getter)]
    pub fn backend_reason(&self) -> String {
        self.submitter.core.borrow().engine().backend_reason()
    }

    /// The function that reads into a part of a view. Each access makes a new function, so it is to be taken once. It
    /// needs no receiver, and does not have the wrapper that napi-rs puts around a method (native/hot.rs).
    #[napi(
        getter,
        ts_return_type = "(slot: number, handle: number, view: ArrayBufferView, ...rest: [offset: number, length: number, position: number] | [position: number]) => number"
    )]
    pub fn read(&self, env: Env) -> napi::Result<Unknown<'static>> {
        hot::function(&env, &self.submitter, hot::Which::Read)
    }

    /// The function that writes a part of a view. It is as `read` is.
    #[napi(
        getter,
        ts_return_type = "(slot: number, handle: number, view: ArrayBufferView, ...rest: [offset: number, length: number, position: number] | [position: number]) => number"
    )]
    pub fn write(&self, env: Env) -> napi::Result<Unknown<'static>> {
        hot::function(&env, &self.submitter, hot::Which::Write)
    }

    /// Reads into one view after another.
    #[napi(catch_unwind)]
    pub fn readv(
        &self,
        #[napi(ts_arg_type = "number")] slot: Whole32,
        #[napi(ts_arg_type = "number")] handle: Whole32,
        #[napi(ts_arg_type = "Array<ArrayBufferView>")] views: Vec<View>,
        position: f64,
    ) -> i32 {
        let Some(position) = Position::of(position) else { return -EINVAL };
        let memory = views.iter().map(View::all).collect::<Vec<BorrowedMemory>>();
        let span = span_of(&memory);
        self.submitter.on_memory(slot.0, handle.0, Brings::Number, span, |file| match position {
            Position::At(offset) => op::ReadVectored::at(file, memory, offset),
            Position::Own => op::ReadVectored::at_position(file, memory),
        })
    }

    /// Writes one view after another.
    #[napi(catch_unwind)]
    pub fn writev(
        &self,
        #[napi(ts_arg_type = "number")] slot: Whole32,
        #[napi(ts_arg_type = "number")] handle: Whole32,
        #[napi(ts_arg_type = "Array<ArrayBufferView>")] views: Vec<View>,
        position: f64,
    ) -> i32 {
        let Some(position) = Position::of(position) else { return -EINVAL };
        let memory = views.iter().map(View::all).collect::<Vec<BorrowedMemory>>();
        let span = span_of(&memory);
        self.submitter.on_memory(slot.0, handle.0, Brings::Number, span, |file| match position {
            Position::At(offset) => op::WriteVectored::at(file, memory, offset),
            Position::Own => op::WriteVectored::at_position(file, memory),
        })
    }

    /// Closes the file when the operations on it have completed. No other method knows the handle from now on.
    #[napi(catch_unwind)]
    pub fn close(
        &self,
        #[napi(ts_arg_type = "number")] slot: Whole32,
        #[napi(ts_arg_type = "number")] handle: Whole32,
    ) -> i32 {
        let core = &mut *self.submitter.core.borrow_mut();
        if slot.0 >= SLOTS_MAX {
            return -EINVAL;
        }
        let Some(file) = core.files.remove(handle.0) else { return -EBADF };
        self.submitter.queue(core, slot.0, Brings::Number, Span::NONE, op::Close::new(file))
    }

    /// Opens a file. Completes with the descriptor and a new handle. With `bounce`, transfers of a direct file may have
    /// any alignment.
    #[napi(catch_unwind)]
    pub fn open(
        &self,
        #[napi(ts_arg_type = "number")] slot: Whole32,
        #[napi(ts_arg_type = "string | Uint8Array")] path: Either<String, Uint8Array>,
        flags: i32,
        #[napi(ts_arg_type = "number")] mode: Whole32,
        bounce: bool,
    ) -> i32 {
        let Some(path) = owned_path(&path) else { return -EINVAL };
        let core = &mut *self.submitter.core.borrow_mut();
        let options = OpenOptions::new().flags(flags).mode(mode.0).direct(bounce);
        let operation = op::Open::new(core.engine(), path, options);
        self.submitter.queue(core, slot.0, Brings::Opened, Span::NONE, operation)
    }

    /// Begins an operation that has no method of its own. `kind` is its number: its place in `kinds()`. What `handle`,
    /// `numbers` and `paths` mean, the row of the kind says (src/perform.rs).
    #[napi(catch_unwind)]
    pub fn perform(
        &self,
        #[napi(ts_arg_type = "number")] slot: Whole32,
        #[napi(ts_arg_type = "number")] kind: Whole32,
        #[napi(ts_arg_type = "number")] handle: Whole32,
        #[napi(ts_arg_type = "ReadonlyArray<number>")] numbers: Vec<f64>,
        #[napi(ts_arg_type = "ReadonlyArray<string | Uint8Array>")] paths: Vec<Either<String, Uint8Array>>,
    ) -> i32 {
        let asked = Asked { slot: slot.0, handle: handle.0, numbers: &numbers, paths: &paths };
        perform::perform_number(&self.submitter, kind.0, &asked)
    }

    /// The names of the operations that `perform` begins, in the order of their numbers.
    #[napi(catch_unwind)]
    pub fn kinds() -> Vec<String> {
        Kind::ALL.iter().map(|kind| format!("{kind:?}")).collect()
    }

    /// Stats an open file at once, if that cannot block. Answers 0, a negated errno, or 1 if it could block.
    #[napi(catch_unwind)]
    pub fn stat(
        &self,
        #[napi(ts_arg_type = "number")] handle: Whole32,
        #[napi(ts_arg_type = "Float64Array | BigInt64Array")] mut out: StatOut,
    ) -> i32 {
        let core = &*self.submitter.core.borrow();
        let Some(file) = core.files.get(handle.0) else { return -EBADF };
        match file.metadata_now() {
            None => 1,
            Some(Err(error)) => -error.errno(),
            Some(Ok(metadata)) => out.fill(&stat_fields(&metadata)),
        }
    }

    /// Whether an open file has positions. Pipes, sockets and terminals have none.
    #[napi(catch_unwind)]
    pub fn seekable(&self, #[napi(ts_arg_type = "number")] handle: Whole32) -> bool {
        self.submitter.core.borrow().files.get(handle.0).is_none_or(File::is_seekable)
    }

    /// Two numbers for a direct file: the addresses of its transfers have to be multiples of the first, and positions
    /// and lengths of the second. Nothing for any other file.
    #[napi(catch_unwind)]
    pub fn direct_alignment(&self, #[napi(ts_arg_type = "number")] handle: Whole32) -> Vec<u32> {
        let core = &*self.submitter.core.borrow();
        let alignment = core.files.get(handle.0).and_then(File::direct_alignment);
        alignment.map_or_else(Vec::new, |alignment| vec![alignment.memory, alignment.offset])
    }

    /// Hands over what the operation `StatFile` or `StatPath` of this slot found.
    #[napi(catch_unwind)]
    pub fn take_stat(
        &self,
        #[napi(ts_arg_type = "number")] slot: Whole32,
        #[napi(ts_arg_type = "Float64Array | BigInt64Array")] mut out: StatOut,
    ) {
        if let Some(metadata) = self.submitter.core.borrow_mut().stats.remove(&slot.0) {
            out.fill(&stat_fields(&metadata));
        }
    }

    /// Asks for an operation to end early. It still completes.
    #[napi(catch_unwind)]
    pub fn cancel(&self, #[napi(ts_arg_type = "number")] slot: Whole32) {
        let core = &mut *self.submitter.core.borrow_mut();
        if core.acquisitions.cancel(slot.0) {
            return core.wake();
        }
        if let (Some(port), Some(Some(ticket))) = (&mut core.port, core.tickets.get(slot.0 as usize)) {
            port.cancel(*ticket);
        }
    }

    /// Hands the queued operations to the kernel. With `reap`, it also writes the completions that are there to the
    /// shared array, and answers how many.
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

    /// Gives rings and descriptors back.
    #[napi(catch_unwind)]
    pub fn shutdown(&self) {
        self.submitter.watcher.stop();
    }
}

impl NativePort {
    /// Begins something that has a slot but is not queued on the port. Answers 0, or a negated errno.
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

    /// Does something at once. Answers `-EBADF` if the port has been shut down.
    pub(crate) fn with_open(&self, work: impl FnOnce(&mut Core) -> i32) -> i32 {
        let core = &mut *self.submitter.core.borrow_mut();
        if core.port.is_none() { -EBADF } else { work(core) }
    }

    /// Takes the block that an acquisition has got.
    pub(crate) fn take_granted(&self, slot: u32) -> Option<Block> {
        self.submitter.core.borrow_mut().acquisitions.take_granted(slot)
    }
}

impl Drop for NativePort {
    /// JavaScript's object was collected, so nobody can submit any more. An idle port is shut down. A port that is not
    /// idle lives on until its environment ends.
    fn drop(&mut self) {
        if self.submitter.core.try_borrow().is_ok_and(|core| core.outstanding() == 0) {
            self.submitter.watcher.stop();
        }
    }
}

/// The span that covers all of these.
fn span_of(memory: &[BorrowedMemory]) -> Span {
    memory.iter().fold(Span::NONE, |span, one| span.and(Span::of(one.as_slice())))
}

fn refuse(error: Error) -> napi::Error {
    let code = match &error {
        Error::InvalidInput(_) => "ERR_INVALID_ARG_VALUE",
        _ => "ERR_AURAIO_RESOURCES",
    };
    match error {
        // TypeScript makes the error for a missing backend; it only needs the reason.
        Error::Unavailable { reason, .. } => napi::Error::from_reason(reason),
        error => napi::Error::from_reason(format!("{code}: {error}")),
    }
}

/// The path that JavaScript gave. `None` if the bytes are no path on this platform.
pub(crate) fn owned_path(path: &Either<String, Uint8Array>) -> Option<PathBuf> {
    match path {
        Either::A(path) => Some(PathBuf::from(path)),
        Either::B(bytes) => bytes_path(bytes),
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

/// The fields of a stat, in the order of `STAT_FIELDS` in lib/operations/port.ts.
fn stat_fields(metadata: &Metadata) -> [i64; 18] {
    let (accessed, modified) = (metadata.accessed(), metadata.modified());
    // If a file system does not keep the time of creation, the time of the last change stands in its place, as in Node.
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
