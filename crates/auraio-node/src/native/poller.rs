//! A thread that watches the port and calls the event loop. It is for runtimes whose event loop cannot watch
//! descriptors for an addon: Bun and Deno, and all runtimes on Windows.
//!
//! The descriptors stay readable until the completions are reaped. So after each call, the thread waits until the event
//! loop has reaped. A wake-up costs two switches of threads: 55 to 65 us were measured, and 9 to 11 us if the loop
//! watches itself. With many operations in flight, one wake-up serves many completions.

use std::{
    ffi::c_void,
    ptr,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
};

use auraio::PortWaiter;
use napi::{Result, sys};

use super::{Watcher, check};

pub(super) struct Poller {
    env: sys::napi_env,
    function: sys::napi_threadsafe_function,
    shared: Arc<Shared>,
    waiter: PortWaiter,
    thread: Option<JoinHandle<()>>,
    context: *mut Context,
}

/// What the thread-safe function needs when the event loop runs it.
struct Context {
    watcher: *const Watcher,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// True if the event loop was called and has not reaped yet.
    called: bool,
    stop: bool,
}

/// The thread-safe function, by which any thread can call the event loop.
struct Caller(sys::napi_threadsafe_function);

// SAFETY: N-API's thread-safe functions may be called on any thread, until they are released.
unsafe impl Send for Caller {}

impl Caller {
    fn call(&self) -> bool {
        // SAFETY: the poller releases the function only after this thread has ended.
        let status = unsafe {
            sys::napi_call_threadsafe_function(self.0, ptr::null_mut(), sys::ThreadsafeFunctionCallMode::nonblocking)
        };
        status == sys::Status::napi_ok
    }
}

impl Poller {
    pub(super) fn start(
        env: sys::napi_env,
        waiter: PortWaiter,
        watcher: *const Watcher,
        name: sys::napi_value,
    ) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let context = Box::into_raw(Box::new(Context { watcher, shared: Arc::clone(&shared) }));
        let mut function = ptr::null_mut();
        // SAFETY: the name is alive in this call's handle scope, the out parameter is a local, and the context is freed by
        // the finalizer.
        let status = unsafe {
            sys::napi_create_threadsafe_function(
                env,
                ptr::null_mut(),
                ptr::null_mut(),
                name,
                0,
                1,
                context.cast(),
                Some(on_finalized),
                context.cast(),
                Some(on_called),
                &raw mut function,
            )
        };
        check(status)?;
        // SAFETY: made above.
        unsafe { sys::napi_unref_threadsafe_function(env, function) };
        let (theirs, caller, sleeper) = (Arc::clone(&shared), Caller(function), waiter.clone());
        let thread = std::thread::Builder::new()
            .name("auraio-wake".into())
            .spawn(move || watch(&theirs, &caller, &sleeper))
            .map_err(|error| napi::Error::from_reason(format!("ERR_AURAIO_RESOURCES: no thread: {error}")))?;
        Ok(Self { env, function, shared, waiter, thread: Some(thread), context })
    }

    /// Keeps the event loop alive, or lets it end.
    pub(super) fn hold(&self, hold: bool) {
        if hold {
            // SAFETY: released only by the drop.
            unsafe { sys::napi_ref_threadsafe_function(self.env, self.function) };
        } else {
            // SAFETY: as above.
            unsafe { sys::napi_unref_threadsafe_function(self.env, self.function) };
        }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.shared.change(|state| state.stop = true);
        self.waiter.interrupt();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
        // SAFETY: the context lives until the finalizer, which runs on this thread later.
        unsafe { (*self.context).watcher = ptr::null() };
        // SAFETY: released once, after its only other user has ended.
        unsafe {
            sys::napi_release_threadsafe_function(self.function, sys::ThreadsafeFunctionReleaseMode::abort);
        }
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

/// The body of the thread. It waits for a completion, calls the event loop, and waits until the event loop has reaped.
fn watch(shared: &Shared, caller: &Caller, waiter: &PortWaiter) {
    loop {
        waiter.wait(None);
        {
            let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.stop {
                return;
            }
            state.called = true;
        }
        if !caller.call() {
            return;
        }
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.called && !state.stop {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stop {
            return;
        }
    }
}

unsafe extern "C" fn on_called(
    _env: sys::napi_env,
    _function: sys::napi_value,
    context: *mut c_void,
    _data: *mut c_void,
) {
    // SAFETY: the context lives until the finalizer.
    let context = unsafe { &*context.cast::<Context>() };
    if context.watcher.is_null() {
        return;
    }
    let shared = Arc::clone(&context.shared);
    // SAFETY: the watcher owns the poller, which clears the pointer before it goes. It may go inside `turn`, so it is held.
    unsafe { std::rc::Rc::increment_strong_count(context.watcher) };
    // SAFETY: the count was raised for this.
    let watcher = unsafe { std::rc::Rc::from_raw(context.watcher) };
    // JavaScript's exceptions are dealt with inside; a panic of ours must not cross into C.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| watcher.turn_once()));
    shared.change(|state| state.called = false);
}

unsafe extern "C" fn on_finalized(_env: sys::napi_env, context: *mut c_void, _hint: *mut c_void) {
    // SAFETY: made by Box::into_raw in `start`; N-API finalizes once.
    drop(unsafe { Box::from_raw(context.cast::<Context>()) });
}
