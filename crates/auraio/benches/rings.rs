//! Compares the engine with a bare ring and with fio: NOPs, cached 4 KiB reads, and two threads against one.
//!
//! `cargo bench --bench rings -- [rounds] [directory]`. The engine and its peer alternate round by round in one process (fio in
//! its own), and check the bytes that they read. The bench prints medians and their ratio. It needs Linux with io_uring; if fio
//! is not installed, it goes on without.
#![expect(clippy::print_stdout, reason = "a bench prints what it found")]

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: these benches compare rings, which only Linux has");
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the peer is a bare ring")]
mod linux {
    use std::{
        fs,
        os::fd::AsRawFd,
        path::{Path, PathBuf},
        process::Command,
        time::{Duration, Instant},
    };

    use auraio::{BackendChoice, BorrowedMemory, Engine, OpenOptions, Port, Routing, op, topology};
    use io_uring::{IoUring, cqueue, opcode, squeue, types};

    use crate::common::{BLOCK, DataFile, Random};

    const DEPTH: usize = 64;
    const BATCH: usize = 32;
    const ROUND: Duration = Duration::from_millis(700);

    pub(super) fn main() {
        let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
        let rounds = args.first().and_then(|arg| arg.parse().ok()).unwrap_or(7);
        let dir = args.get(1).map_or_else(std::env::temp_dir, PathBuf::from);
        println!("rounds {rounds} of {ROUND:?}; medians");

        for batch in [1, 8, BATCH, 64] {
            compare(&format!("nops, {batch} a batch: bare io-uring loop"), rounds, || bare_nops(batch), || nops(batch));
        }

        let file = DataFile::make(&dir);
        compare("cached 4 KiB reads, 64 in flight: bare loop", rounds, || bare_reads(&file.path), || reads(&file.path));
        if fio(&file.path, Duration::from_millis(100)).is_some() {
            compare(
                "cached 4 KiB reads, 64 in flight: fio io_uring",
                rounds,
                || fio(&file.path, ROUND).unwrap_or(f64::NAN),
                || reads(&file.path),
            );
        } else {
            println!("fio is not installed, so it is left out; install it to compare with it");
        }
        for routing in [Routing::Thread, Routing::Core] {
            compare(
                &format!("two threads on two cores, {routing:?}: one thread"),
                rounds,
                || threads(1, routing, &file.path),
                || threads(2, routing, &file.path),
            );
        }
    }

    /// Alternates two measurements of operations a second, and prints the ratio of the second to the first.
    fn compare(title: &str, rounds: usize, mut peer: impl FnMut() -> f64, mut ours: impl FnMut() -> f64) {
        let (mut theirs, mut mine) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            if round % 2 == 0 {
                theirs.push(peer());
                mine.push(ours());
            } else {
                mine.push(ours());
                theirs.push(peer());
            }
        }
        let (peer, ours) = (median(&mut theirs), median(&mut mine));
        println!("{title} {:.0} ops/s, auraio {:.0} ops/s, ratio {:.3}", peer, ours, ours / peer);
    }

    fn median(values: &mut [f64]) -> f64 {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    fn rate(mut step: impl FnMut() -> u64) -> f64 {
        let begin = Instant::now();
        let mut done = 0;
        while begin.elapsed() < ROUND {
            for _ in 0..16 {
                done += step();
            }
        }
        done as f64 / begin.elapsed().as_secs_f64()
    }

    fn bare_ring() -> IoUring {
        let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
        builder.setup_coop_taskrun().setup_submit_all().setup_cqsize(1024).setup_single_issuer();
        builder.build(256).expect("this bench needs io_uring")
    }

    fn bare_nops(batch: usize) -> f64 {
        let mut ring = bare_ring();
        let mut sum = 0;
        let rate = rate(|| {
            {
                let mut queue = ring.submission();
                for token in 0..batch as u64 {
                    let nop = opcode::Nop::new().build().user_data(token);
                    // SAFETY: a NOP has no address.
                    unsafe { queue.push(&nop) }.expect("the queue holds a batch");
                }
            }
            ring.submit_and_wait(batch).expect("submits");
            let before = sum;
            for cqe in ring.completion() {
                assert_eq!(cqe.result(), 0);
                sum += 1;
            }
            sum - before
        });
        assert_eq!(sum % batch as u64, 0);
        rate
    }

    fn engine(routing: Routing) -> Engine {
        let builder = Engine::builder().backend(BackendChoice::Uring).routing(routing).submit_batch(1024);
        builder.build().expect("this bench needs io_uring")
    }

    fn nops(batch: usize) -> f64 {
        let engine = engine(Routing::Thread);
        let mut port = engine.port().expect("a port");
        let mut completions = Vec::with_capacity(batch);
        rate(|| {
            port.submit_batch((0..batch as u64).map(|token| (op::Nop, token)));
            port.wait_for(batch, &mut completions);
            let done = completions.len() as u64;
            for completion in completions.drain(..) {
                assert_eq!(completion.raw_result(), 0);
            }
            done
        })
    }

    fn check(buffer: &[u8], block: u64) {
        assert_eq!(buffer[..8], block.to_le_bytes(), "the bytes of block {block}");
    }

    fn bare_reads(path: &Path) -> f64 {
        let file = fs::File::open(path).expect("opens");
        let fd = types::Fd(file.as_raw_fd());
        let mut ring = bare_ring();
        let mut buffers = vec![vec![0u8; BLOCK]; DEPTH];
        let mut blocks = [0u64; DEPTH];
        let mut free: Vec<usize> = (0..DEPTH).collect();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut done = Vec::new();
        rate(|| {
            {
                let mut queue = ring.submission();
                for index in free.drain(..) {
                    blocks[index] = random.block();
                    let read = opcode::Read::new(fd, buffers[index].as_mut_ptr(), BLOCK as u32)
                        .offset(blocks[index] * BLOCK as u64)
                        .build()
                        .user_data(index as u64);
                    // SAFETY: each buffer lies on the heap until all reads have completed, and each step waits for them.
                    unsafe { queue.push(&read) }.expect("the queue holds the depth");
                }
            }
            ring.submit_and_wait(DEPTH).expect("submits");
            done.extend(ring.completion().map(|cqe| (cqe.user_data() as usize, cqe.result())));
            for (index, result) in done.drain(..) {
                assert_eq!(result, BLOCK as i32);
                check(&buffers[index], blocks[index]);
                free.push(index);
            }
            DEPTH as u64
        })
    }

    /// Reads that reuse their buffers, `DEPTH` in flight, through one port.
    struct Reader {
        port: Port,
        file: auraio::File,
        buffers: Vec<Vec<u8>>,
        blocks: Vec<u64>,
        free: Vec<usize>,
        random: Random,
        completions: Vec<auraio::Completion>,
    }

    impl Reader {
        fn new(engine: &Engine, path: &Path, seed: u64) -> Self {
            let file = engine.block_on(engine.open(path, OpenOptions::new().read(true))).expect("opens");
            Self {
                port: engine.port().expect("a port"),
                file,
                buffers: vec![vec![0; BLOCK]; DEPTH],
                blocks: vec![0; DEPTH],
                free: (0..DEPTH).collect(),
                random: Random(seed),
                completions: Vec::new(),
            }
        }

        fn step(&mut self) -> u64 {
            for chunk in self.free.chunks(BATCH) {
                let (file, buffers, blocks, random) =
                    (&self.file, &mut self.buffers, &mut self.blocks, &mut self.random);
                self.port.submit_batch(chunk.iter().map(|&index| {
                    blocks[index] = random.block();
                    let memory = buffers[index].as_mut_slice();
                    // SAFETY: the buffer lies on the heap as long as the reader lives. When the reader is dropped, its port
                    // waits for the reads.
                    let memory = unsafe { BorrowedMemory::new(memory.as_mut_ptr(), memory.len()) };
                    (op::Read::at(file, memory, blocks[index] * BLOCK as u64), index as u64)
                }));
                self.port.flush();
            }
            self.free.clear();
            self.port.wait_for(DEPTH, &mut self.completions);
            let done = self.completions.len() as u64;
            for completion in self.completions.drain(..) {
                assert_eq!(completion.raw_result(), BLOCK as i64);
                let index = completion.token() as usize;
                check(&self.buffers[index], self.blocks[index]);
                self.free.push(index);
            }
            done
        }
    }

    fn reads(path: &Path) -> f64 {
        let engine = engine(Routing::Thread);
        let mut reader = Reader::new(&engine, path, 0x9e37_79b9_7f4a_7c15);
        rate(|| reader.step())
    }

    fn threads(count: usize, routing: Routing, path: &Path) -> f64 {
        let engine = engine(routing);
        let rates = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..count)
                .map(|number| {
                    let engine = &engine;
                    scope.spawn(move || {
                        let cpus = engine.topology().cpus();
                        topology::pin_this_thread(cpus[number % cpus.len()]).expect("pins");
                        let mut reader = Reader::new(engine, path, 0x9e37_79b9_7f4a_7c15 + number as u64);
                        rate(|| reader.step())
                    })
                })
                .collect();
            handles.into_iter().map(|handle| handle.join().expect("a reader")).collect::<Vec<f64>>()
        });
        rates.iter().sum()
    }

    /// fio's reads a second on the same file, from the page cache.
    fn fio(path: &Path, time: Duration) -> Option<f64> {
        let output = Command::new("fio")
            .args(["--name=peer", "--rw=randread", "--bs=4k", "--ioengine=io_uring", "--iodepth=64"])
            .args(["--iodepth_batch_submit=32", "--iodepth_batch_complete_max=32", "--norandommap", "--invalidate=0"])
            .args(["--time_based", "--thread", "--output-format=terse", "--terse-version=3"])
            .arg(format!("--filename={}", path.display()))
            .arg(format!("--runtime={}ms", time.as_millis()))
            .output()
            .ok()?;
        // Field 8 of fio's terse output, version 3, is the read IOPS.
        String::from_utf8(output.stdout).ok()?.lines().rev().find_map(|line| line.split(';').nth(7)?.parse().ok())
    }
}
