//! Index propagation: what index of its source a movement op reads, for a given index of its result.
//!
//! In: the op of a tensor, the shapes around it and one Index expression for each dimension of the
//! result. Out: one for each dimension of the source, and a condition where the result is not backed
//! by the source (padding). No data moves; this is all that reshape, permute, expand, pad, slice, flip
//! and window ever are.
//!
//! Example: `Slice{starts: [2], steps: [3]}` at `[i]` reads `[i*3 + 2]`.

use crate::graph::{Graph, Op, TensorId};
use crate::uop::{Binary, UopId, Uops, simplify};

/// Where a movement op reads.
pub struct Moved {
    /// Index of the source.
    pub index: Vec<UopId>,
    /// True where the source has the element; `None` for always.
    pub gate: Option<UopId>,
}

/// True for ops that [`move_index`] understands.
pub fn is_movement(op: &Op) -> bool {
    matches!(
        op,
        Op::Reshape
            | Op::Permute(_)
            | Op::Expand
            | Op::Pad { .. }
            | Op::Slice { .. }
            | Op::Flip(_)
            | Op::Window { .. }
    )
}

/// The tensor below a chain of movement ops.
pub fn below_views(graph: &Graph, mut id: TensorId) -> TensorId {
    while is_movement(&graph.tensor(id).op) {
        id = graph.tensor(id).src[0];
    }
    id
}

/// The source's index for `index` of the result; `None` when `op` moves nothing.
pub fn move_index(
    g: &mut Uops,
    op: &Op,
    from: &[i64],
    to: &[i64],
    index: &[UopId],
) -> Option<Moved> {
    let mut gate = None;
    let index = match op {
        Op::Reshape => reshape_index(g, from, to, index),
        Op::Permute(perm) => {
            let mut source = index.to_vec();
            for (i, &p) in perm.iter().enumerate() {
                source[p] = index[i];
            }
            source
        }
        Op::Expand => {
            let mut source = index.to_vec();
            for (i, &extent) in from.iter().enumerate() {
                if extent == 1 {
                    source[i] = g.index(0);
                }
            }
            source
        }
        Op::Pad { pads, .. } => {
            let mut source = Vec::with_capacity(index.len());
            for (dim, &(low, high)) in pads.iter().enumerate() {
                let moved = shift(g, index[dim], -low);
                if low > 0 {
                    let lower = g.index(0);
                    let inside = g.binary(Binary::Le, lower, moved);
                    gate = Some(and(g, gate, inside));
                }
                if high > 0 {
                    let upper = g.index(from[dim]);
                    let inside = g.binary(Binary::Lt, moved, upper);
                    gate = Some(and(g, gate, inside));
                }
                source.push(moved);
            }
            source
        }
        Op::Slice { starts, steps } => (0..index.len())
            .map(|dim| {
                let scaled = g.mul_const(index[dim], steps[dim]);
                shift(g, scaled, starts[dim])
            })
            .collect(),
        Op::Flip(axes) => {
            let mut source = index.to_vec();
            for &axis in axes {
                let last = g.index(from[axis] - 1);
                let flipped = g.sub(last, index[axis]);
                source[axis] = simplify(g, flipped);
            }
            source
        }
        Op::Window {
            axis,
            stride,
            dilation,
            ..
        } => {
            let outer = g.mul_const(index[*axis], *stride);
            let inner = g.mul_const(index[axis + 1], *dilation);
            let sum = g.add(outer, inner);
            let mut source = index.to_vec();
            source.remove(axis + 1);
            source[*axis] = simplify(g, sum);
            source
        }
        _ => return None,
    };
    Some(Moved { index, gate })
}

/// `a and b`, where a missing condition is true.
pub fn and(g: &mut Uops, a: Option<UopId>, b: UopId) -> UopId {
    match a {
        Some(a) => g.and(a, b),
        None => b,
    }
}

fn shift(g: &mut Uops, index: UopId, by: i64) -> UopId {
    let shifted = g.add_const(index, by);
    simplify(g, shifted)
}

/// Row-major order on both sides. Dimensions are matched in groups of equal size, so that only what a
/// reshape really splits or merges goes through division.
fn reshape_index(g: &mut Uops, from: &[i64], to: &[i64], index: &[UopId]) -> Vec<UopId> {
    let zero = g.index(0);
    let mut source = vec![zero; from.len()];
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        let (first_from, first_to) = (i, j);
        let mut size_from = 1;
        let mut size_to = 1;
        // Grow both sides until the group has one size; dims of extent 1 join for free.
        loop {
            if size_from <= size_to && i < from.len() && (size_from < size_to || i == first_from) {
                size_from *= from[i];
                i += 1;
            } else if size_to < size_from && j < to.len() {
                size_to *= to[j];
                j += 1;
            } else {
                break;
            }
        }
        if i == first_from && j < to.len() {
            j += 1; // only ones are left on the result's side
            continue;
        }
        let mut flat = zero;
        for dim in first_to..j {
            flat = g.mul_const(flat, to[dim]);
            if to[dim] != 1 {
                flat = g.add(flat, index[dim]);
            }
        }
        let mut stride = 1;
        for dim in (first_from..i).rev() {
            if from[dim] == 1 {
                continue;
            }
            let mut digit = g.div_const(flat, stride);
            stride *= from[dim];
            if stride < size_from {
                digit = g.mod_const(digit, from[dim]);
            }
            source[dim] = simplify(g, digit);
        }
    }
    source
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::uop::Axis;

    /// Evaluates an index expression for given range values (by range id).
    fn eval(g: &Uops, id: UopId, values: &[i64]) -> i64 {
        use crate::uop::Op as U;
        let src: Vec<i64> = match g.op(id) {
            U::Range { .. } => vec![],
            _ => g.src(id).iter().map(|&s| eval(g, s, values)).collect(),
        };
        match g.op(id) {
            U::Const(bits) => bits as i64,
            U::Range { id, .. } => values[id as usize],
            U::Binary(op) => crate::uop::fold_index(op, src[0], src[1]).unwrap(),
            U::Where => src[if src[0] != 0 { 1 } else { 2 }],
            op => unreachable!("{op:?}"),
        }
    }

    fn check_reshape(from: &[i64], to: &[i64]) {
        let mut g = Uops::new();
        let index: Vec<UopId> = to
            .iter()
            .enumerate()
            .map(|(i, &n)| {
                let n = g.index(n);
                g.range(i as u32, n, Axis::Loop)
            })
            .collect();
        let moved = move_index(&mut g, &Op::Reshape, from, to, &index).unwrap();
        let total: i64 = to.iter().product();
        for flat in 0..total {
            let mut rest = flat;
            let mut values = vec![0; to.len()];
            for d in (0..to.len()).rev() {
                values[d] = rest % to[d];
                rest /= to[d];
            }
            let mut got = 0;
            for (d, &n) in from.iter().enumerate() {
                let v = eval(&g, moved.index[d], &values);
                assert!(
                    (0..n).contains(&v),
                    "{from:?} -> {to:?} at {flat}: dim {d} is {v}"
                );
                got = got * n + v;
            }
            assert_eq!(got, flat, "{from:?} -> {to:?}");
        }
    }

    #[test]
    fn reshape_keeps_row_major_order() {
        for (from, to) in [
            (&[6][..], &[2, 3][..]),
            (&[2, 3], &[6]),
            (&[4, 6], &[3, 8]),
            (&[1, 5, 1], &[5]),
            (&[5], &[1, 5, 1, 1]),
            (&[2, 3, 4], &[2, 12]),
            (&[2, 3, 4], &[6, 2, 2]),
            (&[1, 1], &[1]),
            (&[], &[1, 1]),
            (&[1], &[]),
            (&[7, 1, 2], &[14, 1]),
        ] {
            check_reshape(from, to);
        }
    }
}
