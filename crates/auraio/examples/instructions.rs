//! How many instructions an operation costs, from the call to the result, on the calling thread.
//!
//! `node benches/instructions.mjs` builds this program, runs it under valgrind and prints the table. By hand:
//!
//! ```text
//! cargo build --release -p auraio --example instructions
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/instructions nops 1000 32
//! ```
//!
//! The arguments are a mode, a number of rounds and a batch. Each round performs one batch and waits for all of it. Setting up
//! costs far more than a round, so one run alone says little: run two lengths and divide the difference of the counts by the
//! difference of the rounds. The count is the same in every run, whatever else the machine does, because callgrind counts the
//! program's own instructions and not the kernel's.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people to read")]

use std::{
    error::Error,
    future::{Future, poll_fn},
    io::Write,
    pin::Pin,
    process::ExitCode,
    task::{Context, Poll},
};

use auraio::{BackendChoice, Completion, Engine, File, OpenOptions, Port, Routing, op};

/// Bytes of one read.
const READ_BYTES: usize = 4096;

const USAGE: &str = "Usage: instructions MODE [ROUNDS [BATCH]]

  nops     NOPs by Port::submit_batch
  single   NOPs by Port::submit
  reads    cached reads of 4 KiB by Port::submit_batch
  future   NOPs as futures, each awaited before the next begins
  futures  cached reads of 4 KiB as futures, BATCH of them in flight
  bare     NOPs by the io-uring crate alone, to compare with

ROUNDS is 1000 and BATCH is 32 unless given.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |word| word.parse());
    let (Some(mode), Ok(rounds), Ok(batch @ 1..=1024)) = (arguments.first(), number(1, 1000), number(2, 32)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = match mode.as_str() {
        "nops" => with_port(|port, _| nops(port, rounds, batch)),
        "single" => with_port(|port, _| single(port, rounds, batch)),
        "reads" => with_port(|port, file| reads(port, file, rounds, batch)),
        "future" => with_engine(|engine, _| future(engine, rounds, batch)),
        "futures" => with_engine(|engine, file| futures(engine, file, rounds, batch)),
        "bare" => bare(rounds, batch),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => {
            println!("{mode}: {} operations, {batch} a call", rounds * batch);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<(), Box<dyn Error>>;

/// Gives `run` an engine on io_uring, and a file of [`READ_BYTES`] bytes that is in the page cache.
fn with_engine(run: impl FnOnce(&Engine, &File) -> Outcome) -> Outcome {
    let mut written = tempfile::NamedTempFile::new()?;
    written.write_all(&[b'x'; READ_BYTES])?;
    let engine = Engine::builder()
        .backend(BackendChoice::Uring)
        .routing(Routing::Thread)
        // More than any batch here, so that a batch is one system call.
        .submit_batch(1024)
        .build()?;
    let file = engine.block_on(engine.open(written.path(), OpenOptions::new().read(true)))?;
    run(&engine, &file)?;
    engine.block_on(file.close())?;
    Ok(())
}

fn with_port(run: impl FnOnce(&mut Port, &File) -> Outcome) -> Outcome {
    with_engine(|engine, file| run(&mut engine.port()?, file))
}

/// Waits for a whole batch, checks every result, and leaves `completions` empty.
fn finish(port: &mut Port, batch: usize, expected: i64, completions: &mut Vec<Completion>) {
    port.wait_for(batch, completions);
    assert_eq!(completions.len(), batch);
    for completion in completions.drain(..) {
        assert_eq!(completion.raw_result(), expected);
    }
}

fn nops(port: &mut Port, rounds: usize, batch: usize) -> Outcome {
    let mut completions = Vec::with_capacity(batch);
    for _ in 0..rounds {
        port.submit_batch((0..batch as u64).map(|token| (op::Nop, token)));
        finish(port, batch, 0, &mut completions);
    }
    Ok(())
}

fn single(port: &mut Port, rounds: usize, batch: usize) -> Outcome {
    let mut completions = Vec::with_capacity(batch);
    for _ in 0..rounds {
        for token in 0..batch as u64 {
            port.submit(op::Nop, token);
        }
        finish(port, batch, 0, &mut completions);
    }
    Ok(())
}

/// The buffers stay the program's own, as those of the JavaScript binding do. A buffer that is handed over and comes back
/// would add the cost of a box.
#[expect(unsafe_code, reason = "lends the same buffers again and again")]
fn reads(port: &mut Port, file: &File, rounds: usize, batch: usize) -> Outcome {
    let mut buffers = vec![vec![0; READ_BYTES]; batch];
    let mut completions = Vec::with_capacity(batch);
    for _ in 0..rounds {
        port.submit_batch(buffers.iter_mut().zip(0..).map(|(buffer, token)| {
            // SAFETY: the buffers outlive the operations and nobody uses them meanwhile, because `finish` below waits for all
            // of them. If it panics instead, dropping the port waits, and the buffers are dropped after the port's borrow.
            let memory = unsafe { auraio::BorrowedMemory::new(buffer.as_mut_ptr(), buffer.len()) };
            (op::Read::at(file, memory, 0), token)
        }));
        finish(port, batch, READ_BYTES as i64, &mut completions);
    }
    Ok(())
}

fn future(engine: &Engine, rounds: usize, batch: usize) -> Outcome {
    engine.block_on(async {
        for _ in 0..rounds * batch {
            engine.submit(op::Nop).await?;
        }
        Ok(())
    })
}

/// Each of the readers has one read in flight, as a task of an executor would.
fn futures(engine: &Engine, file: &File, rounds: usize, batch: usize) -> Outcome {
    let reader = || async {
        let mut buffer = vec![0; READ_BYTES];
        for _ in 0..rounds {
            let (read, back) = file.read_at(buffer, 0).await;
            assert_eq!(read?, READ_BYTES);
            buffer = back;
        }
        Ok(())
    };
    let mut readers: Vec<Option<Reader<'_>>> = (0..batch).map(|_| Some(Box::pin(reader()) as Reader<'_>)).collect();
    Ok(engine.block_on(poll_fn(|context| poll_all(&mut readers, context)))?)
}

type Reader<'a> = Pin<Box<dyn Future<Output = auraio::Result<()>> + 'a>>;

/// Polls every reader that has not ended. All share one waker, so nothing but the reads themselves is measured.
fn poll_all(readers: &mut [Option<Reader<'_>>], context: &mut Context<'_>) -> Poll<auraio::Result<()>> {
    let mut ended = true;
    for place in readers {
        let Some(reader) = place else { continue };
        match reader.as_mut().poll(context) {
            Poll::Ready(Ok(())) => *place = None,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => ended = false,
        }
    }
    if ended { Poll::Ready(Ok(())) } else { Poll::Pending }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "pushes entries")]
fn bare(rounds: usize, batch: usize) -> Outcome {
    use io_uring::{IoUring, cqueue, opcode, squeue};

    let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
    builder.setup_coop_taskrun().setup_submit_all().setup_cqsize(2048).setup_single_issuer();
    let mut ring = builder.build(1024)?;
    for _ in 0..rounds {
        let mut queue = ring.submission();
        for token in 0..batch as u64 {
            let nop = opcode::Nop::new().build().user_data(token);
            // SAFETY: a NOP has no address.
            unsafe { queue.push(&nop) }?;
        }
        drop(queue);
        ring.submit_and_wait(batch)?;
        let mut done = 0;
        for entry in ring.completion() {
            assert_eq!(entry.result(), 0);
            done += 1;
        }
        assert_eq!(done, batch);
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn bare(_: usize, _: usize) -> Outcome {
    Err("io_uring exists on Linux only".into())
}
