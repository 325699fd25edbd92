//! How build scripts of targets compile replay code, which runs without cargo, the standard library and libc.
//!
//! In: what cargo tells a build script; folders of sources. Out: libraries, archives, programs in `OUT_DIR`.
//!
//! `rustc` is called directly, on flags of its own: cargo's profile and the user's RUSTFLAGS must not change what is shipped.
//!
//! ```no_run
//! use tinyc_replay_build::{Cargo, PROGRAM};
//! let cargo = Cargo::from_environment();
//! let libraries = cargo.libraries(&PROGRAM);
//! let mut command = cargo.rustc("targets/cpu/replay/src/lib.rs", "tinyc_replay", "staticlib");
//! tinyc_replay_build::call(command.args(libraries).arg("-Clto=fat").arg("-o").arg("libtinyc_replay.a"));
//! ```

// Cargo reads what build scripts print.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Libraries of every program, each with those before it: name and source.
pub const PROGRAM: [(&str, &str); 2] = [
    ("tinyc_runtime", "runtime-min/src/lib.rs"),
    ("tinyc_executable", "runtime-min/exe/src/lib.rs"),
];

/// The linker script of programs.
pub const SCRIPT: &str = "templates/executable.ld";

/// Flags of a program's link: no libc, no position independence (so that nothing is relocated at start and the loaded bytes are
/// those of the file), no symbols, no build id.
pub const LINK: [&str; 10] = [
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

/// What cargo tells a build script.
#[derive(Debug, Clone)]
pub struct Cargo {
    rustc: String,
    target: String,
    root: PathBuf,
    out: PathBuf,
}

impl Cargo {
    /// Reads the environment of the build script of a `targets/*/compile`.
    pub fn from_environment() -> Cargo {
        let var = |name: &str| std::env::var(name).unwrap_or_default();
        println!("cargo:rerun-if-changed=build.rs");
        Cargo {
            rustc: var("RUSTC"),
            target: var("TARGET"),
            root: PathBuf::from(var("CARGO_MANIFEST_DIR")).join("../../.."),
            out: PathBuf::from(var("OUT_DIR")),
        }
    }

    /// Whether replay code exists for the machine that tinyc is built for.
    pub fn has_replay(&self) -> bool {
        let known = ["x86_64-unknown-linux-", "aarch64-unknown-linux-"];
        known.iter().any(|k| self.target.starts_with(k))
    }

    /// A file or folder of the repository; the script runs again when it changes.
    pub fn watched(&self, path: &str) -> PathBuf {
        let path = self.root.join(path);
        println!("cargo:rerun-if-changed={}", path.display());
        path
    }

    /// Where something that the script makes lies.
    pub fn out(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// The compiler, for the crate whose first source file this is. Arguments may be added; what to write, `-o`, must be.
    pub fn rustc(&self, source: &str, name: &str, kind: &str) -> Command {
        let mut command = Command::new(&self.rustc);
        command
            .args(["--edition", "2024", "--target", &self.target])
            .args(["-Cpanic=abort", "-Copt-level=s", "-Ccodegen-units=1"])
            .args(["-Crelocation-model=static", "-Cembed-bitcode=yes"])
            .args(["-Cforce-unwind-tables=no", "-Cdebuginfo=0"])
            .arg("-Coverflow-checks=off")
            .args(["--crate-name", name, "--crate-type", kind])
            .arg(format!("--remap-path-prefix={}=.", self.root.display()))
            .arg(format!("-Ldependency={}", self.out.display()))
            .arg(self.root.join(source));
        command
    }

    /// Compiles libraries, each with those before it and its feature `exe`. Returns the arguments with which a crate uses them.
    pub fn libraries(&self, crates: &[(&str, &str)]) -> Vec<String> {
        let mut uses: Vec<String> = Vec::new();
        for (name, source) in crates {
            if let Some(folder) = Path::new(source).parent() {
                self.watched(&folder.to_string_lossy());
            }
            let library = self.out(&format!("lib{name}.rlib"));
            let mut command = self.rustc(source, name, "rlib");
            command.args(["--cfg", "feature=\"exe\""]).args(&uses);
            call(command.arg("-o").arg(&library));
            uses.push(format!("--extern={name}={}", library.display()));
        }
        uses
    }
}

/// Runs a command; the build ends when it fails.
pub fn call(command: &mut Command) {
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("{command:?}: {status}")),
        Err(e) => fail(&format!("{command:?}: {e}")),
    }
}

/// Makes an empty file, which says that something could not be made here.
pub fn empty(path: &Path) {
    if let Err(e) = std::fs::write(path, b"") {
        fail(&format!("cannot write {}: {e}", path.display()));
    }
}

/// Ends the build with a message.
pub fn fail(message: &str) -> ! {
    println!("cargo:warning={message}");
    std::process::exit(1)
}
