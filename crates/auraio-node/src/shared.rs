//! Engines that the environments of a process share.
//!
//! A process may have many JavaScript environments (the main thread and Workers), each with its own ports. They share
//! the crew of threads, and with routing `core` also the rings of the cores. So this file keeps one engine for each set
//! of options, for as long as the process lives. Such an engine keeps no ring that nobody uses, except the rings of the
//! cores.
//!
//! The wishes for the control loops are not among these options. Each port has the shared engine with wishes of its own
//! (`Engine::with_control`), on the same rings.

use std::sync::{Mutex, PoisonError};

use auraio::{BackendChoice, Engine, Error, Routing};

/// The options that two environments must have in common to share an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) backend: String,
    pub(crate) routing: String,
    pub(crate) queue_depth: u32,
    /// 0 means that the core finds it.
    pub(crate) submit_batch: u32,
    pub(crate) register: bool,
}

static ENGINES: Mutex<Vec<(Key, Engine)>> = Mutex::new(Vec::new());

/// Answers the engine for these options, and makes it if there is none.
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
