//! The C compiler: found through the `cc` crate, run on our own flags only.
//!
//! In: C text. Out: object files, shared objects. `CFLAGS` and the like are ignored on purpose: the
//! same input and options must give the same bytes on every machine that has the same compiler.

use crate::level::Level;
use std::path::{Path, PathBuf};
use std::process::Command;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::target::Cache;

/// One C source file. The name appears in messages and in debug info, never the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// File name: `mnist_kernels_0.c`.
    pub name: String,
    /// Text.
    pub text: String,
    /// Compiled for the level's instructions; otherwise for the architecture's baseline.
    pub level: bool,
}

/// A compiled source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// File name: `mnist_kernels_0.o`.
    pub name: String,
    /// ELF relocatable object.
    pub bytes: Vec<u8>,
}

/// A C compiler that was found and answered.
#[derive(Debug, Clone)]
pub struct Toolchain {
    path: PathBuf,
    version: String,
    clang: bool,
    level: Level,
    cache: Cache,
}

/// Flags of every compilation, and why:
/// - `-ffp-contract=fast`: `a*b+c` becomes one FMA; the result is only more exact.
/// - `-fwrapv`: integers wrap, as the kernel IR says.
/// - `-fno-math-errno -fno-trapping-math`: nobody reads errno or the exception flags. Values stay
///   those of IEEE; `-ffast-math` and `-fno-signed-zeros` are not used.
/// - `-fno-stack-protector`, no unwind tables, `-fcf-protection=none`: generated leaf functions.
/// - `-fno-ident`: no compiler banner in the object.
/// - `-g1`: line tables, which map machine code to the model's nodes through `#line`.
const COMMON: &[&str] = &[
    "-x",
    "c",
    "-std=gnu11",
    "-O2",
    "-w",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=fast",
    "-fwrapv",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-fno-ident",
    "-g1",
    "-gno-record-gcc-switches",
    "-ffunction-sections",
    "-fdata-sections",
    "-c",
];

/// For gcc only. Kernels are unrolled, vectorised and free of common subexpressions when they get here:
/// `-O3` and the search for more (`-fgcse`) take a third more time and gain nothing that was measured. The
/// cost model is that of `-O3`, for the loops that were left scalar.
const GCC: &[&str] = &[
    "-fno-gcse",
    "-fvect-cost-model=dynamic",
    "-fexcess-precision=standard",
];

impl Toolchain {
    /// Finds the compiler for `level`: `cc_path` when given, else what the `cc` crate picks (`CC`, or
    /// the system's `cc`), else gcc or clang of the host.
    pub fn find(level: Level, cc_path: Option<&Path>, cache: Cache) -> Result<Toolchain> {
        let first = Self::ask(level, cc_path, cache.clone());
        if first.is_ok() || cc_path.is_some() || level.arch() != std::env::consts::ARCH {
            return first;
        }
        let others = ["gcc", "clang"].map(Path::new);
        let other = others
            .into_iter()
            .find_map(|p| Self::ask(level, Some(p), cache.clone()).ok());
        other.map_or(first, Ok)
    }

    fn ask(level: Level, cc_path: Option<&Path>, cache: Cache) -> Result<Toolchain> {
        let triple = format!("{}-unknown-linux-gnu", level.arch());
        let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let mut build = cc::Build::new();
        build
            .target(&triple)
            .host(&host)
            .opt_level(3)
            .cargo_metadata(false)
            .cargo_warnings(false)
            .cargo_debug(false);
        if let Some(path) = cc_path {
            build.compiler(path);
        }
        let tool = build
            .try_get_compiler()
            .map_err(|e| missing(level, cc_path, &e.to_string()))?;
        let path = tool.path().to_path_buf();
        let output = Command::new(&path)
            .arg("--version")
            .env("LC_ALL", "C")
            .output()
            .map_err(|e| missing(level, Some(&path), &e.to_string()))?;
        if !output.status.success() {
            return Err(missing(level, Some(&path), "it does not answer --version"));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().next().unwrap_or("").trim();
        // `cc (Debian 12.2.0-14) 12.2.0` does not say which compiler it is.
        let version = match line.strip_prefix("cc ") {
            Some(rest) if tool.is_like_clang() => format!("clang {rest}"),
            Some(rest) => format!("gcc {rest}"),
            None => line.to_string(),
        };
        Ok(Toolchain {
            path,
            version,
            clang: tool.is_like_clang(),
            level,
            cache,
        })
    }

    /// `gcc (Debian 12.2.0) 12.2.0 -O2 -march=x86-64-v4 ...`.
    pub fn describe(&self) -> String {
        format!("{} -O2 {}", self.version, self.level.flags().join(" "))
    }

    fn flags(&self, source: &Source) -> Vec<&'static str> {
        let mut flags = COMMON.to_vec();
        if !self.clang {
            flags.extend(GCC);
        }
        if self.level != Level::Neon {
            flags.push("-fcf-protection=none");
        }
        if source.level {
            flags.extend(self.level.flags());
        }
        flags
    }

    /// Compiles one source, through the cache.
    pub fn compile(&self, source: &Source) -> Result<Object> {
        let flags = self.flags(source);
        let name = format!("{}.o", source.name.trim_end_matches(".c"));
        let joined = flags.join(" ");
        let key: [&[u8]; 5] = [
            self.level.arch().as_bytes(),
            source.name.as_bytes(),
            source.text.as_bytes(),
            joined.as_bytes(),
            self.version.as_bytes(),
        ];
        if let Some(bytes) = self.cache.get(&key) {
            return Ok(Object { name, bytes });
        }
        let dir = temp_dir()?;
        let text = dir.path().join(&source.name);
        write(&text, source.text.as_bytes())?;
        // Relative names, run inside the directory, which debug information calls `.`: no path of this
        // machine gets into the object.
        self.call(
            Command::new(&self.path)
                .args(&flags)
                .arg(format!("-ffile-prefix-map={}=.", dir.path().display()))
                .arg(&source.name)
                .arg("-o")
                .arg(&name)
                .current_dir(dir.path()),
            &source.name,
        )?;
        let path = dir.path().join(&name);
        let bytes = std::fs::read(&path)
            .map_err(|e| Error::environment(format!("cannot read {}: {e}", path.display())))?;
        self.cache.put(&key, &bytes);
        Ok(Object { name, bytes })
    }

    /// The library of functions that compiled code may call behind the source's back.
    pub fn support_library(&self) -> Result<PathBuf> {
        let output = Command::new(&self.path)
            .arg("-print-libgcc-file-name")
            .output()
            .map_err(|e| missing(self.level, Some(&self.path), &e.to_string()))?;
        let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        if path.is_file() {
            return Ok(path);
        }
        Err(Error::environment(format!(
            "{} has no support library (libgcc or compiler-rt)",
            self.path.display()
        ))
        .help("install libgcc (Debian: apt install libgcc-12-dev), or choose --cpu x86-64-v3"))
    }

    /// Links objects into `out` with the given flags (`-shared`, or `-static -nostdlib` ...).
    pub fn link(&self, objects: &[PathBuf], flags: &[&str], out: &Path) -> Result<()> {
        self.call(
            Command::new(&self.path)
                .args(objects)
                .args(flags)
                .arg("-o")
                .arg(out),
            &out.display().to_string(),
        )
    }

    fn call(&self, command: &mut Command, what: &str) -> Result<()> {
        let output = command
            .env("LC_ALL", "C")
            .env_remove("SOURCE_DATE_EPOCH")
            .output()
            .map_err(|e| missing(self.level, Some(&self.path), &e.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let first: Vec<&str> = text.lines().take(12).collect();
        Err(Error::bug(format!(
            "{} refused {what}:\n{}",
            self.path.display(),
            first.join("\n")
        ))
        .help(format!("compiler: {}", self.version)))
    }
}

/// A fresh temporary directory.
pub fn temp_dir() -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("tinyc-")
        .tempdir()
        .map_err(|e| Error::environment(format!("cannot make a temporary directory: {e}")))
}

/// Writes a file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes)
        .map_err(|e| Error::environment(format!("cannot write {}: {e}", path.display())))
}

fn missing(level: Level, path: Option<&Path>, why: &str) -> Error {
    let name = path.map_or("cc".to_string(), |p| p.display().to_string());
    let install = match level {
        Level::Neon if std::env::consts::ARCH != "aarch64" => {
            "install a cross compiler (Debian: apt install gcc-aarch64-linux-gnu) or name one with --cc"
        }
        _ => {
            "install gcc 12 or clang 19 or newer (Debian: apt install gcc; Fedora: dnf install gcc) or name one with --cc"
        }
    };
    Error::environment(format!("no working C compiler: {name}: {}", why.trim())).help(install)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tinyc_compiler::diag::Kind;

    fn source(text: &str) -> Source {
        Source {
            name: "t.c".into(),
            text: text.into(),
            level: true,
        }
    }

    #[test]
    fn compiles_reproducibly() {
        let tc = Toolchain::find(Level::parse("native").unwrap(), None, Cache::default()).unwrap();
        let a = tc
            .compile(&source("int f(int x) { return x + 1; }\n"))
            .unwrap();
        let b = tc
            .compile(&source("int f(int x) { return x + 1; }\n"))
            .unwrap();
        assert_eq!(a, b);
        assert_eq!(&a.bytes[..4], b"\x7fELF");
    }

    #[test]
    fn refused_source_is_a_bug_with_the_message() {
        let tc = Toolchain::find(Level::parse("native").unwrap(), None, Cache::default()).unwrap();
        let e = tc.compile(&source("int f( {")).unwrap_err();
        assert_eq!(e.kind, Kind::Bug);
        assert!(e.message.contains("t.c"), "{}", e.message);
    }

    #[test]
    fn missing_compiler_says_what_to_install() {
        let path = Path::new("/nowhere/cc");
        let e = Toolchain::find(Level::X86V2, Some(path), Cache::default()).unwrap_err();
        assert_eq!(e.kind, Kind::Environment);
        assert!(e.help.unwrap().contains("apt install gcc"));
    }
}
