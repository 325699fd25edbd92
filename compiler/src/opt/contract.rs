//! Scratch parameters take the room of one iteration.
//!
//! In: finished nests, joined, and the parameters. Out: the layouts of scratch parameters without the digits that count the iterations of
//! shared loops. What one iteration wrote is dead when the next one starts, so all of them use the same memory; iterations of
//! parallel loops run at once and keep their own.
//!
//! Example: `S[h, block*12 + row, column]` with a shared loop over blocks needs 12 rows a head.

use super::nest::{Nest, Work};
use crate::program::{Access, LayoutAxis, Param};
use crate::uop::{Axis, Bounds, Linear, UopId};

/// Shrinks the layouts of scratch parameters.
pub fn contract(work: &Work<'_>, nests: &[Nest], params: &mut [Param]) {
    for (slot, param) in params.iter_mut().enumerate() {
        if param.access != Access::Scratch {
            continue;
        }
        let users: Vec<&Nest> = nests
            .iter()
            .filter(|n| {
                work.accesses(n.store)
                    .iter()
                    .any(|a| a.slot as usize == slot)
            })
            .collect();
        let Some(first) = users.first() else { continue };
        let depth = (0..first.order.len())
            .take_while(|&k| users.iter().all(|n| n.order.get(k) == first.order.get(k)))
            .count();
        let shared = &first.order[..depth];
        let indices: Vec<Vec<UopId>> = users
            .iter()
            .flat_map(|n| work.accesses(n.store))
            .filter(|a| a.slot as usize == slot)
            .map(|a| a.index)
            .collect();
        for dim in 0..param.layout.shape.len() {
            let whole = |a: &&LayoutAxis| a.dim == dim;
            if param.layout.axes.iter().filter(whole).count() != 1 {
                continue;
            }
            let Some(digits) = digits(work, shared, dim, &indices) else {
                continue;
            };
            let mut kept: Vec<LayoutAxis> = Vec::new();
            for axis in std::mem::take(&mut param.layout.axes) {
                if axis.dim == dim {
                    // The whole dimension is one digit before.
                    kept.extend(digits.iter().cloned());
                } else {
                    kept.push(axis);
                }
            }
            param.layout.axes = kept;
        }
    }
}

/// The digits of a dimension that are left, largest divisor first; `None` when the dimension must stay whole.
fn digits(
    work: &Work<'_>,
    shared: &[UopId],
    dim: usize,
    indices: &[Vec<UopId>],
) -> Option<Vec<LayoutAxis>> {
    let layout_is_plain = |index: &UopId| Linear::of(&work.g, *index);
    let mut counted: Option<Vec<(UopId, i64)>> = None;
    let mut inner = 0;
    for index in indices {
        let mut form = layout_is_plain(&index[dim])?;
        let mut mine: Vec<(UopId, i64)> = form
            .terms
            .iter()
            .copied()
            .filter(|(t, _)| shared.contains(t))
            .collect();
        mine.sort_unstable_by_key(|m| std::cmp::Reverse(m.1));
        form.terms.retain(|(t, _)| !shared.contains(t));
        if form
            .terms
            .iter()
            .any(|&(t, _)| shared.iter().any(|&s| work.depends(t, s)))
        {
            return None;
        }
        let (low, high) = form.bounds(&work.g, &mut Bounds::new());
        if low < 0 || counted.as_ref().is_some_and(|c| *c != mine) {
            return None;
        }
        inner = inner.max(high + 1);
        counted = Some(mine);
    }
    let counted = counted.filter(|c| !c.is_empty())?;
    // Each digit counts whole multiples of what is below it.
    let mut below = inner;
    let mut axes = Vec::new();
    for &(range, c) in counted.iter().rev() {
        if c < below {
            return None;
        }
        if work.axis(range) == Axis::Parallel {
            axes.push(LayoutAxis {
                dim,
                div: c,
                extent: work.extent(range),
            });
        }
        below = c * work.extent(range);
    }
    let least = counted.last().map_or(1, |c| c.1);
    axes.reverse();
    if least > 1 {
        axes.push(LayoutAxis {
            dim,
            div: 1,
            extent: least,
        });
    }
    Some(axes)
}
