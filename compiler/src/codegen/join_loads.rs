//! Loads of single elements become loads of vectors: lanes that lie two elements apart, as those of a pool that halves an image.
//!
//! In: a kernel after `vectorise`. Out: the same one, with a vector of elements two apart taken out of two vectors of memory by an
//! `unzip`. Where its neighbour is read as well, as in a window of two columns, both come out of the same two. Nothing is read but what
//! was, and what lies between.
//!
//! Example: with four lanes, `stack (load x, 2*0) (load x, 2*1) (load x, 2*2) (load x, 2*3)` becomes
//! `unzip even odd (load x, 0) (load x, 3)`: elements 0 to 6.

use crate::diag::Result;
use crate::program::Kernel;
use crate::target::Facts;
use crate::uop::{Linear, Op, UopId, Uops, substitute};
use rustc_hash::{FxHashMap, FxHashSet};

/// The pass.
pub fn join_loads(mut kernel: Kernel, facts: &Facts) -> Result<Kernel> {
    // Threads of a group load side by side by themselves.
    if facts.gpu.is_some() {
        return Ok(kernel);
    }
    let g = &mut kernel.uops;
    let found: Vec<(UopId, Strided)> = g
        .toposort(&[kernel.sink])
        .into_iter()
        .filter_map(|id| Some((id, strided(g, id)?)))
        .collect();
    let places: FxHashSet<Strided> = found.iter().map(|f| f.1.clone()).collect();
    let mut map = FxHashMap::default();
    for (id, place) in found {
        map.insert(id, joined(g, id, place, &places));
    }
    kernel.sink = substitute(g, kernel.sink, &map);
    Ok(kernel)
}

/// Elements two apart: buffer, index of the first, and how many.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Strided {
    buffer: UopId,
    terms: Vec<(UopId, i64)>,
    first: i64,
    lanes: i64,
}

impl Strided {
    fn beside(&self, by: i64) -> Strided {
        Strided {
            first: self.first + by,
            ..self.clone()
        }
    }
}

/// What a stack loads, if its lanes are elements two apart.
fn strided(g: &Uops, id: UopId) -> Option<Strided> {
    let lanes = g.ty(id).lanes;
    if g.op(id) != Op::Stack || lanes < 4 || g.ty(id).scalar.size() != 4 {
        return None;
    }
    let mut found: Option<Strided> = None;
    for (n, &load) in (0..).zip(g.src(id)) {
        let (Op::Load { gated: false }, &[buffer, index]) = (g.op(load), g.src(load)) else {
            return None;
        };
        let form = Linear::of(g, index)?;
        match &found {
            None if g.ty(buffer).scalar == g.ty(id).scalar => {
                found = Some(Strided {
                    buffer,
                    terms: form.terms,
                    first: form.constant,
                    lanes: i64::from(lanes),
                });
            }
            Some(f) => {
                let next = f.first + 2 * n;
                if f.buffer != buffer || f.terms != form.terms || form.constant != next {
                    return None;
                }
            }
            None => return None,
        }
    }
    found
}

/// The vectors that hold the elements, unzipped.
fn joined(g: &mut Uops, id: UopId, place: Strided, all: &FxHashSet<Strided>) -> UopId {
    // The neighbours' last element may be the last of memory.
    let (first, second, odd) = if all.contains(&place.beside(-1)) {
        (place.first - 1, place.first - 1 + place.lanes, [true, true])
    } else if all.contains(&place.beside(1)) {
        (place.first, place.first + place.lanes, [false, false])
    } else {
        (place.first, place.first + place.lanes - 1, [false, true])
    };
    let ty = g.ty(id);
    let mut load = |constant: i64| {
        let form = Linear {
            terms: place.terms.clone(),
            constant,
        };
        let index = form.build(g);
        g.add_node(Op::Load { gated: false }, ty, [place.buffer, index])
    };
    let (a, b) = (load(first), load(second));
    g.add_node(Op::Unzip { odd }, ty, [a, b])
}
