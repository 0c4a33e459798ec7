//! The devices by name, as measured curves of throughput over depth.

use std::sync::Arc;

use crate::{
    curve::Curve,
    device::{DEPTH_MAX, Device, Gate, Station},
    scenario::Parameters,
};

/// Points of depth and value.
type Points = [(f64, f64)];

/// 4 KiB random reads per second of an NVMe disk in a virtual machine, by fio with O_DIRECT.
const NVME: &Points = &[
    (1.0, 14_800.0),
    (2.0, 27_200.0),
    (4.0, 43_700.0),
    (8.0, 54_800.0),
    (16.0, 63_800.0),
    (32.0, 75_800.0),
    (64.0, 82_400.0),
    (128.0, 81_600.0),
    (256.0, 76_200.0),
    (512.0, 73_000.0),
    (2048.0, 70_000.0),
];
/// Its reads of 1 MiB per second.
const NVME_LARGE: &Points = &[(1.0, 1_250.0), (2.0, 1_900.0), (4.0, 2_010.0), (8.0, 2_030.0), (64.0, 2_030.0)];
/// How often it serves out of turn, so that its p99 at each depth is what fio measured.
const NVME_DISORDER: &Points = &[
    (1.0, 0.0),
    (4.0, 0.0),
    (8.0, 0.09),
    (16.0, 0.30),
    (32.0, 0.40),
    (64.0, 0.80),
    (128.0, 0.93),
    (256.0, 0.82),
    (1024.0, 0.75),
];
/// A SATA SSD: its queue holds 32.
const SATA: &Points = &[
    (1.0, 9_600.0),
    (2.0, 18_600.0),
    (4.0, 35_000.0),
    (8.0, 60_000.0),
    (16.0, 80_000.0),
    (32.0, 90_000.0),
    (64.0, 90_500.0),
    (256.0, 90_500.0),
];
const SATA_DISORDER: &Points = &[(1.0, 0.0), (4.0, 0.05), (32.0, 0.25), (256.0, 0.25)];
/// A hard disk of 7,200 revolutions a minute, whose elevator gains from depth.
const HARD_DISK: &Points = &[
    (1.0, 76.0),
    (2.0, 86.0),
    (4.0, 100.0),
    (8.0, 116.0),
    (16.0, 134.0),
    (32.0, 150.0),
    (64.0, 153.0),
    (256.0, 154.0),
];
const HARD_DISK_DISORDER: &Points = &[(1.0, 0.0), (4.0, 0.2), (32.0, 0.5), (256.0, 0.5)];
/// A hard disk without a queue of its own: it serves one operation at a time, in the order in which they come.
const HARD_DISK_FLAT: &Points = &[(1.0, 76.0), (2.0, 80.0), (256.0, 80.0)];
/// Reads that the page cache answers.
const PAGE_CACHE: &Points = &[(1.0, 480e3), (4.0, 600e3), (256.0, 600e3)];
const IN_TURN: &Points = &[(1.0, 0.0), (256.0, 0.0)];

/// A curve with the knee moved (`knee` times as deep) and all values multiplied.
fn scaled(points: &Points, knee: f64, factor: f64) -> Arc<[f64]> {
    let moved: Vec<(f64, f64)> = points
        .iter()
        .map(|&(depth, value)| (if depth <= 1.0 { 1.0 } else { 1.0 + (depth - 1.0) * knee }, value * factor))
        .collect();
    Curve::new(&moved).table(DEPTH_MAX).into()
}

/// The NVMe disk.
#[must_use]
pub fn nvme(parameters: &Parameters) -> Device {
    let rates = [scaled(NVME, parameters.knee, parameters.throughput), scaled(NVME_LARGE, 1.0, parameters.throughput)];
    Device::Station(Station::new(rates, scaled(NVME_DISORDER, parameters.knee, 1.0), (0.075, 0.40), parameters.noise))
}

/// The SATA SSD.
#[must_use]
pub fn sata(parameters: &Parameters) -> Device {
    let rates = scaled(SATA, parameters.knee, parameters.throughput);
    let disorder = scaled(SATA_DISORDER, 1.0, 1.0);
    Device::Station(Station::new([rates.clone(), rates], disorder, (0.10, 0.40), parameters.noise * 0.5))
}

/// Lone reads per second of the hard disk. Its automatic guard follows from this.
pub const HARD_DISK_ALONE: f64 = 76.0;

/// The hard disk.
#[must_use]
pub fn hard_disk(parameters: &Parameters) -> Device {
    let rates = scaled(HARD_DISK, parameters.knee, parameters.throughput);
    let disorder = scaled(HARD_DISK_DISORDER, 1.0, 1.0);
    Device::Station(Station::new([rates.clone(), rates], disorder, (0.30, 0.35), parameters.noise * 0.5))
}

/// The hard disk without a queue.
#[must_use]
pub fn hard_disk_flat(parameters: &Parameters) -> Device {
    let rates = scaled(HARD_DISK_FLAT, 1.0, parameters.throughput);
    let disorder = scaled(IN_TURN, 1.0, 1.0);
    Device::Station(Station::new([rates.clone(), rates], disorder, (0.30, 0.35), parameters.noise * 0.5))
}

/// The page cache, in place of a device.
#[must_use]
pub fn page_cache(parameters: &Parameters) -> Device {
    let rates = scaled(PAGE_CACHE, 1.0, parameters.throughput);
    Device::Station(Station::new([rates.clone(), rates], scaled(IN_TURN, 1.0, 1.0), (0.2, 0.2), 0.02))
}

/// A rented volume of `rate` operations a second, on a machine that allows `machine` times 16,000.
#[must_use]
pub fn cloud(rate: f64, machine: f64, parameters: &Parameters) -> Device {
    let latency_us = 800.0 * parameters.latency;
    Device::Gate(Gate::new((rate * parameters.throughput, 4.0), (16_000.0 * machine, 16.0), latency_us, 0.15))
}
