//! Convolutions of 3x3 taps by Winograd's algorithm, where it takes less time.
//!
//! In: a graph with composites, and a target's [`Facts`]. Out: one in which such a convolution with constant taps is a transform of tiles of
//! its input, a batch of matrix products with weights transformed here, and a transform back. A tile of 4x4 outputs takes 36 products
//! for each pair of channels instead of 144. It also moves more data and rounds more: [`choose`] weighs the time, and [`TOLERANCE`] bounds the
//! error, which is computed from the taps.
//!
//! Example: `Conv [1,64,56,56] * [64,64,3,3]` becomes 36 products `[196 x 64] * [64 x 64]`.

mod tiles;

use super::builder::Builder;
use super::ops::{Conv, Op};
use super::tensor::{Graph, TensorId};
use crate::diag::Result;
use crate::program::{Bytes, Weight};
use crate::target::Facts;
use crate::uop::{Binary, DType};
pub use tiles::Tile;

/// Largest relative error that a convolution may have by this algorithm.
const TOLERANCE: f64 = 1e-5;

/// A convolution that qualifies.
struct Shape {
    batch: i64,
    inputs: i64,
    outputs: i64,
    /// Height and width of the result.
    size: [i64; 2],
}

/// A convolution that is computed by this algorithm.
#[derive(Debug, Clone, PartialEq)]
pub struct Winograd {
    /// The node.
    pub node: String,
    /// Outputs of a tile: height and width.
    pub tile: [i64; 2],
    /// Relative error (norm over norm) on inputs between -1 and 1.
    pub error: f64,
}

/// Replaces convolutions where it pays. Says which.
pub fn choose_winograd(graph: &Graph, facts: &Facts) -> Result<(Graph, Vec<Winograd>)> {
    let chosen: Vec<Option<Plan>> = (0..graph.tensors.len())
        .map(|n| plan(graph, TensorId(n as u32), facts))
        .collect();
    let told: Vec<Winograd> = (chosen.iter().zip(&graph.tensors))
        .filter_map(|(plan, t)| {
            let plan = plan.as_ref()?;
            Some(Winograd {
                node: t.origin.node.to_string(),
                tile: plan.tiles.map(Tile::outputs),
                error: plan.error,
            })
        })
        .collect();
    if told.is_empty() {
        return Ok((graph.clone(), told));
    }
    let mut b = Builder::new(&graph.name);
    let mut new: Vec<TensorId> = Vec::with_capacity(graph.tensors.len());
    let mut inputs = Vec::new();
    for (name, id) in &graph.inputs {
        b.set_origin(graph.tensor(*id).origin.clone());
        inputs.push(b.input(name, graph.tensor(*id).dtype, &graph.dims(*id)?)?);
    }
    for (n, t) in graph.tensors.iter().enumerate() {
        b.set_origin(t.origin.clone());
        let src: Vec<TensorId> = t.src.iter().map(|s| new[s.0 as usize]).collect();
        let to = match (&t.op, &chosen[n]) {
            (Op::Input(i), _) => inputs[*i as usize],
            (Op::Conv(conv), Some(tiles)) => {
                let out = graph.dims(TensorId(n as u32))?;
                winograd(&mut b, conv, &src, tiles, &out)?
            }
            _ => b.again(graph, TensorId(n as u32), &src)?,
        };
        if t.channels.is_some() {
            b.set_channels(to, t.channels);
        }
        new.push(to);
    }
    for (name, id) in &graph.outputs {
        b.output(name, new[id.0 as usize]);
    }
    Ok((b.finish(), told))
}

/// Constant taps.
fn taps(graph: &Graph, id: TensorId) -> Option<Vec<f32>> {
    let Op::Weight(n) = graph.tensor(id).op else {
        return None;
    };
    let weight = &graph.weights[n as usize];
    let (whole, _) = weight.bytes.as_chunks::<4>();
    (weight.dtype == DType::F32).then(|| whole.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// Tiles for a convolution; `None` where the direct way is better or the only one.
fn plan(graph: &Graph, id: TensorId, facts: &Facts) -> Option<Plan> {
    let t = graph.tensor(id);
    let Op::Conv(conv) = &t.op else {
        return None;
    };
    let plain = conv.groups == 1
        && conv.strides == [1, 1]
        && conv.dilations == [1, 1]
        && t.dtype == DType::F32;
    let out = t.shape.dims()?;
    let w = graph.tensor(t.src[1]).shape.dims()?;
    if !plain || w.get(2..) != Some(&[3, 3]) || out.contains(&0) || reads_input(graph, t.src[0]) {
        return None;
    }
    let shape = Shape {
        batch: out[0],
        inputs: w[1],
        outputs: w[0],
        size: [out[2], out[3]],
    };
    let tiles = choose(&shape, facts)?;
    let taps = taps(graph, t.src[1])?;
    let error = tiles::error(&taps, w[0] as usize, w[1] as usize, tiles[0], tiles[1]);
    let name = graph.tensor(t.src[1]).origin.tensor.to_string();
    (error <= TOLERANCE).then_some(Plan {
        tiles,
        taps,
        name,
        error,
    })
}

/// True when nothing but arithmetic lies between a tensor and a model input: its channels are not next to each other, and transforms
/// are vectors of channels.
fn reads_input(graph: &Graph, mut id: TensorId) -> bool {
    loop {
        let t = graph.tensor(id);
        id = match t.op {
            Op::Input(_) => return true,
            Op::Unary(_) | Op::Binary(_) | Op::Cast(_) | Op::Pad { .. } | Op::Slice { .. } => {
                t.src[0]
            }
            _ => return false,
        };
    }
}

/// The fastest tiles by estimate, if faster than the direct way.
fn choose(shape: &Shape, facts: &Facts) -> Option<[Tile; 2]> {
    let lanes = i64::from(facts.lanes(4));
    if !facts.winograd || shape.inputs < lanes || shape.outputs < lanes {
        return None;
    }
    let all = [Tile::Two, Tile::Four];
    let pairs = all.iter().flat_map(|&h| all.iter().map(move |&w| [h, w]));
    let (seconds, tiles) = pairs
        .map(|tiles| (tiled_seconds(shape, tiles, facts), tiles))
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    (seconds < MARGIN * direct_seconds(shape, facts)).then_some(tiles)
}

/// What the estimate must promise.
const MARGIN: f64 = 0.9;

/// Part of the peak that products reach.
const EFFICIENCY: f64 = 0.85;

/// Estimated seconds of the direct way: arithmetic, or weights from memory.
fn direct_seconds(shape: &Shape, facts: &Facts) -> f64 {
    let weights = (9 * shape.inputs * shape.outputs) as f64;
    let pixels = (shape.batch * shape.size[0] * shape.size[1]) as f64;
    product_seconds(weights, pixels, facts)
}

/// Seconds of multiplying each of `weights` numbers with `rows` others.
fn product_seconds(weights: f64, rows: f64, facts: &Facts) -> f64 {
    let compute = 2.0 * weights * rows / (EFFICIENCY * facts.peak_gflops * 1e9);
    if 4.0 * weights > facts.l2_bytes as f64 {
        compute.max(facts.move_seconds(4.0 * weights))
    } else {
        compute
    }
}

/// Estimated seconds with tiles: the products, and moving each factor and each product there and back. Measured: all of it at 1.5 times
/// the bandwidth of memory while they fit into a few times the second-level cache, at 0.7 of it beyond.
fn tiled_seconds(shape: &Shape, [high, wide]: [Tile; 2], facts: &Facts) -> f64 {
    let tiles = shape.batch * count(shape.size[0], high) * count(shape.size[1], wide);
    let products = high.inputs() * wide.inputs();
    let weights = (products * shape.inputs * shape.outputs) as f64;
    let bytes = (4 * tiles * products * (shape.inputs + shape.outputs)) as f64;
    let near = if bytes < 4.0 * facts.l2_bytes as f64 {
        1.5
    } else {
        1.0
    };
    product_seconds(weights, tiles as f64, facts) + facts.move_seconds(bytes) / near
}

/// Tiles along an axis.
fn count(outputs: i64, tile: Tile) -> i64 {
    let by = tile.outputs();
    outputs.div_euclid(by) + i64::from(outputs % by != 0)
}

/// How to compute a convolution.
struct Plan {
    tiles: [Tile; 2],
    /// Taps `[M, C, 3, 3]` and their name.
    taps: Vec<f32>,
    name: String,
    error: f64,
}

/// The three steps.
fn winograd(
    b: &mut Builder,
    conv: &Conv,
    src: &[TensorId],
    plan: &Plan,
    out: &[i64],
) -> Result<TensorId> {
    let [high, wide] = plan.tiles;
    let x = src[0];
    b.set_image(x);
    let dims = b.dims(x)?;
    let (n, c, m) = (dims[0], dims[1], out[1]);
    let (rows, columns) = (count(out[2], high), count(out[3], wide));
    // Zeros up to whole tiles.
    let more = |at: usize, tiles: i64, tile: Tile| {
        let (low, high) = conv.pads[at];
        let needed = tiles * tile.outputs() + 2;
        (low, high + (needed - dims[at + 2] - low - high))
    };
    let pads = [(0, 0), (0, 0), more(0, rows, high), more(1, columns, wide)];
    let x = b.pad(x, &pads, 0.0)?;
    let window = |axis: usize, tile: Tile| Op::Window {
        axis,
        size: tile.inputs(),
        stride: tile.outputs(),
        dilation: 1,
    };
    let v = b.push(window(2, high), &[x])?;
    let v = b.push(window(4, wide), &[v])?;
    let transform = |axis: usize, matrix| Op::Transform { axis, matrix };
    let v = b.push(transform(5, wide.input_matrix()), &[v])?;
    let v = b.push(transform(3, high.input_matrix()), &[v])?;
    let v = b.permute(v, &[3, 5, 0, 2, 4, 1])?;
    let (a, e) = (high.inputs(), wide.inputs());
    let v = b.reshape(v, &[a, e, n * rows * columns, c])?;

    let factors = tiles::transform_weights(&plan.taps, c as usize, high, wide);
    let bytes: Vec<u8> = factors.iter().flat_map(|x| x.to_le_bytes()).collect();
    let u = b.weight(Weight {
        name: plan.name.clone(),
        dtype: DType::F32,
        shape: vec![a, e, m, c],
        bytes: Bytes::new(bytes),
    })?;
    let u = b.permute(u, &[0, 1, 3, 2])?;
    let y = b.matmul(v, u)?;

    let y = b.reshape(y, &[a, e, n, rows, columns, m])?;
    let y = b.push(transform(1, wide.output_matrix()), &[y])?;
    let y = b.push(transform(0, high.output_matrix()), &[y])?;
    let y = b.permute(y, &[2, 5, 3, 0, 4, 1])?;
    let y = b.reshape(y, &[n, m, rows * high.outputs(), columns * wide.outputs()])?;
    b.set_channels(y, Some(1));
    let y = b.slice(y, 2, 0, out[2])?;
    let y = b.slice(y, 3, 0, out[3])?;
    b.set_channels(y, Some(1));
    let Some(&bias) = src.get(2) else {
        return Ok(y);
    };
    let bias = b.reshape(bias, &[1, m, 1, 1])?;
    let bias = b.expand(bias, out)?;
    let y = b.push(Op::Binary(Binary::Add), &[y, bias])?;
    b.set_channels(y, Some(1));
    Ok(y)
}
