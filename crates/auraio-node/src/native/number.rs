//! The conversion of small numbers. N-API itself wraps: it takes -1 for 4,294,967,295, NaN for 0 and 1.5 for 1.

use napi::{Error, Result, Status, bindgen_prelude::FromNapiValue, sys};

use crate::numbers::whole32;

/// A whole number that fits 32 bits. Any other number is refused: the call throws an error with the code `InvalidArg`.
#[derive(Clone, Copy, Debug)]
pub struct Whole32(pub(crate) u32);

impl FromNapiValue for Whole32 {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        // SAFETY: the caller's promises are those that this call needs.
        let number = unsafe { f64::from_napi_value(env, value) }?;
        let refused =
            || Error::new(Status::InvalidArg, format!("{number} is not a whole number from 0 to {}", u32::MAX));
        whole32(number).map(Self).ok_or_else(refused)
    }
}
