//! Everything of the binding that needs raw pointers: views of JavaScript's memory, the array of completions, the event
//! loop, and tear-down.
//!
//! Three rules hold here:
//!
//! - Memory that the kernel may use stays alive. The caller's slot table (lib/operations/slots.ts) keeps it until the
//!   completion is delivered. If the environment ends before that, its cleanup hook does not return until the kernel
//!   has finished.
//! - The event loop stops watching a descriptor before the descriptor is closed.
//! - Nothing here is global. Every environment has its own.
#![expect(unsafe_code, reason = "N-API and libuv speak in raw pointers")]

use std::{
    cell::{Cell, RefCell},
    ffi::c_void,
    ptr,
    rc::Rc,
    time::Duration,
};

use auraio::{BorrowedMemory, Port, PortWaiter};
use napi::{
    Env, JsValue, Result, Status,
    bindgen_prelude::{FromNapiValue, Function, Int32Array, TypeName, ValidateNapiValue},
    sys,
};

use crate::{numbers, state::Core};

pub(crate) mod foreign;
pub(crate) mod hot;
pub(crate) mod lend;
pub(crate) mod number;
mod poller;
#[cfg(unix)]
mod uv;

/// How long tear-down waits for the kernel before it prints a warning. It goes on waiting after that.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often completions are taken in one turn of the event loop, before the loop goes on with its other work.
const ROUNDS_MAX: u32 = 4;

/// The bytes of a typed array or DataView. They belong to JavaScript; the slot table keeps the view and its ArrayBuffer
/// reachable.
pub struct View {
    address: *mut u8,
    len: usize,
}

impl View {
    /// `length` bytes from `offset` on. `None` if that is not within the view.
    pub(crate) fn part(&self, offset: f64, length: f64) -> Option<BorrowedMemory> {
        let (offset, length) = (numbers::size(offset)?, numbers::size(length)?);
        if offset.checked_add(length)? > self.len {
            return None;
        }
        // SAFETY: within the view, which the caller's slot table keeps alive until the completion; see the rules above.
        Some(unsafe { BorrowedMemory::new(self.address.wrapping_add(offset), length) })
    }

    /// All of it.
    pub(crate) fn all(&self) -> BorrowedMemory {
        // SAFETY: as above.
        unsafe { BorrowedMemory::new(self.address, self.len) }
    }
}

impl View {
    /// The address of the first byte, modulo 2 MiB.
    pub(crate) fn address_in_huge_page(&self) -> usize {
        self.address.addr() % (2 << 20)
    }
}

impl TypeName for View {
    fn type_name() -> &'static str {
        "ArrayBufferView"
    }

    fn value_type() -> napi::ValueType {
        napi::ValueType::Object
    }
}

impl ValidateNapiValue for View {}

/// A typed array: the type of its elements, how many there are, and where they lie.
struct TypedArray {
    kind: sys::napi_typedarray_type,
    len: usize,
    address: *mut c_void,
}

impl TypedArray {
    fn of(env: sys::napi_env, value: sys::napi_value) -> Option<Self> {
        let mut array = Self { kind: 0, len: 0, address: ptr::null_mut() };
        let (kind, len, address) = (&raw mut array.kind, &raw mut array.len, &raw mut array.address);
        // SAFETY: the out parameters are fields of a local; the two left out may be null.
        let status =
            unsafe { sys::napi_get_typedarray_info(env, value, kind, len, address, ptr::null_mut(), ptr::null_mut()) };
        (status == sys::Status::napi_ok).then_some(array)
    }

    /// How many bytes one element has.
    const fn element_bytes(&self) -> usize {
        match self.kind {
            sys::TypedarrayType::int16_array | sys::TypedarrayType::uint16_array => 2,
            sys::TypedarrayType::int32_array
            | sys::TypedarrayType::uint32_array
            | sys::TypedarrayType::float32_array => 4,
            sys::TypedarrayType::float64_array
            | sys::TypedarrayType::bigint64_array
            | sys::TypedarrayType::biguint64_array => 8,
            _ => 1,
        }
    }
}

impl FromNapiValue for View {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        if let Some(array) = TypedArray::of(env, value) {
            return Ok(Self { address: array.address.cast(), len: array.len * array.element_bytes() });
        }
        let (mut len, mut address) = (0, ptr::null_mut());
        let (out, at) = (&raw mut len, &raw mut address);
        // SAFETY: the out parameters are locals; the two left out may be null.
        let status = unsafe { sys::napi_get_dataview_info(env, value, out, at, ptr::null_mut(), ptr::null_mut()) };
        if status != sys::Status::napi_ok {
            clear_exception(env);
            return Err(napi::Error::new(Status::InvalidArg, "not a typed array or DataView"));
        }
        Ok(Self { address: address.cast(), len })
    }
}

/// The array of JavaScript that a stat is written to.
pub struct StatOut {
    address: *mut c_void,
    floats: bool,
}

impl StatOut {
    /// Writes the fields. `from_napi_value` has checked that the array holds them.
    pub(crate) fn fill(&mut self, fields: &[i64; 18]) -> i32 {
        if self.floats {
            let floats = fields.map(|field| field as f64);
            // SAFETY: `from_napi_value` saw an array of so many, and no JavaScript has run since.
            unsafe { ptr::copy_nonoverlapping(floats.as_ptr(), self.address.cast(), floats.len()) };
        } else {
            // SAFETY: as above.
            unsafe { ptr::copy_nonoverlapping(fields.as_ptr(), self.address.cast(), fields.len()) };
        }
        0
    }
}

impl TypeName for StatOut {
    fn type_name() -> &'static str {
        "Float64Array | BigInt64Array"
    }

    fn value_type() -> napi::ValueType {
        napi::ValueType::Object
    }
}

impl ValidateNapiValue for StatOut {}

impl FromNapiValue for StatOut {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        let refused = || napi::Error::new(Status::InvalidArg, "not a Float64Array or BigInt64Array of 18");
        let array = TypedArray::of(env, value).filter(|array| array.len >= 18).ok_or_else(refused)?;
        match array.kind {
            sys::TypedarrayType::float64_array => Ok(Self { address: array.address, floats: true }),
            sys::TypedarrayType::bigint64_array => Ok(Self { address: array.address, floats: false }),
            _ => Err(refused()),
        }
    }
}

/// The array that completions are written to. Its memory is looked up each time, since JavaScript may have detached it.
pub(crate) struct CompletionArray {
    reference: sys::napi_ref,
}

/// The memory of that array. It may be used until JavaScript runs again.
pub(crate) struct OpenArray<'a>(&'a mut [i32]);

impl OpenArray<'_> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(crate) fn set(&mut self, at: usize, numbers: [i32; 3]) {
        if let Some(place) = self.0.get_mut(at..at + 3) {
            place.copy_from_slice(&numbers);
        }
    }
}

impl CompletionArray {
    pub(crate) fn new(env: &Env, array: Int32Array) -> Result<Self> {
        let mut reference = ptr::null_mut();
        // SAFETY: turns the array into the value it came from, on the thread that it came from.
        let value = unsafe { napi::bindgen_prelude::ToNapiValue::to_napi_value(env.raw(), array) }?;
        // SAFETY: the value is alive in this call's handle scope, and the out parameter is a local.
        check(unsafe { sys::napi_create_reference(env.raw(), value, 1, &raw mut reference) })?;
        Ok(Self { reference })
    }

    /// The memory of the array as it is now. `None` if the array was collected or detached.
    pub(crate) fn open(&mut self, env: &Env) -> Option<OpenArray<'_>> {
        let mut value = ptr::null_mut();
        // SAFETY: the reference was made by `new` and lives as long as this; the out parameter is a local.
        let status = unsafe { sys::napi_get_reference_value(env.raw(), self.reference, &raw mut value) };
        if status != sys::Status::napi_ok || value.is_null() {
            return None;
        }
        let array = TypedArray::of(env.raw(), value)
            .filter(|array| array.kind == sys::TypedarrayType::int32_array && array.len > 0)?;
        // SAFETY: N-API gave the address and the number of elements, and no JavaScript runs while the slice lives.
        Some(OpenArray(unsafe { std::slice::from_raw_parts_mut(array.address.cast(), array.len) }))
    }
}

/// What a watcher needs of a port to learn that there are completions.
pub(crate) struct Watch {
    #[cfg(unix)]
    descriptors: Vec<std::os::fd::RawFd>,
    waiter: PortWaiter,
}

impl Watch {
    pub(crate) fn of(port: &Port) -> Self {
        Self {
            #[cfg(unix)]
            descriptors: port.descriptors(),
            waiter: port.waiter(),
        }
    }
}

/// How the event loop learns that there are completions.
enum Wake {
    /// The event loop watches the descriptors itself.
    #[cfg(unix)]
    Loop(uv::Polls),
    /// A thread watches the descriptors and calls the event loop.
    Thread(poller::Poller),
}

/// Brings completions to JavaScript, and takes a port down when its environment ends.
pub(crate) struct Watcher {
    env: sys::napi_env,
    core: Rc<RefCell<Core>>,
    dispatch: sys::napi_ref,
    context: Cell<sys::napi_async_context>,
    wake: RefCell<Option<Wake>>,
    stopped: Cell<bool>,
    turning: Cell<bool>,
}

impl Watcher {
    /// Starts watching. From now until `stop`, the cleanup hook of the environment owns one reference to the watcher.
    pub(crate) fn start(
        env: &Env,
        core: Rc<RefCell<Core>>,
        watch: Watch,
        dispatch: Function<'_, u32, ()>,
    ) -> Result<Rc<Self>> {
        let raw = env.raw();
        let mut function = ptr::null_mut();
        // SAFETY: the function is alive in this call's handle scope, and the out parameter is a local.
        check(unsafe { sys::napi_create_reference(raw, dispatch.raw(), 1, &raw mut function) })?;
        let name = string(raw, c"auraio")?;
        let mut context = ptr::null_mut();
        // SAFETY: the name is alive in this call's handle scope, and the out parameter is a local.
        check(unsafe { sys::napi_async_init(raw, ptr::null_mut(), name, &raw mut context) })?;
        let watcher = Rc::new(Self {
            env: raw,
            core,
            dispatch: function,
            context: Cell::new(context),
            wake: RefCell::new(None),
            stopped: Cell::new(false),
            turning: Cell::new(false),
        });
        let wake = Self::wake_by(raw, watch, &watcher, name)?;
        *watcher.wake.borrow_mut() = Some(wake);
        let hooked = Rc::into_raw(Rc::clone(&watcher)).cast_mut().cast();
        // SAFETY: the pointer is a reference that the hook, or `stop` when it removes the hook, gives back.
        check(unsafe { sys::napi_add_env_cleanup_hook(raw, Some(on_environment_end), hooked) })?;
        Ok(watcher)
    }

    #[cfg(unix)]
    fn wake_by(env: sys::napi_env, watch: Watch, watcher: &Rc<Self>, name: sys::napi_value) -> Result<Wake> {
        // In Bun the functions of libuv abort the process, and in Deno they stop after the first event. So these
        // runtimes are recognised by name, and libuv is not tried.
        if !runs_in(env, c"bun")
            && !runs_in(env, c"deno")
            && let Some(polls) = uv::Polls::start(env, &watch.descriptors, Rc::as_ptr(watcher))
        {
            return Ok(Wake::Loop(polls));
        }
        poller::Poller::start(env, watch.waiter, Rc::as_ptr(watcher), name).map(Wake::Thread)
    }

    #[cfg(not(unix))]
    fn wake_by(env: sys::napi_env, watch: Watch, watcher: &Rc<Self>, name: sys::napi_value) -> Result<Wake> {
        poller::Poller::start(env, watch.waiter, Rc::as_ptr(watcher), name).map(Wake::Thread)
    }

    /// Keeps the process alive, because something is in flight.
    pub(crate) fn busy(&self) {
        self.hold(true);
    }

    /// Lets the process end, because nothing is in flight.
    pub(crate) fn idle(&self) {
        self.hold(false);
    }

    fn hold(&self, hold: bool) {
        match &*self.wake.borrow() {
            #[cfg(unix)]
            Some(Wake::Loop(polls)) => polls.hold(hold),
            Some(Wake::Thread(poller)) => poller.hold(hold),
            None => {}
        }
    }

    /// To be called before the event loop waits. What completes while it waits is found at once.
    #[cfg(unix)]
    fn falls_asleep(&self) {
        if let Ok(core) = self.core.try_borrow() {
            core.begin_wait();
        }
    }

    /// To be called when the event loop no longer waits. What completes from now on may have to wait until it is found.
    #[cfg(unix)]
    fn woke(&self) {
        if let Ok(core) = self.core.try_borrow() {
            core.end_wait();
        }
    }

    /// Called when the event loop's own watch fires. Delivers everything that has completed to JavaScript, and a few
    /// times more if more completes meanwhile.
    fn turn(&self) {
        if self.stopped.get() || self.turning.replace(true) {
            return;
        }
        for _ in 0..ROUNDS_MAX {
            let mut scope = ptr::null_mut();
            // SAFETY: called from the event loop on the environment's thread; the scope is closed below.
            if unsafe { sys::napi_open_handle_scope(self.env, &raw mut scope) } != sys::Status::napi_ok {
                break;
            }
            let goes_on = self.deliver(true);
            // SAFETY: opened above.
            unsafe { sys::napi_close_handle_scope(self.env, scope) };
            if !goes_on {
                break;
            }
        }
        self.rest();
    }

    /// Called by a thread-safe function, which opens its own scopes. It delivers once, because the thread calls again
    /// as long as there are completions.
    fn turn_once(&self) {
        if self.stopped.get() || self.turning.replace(true) {
            return;
        }
        self.deliver(false);
        self.rest();
    }

    /// Delivers what has completed to JavaScript. Answers true if more may have completed meanwhile. No borrow is held
    /// while JavaScript runs, because JavaScript may call any method.
    fn deliver(&self, from_loop: bool) -> bool {
        let count = self.core.borrow_mut().reap(&Env::from_raw(self.env));
        if count > 0 {
            self.call(count, from_loop);
        }
        count > 0 && !self.stopped.get()
    }

    fn rest(&self) {
        if !self.stopped.get() && self.core.borrow().outstanding() == 0 {
            self.idle();
        }
        self.turning.set(false);
    }

    /// Calls the dispatcher. It does not throw. If there is an exception all the same, it becomes an uncaught exception
    /// of the process, like one from a timer. With `from_loop`, the call also runs the microtasks of the promises that
    /// it settled.
    fn call(&self, count: u32, from_loop: bool) {
        let (mut receiver, mut function, mut argument) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: each out parameter is a local; the reference was made by `start`.
        let ready = unsafe { sys::napi_get_global(self.env, &raw mut receiver) } == sys::Status::napi_ok
            // SAFETY: as above.
            && unsafe { sys::napi_get_reference_value(self.env, self.dispatch, &raw mut function) } == sys::Status::napi_ok
            // SAFETY: as above.
            && unsafe { sys::napi_create_uint32(self.env, count, &raw mut argument) } == sys::Status::napi_ok;
        if !ready || function.is_null() {
            return;
        }
        let (context, arguments) = (self.context.get(), &raw const argument);
        let status = if from_loop {
            // SAFETY: all values are alive in the handle scope of `turn`, and the context lives until `stop`.
            unsafe { sys::napi_make_callback(self.env, context, receiver, function, 1, arguments, ptr::null_mut()) }
        } else {
            // SAFETY: all values are alive in the scope of the thread-safe function's call.
            unsafe { sys::napi_call_function(self.env, receiver, function, 1, arguments, ptr::null_mut()) }
        };
        if status == sys::Status::napi_pending_exception {
            let mut exception = ptr::null_mut();
            // SAFETY: the out parameter is a local.
            if unsafe { sys::napi_get_and_clear_last_exception(self.env, &raw mut exception) } == sys::Status::napi_ok {
                // SAFETY: the exception is alive in the handle scope of `turn`.
                unsafe { sys::napi_fatal_exception(self.env, exception) };
            }
        }
    }

    /// Shuts the port down: it stops watching, waits for the operations in flight, and gives the ring back. A second
    /// call does nothing.
    pub(crate) fn stop(self: &Rc<Self>) {
        if self.take_down() {
            let hooked = Rc::as_ptr(self).cast_mut().cast();
            // SAFETY: the same function and pointer as in `start`.
            let removed = unsafe { sys::napi_remove_env_cleanup_hook(self.env, Some(on_environment_end), hooked) };
            if removed == sys::Status::napi_ok {
                // SAFETY: the hook's reference, which it will not give back any more.
                unsafe { Rc::decrement_strong_count(Rc::as_ptr(self)) };
            }
        }
    }

    fn take_down(&self) -> bool {
        if self.stopped.replace(true) {
            return false;
        }
        drop(self.wake.borrow_mut().take());
        let mut core = self.core.borrow_mut();
        core.close_files();
        if let Some(port) = core.port_mut()
            && !port.drain(Some(PATIENCE))
        {
            warn(port.outstanding());
            port.drain(None);
        }
        core.end();
        drop(core);
        let context = self.context.replace(ptr::null_mut());
        if !context.is_null() {
            // SAFETY: made by `start`, and used no more.
            unsafe { sys::napi_async_destroy(self.env, context) };
        }
        // SAFETY: made by `start`, and used no more.
        unsafe { sys::napi_delete_reference(self.env, self.dispatch) };
        true
    }
}

/// The cleanup hook of the environment: a Worker was terminated, or the main thread ran out of work. No JavaScript runs
/// any more, but the kernel may still work on operations. Nothing is given back before it has finished.
unsafe extern "C" fn on_environment_end(watcher: *mut c_void) {
    // SAFETY: the reference that `start` gave to the hook, which runs once.
    let watcher = unsafe { Rc::from_raw(watcher.cast_const().cast::<Watcher>()) };
    watcher.take_down();
}

#[expect(clippy::print_stderr, reason = "JavaScript is over; there is no other way to say it")]
fn warn(outstanding: usize) {
    eprintln!(
        "auraio: waiting for {outstanding} operations that the kernel has not finished; their memory cannot be freed before"
    );
}

/// Whether `process.versions` has the name of this runtime.
#[cfg(unix)]
fn runs_in(env: sys::napi_env, runtime: &std::ffi::CStr) -> bool {
    let mut value = ptr::null_mut();
    // SAFETY: the out parameter is a local.
    if unsafe { sys::napi_get_global(env, &raw mut value) } != sys::Status::napi_ok {
        return false;
    }
    for name in [c"process", c"versions"] {
        let object = value;
        // SAFETY: `object` is alive in this call's handle scope; the out parameter is a local.
        if unsafe { sys::napi_get_named_property(env, object, name.as_ptr(), &raw mut value) } != sys::Status::napi_ok {
            clear_exception(env);
            return false;
        }
    }
    let mut has = false;
    // SAFETY: as above.
    let status = unsafe { sys::napi_has_named_property(env, value, runtime.as_ptr(), &raw mut has) };
    clear_exception(env);
    status == sys::Status::napi_ok && has
}

/// Clears the exception that a failed call of N-API left behind.
fn clear_exception(env: sys::napi_env) {
    let mut pending = false;
    // SAFETY: the out parameter is a local.
    unsafe { sys::napi_is_exception_pending(env, &raw mut pending) };
    if pending {
        let mut exception = ptr::null_mut();
        // SAFETY: the out parameter is a local.
        unsafe { sys::napi_get_and_clear_last_exception(env, &raw mut exception) };
    }
}

fn string(env: sys::napi_env, text: &std::ffi::CStr) -> Result<sys::napi_value> {
    let mut value = ptr::null_mut();
    // SAFETY: the text is valid for its length, and the out parameter is a local.
    check(unsafe { sys::napi_create_string_utf8(env, text.as_ptr(), text.count_bytes() as isize, &raw mut value) })?;
    Ok(value)
}

fn check(status: sys::napi_status) -> Result<()> {
    if status == sys::Status::napi_ok { Ok(()) } else { Err(napi::Error::new(Status::from(status), "N-API refused")) }
}
