//! The graph itself: tensors in topological order.

use super::ops::Op;
use crate::diag::{Error, Origin, Result};
use crate::program::Weight;
use crate::uop::DType;
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;

/// A tensor of one [`Graph`]. Sources have smaller ids than their users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub u32);

/// One dimension.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Known now.
    Known(i64),
    /// Named, known at run time, within bounds (inclusive).
    Symbolic {
        /// Name in the model, such as `batch`.
        name: Arc<str>,
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
}

impl Dim {
    /// Its value when known.
    pub fn known(&self) -> Option<i64> {
        match self {
            Dim::Known(n) => Some(*n),
            Dim::Symbolic { .. } => None,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(n) => write!(f, "{n}"),
            Dim::Symbolic { name, min, max } => write!(f, "{name}={min}..{max}"),
        }
    }
}

/// Shape of a tensor. Empty is a scalar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(pub SmallVec<[Dim; 4]>);

impl Shape {
    /// A shape of known dimensions.
    pub fn known(dims: &[i64]) -> Shape {
        Shape(dims.iter().map(|&d| Dim::Known(d)).collect())
    }
    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }
    /// All dimensions when all are known.
    pub fn dims(&self) -> Option<Vec<i64>> {
        self.0.iter().map(Dim::known).collect()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            write!(f, "{}{d}", if i == 0 { "" } else { "," })?;
        }
        f.write_str("]")
    }
}

/// One tensor: the operation that makes it, and its type.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Operation and attributes.
    pub op: Op,
    /// Sources.
    pub src: SmallVec<[TensorId; 4]>,
    /// Shape.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
    /// Model node.
    pub origin: Arc<Origin>,
    /// The axis that holds channels, where an image operation says so: a hint for `schedule`'s layouts.
    pub channels: Option<u8>,
}

/// A model: tensors in topological order, with named inputs and outputs.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// Name of the model.
    pub name: String,
    /// Tensors; sources come first.
    pub tensors: Vec<Tensor>,
    /// Inputs in the model's order: name and tensor (whose op is `Input`).
    pub inputs: Vec<(String, TensorId)>,
    /// Outputs in the model's order.
    pub outputs: Vec<(String, TensorId)>,
    /// Constants that `Op::Weight` refers to.
    pub weights: Vec<Weight>,
}

impl Graph {
    /// A tensor.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0 as usize]
    }
    /// Known dimensions of a tensor; an error that names the tensor when one is symbolic.
    pub fn dims(&self, id: TensorId) -> Result<Vec<i64>> {
        let t = self.tensor(id);
        t.shape.dims().ok_or_else(|| {
            Error::unsupported(format!("shape {} has a symbolic dimension here", t.shape))
                .at(&t.origin)
                .help("bind it with --dim NAME=N")
        })
    }
}
