//! Linked operations, each of which starts when the one before it has done all that it was asked to.

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

/// A chain to be submitted: as one unit, in order.
///
/// A step that fails, and a read that comes to the end of its file early, cancel the steps behind them. A short write
/// does not: the engine writes the rest first. So a write that is followed by a sync means that what was acknowledged is
/// on the disk, in one system call.
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
    /// Begins a chain.
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
    /// [`Error::InvalidInput`] when the chain has no step or more than 32, or one that cannot be linked: at a file's own
    /// position, a close (it waits for the file's other users), more than one call can move, or [`op::ReadPath`](crate::op::ReadPath),
    /// which is a chain already. What makes a step refuse by itself (a path with a NUL) is that step's result, and so is
    /// `EINVAL` for a transfer that is not aligned on a file opened with [`OpenOptions::direct`](crate::OpenOptions::direct):
    /// it takes several calls. Then no step is performed.
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
        // A transfer of nothing is nothing, but keeps its place.
        for step in steps.iter_mut().filter(|step| step.early.is_some()) {
            step.call = Call::Nop;
        }
        let ring = engine.ring_here()?;
        let key = ring.submit_chain(steps);
        Ok(ChainFuture { engine, state: Stage::UnderWay(ring, key) })
    }
}

/// The results of a chain of which a step was refused before anything was done.
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

/// A chain that was queued; it answers the [`ChainResults`]. Dropped, the chain goes on.
///
/// # Panics
/// When it is polled again after it was ready.
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

/// What the steps of a chain gave, to be taken in order.
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
    /// The result of the next step, which is an `O`. A step that was cancelled because one before it failed answers
    /// `ECANCELED` in its [`Error`].
    ///
    /// # Panics
    /// If there is no further step, or it is not an `O`.
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

    /// Whether every step that is left succeeded.
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

    /// The place of the first step, of those that are left, that failed by itself.
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
