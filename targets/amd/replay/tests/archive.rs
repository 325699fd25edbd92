//! The archive that libraries get: at most 64 KB of code for this back end, no way to a panic, no symbol that a program of C lacks; and its functions
//! called from C on the real kernel, which most machines answer with an error that says what to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// Most that the runtime may add to a program.
const MOST_CODE: u64 = 64 << 10;
fn run(command: &mut Command) -> String {
    let done = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// A machine: Rust's name, C compiler, what runs programs, prefix of binutils.
struct Machine {
    target: Option<&'static str>,
    gcc: &'static str,
    runner: Option<&'static str>,
    prefix: &'static str,
}

const HOST: Machine = Machine {
    target: None,
    gcc: "gcc",
    runner: None,
    prefix: "",
};
const ARM: Machine = Machine {
    target: Some("aarch64-unknown-linux-gnu"),
    gcc: "aarch64-linux-gnu-gcc",
    runner: Some("qemu-aarch64"),
    prefix: "aarch64-linux-gnu-",
};

fn compiler() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
}

/// A compiler call as the build script of the back end makes it.
fn rustc(machine: &Machine, source: &Path, name: &str) -> Command {
    let mut command = compiler();
    if let Some(target) = machine.target {
        command.args(["--target", target]);
    }
    command.args(["--edition", "2024", "--crate-name", name]);
    for flag in [
        "panic=abort",
        "opt-level=s",
        "codegen-units=1",
        "relocation-model=pic",
        "embed-bitcode=yes",
        "force-unwind-tables=no",
        "debuginfo=0",
        "overflow-checks=off",
    ] {
        command.args(["-C", flag]);
    }
    command.arg(source);
    command
}

#[test]
fn the_archive_is_small_and_never_panics() {
    check(&HOST);
}

/// The same for another processor, where its compilers and an emulator are.
#[test]
fn the_archive_for_arm_too() {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let core = compiler()
        .args([
            "--print",
            "target-libdir",
            "--target",
            "aarch64-unknown-linux-gnu",
        ])
        .output()
        .unwrap();
    let core = String::from_utf8_lossy(&core.stdout).trim().to_string();
    if !Path::new(&core).exists() || !there(ARM.gcc) || !there("qemu-aarch64") {
        return eprintln!(
            "skipped: rustup target add aarch64-unknown-linux-gnu; gcc-aarch64-linux-gnu, qemu-user"
        );
    }
    check(&ARM);
}

fn check(machine: &Machine) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let dir = std::env::temp_dir().join(format!(
        "tinyc-archive-{}{}",
        machine.prefix,
        std::process::id()
    ));
    std::fs::create_dir_all(&dir).unwrap();
    let (rlib, archive) = (dir.join("libtinyc_runtime.rlib"), dir.join("libreplay.a"));
    let runtime = root.join("runtime-min/src/lib.rs");
    run(rustc(machine, &runtime, "tinyc_runtime")
        .args(["--crate-type", "rlib", "-o"])
        .arg(&rlib));
    let replay = root.join("targets/amd/replay/src/lib.rs");
    run(rustc(machine, &replay, "tinyc_replay_amd")
        .args(["--crate-type", "staticlib", "-C", "lto=fat"])
        .args(["--cfg", "feature=\"c-api\"", "--cfg", "feature=\"archive\""])
        .arg(format!("--extern=tinyc_runtime={}", rlib.display()))
        .arg("-o")
        .arg(&archive));
    // A program of C that calls all functions: whatever it does not reach is dropped.
    let here = root.join("targets/amd/replay");
    let program = dir.join("program");
    run(Command::new(machine.gcc)
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1"])
        .arg(format!("-I{}", here.join("c").display()))
        .arg(here.join("tests/archive.c"))
        .arg(&archive)
        .arg("-Wl,--gc-sections")
        .arg("-o")
        .arg(&program));
    let sizes = run(Command::new(format!("{}size", machine.prefix))
        .arg("-A")
        .arg(&program));
    let of = |name: &str| -> u64 {
        let line = sizes.lines().find(|l| l.starts_with(name));
        let size = line.and_then(|l| l.split_whitespace().nth(1));
        size.and_then(|s| s.parse().ok()).unwrap_or(0)
    };
    let (code, constants) = (of(".text "), of(".rodata "));
    assert!(code > 10_000, "the program lost its runtime: {sizes}");
    assert!(
        code + constants <= MOST_CODE,
        "{code} bytes of code, {constants} of constants"
    );
    let symbols = run(Command::new(format!("{}nm", machine.prefix)).arg(&program));
    let panics: Vec<&str> = symbols.lines().filter(|l| l.contains("panic")).collect();
    assert!(panics.is_empty(), "{panics:?}");
    assert_eq!(
        symbols
            .lines()
            .filter(|l| l.ends_with(" tinyc_amd_process_v1"))
            .count(),
        1
    );
    let model = dir.join("model");
    std::fs::write(&model, fake::bundle(|_, _| ())).unwrap();
    let mut start = Command::new(machine.runner.map_or(program.as_os_str(), OsStr::new));
    if machine.runner.is_some() {
        start.args(["-L", "/usr/aarch64-linux-gnu"]).arg(&program);
    }
    let said = run(start.arg(&model));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    // 0 where there is such a GPU, which then gets a stream that means nothing to it, but never a run.
    for line in &lines[..2] {
        let (code, text) = line.split_once(' ').unwrap();
        assert!((0..=6).contains(&code.parse::<i32>().unwrap()), "{line}");
        assert!(code != "3" || text.contains("amdgpu"), "{line}");
    }
    let table = size_of::<tinyc_replay_amd::c_api::Table>();
    assert_eq!(lines[2], table.to_string());
    std::fs::remove_dir_all(&dir).unwrap();
}
