//! The ONNX importer: a model file becomes a [`Graph`](crate::graph::Graph).
//!
//! In: a path and [`LoadOptions`]. Out: [`Imported`]. Weights stay in the memory map of the file.
//! Everything that is wrong with a file or not supported is found here, before any work starts, and
//! reported together.
//!
//! ```no_run
//! use tinyc_compiler::onnx::{LoadOptions, load};
//! let imported = load("resnet18.onnx".as_ref(), &LoadOptions::default())?;
//! assert_eq!(imported.graph.outputs.len(), 1);
//! # Ok::<(), tinyc_compiler::diag::Error>(())
//! ```

mod build;
mod external;
mod file;
mod import;
mod inputs;
mod known;
mod load;
mod node;
#[cfg(test)]
mod node_cases;
mod ops;
pub mod proto;
#[cfg(test)]
mod robustness;
mod signature;
mod sort;
mod tensor;
mod tensors;

pub use inputs::input_names;
pub use load::{Imported, LoadOptions, load, load_bytes, value_inputs};
pub use ops::supported;
pub use tensor::{dtype, read_tensor};
