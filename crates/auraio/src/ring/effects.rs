//! What a ring does after it has let its state go. To wake, drop or perform something can run code of the user's, and that
//! code may call back into a ring.

use std::{
    cell::Cell,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Waker,
};

use super::{Key, Mailbox, Ring};
use crate::{
    Completion,
    file::FileInner,
    op::Done,
    sys::{self, Call},
};

/// What has to be done outside of the ring's state. Mostly that is nothing, so the lists are made when something is noted.
#[derive(Default)]
pub(super) struct Effects(Option<Box<Lists>>);

#[derive(Default)]
pub(super) struct Lists {
    pub(super) wakers: Vec<Waker>,
    pub(super) mail: Vec<(Arc<Mailbox>, Completion)>,
    pub(super) inline: Vec<(Key, Call)>,
    pub(super) released: Vec<Arc<FileInner>>,
    /// Files that are being closed and whose operations could wait for ever. Those operations are cancelled on all rings.
    pub(super) ending: Vec<Arc<FileInner>>,
    /// Files at whose own position a turn has ended.
    pub(super) turns: Vec<Arc<FileInner>>,
    pub(super) discarded: Vec<Done>,
    /// Wakers of futures that are gone.
    pub(super) dropped: Vec<Waker>,
}

thread_local! {
    /// The lists that this thread used last, empty, so that waking a future allocates nothing.
    static SPARE: Cell<Option<Box<Lists>>> = const { Cell::new(None) };
}

impl Effects {
    /// The lists, made if there are none yet.
    #[inline]
    pub(super) fn note(&mut self) -> &mut Lists {
        self.0.get_or_insert_with(fetch_lists)
    }

    /// Lets go of a completed operation's share in its file. The last share is kept until the ring's state has been let go,
    /// because its end may start a close.
    #[inline(always)]
    pub(super) fn let_go(&mut self, file: Arc<FileInner>) {
        if let Some(last) = Arc::into_inner(file) {
            self.keep_last(last);
        }
    }

    /// The same for the second file of an operation that has two.
    #[inline]
    pub(super) fn release(&mut self, file: Option<Arc<FileInner>>) {
        if let Some(file) = file {
            self.let_go(file);
        }
    }

    #[cold]
    fn keep_last(&mut self, last: FileInner) {
        self.note().released.push(Arc::new(last));
    }

    #[inline(always)]
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Does everything that was noted. `ring` is `None` if the ring has ended; then nothing is performed inline for it.
    #[inline(never)]
    pub(super) fn perform(self, ring: Option<&Arc<Ring>>) {
        let Some(mut lists) = self.0 else { return };
        lists.perform(ring);
        // A thread that is ending has no place to keep the lists, so they are dropped.
        let _ = SPARE.try_with(|spare| spare.set(Some(lists)));
    }
}

#[inline]
fn fetch_lists() -> Box<Lists> {
    SPARE.try_with(Cell::take).ok().flatten().unwrap_or_default()
}

impl Lists {
    /// What completes here may let go of the last share of a file whose close is held, or end a turn. Both start another
    /// operation, maybe on another ring.
    fn perform(&mut self, ring: Option<&Arc<Ring>>) {
        if !(self.inline.is_empty() && self.turns.is_empty() && self.ending.is_empty() && self.released.is_empty()) {
            self.perform_files(ring);
        }
        if !(self.discarded.is_empty() && self.dropped.is_empty() && self.mail.is_empty()) {
            self.perform_rest();
        }
        for waker in self.wakers.drain(..) {
            outside(|| waker.wake());
        }
    }

    /// Performs calls, and ends turns and shares in files.
    #[expect(unsafe_code, reason = "performs a call whose addresses its slot keeps valid")]
    #[inline(never)]
    fn perform_files(&mut self, ring: Option<&Arc<Ring>>) {
        for (key, call) in self.inline.drain(..) {
            let Some(ring) = ring else { continue };
            // SAFETY: the slot owns what the call points to, and keeps it until the completion that follows.
            let result = unsafe { sys::perform(&call) };
            ring.complete_inline(key, result);
        }
        for file in self.turns.drain(..) {
            if let Some(next) = file.end_turn() {
                next.start();
            }
        }
        for file in self.ending.drain(..) {
            file.cancel_operations();
        }
        // The last share in a file starts the close that waits for it.
        self.released.clear();
    }

    /// Drops results and wakers that nobody wants, and sends completions to other threads.
    #[inline(never)]
    fn perform_rest(&mut self) {
        for done in self.discarded.drain(..) {
            outside(|| drop(done));
        }
        for waker in self.dropped.drain(..) {
            outside(|| drop(waker));
        }
        for (mailbox, completion) in self.mail.drain(..) {
            mailbox.letters.push(completion);
            mailbox.bell.ring();
        }
    }
}

/// Runs code of the user's. A panic of it is its own: the process's panic hook has told of it, and whoever comes next in
/// the list is woken or dropped all the same. Answers whether it came to its end.
pub(crate) fn outside(run: impl FnOnce()) -> bool {
    let Err(panic) = catch_unwind(AssertUnwindSafe(run)) else { return true };
    // What was thrown may itself throw when it is dropped.
    mem::forget(panic);
    false
}
