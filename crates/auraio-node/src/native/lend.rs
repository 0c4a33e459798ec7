//! Blocks of the pool as ArrayBuffers of one environment, and how they come back.
//!
//! An ArrayBuffer lies over exactly one block. When it is collected, N-API calls its finalizer. The block goes back to
//! the pool only when no operation of the environment works on it. [`Claims`] knows which memory operations work on,
//! because each operation notes it when it is queued. JavaScript is not asked: at tear-down, Node runs finalizers
//! before the hook that waits for the kernel.
//!
//! A runtime may call a finalizer before the cleanup hooks, after them, or not at all, and V8 may do so on any thread.
//! So everything that a finalizer touches is behind a lock, and the last hook of the environment takes back every block
//! whose finalizer has not been called. Each loan has a number of its own. Of finalizer and hook, the second finds no
//! loan with that number and does nothing.

use std::{
    cell::RefCell,
    collections::HashMap,
    ffi::c_void,
    ptr,
    rc::{Rc, Weak},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI32, AtomicUsize, Ordering},
    },
};

use auraio::Block;
use napi::{Env, JsValue, Result, Unknown, bindgen_prelude::FromNapiValue, sys};

use super::{check, clear_exception};

/// How many acquisitions of the whole process wait for memory. JavaScript looks at it before it keeps a block for
/// itself.
static WAITING: AtomicI32 = AtomicI32::new(0);

/// Counts as one acquisition that waits, until it is dropped.
pub(crate) struct Waits(());

impl Waits {
    pub(crate) fn begin() -> Self {
        WAITING.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where the bytes of an operation lie: from the address `from` up to the address `to`, which is not included.
#[derive(Clone, Copy, Default)]
pub(crate) struct Span {
    from: usize,
    to: usize,
}

impl Span {
    pub(crate) const NONE: Self = Self { from: 0, to: 0 };

    #[inline]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let from = bytes.as_ptr().addr();
        Self { from, to: from + bytes.len() }
    }

    /// The span that covers both.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Self { from: self.from.min(other.from), to: self.to.max(other.to) },
        }
    }

    #[inline]
    const fn is_empty(self) -> bool {
        self.from == self.to
    }

    const fn overlaps(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }
}

/// The memory that the operations of one port work on now, by slot. It is borrowed for a few instructions at a time,
/// and N-API is not called meanwhile. So a finalizer, which any call of N-API may run, never finds it borrowed.
#[derive(Default)]
pub(crate) struct Claims(RefCell<Vec<Span>>);

impl Claims {
    /// Notes the memory of an operation. Answers false if the slot's last operation has not completed.
    #[inline]
    pub(crate) fn claim(&self, slot: usize, span: Span) -> bool {
        let mut spans = self.0.borrow_mut();
        if slot >= spans.len() {
            spans.resize(slot + 1, Span::NONE);
        }
        let free = spans[slot].is_empty();
        if free {
            spans[slot] = span;
        }
        free
    }

    #[inline]
    pub(crate) fn release(&self, slot: usize) {
        if let Some(span) = self.0.borrow_mut().get_mut(slot) {
            *span = Span::NONE;
        }
    }

    /// Forgets all memory, because no operation is in flight any more.
    pub(crate) fn release_all(&self) {
        self.0.borrow_mut().clear();
    }

    fn overlap(&self, block: Span) -> bool {
        self.0.borrow().iter().any(|span| span.overlaps(block))
    }
}

/// The blocks that one environment has of the pool, and the memory that its operations work on.
pub(crate) struct Environment {
    loans: Arc<Loans>,
    ports: RefCell<Vec<Weak<Claims>>>,
}

/// The part of it that finalizers touch, from any thread.
#[derive(Default)]
struct Loans {
    state: Mutex<LoanState>,
    /// How many blocks are in `returned`.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct LoanState {
    last: u64,
    /// The blocks whose finalizer has not been called, by their address, each with the number of its loan.
    lent: HashMap<usize, (u64, Block)>,
    /// Blocks that JavaScript no longer has. An operation may still work on them.
    returned: Vec<Block>,
}

/// What a finalizer gets. The number tells this loan from a later loan of the same block.
struct Loan {
    address: usize,
    number: u64,
    loans: Arc<Loans>,
}

thread_local! {
    /// The environments of this thread. An environment never leaves its thread, so threads need not share this.
    static ENVIRONMENTS: RefCell<Vec<(sys::napi_env, Rc<Environment>)>> = const { RefCell::new(Vec::new()) };
}

impl Environment {
    /// The environment of `env`. The first call registers its cleanup hook. A port makes that call before it registers
    /// its own hook, and hooks run in the reverse order, so this hook runs after those of the ports.
    pub(crate) fn of(env: &Env) -> Result<Rc<Self>> {
        let raw = env.raw();
        if let Some(known) = Self::known(raw) {
            return Ok(known);
        }
        let made = Rc::new(Self { loans: Arc::default(), ports: RefCell::default() });
        // SAFETY: the hook takes the environment's own pointer, as a name; it is not followed.
        check(unsafe { sys::napi_add_env_cleanup_hook(raw, Some(on_environment_end), raw.cast()) })?;
        ENVIRONMENTS.with_borrow_mut(|list| list.push((raw, Rc::clone(&made))));
        Ok(made)
    }

    /// `None` on another thread than that of the environment, and after the end of the environment.
    fn known(env: sys::napi_env) -> Option<Rc<Self>> {
        let find = |list: &RefCell<Vec<(sys::napi_env, Rc<Self>)>>| {
            let list = list.try_borrow().ok()?;
            list.iter().find(|(known, _)| *known == env).map(|(_, environment)| Rc::clone(environment))
        };
        ENVIRONMENTS.try_with(find).ok().flatten()
    }

    /// Makes the claims of a new port. From now on, no block that they name goes back to the pool.
    pub(crate) fn add_port(&self) -> Rc<Claims> {
        let claims = Rc::new(Claims::default());
        let mut ports = self.ports.borrow_mut();
        ports.retain(|port| port.strong_count() > 0);
        ports.push(Rc::downgrade(&claims));
        claims
    }

    /// Gives back the blocks that JavaScript no longer has and no operation works on. If there are none, it costs one
    /// load.
    #[inline]
    pub(crate) fn settle(&self) {
        if self.loans.waiting.load(Ordering::Relaxed) > 0 {
            self.settle_returned();
        }
    }

    #[cold]
    fn settle_returned(&self) {
        // The blocks are dropped when the lock is free again, because their drop may wake somebody who waits for
        // memory.
        drop(self.loans.take_returned(|block| !self.is_claimed(Span::of(block))));
    }

    fn is_claimed(&self, block: Span) -> bool {
        self.ports.borrow().iter().filter_map(Weak::upgrade).any(|claims| claims.overlap(block))
    }
}

impl Loans {
    fn lend(&self, block: Block) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last += 1;
        let number = state.last;
        state.lent.insert(block.as_ptr().addr(), (number, block));
        number
    }

    /// To be called when the ArrayBuffer was collected, or could not be made.
    fn give_back(&self, address: usize, number: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.lent.get(&address).is_none_or(|(held, _)| *held != number) {
            return;
        }
        if let Some((_, block)) = state.lent.remove(&address) {
            state.returned.push(block);
            self.waiting.store(state.returned.len(), Ordering::Relaxed);
        }
    }

    fn take_returned(&self, is_free: impl Fn(&Block) -> bool) -> Vec<Block> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (free, kept) = std::mem::take(&mut state.returned).into_iter().partition(is_free);
        state.returned = kept;
        self.waiting.store(state.returned.len(), Ordering::Relaxed);
        free
    }

    /// The number of the loan whose block begins there.
    fn number_at(&self, address: usize) -> Option<(u64, Span)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lent.get(&address).map(|(number, block)| (*number, Span::of(block)))
    }

    /// Takes everything back, at the end of the environment.
    fn take_all(&self) -> Vec<Block> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.store(0, Ordering::Relaxed);
        let mut all = std::mem::take(&mut state.returned);
        all.extend(state.lent.drain().map(|(_, (_, block))| block));
        all
    }
}

/// Makes an ArrayBuffer over a block. Answers the number 0 if the runtime forbids memory that is not its own.
pub(crate) fn lend(env: &Env, mut block: Block) -> Result<Unknown<'static>> {
    let environment = Environment::of(env)?;
    let (address, len): (*mut c_void, _) = (block.as_mut_ptr().cast(), block.len());
    let number = environment.loans.lend(block);
    let loan = Loan { address: address.addr(), number, loans: Arc::clone(&environment.loans) };
    let hint: *mut c_void = Box::into_raw(Box::new(loan)).cast();
    let mut value = ptr::null_mut();
    let out = &raw mut value;
    // SAFETY: the block is kept by the loan until the finalizer has come and no operation works on it, or the environment
    // has ended; the hint until the finalizer, or below; the out parameter is a local.
    let status =
        unsafe { sys::napi_create_external_arraybuffer(env.raw(), address, len, Some(on_collected), hint, out) };
    if status == sys::Status::napi_ok {
        return unknown(env, value);
    }
    clear_exception(env.raw());
    // SAFETY: N-API has not taken it.
    drop(unsafe { Box::from_raw(hint.cast::<Loan>()) });
    environment.loans.give_back(address.addr(), number);
    environment.settle();
    if status == sys::Status::napi_no_external_buffers_allowed {
        return self::number(env, 0);
    }
    check(status)?;
    self::number(env, 0)
}

/// Detaches an ArrayBuffer, and gives its block back at once. Answers false if it has no block of the pool, if an
/// operation works on it, or if it cannot be detached. Then nothing has changed.
///
/// `transfer` is `ArrayBuffer.prototype.transfer`, if the runtime has it. Such a runtime has ArrayBuffers that can be
/// detached only with a key. If N-API is asked to detach one of them, Node ends the process; the method throws instead.
pub(crate) fn take_back(env: &Env, memory: &Unknown<'_>, transfer: Option<&Unknown<'_>>) -> Result<bool> {
    let environment = Environment::of(env)?;
    let value = memory.raw();
    let Some((address, _)) = array_buffer(env, value).filter(|(_, len)| *len > 0) else { return Ok(false) };
    let Some((number, span)) = environment.loans.number_at(address) else { return Ok(false) };
    if environment.is_claimed(span) {
        return Ok(false);
    }
    match transfer {
        None => {
            // SAFETY: the value is one of this call's arguments.
            unsafe { sys::napi_detach_arraybuffer(env.raw(), value) };
        }
        Some(transfer) => {
            let zero = self::number(env, 0)?.raw();
            // SAFETY: all values are alive in this call's handle scope; the answer is not wanted.
            unsafe { sys::napi_call_function(env.raw(), value, transfer.raw(), 1, &raw const zero, ptr::null_mut()) };
        }
    }
    clear_exception(env.raw());
    // Whether it was detached is seen by its bytes, not by the status of the call.
    if array_buffer(env, value).is_none_or(|(_, len)| len > 0) {
        return Ok(false);
    }
    environment.loans.give_back(address, number);
    environment.settle();
    Ok(true)
}

/// The address of the bytes of an ArrayBuffer, and how many there are.
fn array_buffer(env: &Env, value: sys::napi_value) -> Option<(usize, usize)> {
    let (mut address, mut len) = (ptr::null_mut(), 0);
    // SAFETY: the value is one of this call's arguments; the out parameters are locals.
    let status = unsafe { sys::napi_get_arraybuffer_info(env.raw(), value, &raw mut address, &raw mut len) };
    if status != sys::Status::napi_ok {
        clear_exception(env.raw());
        return None;
    }
    Some((address.addr(), len))
}

/// An ArrayBuffer of four bytes over the number of acquisitions that wait. The number 0 if the runtime forbids such an
/// ArrayBuffer.
pub(crate) fn waiting_memory(env: &Env) -> Result<Unknown<'static>> {
    let address: *mut c_void = WAITING.as_ptr().cast();
    let mut value = ptr::null_mut();
    // SAFETY: the number is there as long as the process; JavaScript is given no way to write to it, and reads it as a
    // hint. The out parameter is a local.
    let status =
        unsafe { sys::napi_create_external_arraybuffer(env.raw(), address, 4, None, ptr::null_mut(), &raw mut value) };
    if status == sys::Status::napi_ok {
        return unknown(env, value);
    }
    clear_exception(env.raw());
    number(env, 0)
}

/// A number, as the answer of a function that otherwise answers an ArrayBuffer.
pub(crate) fn number(env: &Env, number: i32) -> Result<Unknown<'static>> {
    let mut value = ptr::null_mut();
    // SAFETY: the out parameter is a local.
    check(unsafe { sys::napi_create_int32(env.raw(), number, &raw mut value) })?;
    unknown(env, value)
}

fn unknown(env: &Env, value: sys::napi_value) -> Result<Unknown<'static>> {
    // SAFETY: a value of this environment, alive in the handle scope of the call that returns it.
    unsafe { Unknown::from_napi_value(env.raw(), value) }
}

/// The finalizer of an ArrayBuffer.
unsafe extern "C" fn on_collected(env: sys::napi_env, _data: *mut c_void, hint: *mut c_void) {
    // SAFETY: made by Box::into_raw in `lend`; N-API finalizes once.
    let loan = unsafe { Box::from_raw(hint.cast::<Loan>()) };
    // A panic must not cross into C.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        loan.loans.give_back(loan.address, loan.number);
        // On another thread this does nothing, and the next reap of the environment gives the block back.
        if let Some(environment) = Environment::known(env) {
            environment.settle();
        }
    }));
}

/// The cleanup hook of an environment. Its ports have ended before it, so no operation is in flight and no JavaScript
/// will run.
unsafe extern "C" fn on_environment_end(env: *mut c_void) {
    let _ = std::panic::catch_unwind(|| {
        let ended = ENVIRONMENTS.with_borrow_mut(|list| {
            let at = list.iter().position(|(known, _)| known.cast::<c_void>() == env)?;
            Some(list.swap_remove(at).1)
        });
        if let Some(environment) = ended {
            drop(environment.loans.take_all());
        }
    });
}
