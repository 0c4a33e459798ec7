//! Makes the event loop watch the port's descriptors itself, in Node on Linux and macOS.
//!
//! libuv is part of the Node binary. Its functions are looked up at run time, because an addon that links to them
//! cannot be loaded where they are missing.

use std::{
    ffi::{CStr, c_int, c_void},
    ptr,
    sync::OnceLock,
};

use napi::sys;

use super::Watcher;

type Loop = *mut sys::uv_loop_s;
type Handle = *mut c_void;
type OnPoll = unsafe extern "C" fn(Handle, c_int, c_int);
type OnClose = unsafe extern "C" fn(Handle);
/// `uv_prepare_cb` and `uv_check_cb`.
type OnTurn = unsafe extern "C" fn(Handle);

/// `UV_CHECK`, `UV_POLL` and `UV_PREPARE` of libuv's list of handles, and `UV_READABLE`: all part of its stable
/// interface.
const UV_CHECK: c_int = 2;
const UV_POLL: c_int = 8;
const UV_PREPARE: c_int = 9;
const UV_READABLE: c_int = 1;

/// The functions of libuv that are used here.
#[derive(Clone, Copy)]
struct Uv {
    handle_size: unsafe extern "C" fn(c_int) -> usize,
    handle_set_data: unsafe extern "C" fn(Handle, *mut c_void),
    handle_get_data: unsafe extern "C" fn(Handle) -> *mut c_void,
    poll_init: unsafe extern "C" fn(Loop, Handle, c_int) -> c_int,
    poll_start: unsafe extern "C" fn(Handle, c_int, OnPoll) -> c_int,
    poll_stop: unsafe extern "C" fn(Handle) -> c_int,
    prepare_init: unsafe extern "C" fn(Loop, Handle) -> c_int,
    prepare_start: unsafe extern "C" fn(Handle, OnTurn) -> c_int,
    check_init: unsafe extern "C" fn(Loop, Handle) -> c_int,
    check_start: unsafe extern "C" fn(Handle, OnTurn) -> c_int,
    reference: unsafe extern "C" fn(Handle),
    unreference: unsafe extern "C" fn(Handle),
    close: unsafe extern "C" fn(Handle, OnClose),
}

/// Looks up a function of the process by its name.
///
/// # Safety
/// The function has the type `F`, which is a function pointer.
unsafe fn symbol<F: Copy>(name: &CStr) -> Option<F> {
    // SAFETY: the name is a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: a function pointer and a data pointer have one size on every platform that has dlsym.
    (!found.is_null()).then(|| unsafe { std::mem::transmute_copy(&found) })
}

impl Uv {
    /// Looks the functions up, once in a process.
    fn find() -> Option<Self> {
        static FOUND: OnceLock<Option<Uv>> = OnceLock::new();
        *FOUND.get_or_init(Self::look_up)
    }

    fn look_up() -> Option<Self> {
        // SAFETY: here and below, the types are those of uv.h.
        let handle_size = unsafe { symbol(c"uv_handle_size") }?;
        // SAFETY: as above.
        let handle_set_data = unsafe { symbol(c"uv_handle_set_data") }?;
        // SAFETY: as above.
        let handle_get_data = unsafe { symbol(c"uv_handle_get_data") }?;
        // SAFETY: as above.
        let poll_init = unsafe { symbol(c"uv_poll_init") }?;
        // SAFETY: as above.
        let poll_start = unsafe { symbol(c"uv_poll_start") }?;
        // SAFETY: as above.
        let poll_stop = unsafe { symbol(c"uv_poll_stop") }?;
        // SAFETY: as above.
        let prepare_init = unsafe { symbol(c"uv_prepare_init") }?;
        // SAFETY: as above.
        let prepare_start = unsafe { symbol(c"uv_prepare_start") }?;
        // SAFETY: as above.
        let check_init = unsafe { symbol(c"uv_check_init") }?;
        // SAFETY: as above.
        let check_start = unsafe { symbol(c"uv_check_start") }?;
        // SAFETY: as above.
        let reference = unsafe { symbol(c"uv_ref") }?;
        // SAFETY: as above.
        let unreference = unsafe { symbol(c"uv_unref") }?;
        // SAFETY: as above.
        let close = unsafe { symbol(c"uv_close") }?;
        Some(Self {
            handle_size,
            handle_set_data,
            handle_get_data,
            poll_init,
            poll_start,
            poll_stop,
            prepare_init,
            prepare_start,
            check_init,
            check_start,
            reference,
            unreference,
            close,
        })
    }
}

/// The watches of one port: one for each descriptor, and two that tell the port when the event loop is about to sleep
/// and when it has woken. The drop takes them down; the event loop frees their memory later.
pub(super) struct Polls {
    uv: Uv,
    watcher: *const Watcher,
    handles: Vec<Handle>,
    turns: Vec<Handle>,
}

/// What the data pointer of a handle points to.
struct Data {
    watcher: *const Watcher,
}

impl Polls {
    /// Starts to watch the descriptors. `None` if there is no libuv. The watcher owns the watches, so it outlives them.
    pub(super) fn start(env: sys::napi_env, descriptors: &[c_int], watcher: *const Watcher) -> Option<Self> {
        let uv = Uv::find()?;
        let mut event_loop = ptr::null_mut();
        // SAFETY: the out parameter is a local.
        let status = unsafe { sys::napi_get_uv_event_loop(env, &raw mut event_loop) };
        if status != sys::Status::napi_ok || event_loop.is_null() {
            return None;
        }
        let mut polls = Self { uv, watcher, handles: Vec::new(), turns: Vec::new() };
        for &descriptor in descriptors {
            // SAFETY: the handle is fresh memory of the right size, and the descriptor is open.
            let handle = polls.make(UV_POLL, |handle| unsafe { (uv.poll_init)(event_loop, handle, descriptor) })?;
            polls.handles.push(handle);
            // SAFETY: initialised; the callback has the type of uv.h.
            unsafe { (uv.poll_start)(handle, UV_READABLE, on_readable) };
        }
        // SAFETY: the handle is fresh memory of the right size.
        let prepare = polls.make(UV_PREPARE, |handle| unsafe { (uv.prepare_init)(event_loop, handle) })?;
        polls.turns.push(prepare);
        // SAFETY: initialised; the callback has the type of uv.h.
        unsafe { (uv.prepare_start)(prepare, on_sleep) };
        // SAFETY: the handle is fresh memory of the right size.
        let check = polls.make(UV_CHECK, |handle| unsafe { (uv.check_init)(event_loop, handle) })?;
        polls.turns.push(check);
        // SAFETY: initialised; the callback has the type of uv.h.
        unsafe { (uv.check_start)(check, on_wake) };
        Some(polls)
    }

    /// Makes a handle that points to the watcher and does not keep the event loop alive. `init` answers 0 if the loop
    /// has taken the handle.
    fn make(&self, kind: c_int, init: impl FnOnce(Handle) -> c_int) -> Option<Handle> {
        // SAFETY: asks for a number.
        let size = unsafe { (self.uv.handle_size)(kind) };
        // SAFETY: memory for one handle, which is freed after the loop has closed it.
        let handle = unsafe { libc::calloc(1, size) };
        if handle.is_null() {
            return None;
        }
        if init(handle) != 0 {
            // SAFETY: the loop has not taken it.
            unsafe { libc::free(handle) };
            return None;
        }
        let data = Box::into_raw(Box::new(Data { watcher: self.watcher })).cast();
        // SAFETY: the handle was initialised; the data is freed with it.
        unsafe { (self.uv.handle_set_data)(handle, data) };
        // SAFETY: initialised.
        unsafe { (self.uv.unreference)(handle) };
        Some(handle)
    }

    /// Keeps the event loop alive, or lets it end.
    pub(super) fn hold(&self, hold: bool) {
        let set = if hold { self.uv.reference } else { self.uv.unreference };
        if let Some(&handle) = self.handles.first() {
            // SAFETY: initialised, and not closed before the drop.
            unsafe { set(handle) };
        }
    }
}

impl Drop for Polls {
    fn drop(&mut self) {
        for &handle in &self.handles {
            // SAFETY: initialised; no callback comes after it.
            unsafe { (self.uv.poll_stop)(handle) };
            // SAFETY: initialised and closed once; the loop runs the callback before it ends.
            unsafe { (self.uv.close)(handle, on_closed) };
        }
        for &handle in &self.turns {
            // SAFETY: initialised and closed once, which stops it; the loop runs the callback before it ends.
            unsafe { (self.uv.close)(handle, on_closed) };
        }
    }
}

unsafe extern "C" fn on_readable(handle: Handle, _status: c_int, _events: c_int) {
    tell(handle, |watcher| {
        watcher.woke();
        watcher.turn();
    });
}

/// Called before the event loop waits.
unsafe extern "C" fn on_sleep(handle: Handle) {
    tell(handle, Watcher::falls_asleep);
}

/// Called after the event loop has waited and has run the callbacks of what was ready.
unsafe extern "C" fn on_wake(handle: Handle) {
    tell(handle, Watcher::woke);
}

/// Calls the watcher of a handle.
fn tell(handle: Handle, what: impl FnOnce(&Watcher)) {
    let Some(uv) = Uv::find() else { return };
    // SAFETY: set by `make`, and freed only after the loop has closed the handle.
    let data = unsafe { (uv.handle_get_data)(handle) }.cast::<Data>();
    // SAFETY: as above.
    let watcher = unsafe { (*data).watcher };
    // SAFETY: the watcher owns this watch, and takes it down before it goes. It may go inside `turn`, so it is held here.
    unsafe { std::rc::Rc::increment_strong_count(watcher) };
    // SAFETY: the count was raised for this.
    let watcher = unsafe { std::rc::Rc::from_raw(watcher) };
    // JavaScript's exceptions are dealt with inside; a panic of ours must not cross into C.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| what(&watcher)));
}

unsafe extern "C" fn on_closed(handle: Handle) {
    if let Some(uv) = Uv::find() {
        // SAFETY: set by `make`.
        let data = unsafe { (uv.handle_get_data)(handle) }.cast::<Data>();
        if !data.is_null() {
            // SAFETY: made by Box::into_raw in `make`, and the loop is done with the handle.
            drop(unsafe { Box::from_raw(data) });
        }
    }
    // SAFETY: made by calloc in `make`, and the loop is done with it.
    unsafe { libc::free(handle) };
}
