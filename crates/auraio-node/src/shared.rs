//! Engines that the environments of a process share.
//!
//! A process may have many JavaScript environments (the main thread, Workers), each with its own port. With routing `core`
//! they must share the rings of the cores, and in every case the crew of threads: so engines are kept here, one for each
//! set of options, for as long as the process lives. They hold no ring that nobody uses but those of the cores.
//!
//! What an environment asks of the loops that govern depth is not one of these options: it has the engine with wishes of its
//! own (`Engine::with_control`), on the same rings.

use std::sync::{Mutex, PoisonError};

use auraio::{BackendChoice, Engine, Error, Routing};

/// What distinguishes one engine from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) backend: String,
    pub(crate) routing: String,
    pub(crate) queue_depth: u32,
    /// 0: tuned.
    pub(crate) submit_batch: u32,
    pub(crate) register: bool,
}

static ENGINES: Mutex<Vec<(Key, Engine)>> = Mutex::new(Vec::new());

/// The engine for these options.
pub(crate) fn engine(key: Key) -> Result<Engine, Error> {
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    engines.retain(|(other, engine)| *other != key || !engine.is_outdated());
    if let Some((_, engine)) = engines.iter().find(|(other, _)| *other == key) {
        return Ok(engine.clone());
    }
    let backend = match key.backend.as_str() {
        "auto" => BackendChoice::Auto,
        "uring" => BackendChoice::Uring,
        "threads" => BackendChoice::Threads,
        _ => return Err(Error::InvalidInput("backend must be 'auto', 'uring' or 'threads'")),
    };
    let routing = match key.routing.as_str() {
        "core" => Routing::Core,
        "thread" => Routing::Thread,
        _ => return Err(Error::InvalidInput("routing must be 'core' or 'thread'")),
    };
    let builder =
        Engine::builder().backend(backend).routing(routing).queue_depth(key.queue_depth).register(key.register);
    let engine = if key.submit_batch == 0 { builder } else { builder.submit_batch(key.submit_batch) }.build()?;
    engines.push((key, engine.clone()));
    Ok(engine)
}
