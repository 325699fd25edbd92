//! Tensor IR: SSA tensors with shape, dtype and origin; builder, shape inference, decompositions,
//! constant folding, reference interpreter.
//!
//! ```
//! use tinyc_compiler::graph::{Builder, Op};
//! use tinyc_compiler::uop::{DType, Unary};
//! let mut b = Builder::new("tanh");
//! let x = b.input("x", DType::F32, &[2, 3])?;
//! let y = b.push(Op::Unary(Unary::Tanh), &[x])?;
//! b.output("y", y);
//! assert_eq!(b.finish().outputs.len(), 1);
//! # Ok::<(), tinyc_compiler::diag::Error>(())
//! ```

mod builder;
mod channels;
mod decompose;
mod eliminate_common;
mod fold;
mod fold_constants;
pub mod infer;
pub mod interp;
mod ops;
mod push_through_concat;
mod remove_dead;
mod simplify_movement;
mod tensor;
#[cfg(test)]
mod tests;
mod verify;
mod winograd;

pub use builder::Builder;
pub use channels::mark_channels;
pub use decompose::decompose;
pub use eliminate_common::eliminate_common;
pub use fold::fold;
pub use fold_constants::fold_constants;
pub use ops::*;
pub use push_through_concat::push_through_concat;
pub use remove_dead::remove_dead;
pub use simplify_movement::simplify_movement;
pub use tensor::*;
pub use verify::verify;
pub use winograd::{Winograd, choose_winograd};
