//! Unrolls the loops whose iterations compute different formulas.
//!
//! In: a nest whose value is chosen by comparing a loop's range with constants. Out: the same with that loop unrolled, so that
//! each copy has one formula and all share what they have in common; a loop that repeats its formulas is cut at their number first.
//!
//! Example: the 6x6 factors of a tile of a convolution (Winograd) are 36 formulas of the same 36 inputs.

use super::nest::{Nest, Work};
use crate::uop::{Axis, Binary, Op, UopId};

/// Formulas up to which a loop is unrolled.
const MOST: i64 = 8;

/// Unrolls them all; a last, shorter repetition becomes a nest of its own.
pub fn unroll_formulas(work: &mut Work<'_>, nest: Nest) -> Vec<Nest> {
    let mut waiting = vec![nest];
    let mut done = Vec::new();
    while let Some(mut nest) = waiting.pop() {
        let Some((range, formulas)) = find(work, &nest) else {
            done.push(nest);
            continue;
        };
        let extent = work.extent(range);
        if extent <= formulas {
            work.set_axis(&mut nest, range, Axis::Unroll);
            waiting.push(nest);
        } else if extent % formulas == 0 {
            work.split(&mut nest, range, formulas, Axis::Unroll);
            waiting.push(nest);
        } else {
            let (main, rest) = work.peel(&nest, range, extent / formulas * formulas);
            waiting.push(rest);
            waiting.push(main);
        }
    }
    done
}

/// A loop that decides between formulas, and how many there are.
fn find(work: &Work<'_>, nest: &Nest) -> Option<(UopId, i64)> {
    let g = &work.g;
    let loops = work.loops(nest);
    let is_loop = |r: UopId| loops.contains(&r) && work.axis(r) == Axis::Loop;
    g.toposort(&[nest.store]).into_iter().find_map(|id| {
        let (Op::Binary(Binary::Eq), [x, constant]) = (g.op(id), g.src(id)) else {
            return None;
        };
        g.as_int(*constant)?;
        if is_loop(*x) && work.extent(*x) <= MOST {
            return Some((*x, work.extent(*x)));
        }
        let (Op::Binary(Binary::FloorMod), [range, by]) = (g.op(*x), g.src(*x)) else {
            return None;
        };
        let by = g.as_int(*by)?;
        (is_loop(*range) && (2..=MOST).contains(&by)).then_some((*range, by))
    })
}
