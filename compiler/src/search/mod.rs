//! Choices that are looked for by measuring, and the files that keep them.
//!
//! In: scheduled kernels and somebody who can time them. Out: a [`Recipe`] for each, better than the heuristics' or the
//! same. `lock` is the file that holds all choices of one build. Kernels are named by their hash, the fingerprint of the
//! kernel as scheduled: it holds everything that the choices are made from.
//!
//! Example: the recipe `split(0.3,16,vector) order(0,4,3)` of kernel `9f2c...` builds the same machine code wherever that
//! kernel occurs.

mod candidates;
mod cost;
mod lock;
mod recipe;

pub use candidates::{Candidate, Point, longest};
pub use lock::{Lock, LockedKernel};
pub use recipe::{Recipe, Recipes, VERSION};
