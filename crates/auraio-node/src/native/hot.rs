//! `read` and `write`, which a program calls a million times a second. They do without the wrapper that napi-rs puts
//! around a method. That wrapper looks the object up and notes the borrow in a table of the whole process, under a
//! lock. This costs as much as the rest of the call (perf on benches/cached-reads.mjs: 7 % of a cached read).
//!
//! With four arguments instead of six, the whole view is meant. So two numbers fewer cross.

use std::{ffi::c_void, ptr};

use auraio::BorrowedMemory;
use napi::{Env, Result, Unknown, bindgen_prelude::FromNapiValue, sys};

use super::{View, check};
use crate::{numbers::whole32, submit::Submitter};

/// Which of the two functions.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    Read,
    Write,
}

/// `EINVAL`, for arguments that TypeScript never passes.
const REFUSED: i32 = -22;

/// Makes a function `(slot, handle, view, offset, length, position) => number`, or `(slot, handle, view, position) =>
/// number`. The port lives as long as the function.
pub(crate) fn function(env: &Env, submitter: &Submitter, which: Which) -> Result<Unknown<'static>> {
    let raw = env.raw();
    let data: *mut c_void = Box::into_raw(Box::new(submitter.clone())).cast();
    let mut value = ptr::null_mut();
    let (name, callback): (_, unsafe extern "C" fn(_, _) -> _) = match which {
        Which::Read => (c"read", on_read),
        Which::Write => (c"write", on_write),
    };
    // SAFETY: the name is valid for its length, the data lives until the finalizer below, the out parameter is a local.
    check(unsafe {
        sys::napi_create_function(raw, name.as_ptr(), name.count_bytes() as isize, Some(callback), data, &raw mut value)
    })?;
    // SAFETY: the function was made just now; its finalizer gives the data back.
    check(unsafe { sys::napi_add_finalizer(raw, value, data, Some(on_finalized), ptr::null_mut(), ptr::null_mut()) })?;
    // SAFETY: a value of this environment, alive in the handle scope of the getter that returns it.
    unsafe { Unknown::from_napi_value(raw, value) }
}

unsafe extern "C" fn on_finalized(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: made by Box::into_raw in `function`; the finalizer runs once.
    drop(unsafe { Box::from_raw(data.cast::<Submitter>()) });
}

unsafe extern "C" fn on_read(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    respond(env, info, |submitter, call| submitter.read(call.slot, call.handle, call.memory, call.position))
}

unsafe extern "C" fn on_write(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    respond(env, info, |submitter, call| submitter.write(call.slot, call.handle, call.memory, call.position))
}

/// The arguments of a call.
struct Call {
    slot: u32,
    handle: u32,
    memory: BorrowedMemory,
    position: f64,
}

/// Reads the arguments, does the work and makes the answer. If an argument is wrong, the answer is `-EINVAL`.
fn respond(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    work: impl FnOnce(&Submitter, Call) -> i32,
) -> sys::napi_value {
    let (mut count, mut values, mut data) = (6, [ptr::null_mut(); 6], ptr::null_mut());
    let (counted, listed, given) = (&raw mut count, values.as_mut_ptr(), &raw mut data);
    // SAFETY: the out parameters are locals, and `values` has as many places as `count` says.
    let status = unsafe { sys::napi_get_cb_info(env, info, counted, listed, ptr::null_mut(), given) };
    let answer = if status == sys::Status::napi_ok && (count == 6 || count == 4) {
        // SAFETY: the data was given to `napi_create_function`, and is freed only when the function is.
        let submitter = unsafe { &*data.cast::<Submitter>() };
        // A panic must not cross into C.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            arguments(env, &values[..count]).map(|call| work(submitter, call))
        }));
        outcome.ok().flatten().unwrap_or(REFUSED)
    } else {
        REFUSED
    };
    let mut value = ptr::null_mut();
    // SAFETY: the out parameter is a local.
    unsafe { sys::napi_create_int32(env, answer, &raw mut value) };
    value
}

fn arguments(env: sys::napi_env, values: &[sys::napi_value]) -> Option<Call> {
    // SAFETY: the value is one of this call's arguments.
    let view = unsafe { View::from_napi_value(env, values[2]) }.ok()?;
    let (memory, position) = match values {
        [_, _, _, position] => (view.all(), position),
        [_, _, _, offset, length, position] => (view.part(number(env, *offset)?, number(env, *length)?)?, position),
        _ => return None,
    };
    let (slot, handle) = (index(env, values[0])?, index(env, values[1])?);
    Some(Call { slot, handle, memory, position: number(env, *position)? })
}

#[inline]
fn index(env: sys::napi_env, value: sys::napi_value) -> Option<u32> {
    number(env, value).and_then(whole32)
}

#[inline]
fn number(env: sys::napi_env, value: sys::napi_value) -> Option<f64> {
    let mut number = 0.0;
    // SAFETY: the value is one of this call's arguments, and the out parameter a local.
    let status = unsafe { sys::napi_get_value_double(env, value, &raw mut number) };
    (status == sys::Status::napi_ok).then_some(number)
}
