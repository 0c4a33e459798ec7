//! Which class is served next (to be replaced).

use super::Priority;

/// x
#[derive(Clone, Debug, Default)]
pub struct Classes {}

impl Classes {
    /// x
    pub fn pick(&mut self, waiting: [u32; 3]) -> Option<Priority> {
        Priority::ALL.into_iter().find(|class| waiting[class.index()] > 0)
    }
}
