//! Measures how much registered memory and files save: O_DIRECT random reads of 4 KiB, 64 in flight, with and without.
//!
//! `cargo bench --bench registered -- [rounds] [directory]`. The two alternate round by round in one process, on one file, and
//! check their bytes. The bench prints the medians of reads a second and of CPU per read (user and system, this thread), and
//! their ratios. It needs Linux with io_uring.
#![expect(clippy::print_stdout, reason = "a bench prints what it found")]

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: memory is registered with rings, which only Linux has");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        path::{Path, PathBuf},
        time::{Duration, Instant},
    };

    use auraio::{BackendChoice, Block, Engine, OpenOptions, Routing, op};

    use crate::common::{BLOCK, DataFile, Random};

    const DEPTH: usize = 64;
    const ROUND: Duration = Duration::from_millis(1000);

    /// Reads a second, and microseconds of CPU a read.
    #[derive(Clone, Copy)]
    struct Sample {
        rate: f64,
        cpu: f64,
    }

    pub(super) fn main() {
        let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
        let rounds: usize = args.first().and_then(|arg| arg.parse().ok()).unwrap_or(7);
        let dir = args.get(1).map_or_else(std::env::temp_dir, PathBuf::from);
        let file = DataFile::make(&dir);
        println!("O_DIRECT reads of 4 KiB, {DEPTH} in flight, rounds {rounds} of {ROUND:?}; medians");
        let (mut plain, mut registered) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let order = if round % 2 == 0 { [false, true] } else { [true, false] };
            for register in order {
                let sample = reads(&file.path, register);
                if register { registered.push(sample) } else { plain.push(sample) }
            }
        }
        let (plain, registered) = (median(&plain), median(&registered));
        println!("unregistered {:.0} reads/s, {:.2} us of CPU each", plain.rate, plain.cpu);
        println!("registered   {:.0} reads/s, {:.2} us of CPU each", registered.rate, registered.cpu);
        println!("ratios: reads {:.3}, CPU {:.3}", registered.rate / plain.rate, registered.cpu / plain.cpu);
    }

    fn median(samples: &[Sample]) -> Sample {
        let of = |pick: fn(&Sample) -> f64| {
            let mut values: Vec<f64> = samples.iter().map(pick).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Sample { rate: of(|sample| sample.rate), cpu: of(|sample| sample.cpu) }
    }

    /// CPU of this thread so far.
    fn cpu() -> Duration {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
    }

    fn reads(path: &Path, register: bool) -> Sample {
        let builder = Engine::builder().backend(BackendChoice::Uring).routing(Routing::Thread).register(register);
        let engine = builder.build().expect("this bench needs io_uring");
        let open = engine.open(path, OpenOptions::new().read(true).direct(true));
        let file = engine.block_on(open).expect("opens with O_DIRECT");
        file.register();
        let mut port = engine.port().expect("a port");
        let mut blocks: Vec<Option<Block>> = (0..DEPTH).map(|_| engine.acquire(BLOCK).ok()).collect();
        let mut numbers = [0u64; DEPTH];
        let mut free: Vec<usize> = (0..DEPTH).collect();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut completions = Vec::new();
        let mut done = 0u64;
        let (begin, cpu_begin) = (Instant::now(), cpu());
        while begin.elapsed() < ROUND {
            for index in free.drain(..) {
                numbers[index] = random.block();
                let block = blocks[index].take().expect("a block that is free");
                port.submit(op::Read::at(&file, block, numbers[index] * BLOCK as u64), index as u64);
            }
            port.wait_for(1, &mut completions);
            done += completions.len() as u64;
            for completion in completions.drain(..) {
                let index = completion.token() as usize;
                let (read, block) = completion.into_output::<op::Read<Block>>();
                assert_eq!(read, Ok(BLOCK));
                assert_eq!(block[..8], numbers[index].to_le_bytes(), "the bytes of block {}", numbers[index]);
                blocks[index] = Some(block);
                free.push(index);
            }
        }
        let (elapsed, cpu) = (begin.elapsed(), cpu() - cpu_begin);
        port.drain(None);
        let fixed: u64 = engine.stats().rings.iter().map(|ring| ring.fixed_buffers.min(ring.fixed_files)).sum();
        assert_eq!(fixed > 0, register, "registered or not, as asked");
        Sample { rate: done as f64 / elapsed.as_secs_f64(), cpu: cpu.as_secs_f64() * 1e6 / done as f64 }
    }
}
