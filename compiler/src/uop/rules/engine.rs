//! Applies rules from the leaves up, until none fires.
//!
//! In: a node and the arena it lives in. Out: an equal node. Sources are rewritten first; then the rules of the
//! node's operation and operand type are tried in order; what one gives is rewritten again. A rewrite takes one
//! unit of the arena's fuel; without fuel nothing is rewritten, so a wrong rule is found by bisection. A chain of
//! rewrites that comes back to itself or grows too long ends, and [`Uops::fault`] says which rule it was.
//!
//! Example: `(mul (add r 0) 1)` gives `(mul r 1)`, then `r`.

use super::super::arena::{Sources, UopId, Uops};
use super::super::bounds::Bounds;
use super::super::dtype::{DType, Type};
use super::super::linear::Linear;
use super::super::ops::Op;
use super::{Head, Table};
use rustc_hash::FxHashMap;
use std::ops::{Deref, DerefMut};

/// Rewrites that may be under way at once; what needs more does not end.
const LONGEST_CHAIN: usize = 500;

/// What a rule sees: the arena, intervals, and the type of the node that it rewrites.
#[derive(Debug)]
pub struct Env<'a> {
    g: &'a mut Uops,
    bounds: &'a mut Bounds,
    /// Type of the node.
    pub ty: Type,
}

impl<'a> Env<'a> {
    pub(in crate::uop) fn new(g: &'a mut Uops, bounds: &'a mut Bounds, ty: Type) -> Env<'a> {
        Env { g, bounds, ty }
    }
    /// True for the integer, Index or Bool constant `value`.
    pub fn is_int(&self, id: UopId, value: i64) -> bool {
        self.as_int(id) == Some(value)
    }
    /// True for the float constant with exactly the bits of `value`.
    pub fn is_float(&self, id: UopId, value: f64) -> bool {
        self.as_float(id)
            .is_some_and(|v| v.to_bits() == value.to_bits())
    }
    /// Interval of a node.
    pub fn interval(&mut self, id: UopId) -> (i64, i64) {
        self.bounds.of(self.g, id)
    }
    /// Interval of a linear form.
    pub fn interval_of(&mut self, form: &Linear) -> (i64, i64) {
        form.bounds(self.g, self.bounds)
    }
}

impl Deref for Env<'_> {
    type Target = Uops;
    fn deref(&self) -> &Uops {
        self.g
    }
}

impl DerefMut for Env<'_> {
    fn deref_mut(&mut self) -> &mut Uops {
        self.g
    }
}

/// Remembers what is rewritten already; valid while its arena only grows.
#[derive(Debug)]
pub struct Engine {
    table: &'static Table,
    bounds: Bounds,
    done: FxHashMap<UopId, UopId>,
    /// Nodes that a rule has rewritten and whose result is not finished; all are on the stack.
    pending: FxHashMap<UopId, UopId>,
}

impl Default for Engine {
    fn default() -> Self {
        Engine::new(Table::all())
    }
}

impl Engine {
    /// An engine for some rules.
    pub fn new(table: &'static Table) -> Engine {
        Engine {
            table,
            bounds: Bounds::new(),
            done: FxHashMap::default(),
            pending: FxHashMap::default(),
        }
    }

    /// Rewrites `id` and all below it.
    pub fn run(&mut self, g: &mut Uops, id: UopId) -> UopId {
        let mut stack = vec![id];
        while let Some(&top) = stack.last() {
            if self.done.contains_key(&top) {
                stack.pop();
                continue;
            }
            if let Some(&next) = self.pending.get(&top) {
                let end = self.done.get(&next).copied().unwrap_or(next);
                self.pending.remove(&top);
                self.done.insert(top, end);
                stack.pop();
                continue;
            }
            let before = stack.len();
            stack.extend(g.src(top).iter().filter(|s| !self.done.contains_key(s)));
            if stack.len() == before {
                match self.node(g, top) {
                    Ok(new) => {
                        self.done.insert(top, new);
                        self.done.insert(new, new);
                        stack.pop();
                    }
                    Err(next) => {
                        self.pending.insert(top, next);
                        stack.push(next);
                    }
                }
            }
        }
        self.done.get(&id).copied().unwrap_or(id)
    }

    /// One node whose sources are done: what it is now, or what a rule made of it.
    fn node(&mut self, g: &mut Uops, id: UopId) -> Result<UopId, UopId> {
        let (op, ty) = (g.op(id), g.ty(id));
        let src: Sources = g
            .src(id)
            .iter()
            .map(|s| self.done.get(s).copied().unwrap_or(*s))
            .collect();
        if let Some((new, rule)) = self.apply(g, op, ty, &src) {
            if self.done.contains_key(&new) {
                g.burn();
                return Ok(self.done[&new]);
            }
            if new != id && !self.pending.contains_key(&new) && self.pending.len() < LONGEST_CHAIN {
                g.burn();
                return Err(new);
            }
            g.set_fault(rule);
        }
        Ok(g.add_node(op, ty, src))
    }

    /// The first rule that fires.
    fn apply(
        &mut self,
        g: &mut Uops,
        op: Op,
        ty: Type,
        src: &[UopId],
    ) -> Option<(UopId, &'static str)> {
        let head = Head::of(op).filter(|_| g.fuel() > 0)?;
        let operand = match head {
            Head::GatedLoad | Head::GatedStore => Type::BOOL,
            _ => g.ty(*src.last()?),
        };
        if operand.lanes != 1 {
            return None;
        }
        let mut env = Env::new(g, &mut self.bounds, ty);
        for rule in self.table.row(head, operand.scalar) {
            if let Some(new) = (rule.apply)(&mut env, src) {
                let node = env.get(new);
                if node.op != op || node.ty != ty || node.src[..] != *src {
                    return Some((new, rule.name));
                }
            }
        }
        None
    }
}

/// One rule on one node, without fuel and without rewriting what it gives.
#[cfg(test)]
pub(super) fn apply_one(g: &mut Uops, rule: &super::Rule, id: UopId) -> Option<UopId> {
    let (ty, src) = (g.ty(id), g.get(id).src.clone());
    let mut bounds = Bounds::new();
    (rule.apply)(&mut Env::new(g, &mut bounds, ty), &src).filter(|&new| new != id)
}

/// True for scalars of integer types, Index included.
pub(super) fn is_plain(ty: Type) -> bool {
    ty.lanes == 1 && ty.scalar.is_int()
}

/// True when every value of the interval fits the type. Intervals of U64 are not exact, so nothing fits it.
pub(super) fn fits(interval: (i64, i64), dtype: DType) -> bool {
    dtype != DType::U64
        && dtype
            .int_bounds()
            .is_some_and(|w| interval.0 >= w.0 && interval.1 <= w.1)
}
