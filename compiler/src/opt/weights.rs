//! Packs weights: gives each weight parameter the layout in which its kernel reads it.
//!
//! In: finished nests. Out: the layouts. The digits of a weight's index (`oc = outer*32 + unrolled*16 + lane`)
//! become physical axes in nest order, so the innermost loops read consecutive memory. The
//! weights are permuted when the artifact is written, so this costs nothing at run time. Where an index is
//! not made of digits the weight stays row-major.

use super::nest::{Nest, Work};
use crate::program::{Layout, LayoutAxis, Param};
use crate::uop::{Linear, UopId};

/// Layouts for all parameters; those that are no weights keep theirs.
pub fn pack_weights(work: &Work<'_>, nests: &[Nest]) -> Vec<Param> {
    let mut params = work.params.to_vec();
    let mut packed = vec![false; params.len()];
    for nest in nests {
        for access in work.accesses(nest.store) {
            let slot = access.slot as usize;
            if !params[slot].weight || packed[slot] {
                continue;
            }
            packed[slot] = true;
            if let Some(layout) = digits(work, nest, &access.index, &params[slot].layout.shape) {
                params[slot].layout = layout;
            }
        }
    }
    // A later nest may reach further into the padding than the one that chose.
    for nest in nests {
        let mut bounds = crate::uop::Bounds::new();
        for access in work.accesses(nest.store) {
            let param = &mut params[access.slot as usize];
            if !param.weight {
                continue;
            }
            for (dim, &index) in access.index.iter().enumerate() {
                let most = bounds
                    .of(&work.g, index)
                    .1
                    .min(4 * param.layout.shape[dim] + 64);
                if let Some(top) = param
                    .layout
                    .axes
                    .iter_mut()
                    .filter(|a| a.dim == dim)
                    .max_by_key(|a| a.div)
                {
                    top.extent = top.extent.max(most / top.div + 1);
                }
            }
        }
    }
    params
}

/// The layout made of the digits of an index; `None` when it is not made of digits.
fn digits(work: &Work<'_>, nest: &Nest, index: &[UopId], shape: &[i64]) -> Option<Layout> {
    let mut axes: Vec<(usize, LayoutAxis)> = Vec::new();
    for (dim, &i) in index.iter().enumerate() {
        let form = Linear::of(&work.g, i)?;
        if form.constant != 0 && shape[dim] != 1 {
            return None;
        }
        let mut parts: Vec<(i64, i64, usize)> = Vec::new();
        for (term, c) in form.terms {
            let at = nest.order.iter().position(|&r| r == term)?;
            if c <= 0 {
                return None;
            }
            parts.push((c, work.extent(term), at));
        }
        if shape[dim] == 1 {
            continue;
        }
        parts.sort_unstable();
        let mut expected = 1;
        let count = parts.len();
        for (n, &(c, extent, at)) in parts.iter().enumerate() {
            if c != expected {
                return None;
            }
            expected = c * extent;
            let last = n + 1 == count;
            let extent = if last {
                extent.max((shape[dim] + c - 1) / c)
            } else {
                extent
            };
            axes.push((
                at,
                LayoutAxis {
                    dim,
                    div: c,
                    extent,
                },
            ));
        }
        if count == 0 {
            return None;
        }
    }
    axes.sort_by_key(|a| a.0);
    Some(Layout {
        shape: shape.to_vec(),
        halo: Vec::new(),
        axes: axes.into_iter().map(|a| a.1).collect(),
    })
}
