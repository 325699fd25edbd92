//! Compiles the replay code without the standard library: into one static executable, to which the compiler appends bundles, and
//! into one object, which libraries get.
//!
//! `rustc` is called directly, on flags of its own: cargo's profile and the user's RUSTFLAGS must not change what is shipped.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates that are compiled, each with those before it: name, folder, flags.
const CRATES: [(&str, &str); 3] = [
    ("tinyc_runtime", "runtime-min/src/lib.rs"),
    ("tinyc_executable", "runtime-exe/src/lib.rs"),
    ("tinyc_replay_amd", "targets/amd/replay/src/lib.rs"),
];

/// Flags of the link: no libc, no position independence (so that nothing is relocated at start and the loaded bytes are those of
/// the file), no symbols, no build id.
const LINK: &[&str] = &[
    "-nostartfiles",
    "-nostdlib",
    "-static",
    "-no-pie",
    "-Wl,-e,_start",
    "-Wl,--gc-sections",
    "-Wl,--build-id=none",
    "-Wl,-z,norelro",
    "-Wl,-z,noexecstack",
    "-Wl,-s",
];

fn main() {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let out = PathBuf::from(var("OUT_DIR"));
    let target = var("TARGET");
    let root = PathBuf::from(var("CARGO_MANIFEST_DIR")).join("../../..");
    println!("cargo:rerun-if-changed=build.rs");
    let script = root.join("templates/executable.ld");
    let folders = ["runtime-min/src", "runtime-exe/src", "targets/amd/replay"];
    for path in folders.map(|f| root.join(f)).iter().chain([&script]) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    let program = out.join("replay");
    let known = ["x86_64-unknown-linux-", "aarch64-unknown-linux-"];
    if !known.iter().any(|k| target.starts_with(k)) {
        empty(&program);
        empty(&out.join("replay.o"));
        return;
    }
    let rustc = var("RUSTC");
    let common = |source: &Path| {
        let mut command = Command::new(&rustc);
        command
            .args(["--edition", "2024", "--target", &target])
            .args(["-Cpanic=abort", "-Copt-level=s", "-Ccodegen-units=1"])
            .args(["-Crelocation-model=static", "-Cembed-bitcode=yes"])
            .args(["-Cforce-unwind-tables=no", "-Cdebuginfo=0"])
            .arg("-Coverflow-checks=off")
            .arg(format!("--remap-path-prefix={}=.", root.display()))
            .arg(format!("-Ldependency={}", out.display()))
            .arg(source);
        command
    };
    let library = |name: &str| out.join(format!("lib{name}.rlib"));
    for (n, (name, source)) in CRATES.iter().enumerate() {
        let mut command = common(&root.join(source));
        command
            .args(["--crate-name", name, "--crate-type", "rlib"])
            .args(["--cfg", "feature=\"exe\""]);
        for (before, _) in &CRATES[..n] {
            command.arg(format!("--extern={before}={}", library(before).display()));
        }
        call(command.arg("-o").arg(library(name)));
    }
    let mut command = common(&root.join("targets/amd/replay/exe/main.rs"));
    command.args(["--crate-name", "replay", "--crate-type", "bin", "-Clto=fat"]);
    for (name, _) in &CRATES {
        command.arg(format!("--extern={name}={}", library(name).display()));
    }
    let flags = LINK.iter().map(|f| format!("-Clink-arg={f}"));
    command.args(flags);
    command.arg(format!("-Clink-arg=-Wl,-T,{}", script.display()));
    call(command.arg("-o").arg(&program));
    let position_independent = |source: &str| {
        let mut command = common(&root.join(source));
        command.arg("-Crelocation-model=pic");
        command
    };
    object(&out, position_independent);
}

/// Functions that libraries get.
const FUNCTIONS: [&str; 11] = [
    "open",
    "submit",
    "wait",
    "run",
    "close",
    "input",
    "output",
    "register",
    "unregister",
    "bind",
    "error",
];

/// The replay code as one object that shows its functions alone: Rust's own symbols would meet those of a Rust program. The functions are
/// weak, so that whole archives of several models can be in one program. Without binutils there are no libraries.
fn object(out: &Path, compile: impl Fn(&str) -> Command) {
    let folder = out.join("library");
    if let Err(e) = std::fs::create_dir_all(&folder) {
        fail(&format!("cannot make {}: {e}", folder.display()));
    }
    let runtime = folder.join("libtinyc_runtime.rlib");
    let mut command = compile(CRATES[0].1);
    command.args(["--crate-name", CRATES[0].0, "--crate-type", "rlib", "-o"]);
    call(command.arg(&runtime));
    let archive = folder.join("libreplay.a");
    let mut command = compile(CRATES[2].1);
    command
        .args(["--crate-name", CRATES[2].0, "--crate-type", "staticlib"])
        .args(["--cfg", "feature=\"c-api\"", "--cfg", "feature=\"archive\""])
        .arg("-Clto=fat")
        .arg(format!("--extern={}={}", CRATES[0].0, runtime.display()));
    call(command.arg("-o").arg(&archive));
    let (joined, object) = (folder.join("joined.o"), out.join("replay.o"));
    let mut join = Command::new("ld");
    join.args(["-r", "--gc-sections"]);
    let mut hide = Command::new("objcopy");
    hide.args([
        "--keep-global-symbol=tinyc_amd_process_v1",
        "--strip-unneeded",
    ]);
    for name in FUNCTIONS {
        join.arg("-u").arg(format!("tinyc_amd_{name}"));
        hide.arg(format!("--keep-global-symbol=tinyc_amd_{name}"));
        hide.arg(format!("--weaken-symbol=tinyc_amd_{name}"));
    }
    join.arg(&archive).arg("-o").arg(&joined);
    hide.arg(&joined).arg(&object);
    for command in [&mut join, &mut hide] {
        if !matches!(command.status(), Ok(status) if status.success()) {
            println!(
                "cargo:warning={command:?} failed: this tinyc makes no libraries for AMD GPUs"
            );
            return empty(&object);
        }
    }
}

fn empty(path: &Path) {
    if let Err(e) = std::fs::write(path, b"") {
        fail(&format!("cannot write {}: {e}", path.display()));
    }
}

fn call(command: &mut Command) {
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("{command:?}: {status}")),
        Err(e) => fail(&format!("{command:?}: {e}")),
    }
}

fn fail(message: &str) -> ! {
    println!("cargo:warning={message}");
    std::process::exit(1)
}
