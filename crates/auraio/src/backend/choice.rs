//! Which backends there are to choose from.

/// Which backend performs the operations.
///
/// ```
/// use auraio::{BackendChoice, Engine};
///
/// let engine = Engine::builder().backend(BackendChoice::Threads).build()?;
/// assert_eq!(engine.backend().name(), "threads");
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum BackendChoice {
    /// `io_uring` if it works, else threads. If the environment variable `AURAIO_BACKEND` is set (`uring` or `threads`), it
    /// decides.
    #[default]
    Auto,
    /// The kernel's `io_uring`. It needs Linux 5.19 or later, and must not be forbidden by sysctl, seccomp or limits.
    Uring,
    /// A crew of threads that make plain system calls, on any platform.
    Threads,
    /// A simulated kernel for tests. From a seed, it reorders and delays operations, cuts transfers short, and refuses calls.
    /// Only with the cargo feature `sim`.
    #[cfg(feature = "sim")]
    Sim(super::sim::SimOptions),
}

/// The backend that performs the operations of an engine.
///
/// ```
/// let engine = auraio::Engine::builder().build()?;
/// println!("{}: {}", engine.backend().name(), engine.backend_reason());
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendKind {
    /// The kernel's `io_uring`.
    Uring,
    /// A crew of threads.
    Threads,
    /// The simulated kernel for tests. Only with the cargo feature `sim`.
    #[cfg(feature = "sim")]
    Sim,
}

impl BackendKind {
    /// Its name in options and statistics.
    ///
    /// ```
    /// assert_eq!(auraio::BackendKind::Uring.name(), "uring");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Threads => "threads",
            #[cfg(feature = "sim")]
            Self::Sim => "sim",
        }
    }
}
