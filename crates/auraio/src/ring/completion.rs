//! What a ring hands to a port.

use crate::op::{Done, Operation};

/// What became of an operation that a port took.
///
/// ```
/// use auraio::op;
///
/// # let engine = auraio::Engine::builder().build()?;
/// # let mut port = engine.port()?;
/// port.submit(op::Stat::path("Cargo.toml"), 7);
/// let mut completions = Vec::new();
/// port.wait(&mut completions, None);
/// for completion in completions {
///     match completion.token() {
///         7 => assert!(completion.into_output::<op::Stat>()?.is_file()),
///         other => unreachable!("no operation has the token {other}"),
///     }
/// }
/// # Ok::<(), auraio::Error>(())
/// ```
#[derive(Debug)]
pub struct Completion {
    pub(crate) token: u64,
    pub(crate) done: Done,
}

impl Completion {
    /// The token that the operation was submitted with.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.submit(op::Nop, 7);
    /// let mut completions = Vec::new();
    /// port.wait(&mut completions, None);
    /// assert_eq!(completions[0].token(), 7);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn token(&self) -> u64 {
        self.token
    }

    /// The result as the kernel gives it: zero or more, or a negated errno. It says the same as the typed result, which
    /// alone gives back what the operation owned.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.submit(op::RemoveFile::new("no such file"), 7);
    /// let mut completions = Vec::new();
    /// port.wait(&mut completions, None);
    /// assert_eq!(completions[0].raw_result(), -2); // ENOENT
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn raw_result(&self) -> i64 {
        self.done.result
    }

    /// The typed result of the operation, which was an `O`.
    ///
    /// # Panics
    /// If it was another operation.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// # let mut port = engine.port()?;
    /// port.submit(op::ReadPath::new("Cargo.toml", vec![0; 9]), 7);
    /// let mut completions = Vec::new();
    /// port.wait(&mut completions, None);
    /// let (read, buffer) = completions.remove(0).into_output::<op::ReadPath<Vec<u8>>>();
    /// assert_eq!(&buffer[..read?], b"[package]");
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn into_output<O: Operation>(self) -> O::Output {
        O::finish(self.done)
    }
}
