//! Chains: linked operations, each of which starts when the one before it has done all that it was asked to do.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    Engine, Error, Result,
    engine::Shared,
    op::{Done, Operation, Prepared},
    ring::{ChainKey, Ring},
    sys::{Call, errno},
};

/// The most operations of one chain.
const CHAIN_MAX: usize = 32;

/// A chain of operations. It is submitted as one unit, and its steps are performed in order.
///
/// If a step fails, or a read meets the end of its file early, the steps behind it are cancelled. A short write cancels
/// nothing: the engine first writes the rest. So a write and a sync in one chain are one system call, and when the chain has
/// succeeded, the data is on the disk.
///
/// ```
/// use auraio::{Engine, OpenOptions, op};
///
/// let path = std::env::temp_dir().join(format!("auraio-chain-{}", std::process::id()));
/// let engine = Engine::builder().build()?;
/// engine.block_on(async {
///     let file = engine.open(&path, OpenOptions::new().write(true).create(true)).await?;
///     let chain = engine.chain().then(op::Write::at(&file, "durable", 0)).then(op::Sync::data(&file));
///     let mut results = chain.submit()?.await;
///     assert_eq!(results.take::<op::Write<&'static str>>().0?, 7);
///     results.take::<op::Sync>()?;
///     file.close().await?;
///     engine.remove_file(&path).await
/// })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[must_use = "a chain does nothing until it is submitted"]
pub struct Chain {
    engine: Arc<Shared>,
    steps: Vec<Prepared>,
}

impl Engine {
    /// Makes a chain without steps.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// let results = engine.block_on(engine.chain().then(op::Nop).then(op::Nop).submit()?);
    /// assert!(results.all_succeeded());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn chain(&self) -> Chain {
        Chain { engine: self.shared(), steps: Vec::new() }
    }
}

impl Chain {
    /// Adds a step.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// let chain = engine.chain().then(op::Nop).then(op::Stat::path("Cargo.toml"));
    /// let mut results = engine.block_on(chain.submit()?);
    /// results.take::<op::Nop>()?;
    /// assert!(results.take::<op::Stat>()?.is_file());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn then<O: Operation>(mut self, operation: O) -> Self {
        self.steps.push(operation.prepare());
        self
    }

    /// Queues the chain.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the chain has no step or more than 32, or if one of these is among them, which cannot be
    /// linked:
    /// - an operation at a file's own position;
    /// - a close, because it waits for the file's other users;
    /// - a transfer of more bytes than one call can move;
    /// - an [`op::ReadPath`](crate::op::ReadPath), because it is a chain already.
    ///
    /// If a step's argument is refused, such as a path with a NUL, the error is that step's result, and no step is
    /// performed. The same holds for a transfer that is not aligned on a file opened with
    /// [`OpenOptions::direct`](crate::OpenOptions::direct): it would take several calls, so its result is `EINVAL`.
    ///
    /// ```
    /// use auraio::{Error, op};
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// assert!(matches!(engine.chain().submit(), Err(Error::InvalidInput(_)))); // no step
    /// let under_way = engine.chain().then(op::Nop).submit()?;
    /// assert!(engine.block_on(under_way).all_succeeded());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn submit(self) -> Result<ChainFuture> {
        let Self { engine, mut steps } = self;
        if steps.is_empty() || steps.len() > CHAIN_MAX {
            return Err(Error::InvalidInput("a chain has 1 to 32 steps"));
        }
        let linkable =
            |step: &Prepared| !step.cursor && step.closing.is_none() && step.more.is_none() && step.call.entries() == 1;
        if !steps.iter().all(linkable) {
            return Err(Error::InvalidInput("a step of the chain cannot be linked"));
        }
        for step in &mut steps {
            engine.admit(step);
            if step.early.is_none() && step.must_bounce() {
                step.early = Some(Err(Box::new(Error::os(errno::EINVAL, step.call.name()))));
            }
        }
        if steps.iter().any(|step| matches!(step.early, Some(Err(_)))) {
            return Ok(ChainFuture { state: Stage::Early(refuse(steps)), engine });
        }
        // A transfer of no bytes becomes a NOP, so that its result keeps its place in the chain.
        for step in steps.iter_mut().filter(|step| step.early.is_some()) {
            step.call = Call::Nop;
        }
        let ring = engine.ring_here()?;
        let key = ring.submit_chain(steps);
        Ok(ChainFuture { engine, state: Stage::UnderWay(ring, key) })
    }
}

/// The results of a chain of which a step was refused. None of its steps is performed.
fn refuse(steps: Vec<Prepared>) -> VecDeque<Done> {
    steps
        .into_iter()
        .map(|mut step| {
            let outcome = step
                .early
                .take()
                .filter(std::result::Result::is_err)
                .unwrap_or_else(|| Err(Box::new(Error::Cancelled)));
            Done::early(step, outcome)
        })
        .collect()
}

/// A chain that was submitted. Awaited, it gives the [`ChainResults`]. If it is dropped, the chain goes on.
///
/// # Panics
/// If it is polled again after it was ready.
///
/// ```
/// use auraio::op;
///
/// # let engine = auraio::Engine::builder().build()?;
/// let under_way = engine.chain().then(op::Nop).submit()?;
/// engine.block_on(async { under_way.await.take::<op::Nop>() })?;
/// # Ok::<(), auraio::Error>(())
/// ```
#[must_use = "the chain is under way, but nobody looks at its results"]
pub struct ChainFuture {
    engine: Arc<Shared>,
    state: Stage,
}

enum Stage {
    UnderWay(Arc<Ring>, ChainKey),
    Early(VecDeque<Done>),
    Fetched,
}

impl Future for ChainFuture {
    type Output = ChainResults;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The state stays as it is until there are results: a waker that panics when it is cloned must not lose the chain.
        if let Stage::UnderWay(ring, key) = &self.state {
            self.engine.hand_over(ring);
            let Poll::Ready(steps) = ring.poll_chain(*key, context) else {
                self.engine.ensure_driven();
                return Poll::Pending;
            };
            self.state = Stage::Early(steps.into());
        }
        match std::mem::replace(&mut self.state, Stage::Fetched) {
            Stage::Early(steps) => Poll::Ready(ChainResults { steps }),
            Stage::UnderWay(..) | Stage::Fetched => unreachable!("a future is not polled again after it was ready"),
        }
    }
}

impl Drop for ChainFuture {
    fn drop(&mut self) {
        if let Stage::UnderWay(ring, key) = std::mem::replace(&mut self.state, Stage::Fetched) {
            ring.abandon_chain(key);
            self.engine.ensure_driven();
        }
    }
}

/// The results of a chain's steps. They are taken in order.
///
/// ```
/// use auraio::{OpenOptions, op};
///
/// # let engine = auraio::Engine::builder().build()?;
/// let file = engine.block_on(engine.open("Cargo.toml", OpenOptions::new().read(true)))?;
/// let past_the_end = op::Read::at(&file, vec![0; 9], u64::from(u32::MAX));
/// let mut results = engine.block_on(engine.chain().then(past_the_end).then(op::Nop).submit()?);
/// assert_eq!(results.take::<op::Read<Vec<u8>>>().0?, 0); // nothing to read there
/// assert_eq!(results.take::<op::Nop>().unwrap_err().errno(), 125); // ECANCELED
/// # Ok::<(), auraio::Error>(())
/// ```
pub struct ChainResults {
    steps: VecDeque<Done>,
}

impl ChainResults {
    /// Takes the result of the next step, which is an `O`. If the step was cancelled because one before it failed, its
    /// [`Error`] has the errno `ECANCELED`.
    ///
    /// # Panics
    /// If there is no further step, or if it is not an `O`.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// let mut results = engine.block_on(engine.chain().then(op::Stat::path("src")).submit()?);
    /// assert!(results.take::<op::Stat>()?.is_dir());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn take<O: Operation>(&mut self) -> O::Output {
        let Some(done) = self.steps.pop_front() else { panic!("the chain has no further step") };
        O::finish(done)
    }

    /// Whether every step whose result has not been taken succeeded.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let engine = auraio::Engine::builder().build()?;
    /// let results = engine.block_on(engine.chain().then(op::Nop).then(op::Nop).submit()?);
    /// assert!(results.all_succeeded());
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn all_succeeded(&self) -> bool {
        self.steps.iter().all(|done| done.result >= 0)
    }

    /// The index, among the steps whose results have not been taken, of the first that failed by itself.
    ///
    /// ```
    /// use auraio::op;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = auraio::Engine::builder().build()?;
    /// let missing = dir.path().join("missing");
    /// let chain = engine.chain().then(op::Nop).then(op::RemoveFile::new(missing)).then(op::Nop);
    /// let results = engine.block_on(chain.submit()?);
    /// assert_eq!(results.first_failure(), Some(1));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn first_failure(&self) -> Option<usize> {
        let failed = |done: &Done| done.result < 0 && done.result != -i64::from(errno::ECANCELED);
        self.steps.iter().position(failed)
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("steps", &self.steps.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ChainFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for ChainResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainResults").field("steps", &self.steps.len()).finish_non_exhaustive()
    }
}
