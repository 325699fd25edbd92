//! Composites into primitives.
//!
//! In: a graph. Out: an equal graph without composites. Each composite has one function here or in a file of its
//! family; the sources of a composite are new tensors already when its function runs. Half-precision
//! normalisations are computed in f32.
//!
//! Example: `MatMul([m,k], [k,n])` becomes the sum over `k` of a product of two expanded tensors.

mod contraction;
mod norm;
mod pool;
mod resize;
mod select;

use super::builder::Builder;
use super::channels::mark_channels;
use super::ops::Op;
use super::tensor::{Graph, Tensor, TensorId};
use crate::diag::Result;
use crate::uop::DType;

/// What the left operand of a matrix product is the softmax of, where nothing else reads that and a row of it is longer than a row of
/// the right operand.
fn softmax_of(graph: &Graph, readers: &[u32], product: &Tensor) -> Option<TensorId> {
    let (left, right) = (product.src[0], graph.tensor(product.src[1]));
    let softmax = graph.tensor(left);
    let (rows, columns) = (softmax.shape.dims()?, right.shape.dims()?);
    let last = rows.len() - 1;
    let fits = softmax.op == Op::Softmax(last)
        && softmax.dtype == DType::F32
        && readers[left.0 as usize] == 1
        && rows[last] > columns[columns.len() - 1];
    fits.then(|| softmax.src[0])
}

/// True for an image of which few channels, or the outside, say that its rows will lie contiguous: an output, or what only the
/// activation of an output reads.
fn is_planar(graph: &Graph, readers: &[u32], id: TensorId) -> bool {
    let t = graph.tensor(id);
    if t.shape
        .dims()
        .is_some_and(|d| d.len() == 4 && d[1] <= FEW_CHANNELS)
    {
        return true;
    }
    let is_output = |id: TensorId| graph.outputs.iter().any(|o| o.1 == id);
    is_output(id)
        || readers[id.0 as usize] == 1
            && graph.tensors.iter().enumerate().any(|(n, reader)| {
                let elementwise = matches!(
                    reader.op,
                    Op::Unary(_) | Op::Binary(_) | Op::Cast(_) | Op::Softmax(_)
                );
                elementwise && reader.src.contains(&id) && is_output(TensorId(n as u32))
            })
}

/// Channels of an image that is not laid out in blocks of them.
const FEW_CHANNELS: i64 = 4;

/// Decomposes every composite.
pub fn decompose(graph: &Graph) -> Result<Graph> {
    let mut readers = vec![0u32; graph.tensors.len()];
    let read = graph.tensors.iter().flat_map(|t| &t.src);
    for id in read.chain(graph.outputs.iter().map(|o| &o.1)) {
        readers[id.0 as usize] += 1;
    }
    let mut b = Builder::new(&graph.name);
    let mut new: Vec<TensorId> = Vec::with_capacity(graph.tensors.len());
    // Inputs keep their order, whatever the order of their tensors.
    let mut inputs = Vec::new();
    for (name, id) in &graph.inputs {
        b.set_origin(graph.tensor(*id).origin.clone());
        inputs.push(b.input(name, graph.tensor(*id).dtype, &graph.dims(*id)?)?);
    }
    for (n, t) in graph.tensors.iter().enumerate() {
        b.set_origin(t.origin.clone());
        let src: Vec<TensorId> = t.src.iter().map(|s| new[s.0 as usize]).collect();
        let id = TensorId(n as u32);
        let to = match &t.op {
            Op::Input(i) => inputs[*i as usize],
            Op::Conv(a) => contraction::conv(&mut b, a, &src)?,
            Op::ConvTranspose(a) => contraction::conv_transpose(&mut b, a, &src)?,
            Op::MatMul => match softmax_of(graph, &readers, t) {
                Some(x) => norm::softmax_times(&mut b, new[x.0 as usize], src[1])?,
                None => contraction::matmul(&mut b, src[0], src[1])?,
            },
            Op::Pool(a) => pool::pool(&mut b, a, src[0])?,
            Op::Softmax(axis) => norm::softmax(&mut b, src[0], *axis, false)?,
            Op::LogSoftmax(axis) => norm::softmax(&mut b, src[0], *axis, true)?,
            Op::LayerNorm { axis, epsilon } => {
                norm::layer_norm(&mut b, &src, *axis, f64::from_bits(*epsilon))?
            }
            Op::Resize(a) => resize::resize(&mut b, a, src[0], is_planar(graph, &readers, id))?,
            Op::CumSum {
                axis,
                exclusive,
                reverse,
            } => select::cum_sum(&mut b, src[0], *axis, *exclusive, *reverse)?,
            Op::TopK {
                axis,
                k,
                largest,
                indices,
            } => select::top_k(&mut b, src[0], *axis, *k, *largest, *indices)?,
            Op::ArgReduce {
                axis,
                largest,
                last,
            } => select::arg_reduce(&mut b, src[0], *axis, *largest, *last)?,
            _ => b.again(graph, id, &src)?,
        };
        if t.channels.is_some() {
            b.set_channels(to, t.channels);
        }
        new.push(to);
    }
    for (name, id) in &graph.outputs {
        b.output(name, new[id.0 as usize]);
    }
    let mut out = b.finish();
    mark_channels(&mut out);
    Ok(out)
}
