//! What a port has registered of the user's own: memory, and descriptors that somebody else opened.

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
    /// The port's number for it.
    pub handle: u32,
    /// The flags that it was opened with.
    pub flags: i32,
}

/// Registered memory by number.
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

    /// Unregisters everything. Nothing is in flight.
    pub(crate) fn clear(&mut self) {
        self.all.clear();
    }
}

#[napi]
impl NativePort {
    /// Registers memory, which the caller keeps in its place until `unregisterMemory` of the answer; or a negated errno.
    #[napi(catch_unwind)]
    pub fn register_memory(&self, #[napi(ts_arg_type = "ArrayBufferView")] view: View) -> i32 {
        self.with_open(|core| match foreign::register(core.engine(), &view) {
            Ok(registration) => core.registrations.insert(registration) as i32,
            Err(error) => -error.errno(),
        })
    }

    /// Unregisters memory that no operation works on.
    #[napi(catch_unwind)]
    pub fn unregister_memory(&self, #[napi(ts_arg_type = "number")] id: Whole32) {
        self.with_open(|core| {
            drop(core.registrations.all.remove(&id.0));
            0
        });
    }

    /// Has a file take a place of the rings' tables at its next use.
    #[napi(catch_unwind)]
    pub fn register_file(&self, #[napi(ts_arg_type = "number")] handle: Whole32) {
        self.with_open(|core| {
            if let Some(file) = core.file(handle.0) {
                file.register();
            }
            0
        });
    }

    /// Opens a duplicate of a descriptor; or a negated errno.
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
