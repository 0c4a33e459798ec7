//! The three classes of operations.

/// How urgent an operation is, compared with the others of its lane.
///
/// `High` is for operations that somebody waits for, `Low` for those that may take their time, `Normal` for the rest. High
/// operations go first, but at most for 90 % of the work while others wait. Normal and low ones share the rest by weight. So
/// no class starves. The order applies to operations that wait behind the in-flight limit. For those that do not, it is a
/// hint to the kernel's I/O scheduler, if the device has one.
///
/// ```
/// use auraio_control::Priority;
///
/// assert_eq!(Priority::default(), Priority::Normal);
/// assert_eq!(Priority::High.name(), "high");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Goes first, up to 90 % of the work.
    High,
    /// The class of operations that say nothing else.
    #[default]
    Normal,
    /// Has the smaller weight, and fewer places in the device's queue while high operations are about.
    Low,
}

impl Priority {
    /// All classes, the most urgent first. Arrays with one element for each class have this order.
    ///
    /// ```
    /// use auraio_control::Priority;
    ///
    /// assert!(Priority::ALL.iter().enumerate().all(|(index, class)| class.index() == index));
    /// ```
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Its place in [`ALL`](Self::ALL).
    ///
    /// ```
    /// assert_eq!(auraio_control::Priority::Low.index(), 2);
    /// ```
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in options and statistics.
    ///
    /// ```
    /// use auraio_control::Priority;
    ///
    /// assert_eq!(Priority::ALL.map(Priority::name), ["high", "normal", "low"]);
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_says_nothing_is_normal() {
        assert_eq!(Priority::default(), Priority::Normal);
    }
}
