//! Compiles `tinyc-runtime`, `tinyc-executable` and `tinyc-replay-cpu` without the standard library into one archive that
//! the crate embeds and links into every `.tinyexe`.
//!
//! `rustc` is called directly, on flags of its own: cargo's profile and the user's RUSTFLAGS must not
//! change what is shipped.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let out = PathBuf::from(var("OUT_DIR"));
    let target = var("TARGET");
    let root = PathBuf::from(var("CARGO_MANIFEST_DIR")).join("../../..");
    let runtime = root.join("runtime-min/src");
    let program = root.join("runtime-exe/src");
    let replay = root.join("targets/cpu/replay/src");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", runtime.display());
    println!("cargo:rerun-if-changed={}", program.display());
    println!("cargo:rerun-if-changed={}", replay.display());
    let archive = out.join("libtinyc_replay.a");
    let known = ["x86_64-unknown-linux-", "aarch64-unknown-linux-"];
    if !known.iter().any(|k| target.starts_with(k)) {
        if let Err(e) = std::fs::write(&archive, b"") {
            fail(&format!("cannot write {}: {e}", archive.display()));
        }
        return;
    }
    let rustc = var("RUSTC");
    let rlib = out.join("libtinyc_runtime.rlib");
    let common = |source: &Path| {
        let mut command = Command::new(&rustc);
        command
            .args(["--edition", "2024", "--target", &target])
            .args([
                "-C",
                "panic=abort",
                "-C",
                "opt-level=s",
                "-C",
                "codegen-units=1",
            ])
            .args(["-C", "relocation-model=static", "-C", "embed-bitcode=yes"])
            .args([
                "-C",
                "force-unwind-tables=no",
                "-C",
                "debuginfo=0",
                "-C",
                "overflow-checks=off",
            ])
            .arg(format!("--remap-path-prefix={}=.", root.display()))
            .arg(source);
        command
    };
    let mut command = common(&runtime.join("lib.rs"));
    command.args([
        "--crate-name",
        "tinyc_runtime",
        "--crate-type",
        "rlib",
        "-o",
    ]);
    call(command.arg(&rlib));
    let front = out.join("libtinyc_executable.rlib");
    let mut command = common(&program.join("lib.rs"));
    command
        .args(["--crate-name", "tinyc_executable", "--crate-type", "rlib"])
        .args(["--cfg", "feature=\"exe\""])
        .arg(format!("--extern=tinyc_runtime={}", rlib.display()))
        .arg("-o");
    call(command.arg(&front));
    let mut command = common(&replay.join("lib.rs"));
    command
        .args(["--crate-name", "tinyc_replay", "--crate-type", "staticlib"])
        .args(["--cfg", "feature=\"exe\"", "-C", "lto=fat"])
        .arg(format!("--extern=tinyc_runtime={}", rlib.display()))
        .arg(format!("--extern=tinyc_executable={}", front.display()))
        .arg(format!("-Ldependency={}", out.display()))
        .arg("-o");
    call(command.arg(&archive));
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
