//! What is chosen for one kernel, and what is known before a compilation.
//!
//! In: opts and the numbers of `codegen` that a kernel may have of its own. Out: the optimised kernel.
//!
//! Example: a [`Recipe`] with `opts = "become(0.0,parallel) order(0,2,1)"` and `prefetch = 4096`.

use crate::diag::Result;
use crate::opt::{self, Opt};
use crate::program::Kernel;
use crate::target::Facts;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// The version of the compiler and of what recipes mean. Raise the number behind the slash when the same opts give
/// other code or the heuristics have become better: results of searches by older versions are not taken up then.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/7");

/// Everything that is chosen for one kernel between its schedule and its source text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Recipe {
    /// Choices of `opt`, in order.
    pub opts: Vec<Opt>,
    /// How far ahead of a reduce loop its weights are asked for, in bytes; `None` is the target's.
    pub prefetch: Option<u32>,
    /// A search found it; otherwise it is the heuristics'.
    pub tuned: bool,
}

impl Recipe {
    /// What the heuristics choose, with the kernel that it gives and why their first choice was given up, where it was.
    ///
    /// # Errors
    /// Bug when a pass breaks the kernel.
    pub fn heuristic(kernel: &Kernel, facts: &Facts) -> Result<(Kernel, Recipe, Option<String>)> {
        let chosen = opt::choose(kernel, facts)?;
        let recipe = Recipe {
            opts: chosen.opts,
            ..Recipe::default()
        };
        Ok((chosen.kernel, recipe, chosen.refused))
    }

    /// A short hash of the opts, by which a record says what it was compared with.
    pub fn mark(&self) -> String {
        let digest = Sha256::digest(opt::print_opts(&self.opts));
        digest[..8].iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The kernel that it gives.
    ///
    /// # Errors
    /// Usage when an opt is not legal for the kernel.
    pub fn apply(&self, kernel: &Kernel) -> Result<Kernel> {
        opt::apply(kernel, &self.opts)
    }

    /// The target's numbers, with what the recipe puts in their place.
    pub fn facts<'a>(&self, facts: &'a Facts) -> Cow<'a, Facts> {
        match self.prefetch {
            Some(prefetch_bytes) => Cow::Owned(Facts {
                prefetch_bytes,
                ..facts.clone()
            }),
            None => Cow::Borrowed(facts),
        }
    }
}

/// Recipes known before a compilation, by the hash of their kernel in hex.
#[derive(Debug, Clone, Default)]
pub struct Recipes {
    /// The recipes.
    pub by_hash: FxHashMap<String, Recipe>,
    /// What the heuristics chose when a recipe was found to be better, by the hash of the kernel: the [`Recipe::mark`]. Where they
    /// choose something else by now, nobody knows which is better.
    pub against: FxHashMap<String, String>,
    /// The file that must hold every kernel: nothing is chosen anew. `None` leaves kernels that are missing, and those whose
    /// recipe does not apply, to the heuristics.
    pub complete: Option<String>,
}

impl Recipes {
    /// The recipe of a kernel.
    pub fn get(&self, hash: &str) -> Option<&Recipe> {
        self.by_hash.get(hash)
    }

    /// True when the recipe of a kernel was compared with what the heuristics choose now.
    pub fn holds(&self, hash: &str, heuristic: &Recipe) -> bool {
        let mark = self.against.get(hash);
        mark.is_none_or(|m| *m == heuristic.mark())
    }
}

/// Opts as one text in files.
pub(super) mod opts_text {
    use super::{Deserialize, Opt};
    use crate::opt::{parse_opts, print_opts};
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(opts: &[Opt], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&print_opts(opts))
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<Opt>, D::Error> {
        parse_opts(&String::deserialize(from)?).map_err(|e| D::Error::custom(e.message))
    }
}

/// True for what files leave out.
pub(super) fn is_false(flag: &bool) -> bool {
    !flag
}

/// A recipe as files hold it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Written {
    #[serde(with = "opts_text")]
    opts: Vec<Opt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefetch: Option<u32>,
    #[serde(default, skip_serializing_if = "is_false")]
    tuned: bool,
}

impl From<&Recipe> for Written {
    fn from(recipe: &Recipe) -> Written {
        Written {
            opts: recipe.opts.clone(),
            prefetch: recipe.prefetch,
            tuned: recipe.tuned,
        }
    }
}

impl From<Written> for Recipe {
    fn from(written: Written) -> Recipe {
        Recipe {
            opts: written.opts,
            prefetch: written.prefetch,
            tuned: written.tuned,
        }
    }
}
