//! Instruction-set levels: name on the command line, numbers, compiler flags, detection.
//!
//! In: `--cpu native`, `--cpu x86-64-v3`. Out: a [`Level`]. `native` is the best level that both the
//! host and this table know, so that an artifact runs on every machine of the same level.

use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::target::Facts;

/// An instruction-set level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// SSE4.2, POPCNT: every x86-64 since 2009.
    X86V2,
    /// AVX2, FMA, F16C, BMI2: since Haswell and Zen.
    X86V3,
    /// AVX-512 F, BW, CD, DQ, VL: since Skylake-X and Zen 4.
    X86V4,
    /// Armv8-A with Advanced SIMD.
    Neon,
}

impl Level {
    /// All, weakest first within an architecture.
    pub const ALL: [Level; 4] = [Level::X86V2, Level::X86V3, Level::X86V4, Level::Neon];

    /// Name on the command line and of its toml file.
    pub const fn name(self) -> &'static str {
        match self {
            Level::X86V2 => "x86-64-v2",
            Level::X86V3 => "x86-64-v3",
            Level::X86V4 => "x86-64-v4",
            Level::Neon => "aarch64-neon",
        }
    }

    /// Architecture as rustc and GNU triples name it.
    pub const fn arch(self) -> &'static str {
        match self {
            Level::Neon => "aarch64",
            _ => "x86_64",
        }
    }

    /// Parses `--cpu`.
    pub fn parse(name: &str) -> Result<Level> {
        if name == "native" {
            return native();
        }
        let plain = name.strip_prefix("x86-64-").unwrap_or(name);
        Level::ALL
            .into_iter()
            .find(|l| {
                l.name() == name
                    || l.name().strip_prefix("x86-64-") == Some(plain)
                    || (*l == Level::Neon && matches!(name, "neon" | "aarch64"))
            })
            .ok_or_else(|| {
                let known: Vec<&str> = Level::ALL.iter().map(|l| l.name()).collect();
                Error::usage(format!("unknown CPU '{name}'"))
                    .help(format!("use native or one of: {}", known.join(", ")))
            })
    }

    /// Text of its target file.
    const fn toml(self) -> &'static str {
        match self {
            Level::X86V2 => include_str!("../../x86-64-v2.toml"),
            Level::X86V3 => include_str!("../../x86-64-v3.toml"),
            Level::X86V4 => include_str!("../../x86-64-v4.toml"),
            Level::Neon => include_str!("../../aarch64-neon.toml"),
        }
    }

    /// Its numbers; `cores = 0` becomes the number of cores of this host.
    pub fn facts(self) -> Result<Facts> {
        let mut facts: Facts = toml::from_str(self.toml())
            .map_err(|e| Error::bug(format!("targets/cpu/{}.toml: {e}", self.name())))?;
        if facts.cores == 0 {
            facts.cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        }
        Ok(facts)
    }

    /// Flags that select its instructions, for gcc and clang.
    pub const fn flags(self) -> &'static [&'static str] {
        match self {
            Level::X86V2 => &["-march=x86-64-v2"],
            Level::X86V3 => &["-march=x86-64-v3"],
            // Tuned for every processor, gcc 12 loads a vector again for each of the few multiply-adds that need it.
            Level::X86V4 => &[
                "-march=x86-64-v4",
                "-mtune=sapphirerapids",
                "-mprefer-vector-width=512",
            ],
            Level::Neon => &["-march=armv8-a"],
        }
    }

    /// True when this host executes the level's instructions.
    pub fn runs_here(self) -> bool {
        match self {
            Level::X86V2 => host::v2(),
            Level::X86V3 => host::v3(),
            Level::X86V4 => host::v4(),
            Level::Neon => cfg!(target_arch = "aarch64"),
        }
    }
}

/// The best level of this host.
fn native() -> Result<Level> {
    Level::ALL
        .into_iter()
        .rev()
        .find(|l| l.runs_here())
        .ok_or_else(|| {
            Error::environment("this host's CPU is below every level that tinyc knows")
                .help("name a level to compile for another machine: --cpu x86-64-v2")
        })
}

#[cfg(target_arch = "x86_64")]
mod host {
    use std::arch::is_x86_feature_detected as has;

    pub fn v2() -> bool {
        has!("sse4.2") && has!("popcnt") && has!("ssse3") && has!("cmpxchg16b")
    }
    pub fn v3() -> bool {
        v2() && has!("avx2")
            && has!("fma")
            && has!("f16c")
            && has!("bmi1")
            && has!("bmi2")
            && has!("lzcnt")
            && has!("movbe")
    }
    pub fn v4() -> bool {
        v3() && has!("avx512f")
            && has!("avx512bw")
            && has!("avx512cd")
            && has!("avx512dq")
            && has!("avx512vl")
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod host {
    pub fn v2() -> bool {
        false
    }
    pub fn v3() -> bool {
        false
    }
    pub fn v4() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_facts_agree() {
        for level in Level::ALL {
            let facts = level.facts().unwrap();
            assert_eq!(facts.name, level.name());
            assert!(facts.cores > 0);
            assert_eq!(Level::parse(level.name()).unwrap(), level);
        }
        assert_eq!(Level::parse("v3").unwrap(), Level::X86V3);
        assert_eq!(
            Level::parse("pentium").unwrap_err().kind,
            tinyc_compiler::diag::Kind::Usage
        );
    }

    #[test]
    fn native_runs_here() {
        assert!(Level::parse("native").unwrap().runs_here());
    }
}
