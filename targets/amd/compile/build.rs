//! Compiles the replay code without the standard library: into one static executable, to which the compiler appends bundles, and
//! into one object, which libraries get.

use std::process::Command;
use tinyc_replay_build::{Cargo, LINK, PROGRAM, SCRIPT, call, empty, fail};

const REPLAY: &str = "targets/amd/replay/src/lib.rs";

fn main() {
    let cargo = Cargo::from_environment();
    let program = cargo.out("replay");
    if !cargo.has_replay() {
        empty(&program);
        return empty(&cargo.out("replay.o"));
    }
    let script = cargo.watched(SCRIPT);
    cargo.watched("targets/amd/replay/exe");
    let [runtime, executable] = PROGRAM;
    let libraries = cargo.libraries(&[runtime, executable, ("tinyc_replay_amd", REPLAY)]);
    let mut command = cargo.rustc("targets/amd/replay/exe/main.rs", "replay", "bin");
    command.arg("-Clto=fat").args(libraries);
    command.args(LINK.iter().map(|f| format!("-Clink-arg={f}")));
    command.arg(format!("-Clink-arg=-Wl,-T,{}", script.display()));
    call(command.arg("-o").arg(&program));
    object(&cargo);
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
fn object(cargo: &Cargo) {
    let folder = cargo.out("library");
    if let Err(e) = std::fs::create_dir_all(&folder) {
        fail(&format!("cannot make {}: {e}", folder.display()));
    }
    let position_independent = |source, name, kind| {
        let mut command = cargo.rustc(source, name, kind);
        command.arg("-Crelocation-model=pic");
        command
    };
    let (name, source) = PROGRAM[0];
    let runtime = folder.join(format!("lib{name}.rlib"));
    call(
        position_independent(source, name, "rlib")
            .arg("-o")
            .arg(&runtime),
    );
    let archive = folder.join("libreplay.a");
    let mut command = position_independent(REPLAY, "tinyc_replay_amd", "staticlib");
    command
        .args(["--cfg", "feature=\"c-api\"", "--cfg", "feature=\"archive\""])
        .arg("-Clto=fat")
        .arg(format!("--extern={name}={}", runtime.display()));
    call(command.arg("-o").arg(&archive));
    let (joined, object) = (folder.join("joined.o"), cargo.out("replay.o"));
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
