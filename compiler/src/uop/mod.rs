//! Kernel IR: a hash-consed arena of typed nodes, its text form, rewrite engine, index arithmetic,
//! verifier and interpreter. No target and no tensor is known here.

mod arena;
mod dtype;
mod ops;

pub use arena::{Node, Sources, UopId, Uops, fold_index};
pub use dtype::{DType, Type};
pub use ops::{Axis, Binary, Op, ReduceOp, Unary};
mod shim;
pub use shim::*;
