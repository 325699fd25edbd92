//! Choices that are looked for by measuring, and the files that keep them.
//!
//! In: scheduled kernels and somebody who can time them. Out: a [`Recipe`] for each, better than the heuristics' or the
//! same. `candidates` are other ways to build a kernel, `beam` walks among them, `timing` decides who is faster, `database` keeps
//! what was found, `lock` all choices of one build, `jobs` is for machines that are elsewhere. Kernels are named by their hash, the fingerprint of the
//! kernel as scheduled: it holds everything that the choices are made from.
//!
//! Example: the recipe `split(0.3,16,vector) order(0,4,3)` of kernel `9f2c...` builds the same machine code wherever that
//! kernel occurs.

mod beam;
mod candidates;
mod cost;
mod database;
#[cfg(test)]
mod groups_tests;
mod jobs;
mod lock;
mod recipe;
mod timing;

pub use beam::{Best, Evaluate, Output, Runner, Settings, Task, compare, search};
pub use candidates::{Candidate, Point, longest};
pub use database::{Database, Found, Record};
pub use jobs::{
    JobKernel, JobResult, candidates as job_candidates, fields, read_results, recipe_fields,
};
pub use lock::{Lock, LockedKernel};
pub use recipe::{Recipe, Recipes, VERSION};
pub use timing::{Ratio, median};
