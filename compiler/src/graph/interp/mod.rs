//! Reference interpreter: evaluates every primitive and composite in plain Rust with f64 accumulation.
//! It folds constants and is the oracle of tests.

mod value;

pub use value::{Data, Value, number_bits, round_to, wrap_to};

use super::ops::Op;
use super::tensor::{Graph, TensorId};
use crate::diag::{Error, Result};

/// Value of one tensor from the values of its sources.
pub fn evaluate_tensor(graph: &Graph, id: TensorId, _src: &[&Value]) -> Result<Value> {
    let t = graph.tensor(id);
    let shape = graph.dims(id)?;
    match &t.op {
        Op::Full(bits) => Ok(Value::full(t.dtype, &shape, *bits)),
        Op::Weight(n) => Value::from_weight(&graph.weights[*n as usize]),
        _ => Err(Error::unsupported("not yet evaluated").at(&t.origin)),
    }
}
