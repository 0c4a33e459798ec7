//! The rings of an engine: which one a thread uses, and how one is made.

use std::{
    cell::RefCell,
    sync::{Arc, OnceLock, Weak, atomic::Ordering},
};

use super::Shared;
#[cfg(feature = "sim")]
use crate::BackendChoice;
#[cfg(any(target_os = "linux", feature = "sim"))]
use crate::backend;
use crate::{
    BackendKind, Error, Result, Routing,
    backend::{AnyBackend, threads::ThreadsBackend},
    lock, op,
    pool::SlabHolder,
    ring::{Ring, RingSpec, ThreadMark},
    sys, topology,
};

// While a thread ends, destructors of its other locals may still use an engine, and find this one gone. So everybody who looks
// at it does so by `try_with`, and has an answer for that case.
thread_local! {
    /// The rings of this thread's own, by engine.
    static OWN: RefCell<Vec<OwnRing>> = const { RefCell::new(Vec::new()) };
}

/// A thread's own ring of one engine. When the thread ends, the engine takes the ring over if it is busy.
struct OwnRing {
    engine: u64,
    shared: Weak<Shared>,
    ring: Arc<Ring>,
}

impl Drop for OwnRing {
    fn drop(&mut self) {
        // An engine that has ended has already given its rings up, and takes nothing over.
        if let Some(engine) = self.shared.upgrade() {
            engine.take_over(&self.ring);
        }
    }
}

impl Shared {
    pub(super) fn ring_of_core(&self) -> Result<Arc<Ring>> {
        let cpu = topology::current_cpu().min(self.topology.cpu_max());
        let place = &self.cores[cpu as usize];
        if let Some(ring) = place.get() {
            return Ok(Arc::clone(ring));
        }
        let _making = lock(&self.making);
        if place.get().is_none() {
            let ring = match self.make_ring(cpu, None) {
                Ok(ring) => ring,
                // No descriptor or memory is left for another ring: that of another core serves this one too, for now.
                Err(error) => return self.cores.iter().find_map(OnceLock::get).map(Arc::clone).ok_or(error),
            };
            let _ = place.set(ring);
            self.tell_driver();
        }
        place.get().map(Arc::clone).ok_or(Error::EngineClosed)
    }

    pub(super) fn ring_of_thread(self: &Arc<Self>) -> Result<Arc<Ring>> {
        if let Some(ring) = self.own_ring() {
            return Ok(ring);
        }
        // Any thread may poll a future, so any may have to submit to this ring, one at a time.
        let ring = self.make_own(None)?;
        let keep = |own: &RefCell<Vec<OwnRing>>| {
            let (shared, ring) = (Arc::downgrade(self), Arc::clone(&ring));
            own.borrow_mut().push(OwnRing { engine: self.id, shared, ring });
        };
        if OWN.try_with(keep).is_err() {
            // This thread is ending and keeps nothing any more, so the engine does.
            self.others.leftover.keep(Arc::clone(&ring));
        }
        Ok(ring)
    }

    /// This thread's own ring of this engine, if it has one.
    fn own_ring(&self) -> Option<Arc<Ring>> {
        let mine = |own: &RefCell<Vec<OwnRing>>| {
            own.borrow().iter().find(|own| own.engine == self.id).map(|own| Arc::clone(&own.ring))
        };
        OWN.try_with(mine).ok().flatten()
    }

    /// The thread of a ring ends. If something is in flight there, the engine reaps it from now on.
    fn take_over(self: &Arc<Self>, ring: &Arc<Ring>) {
        if ring.is_idle() {
            return;
        }
        self.others.leftover.keep(Arc::clone(ring));
        self.have_driven(ring);
    }

    /// A ring of one thread's or port's own.
    pub(crate) fn make_own(&self, single_issuer: Option<ThreadMark>) -> Result<Arc<Ring>> {
        let cpu = topology::current_cpu().min(self.topology.cpu_max());
        let ring = self.make_ring(cpu, single_issuer)?;
        let mut others = lock(&self.others.rings);
        others.retain(|ring| ring.strong_count() > 0);
        others.push(Arc::downgrade(&ring));
        drop(others);
        self.tell_driver();
        Ok(ring)
    }

    fn make_ring(&self, cpu: u32, single_issuer: Option<ThreadMark>) -> Result<Arc<Ring>> {
        let depth = self.options.queue_depth;
        let threads = || {
            ThreadsBackend::new(Arc::clone(&self.crew), depth)
                .map_err(|error| Error::os(error.raw_os_error().unwrap_or(sys::errno::EMFILE), "eventfd"))
        };
        #[cfg(feature = "sim")]
        let mut simulated = None;
        let main = match (&self.options.backend, self.backend) {
            #[cfg(feature = "sim")]
            (BackendChoice::Sim(sim), _) => {
                // Each ring has a seed of its own that follows from the engine's.
                let nth = self.seeds.fetch_add(1, Ordering::Relaxed);
                let sim = sim.for_ring(nth, depth);
                simulated = Some(sim.clone());
                backend::sim_backend(sim)
            }
            #[cfg(target_os = "linux")]
            (_, BackendKind::Uring) => {
                let spec = backend::uring::UringSpec {
                    in_flight_max: depth,
                    single_issuer: single_issuer.is_some(),
                    kernel_poll_ms: self
                        .options
                        .kernel_poll
                        .map(|idle| u32::try_from(idle.as_millis()).unwrap_or(1000)),
                };
                match backend::uring::UringBackend::new(spec) {
                    Ok(uring) => AnyBackend::Uring(uring),
                    // The probe worked, so this is a limit that was met since (descriptors, locked memory): threads
                    // serve this ring.
                    Err(_) => AnyBackend::Threads(threads()?),
                }
            }
            _ => AnyBackend::Threads(threads()?),
        };
        #[cfg_attr(not(feature = "sim"), expect(unused_mut, reason = "only the simulator changes it"))]
        let mut helper = if self.backend == BackendKind::Threads { None } else { Some(threads()?) };
        #[cfg(feature = "sim")]
        if let (Some(helper), Some(sim)) = (&mut helper, simulated) {
            helper.simulate(sim);
        }
        let spec = RingSpec {
            cpu,
            numa_node: self.topology.node_of(cpu).unwrap_or(0),
            in_flight_max: depth,
            submit_batch: self.options.batch_policy(),
            flush_budget: self.options.flush_budget,
            heavy_max: op::route::heavy_max(self.topology.cpus().len()),
            single_issuer,
            register: self.options.register,
        };
        let ring = Ring::new(spec, main, helper, self.options.pool, Arc::clone(&self.regions));
        self.others.made.fetch_add(1, Ordering::Release);
        let holder = Arc::downgrade(&ring);
        self.options.pool.add_holder(holder as Weak<dyn SlabHolder>);
        Ok(ring)
    }

    /// The ring that a submission made here would go to, if there is one yet.
    pub(super) fn ring_if_any(&self) -> Option<Arc<Ring>> {
        match self.routing() {
            Routing::Core => {
                let cpu = topology::current_cpu().min(self.topology.cpu_max());
                self.cores[cpu as usize].get().map(Arc::clone)
            }
            Routing::Thread => self.own_ring(),
        }
    }

    /// Lets go of this thread's own ring of this engine, which ends.
    pub(super) fn let_go_of_own(&self) {
        let id = self.id;
        // Other threads let go of their ring of this engine when they end, or when they next make one.
        let mine = |own: &RefCell<Vec<OwnRing>>| {
            let mut own = own.borrow_mut();
            own.iter().position(|own| own.engine == id).map(|at| own.swap_remove(at))
        };
        // The ring ends after the list is let go of: with it go buffers of the caller's, whose ends may use other engines.
        drop(OWN.try_with(mine));
    }
}
