//! The hash-consing arena: equal nodes have equal ids.
//!
//! ```
//! use tinyc_compiler::uop::{Uops, Type, Axis};
//! let mut g = Uops::new();
//! let n = g.index(16);
//! let r = g.range(0, n, Axis::Loop);
//! let zero = g.index(0);
//! assert_eq!(g.add(r, zero), r); // constructors fold the trivial cases
//! ```

use super::dtype::{DType, Type};
use super::ops::{Axis, Binary, Op, ReduceOp, Unary};
use super::rules;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// A node of one [`Uops`] arena. Ids of two arenas do not mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UopId(pub u32);

/// Sources of a node.
pub type Sources = SmallVec<[UopId; 4]>;

/// One node: an operation, the type of its value, its sources. Nothing else hangs on it: bounds,
/// free ranges and the like live in side tables.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// Operation and its attributes.
    pub op: Op,
    /// Type of the value.
    pub ty: Type,
    /// Sources; they always have smaller ids.
    pub src: Sources,
}

/// Arena of hash-consed nodes. Sources come before their users, so ascending ids are a topological order.
#[derive(Debug, Clone, Default)]
pub struct Uops {
    nodes: Vec<Node>,
    ids: FxHashMap<Node, UopId>,
    /// Most rewrites of rules; `None` is without end.
    limit: Option<u64>,
    /// Rewrites so far.
    rewrites: u64,
    /// A rule that did not end.
    fault: Option<&'static str>,
}

impl Uops {
    /// An empty arena.
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets how many rewrites rules may make from now on; `None` is without end.
    pub fn set_fuel(&mut self, limit: Option<u64>) {
        self.limit = limit;
        self.rewrites = 0;
    }
    /// Rewrites that rules may still make.
    pub fn fuel(&self) -> u64 {
        self.limit
            .map_or(u64::MAX, |l| l.saturating_sub(self.rewrites))
    }
    /// Rewrites that rules have made.
    pub fn rewrites(&self) -> u64 {
        self.rewrites
    }
    /// A rule whose rewriting was stopped because it did not end.
    pub fn fault(&self) -> Option<&'static str> {
        self.fault
    }
    /// Takes over fuel and fault of the arena that this one is a copy of.
    pub fn continue_from(&mut self, other: &Uops) {
        self.limit = other.limit;
        self.rewrites = other.rewrites;
        self.fault = self.fault.or(other.fault);
    }
    pub(super) fn burn(&mut self) {
        self.rewrites = self.rewrites.saturating_add(1);
    }
    pub(super) fn set_fault(&mut self, rule: &'static str) {
        self.fault.get_or_insert(rule);
    }
    /// Number of nodes, reachable or not.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }
    /// True without nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
    /// The node behind an id.
    pub fn get(&self, id: UopId) -> &Node {
        &self.nodes[id.0 as usize]
    }
    /// Operation of a node.
    pub fn op(&self, id: UopId) -> Op {
        self.get(id).op
    }
    /// Type of a node.
    pub fn ty(&self, id: UopId) -> Type {
        self.get(id).ty
    }
    /// Sources of a node.
    pub fn src(&self, id: UopId) -> &[UopId] {
        &self.get(id).src
    }
    /// Adds a node exactly as given (no folding), or finds the equal one.
    pub fn add_node(&mut self, op: Op, ty: Type, src: impl IntoIterator<Item = UopId>) -> UopId {
        let node = Node {
            op,
            ty,
            src: src.into_iter().collect(),
        };
        if let Some(&id) = self.ids.get(&node) {
            return id;
        }
        let id = UopId(self.nodes.len() as u32);
        self.nodes.push(node.clone());
        self.ids.insert(node, id);
        id
    }

    // ---- leaves ----

    /// Constant from raw bits as [`Op::Const`] defines them.
    pub fn constant(&mut self, ty: Type, bits: u64) -> UopId {
        self.add_node(Op::Const(bits), ty, [])
    }
    /// Index constant.
    pub fn index(&mut self, value: i64) -> UopId {
        self.constant(Type::INDEX, value as u64)
    }
    /// Bool constant.
    pub fn bool(&mut self, value: bool) -> UopId {
        self.constant(Type::BOOL, value as u64)
    }
    /// Integer constant of an integer type (not checked against its range).
    pub fn int(&mut self, dtype: DType, value: i64) -> UopId {
        self.constant(dtype.scalar(), value as u64)
    }
    /// Float constant; the value is rounded to the type.
    pub fn float(&mut self, dtype: DType, value: f64) -> UopId {
        let rounded = match dtype {
            DType::F32 => value as f32 as f64,
            DType::F16 => half::f16::from_f64(value).to_f64(),
            DType::BF16 => half::bf16::from_f64(value).to_f64(),
            _ => value,
        };
        let canonical = if rounded.is_nan() { f64::NAN } else { rounded };
        self.constant(dtype.scalar(), canonical.to_bits())
    }
    /// A number in any type: rounded for floats, truncated for integers, `!= 0` for Bool.
    pub fn number(&mut self, dtype: DType, value: f64) -> UopId {
        if dtype.is_float() {
            self.float(dtype, value)
        } else if dtype == DType::Bool {
            self.bool(value != 0.0)
        } else {
            self.int(dtype, value as i64)
        }
    }
    /// Buffer parameter.
    pub fn param(&mut self, slot: u32, dtype: DType) -> UopId {
        self.add_node(Op::Param { slot }, dtype.scalar(), [])
    }
    /// Loop counter.
    pub fn range(&mut self, id: u32, extent: UopId, axis: Axis) -> UopId {
        self.add_node(Op::Range { id, axis }, Type::INDEX, [extent])
    }

    // ---- queries ----

    /// Bits of a constant.
    pub fn as_const(&self, id: UopId) -> Option<u64> {
        match self.op(id) {
            Op::Const(bits) => Some(bits),
            _ => None,
        }
    }
    /// Value of an integer, Index or Bool constant.
    pub fn as_int(&self, id: UopId) -> Option<i64> {
        (!self.ty(id).scalar.is_float())
            .then(|| self.as_const(id))
            .flatten()
            .map(|b| b as i64)
    }
    /// Value of a float constant.
    pub fn as_float(&self, id: UopId) -> Option<f64> {
        self.ty(id)
            .scalar
            .is_float()
            .then(|| self.as_const(id))
            .flatten()
            .map(f64::from_bits)
    }
    /// Extent of a range whose extent is constant.
    pub fn extent(&self, range: UopId) -> Option<i64> {
        match self.op(range) {
            Op::Range { .. } => self.as_int(self.src(range)[0]),
            _ => None,
        }
    }
    /// Nodes reachable from `roots`, each once, sources before users.
    pub fn toposort(&self, roots: &[UopId]) -> Vec<UopId> {
        let mut seen = vec![false; self.nodes.len()];
        let mut stack: Vec<UopId> = roots.to_vec();
        let mut out = Vec::new();
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut seen[id.0 as usize], true) {
                continue;
            }
            out.push(id);
            stack.extend(self.src(id));
        }
        out.sort_unstable();
        out
    }

    // ---- arithmetic with the trivial cases folded ----

    /// Two-source arithmetic. Applies the trivial rules on Index and Bool constants, without fuel.
    pub fn binary(&mut self, op: Binary, a: UopId, b: UopId) -> UopId {
        let ty = self.ty(a);
        let constant = self.as_const(a).is_some() || self.as_const(b).is_some();
        if constant
            && (ty == Type::INDEX || ty == Type::BOOL)
            && let Some(folded) = rules::fold(self, op, a, b)
        {
            return folded;
        }
        let result = if op.is_compare() {
            ty.with_scalar(DType::Bool)
        } else {
            ty
        };
        self.add_node(Op::Binary(op), result, [a, b])
    }
    /// One-source arithmetic.
    pub fn unary(&mut self, op: Unary, a: UopId) -> UopId {
        let ty = self.ty(a);
        let result = if op == Unary::IsNan {
            ty.with_scalar(DType::Bool)
        } else {
            ty
        };
        self.add_node(Op::Unary(op), result, [a])
    }
    /// a + b.
    pub fn add(&mut self, a: UopId, b: UopId) -> UopId {
        self.binary(Binary::Add, a, b)
    }
    /// a - b.
    pub fn sub(&mut self, a: UopId, b: UopId) -> UopId {
        self.binary(Binary::Sub, a, b)
    }
    /// a * b.
    pub fn mul(&mut self, a: UopId, b: UopId) -> UopId {
        self.binary(Binary::Mul, a, b)
    }
    /// Index: floor(a / n).
    pub fn div_const(&mut self, a: UopId, n: i64) -> UopId {
        let n = self.index(n);
        self.binary(Binary::FloorDiv, a, n)
    }
    /// Index: a mod n, in 0..n.
    pub fn mod_const(&mut self, a: UopId, n: i64) -> UopId {
        let n = self.index(n);
        self.binary(Binary::FloorMod, a, n)
    }
    /// Index: a + n.
    pub fn add_const(&mut self, a: UopId, n: i64) -> UopId {
        let n = self.index(n);
        self.add(a, n)
    }
    /// Index: a * n.
    pub fn mul_const(&mut self, a: UopId, n: i64) -> UopId {
        let n = self.index(n);
        self.mul(a, n)
    }
    /// a and b, Bool.
    pub fn and(&mut self, a: UopId, b: UopId) -> UopId {
        self.binary(Binary::And, a, b)
    }
    /// condition ? a : b. A constant condition is folded.
    pub fn select(&mut self, condition: UopId, a: UopId, b: UopId) -> UopId {
        match self.as_int(condition) {
            Some(0) => b,
            Some(_) => a,
            None if a == b => a,
            None => {
                let ty = self.ty(a);
                self.add_node(Op::Where, ty, [condition, a, b])
            }
        }
    }
    /// Value conversion; none when the scalar is the same.
    pub fn cast(&mut self, a: UopId, dtype: DType) -> UopId {
        let ty = self.ty(a);
        if ty.scalar == dtype {
            return a;
        }
        self.add_node(Op::Cast, ty.with_scalar(dtype), [a])
    }
    /// Ungated load of one scalar.
    pub fn load(&mut self, buffer: UopId, index: &[UopId]) -> UopId {
        let ty = self.ty(buffer);
        self.add_node(
            Op::Load { gated: false },
            ty,
            [buffer].into_iter().chain(index.iter().copied()),
        )
    }
    /// Gated load of one scalar. A constant gate is folded.
    pub fn load_gated(
        &mut self,
        buffer: UopId,
        gate: UopId,
        alternative: UopId,
        index: &[UopId],
    ) -> UopId {
        match self.as_int(gate) {
            Some(0) => alternative,
            Some(_) => self.load(buffer, index),
            None => {
                let ty = self.ty(buffer);
                let src = [buffer, gate, alternative]
                    .into_iter()
                    .chain(index.iter().copied());
                self.add_node(Op::Load { gated: true }, ty, src)
            }
        }
    }
    /// Ungated store.
    pub fn store(&mut self, buffer: UopId, value: UopId, index: &[UopId]) -> UopId {
        let src = [buffer, value].into_iter().chain(index.iter().copied());
        self.add_node(Op::Store { gated: false }, Type::VOID, src)
    }
    /// Combines `value` over `ranges`; without ranges it is the value.
    pub fn reduce(&mut self, op: ReduceOp, value: UopId, ranges: &[UopId]) -> UopId {
        if ranges.is_empty() {
            return value;
        }
        let ty = self.ty(value);
        self.add_node(
            Op::Reduce(op),
            ty,
            [value].into_iter().chain(ranges.iter().copied()),
        )
    }
    /// Root of a kernel.
    pub fn sink(&mut self, stores: &[UopId]) -> UopId {
        self.add_node(Op::Sink, Type::VOID, stores.iter().copied())
    }
}

/// Index arithmetic on constants; `None` on overflow or division by zero.
pub fn fold_index(op: Binary, x: i64, y: i64) -> Option<i64> {
    Some(match op {
        Binary::Add => x.checked_add(y)?,
        Binary::Sub => x.checked_sub(y)?,
        Binary::Mul => x.checked_mul(y)?,
        Binary::FloorDiv if y > 0 => x.div_euclid(y),
        Binary::FloorMod if y > 0 => x.rem_euclid(y),
        Binary::Max => x.max(y),
        Binary::Min => x.min(y),
        Binary::Lt => (x < y) as i64,
        Binary::Le => (x <= y) as i64,
        Binary::Eq => (x == y) as i64,
        Binary::Ne => (x != y) as i64,
        _ => return None,
    })
}
