//! Linear lists to source text, for language families that several targets share.
//!
//! In: a [`crate::program::LinearKernel`]. Out: text. [`c::render`] prints C with vector extensions for
//! workers, [`c_groups::render`] for work-groups of threads.

pub mod c;
pub mod c_groups;
mod c_prelude;
mod c_values;
mod c_vectors;
