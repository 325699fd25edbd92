//! Makes graphs, tensor by tensor.
//!
//! In: operations on tensors that exist. Out: a [`Graph`] in which every tensor was inferred and checked when
//! it was made. [`Builder::push`] takes operations whose shape follows from their sources, [`Builder::shaped`] the
//! others; the rest are the combinations that models use most.
//!
//! Example: `b.push(Op::Binary(Binary::Add), &[x, y])`.

use super::infer::{broadcast_shapes, check_shaped, infer};
use super::interp::number_bits;
use super::ops::{Conv, Op, Pool, PoolKind};
use super::tensor::{Graph, Shape, Tensor, TensorId};
use crate::diag::{Origin, Result};
use crate::program::{Bytes, Weight};
use crate::uop::{Binary, DType, ReduceOp, Unary};
use std::sync::Arc;

/// A graph under construction.
#[derive(Debug)]
pub struct Builder {
    graph: Graph,
    origin: Arc<Origin>,
}

impl Builder {
    /// An empty graph.
    pub fn new(name: &str) -> Builder {
        Builder {
            graph: Graph {
                name: name.to_string(),
                ..Graph::default()
            },
            origin: Arc::default(),
        }
    }
    /// The node that the next tensors belong to.
    pub fn set_origin(&mut self, origin: Arc<Origin>) {
        self.origin = origin;
    }
    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
    /// The graph.
    pub fn finish(self) -> Graph {
        self.graph
    }
    /// Known dimensions of a tensor.
    pub fn dims(&self, id: TensorId) -> Result<Vec<i64>> {
        self.graph.dims(id)
    }
    /// Element type of a tensor.
    pub fn dtype(&self, id: TensorId) -> DType {
        self.graph.tensor(id).dtype
    }
    /// Says which axis of a tensor holds channels.
    pub fn set_channels(&mut self, id: TensorId, axis: Option<u8>) {
        if let Some(t) = self.graph.tensors.get_mut(id.0 as usize) {
            t.channels = axis;
        }
    }
    /// Says that a tensor that was computed as something else is an image from here on: its axis 1 holds channels.
    pub fn set_image(&mut self, id: TensorId) {
        let source = self.graph.tensor(id);
        let given = matches!(source.op, Op::Input(_) | Op::Weight(_) | Op::Full(_));
        if !given && source.channels.is_none() {
            self.set_channels(id, Some(1));
        }
    }

    fn insert(&mut self, op: Op, src: &[TensorId], shape: Shape, dtype: DType) -> TensorId {
        let id = TensorId(self.graph.tensors.len() as u32);
        let channels = matches!(op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Pool(_)).then_some(1);
        self.graph.tensors.push(Tensor {
            op,
            src: src.iter().copied().collect(),
            shape,
            dtype,
            origin: self.origin.clone(),
            channels,
        });
        id
    }
    /// A model input.
    pub fn input(&mut self, name: &str, dtype: DType, dims: &[i64]) -> Result<TensorId> {
        let shape = Shape::known(dims);
        let op = Op::Input(self.graph.inputs.len() as u32);
        check_shaped(&op, &[], &shape, dtype)?;
        let id = self.insert(op, &[], shape, dtype);
        self.graph.inputs.push((name.to_string(), id));
        Ok(id)
    }
    /// Names a result of the model.
    pub fn output(&mut self, name: &str, id: TensorId) {
        self.graph.outputs.push((name.to_string(), id));
    }
    /// A constant.
    pub fn weight(&mut self, weight: Weight) -> Result<TensorId> {
        let shape = Shape::known(&weight.shape);
        let op = Op::Weight(self.graph.weights.len() as u32);
        check_shaped(&op, &[], &shape, weight.dtype)?;
        let id = self.insert(op, &[], shape, weight.dtype);
        self.graph.weights.push(weight);
        Ok(id)
    }
    /// A constant of f32.
    pub fn floats(&mut self, name: &str, dims: &[i64], values: &[f32]) -> Result<TensorId> {
        let bytes = values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>();
        self.weight(Weight {
            name: name.to_string(),
            dtype: DType::F32,
            shape: dims.to_vec(),
            bytes: Bytes::new(bytes),
        })
    }
    /// A constant of i64.
    pub fn integers(&mut self, dims: &[i64], values: &[i64]) -> Result<TensorId> {
        let bytes = values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>();
        self.weight(Weight {
            name: String::new(),
            dtype: DType::I64,
            shape: dims.to_vec(),
            bytes: Bytes::new(bytes),
        })
    }
    /// An operation whose shape follows from its sources.
    pub fn push(&mut self, op: Op, src: &[TensorId]) -> Result<TensorId> {
        let sources: Vec<&Tensor> = src.iter().map(|&s| self.graph.tensor(s)).collect();
        let (shape, dtype) = infer(&op, &sources).map_err(|e| e.at(&self.origin))?;
        Ok(self.insert(op, src, shape, dtype))
    }
    /// An operation whose shape is given.
    pub fn shaped(
        &mut self,
        op: Op,
        src: &[TensorId],
        dims: &[i64],
        dtype: DType,
    ) -> Result<TensorId> {
        let sources: Vec<&Tensor> = src.iter().map(|&s| self.graph.tensor(s)).collect();
        let shape = Shape::known(dims);
        check_shaped(&op, &sources, &shape, dtype).map_err(|e| e.at(&self.origin))?;
        Ok(self.insert(op, src, shape, dtype))
    }

    /// A tensor of another graph over new sources; no input, which has a number of its own.
    pub fn again(&mut self, graph: &Graph, id: TensorId, src: &[TensorId]) -> Result<TensorId> {
        let t = graph.tensor(id);
        match &t.op {
            Op::Weight(w) => self.weight(graph.weights[*w as usize].clone()),
            Op::Full(_) | Op::Iota | Op::Reshape | Op::Expand | Op::Slice { .. } => {
                self.shaped(t.op.clone(), src, &graph.dims(id)?, t.dtype)
            }
            op => self.push(op.clone(), src),
        }
    }

    /// The same number everywhere.
    pub fn full(&mut self, dtype: DType, dims: &[i64], value: f64) -> Result<TensorId> {
        self.shaped(Op::Full(number_bits(dtype, value)), &[], dims, dtype)
    }
    /// 0, 1, 2 ...
    pub fn iota(&mut self, n: i64, dtype: DType) -> Result<TensorId> {
        self.shaped(Op::Iota, &[], &[n], dtype)
    }
    /// Same elements, other shape.
    pub fn reshape(&mut self, x: TensorId, dims: &[i64]) -> Result<TensorId> {
        if self.dims(x)? == dims {
            return Ok(x);
        }
        self.shaped(Op::Reshape, &[x], dims, self.dtype(x))
    }
    /// Repeats axes of extent 1.
    pub fn expand(&mut self, x: TensorId, dims: &[i64]) -> Result<TensorId> {
        if self.dims(x)? == dims {
            return Ok(x);
        }
        self.shaped(Op::Expand, &[x], dims, self.dtype(x))
    }
    /// Reorders axes.
    pub fn permute(&mut self, x: TensorId, perm: &[usize]) -> Result<TensorId> {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return Ok(x);
        }
        self.push(Op::Permute(perm.to_vec()), &[x])
    }
    /// `len` elements of an axis from `start`.
    pub fn slice(&mut self, x: TensorId, axis: usize, start: i64, len: i64) -> Result<TensorId> {
        let mut dims = self.dims(x)?;
        if start == 0 && dims[axis] == len {
            return Ok(x);
        }
        let mut starts = vec![0; dims.len()];
        starts[axis] = start;
        let steps = vec![1; dims.len()];
        dims[axis] = len;
        self.shaped(Op::Slice { starts, steps }, &[x], &dims, self.dtype(x))
    }
    /// Pads with a number.
    pub fn pad(&mut self, x: TensorId, pads: &[(i64, i64)], value: f64) -> Result<TensorId> {
        if pads.iter().all(|&p| p == (0, 0)) {
            return Ok(x);
        }
        let value = number_bits(self.dtype(x), value);
        self.push(
            Op::Pad {
                pads: pads.to_vec(),
                value,
            },
            &[x],
        )
    }
    /// Numpy broadcasting of `x` to a shape that it fits.
    pub fn broadcast_to(&mut self, x: TensorId, dims: &[i64]) -> Result<TensorId> {
        let from = self.dims(x)?;
        let mut with_ones = vec![1; dims.len().saturating_sub(from.len())];
        with_ones.extend(&from);
        let x = self.reshape(x, &with_ones)?;
        self.expand(x, dims)
    }
    /// One-source arithmetic.
    pub fn unary(&mut self, op: Unary, x: TensorId) -> Result<TensorId> {
        self.push(Op::Unary(op), &[x])
    }
    /// Two-source arithmetic with numpy broadcasting.
    pub fn binary(&mut self, op: Binary, a: TensorId, b: TensorId) -> Result<TensorId> {
        let shape = broadcast_shapes(&self.graph.tensor(a).shape, &self.graph.tensor(b).shape)
            .map_err(|e| e.at(&self.origin))?;
        if let Some(dims) = shape.dims() {
            let a = self.broadcast_to(a, &dims)?;
            let b = self.broadcast_to(b, &dims)?;
            return self.push(Op::Binary(op), &[a, b]);
        }
        self.push(Op::Binary(op), &[a, b])
    }
    /// a + b.
    pub fn add(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.binary(Binary::Add, a, b)
    }
    /// a - b.
    pub fn sub(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.binary(Binary::Sub, a, b)
    }
    /// a * b.
    pub fn mul(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.binary(Binary::Mul, a, b)
    }
    /// a / b.
    pub fn div(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.binary(Binary::Div, a, b)
    }
    /// x op number.
    pub fn with_number(&mut self, op: Binary, x: TensorId, number: f64) -> Result<TensorId> {
        let dims = self.dims(x)?;
        let n = self.full(self.dtype(x), &dims, number)?;
        self.push(Op::Binary(op), &[x, n])
    }
    /// condition ? a : b, all of one shape.
    pub fn select(&mut self, condition: TensorId, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.push(Op::Where, &[condition, a, b])
    }
    /// Value conversion.
    pub fn cast(&mut self, x: TensorId, dtype: DType) -> Result<TensorId> {
        if self.dtype(x) == dtype {
            return Ok(x);
        }
        self.push(Op::Cast(dtype), &[x])
    }
    /// Reduces over axes; `keep` leaves them with extent 1.
    pub fn reduce(
        &mut self,
        op: ReduceOp,
        x: TensorId,
        axes: &[usize],
        keep: bool,
    ) -> Result<TensorId> {
        let mut dims = self.dims(x)?;
        let y = self.push(
            Op::Reduce {
                op,
                axes: axes.to_vec(),
            },
            &[x],
        )?;
        if !keep {
            return Ok(y);
        }
        for &a in axes {
            dims[a] = 1;
        }
        self.reshape(y, &dims)
    }
    /// Mean over axes, which stay with extent 1.
    pub fn mean(&mut self, x: TensorId, axes: &[usize]) -> Result<TensorId> {
        let dims = self.dims(x)?;
        let count: i64 = axes.iter().map(|&a| dims[a]).product();
        let sum = self.reduce(ReduceOp::Sum, x, axes, true)?;
        self.with_number(Binary::Mul, sum, 1.0 / count as f64)
    }

    // ---- what models are made of ----

    /// max(x, 0).
    pub fn relu(&mut self, x: TensorId) -> Result<TensorId> {
        self.with_number(Binary::Max, x, 0.0)
    }
    /// 1 / (1 + exp(-x)).
    pub fn sigmoid(&mut self, x: TensorId) -> Result<TensorId> {
        let n = self.unary(Unary::Neg, x)?;
        let e = self.unary(Unary::Exp, n)?;
        let d = self.with_number(Binary::Add, e, 1.0)?;
        let dims = self.dims(x)?;
        let one = self.full(self.dtype(x), &dims, 1.0)?;
        self.push(Op::Binary(Binary::Div), &[one, d])
    }
    /// x * Phi(x), exact.
    pub fn gelu(&mut self, x: TensorId) -> Result<TensorId> {
        let s = self.with_number(Binary::Mul, x, std::f64::consts::FRAC_1_SQRT_2)?;
        let e = self.unary(Unary::Erf, s)?;
        let e = self.with_number(Binary::Add, e, 1.0)?;
        let h = self.with_number(Binary::Mul, x, 0.5)?;
        self.push(Op::Binary(Binary::Mul), &[h, e])
    }
    /// min(max(x, low), high).
    pub fn clip(&mut self, x: TensorId, low: f64, high: f64) -> Result<TensorId> {
        let y = self.with_number(Binary::Max, x, low)?;
        self.with_number(Binary::Min, y, high)
    }
    /// Numpy matmul.
    pub fn matmul(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.push(Op::MatMul, &[a, b])
    }
    /// Two-dimensional convolution with equal strides and pads.
    pub fn conv2d(
        &mut self,
        x: TensorId,
        w: TensorId,
        bias: Option<TensorId>,
        stride: i64,
        pad: i64,
        groups: i64,
    ) -> Result<TensorId> {
        let conv = Conv {
            strides: vec![stride; 2],
            dilations: vec![1; 2],
            pads: vec![(pad, pad); 2],
            groups,
        };
        let src: Vec<TensorId> = [x, w].into_iter().chain(bias).collect();
        self.push(Op::Conv(conv), &src)
    }
    /// Two-dimensional maximum pooling.
    pub fn max_pool2d(
        &mut self,
        x: TensorId,
        kernel: i64,
        stride: i64,
        pad: i64,
    ) -> Result<TensorId> {
        self.push(
            Op::Pool(Pool {
                kind: PoolKind::Max,
                kernel: vec![kernel; 2],
                strides: vec![stride; 2],
                dilations: vec![1; 2],
                pads: vec![(pad, pad); 2],
                declared_high: vec![pad; 2],
            }),
            &[x],
        )
    }
    /// Softmax over an axis.
    pub fn softmax(&mut self, x: TensorId, axis: usize) -> Result<TensorId> {
        self.push(Op::Softmax(axis), &[x])
    }
    /// Layer normalisation over the axes from `axis`.
    pub fn layer_norm(
        &mut self,
        x: TensorId,
        scale: TensorId,
        bias: TensorId,
        axis: usize,
        epsilon: f64,
    ) -> Result<TensorId> {
        self.push(
            Op::LayerNorm {
                axis,
                epsilon: epsilon.to_bits(),
            },
            &[x, scale, bias],
        )
    }
}
