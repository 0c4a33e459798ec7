//! The limit that was asked for, whatever happens.

use crate::{
    Phase,
    law::{Event, Law, Shared},
};

/// A limit that only the bounds move. It does not keep the guard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    /// What was asked for.
    wanted: u32,
    /// What of it the bounds allow.
    limit: u32,
}

impl Fixed {
    pub(crate) fn new(wanted: u32, shared: &Shared) -> Self {
        Self { wanted, limit: shared.bounds.clamp(wanted) }
    }
}

impl Law for Fixed {
    fn limit(&self) -> u32 {
        self.limit
    }

    fn phase(&self) -> Phase {
        Phase::Fixed
    }

    fn on_completion(&mut self, _event: &Event, _shared: &mut Shared) {}

    fn bounds_or_guard_changed(&mut self, _now: u64, shared: &Shared) {
        self.limit = shared.bounds.clamp(self.wanted);
    }
}
