//! Physical order of stored tensors.
//!
//! In: the buffer decision and the target's facts. Out: a [`Layout`] for each stored tensor. Image-like
//! tensors get channel blocks as wide as a vector (`C/16,H,W,16`), with the zeros around them that
//! padding readers want; the right operand of a contraction gets its column contiguous; rows that a
//! contraction reads or writes are padded to whole vectors, so that no tail is left.

use super::buffers::Buffers;
use super::movement::{below_views, is_movement};
use super::work::is_contraction;
use crate::graph::{Graph, Op, TensorId};
use crate::program::{Layout, LayoutAxis};
use crate::target::Facts;

/// Vectors of a row up to which its last, partial one counts.
const SHORT_ROWS: i64 = 4;

/// Layout of a stored tensor of shape `dims`.
pub fn choose_layout(
    graph: &Graph,
    id: TensorId,
    dims: &[i64],
    buffers: &Buffers,
    facts: &Facts,
) -> Layout {
    let tensor = graph.tensor(id);
    let channels = tensor.channels.map(usize::from).filter(|&c| c < dims.len());
    let others: i64 = channels.map_or(1, |c| {
        dims.iter()
            .enumerate()
            .filter(|&(d, _)| d != c)
            .map(|(_, &e)| e)
            .product()
    });
    let block = match channels {
        Some(_) if buffers.planar.contains(&id) => 1,
        Some(c) if dims.len() >= 3 && others > 1 => channel_block(
            dims[c],
            i64::from(facts.channel_block),
            dims.last().copied().unwrap_or(1),
            match dims[c] * 2 <= i64::from(facts.channel_block) {
                true => below(graph, id, buffers, facts),
                false => Below::Blocks,
            },
        ),
        _ => 1,
    };
    let mut halo = buffers.halo.get(&id).cloned().unwrap_or_default();
    if block > 1
        && let Some(c) = channels
        && let Some(h) = halo.get_mut(c)
    {
        *h = (0, 0); // zeros between blocks would break them
    }
    if halo.iter().all(|&h| h == (0, 0)) {
        halo.clear();
    }
    let extent = |dim: usize| dims[dim] + halo.get(dim).map_or(0, |&(low, high)| low + high);
    let axis = |dim: usize| LayoutAxis {
        dim,
        div: 1,
        extent: extent(dim),
    };
    let mut axes: Vec<LayoutAxis>;
    if let (Some(c), true) = (channels, block > 1) {
        axes = (0..dims.len())
            .map(|dim| {
                if dim == c {
                    LayoutAxis {
                        dim,
                        div: block,
                        extent: dims[c].div_euclid(block) + i64::from(dims[c] % block != 0),
                    }
                } else {
                    axis(dim)
                }
            })
            .collect();
        axes.push(LayoutAxis {
            dim: c,
            div: 1,
            extent: block,
        });
    } else {
        let last = buffers.column.get(&id).copied();
        axes = (0..dims.len())
            .filter(|&d| Some(d) != last)
            .chain(last)
            .map(axis)
            .collect();
        let lanes = i64::from(facts.lanes(tensor.dtype.size()));
        // Short rows of an image, or of whatever windows of columns are taken, whose last columns count.
        let columns = dims.last().copied().unwrap_or(1);
        let short = dims.len() >= 3 && columns <= SHORT_ROWS * lanes;
        let reach = buffers.reach.get(&id).copied().filter(|_| short);
        let reach = reach.unwrap_or(columns);
        let rows = short && (channels.is_some() || reach > up(columns, lanes));
        if (buffers.contracted.contains(&id) || rows)
            && let Some(inner) = axes.iter_mut().rev().find(|a| a.extent > 1)
        {
            let around = halo.get(inner.dim).copied().unwrap_or_default();
            let last = inner.dim + 1 == dims.len();
            let reach = if last { reach } else { dims[inner.dim] };
            inner.extent = whole_vectors(dims[inner.dim], around, reach, lanes);
            inner.extent = spread_rows(inner.extent, tensor.dtype.size(), facts);
        }
        if makes_tiles(graph, id) {
            spread_planes(&mut axes, tensor.dtype.size(), facts);
        }
    }
    Layout {
        shape: dims.to_vec(),
        halo,
        axes,
    }
}

/// Extent of a row of `columns` elements with zeros before and after them: whole vectors of all that readers `reach` or that computing
/// whole vectors of columns does, where that takes at most a seventh more.
fn whole_vectors(columns: i64, (low, high): (i64, i64), reach: i64, lanes: i64) -> i64 {
    let up = |n: i64| up(n, lanes);
    let (extent, computed) = (low + columns + high, low + up(columns) + high);
    let read = computed.max(low + reach);
    [up(read), read, up(computed), computed]
        .into_iter()
        .find(|padded| padded * 7 <= extent * 8)
        .unwrap_or(extent)
}

/// The next multiple of `lanes`.
pub(super) fn up(n: i64, lanes: i64) -> i64 {
    (n + lanes - 1).div_euclid(lanes) * lanes
}

/// Extent of a row such that the rows of a tile do not fall into the same few sets of a cache: one line more where the
/// row is a multiple of 1 KiB (a first-level cache of 64 sets repeats every 4 KiB).
fn spread_rows(extent: i64, size: usize, facts: &Facts) -> i64 {
    let line = i64::from(facts.alignment).max(1) / size.max(1) as i64;
    if line > 0 && extent > 0 && extent % (16 * line) == 0 {
        extent + line
    } else {
        extent
    }
}

/// True for what a transform makes of an image: element `[a, e]` of every tile lies in a plane of its own.
fn makes_tiles(graph: &Graph, id: TensorId) -> bool {
    let base = graph.tensor(below_views(graph, id));
    matches!(base.op, Op::Transform { .. })
}

/// Makes planes such that a tile, which goes into all of them at once, does not fall into one set of a cache: one row more in a plane
/// of a multiple of 2 KiB.
fn spread_planes(axes: &mut [LayoutAxis], size: usize, facts: &Facts) {
    let wide: Vec<usize> = (0..axes.len()).filter(|&n| axes[n].extent > 1).collect();
    let &[.., _, row, column] = &wide[..] else {
        return;
    };
    axes[column].extent = spread_rows(axes[column].extent, size, facts);
    if axes[row].extent * axes[column].extent * size as i64 % 2048 == 0 {
        axes[row].extent += 1;
    }
}

/// Operations below an image that are looked at: enough for the first few layers.
const FIRST_LAYERS: usize = 128;

/// True for an image of the first layers that is made of images with few channels, which have contiguous rows as well.
fn comes_from_few(graph: &Graph, id: TensorId, facts: &Facts) -> bool {
    let mut below = graph.tensor(id);
    // The image is the first source of every operation on it.
    for _ in 0..FIRST_LAYERS {
        let Some(&first) = below.src.first() else {
            return true;
        };
        below = graph.tensor(first);
        let summed = matches!(below.op, Op::Reduce { .. });
        let image = below
            .channels
            .filter(|_| !summed && !is_movement(&below.op));
        let extent = image.and_then(|c| below.shape.dims()?.get(usize::from(c)).copied());
        if extent.is_some_and(|c| c * 2 > i64::from(facts.channel_block)) {
            return false;
        }
    }
    false
}

/// Sums of few channels over few channels that are followed down.
const SUMS: usize = 16;

/// True for a sum over images in blocks of channels, and arithmetic on it.
fn sums_blocks(graph: &Graph, id: TensorId, layers: usize, facts: &Facts) -> bool {
    let (mut at, mut summed) = (id, false);
    for _ in 0..FIRST_LAYERS {
        let Some(&first) = graph.tensor(at).src.first() else {
            return false;
        };
        at = first;
        let tensor = graph.tensor(at);
        match tensor.op {
            Op::Reduce { .. } if summed || !is_contraction(graph, at) => return false,
            Op::Reduce { .. } => summed = true,
            // What else moves a sum's elements makes another image of them.
            Op::Reshape | Op::Unary(_) | Op::Binary(_) | Op::Where => {}
            _ if !summed => return false,
            _ => {}
        }
        let image = summed && !is_movement(&tensor.op) && !matches!(tensor.op, Op::Reduce { .. });
        if let (Some(c), true) = (tensor.channels, image) {
            let dims = tensor.shape.dims().unwrap_or_default();
            let channels = dims.get(usize::from(c)).copied().unwrap_or(1);
            let block = i64::from(facts.channel_block);
            // Few channels lie as what they are made of does; hardly any are planes.
            return channels * 2 > block
                || channels * 4 > block && layers > 0 && sums_blocks(graph, at, layers - 1, facts);
        }
    }
    false
}

/// What lies below an image of few channels.
fn below(graph: &Graph, id: TensorId, buffers: &Buffers, facts: &Facts) -> Below {
    if sums_blocks(graph, id, SUMS, facts) {
        Below::Blocks
    } else if buffers.by_channel.contains(&id) || !comes_from_few(graph, id, facts) {
        Below::Planes
    } else {
        Below::Columns
    }
}

/// What an image of few channels is made of, and read for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Below {
    /// Blocks of channels: its columns do not lie side by side there.
    Blocks,
    /// Perhaps planes, or read by those that take each channel for itself.
    Planes,
    /// Planes all the way down.
    Columns,
}

/// Channels in one block: the vector width, half of it for few channels, 1 for hardly any. Few channels of long rows stay apart where they
/// are planar `below` already: a block of channels would fill only half of a vector. Of short rows too, that nearly fill their vectors,
/// where readers sum over channels.
fn channel_block(channels: i64, widest: i64, row: i64, below: Below) -> i64 {
    let vectors = (row + widest - 1).div_euclid(widest.max(1));
    let fills = match below {
        Below::Blocks => false,
        Below::Planes => row >= 4 * widest,
        Below::Columns => row >= 4 * widest || row * 8 >= vectors * widest * 7,
    };
    if widest <= 1 || channels * 2 <= widest && fills {
        return 1;
    }
    if channels * 2 > widest {
        widest
    } else if channels * 4 > widest {
        widest / 2
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_follows_the_channel_count() {
        let block = |channels, widest, row| channel_block(channels, widest, row, Below::Columns);
        assert_eq!(block(64, 16, 112), 16);
        assert_eq!(block(9, 16, 112), 16);
        assert_eq!(block(8, 16, 28), 1);
        assert_eq!(block(8, 16, 14), 1);
        assert_eq!(block(8, 16, 20), 8);
        assert_eq!(channel_block(8, 16, 28, Below::Planes), 8);
        assert_eq!(channel_block(8, 16, 112, Below::Planes), 1);
        assert_eq!(channel_block(8, 16, 112, Below::Blocks), 8);
        assert_eq!(block(5, 16, 7), 8);
        assert_eq!(block(3, 16, 28), 1);
        assert_eq!(block(64, 1, 112), 1);
    }

    #[test]
    fn tiles_do_not_fall_into_one_set_of_a_cache() {
        let facts = Facts {
            alignment: 64,
            ..Facts::default()
        };
        let spread = |extents: &[i64]| -> Vec<i64> {
            let axis = |(dim, &extent): (usize, &i64)| LayoutAxis {
                dim,
                div: 1,
                extent,
            };
            let mut axes: Vec<LayoutAxis> = extents.iter().enumerate().map(axis).collect();
            spread_planes(&mut axes, 4, &facts);
            axes.iter().map(|a| a.extent).collect()
        };
        assert_eq!(spread(&[6, 6, 64, 1, 16]), [6, 6, 65, 1, 16]);
        assert_eq!(spread(&[4, 6, 28, 1, 256]), [4, 6, 28, 1, 272]);
        assert_eq!(spread(&[6, 6, 196, 1, 64]), [6, 6, 196, 1, 64]);
        assert_eq!(spread(&[6, 6, 49, 1, 48]), [6, 6, 49, 1, 48]);
        // One tile: there is nothing to part.
        assert_eq!(spread(&[6, 6, 1, 1, 512]), [6, 6, 1, 1, 528]);
    }

    #[test]
    fn rows_are_padded_to_whole_vectors() {
        let rows = |columns, halo, reach| whole_vectors(columns, halo, reach, 16);
        assert_eq!(rows(197, (0, 0), 197), 208);
        assert_eq!(rows(224, (1, 1), 225), 240);
        assert_eq!(rows(28, (2, 2), 34), 36);
        assert_eq!(rows(32, (0, 0), 36), 36);
        assert_eq!(rows(14, (0, 0), 14), 16);
        assert_eq!(rows(20, (0, 0), 20), 20);
        assert_eq!(rows(64, (0, 0), 64), 64);
    }
}
