//! The outer loop of one lane, and the rings and clients that share its limit. The lane's lock guards all of it.

use std::sync::{Arc, Weak, atomic::Ordering};

use hdrhistogram::Histogram;

use super::{
    Disk, LaneId, LaneMode, Place, Report, Wishes, log,
    seen::Seen,
    stats::{HistogramKind, LaneStats},
    wishes,
};
use crate::control::{self, Controller, Foreground, Member, Priority, RingPlaces, Settings, Shares};

/// A ring that uses the lane.
struct Ringed {
    member: Member,
    place: Place,
    in_flight: u32,
    waiting: [u32; 3],
    /// When the ring last reported a high operation.
    last_high: Option<u64>,
}

pub(super) struct Governor {
    id: LaneId,
    controller: Controller,
    shares: Shares,
    foreground: Foreground,
    rings: Vec<Option<Ringed>>,
    clients: Vec<Weak<Wishes>>,
    seen: Seen,
    /// Sums of what the rings reported.
    in_flight: u32,
    waiting: u32,
    batch: u32,
    sqe_per_enter: f64,
    /// The time of the latest report.
    now: u64,
    /// Every ring's places, in the order of `rings`: kept here so that a report allocates nothing.
    divided: Vec<RingPlaces>,
}

impl Governor {
    pub(super) fn new(id: LaneId, settings: Settings) -> Self {
        let controller = Controller::new(settings);
        Self {
            id,
            shares: Shares::new(controller.limit()),
            controller,
            foreground: Foreground::default(),
            rings: Vec::new(),
            clients: Vec::new(),
            seen: Seen::new(),
            in_flight: 0,
            waiting: 0,
            batch: 0,
            sqe_per_enter: 0.0,
            now: 0,
            divided: Vec::new(),
        }
    }

    pub(super) fn join(&mut self, capacity: u32) -> (u32, Place) {
        let member = self.shares.join(capacity);
        let place = Place::default();
        let at = self.rings.iter().position(Option::is_none).unwrap_or(self.rings.len());
        if at == self.rings.len() {
            self.rings.push(None);
        }
        self.rings[at] =
            Some(Ringed { member, place: Arc::clone(&place), in_flight: 0, waiting: [0; 3], last_high: None });
        self.tell();
        (at as u32, place)
    }

    pub(super) fn leave(&mut self, ring: u32) {
        let Some(gone) = self.rings.get_mut(ring as usize).and_then(Option::take) else { return };
        self.in_flight -= gone.in_flight;
        self.waiting -= gone.waiting.iter().sum::<u32>();
        self.shares.leave(gone.member);
        self.tell();
    }

    /// Takes a ring's report. Answers whether some ring lacks places that another ring has.
    pub(super) fn report(&mut self, report: Report<'_>) -> bool {
        let Some(Some(ring)) = self.rings.get_mut(report.member as usize) else { return false };
        let waiting: u32 = report.waiting.iter().sum();
        self.in_flight = self.in_flight - ring.in_flight + report.in_flight;
        self.waiting = self.waiting - ring.waiting.iter().sum::<u32>() + waiting;
        ring.in_flight = report.in_flight;
        ring.waiting = report.waiting;
        let is_high = |sample: &super::Sample| sample.class == Priority::High;
        if report.waiting[Priority::High.index()] > 0 || report.samples.iter().any(is_high) {
            ring.last_high = Some(report.now);
        }
        let member = ring.member;
        ring.place.others.store(self.in_flight - report.in_flight, Ordering::Relaxed);
        (self.batch, self.sqe_per_enter) = (report.batch, report.sqe_per_enter);
        self.seen.hits += report.hits;
        // Low operations that are held back for high ones are reported as not waiting; otherwise the outer loop would raise
        // the limit for them.
        let held_back = self.foreground.holds_back(report.now, self.shares.limit());
        let (others, others_waiting) = (self.in_flight - report.in_flight, self.waiting - waiting);
        for sample in report.samples.drain(..) {
            self.seen.record(&sample);
            if sample.class == Priority::High {
                self.foreground.on_high(sample.now, sample.submitted, sample.in_flight_then <= 1);
            }
            self.controller.on_completion(&control::Sample {
                now: sample.now,
                submitted: sample.submitted,
                // The samples of one reap completed one after the other, and the program asks again only after the reap.
                in_flight: (others + sample.in_flight).saturating_sub(1),
                waiting: if held_back { 0 } else { others_waiting + sample.waiting },
                unseen: sample.unseen,
                in_flight_then: sample.in_flight_then,
                work: sample.work(),
            });
        }
        self.shares.report(member, report.in_flight, waiting, report.now);
        self.controller.set_least(self.shares.busy(), report.now);
        self.after_decisions(report.now);
        self.shares.is_contended()
    }

    pub(super) fn add_client(&mut self, wishes: &Arc<Wishes>) {
        self.clients.push(Arc::downgrade(wishes));
    }

    /// Makes one setting of the wishes of all clients, and gives it to the loop. Answers the clients: the caller drops them
    /// after it has let go of the lane's lock, because a client whose last share is dropped takes that lock.
    pub(super) fn reconsider(&mut self, now: u64) -> Vec<Arc<Wishes>> {
        self.clients.retain(|client| client.strong_count() > 0);
        let clients: Vec<_> = self.clients.iter().filter_map(Weak::upgrade).collect();
        // Without clients the settings stay, so that the next client begins with what the loop has found.
        if !clients.is_empty() {
            let settings = wishes::together(&clients.iter().map(|client| client.get()).collect::<Vec<_>>());
            if settings != *self.controller.settings() {
                self.controller.set(settings, now);
                self.after_decisions(now);
            }
        }
        clients
    }

    /// Logs what the loop decided, and divides its limit among the rings.
    fn after_decisions(&mut self, now: u64) {
        while let Some(decision) = self.controller.next_decision() {
            log::note(self.id, decision);
        }
        self.shares.set_limit(self.controller.limit());
        self.now = now;
        self.tell();
    }

    /// Writes every ring's share where the ring reads it. An unchanged value is not written, so that the ring's cache line
    /// stays on its core.
    fn tell(&mut self) {
        let shares = &self.shares;
        self.divided.clear();
        self.divided.extend(self.rings.iter().flatten().map(|ring| RingPlaces {
            share: shares.share(ring.member),
            last_high: ring.last_high,
            low: 0,
        }));
        self.foreground.divide(self.now, &mut self.divided);
        for (ring, places) in self.rings.iter().flatten().zip(&self.divided) {
            let place = &ring.place;
            for (told, value) in [(&place.share, places.share), (&place.share_low, places.low)] {
                if told.load(Ordering::Relaxed) != value {
                    told.store(value, Ordering::Relaxed);
                }
            }
        }
    }

    pub(super) fn histogram(&self, kind: HistogramKind) -> Histogram<u64> {
        self.seen.histogram(kind)
    }

    pub(super) fn stats(&self, disk: &Disk, mode: LaneMode) -> LaneStats {
        let completion = self.seen.completion();
        let waiting = |class: Priority| self.rings.iter().flatten().map(|ring| ring.waiting[class.index()]).sum();
        LaneStats {
            id: self.id,
            device: disk.name.clone(),
            mode,
            policy: self.controller.settings().policy.name(),
            phase: self.controller.phase().name(),
            in_flight_limit: self.controller.limit(),
            in_flight: self.in_flight,
            queued: self.waiting,
            submit_batch: self.batch,
            sqe_per_enter: self.sqe_per_enter,
            guard_p99_ms: self.controller.guard_ns() as f64 / 1e6,
            guard_infeasible: self.controller.is_infeasible(),
            guard_cuts: self.controller.cuts(),
            completed: self.seen.completed,
            bytes: self.seen.bytes,
            cache_hits: self.seen.hits,
            completion_p50_us: completion.p50,
            completion_p99_us: completion.p99,
            completion_p999_us: completion.p999,
            total_p99_us: self.seen.total_p99(),
            by_class: Priority::ALL.map(|class| self.seen.class(class, waiting(class))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Sample, *};
    use crate::control::{Bounds, Guard, Policy};

    const MILLISECOND: u64 = 1_000_000;

    /// A high operation that took 100 us, alone on the device.
    fn high(now: u64) -> Sample {
        let submitted = now - 100_000;
        Sample {
            now,
            asked: submitted,
            submitted,
            unseen: 0,
            in_flight_then: 1,
            in_flight: 1,
            waiting: 0,
            bytes: 4096,
            class: Priority::High,
        }
    }

    #[test]
    fn eight_rings_with_a_share_of_two_leave_a_place_free_on_the_ring_that_has_high_operations() {
        let settings =
            Settings { policy: Policy::Fixed(16), guard: Guard::Auto, bounds: Bounds { min: 1, max: 1_024 } };
        let mut governor = Governor::new(LaneId(0), settings);
        let rings: Vec<(u32, Place)> = (0..8).map(|_| governor.join(1_024)).collect();
        let mut report = |member: u32, in_flight: u32, waiting: [u32; 3], now: u64, samples: Vec<Sample>| {
            let mut samples = samples;
            let (samples, hits, batch, sqe_per_enter) = (&mut samples, 0, 1, 1.0);
            governor.report(Report { member, now, in_flight, waiting, samples, hits, batch, sqe_per_enter });
        };
        // Every ring has low operations waiting, until each has its share of two.
        for now in [1, 2, 3].map(|step| step * MILLISECOND) {
            rings.iter().for_each(|(member, place)| report(*member, place.share(), [0, 0, 50], now, vec![]));
        }
        assert!(rings.iter().all(|(_, place)| (place.share(), place.share_low()) == (2, 2)));
        let (reader, place) = &rings[3];
        report(*reader, 2, [0, 0, 50], 4 * MILLISECOND, vec![high(4 * MILLISECOND)]);
        assert_eq!(place.share_low(), 1);
        assert_eq!(rings.iter().map(|(_, place)| place.share_low()).sum::<u32>(), 15);
        // A tenth of a second after the last high operation, low ones have all places again.
        rings.iter().for_each(|(member, _)| report(*member, 2, [0, 0, 50], 200 * MILLISECOND, vec![]));
        assert_eq!(rings.iter().map(|(_, place)| place.share_low()).sum::<u32>(), 16);
    }
}
