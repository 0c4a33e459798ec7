//! Memory for JavaScript: blocks of the pool as ArrayBuffers, the pool's numbers, and the alignment of other memory.
#![expect(clippy::must_use_candidate, clippy::missing_errors_doc, reason = "the callers are TypeScript's")]

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use auraio::{Acquire, Block, Error, Pool};
use napi::{Env, Status, Unknown};
use napi_derive::napi;

use crate::{
    native::{
        View,
        lend::{self, Environment, Waits},
        number::Whole32,
    },
    numbers,
    port::NativePort,
    submit::EINVAL,
};

const ECANCELED: i32 = 125;

/// An ArrayBuffer over a block of at least `size` bytes, a negated errno where there is none to be had, or 0 where the
/// runtime forbids ArrayBuffers over memory that is not its own.
#[napi(catch_unwind, ts_return_type = "ArrayBuffer | number")]
pub fn lend_block(
    env: Env,
    size: f64,
    #[napi(ts_arg_type = "number")] alignment: Whole32,
) -> napi::Result<Unknown<'static>> {
    Environment::of(&env)?.settle();
    let Some(size) = numbers::size(size) else { return lend::number(&env, -EINVAL) };
    match Pool::global().acquire_aligned(size, alignment.0 as usize) {
        Ok(block) => lend::lend(&env, block),
        Err(error) => lend::number(&env, -error.errno()),
    }
}

/// Detaches an ArrayBuffer of `lendBlock`, and gives its block back to the pool now. Answers false if that is
/// impossible. Then nothing has changed, and the block comes back when the ArrayBuffer is collected. `transfer` is
/// `ArrayBuffer.prototype.transfer`, if the runtime has it.
#[napi(catch_unwind)]
pub fn take_back_block(
    env: Env,
    #[napi(ts_arg_type = "ArrayBuffer")] memory: Unknown<'_>,
    #[napi(ts_arg_type = "Function")] transfer: Option<Unknown<'_>>,
) -> napi::Result<bool> {
    lend::take_back(&env, &memory, transfer.as_ref())
}

/// An ArrayBuffer of four bytes that JavaScript may only read: how many acquisitions of the process wait for memory. 0
/// if the runtime forbids such an ArrayBuffer.
#[napi(catch_unwind, ts_return_type = "ArrayBuffer | number")]
pub fn waiting_acquisitions(env: Env) -> napi::Result<Unknown<'static>> {
    lend::waiting_memory(&env)
}

/// The address of a view's bytes, modulo 2 MiB. That suffices to align by it, and does not give the address away.
#[napi(catch_unwind)]
pub fn address_of(#[napi(ts_arg_type = "ArrayBufferView")] view: View) -> u32 {
    view.address_in_huge_page() as u32
}

/// Sets the ceiling of the process's pool.
#[napi(catch_unwind)]
pub fn set_pool_bytes_max(bytes: f64) -> napi::Result<()> {
    let refused = || napi::Error::new(Status::InvalidArg, format!("{bytes} is not a number of bytes"));
    Pool::global().set_bytes_max(numbers::whole(bytes).ok_or_else(refused)?);
    Ok(())
}

/// The acquisitions of a port: those that wait for memory, and those that have got it.
#[derive(Default)]
pub(crate) struct Acquisitions {
    waiting: VecDeque<Waiting>,
    /// The slots of acquisitions that have ended, with their results. JavaScript has not been told of them.
    settled: VecDeque<(u32, i32)>,
    granted: HashMap<u32, Block>,
}

struct Waiting {
    slot: u32,
    acquire: Pin<Box<Acquire>>,
    _waits: Waits,
}

impl Acquisitions {
    /// How many acquisitions JavaScript has not been told the end of.
    pub(crate) fn outstanding(&self) -> usize {
        self.waiting.len() + self.settled.len()
    }

    fn begin(&mut self, slot: u32, acquire: Acquire) {
        self.waiting.push_back(Waiting { slot, acquire: Box::pin(acquire), _waits: Waits::begin() });
    }

    pub(crate) fn cancel(&mut self, slot: u32) -> bool {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.slot == slot) else { return false };
        drop(self.waiting.remove(at));
        self.settled.push_back((slot, -ECANCELED));
        true
    }

    /// Polls the acquisitions that wait, in the order in which they began.
    pub(crate) fn poll(&mut self, waker: impl FnOnce() -> Waker) {
        if self.waiting.is_empty() {
            return;
        }
        let waker = waker();
        let mut context = Context::from_waker(&waker);
        let Self { waiting, settled, granted } = self;
        waiting.retain_mut(|Waiting { slot, acquire, .. }| {
            let result = match acquire.as_mut().poll(&mut context) {
                Poll::Pending => return true,
                Poll::Ready(Err(error)) => -error.errno(),
                Poll::Ready(Ok(block)) => {
                    granted.insert(*slot, block);
                    0
                }
            };
            settled.push_back((*slot, result));
            false
        });
    }

    /// The next slot and result that JavaScript has to be told.
    pub(crate) fn next(&mut self) -> Option<(u32, i32)> {
        self.settled.pop_front()
    }

    pub(crate) fn take_granted(&mut self, slot: u32) -> Option<Block> {
        self.granted.remove(&slot)
    }

    /// Forgets everything, because the port ends. JavaScript is told nothing more.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[napi]
impl NativePort {
    /// Acquires a block when it is this acquisition's turn. Completes with 0 (then `takeBlock` hands the block over),
    /// or with a negated errno.
    #[napi(catch_unwind)]
    pub fn acquire_later(
        &self,
        #[napi(ts_arg_type = "number")] slot: Whole32,
        size: f64,
        #[napi(ts_arg_type = "number")] alignment: Whole32,
    ) -> i32 {
        let Some(size) = numbers::size(size) else { return -EINVAL };
        self.with_core(slot.0, |core| {
            core.acquisitions.begin(slot.0, Pool::global().acquire_async(size, alignment.0 as usize));
            // The next reap polls it. It may be its turn already, so the reap must come soon.
            core.wake();
        })
    }

    /// Hands over the block that `acquireLater` acquired. The answers are those of `lendBlock`.
    #[napi(catch_unwind, ts_return_type = "ArrayBuffer | number")]
    pub fn take_block(
        &self,
        env: Env,
        #[napi(ts_arg_type = "number")] slot: Whole32,
    ) -> napi::Result<Unknown<'static>> {
        let block = self.take_granted(slot.0);
        block.map_or_else(|| lend::number(&env, -Error::EngineClosed.errno()), |block| lend::lend(&env, block))
    }
}
