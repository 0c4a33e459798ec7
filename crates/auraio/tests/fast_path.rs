//! Disassembles a release build of the pool's fast path, and checks that it has no atomic read-modify-write, no lock and no
//! fence.
//!
//! The fast path is the code that runs when a thread's cache has a block, or room for one. The other code is in two functions
//! that are never inlined; the fast path may call no others. Controls, functions that do have such instructions, show that the
//! check would find them.
#![cfg(target_os = "linux")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The functions of the slow path, as they appear in a symbol, however it is mangled.
const SLOW: [&str; 2] = ["acquire_slow", "release_slow"];

#[test]
fn the_fast_path_has_no_atomics_no_locks_and_no_fences() {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        println!("skipped: this test does not know the instructions of this architecture");
        return;
    }
    if Command::new("objdump").arg("--version").output().is_err() {
        println!("skipped: objdump (of binutils) is not installed");
        return;
    }
    let listing = disassembled(&built());
    for function in ["probe_acquire", "probe_acquire_aligned", "probe_release"] {
        let code = code_of(&listing, function);
        assert!(
            code.iter().any(|line| SLOW.iter().any(|slow| line.contains(slow))),
            "{function} has no slow path: {code:#?}"
        );
        assert_eq!(forbidden(&code, function), Vec::<&str>::new(), "{function} is {code:#?}");
    }
    for function in ["control_add", "control_exchange", "control_fence", "control_lock", "control_call"] {
        let code = code_of(&listing, function);
        assert!(!forbidden(&code, function).is_empty(), "nothing was found in {function}, which is {code:#?}");
    }
}

/// Builds the probe as a release, in a package of its own, because building this package's other dependencies takes longer.
fn built() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fast_path");
    fs::create_dir_all(&package).expect("a directory");
    let manifest = format!(
        "[package]\nname = \"probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[[bin]]\nname = \"probe\"\npath = {:?}\n\n\
         [dependencies]\nauraio = {{ path = {here:?} }}\n\n[profile.release]\nlto = \"fat\"\ncodegen-units = 1\n\n[workspace]\n",
        here.join("tests/fast_path/probe.rs"),
    );
    fs::write(package.join("Cargo.toml"), manifest).expect("a manifest");
    // The same versions of all dependencies, which are downloaded already.
    fs::copy(here.join("../../Cargo.lock"), package.join("Cargo.lock")).expect("a lock file");
    let target = package.join("target");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--offline", "--quiet"])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("release/probe")
}

fn disassembled(program: &Path) -> String {
    let output = Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(program).output().expect("objdump");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The instructions of a function.
fn code_of<'a>(listing: &'a str, function: &str) -> Vec<&'a str> {
    let begin = format!("<{function}>:");
    let lines = listing.lines().skip_while(|line| !line.ends_with(&begin)).skip(1);
    let code: Vec<&str> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(":\t"))
        .map(|(_, code)| code.trim())
        .collect();
    assert!(!code.is_empty(), "there is no {function}");
    code
}

/// The instructions that must not be on a fast path.
fn forbidden<'a>(code: &[&'a str], function: &str) -> Vec<&'a str> {
    let mut found = code.to_vec();
    found.retain(|line| {
        let (name, operands) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let synchronises = if cfg!(target_arch = "x86_64") {
            line.split_whitespace().any(|word| word == "lock")
                || (name.starts_with("xchg") && operands.contains('('))
                || ["mfence", "lfence", "sfence", "syscall"].contains(&name)
        } else {
            let prefixes =
                ["dmb", "dsb", "ldx", "ldax", "stx", "stlx", "cas", "swp", "ldadd", "ldset", "ldclr", "ldeor", "svc"];
            prefixes.iter().any(|prefix| name.starts_with(prefix))
        };
        synchronises || leaves(name, operands, function)
    });
    found
}

/// Whether the instruction calls or jumps to another function than those of the slow path.
fn leaves(name: &str, operands: &str, function: &str) -> bool {
    let (calls, jumps): (&[&str], &[&str]) =
        if cfg!(target_arch = "x86_64") { (&["call"], &["j"]) } else { (&["bl"], &["b", "b.", "cb", "tb", "br"]) };
    let calls = calls.iter().any(|call| name == *call || name.starts_with("call") || name == "blr");
    let jumps = jumps.iter().any(|jump| name == *jump || (jump.len() > 1 || *jump == "j") && name.starts_with(jump));
    if !calls && !jumps {
        return false;
    }
    // The target looks like `64c0 <symbol+0x1f>`. Without a symbol it is computed, and so unknown.
    let Some((_, symbol)) = operands.split_once('<') else { return true };
    let symbol = symbol.trim_end_matches('>').split('+').next().unwrap_or_default();
    symbol != function && !SLOW.iter().any(|slow| symbol.contains(slow)) || (calls && symbol == function)
}
