//! Which images stay planar although they have more than a few channels: their rows are vectors, not blocks of their channels.
//!
//! In: a graph of primitives with its shapes, and the target's facts. Out: the set of such images. A block of 16 channels computes 24
//! channels as if they were 32, and 8 as half vectors; rows of 32 columns are whole vectors whatever the number of channels. A vector of
//! columns needs columns that lie side by side below it as well, so an image can be planar only where all images below it are. The choice
//! is how many channels an image may have to be one of them: whatever makes the arithmetic of the whole graph take least.
//!
//! Example: in `Conv 1->16`, `Conv 16->8`, `Conv 8->4` on rows of 32 columns all images are planar, for the second and third convolution
//! then compute whole vectors.

use super::layouts::up;
use super::movement::{below_views, is_movement};
use super::work::is_contraction;
use crate::graph::{Graph, Op, TensorId};
use crate::target::Facts;
use rustc_hash::FxHashSet;

/// Part of the arithmetic's time that a choice must leave, at most: the estimate does not know of everything that planes make slower.
const WORTH: f64 = 0.9;

/// What vectors of every second column cost more: two are loaded and one is made of them.
const STRIDED: f64 = 1.4;

/// Channels of an image that may be planar, in vectors.
const MOST: i64 = 4;

/// A contraction that makes an image.
struct Product {
    image: TensorId,
    /// Multiplications.
    work: f64,
    /// Its windows lie more than one column apart.
    strided: bool,
}

/// The images that stay planar, and their views; none where the rules for single images (`layouts`) are as good.
pub fn planar_images(graph: &Graph, dims: &[Vec<i64>], facts: &Facts) -> FxHashSet<TensorId> {
    let lanes = i64::from(facts.channel_block);
    if lanes <= 1 || facts.gpu.is_some() {
        return FxHashSet::default();
    }
    let products = products(graph, dims);
    let apart = read_by_channel(graph, dims);
    let plain = below(graph, dims, &apart, |channels, columns| {
        channels * 2 <= lanes && columns * 8 >= up(columns, lanes) * 7
    });
    let time = |planar: &FxHashSet<TensorId>| -> f64 {
        let times = products.iter().map(|p| {
            let dims = &dims[p.image.0 as usize];
            let (channels, columns) = (dims[channel(graph, p.image)], dims[dims.len() - 1]);
            // Hardly any channels are planar anyway.
            let (part, slower) = match planar.contains(&p.image) || channels * 4 <= lanes {
                true => (fill(columns, lanes), if p.strided { STRIDED } else { 1.0 }),
                false => (fill(channels, lanes), 1.0),
            };
            p.work * slower / part
        });
        times.sum()
    };
    let limits = (1..=MOST * 2).map(|halves| halves * lanes / 2);
    let sets = limits.map(|limit| below(graph, dims, &apart, |channels, _| channels <= limit));
    let best = sets
        .map(|set| (time(&set), set))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(seconds, _)| *seconds < WORTH * time(&plain))
        .map(|b| b.1)
        .unwrap_or_default()
}

/// Part of the lanes that compute something.
fn fill(n: i64, lanes: i64) -> f64 {
    n as f64 / up(n, lanes).max(1) as f64
}

fn channel(graph: &Graph, id: TensorId) -> usize {
    graph.tensor(id).channels.map_or(0, usize::from)
}

/// True for what is an image by its own: not a view of one, and with rows.
fn is_image(graph: &Graph, dims: &[Vec<i64>], id: TensorId) -> bool {
    let tensor = graph.tensor(id);
    let rank = dims[id.0 as usize].len();
    let channel = tensor.channels.map(usize::from);
    !is_movement(&tensor.op) && channel.is_some_and(|c| rank >= 3 && c + 1 < rank)
}

/// Images that qualify by channels and columns, as all images below them do, and their views.
fn below(
    graph: &Graph,
    dims: &[Vec<i64>],
    apart: &FxHashSet<TensorId>,
    qualifies: impl Fn(i64, i64) -> bool,
) -> FxHashSet<TensorId> {
    let mut planar = FxHashSet::default();
    let mut fine = vec![true; graph.tensors.len()];
    for n in 0..graph.tensors.len() {
        let id = TensorId(n as u32);
        let tensor = graph.tensor(id);
        // A transform's formulas are vectors of channels.
        fine[n] = !matches!(tensor.op, Op::Transform { .. })
            && tensor.src.iter().all(|s| fine[s.0 as usize]);
        if is_image(graph, dims, id) {
            let dims = &dims[n];
            fine[n] &=
                !apart.contains(&id) && qualifies(dims[channel(graph, id)], dims[dims.len() - 1]);
        }
        let view = is_movement(&tensor.op) && planar.contains(&tensor.src[0]);
        if fine[n] && (view || is_image(graph, dims, id)) {
            planar.insert(id);
        }
    }
    planar
}

/// Contractions, each with the first image that it makes.
fn products(graph: &Graph, dims: &[Vec<i64>]) -> Vec<Product> {
    let mut out = Vec::new();
    let mut pending: Vec<Option<TensorId>> = vec![None; graph.tensors.len()];
    for (n, tensor) in graph.tensors.iter().enumerate() {
        let id = TensorId(n as u32);
        let below = tensor.src.iter().find_map(|s| pending[s.0 as usize]);
        pending[n] = if is_contraction(graph, id) {
            Some(id)
        } else {
            below
        };
        if let Some(product) = pending[n].filter(|_| is_image(graph, dims, id)) {
            pending[n] = None;
            let factors = graph.tensor(product).src[0];
            out.push(Product {
                image: id,
                work: dims[factors.0 as usize].iter().product::<i64>() as f64,
                strided: is_strided(graph, factors),
            });
        }
    }
    out
}

/// True when the columns that a product reads lie apart.
fn is_strided(graph: &Graph, product: TensorId) -> bool {
    graph.tensor(product).src.iter().any(|&source| {
        let mut tensor = graph.tensor(source);
        let mut strided = false;
        while is_movement(&tensor.op) {
            strided |= matches!(tensor.op, Op::Window { stride: 2.., .. });
            tensor = graph.tensor(tensor.src[0]);
        }
        strided
    })
}

/// Images of which a contraction reads each channel for itself.
fn read_by_channel(graph: &Graph, dims: &[Vec<i64>]) -> FxHashSet<TensorId> {
    let mut out = FxHashSet::default();
    for n in 0..graph.tensors.len() {
        let id = TensorId(n as u32);
        let (Op::Reduce { axes, .. }, true) = (&graph.tensor(id).op, is_contraction(graph, id))
        else {
            continue;
        };
        let factors = graph.tensor(id).src[0];
        // `[batch, group, output, row, column, input, ...]`
        let dims = &dims[factors.0 as usize];
        let grouped = dims.get(1).is_some_and(|&g| g > 1);
        if !grouped || axes.first().is_none_or(|&a| dims[a] > 1) {
            continue;
        }
        for &source in &graph.tensor(factors).src {
            out.insert(below_views(graph, source));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::graph::{Builder, Conv, decompose};
    use crate::uop::DType;

    /// Channels of the images that stay planar in a chain of convolutions of 3x3 taps, each `(channels, groups)`.
    fn planar(columns: i64, layers: &[(i64, i64)]) -> Vec<i64> {
        let mut b = Builder::new("t");
        let mut x = b.input("x", DType::F32, &[1, 1, 24, columns]).unwrap();
        let mut below = 1;
        for &(channels, groups) in layers {
            let dims = [channels, below / groups, 3, 3];
            let values = vec![0.5; dims.iter().product::<i64>() as usize];
            let w = b.floats("w", &dims, &values).unwrap();
            let conv = Op::Conv(Conv {
                strides: vec![1, 1],
                dilations: vec![1, 1],
                pads: vec![(1, 1); 2],
                groups,
            });
            x = b.push(conv, &[x, w]).unwrap();
            x = b.relu(x).unwrap();
            below = channels;
        }
        b.output("y", x);
        let graph = decompose(&b.finish()).unwrap();
        let all = 0..graph.tensors.len() as u32;
        let dims: Vec<Vec<i64>> = all
            .clone()
            .map(|n| graph.dims(TensorId(n)).unwrap())
            .collect();
        let facts = Facts {
            channel_block: 16,
            ..Facts::default()
        };
        let set = planar_images(&graph, &dims, &facts);
        let stored = all.filter(|&n| {
            let id = TensorId(n);
            set.contains(&id) && matches!(graph.tensor(id).op, Op::Binary(_))
        });
        let mut channels: Vec<i64> = stored.map(|n| dims[n as usize][1]).collect();
        channels.dedup();
        channels
    }

    #[test]
    fn whole_rows_beat_parts_of_blocks() {
        assert_eq!(planar(32, &[(16, 1), (8, 1), (8, 1)]), [16, 8]);
        assert_eq!(planar(32, &[(24, 1), (24, 1)]), [24]);
        // Blocks are whole as well, or rows are not.
        assert!(planar(32, &[(32, 1), (32, 1)]).is_empty());
        assert!(planar(18, &[(24, 1), (24, 1)]).is_empty());
    }

    #[test]
    fn columns_above_blocks_do_not_lie_side_by_side() {
        // 80 channels are more than an image may have to be planar: all above them is in blocks.
        assert!(planar(32, &[(80, 1), (24, 1), (24, 1)]).is_empty());
    }

    #[test]
    fn channels_that_are_read_one_by_one_stay_together() {
        assert!(planar(32, &[(24, 1), (24, 24), (24, 1)]).is_empty());
    }
}
