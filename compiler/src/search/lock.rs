//! The lockfile: every choice of one build, so that another host builds the same bytes without measuring anything.
//!
//! In: the recipes of a build. Out: TOML, and back. One table a distinct kernel, in the order of the program.
//!
//! ```toml
//! format = 1
//! tinyc = "0.1.0/1"
//! target = "NAME"
//! chip = "x"
//! compiler = "gcc 12.2.0 -O2"
//!
//! [[kernel]]
//! hash = "9f2c..."
//! name = "k0_conv_relu"
//! opts = "split(0.3,16,vector) order(0,4,3)"
//! ```

use super::recipe::{Recipe, Recipes, VERSION, Written};
use crate::diag::{Error, Result};
use serde::{Deserialize, Serialize};

/// What the reader understands.
const FORMAT: u32 = 1;

/// All choices of one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Name of the target.
    pub target: String,
    /// Name of the target file.
    pub chip: String,
    /// What turned source into machine code, for people.
    pub compiler: String,
    /// Distinct kernels in the program's order.
    pub kernels: Vec<LockedKernel>,
}

/// One kernel of a lockfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedKernel {
    /// Fingerprint as scheduled, in hex.
    pub hash: String,
    /// Name in the program, for people.
    pub name: String,
    /// What was chosen.
    pub recipe: Recipe,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    tinyc: String,
    target: String,
    chip: String,
    compiler: String,
    #[serde(default, rename = "kernel")]
    kernels: Vec<Entry>,
}

/// Only the part of the file that never changes.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    hash: String,
    name: String,
    #[serde(flatten)]
    recipe: Written,
}

impl Lock {
    /// The text of the file.
    ///
    /// # Errors
    /// Bug when something has no TOML form.
    pub fn print(&self) -> Result<String> {
        let file = File {
            format: FORMAT,
            tinyc: VERSION.to_string(),
            target: self.target.clone(),
            chip: self.chip.clone(),
            compiler: self.compiler.clone(),
            kernels: self
                .kernels
                .iter()
                .map(|k| Entry {
                    hash: k.hash.clone(),
                    name: k.name.clone(),
                    recipe: (&k.recipe).into(),
                })
                .collect(),
        };
        let text = toml::to_string(&file).map_err(|e| Error::bug(format!("lockfile: {e}")))?;
        Ok(format!(
            "# All choices of one build. Rebuild with them: tinyc compile MODEL --locked --lock THIS-FILE\n{text}"
        ))
    }

    /// Reads what [`Lock::print`] writes. `name` is for messages.
    ///
    /// # Errors
    /// Model when it is no lockfile; Usage when another version of tinyc wrote it.
    pub fn parse(text: &str, name: &str) -> Result<Lock> {
        let damaged = |e: toml::de::Error| Error::model(format!("{name}: {e}"));
        let again = "write it again: tinyc compile MODEL --lock FILE";
        let head: Head = toml::from_str(text).map_err(damaged)?;
        if head.format != FORMAT {
            return Err(Error::usage(format!(
                "{name} has format {}, this tinyc reads format {FORMAT}",
                head.format
            ))
            .help(again));
        }
        let file: File = toml::from_str(text).map_err(damaged)?;
        if file.tinyc != VERSION {
            return Err(Error::usage(format!(
                "{name} was written by tinyc {}, this is {VERSION}",
                file.tinyc
            ))
            .help(again));
        }
        Ok(Lock {
            target: file.target,
            chip: file.chip,
            compiler: file.compiler,
            kernels: file
                .kernels
                .into_iter()
                .map(|k| LockedKernel {
                    hash: k.hash,
                    name: k.name,
                    recipe: k.recipe.into(),
                })
                .collect(),
        })
    }

    /// The recipes, all of them required. `name` is the file's.
    pub fn recipes(&self, name: &str) -> Recipes {
        Recipes {
            by_hash: self
                .kernels
                .iter()
                .map(|k| (k.hash.clone(), k.recipe.clone()))
                .collect(),
            complete: Some(name.to_string()),
            ..Recipes::default()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::diag::Kind;
    use crate::opt::parse_opts;

    fn lock() -> Lock {
        let kernel = |n: u8, prefetch, tuned| LockedKernel {
            hash: format!("{n:064x}"),
            name: format!("k{n}_relu"),
            recipe: Recipe {
                opts: parse_opts("split(0.0,16,vector) order(0,2,1)").unwrap(),
                prefetch,
                tuned,
            },
        };
        Lock {
            target: "t".into(),
            chip: "c".into(),
            compiler: "cc 1".into(),
            kernels: vec![kernel(1, None, false), kernel(2, Some(4096), true)],
        }
    }

    #[test]
    fn text_round_trips() {
        let text = lock().print().unwrap();
        assert_eq!(Lock::parse(&text, "l").unwrap(), lock());
        assert!(text.contains(
            "\nopts = \"split(0.0,16,vector) order(0,2,1)\"\nprefetch = 4096\ntuned = true\n"
        ));
    }

    #[test]
    fn other_versions_and_damage_are_refused() {
        let text = lock().print().unwrap();
        for (from, to, kind) in [
            ("format = 1", "format = 2", Kind::Usage),
            ("tinyc = \"", "tinyc = \"9", Kind::Usage),
            ("opts = \"split", "opts = \"splat", Kind::Model),
            ("chip = ", "chop = ", Kind::Model),
            ("[[kernel]]", "[[kernel", Kind::Model),
        ] {
            let e = Lock::parse(&text.replacen(from, to, 1), "a.lock").unwrap_err();
            assert_eq!(e.kind, kind, "{from}: {e}");
            assert!(e.message.contains("a.lock"), "{e}");
        }
    }
}
