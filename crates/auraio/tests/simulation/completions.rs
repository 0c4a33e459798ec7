//! Completions: how a program hears of them, and what each must have done.

use std::{
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll, Waker},
};

use auraio::{Error, op};

use super::{
    FILE_BYTES, OPERATIONS,
    asked::{Asked, Outcome, Pending, Waiting, one},
    buffers::Tracked,
    sabotage::Sabotage,
    world::World,
};

impl World {
    /// A completed operation, with what it gave.
    pub(crate) fn complete(&mut self, token: u64, (outcome, buffers): Outcome) {
        let seed = self.seed;
        let Some(Pending { asked, may_go, cancelled, .. }) = self.pending.remove(&token) else {
            panic!("seed {seed}: operation {token} completes, but it is not under way")
        };
        may_go.store(true, Ordering::SeqCst);
        self.busy.remove(&token);
        let value = match &outcome {
            Ok(value) => *value as u64,
            Err(error) => u64::MAX - error.errno() as u64,
        };
        self.history = (self.history ^ token ^ value << 20).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(7);
        let moved = match outcome {
            Ok(moved) => moved,
            Err(Error::Cancelled) if cancelled => 0,
            Err(error) if self.rules.failures && error.errno() == libc::EIO => 0,
            Err(error) => panic!("seed {seed}: operation {token} fails with {error}: {asked:?}"),
        };
        let bytes: Vec<u8> = buffers.iter().flat_map(Tracked::part).copied().collect();
        match asked {
            Asked::Read(file, range) | Asked::ReadVectors(file, range) => {
                let end = range.end.min(FILE_BYTES);
                assert_eq!(bytes.len(), range.len(), "seed {seed}: operation {token} lost its buffer");
                assert!(moved <= end - range.start, "seed {seed}: operation {token} read past the end");
                let expected = &self.disk.model[file][range.start..][..moved];
                assert!(bytes[..moved] == *expected, "seed {seed}: operation {token} read what was never written");
                let rest = bytes[moved..].iter().all(|byte| *byte == 0xee);
                assert!(rest, "seed {seed}: operation {token} changed its buffer behind what it read");
            }
            Asked::Write(file, at, wanted) | Asked::WriteVectors(file, at, wanted) => {
                assert!(bytes == wanted, "seed {seed}: operation {token} changed what it wrote from");
                assert!(moved <= wanted.len());
                self.disk.model[file][at..at + moved].copy_from_slice(&wanted[..moved]);
            }
            Asked::Nop | Asked::Sync | Asked::Stat | Asked::Mode => {}
        }
    }

    pub(crate) fn poll_port(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        match self.rng.below(3) {
            0 => self.port.reap(&mut completions),
            _ => self.port.poll(&mut completions),
        };
        if self.sabotage == Sabotage::LoseCompletion && self.next > OPERATIONS / 2 && !completions.is_empty() {
            completions.pop();
            self.sabotage = Sabotage::None;
        }
        for completion in completions.drain(..) {
            let token = completion.token();
            let outcome: Outcome = match self.pending.get(&token).map(|pending| &pending.asked) {
                Some(Asked::Read(..)) => one(completion.into_output::<op::Read<Tracked>>()),
                Some(Asked::Write(..)) => one(completion.into_output::<op::Write<Tracked>>()),
                Some(Asked::ReadVectors(..)) => completion.into_output::<op::ReadVectored<Tracked>>(),
                Some(Asked::WriteVectors(..)) => completion.into_output::<op::WriteVectored<Tracked>>(),
                Some(Asked::Sync) => (completion.into_output::<op::Sync>().map(|()| 0), Vec::new()),
                Some(Asked::Mode) => (completion.into_output::<op::SetMode>().map(|()| 0), Vec::new()),
                Some(Asked::Stat) => (self.stat(completion.into_output::<op::Stat>()), Vec::new()),
                _ => (completion.into_output::<op::Nop>().map(|()| 0), Vec::new()),
            };
            let again = self.sabotage == Sabotage::RepeatCompletion && self.next > OPERATIONS / 2;
            self.complete(token, outcome);
            if again {
                self.complete(token, (Ok(0), Vec::new()));
            }
        }
        self.completions = completions;
    }

    pub(crate) fn stat(&self, outcome: auraio::Result<auraio::Metadata>) -> Result<usize, Error> {
        outcome.map(|metadata| {
            assert_eq!(metadata.len(), FILE_BYTES as u64, "seed {}", self.seed);
            0
        })
    }

    pub(crate) fn poll_future(&mut self, token: u64) {
        fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
            Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
        }
        let Some(pending) = self.pending.get_mut(&token) else { return };
        let none = |outcome: auraio::Result<()>| (outcome.map(|()| 0), Vec::new());
        let polled: Poll<Outcome> = match &mut pending.waiting {
            Waiting::Port(_) => return,
            Waiting::Plain(future) => poll(future).map(none),
            Waiting::Sync(future) => poll(future).map(none),
            Waiting::Mode(future) => poll(future).map(none),
            Waiting::Read(future) => poll(future).map(one),
            Waiting::Write(future) => poll(future).map(one),
            Waiting::ReadVectors(future) => poll(future),
            Waiting::WriteVectors(future) => poll(future),
            Waiting::Stat(future) => match poll(future) {
                Poll::Ready(outcome) => Poll::Ready((self.stat(outcome), Vec::new())),
                Poll::Pending => Poll::Pending,
            },
        };
        if let Poll::Ready(outcome) = polled {
            self.complete(token, outcome);
        }
    }

    pub(crate) fn random_pending(&mut self) -> Option<u64> {
        let nth = self.rng.below(self.pending.len().max(1) as u64) as usize;
        self.pending.keys().nth(nth).copied()
    }

    pub(crate) fn cancel_one(&mut self) {
        let Some(token) = self.random_pending() else { return };
        let pending = self.pending.get_mut(&token).unwrap();
        pending.cancelled = true;
        match &pending.waiting {
            Waiting::Port(ticket) => self.port.cancel(*ticket),
            Waiting::Plain(future) => future.cancel(),
            Waiting::Sync(future) => future.cancel(),
            Waiting::Stat(future) => future.cancel(),
            Waiting::Mode(future) => future.cancel(),
            Waiting::Read(future) => future.cancel(),
            Waiting::Write(future) => future.cancel(),
            Waiting::ReadVectors(future) => future.cancel(),
            Waiting::WriteVectors(future) => future.cancel(),
        }
    }

    /// Drops a future. Its range stays in use: the operation goes on.
    pub(crate) fn give_up_one(&mut self) {
        let Some(token) = self.random_pending() else { return };
        if matches!(self.pending[&token].waiting, Waiting::Port(_)) {
            return;
        }
        let Pending { asked, waiting, may_go, .. } = self.pending.remove(&token).unwrap();
        may_go.store(true, Ordering::SeqCst);
        if let Asked::Write(file, at, bytes) | Asked::WriteVectors(file, at, bytes) = asked {
            self.disk.given_up.push((file, at, bytes));
        }
        drop(waiting);
    }
}
