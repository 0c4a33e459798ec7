//! What a file needs of those above it: of the engines that use it, and of the operations that wait for it.
//!
//! Both are traits, which the engine and the ring implement, so that a file knows neither.

use std::{
    any::Any,
    fmt, ptr,
    sync::{Arc, Mutex},
};

use crate::{
    lanes::{self, Lane, LaneMode, Wishes},
    lock,
    pool::Pool,
    sys::{Descriptor, FileFacts},
};

/// An engine, as far as its files need it.
pub(crate) trait Home: Any + Send + Sync {
    /// Where memory for transfers comes from.
    fn pool(&self) -> Pool;

    /// Takes one opening of a file out of the tables of all rings: as long as it is in one, the kernel keeps it open.
    fn forget_file(&self, descriptor: Descriptor, id: u64);

    /// Cancels operations on one opening of a file that could wait for ever, on all rings.
    fn cancel_file(&self, id: u64);

    /// Has somebody reap, even if nobody waits on this engine.
    fn reap_later(self: Arc<Self>);
}

/// Who opens a file: an engine, and what its user wishes of the devices.
#[derive(Clone)]
pub(crate) struct Opener {
    home: Arc<dyn Home>,
    client: Arc<Wishes>,
}

impl Opener {
    pub(crate) fn new(home: Arc<dyn Home>, client: Arc<Wishes>) -> Self {
        Self { home, client }
    }

    pub(crate) const fn home(&self) -> &Arc<dyn Home> {
        &self.home
    }

    pub(crate) const fn client(&self) -> &Arc<Wishes> {
        &self.client
    }

    pub(super) fn pool(&self) -> Pool {
        self.home.pool()
    }

    /// The lane that a file opened here is on, which hears this opener's wishes from now on.
    pub(super) fn lane_of(&self, facts: &FileFacts) -> Option<Arc<Lane>> {
        // Pipes, sockets and terminals wait for somebody else, not for a device.
        if !(facts.seekable && facts.regular) {
            return None;
        }
        let mode = if facts.direct { LaneMode::Direct } else { LaneMode::Buffered };
        let lane = lanes::lane_of(facts.dev, facts.mount, mode)?;
        self.client.use_lane(&lane);
        Some(lane)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

/// The engines that use a file.
pub(super) struct Homes {
    opener: Opener,
    /// Where the opener's engine lies. It is kept beside the engine because a submission compares it, and to ask a trait object
    /// for it takes longer.
    address: usize,
    /// Other engines that have used the file.
    users: Mutex<Vec<Arc<dyn Home>>>,
}

impl Homes {
    pub(super) fn new(opener: Opener) -> Self {
        Self { address: Arc::as_ptr(&opener.home).addr(), opener, users: Mutex::default() }
    }

    pub(super) const fn opener(&self) -> &Opener {
        &self.opener
    }

    /// Whether this engine opened the file.
    #[inline(always)]
    pub(super) fn is_first<H: Home>(&self, home: &Arc<H>) -> bool {
        self.address == Arc::as_ptr(home).addr()
    }

    /// Adds an engine that is not there yet.
    pub(super) fn add<H: Home>(&self, home: &Arc<H>) {
        let mut users = lock(&self.users);
        if !users.iter().any(|user| ptr::addr_eq(Arc::as_ptr(user), Arc::as_ptr(home))) {
            users.push(Arc::clone(home) as Arc<dyn Home>);
        }
    }

    /// The engines that use the file beside the one that opened it.
    pub(super) fn users(&self) -> Vec<Arc<dyn Home>> {
        lock(&self.users).clone()
    }

    /// Does something with every engine that uses the file, while no lock is held.
    pub(super) fn each(&self, act: impl Fn(&Arc<dyn Home>)) {
        act(&self.opener.home);
        self.users().iter().for_each(act);
    }
}

/// A ring, as far as those need it that hold up its operations.
pub(crate) trait Resume: Send + Sync {
    /// Starts an operation that was held, from any thread.
    fn resume(self: Arc<Self>, key: u64);
}

/// An operation that waits for a file: for its turn at the file's own position, or to close it.
pub(crate) struct Waiting {
    ring: Arc<dyn Resume>,
    key: u64,
}

impl Waiting {
    pub(crate) fn new(ring: Arc<dyn Resume>, key: u64) -> Self {
        Self { ring, key }
    }

    /// What it waited for has come.
    pub(crate) fn start(self) {
        self.ring.resume(self.key);
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("key", &self.key).finish_non_exhaustive()
    }
}
