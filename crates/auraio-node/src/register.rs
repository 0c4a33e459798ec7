//! Memory of the user's own that a port has registered, and files over descriptors that somebody else opened.

use std::collections::HashMap;

use auraio::Registration;
use napi::Either;
use napi_derive::napi;

use crate::{
    native::{View, foreign, number::Whole32},
    port::NativePort,
};

/// A duplicate of a descriptor, opened on a port.
#[napi(object)]
pub struct NativeAdopted {
    /// The duplicate's number.
    pub fd: i32,
    /// The port's number for the file.
    pub handle: u32,
    /// The flags that the descriptor was opened with.
    pub flags: i32,
}

/// Registered memory, by the numbers that JavaScript has for it.
#[derive(Default)]
pub(crate) struct Registrations {
    last: u32,
    all: HashMap<u32, Registration>,
}

impl Registrations {
    fn insert(&mut self, registration: Registration) -> u32 {
        self.last = (self.last + 1) % (1 << 31);
        self.all.insert(self.last, registration);
        self.last
    }

    /// Unregisters everything. To be called when nothing is in flight.
    pub(crate) fn clear(&mut self) {
        self.all.clear();
    }
}

#[napi]
impl NativePort {
    /// Registers memory. Answers a number for `unregisterMemory`, or a negated errno. The caller keeps the memory where
    /// it is until then.
    #[napi(catch_unwind)]
    pub fn register_memory(&self, #[napi(ts_arg_type = "ArrayBufferView")] view: View) -> i32 {
        self.with_open(|core| match foreign::register(core.engine(), &view) {
            Ok(registration) => core.registrations.insert(registration) as i32,
            Err(error) => -error.errno(),
        })
    }

    /// Unregisters memory. No operation works on it any more.
    #[napi(catch_unwind)]
    pub fn unregister_memory(&self, #[napi(ts_arg_type = "number")] id: Whole32) {
        self.with_open(|core| {
            drop(core.registrations.all.remove(&id.0));
            0
        });
    }

    /// Makes the rings put the file into their tables of registered files, the next time that each of them uses it.
    #[napi(catch_unwind)]
    pub fn register_file(&self, #[napi(ts_arg_type = "number")] handle: Whole32) {
        self.with_open(|core| {
            if let Some(file) = core.file(handle.0) {
                file.register();
            }
            0
        });
    }

    /// Makes a file over a duplicate of a descriptor. Answers a negated errno if that fails.
    #[napi(catch_unwind)]
    pub fn adopt(&self, fd: i32) -> Either<i32, NativeAdopted> {
        let mut adopted = None;
        let answer = self.with_open(|core| match foreign::adopt(core.engine(), fd) {
            Ok((file, flags)) => {
                let fd = file.descriptor() as i32;
                adopted = Some(NativeAdopted { fd, handle: core.insert_file(file), flags });
                0
            }
            Err(errno) => -errno,
        });
        adopted.map_or(Either::A(answer), Either::B)
    }
}
