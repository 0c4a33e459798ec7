//! Measures how well the outer loop finds the depth: O_DIRECT random reads of 4 KiB by 256 callers without configuration,
//! beside fio at fixed depths.
//!
//! `cargo bench --bench lanes -- [rounds] [directory] [depths]`. In each round fio runs once at every depth. This crate runs
//! once with each of the policies `knee`, `aimd` and `fixed 256`, and once fixed at each of fio's depths. The order changes
//! from round to round. Each run of this crate is a process of its own, so each is a cold start. Bytes are checked.
//!
//! It prints medians: reads a second, the p99 of the completion latency, the knee (the smallest depth with 97 % of the best
//! reads a second), and ratios to the knee. It also prints how long it took until a tenth of a second had 95 % of the reads a
//! second that the run reached in the end. It needs Linux with io_uring, and fio.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints what it found")]

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: this bench compares with fio over io_uring, which only Linux has");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        path::{Path, PathBuf},
        process::Command,
        time::{Duration, Instant},
    };

    use auraio::{BackendChoice, Block, Engine, OpenOptions, Routing, control::Policy, op};

    use crate::common::{BLOCK, DataFile, Random};

    const CALLERS: usize = 256;
    const SETTLE: Duration = Duration::from_millis(1000);
    const MEASURE: Duration = Duration::from_millis(2000);
    const SLICE: Duration = Duration::from_millis(100);
    const DEPTHS: &str = "1,4,8,16,24,32,48,64,96,128,256";

    /// Reads a second, the p99 in microseconds, and the seconds until the rate had come near its final value.
    #[derive(Clone, Copy, Debug, Default)]
    struct Sample {
        rate: f64,
        p50: f64,
        p99: f64,
        settled: f64,
        limit: f64,
    }

    pub(super) fn main() {
        let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
        if args.first().is_some_and(|arg| arg == "child") {
            return child(Path::new(&args[1]), &args[2]);
        }
        let rounds: usize = args.first().and_then(|arg| arg.parse().ok()).unwrap_or(3);
        let dir = args.get(1).map_or_else(std::env::temp_dir, PathBuf::from);
        let depths = args.get(2).map_or(DEPTHS, String::as_str);
        let file = DataFile::make(&dir);
        let mut subjects: Vec<String> = vec!["knee".into(), "aimd".into()];
        for depth in depths.split(',') {
            subjects.push(format!("fio {depth}"));
            subjects.push(format!("fixed {depth}"));
        }
        let mut samples = vec![Vec::new(); subjects.len()];
        for round in 0..rounds {
            for step in 0..subjects.len() {
                let at = (step + round * 7) % subjects.len();
                samples[at].push(run(&file.path, &subjects[at]));
            }
        }
        let medians: Vec<Sample> = samples.iter().map(|samples| median(samples)).collect();
        print(&subjects, &medians);
    }

    fn print(subjects: &[String], medians: &[Sample]) {
        let fio = || subjects.iter().zip(medians).filter(|(subject, _)| subject.starts_with("fio"));
        let best = fio().map(|(_, sample)| sample.rate).fold(0.0, f64::max);
        let knee = fio().find(|(_, sample)| sample.rate >= 0.97 * best).map(|(_, sample)| *sample).unwrap_or_default();
        println!(
            "{:<12}{:>10}{:>10}{:>10}{:>8}{:>9}{:>12}{:>12}",
            "", "reads/s", "p50 us", "p99 us", "limit", "settled", "/ fio best", "p99 / knee"
        );
        for (subject, sample) in subjects.iter().zip(medians) {
            println!(
                "{subject:<12}{:>10.0}{:>10.0}{:>10.0}{:>8.0}{:>9.2}{:>12.3}{:>12.2}",
                sample.rate,
                sample.p50,
                sample.p99,
                sample.limit,
                sample.settled,
                sample.rate / best,
                sample.p99 / knee.p99
            );
        }
    }

    fn median(samples: &[Sample]) -> Sample {
        let of = |pick: fn(&Sample) -> f64| {
            let mut values: Vec<f64> = samples.iter().map(pick).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Sample {
            rate: of(|sample| sample.rate),
            p50: of(|sample| sample.p50),
            p99: of(|sample| sample.p99),
            settled: of(|sample| sample.settled),
            limit: of(|sample| sample.limit),
        }
    }

    fn run(path: &Path, subject: &str) -> Sample {
        match subject.strip_prefix("fio ") {
            Some(depth) => fio(path, depth),
            None => {
                let this = std::env::current_exe().expect("a bench is a file");
                let output =
                    Command::new(this).args(["child", &path.to_string_lossy(), subject]).output().expect("starts");
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
                let [rate, p50, p99, settled, limit] = numbers[..] else { panic!("{subject} said {text:?}") };
                Sample { rate, p50, p99, settled, limit }
            }
        }
    }

    fn fio(path: &Path, depth: &str) -> Sample {
        let output = Command::new("fio")
            .args(["--name=x", "--ioengine=io_uring", "--direct=1", "--rw=randread", "--bs=4k", "--norandommap"])
            .args(["--randrepeat=0", "--time_based", "--runtime=2", "--ramp_time=0.5", "--output-format=terse"])
            .arg(format!("--filename={}", path.display()))
            .arg(format!("--iodepth={depth}"))
            .output()
            .expect("this bench needs fio: install it");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // Of fio's terse output, version 3, field 8 is the reads a second; the percentiles of the completion latency begin with
        // field 18.
        let fields: Vec<&str> = text.trim().split(';').collect();
        let percentile = |wanted: &str| {
            let found = fields.iter().find_map(|field| field.strip_prefix(wanted));
            found.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
        };
        let rate = fields[7].parse().expect("fio tells reads a second");
        Sample { rate, p50: percentile("50.000000%="), p99: percentile("99.000000%="), settled: 0.0, limit: 0.0 }
    }

    fn child(path: &Path, subject: &str) {
        let policy = match subject {
            "knee" => Policy::Knee,
            "aimd" => Policy::Aimd,
            other => Policy::Fixed(other.trim_start_matches("fixed ").parse().expect("a depth")),
        };
        let engine = Engine::builder()
            .backend(BackendChoice::Uring)
            .routing(Routing::Thread)
            .policy(policy)
            .build()
            .expect("this bench needs io_uring");
        let open = engine.open(path, OpenOptions::new().read(true).direct(true));
        let file = engine.block_on(open).expect("the directory takes O_DIRECT");
        let mut port = engine.port().expect("a port");
        let mut random = Random(0x9e37_79b9 ^ u64::from(std::process::id()));
        let mut wanted = [0; CALLERS];
        let mut submit = |port: &mut auraio::Port, wanted: &mut [u64; CALLERS], caller: usize, block: Block| {
            let number = random.block();
            wanted[caller] = number;
            port.submit(op::Read::at(&file, block, number * BLOCK as u64), caller as u64);
        };
        for caller in 0..CALLERS {
            let block = engine.acquire(BLOCK).expect("memory");
            submit(&mut port, &mut wanted, caller, block);
        }
        let begin = Instant::now();
        let (mut completions, mut slices, mut in_slice, mut count) = (Vec::new(), Vec::new(), 0_u32, 0_u64);
        loop {
            port.wait(&mut completions, None);
            let now = begin.elapsed();
            while now >= SLICE * (slices.len() as u32 + 1) {
                slices.push(f64::from(in_slice) / SLICE.as_secs_f64());
                in_slice = 0;
            }
            let over = now >= SETTLE + MEASURE;
            for completion in completions.drain(..) {
                let caller = completion.token() as usize;
                let (read, block) = completion.into_output::<op::Read<Block>>();
                assert_eq!(read.expect("reads"), BLOCK);
                assert_eq!(block[..8], wanted[caller].to_le_bytes(), "the bytes of another block");
                in_slice += 1;
                count += u64::from(now >= SETTLE);
                if !over {
                    submit(&mut port, &mut wanted, caller, block);
                }
            }
            if over {
                break;
            }
        }
        let rate = count as f64 / MEASURE.as_secs_f64();
        let settled = slices.iter().position(|slice| *slice >= 0.95 * rate).unwrap_or(slices.len());
        let lane = engine.stats().lanes.into_iter().find(|lane| Some(lane.id) == file.lane()).expect("it is there");
        if std::env::var_os("LANES_TRACE").is_some() {
            for decided in engine.decisions(0) {
                eprintln!("{:?}", decided.decision);
            }
            eprintln!("{lane:?} {slices:?}");
        }
        println!(
            "{rate} {} {} {} {}",
            lane.completion_p50_us,
            lane.completion_p99_us,
            (settled + 1) as f64 * SLICE.as_secs_f64(),
            lane.in_flight_limit
        );
    }
}
