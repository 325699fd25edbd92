//! Tensor IR: SSA tensors with shape, dtype and origin; builder, shape inference, decompositions,
//! constant folding, reference interpreter.

pub mod infer;
pub mod interp;
mod ops;
mod tensor;

pub use ops::*;
pub use tensor::*;
