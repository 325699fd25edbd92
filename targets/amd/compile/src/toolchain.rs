//! The compiler for AMDGPU: a clang of LLVM 18 or later, found and run.
//!
//! In: C text of one kernel. Out: an ELF code object. Two steps: C to LLVM IR, whose kernel gets the size of its work-groups as an
//! attribute (clang takes it from OpenCL and HIP only), and IR to machine code. No device library is used.

use crate::chip::Chip;
use std::path::{Path, PathBuf};
use std::process::Command;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::target::Cache;

/// Names under which a compiler is looked for.
const NAMES: [&str; 6] = [
    "clang", "clang-21", "clang-20", "clang-19", "clang-18", "amdclang",
];
/// First version that is good enough.
const OLDEST: u32 = 18;
/// Name of the file in messages and debug information.
const FILE: &str = "kernel.c";

/// Flags of C, and why:
/// - `-ffreestanding`, `-nogpulib`, `-nogpuinc`: there is no library.
/// - `-ffp-contract=off`: where one rounding is meant the source says so.
/// - `-fno-math-errno -fno-trapping-math`: nobody reads errno or the exception flags; values stay those of IEEE.
/// - `-disable-llvm-passes`: the second step optimises.
const C: &[&str] = &[
    "-x",
    "c",
    "-std=gnu11",
    "-O3",
    "-w",
    "-ffreestanding",
    "-nogpuinc",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-ident",
    "-Xclang",
    "-disable-llvm-passes",
    "-S",
    "-emit-llvm",
];

/// Flags of the second step.
const OPTIMISE: [&str; 4] = ["-x", "ir", "-O3", "-c"];

/// A compiler that was found and answered.
#[derive(Debug, Clone)]
pub struct Toolchain {
    path: PathBuf,
    version: String,
    chip: Chip,
    cache: Cache,
}

impl Toolchain {
    /// Finds the compiler: `cc` when given, else a clang of the path that is new enough.
    ///
    /// # Errors
    /// Environment when there is none.
    pub fn find(chip: Chip, cc: Option<&Path>, cache: Cache) -> Result<Toolchain> {
        if let Some(path) = cc {
            return Self::ask(chip, path, cache);
        }
        let mut first = None;
        for name in NAMES {
            match Self::ask(chip, Path::new(name), cache.clone()) {
                Ok(found) => return Ok(found),
                Err(e) => first = first.or(Some(e)),
            }
        }
        Err(first.unwrap_or_else(|| missing(Path::new("clang"), "there is none")))
    }

    fn ask(chip: Chip, path: &Path, cache: Cache) -> Result<Toolchain> {
        let answer = |args: &[&str]| -> Result<String> {
            let output = Command::new(path)
                .args(args)
                .env("LC_ALL", "C")
                .output()
                .map_err(|e| missing(path, &e.to_string()))?;
            if !output.status.success() {
                return Err(missing(
                    path,
                    &format!("it does not answer {}", args.join(" ")),
                ));
            }
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let text = answer(&["--version"])?;
        let version = text.lines().next().unwrap_or("").trim().to_string();
        let number = version
            .split("clang version ")
            .nth(1)
            .and_then(|v| v.split('.').next()?.parse::<u32>().ok());
        if number.is_none_or(|n| n < OLDEST) {
            return Err(missing(
                path,
                &format!("'{version}' is no clang {OLDEST} or later"),
            ));
        }
        if !answer(&["-print-targets"])?.contains("amdgcn") {
            return Err(missing(path, "it was built without AMDGPU"));
        }
        Ok(Toolchain {
            path: path.to_path_buf(),
            version,
            chip,
            cache,
        })
    }

    /// `Debian clang version 19.1.7 -O3 -mcpu=gfx1100`.
    pub fn describe(&self) -> String {
        format!("{} -O3 -mcpu={}", self.version, self.chip.name())
    }

    /// Compiles the text of one kernel for work-groups of so many threads, through the cache.
    ///
    /// # Errors
    /// Bug when the compiler refuses the text; Environment when it cannot be run.
    pub fn compile(&self, text: &str, threads: u32) -> Result<Vec<u8>> {
        let flags = [C, &OPTIMISE[..], self.chip.flags()].concat().join(" ");
        let [compiler, threads_text] = [self.describe(), threads.to_string()];
        let parts = [&compiler, &flags, &threads_text, text];
        let key = parts.map(str::as_bytes);
        if let Some(bytes) = self.cache.get(&key) {
            return Ok(bytes);
        }
        let bytes = self.compile_anew(text, threads)?;
        self.cache.put(&key, &bytes);
        Ok(bytes)
    }

    fn compile_anew(&self, text: &str, threads: u32) -> Result<Vec<u8>> {
        let dir = tempfile::Builder::new()
            .prefix("tinyc-")
            .tempdir()
            .map_err(|e| unusable("make a temporary directory", &e))?;
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at(FILE), text).map_err(|e| unusable("write a source", &e))?;
        self.call(dir.path(), C, FILE, "kernel.ll")?;
        let ir = std::fs::read_to_string(at("kernel.ll")).map_err(|e| unusable("read IR", &e))?;
        let ir = with_threads(&ir, threads)?;
        std::fs::write(at("sized.ll"), ir).map_err(|e| unusable("write IR", &e))?;
        self.call(dir.path(), &OPTIMISE, "sized.ll", "kernel.o")?;
        std::fs::read(at("kernel.o")).map_err(|e| unusable("read a code object", &e))
    }

    /// Compiles a C program for this machine.
    ///
    /// # Errors
    /// Bug when the compiler refuses it.
    pub fn compile_for_host(&self, dir: &Path, from: &str, to: &str) -> Result<()> {
        let mut command = Command::new(&self.path);
        command
            .args([
                "-std=gnu11",
                "-O2",
                "-march=native",
                "-w",
                "-ffp-contract=off",
            ])
            .args(["-fno-math-errno", "-fno-trapping-math"])
            .args([from, "-o", to, "-lm"])
            .current_dir(dir);
        self.check(command, from)
    }

    /// Compiles C to an object of a library for this machine: any processor of its kind, in programs and shared libraries.
    ///
    /// # Errors
    /// As [`Toolchain::compile`].
    pub fn compile_glue(&self, text: &str) -> Result<Vec<u8>> {
        let dir = tempfile::Builder::new()
            .prefix("tinyc-")
            .tempdir()
            .map_err(|e| unusable("make a temporary directory", &e))?;
        std::fs::write(dir.path().join("api.c"), text)
            .map_err(|e| unusable("write a source", &e))?;
        let mut command = Command::new(&self.path);
        command
            .args(["-std=gnu11", "-O2", "-ffreestanding", "-fPIC", "-fno-ident"])
            .args(["-fvisibility=hidden", "-fno-asynchronous-unwind-tables"])
            .args(["-c", "api.c", "-o", "api.o"])
            .current_dir(dir.path());
        self.check(command, "api.c")?;
        std::fs::read(dir.path().join("api.o")).map_err(|e| unusable("read an object", &e))
    }

    fn call(&self, dir: &Path, flags: &[&str], from: &str, to: &str) -> Result<()> {
        let mut command = Command::new(&self.path);
        command
            .args(["--target=amdgcn-amd-amdhsa", "-nogpulib"])
            .arg(format!("-mcpu={}", self.chip.name()))
            .args(self.chip.flags())
            .args(flags)
            .args([from, "-o", to])
            .current_dir(dir);
        self.check(command, from)
    }

    fn check(&self, mut command: Command, from: &str) -> Result<()> {
        command.env("LC_ALL", "C").env_remove("SOURCE_DATE_EPOCH");
        let output = command
            .output()
            .map_err(|e| missing(&self.path, &e.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let first: Vec<&str> = text.lines().take(12).collect();
        let path = self.path.display();
        let error = Error::bug(format!("{path} refused {from}:\n{}", first.join("\n")));
        Err(error.help(format!("compiler: {}", self.version)))
    }
}

/// Adds the size of work-groups to the attributes of the kernel.
fn with_threads(ir: &str, threads: u32) -> Result<String> {
    let kernel = ir
        .lines()
        .find(|l| l.starts_with("define") && l.contains("amdgpu_kernel"));
    let group = kernel
        .and_then(|l| l.rsplit_once(") #"))
        .map(|(_, rest)| {
            rest.chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
        })
        .filter(|digits| !digits.is_empty())
        .ok_or_else(|| Error::bug("the compiler's IR has no kernel with attributes"))?;
    let from = format!("attributes #{group} = {{ ");
    let to = format!(
        "{from}\"amdgpu-flat-work-group-size\"=\"{threads},{threads}\" \"uniform-work-group-size\"=\"true\" "
    );
    if !ir.contains(&from) {
        return Err(Error::bug(
            "the compiler's IR has no attributes of its kernel",
        ));
    }
    Ok(ir.replacen(&from, &to, 1))
}

/// Something of this machine does not work.
pub fn unusable(what: &str, error: &std::io::Error) -> Error {
    Error::environment(format!("cannot {what}: {error}"))
}

fn missing(path: &Path, why: &str) -> Error {
    Error::environment(format!("no compiler for AMDGPU: {}: {why}", path.display())).help(format!(
        "install clang {OLDEST} or later (Debian: apt install clang-19) or name one with --cc"
    ))
}
