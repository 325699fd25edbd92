//! Operations of the tensor IR. *Primitives* are what `schedule` understands; *composites* keep an
//! algorithm open and each has one decomposition into primitives (`graph::decompose`).
//! Everything else that ONNX knows is a builder function that expands into these.

use crate::uop::{Binary, DType, ReduceOp, Unary};

/// Attributes of a convolution. Spatial vectors have one entry for each spatial axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Strides.
    pub strides: Vec<i64>,
    /// Dilations.
    pub dilations: Vec<i64>,
    /// Zeros before and after each spatial axis; never negative.
    pub pads: Vec<(i64, i64)>,
    /// Groups.
    pub groups: i64,
}

/// Attributes of a transposed convolution.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConvTranspose {
    /// Strides.
    pub strides: Vec<i64>,
    /// Dilations.
    pub dilations: Vec<i64>,
    /// Cut from the full result before and after each spatial axis; negative adds zeros.
    pub pads: Vec<(i64, i64)>,
    /// Groups.
    pub groups: i64,
}

/// Kind of pooling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// Maximum.
    Max,
    /// Mean; whether padding counts.
    Average {
        /// Padding counts in the divisor.
        include_pad: bool,
    },
    /// p-norm.
    Lp(i64),
}

/// Attributes of a pooling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Kind.
    pub kind: PoolKind,
    /// Window.
    pub kernel: Vec<i64>,
    /// Strides.
    pub strides: Vec<i64>,
    /// Dilations.
    pub dilations: Vec<i64>,
    /// Padding before and after each spatial axis. With ceil mode the high side may exceed what
    /// the model declared: `declared_high` is what counts as padding for the mean's divisor.
    pub pads: Vec<(i64, i64)>,
    /// High padding that the model declared (before ceil mode).
    pub declared_high: Vec<i64>,
}

/// Interpolation of a resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ResizeMode {
    NearestRoundPreferFloor,
    NearestRoundPreferCeil,
    NearestFloor,
    NearestCeil,
    Linear,
    /// Coefficient as f32 bits.
    Cubic(u32),
}

/// Where an output pixel lies in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    /// Of opset 11 and 12: half pixels in the output only.
    TfHalfPixel,
    AlignCorners,
    Asymmetric,
    /// Start and end of the region come in `Resize::roi`.
    CropAndResize,
}

/// Attributes of a resize: separable, one weight matrix an axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resize {
    /// Interpolation.
    pub mode: ResizeMode,
    /// Coordinate transformation.
    pub coordinates: Coordinates,
    /// Output size of every axis.
    pub sizes: Vec<i64>,
    /// Scale of every axis as f64 bits (output over input, as the model gave it).
    pub scales: Vec<u64>,
    /// Region for `CropAndResize` as f64 bits: starts then ends, every axis.
    pub roi: Vec<u64>,
    /// Samples outside count nothing and the rest is renormalised.
    pub exclude_outside: bool,
    /// Low-pass filter when shrinking.
    pub antialias: bool,
    /// Value outside for `CropAndResize`, as f32 bits.
    pub extrapolation: u32,
}

/// A small constant matrix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matrix {
    /// Columns; as many as each row has elements.
    pub columns: usize,
    /// Elements, row by row, as f64 bits.
    pub bits: Vec<u64>,
}

impl Matrix {
    /// A matrix from its rows, all of one length.
    pub fn from_rows<const N: usize>(rows: &[[f64; N]]) -> Matrix {
        Matrix {
            columns: N,
            bits: rows.iter().flatten().map(|x| x.to_bits()).collect(),
        }
    }
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.bits.len() / self.columns.max(1)
    }
    /// One row.
    pub fn row(&self, n: usize) -> impl Iterator<Item = f64> + '_ {
        let from = n * self.columns;
        let bits = self.bits.get(from..from + self.columns).unwrap_or_default();
        bits.iter().map(|&b| f64::from_bits(b))
    }
}

/// Operation of a tensor. Sources in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Op {
    // ---- primitives ----
    /// `[]` Model input `n`.
    Input(u32),
    /// `[]` Constant `n` of `Graph::weights`.
    Weight(u32),
    /// `[]` The same number everywhere: bits as the kernel IR's constants.
    Full(u64),
    /// `[]` 0, 1, 2 ... along the only axis.
    Iota,
    /// `[a]`
    Unary(Unary),
    /// `[a, b]` of one shape and dtype; broadcasting is explicit (`Expand`).
    Binary(Binary),
    /// `[Bool, a, b]` of one shape.
    Where,
    /// `[a]` Value conversion, as the kernel IR's `Cast`.
    Cast(DType),
    /// `[a]` Same bits.
    Bitcast(DType),
    /// `[a]` Combines over `axes` (ascending); they disappear.
    Reduce {
        /// How.
        op: ReduceOp,
        /// Which, ascending.
        axes: Vec<usize>,
    },
    /// `[a]` Same elements in row-major order; the shape is the tensor's.
    Reshape,
    /// `[a]` `out.shape[i] = in.shape[perm[i]]`.
    Permute(Vec<usize>),
    /// `[a]` Same rank; axes of extent 1 are repeated to the tensor's shape.
    Expand,
    /// `[a]` Surrounds with a constant (bits as `Full`); (low, high) for each axis, none negative.
    Pad {
        /// Low and high for each axis.
        pads: Vec<(i64, i64)>,
        /// What to fill with.
        value: u64,
    },
    /// `[a]` `out[i] = in[start + i*step]` for each axis, steps positive.
    Slice {
        /// First element of each axis.
        starts: Vec<i64>,
        /// Step of each axis.
        steps: Vec<i64>,
    },
    /// `[a]` Reverses the axes.
    Flip(Vec<usize>),
    /// `[a]` `axis` becomes two: `out[.., o, k, ..] = in[.., o*stride + k*dilation, ..]`, `o` outer.
    Window {
        /// Axis of the source.
        axis: usize,
        /// Extent of the new inner axis k.
        size: i64,
        /// Step of o.
        stride: i64,
        /// Step of k.
        dilation: i64,
    },
    /// `[a]` of floats: `out[.., r, ..] = sum over c of matrix[r, c] * a[.., c, ..]`. What the matrix holds
    /// zeros for is not read.
    Transform {
        /// Axis whose extent goes from the matrix's columns to its rows.
        axis: usize,
        /// A few rows and columns: every row is a formula of its own.
        matrix: Matrix,
    },
    /// `[a...]` Along one axis.
    Concat(usize),
    /// `[data, indices]` `take`: axis of data is replaced by the shape of indices. Indices are I32 or
    /// I64, may be negative (count from the end); out of range is clamped.
    Gather(usize),
    /// `[data, indices]` of one rank: `out[i,j,k] = data[i, indices[i,j,k], k]` for axis 1.
    GatherElements(usize),
    /// `[data [N, inner], indices [M], updates [M, inner]]`: data with updates written (or combined) at rows
    /// `indices`, in order. Out-of-range rows are dropped. Negative counts from the end.
    Scatter(Option<ReduceOp>),

    // ---- composites ----
    /// `[x [N,C,spatial..], w [M,C/groups,k..], bias [M]?]`
    Conv(Conv),
    /// `[x [N,C,spatial..], w [C,M/groups,k..], bias [M]?]`
    ConvTranspose(ConvTranspose),
    /// `[a, b]`: numpy matmul of rank >= 2 with broadcast batch axes.
    MatMul,
    /// `[x [N,C,spatial..]]`
    Pool(Pool),
    /// `[x]` Over one axis.
    Softmax(usize),
    /// `[x]` Over one axis.
    LogSoftmax(usize),
    /// `[x, scale?, bias?]` Mean and variance over the last axes from `axis`; epsilon as f64 bits.
    /// Scale and bias have the shape of the normalised axes.
    LayerNorm {
        /// First normalised axis.
        axis: usize,
        /// f64 bits.
        epsilon: u64,
    },
    /// `[x]`
    Resize(Resize),
    /// `[x]` Running sum along an axis.
    CumSum {
        /// Axis.
        axis: usize,
        /// Leaves out the element itself.
        exclusive: bool,
        /// From the end.
        reverse: bool,
    },
    /// `[x]` The k largest (or smallest) along an axis, in order; equal values by index.
    TopK {
        /// Axis.
        axis: usize,
        /// How many.
        k: i64,
        /// Largest first, or smallest first.
        largest: bool,
        /// Gives indices (I64) and not values.
        indices: bool,
    },
    /// `[x]` Index (I64) of the largest or smallest along an axis; the axis disappears.
    ArgReduce {
        /// Axis.
        axis: usize,
        /// Largest, or smallest.
        largest: bool,
        /// The last of equal values, not the first.
        last: bool,
    },
}

impl Op {
    /// True for composites: `graph::decompose` expands them.
    pub fn is_composite(&self) -> bool {
        matches!(
            self,
            Op::Conv(_)
                | Op::ConvTranspose(_)
                | Op::MatMul
                | Op::Pool(_)
                | Op::Softmax(_)
                | Op::LogSoftmax(_)
                | Op::LayerNorm { .. }
                | Op::Resize(_)
                | Op::CumSum { .. }
                | Op::TopK { .. }
                | Op::ArgReduce { .. }
        )
    }
}
