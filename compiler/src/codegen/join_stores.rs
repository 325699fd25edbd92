//! Stores of single lanes to places side by side become stores of vectors: a tile whose lanes lie far apart in memory is transposed
//! in registers.
//!
//! In: a kernel after `vectorise`. Out: in every nest, stores of lanes in the order of their addresses, and where as many vectors as
//! each has lanes fill rows of memory, these rows as vectors, made by rounds of `zip`.
//!
//! The lanes of a tile of channels that goes into a planar image are a whole plane apart, often in one set of the cache: storing them
//! vector by vector fetches each cache line as often as it has elements.
//!
//! Example: for `a` and `b` with two lanes each, `store p, lane 0 a, i; store p, lane 1 a, i+100; store p, lane 0 b, i+1;
//! store p, lane 1 b, i+101` become `store p, zip low a b, i; store p, zip high a b, i+100`.

use crate::diag::Result;
use crate::program::Kernel;
use crate::target::Facts;
use crate::uop::{Linear, Op, Sources, Type, UopId, Uops};
use rustc_hash::FxHashMap;

/// The pass.
pub fn join_stores(mut kernel: Kernel, facts: &Facts) -> Result<Kernel> {
    // Threads of a group store side by side by themselves.
    if facts.gpu.is_some() {
        return Ok(kernel);
    }
    let g = &mut kernel.uops;
    let roots: Vec<UopId> = g.src(kernel.sink).to_vec();
    let mut joined = Vec::with_capacity(roots.len());
    for root in roots {
        joined.push(match g.op(root) {
            Op::Sink => {
                let nest = g.src(root).to_vec();
                match join(g, &nest)[..] {
                    [one] => one,
                    ref all => g.sink(all),
                }
            }
            _ => root,
        });
    }
    kernel.sink = g.sink(&joined);
    Ok(kernel)
}

/// A store of one lane.
struct LaneStore {
    store: UopId,
    vector: UopId,
    lane: u16,
    offset: i64,
}

/// Stores to one buffer, at one index but for a constant.
type Place = (UopId, Vec<(UopId, i64)>);

/// One nest.
fn join(g: &mut Uops, nest: &[UopId]) -> Vec<UopId> {
    // Places that data decide may be the same: the last store counts.
    if nest.iter().any(|&id| is_scattered(g, id)) {
        return nest.to_vec();
    }
    let mut places: Vec<Vec<LaneStore>> = Vec::new();
    let mut known: FxHashMap<Place, usize> = FxHashMap::default();
    let mut out = Vec::with_capacity(nest.len());
    for &id in nest {
        let Some((place, store)) = lane_store(g, id) else {
            out.push(id);
            continue;
        };
        let n = *known.entry(place).or_insert_with(|| {
            places.push(Vec::new());
            places.len() - 1
        });
        places[n].push(store);
    }
    for mut stores in places {
        stores.sort_by_key(|s| s.offset);
        let distinct = stores.windows(2).all(|w| w[0].offset < w[1].offset);
        match distinct.then(|| transposed(g, &stores)).flatten() {
            Some(rows) => out.extend(rows),
            None => out.extend(stores.iter().map(|s| s.store)),
        }
    }
    out
}

/// True for a store whose index reads memory.
fn is_scattered(g: &Uops, id: UopId) -> bool {
    let Op::Store { gated } = g.op(id) else {
        return false;
    };
    let index = &g.src(id)[if gated { 3 } else { 2 }..];
    let nodes = g.toposort(index);
    nodes
        .into_iter()
        .any(|n| matches!(g.op(n), Op::Load { .. }))
}

fn lane_store(g: &Uops, id: UopId) -> Option<(Place, LaneStore)> {
    if g.op(id) != (Op::Store { gated: false }) {
        return None;
    }
    let &[buffer, value, index] = g.src(id) else {
        return None;
    };
    let Op::Lane(lane) = g.op(value) else {
        return None;
    };
    let form = Linear::of(g, index)?;
    let store = LaneStore {
        store: id,
        vector: g.src(value)[0],
        lane,
        offset: form.constant,
    };
    Some(((buffer, form.terms), store))
}

/// Rows of memory as vectors, when the stores, sorted by address, are those of squares: as many vectors as each has lanes, lane by
/// lane a row.
fn transposed(g: &mut Uops, stores: &[LaneStore]) -> Option<Vec<UopId>> {
    let first = g.ty(stores.first()?.vector);
    let lanes = usize::from(first.lanes);
    if !lanes.is_power_of_two()
        || first.scalar.size() != 4
        || !stores.len().is_multiple_of(lanes * lanes)
    {
        return None;
    }
    // Rows of the same vectors, in the order in which they come.
    let mut squares: Vec<(Vec<UopId>, Vec<UopId>)> = Vec::new();
    for row in stores.chunks_exact(lanes) {
        let side_by_side = (0..).zip(row).all(|(n, s)| {
            s.offset == row[0].offset + n && s.lane == row[0].lane && g.ty(s.vector) == first
        });
        if !side_by_side {
            return None;
        }
        let vectors: Vec<UopId> = row.iter().map(|s| s.vector).collect();
        let n = match squares.iter().position(|(v, _)| *v == vectors) {
            Some(n) => n,
            None => {
                squares.push((vectors, Vec::new()));
                squares.len() - 1
            }
        };
        if usize::from(row[0].lane) != squares[n].1.len() {
            return None;
        }
        squares[n].1.push(row[0].store);
    }
    if squares.iter().any(|(_, rows)| rows.len() != lanes) {
        return None;
    }
    let mut out = Vec::with_capacity(stores.len() / lanes);
    for (vectors, rows) in squares {
        for (row, value) in rows.into_iter().zip(transpose(g, vectors)) {
            let mut src: Sources = g.src(row).into();
            src[1] = value;
            out.push(g.add_node(g.op(row), Type::VOID, src));
        }
    }
    Some(out)
}

/// Rows of a square matrix become its columns: every round zips each vector of the first half with its partner in the second.
fn transpose(g: &mut Uops, mut rows: Vec<UopId>) -> Vec<UopId> {
    let half = rows.len() / 2;
    for _ in 0..rows.len().ilog2() {
        let mut next = Vec::with_capacity(rows.len());
        for n in 0..half {
            let (a, b) = (rows[n], rows[n + half]);
            for high in [false, true] {
                next.push(g.add_node(Op::Zip { high }, g.ty(a), [a, b]));
            }
        }
        rows = next;
    }
    rows
}
