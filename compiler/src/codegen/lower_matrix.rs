//! Matrix instructions for `Matrix` ranges.
//!
//! In: a store with one physical index, two `Matrix` loops (rows, then columns) and a sum of products of halves over a `Matrix` range.
//! Out: the same for one thread of a wave: the loop over columns becomes the wave's threads, that over rows the 8 elements that a thread
//! holds, and the sum adds products of matrices. Runs before `unroll`, which makes a store of each element.
//!
//! Example: `y[r,c] = sum over k and d of a[r,16k+d] * b[16k+d,c]` becomes `y[2i + t/16, t%16] = element i of sum over k of
//! matrix(a[t%16, 16k..], b[16k.., t%16])`.

use crate::diag::{Error, Result};
use crate::uop::{
    Axis, Binary, DType, FreeRanges, Op, ReduceOp, Simplifier, UopId, Uops, substitute,
};
use rustc_hash::FxHashMap;

/// Rows, columns and depth.
const SIZE: i64 = 16;
/// Threads of a wave.
const WAVE: i64 = 32;

/// Rewrites one store.
pub fn lower_matrix(g: &mut Uops, store: UopId) -> Result<UopId> {
    let mut loops: Vec<UopId> = FreeRanges::new().of(g, store).to_vec();
    loops.retain(|&r| is_matrix(g, r));
    if loops.is_empty() {
        return Ok(store);
    }
    loops.sort_by_key(|&r| number(g, r));
    let wrong = |what: &str| Error::bug(format!("matrix ranges: {what}"));
    let [rows, columns] = loops[..] else {
        return Err(wrong("not two loops"));
    };
    let reduces: Vec<UopId> = g
        .toposort(&[store])
        .into_iter()
        .filter(|&id| {
            matches!(g.op(id), Op::Reduce(_)) && g.src(id)[1..].iter().any(|&r| is_matrix(g, r))
        })
        .collect();
    let [reduce] = reduces[..] else {
        return Err(wrong("not one reduce"));
    };
    let node = g.get(reduce).clone();
    let (depth, others): (Vec<UopId>, Vec<UopId>) =
        node.src[1..].iter().partition(|&&r| is_matrix(g, r));
    let factors = halves(g, node.src[0]);
    let (&[depth], Some((x, y)), Op::Reduce(ReduceOp::Sum)) = (&depth[..], factors, node.op) else {
        return Err(wrong("no sum of products of halves over one range"));
    };
    let mut free = FreeRanges::new();
    let (a, b) = match free.contains(g, x, rows) {
        true => (x, y),
        false => (y, x),
    };
    if !free.contains(g, a, rows) || free.contains(g, a, columns) || free.contains(g, b, rows) {
        return Err(wrong("the factors are no rows and columns"));
    }
    // The ids stay where they are in the order of loops.
    let (wave, eight) = (g.index(WAVE), g.index(WAVE / 4));
    let thread = g.range(number(g, columns), wave, Axis::Local);
    let element = g.range(number(g, rows), eight, Axis::Unroll);
    let mut simplifier = Simplifier::default();
    let within = g.mod_const(thread, SIZE);
    let mut fragment = |g: &mut Uops, value: UopId, own: UopId| {
        let all: Vec<UopId> = (0..SIZE)
            .map(|n| {
                let n = g.index(n);
                let map = FxHashMap::from_iter([(own, within), (depth, n)]);
                let one = substitute(g, value, &map);
                simplifier.run(g, one)
            })
            .collect();
        g.add_node(Op::Stack, DType::F16.vec(SIZE as u16), all)
    };
    let (a, b) = (fragment(g, a, rows), fragment(g, b, columns));
    let ty = DType::F32.vec(8);
    let product = g.add_node(Op::Matrix, ty, [a, b]);
    let mut src = vec![product];
    src.extend(others);
    let sum = g.add_node(Op::Reduce(ReduceOp::Sum), ty, src);
    let one = g.add_node(Op::Element, DType::F32.scalar(), [sum, element]);
    let store = substitute(g, store, &FxHashMap::from_iter([(reduce, one)]));
    let half = g.div_const(thread, SIZE);
    let twice = g.mul_const(element, 2);
    let row = g.add(twice, half);
    let store = substitute(
        g,
        store,
        &FxHashMap::from_iter([(rows, row), (columns, within)]),
    );
    Ok(simplifier.run(g, store))
}

/// The halves whose products, as single floats, a value is.
fn halves(g: &Uops, value: UopId) -> Option<(UopId, UopId)> {
    let half = |id: UopId| {
        let from = *g.src(id).first()?;
        (g.op(id) == Op::Cast && g.ty(from) == DType::F16.scalar()).then_some(from)
    };
    if g.op(value) != Op::Binary(Binary::Mul) || g.ty(value) != DType::F32.scalar() {
        return None;
    }
    Some((half(g.src(value)[0])?, half(g.src(value)[1])?))
}

fn is_matrix(g: &Uops, range: UopId) -> bool {
    matches!(
        g.op(range),
        Op::Range {
            axis: Axis::Matrix,
            ..
        }
    )
}

fn number(g: &Uops, range: UopId) -> u32 {
    match g.op(range) {
        Op::Range { id, .. } => id,
        _ => u32::MAX,
    }
}
