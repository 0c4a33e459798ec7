//! The three classes that operations are served in.

/// How urgent an operation is, beside the others of its lane.
///
/// `High` is for what somebody waits for, `Low` for what may take its time, `Normal` for the rest. What is `High` goes
/// first, within a bound that leaves the others a share; `Normal` and `Low` share what is left by weight, so none starves.
/// The order acts where operations wait behind the in-flight limit. Beyond that it is a hint to the kernel's scheduler,
/// where there is one that heeds it.
///
/// ```
/// use auraio_control::Priority;
///
/// assert_eq!(Priority::default(), Priority::Normal);
/// assert_eq!(Priority::High.name(), "high");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// First, within a bound.
    High,
    /// What operations have that say nothing.
    #[default]
    Normal,
    /// With the smaller weight, and with fewer places in the device's queue while something `High` is about.
    Low,
}

impl Priority {
    /// All of them, the most urgent first: the order of arrays that have one element for each.
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
