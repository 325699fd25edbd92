//! The vocabulary of operator handlers: short calls that make tensors.
//!
//! In: tensors. Out: tensors, broadcast and checked. A call that changes nothing (a cast to the same
//! type, a slice of everything) returns its source, so handlers need not test for that.
//!
//! Example: `let y = c.mul_number(x, 0.5)?;`

use super::import::Import;
use super::node::Node;
use super::ops::pad_with;
use crate::diag::{Error, Result};
use crate::graph::infer::broadcast_shapes;
use crate::graph::interp::{Data, Value, number_bits};
use crate::graph::{Op, TensorId};
use crate::uop::{Binary, DType, ReduceOp, Unary};
use std::collections::{BTreeSet, HashSet};

impl Import<'_> {
    /// Element type.
    pub(super) fn dtype(&self, x: TensorId) -> DType {
        self.b.graph().tensor(x).dtype
    }
    /// Number of dimensions.
    pub(super) fn rank(&self, x: TensorId) -> usize {
        self.b.graph().tensor(x).shape.rank()
    }
    /// Dimensions.
    pub(super) fn dims(&self, x: TensorId) -> Result<Vec<i64>> {
        self.b.graph().dims(x)
    }
    /// Dimensions for a message or comparison; open ones are -1.
    pub(super) fn shape(&self, x: TensorId) -> Vec<i64> {
        let shape = &self.b.graph().tensor(x).shape;
        shape.0.iter().map(|d| d.known().unwrap_or(-1)).collect()
    }
    /// Number of elements.
    pub(super) fn elements(&self, x: TensorId) -> Result<i64> {
        Ok(self.dims(x)?.iter().product())
    }

    /// Any operation whose shape follows from its sources.
    pub(super) fn push(&mut self, op: Op, src: &[TensorId]) -> Result<TensorId> {
        self.b.push(op, src)
    }
    /// The same number everywhere.
    fn full(&mut self, bits: u64, dims: &[i64], dtype: DType) -> Result<TensorId> {
        self.b.shaped(Op::Full(bits), &[], dims, dtype)
    }
    /// A scalar. Numbers that the type cannot hold are rounded or saturated.
    pub(super) fn number(&mut self, v: f64, dtype: DType) -> Result<TensorId> {
        self.full(number_bits(dtype, v), &[], dtype)
    }
    /// An integer scalar.
    pub(super) fn integer(&mut self, v: i64, dtype: DType) -> Result<TensorId> {
        if dtype.is_float() {
            return self.number(v as f64, dtype);
        }
        self.full(v as u64, &[], dtype)
    }
    /// A constant of I64.
    pub(super) fn constant_i64(&mut self, v: &[i64], shape: &[i64]) -> Result<TensorId> {
        let value = Value::ints(DType::I64, shape, v.to_vec());
        self.b.weight(value.to_weight(""))
    }
    /// A constant of floats.
    pub(super) fn constant_f64(
        &mut self,
        v: &[f64],
        shape: &[i64],
        dtype: DType,
    ) -> Result<TensorId> {
        let value = Value::floats(dtype, shape, v.to_vec());
        self.b.weight(value.to_weight(""))
    }
    /// 0, 1, 2 ...
    pub(super) fn iota(&mut self, n: i64, dtype: DType) -> Result<TensorId> {
        self.b.shaped(Op::Iota, &[], &[n], dtype)
    }
    /// 0, 1, 2 ... along one axis of a tensor of `rank` dimensions; the others are 1.
    pub(super) fn iota_along(
        &mut self,
        n: i64,
        dtype: DType,
        axis: usize,
        rank: usize,
    ) -> Result<TensorId> {
        let iota = self.iota(n, dtype)?;
        let mut dims = vec![1; rank];
        *extent(&mut dims, axis)? = n;
        self.reshape(iota, &dims)
    }

    /// Elementwise.
    pub(super) fn unary(&mut self, op: Unary, x: TensorId) -> Result<TensorId> {
        self.push(Op::Unary(op), &[x])
    }
    /// Elementwise, with broadcasting.
    pub(super) fn binary(&mut self, op: Binary, a: TensorId, b: TensorId) -> Result<TensorId> {
        let [a, b] = self.together([a, b])?;
        self.push(Op::Binary(op), &[a, b])
    }
    /// Broadcasts tensors to their common shape.
    fn together<const N: usize>(&mut self, list: [TensorId; N]) -> Result<[TensorId; N]> {
        let mut shape = self.b.graph().tensor(list[0]).shape.clone();
        for &x in &list[1..] {
            shape = broadcast_shapes(&shape, &self.b.graph().tensor(x).shape)?;
        }
        let dims = shape.dims().ok_or_else(|| {
            Error::unsupported(format!("shape {shape} has a symbolic dimension here"))
        })?;
        let mut out = list;
        for x in &mut out {
            *x = self.broadcast(*x, &dims)?;
        }
        Ok(out)
    }
    /// a + b
    pub(super) fn add(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.binary(Binary::Add, a, b)
    }
    /// a - b
    pub(super) fn sub(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.binary(Binary::Sub, a, b)
    }
    /// a * b
    pub(super) fn mul(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.binary(Binary::Mul, a, b)
    }
    /// a / b
    pub(super) fn div(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.binary(Binary::Div, a, b)
    }
    /// a < b
    pub(super) fn lt(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.binary(Binary::Lt, a, b)
    }
    /// x + v
    pub(super) fn add_number(&mut self, x: TensorId, v: f64) -> Result<TensorId> {
        let v = self.number(v, self.dtype(x))?;
        self.add(x, v)
    }
    /// x * v
    pub(super) fn mul_number(&mut self, x: TensorId, v: f64) -> Result<TensorId> {
        let v = self.number(v, self.dtype(x))?;
        self.mul(x, v)
    }
    /// x / v
    pub(super) fn div_number(&mut self, x: TensorId, v: f64) -> Result<TensorId> {
        let v = self.number(v, self.dtype(x))?;
        self.div(x, v)
    }
    /// v - x
    pub(super) fn number_minus(&mut self, v: f64, x: TensorId) -> Result<TensorId> {
        let v = self.number(v, self.dtype(x))?;
        self.sub(v, x)
    }
    /// Where, with broadcasting.
    pub(super) fn select(&mut self, c: TensorId, a: TensorId, b: TensorId) -> Result<TensorId> {
        let [c, a, b] = self.together([c, a, b])?;
        self.push(Op::Where, &[c, a, b])
    }
    /// Converts values.
    pub(super) fn cast(&mut self, x: TensorId, to: DType) -> Result<TensorId> {
        if self.dtype(x) == to {
            return Ok(x);
        }
        self.push(Op::Cast(to), &[x])
    }

    /// Another shape.
    pub(super) fn reshape(&mut self, x: TensorId, dims: &[i64]) -> Result<TensorId> {
        if self.shape(x) == dims {
            return Ok(x);
        }
        let dtype = self.dtype(x);
        self.b.shaped(Op::Reshape, &[x], dims, dtype)
    }
    /// A new axis of extent 1.
    pub(super) fn unsqueeze(&mut self, x: TensorId, axis: usize) -> Result<TensorId> {
        let mut dims = self.dims(x)?;
        if axis > dims.len() {
            return Err(no_axis(axis, dims.len()));
        }
        dims.insert(axis, 1);
        self.reshape(x, &dims)
    }
    /// The only element as a scalar.
    pub(super) fn scalar_of(&mut self, x: TensorId) -> Result<TensorId> {
        self.reshape(x, &[])
    }
    /// `out.shape[i] = in.shape[perm[i]]`
    pub(super) fn permute(&mut self, x: TensorId, perm: &[usize]) -> Result<TensorId> {
        if perm.len() == self.rank(x) && perm.iter().enumerate().all(|(i, &p)| i == p) {
            return Ok(x);
        }
        self.push(Op::Permute(perm.to_vec()), &[x])
    }
    /// Broadcasts to a shape of the same or a higher rank.
    pub(super) fn broadcast(&mut self, x: TensorId, to: &[i64]) -> Result<TensorId> {
        let from = self.dims(x)?;
        if from == to {
            return Ok(x);
        }
        let Some(extra) = to.len().checked_sub(from.len()) else {
            return Err(Error::model(format!("cannot broadcast {from:?} to {to:?}")));
        };
        let mut dims = vec![1; extra];
        dims.extend(&from);
        let fits = dims.iter().zip(to).all(|(&d, &t)| d == t || d == 1);
        if !fits {
            return Err(Error::model(format!("cannot broadcast {from:?} to {to:?}")));
        }
        // A constant that is the same everywhere is made in its final shape.
        if let Op::Full(bits) = self.b.graph().tensor(x).op {
            let dtype = self.dtype(x);
            return self.full(bits, to, dtype);
        }
        let x = self.reshape(x, &dims)?;
        if dims == to {
            return Ok(x);
        }
        let dtype = self.dtype(x);
        self.b.shaped(Op::Expand, &[x], to, dtype)
    }
    /// `out[i] = in[start + i*step]`
    pub(super) fn slice(
        &mut self,
        x: TensorId,
        starts: &[i64],
        sizes: &[i64],
        steps: &[i64],
    ) -> Result<TensorId> {
        if self.shape(x) == sizes && steps.iter().all(|&s| s == 1) {
            return Ok(x);
        }
        let op = Op::Slice {
            starts: starts.to_vec(),
            steps: steps.to_vec(),
        };
        let dtype = self.dtype(x);
        self.b.shaped(op, &[x], sizes, dtype)
    }
    /// A part of one axis.
    pub(super) fn slice_axis(
        &mut self,
        x: TensorId,
        axis: usize,
        start: i64,
        size: i64,
    ) -> Result<TensorId> {
        let mut sizes = self.dims(x)?;
        let mut starts = vec![0; sizes.len()];
        *extent(&mut sizes, axis)? = size;
        *extent(&mut starts, axis)? = start;
        let steps = vec![1; sizes.len()];
        self.slice(x, &starts, &sizes, &steps)
    }
    /// Reverses axes.
    pub(super) fn flip(&mut self, x: TensorId, axes: &[usize]) -> Result<TensorId> {
        self.push(Op::Flip(axes.to_vec()), &[x])
    }
    /// Surrounds with a scalar; negative numbers crop.
    pub(super) fn pad(
        &mut self,
        x: TensorId,
        around: &[(i64, i64)],
        value: TensorId,
    ) -> Result<TensorId> {
        let dims = self.dims(x)?;
        let mut starts = vec![0; dims.len()];
        let mut sizes = dims.clone();
        let mut grow = Vec::with_capacity(dims.len());
        for (a, &(low, high)) in around.iter().enumerate() {
            let (cut_low, cut_high) = ((-low).max(0), (-high).max(0));
            starts[a] = cut_low;
            sizes[a] = dims[a] - cut_low - cut_high;
            if sizes[a] < 0 {
                return Err(Error::model(format!(
                    "padding {around:?} crops more than shape {dims:?} has"
                )));
            }
            grow.push((low.max(0), high.max(0)));
        }
        let steps = vec![1; dims.len()];
        let x = self.slice(x, &starts, &sizes, &steps)?;
        if grow.iter().all(|&g| g == (0, 0)) {
            return Ok(x);
        }
        if self.dtype(value) != self.dtype(x) {
            return Err(Error::model(format!(
                "padding of {} with {}",
                self.dtype(x),
                self.dtype(value)
            )));
        }
        let dtype = self.dtype(x);
        let known = self.b.value(value);
        let bits = known.and_then(|v| match &v.data {
            Data::Float(d) => d.first().map(|&f| number_bits(dtype, f)),
            Data::Int(d) => d.first().map(|&i| i as u64),
        });
        match bits {
            Some(value) => self.push(Op::Pad { pads: grow, value }, &[x]),
            None => pad_with(self, x, &grow, value),
        }
    }
    /// Joins along an axis.
    pub(super) fn concat(&mut self, list: &[TensorId], axis: usize) -> Result<TensorId> {
        if let [only] = list {
            return Ok(*only);
        }
        self.push(Op::Concat(axis), list)
    }
    /// Takes along an axis.
    pub(super) fn gather(&mut self, x: TensorId, index: TensorId, axis: usize) -> Result<TensorId> {
        self.push(Op::Gather(axis), &[x, index])
    }
    /// Takes one element for each index.
    pub(super) fn gather_elements(
        &mut self,
        x: TensorId,
        index: TensorId,
        axis: usize,
    ) -> Result<TensorId> {
        self.push(Op::GatherElements(axis), &[x, index])
    }
    /// Combines over ascending axes.
    pub(super) fn reduce(
        &mut self,
        op: ReduceOp,
        x: TensorId,
        axes: &[usize],
        keep: bool,
    ) -> Result<TensorId> {
        if axes.is_empty() {
            return Ok(x);
        }
        let mut dims = self.dims(x)?;
        let axes = axes.to_vec();
        for &a in &axes {
            if let Some(d) = dims.get_mut(a) {
                *d = 1;
            }
        }
        let y = self.push(Op::Reduce { op, axes }, &[x])?;
        if keep { self.reshape(y, &dims) } else { Ok(y) }
    }
    /// Mean over ascending axes.
    pub(super) fn mean(&mut self, x: TensorId, axes: &[usize], keep: bool) -> Result<TensorId> {
        let dims = self.dims(x)?;
        let count: i64 = axes
            .iter()
            .map(|&a| dims.get(a).copied().unwrap_or(1))
            .product();
        let sum = self.reduce(ReduceOp::Sum, x, axes, keep)?;
        self.div_number(sum, count as f64)
    }

    /// The value of a tensor as numbers, when it is known.
    pub(super) fn const_numbers(&mut self, x: TensorId) -> Option<Vec<f64>> {
        self.b.value(x).map(|v| v.to_f64())
    }
    /// Input `i`, whose value must be known: integers or Bools.
    pub(super) fn ints(&mut self, n: &Node<'_>, i: usize, what: &str) -> Result<Vec<i64>> {
        let x = n.input(i)?;
        if self.dtype(x).is_float() {
            return Err(Error::model(format!(
                "{what} (input {i}) must be integers, found {}",
                self.dtype(x)
            )));
        }
        if self.rank(x) > 1 {
            return Err(Error::model(format!(
                "{what} (input {i}) has shape {:?}, expected a vector",
                self.shape(x)
            )));
        }
        match self.b.value(x) {
            Some(v) => Ok(v.to_i64()),
            None => Err(self.needs_value(x, &format!("{what} (input {i})"))),
        }
    }
    /// Input `i`, whose value must be known.
    pub(super) fn numbers(&mut self, n: &Node<'_>, i: usize, what: &str) -> Result<Vec<f64>> {
        let x = n.input(i)?;
        match self.const_numbers(x) {
            Some(v) => Ok(v),
            None => Err(self.needs_value(x, &format!("{what} (input {i})"))),
        }
    }
    /// Inputs of the model that a tensor's value depends on, when binding them as constants is the way
    /// out: all are integers, or the tensor is an input itself.
    pub(super) fn ancestors(&self, x: TensorId) -> Vec<String> {
        let graph = self.b.graph();
        let mut seen = HashSet::new();
        let mut stack = vec![x];
        let mut found = BTreeSet::new();
        let mut floats = false;
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            let t = graph.tensor(id);
            if let Op::Input(k) = t.op {
                floats |= t.dtype.is_float() && id != x;
                found.insert(k);
            }
            stack.extend(t.src.iter().copied());
        }
        if floats {
            return Vec::new();
        }
        found
            .into_iter()
            .filter_map(|k| graph.inputs.get(k as usize).map(|(n, _)| n.clone()))
            .collect()
    }
}

/// A tensor that a model gives a handler may have any rank: an axis that it lacks is the model's mistake.
fn no_axis(axis: usize, rank: usize) -> Error {
    Error::model(format!(
        "expected a tensor with more than {axis} axes, found one with {rank}"
    ))
}

fn extent(dims: &mut [i64], axis: usize) -> Result<&mut i64> {
    let rank = dims.len();
    dims.get_mut(axis).ok_or_else(|| no_axis(axis, rank))
}
