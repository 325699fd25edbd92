//! Matrix instructions for `Matrix` ranges.
//!
//! In: stores with one physical index, two `Matrix` loops (rows, then columns) and a sum of products of halves over a `Matrix` range.
//! Out: the same for one thread of a wave: the loop over columns becomes the wave's threads, that over rows the elements that a thread
//! holds, and the sum adds products of matrices. Which elements those are stands in the target file ([`MatrixTile`]). Runs before
//! `unroll`, which makes a store of each element.
//!
//! Halves that C has no type for are taken by their bits: a parameter of which nothing else is wanted becomes one of unsigned integers.
//!
//! Example: `y[r,c] = sum over k and d of a[r,16k+d] * b[16k+d,c]` becomes, for a target whose threads hold every second row,
//! `y[2i + t/16, t%16] = element i of sum over k of matrix(a[t%16, 16k..], b[16k.., t%16])`.

use crate::diag::{Error, Result};
use crate::program::{Kernel, Param};
use crate::target::{Facts, Gpu, MatrixTile};
use crate::uop::{
    Axis, Binary, DType, FreeRanges, Op, ReduceOp, Simplifier, UopId, Uops, substitute,
};
use rustc_hash::FxHashMap;

/// The pass.
pub fn lower_matrix(mut kernel: Kernel, facts: &Facts) -> Result<Kernel> {
    let g = &mut kernel.uops;
    if !g
        .toposort(&[kernel.sink])
        .iter()
        .any(|&id| is_matrix(g, id))
    {
        return Ok(kernel);
    }
    let Some(gpu) = &facts.gpu else {
        return Err(Error::usage("the target has no matrix instructions"));
    };
    let taken = raw_parameters(g, kernel.sink, &mut kernel.params);
    if !taken.is_empty() {
        kernel.sink = substitute(g, kernel.sink, &taken);
    }
    let mut failed = None;
    kernel.sink = super::each_nest(g, kernel.sink, |g, store| {
        lower_store(g, store, gpu).unwrap_or_else(|e| {
            failed = Some(e);
            store
        })
    });
    failed.map_or(Ok(kernel), Err)
}

fn lower_store(g: &mut Uops, store: UopId, gpu: &Gpu) -> Result<UopId> {
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
    let shape = [rows, columns, depth].map(|r| g.extent(r).unwrap_or(0));
    let dtype = match g.ty(a).scalar {
        DType::U16 => DType::BF16,
        other => other,
    };
    let known = |t: &&MatrixTile| {
        t.factors == dtype && t.sum == DType::F32 && t.shape.map(i64::from) == shape
    };
    let Some(tile) = gpu.matrix_tiles.iter().find(known).copied() else {
        let [m, n, k] = shape;
        return Err(Error::usage(format!(
            "the target has no matrix instruction for {m}x{n}x{k} products of {}",
            dtype.name()
        )));
    };
    let wave = i64::from(gpu.wave_lanes);
    let held = shape[0] * shape[1] / wave;
    // The ids stay where they are in the order of loops.
    let (lanes, elements) = (g.index(wave), g.index(held));
    let thread = g.range(number(g, columns), lanes, Axis::Local);
    let element = g.range(number(g, rows), elements, Axis::Unroll);
    let mut simplifier = Simplifier::default();
    let each = i64::from(tile.steps_each);
    let mut fragment = |g: &mut Uops, value: UopId, own: UopId, size: i64| {
        let (within, above) = (g.mod_const(thread, size), g.div_const(thread, size));
        let first = match each < shape[2] {
            true => g.mul_const(above, each),
            false => g.index(0),
        };
        let all: Vec<UopId> = (0..each)
            .map(|n| {
                let n = g.index(n % shape[2]);
                let step = g.add(first, n);
                let map = FxHashMap::from_iter([(own, within), (depth, step)]);
                let one = substitute(g, value, &map);
                let one = simplifier.run(g, one);
                match g.ty(one).scalar {
                    DType::BF16 => g.add_node(Op::Bitcast, DType::U16.scalar(), [one]),
                    _ => one,
                }
            })
            .collect();
        let ty = g.ty(all[0]).scalar.vec(each as u16);
        g.add_node(Op::Stack, ty, all)
    };
    let a = fragment(g, a, rows, shape[0]);
    let b = fragment(g, b, columns, shape[1]);
    let ty = DType::F32.vec(held as u16);
    let [m, n, k] = shape.map(|s| s as u8);
    let op = Op::Matrix {
        rows: m,
        columns: n,
        depth: k,
    };
    let product = g.add_node(op, ty, [a, b]);
    let mut src = vec![product];
    src.extend(others);
    let sum = g.add_node(Op::Reduce(ReduceOp::Sum), ty, src);
    let one = g.add_node(Op::Element, DType::F32.scalar(), [sum, element]);
    let store = substitute(g, store, &FxHashMap::from_iter([(reduce, one)]));
    // Some rows together, then those of the other threads of this column.
    let together = i64::from(tile.rows_together);
    let (above, column) = (g.div_const(thread, shape[1]), g.mod_const(thread, shape[1]));
    let (turn, within) = (
        g.div_const(element, together),
        g.mod_const(element, together),
    );
    let turn = g.mul_const(turn, wave / shape[1] * together);
    let above = g.mul_const(above, together);
    let row = g.add(turn, above);
    let row = g.add(row, within);
    let store = substitute(
        g,
        store,
        &FxHashMap::from_iter([(rows, row), (columns, column)]),
    );
    Ok(simplifier.run(g, store))
}

/// Loads of bfloat16 that only matrix instructions want, as loads of their bits. Their parameters become unsigned integers.
fn raw_parameters(g: &mut Uops, sink: UopId, params: &mut [Param]) -> FxHashMap<UopId, UopId> {
    let all = g.toposort(&[sink]);
    let mut map = FxHashMap::default();
    for (number, slot) in (0u32..).zip(params) {
        let of_slot = |&id: &UopId| g.op(id) == Op::Param { slot: number };
        let Some(&param) = all.iter().find(|id| of_slot(id)) else {
            continue;
        };
        if slot.dtype != DType::BF16 {
            continue;
        }
        // Everything from the loads to the conversion in front of the product.
        let mut chain = vec![param];
        let mut ends = Vec::new();
        let mut plain = true;
        let mut at = 0;
        while at < chain.len() {
            let from = chain[at];
            at += 1;
            for &user in all.iter().filter(|&&u| g.src(u).contains(&from)) {
                match g.op(user) {
                    Op::Load { gated: false } if g.src(user)[0] == from => {}
                    Op::Tile { .. } if g.src(user)[0] == from => {}
                    Op::Cast if g.ty(user) == DType::F32.scalar() && from != param => {
                        ends.push((user, from));
                        continue;
                    }
                    _ => plain = false,
                }
                if !chain.contains(&user) {
                    chain.push(user);
                }
            }
        }
        let multiplied = |&(cast, _): &(UopId, UopId)| {
            let users = all.iter().filter(|&&u| g.src(u).contains(&cast));
            users
                .copied()
                .all(|u| g.op(u) == Op::Binary(Binary::Mul) && feeds_matrix(g, &all, u))
        };
        if !plain || ends.is_empty() || !ends.iter().all(multiplied) {
            continue;
        }
        slot.dtype = DType::U16;
        chain.sort_unstable();
        let mut new = FxHashMap::from_iter([(param, g.param(number, DType::U16))]);
        for &id in &chain[1..] {
            let node = g.get(id).clone();
            let src: Vec<UopId> = node
                .src
                .iter()
                .map(|s| new.get(s).copied().unwrap_or(*s))
                .collect();
            new.insert(id, g.add_node(node.op, DType::U16.scalar(), src));
        }
        for (cast, from) in ends {
            map.insert(
                cast,
                g.add_node(Op::Cast, DType::F32.scalar(), [new[&from]]),
            );
        }
    }
    map
}

/// True when a product is what a reduce over a matrix range adds.
fn feeds_matrix(g: &Uops, all: &[UopId], product: UopId) -> bool {
    let users = all.iter().filter(|&&u| g.src(u).contains(&product));
    users
        .copied()
        .all(|u| matches!(g.op(u), Op::Reduce(_)) && g.src(u)[1..].iter().any(|&r| is_matrix(g, r)))
}

/// The halves whose products, as single floats, a value is.
fn halves(g: &Uops, value: UopId) -> Option<(UopId, UopId)> {
    let half = |id: UopId| {
        let from = *g.src(id).first()?;
        let known = matches!(g.ty(from).scalar, DType::F16 | DType::BF16 | DType::U16);
        (g.op(id) == Op::Cast && known).then_some(from)
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
