//! Linear lists to source text, for language families that several targets share.
//!
//! In: a [`crate::program::LinearKernel`]. Out: text. [`c::render`] prints C with vector extensions.

pub mod c;
mod c_prelude;
mod c_values;
mod c_vectors;
