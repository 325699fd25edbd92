//! Kernel IR: a hash-consed arena of typed nodes, its text form, rewrite engine, index arithmetic,
//! verifier and interpreter. No target and no tensor is known here.

mod arena;
mod bounds;
mod dtype;
mod free_ranges;
mod linear;
mod ops;
pub mod rules;
pub mod spec;
mod substitute;
mod symbolic;
mod table;
pub mod text;

pub use arena::{Node, Sources, UopId, Uops, fold_index};
pub use bounds::Bounds;
pub use dtype::{DType, Type};
pub use free_ranges::FreeRanges;
pub use linear::{Linear, gcd};
pub use ops::{Axis, Binary, Op, ReduceOp, Unary};
pub use rules::Engine as Simplifier;
pub use substitute::{import, rebuild, substitute, substitute_all};
pub use symbolic::{simplify, simplify_kernel};
pub use table::document;
