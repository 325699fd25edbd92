//! Compiles the replay program without the standard library and links it into one static executable, to which the compiler
//! appends bundles.
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
        if let Err(e) = std::fs::write(&program, b"") {
            fail(&format!("cannot write {}: {e}", program.display()));
        }
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
