//! Compiles `tinyc-replay-cpu` and the libraries of every program into one archive that the crate embeds and links into every
//! `.tinyexe`.

use tinyc_replay_build::{Cargo, PROGRAM, call, empty};

fn main() {
    let cargo = Cargo::from_environment();
    let archive = cargo.out("libtinyc_replay.a");
    if !cargo.has_replay() {
        return empty(&archive);
    }
    let libraries = cargo.libraries(&PROGRAM);
    cargo.watched("targets/cpu/replay/src");
    let source = "targets/cpu/replay/src/lib.rs";
    let mut command = cargo.rustc(source, "tinyc_replay", "staticlib");
    command.args(["--cfg", "feature=\"exe\"", "-Clto=fat"]);
    call(command.args(libraries).arg("-o").arg(&archive));
}
