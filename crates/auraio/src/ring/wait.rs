//! Waiting until something can be reaped, and what the loops are told of it.

use std::{sync::Arc, time::Duration};

use super::{Completion, Ring, State};
use crate::{
    backend::Wait,
    lanes,
    sys::{self, Descriptor},
};

impl Ring {
    /// Hands over all that is queued, stays until a completion can be reaped, an event ends the wait, or the time is over,
    /// and reaps for a port. Only for the one thread that a ring belongs to: on a shared ring somebody else may take the
    /// completion.
    pub(crate) fn wait_and_reap(
        self: &Arc<Self>,
        (wanted, timeout): (u32, Option<Duration>),
        also: Option<Descriptor>,
        port: u32,
        out: &mut Vec<Completion>,
    ) {
        if !self.inbox.is_empty() {
            self.read_letters();
        }
        let mut state = self.enter();
        state.pump();
        if state.workers.need_a_look() {
            state.watch_workers();
        }
        state.helper.flush();
        if state.only_kernel_ends_wait() {
            // Handing over and waiting are one system call.
            state.wait_in_kernel(wanted, timeout);
            self.reap_and_leave(state, Some(port), out);
            return;
        }
        state.flush();
        let idle = state.load.in_flight + state.helper.in_flight + state.lines.held > 0;
        // A kernel that is short of memory takes entries later: nothing rings for that.
        let timeout = if state.load.unsubmitted > 0 { Some(Duration::from_millis(1)) } else { timeout };
        self.leave_at_once(state);
        if idle {
            let all: Vec<_> = self.descriptors.iter().copied().chain(also).collect();
            let this = std::slice::from_ref(self);
            // An interrupted or failed poll is a wait that ended early, which every caller allows for.
            let _ = asleep(this, || sys::poll_readable(&all, timeout));
        }
        self.reap(Some(port), out);
    }

    /// The thread that reaps this ring goes to sleep until there is something to reap.
    pub(crate) fn falls_asleep(&self, now: u64) {
        if let Some(mut state) = self.access().enter() {
            state.meter.falls_asleep(now);
        }
    }

    /// It slept, and was woken just now.
    pub(crate) fn woke(&self, slept_from: u64, now: u64) {
        if let Some(mut state) = self.access().enter() {
            state.meter.woke(slept_from, now, true);
        }
    }
}

/// Sleeps, and tells the rings that the thread reaps: what completes meanwhile is seen as soon as it does.
pub(crate) fn asleep<T>(rings: &[Arc<Ring>], sleep: impl FnOnce() -> T) -> T {
    let working: Vec<&Arc<Ring>> = rings.iter().filter(|ring| ring.is_working() && ring.may_submit()).collect();
    if working.is_empty() {
        return sleep();
    }
    let began = lanes::now();
    working.iter().for_each(|ring| ring.falls_asleep(began));
    let slept = sleep();
    let ended = lanes::now();
    working.iter().for_each(|ring| ring.woke(began, ended));
    slept
}

/// How long a thread that waits in the kernel stays there where something may have to be done meanwhile.
const LOOK: Duration = Duration::from_millis(50);

impl State {
    /// Whether all that a wait can be for completes by itself, and in the kernel. A thread that waits there sees neither the
    /// helper's completions nor letters. A letter can be what ends an operation that otherwise waits for ever.
    fn only_kernel_ends_wait(&self) -> bool {
        let elsewhere = self.helper.in_flight + self.lines.held + self.load.endless;
        elsewhere == 0 && self.load.in_flight > 0 && !self.helper.takes_all
    }

    /// Hands over what is queued and waits in the same system call.
    fn wait_in_kernel(&mut self, wanted: u32, timeout: Option<Duration>) {
        // With more in line, each completion lets another go.
        let in_line = !self.lines.is_empty() || self.gate.waiting > 0;
        // An open may have to be cancelled, and workers may be stuck: a thread that waits here looks for that again soon.
        let looks = self.load.opening > 0 || self.workers.is_watching();
        let timeout = if looks { timeout.into_iter().chain([LOOK]).min() } else { timeout };
        let wanted = if in_line { 1 } else { wanted.clamp(1, self.load.in_flight) };
        if self.gate.in_flight == 0 {
            self.submit(Wait::AtLeast(wanted, timeout));
            return;
        }
        let began = lanes::now();
        self.meter.falls_asleep(began);
        self.submit(Wait::AtLeast(wanted, timeout));
        // What waited for others to complete was kept by the host, not by the device.
        self.meter.woke(began, lanes::now(), wanted == 1);
    }
}
