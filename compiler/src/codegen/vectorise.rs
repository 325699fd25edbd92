//! Lanes for `Vector` ranges.
//!
//! In: a store after `unroll`, scalar everywhere. Out: stores without `Vector` ranges. What depends on the range
//! becomes a vector: contiguous loads are vector loads, others are gathered lane by lane, values that do not
//! depend on it are splatted where a vector needs them. A reduce over a vector range gets a vector accumulator and
//! a `Fold` after the loop.

use crate::uop::{
    Axis, DType, FreeRanges, Linear, Op, Simplifier, Sources, Type, UopId, Uops, substitute,
};
use rustc_hash::FxHashMap;

/// Vectorises one store; more than one when its index is not contiguous.
pub fn vectorise(g: &mut Uops, store: UopId) -> Vec<UopId> {
    let store = fold_reduces(g, store);
    let free = FreeRanges::new().of(g, store);
    let Some(range) = free.iter().copied().find(|&r| is_vector(g, r)) else {
        return vec![store];
    };
    let mut pass = Lanes::new(g, range);
    pass.store(store)
}

fn is_vector(g: &Uops, range: UopId) -> bool {
    matches!(
        g.op(range),
        Op::Range {
            axis: Axis::Vector,
            ..
        }
    )
}

/// Reduces over a vector range.
fn fold_reduces(g: &mut Uops, root: UopId) -> UopId {
    let mut root = root;
    loop {
        let found = g.toposort(&[root]).into_iter().find_map(|id| {
            let range = matches!(g.op(id), Op::Reduce(_))
                .then(|| g.src(id)[1..].iter().copied().find(|&r| is_vector(g, r)))
                .flatten()?;
            Some((id, range))
        });
        let Some((id, range)) = found else {
            return root;
        };
        let node = g.get(id).clone();
        let Op::Reduce(op) = node.op else { return root };
        let kept: Vec<UopId> = node.src[1..]
            .iter()
            .copied()
            .filter(|&r| r != range)
            .collect();
        let mut pass = Lanes::new(g, range);
        let value = pass.vector(node.src[0]);
        let sum = g.reduce(op, value, &kept);
        let scalar = Type {
            scalar: node.ty.scalar,
            lanes: 1,
        };
        let folded = g.add_node(Op::Fold(op), scalar, [sum]);
        root = substitute(g, root, &FxHashMap::from_iter([(id, folded)]));
    }
}

struct Lanes<'a> {
    g: &'a mut Uops,
    range: UopId,
    lanes: u16,
    free: FreeRanges,
    simplifier: Simplifier,
    done: FxHashMap<UopId, UopId>,
}

impl<'a> Lanes<'a> {
    fn new(g: &'a mut Uops, range: UopId) -> Self {
        let lanes = g.extent(range).unwrap_or(1) as u16;
        Lanes {
            g,
            range,
            lanes,
            free: FreeRanges::new(),
            simplifier: Simplifier::default(),
            done: FxHashMap::default(),
        }
    }

    fn depends(&mut self, id: UopId) -> bool {
        self.free.contains(self.g, id, self.range)
    }

    /// The expression with the range at a lane.
    fn at(&mut self, id: UopId, lane: i64) -> UopId {
        let n = self.g.index(lane);
        let moved = substitute(self.g, id, &FxHashMap::from_iter([(self.range, n)]));
        self.simplifier.run(self.g, moved)
    }

    /// Step of an index from lane to lane.
    fn step(&mut self, index: UopId) -> Option<i64> {
        let form = Linear::of(self.g, index)?;
        let mut step = 0;
        for (term, c) in form.terms {
            if term == self.range {
                step = c;
            } else if self.depends(term) {
                return None;
            }
        }
        Some(step)
    }

    fn store(&mut self, id: UopId) -> Vec<UopId> {
        let node = self.g.get(id).clone();
        let index = node.src[node.src.len() - 1];
        let gated = node.op == Op::Store { gated: true };
        let gate_varies = gated && self.depends(node.src[2]);
        let value = self.vector(node.src[1]);
        if !gate_varies && self.step(index) == Some(1) {
            let mut src: Sources = node.src.clone();
            src[1] = value;
            let last = src.len() - 1;
            src[last] = self.at(index, 0);
            return vec![self.g.add_node(node.op, Type::VOID, src)];
        }
        (0..self.lanes)
            .map(|lane| {
                let scalar = Type {
                    scalar: self.g.ty(value).scalar,
                    lanes: 1,
                };
                let mut src: Sources = node.src.clone();
                src[1] = self.g.add_node(Op::Lane(lane), scalar, [value]);
                for s in &mut src[2..] {
                    *s = self.at(*s, i64::from(lane));
                }
                self.g.add_node(node.op, Type::VOID, src)
            })
            .collect()
    }

    /// The value as a vector, splatted when it does not vary.
    fn vector(&mut self, id: UopId) -> UopId {
        let value = self.value(id);
        let ty = self.g.ty(value);
        if ty.lanes == self.lanes {
            return value;
        }
        self.g
            .add_node(Op::Splat, ty.scalar.vec(self.lanes), [value])
    }

    /// The value: a vector when it varies, else as it was.
    fn value(&mut self, id: UopId) -> UopId {
        if !self.depends(id) {
            return id;
        }
        // Sources first; a chain of operators can be long.
        let order = self.g.toposort(&[id]);
        for n in order {
            if !self.done.contains_key(&n) && self.depends(n) && !self.skipped(n) {
                let to = self.node(n);
                self.done.insert(n, to);
            }
        }
        match self.done.get(&id) {
            Some(&to) => to,
            None => {
                let to = self.node(id);
                self.done.insert(id, to);
                to
            }
        }
    }

    /// Index arithmetic is only needed as a vector where a value uses it; loads take it apart themselves.
    fn skipped(&self, id: UopId) -> bool {
        self.g.ty(id) == Type::INDEX && id != self.range
    }

    fn node(&mut self, id: UopId) -> UopId {
        let node = self.g.get(id).clone();
        let ty = node.ty.scalar.vec(self.lanes);
        match node.op {
            Op::Range { .. } => self
                .g
                .add_node(Op::Lanes(0), DType::Index.vec(self.lanes), []),
            Op::Load { gated } => self.load(&node.src, gated, ty),
            Op::Reduce(op) => {
                let value = self.vector(node.src[0]);
                let ranges: Vec<UopId> = node.src[1..].to_vec();
                self.g.reduce(op, value, &ranges)
            }
            _ => {
                let src: Vec<UopId> = node.src.iter().map(|&s| self.vector(s)).collect();
                let to = if node.ty.scalar == DType::Bool {
                    DType::Bool.vec(self.lanes)
                } else {
                    ty
                };
                self.g.add_node(node.op, to, src)
            }
        }
    }

    fn load(&mut self, src: &[UopId], gated: bool, ty: Type) -> UopId {
        let index = src[src.len() - 1];
        let gate_varies = gated && self.depends(src[1]);
        if !gate_varies && self.step(index) == Some(1) {
            let place = self.at(index, 0);
            let mut out: Sources = src.into();
            let last = out.len() - 1;
            out[last] = place;
            if gated {
                out[2] = self.vector(src[2]);
            }
            return self.g.add_node(Op::Load { gated }, ty, out);
        }
        let scalars: Vec<UopId> = (0..self.lanes)
            .map(|lane| {
                let moved: Vec<UopId> = src[1..]
                    .iter()
                    .map(|&s| self.at(s, i64::from(lane)))
                    .collect();
                if gated {
                    self.g.load_gated(src[0], moved[0], moved[1], &moved[2..])
                } else {
                    self.g.load(src[0], &moved)
                }
            })
            .collect();
        self.g.add_node(Op::Stack, ty, scalars)
    }
}
