//! The graph under construction.
//!
//! In: operations on tensors that exist. Out: a [`Graph`] in which every tensor was inferred and checked
//! when it was made, and on request the value of a tensor that does not depend on any input.
//!
//! Example: `push(Op::Binary(Binary::Add), &[a, b])`.

use super::known;
use crate::diag::{Origin, Result};
use crate::graph::infer::{check_shaped, infer};
use crate::graph::interp::Value;
use crate::graph::{Graph, Op, Shape, Tensor, TensorId};
use crate::program::Weight;
use crate::uop::DType;
use std::collections::HashMap;
use std::sync::Arc;

/// See the module.
pub(super) struct Builder {
    graph: Graph,
    origin: Arc<Origin>,
    /// Values of tensors that were asked for; `None` where a value is not known.
    values: HashMap<TensorId, Option<Arc<Value>>>,
}

impl Builder {
    /// An empty graph.
    pub(super) fn new(name: &str) -> Builder {
        Builder {
            graph: Graph {
                name: name.to_string(),
                ..Graph::default()
            },
            origin: Arc::default(),
            values: HashMap::new(),
        }
    }
    /// The node that the next tensors belong to.
    pub(super) fn set_origin(&mut self, origin: &Arc<Origin>) {
        self.origin = origin.clone();
    }
    /// The graph so far.
    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }
    fn add(&mut self, op: Op, src: &[TensorId], shape: Shape, dtype: DType) -> TensorId {
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
    pub(super) fn input(&mut self, name: &str, dtype: DType, shape: &[i64]) -> Result<TensorId> {
        let shape = Shape::known(shape);
        let op = Op::Input(self.graph.inputs.len() as u32);
        check_shaped(&op, &[], &shape, dtype)?;
        self.origin = Arc::new(Origin::new("", "input", name));
        let id = self.add(op, &[], shape, dtype);
        self.graph.inputs.push((name.to_string(), id));
        Ok(id)
    }
    /// A constant.
    pub(super) fn weight(&mut self, weight: Weight) -> Result<TensorId> {
        let shape = Shape::known(&weight.shape);
        let op = Op::Weight(self.graph.weights.len() as u32);
        check_shaped(&op, &[], &shape, weight.dtype)?;
        let id = self.add(op, &[], shape, weight.dtype);
        self.graph.weights.push(weight);
        Ok(id)
    }
    /// An operation whose shape follows from its sources.
    pub(super) fn push(&mut self, op: Op, src: &[TensorId]) -> Result<TensorId> {
        let sources: Vec<&Tensor> = src.iter().map(|&s| self.graph.tensor(s)).collect();
        let (shape, dtype) = infer(&op, &sources)?;
        Ok(self.add(op, src, shape, dtype))
    }
    /// An operation whose shape is given.
    pub(super) fn shaped(
        &mut self,
        op: Op,
        src: &[TensorId],
        dims: &[i64],
        dtype: DType,
    ) -> Result<TensorId> {
        let sources: Vec<&Tensor> = src.iter().map(|&s| self.graph.tensor(s)).collect();
        let shape = Shape::known(dims);
        check_shaped(&op, &sources, &shape, dtype)?;
        Ok(self.add(op, src, shape, dtype))
    }
    /// The value of a tensor, when it is known and small.
    pub(super) fn value(&mut self, id: TensorId) -> Option<Arc<Value>> {
        known::value(&self.graph, id, &mut self.values)
    }
    /// Names a result of the model.
    pub(super) fn output(&mut self, name: &str, id: TensorId) {
        self.graph.outputs.push((name.to_string(), id));
    }
    /// The graph.
    pub(super) fn finish(self) -> Result<Graph> {
        Ok(self.graph)
    }
}
