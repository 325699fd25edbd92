//! From expressions to a list: loops open and close, every value is computed once, where it can be.
//!
//! In: nests, each of them stores over the same loops, after `vectorise`. Out: a list. Neighbours share the loops that they have in common. A value is placed in the outermost
//! loop in which its ranges are bound. A reduce becomes a register, a loop and a read; reduces over the same
//! ranges that do not need each other share one loop, which is how unrolled copies become a register tile. Runs last.
//!
//! Example: `store y[i], reduce(sum, x[i,k], k)` becomes `loop i; acc = 0; loop k; acc = acc + x[i,k]; end k;
//! y[i] = acc; end i`.

use super::unroll::combine;
use crate::diag::{Error, Result};
use crate::uop::{
    Axis, Binary, DType, FreeRanges, Op, ReduceOp, Sources, Type, UopId, Uops, rebuild,
};
use rustc_hash::{FxHashMap, FxHashSet};

/// The list under construction.
pub struct Linear<'a> {
    /// Arena of the list.
    pub g: &'a mut Uops,
    /// Nodes in order.
    pub list: Vec<UopId>,
    accumulators: u32,
    /// Partial sums of a step are links of the chain too: each product then is one instruction also where the compiler may not fuse it
    /// with an addition by itself.
    whole_chains: bool,
    free: FreeRanges,
    /// What a node became, by scope: innermost last.
    scopes: Vec<FxHashMap<UopId, UopId>>,
}

impl<'a> Linear<'a> {
    /// An empty list over an arena.
    pub fn new(g: &'a mut Uops) -> Self {
        Linear {
            g,
            list: Vec::new(),
            accumulators: 0,
            whole_chains: false,
            free: FreeRanges::new(),
            scopes: Vec::new(),
        }
    }

    /// Adds nests, each of them stores over the same loops. Neighbours that have their outermost loops in common share
    /// them: what comes first in a body runs first.
    pub fn nests(&mut self, nests: &[Vec<UopId>]) -> Result<()> {
        let stores: Vec<UopId> = nests.iter().flatten().copied().collect();
        self.whole_chains = self.g.toposort(&stores).into_iter().any(|id| {
            let axis = |a| matches!(a, Axis::Local | Axis::Group);
            matches!(self.g.op(id), Op::Range { axis: a, .. } if axis(a))
        });
        let mut all = Vec::with_capacity(nests.len());
        for stores in nests {
            let mut loops: Vec<UopId> = stores
                .iter()
                .flat_map(|&s| self.free.of(self.g, s).to_vec())
                .collect();
            self.sort(&mut loops);
            all.push((stores.as_slice(), loops));
        }
        let views: Vec<(&[UopId], &[UopId])> = all.iter().map(|(s, l)| (*s, &l[..])).collect();
        self.joined(&views, &mut Vec::new())
    }

    /// Nests inside the open ranges, each with the loops that it still needs.
    fn joined(&mut self, nests: &[(&[UopId], &[UopId])], open: &mut Vec<UopId>) -> Result<()> {
        let mut rest = nests;
        while let Some(&(stores, loops)) = rest.first() {
            let together = match loops.first() {
                Some(first) => rest
                    .iter()
                    .take_while(|n| n.1.first() == Some(first))
                    .count(),
                None => 1,
            };
            if together == 1 {
                let is_store = |s: &&UopId| matches!(self.g.op(**s), Op::Store { .. });
                let targets: Vec<Target> = stores
                    .iter()
                    .filter(is_store)
                    .map(|&s| Target::Store(s))
                    .collect();
                self.scopes.push(FxHashMap::default());
                self.scope(&targets, open, loops)?;
                self.scopes.pop();
            } else {
                let range = loops[0];
                let begin = self.g.add_node(Op::Loop, Type::VOID, [range]);
                self.list.push(begin);
                open.push(range);
                let inner: Vec<_> = rest[..together].iter().map(|n| (n.0, &n.1[1..])).collect();
                self.joined(&inner, open)?;
                open.pop();
                let end = self.g.add_node(Op::EndLoop, Type::VOID, [range]);
                self.list.push(end);
            }
            rest = &rest[together..];
        }
        Ok(())
    }

    /// Nest order.
    fn sort(&self, ranges: &mut Vec<UopId>) {
        ranges.sort_by_key(|&r| match self.g.op(r) {
            Op::Range { id, .. } => id,
            _ => u32::MAX,
        });
        ranges.dedup();
    }

    /// Everything that can be computed with the open ranges, then the remaining loops, then the targets.
    fn scope(&mut self, targets: &[Target], open: &mut Vec<UopId>, rest: &[UopId]) -> Result<()> {
        let roots: Vec<UopId> = targets.iter().map(Target::root).collect();
        self.compute(&roots, open)?;
        if let Some((&range, rest)) = rest.split_first() {
            let extent = self.g.src(range)[0];
            debug_assert!(self.g.as_int(extent).is_some());
            let begin = self.g.add_node(Op::Loop, Type::VOID, [range]);
            self.list.push(begin);
            self.scopes.push(FxHashMap::default());
            open.push(range);
            self.scope(targets, open, rest)?;
            open.pop();
            self.scopes.pop();
            let end = self.g.add_node(Op::EndLoop, Type::VOID, [range]);
            self.list.push(end);
            return Ok(());
        }
        for target in targets {
            match *target {
                Target::Store(store) => {
                    let store = self.current(store);
                    self.list.push(store);
                }
                Target::Update { acc, op, value } => self.update(acc, op, value),
            }
        }
        Ok(())
    }

    /// acc = acc op value; sums and the like are taken apart so that each part is one step of the chain.
    fn update(&mut self, acc: UopId, op: ReduceOp, value: UopId) {
        let mut parts = Vec::new();
        let mut stack = vec![value];
        while let Some(id) = stack.pop() {
            let node = self.g.get(id);
            let splits = node.op == Op::Binary(combine(op))
                && self.lookup(id).is_none()
                && parts.len() + stack.len() < 4096;
            if splits {
                let (a, b) = (node.src[0], node.src[1]);
                stack.extend([b, a]);
            } else {
                parts.push(id);
            }
        }
        let mut sum = acc;
        for part in parts {
            let part = self.current(part);
            sum = match (self.g.op(part), op) {
                (op @ Op::Matrix { .. }, ReduceOp::Sum) => {
                    let node = self.g.get(part).clone();
                    self.g
                        .add_node(op, node.ty, [node.src[0], node.src[1], sum])
                }
                (Op::Binary(Binary::Mul), ReduceOp::Sum) if self.g.ty(part).scalar.is_float() => {
                    let node = self.g.get(part).clone();
                    self.g
                        .add_node(Op::MulAdd, node.ty, [node.src[0], node.src[1], sum])
                }
                _ => {
                    let ty = self.g.ty(acc);
                    self.g.add_node(Op::Binary(combine(op)), ty, [sum, part])
                }
            };
        }
        let assign = self.g.add_node(Op::Assign, Type::VOID, [acc, sum]);
        self.list.push(assign);
    }

    /// What a node became in an enclosing scope.
    fn lookup(&self, id: UopId) -> Option<UopId> {
        self.scopes.iter().rev().find_map(|s| s.get(&id).copied())
    }

    /// A node with its sources replaced by what they became.
    fn current(&mut self, id: UopId) -> UopId {
        if let Some(known) = self.lookup(id) {
            return known;
        }
        let mut stack = vec![id];
        while let Some(&top) = stack.last() {
            if self.lookup(top).is_some() {
                stack.pop();
                continue;
            }
            let waiting: Vec<UopId> = self
                .g
                .src(top)
                .iter()
                .copied()
                .filter(|&s| self.lookup(s).is_none())
                .collect();
            if !waiting.is_empty() {
                stack.extend(waiting);
                continue;
            }
            let node = self.g.get(top).clone();
            let src: Sources = node
                .src
                .iter()
                .map(|&s| self.lookup(s).unwrap_or(s))
                .collect();
            let new = if src == node.src {
                top
            } else {
                rebuild(self.g, node.op, node.ty, src)
            };
            if let Some(scope) = self.scopes.last_mut() {
                scope.insert(top, new);
            }
            stack.pop();
        }
        self.lookup(id).unwrap_or(id)
    }

    /// Lists every value below `roots` whose ranges are all open and that no enclosing scope has. Reduces come first, then what
    /// is only needed after them: a value that waits in a register while a reduce runs is one accumulator less.
    fn compute(&mut self, roots: &[UopId], open: &[UopId]) -> Result<()> {
        let order = self.g.toposort(roots);
        self.fill(&order, open)?;
        let mut reduces_inside = false;
        for &id in &order {
            if matches!(self.g.op(id), Op::Reduce(_)) && self.lookup(id).is_none() {
                if self.bound(id, open) {
                    self.reduces(id, &order, open)?;
                } else {
                    reduces_inside = true;
                }
            }
        }
        let root_set: FxHashSet<UopId> = roots.iter().copied().collect();
        for &id in &order {
            if root_set.contains(&id) && matches!(self.g.op(id), Op::Store { .. }) {
                continue;
            }
            if self.lookup(id).is_some() || !self.worth_listing(id) || !self.bound(id, open) {
                continue;
            }
            // Loading again after an inner reduce is cheaper than a register while it runs.
            if reduces_inside && matches!(self.g.op(id), Op::Load { .. }) {
                continue;
            }
            // The last step of a chain is part of its update.
            if root_set.contains(&id)
                && self.g.ty(id).scalar.is_float()
                && matches!(self.g.op(id), Op::Binary(_) | Op::Matrix { .. })
                || self.feeds_only_chain(id, roots)
            {
                continue;
            }
            let new = self.current(id);
            self.list.push(new);
        }
        Ok(())
    }

    /// Fills the memory that the threads of a work-group share: all loads first, then stores between barriers. Until the first barrier other
    /// threads may still read what the memory held before.
    fn fill(&mut self, order: &[UopId], open: &[UopId]) -> Result<()> {
        let mut fills = Vec::new();
        for &id in order {
            if self.g.op(id) == Op::Filled && self.lookup(id).is_none() && self.bound(id, open) {
                fills.push(id);
            }
        }
        if fills.is_empty() {
            return Ok(());
        }
        let stores: Vec<UopId> = fills
            .iter()
            .flat_map(|&id| self.g.src(id)[1..].to_vec())
            .collect();
        self.compute(&stores, open)?;
        let barrier = self.g.add_node(Op::Barrier, Type::VOID, []);
        self.list.push(barrier);
        for store in stores {
            let store = self.current(store);
            self.list.push(store);
        }
        self.list.push(barrier);
        for id in fills {
            let memory = self.g.src(id)[0];
            if let Some(scope) = self.scopes.last_mut() {
                scope.insert(id, memory);
            }
        }
        Ok(())
    }

    /// Products (and, for work-groups, sums of them) that only feed a sum's update are printed inside it, as multiply-adds.
    fn feeds_only_chain(&self, id: UopId, roots: &[UopId]) -> bool {
        let product = match self.g.op(id) {
            Op::Binary(Binary::Mul) | Op::Matrix { .. } => true,
            Op::Binary(Binary::Add) => self.whole_chains,
            _ => false,
        };
        if !product || !self.g.ty(id).scalar.is_float() {
            return false;
        }
        let mut stack: Vec<UopId> = roots.to_vec();
        let mut steps = 0;
        while let Some(r) = stack.pop() {
            steps += 1;
            if steps > 4096 {
                return false;
            }
            if r == id {
                return true;
            }
            if self.g.op(r) == Op::Binary(Binary::Add) && self.lookup(r).is_none() {
                stack.extend(self.g.src(r));
            }
        }
        false
    }

    /// Constants, parameters, ranges and plain index arithmetic are printed where they are used.
    fn worth_listing(&self, id: UopId) -> bool {
        let node = self.g.get(id);
        match node.op {
            Op::Const(_)
            | Op::Param { .. }
            | Op::Range { .. }
            | Op::Lanes(_)
            | Op::Splat
            | Op::Var { .. }
            | Op::Local { .. }
            | Op::Filled
            | Op::Acc { .. } => false,
            Op::Store { .. } => false,
            _ => node.ty != Type::INDEX || matches!(node.op, Op::Where) || self.g.src(id).len() > 2,
        }
    }

    fn bound(&mut self, id: UopId, open: &[UopId]) -> bool {
        self.free.of(self.g, id).iter().all(|r| open.contains(r))
    }

    /// Threads that a reduce over these ranges is spread over; `None` when each thread reduces alone.
    fn over_threads(&self, ranges: &[UopId]) -> Option<u32> {
        let group = ranges.iter().filter(|&&r| {
            let axis = Axis::Group;
            matches!(self.g.op(r), Op::Range { axis: a, .. } if a == axis)
        });
        let threads: i64 = group.map(|&r| self.g.extent(r).unwrap_or(1)).product();
        (threads > 1).then_some(threads as u32)
    }

    /// A reduce and those that can share its loop.
    fn reduces(&mut self, first: UopId, order: &[UopId], open: &[UopId]) -> Result<()> {
        let key = |g: &Uops, id: UopId| {
            let mut ranges: Vec<UopId> = g.src(id)[1..].to_vec();
            ranges.sort_unstable();
            ranges
        };
        let ranges = key(self.g, first);
        let mut group = Vec::new();
        for &id in order {
            if !matches!(self.g.op(id), Op::Reduce(_))
                || id < first
                || self.lookup(id).is_some()
                || key(self.g, id) != ranges
                || !self.bound(id, open)
            {
                continue;
            }
            let below = self.g.toposort(&[id]);
            let needs_other = below.iter().any(|&b| {
                b != id
                    && matches!(self.g.op(b), Op::Reduce(_))
                    && self.lookup(b).is_none()
                    && self.free.of(self.g, b).iter().all(|r| open.contains(r))
            });
            if id == first || !needs_other {
                group.push(id);
            }
        }
        // What their bodies need from out here.
        for &id in &group {
            let below = self.g.toposort(&[id]);
            for b in below {
                if b != id
                    && self.lookup(b).is_none()
                    && self.worth_listing(b)
                    && self.bound(b, open)
                {
                    if matches!(self.g.op(b), Op::Reduce(_)) {
                        return Err(Error::bug(
                            "a reduce that another needs was not computed first",
                        ));
                    }
                    let new = self.current(b);
                    self.list.push(new);
                }
            }
        }
        let mut targets = Vec::new();
        let mut results = Vec::new();
        for id in group {
            let node = self.g.get(id).clone();
            let Op::Reduce(op) = node.op else { continue };
            let init = identity(self.g, op, node.ty);
            let number = self.accumulators;
            self.accumulators += 1;
            // The number in the node keeps equal starts apart.
            let acc = self.g.add_node(Op::Acc { id: number }, node.ty, [init]);
            self.list.push(acc);
            targets.push(Target::Update {
                acc,
                op,
                value: node.src[0],
            });
            results.push((id, acc));
        }
        let mut loops = ranges;
        self.sort(&mut loops);
        self.scopes.push(FxHashMap::default());
        let mut inner = open.to_vec();
        self.scope(&targets, &mut inner, &loops)?;
        self.scopes.pop();
        let threads = self.over_threads(&loops);
        for (n, (id, acc)) in results.into_iter().enumerate() {
            let ty = self.g.ty(acc);
            let mut read = self.g.add_node(Op::Read(n as u32), ty, [acc]);
            if let (Some(threads), Op::Reduce(op)) = (threads, self.g.op(id)) {
                read = self.g.add_node(Op::GroupFold { op, threads }, ty, [read]);
                self.list.push(read);
            }
            if let Some(scope) = self.scopes.last_mut() {
                scope.insert(id, read);
            }
        }
        Ok(())
    }
}

/// What the innermost body of a scope does.
enum Target {
    Store(UopId),
    Update {
        acc: UopId,
        op: ReduceOp,
        value: UopId,
    },
}

impl Target {
    fn root(&self) -> UopId {
        match *self {
            Target::Store(id) => id,
            Target::Update { value, .. } => value,
        }
    }
}

/// What an accumulator starts with.
fn identity(g: &mut Uops, op: ReduceOp, ty: Type) -> UopId {
    let dtype = ty.scalar;
    let bits = match (op, dtype.int_bounds()) {
        (ReduceOp::Sum | ReduceOp::Any, None) => 0f64.to_bits(),
        (ReduceOp::Prod | ReduceOp::All, None) => 1f64.to_bits(),
        (ReduceOp::Max, None) => f64::NEG_INFINITY.to_bits(),
        (ReduceOp::Min, None) => f64::INFINITY.to_bits(),
        (ReduceOp::Sum | ReduceOp::Any, Some(_)) => 0,
        (ReduceOp::Prod | ReduceOp::All, Some(_)) => 1,
        (ReduceOp::Max, Some((low, _))) => low as u64,
        (ReduceOp::Min, Some(_)) if dtype == DType::U64 => u64::MAX,
        (ReduceOp::Min, Some((_, high))) => high as u64,
    };
    g.constant(ty, bits)
}
