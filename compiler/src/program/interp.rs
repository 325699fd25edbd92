//! Reference interpreter for kernels before and inside codegen: the oracle of `opt` and `codegen`.
//!
//! In: a [`Kernel`] and one memory for each parameter. Out: the memories after all its stores. Every range is a
//! plain loop, whatever its axis; every access is checked. Floats are `f64` rounded to their type after each
//! operation. Slow on purpose: nothing is hoisted but what a memo table gives.

mod tiles;

use super::{Access, Kernel};
use crate::diag::{Error, Result};
use crate::uop::{Binary, DType, FreeRanges, Op, ReduceOp, Type, Unary, UopId};
use rustc_hash::FxHashMap;

/// A scalar value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// Floats.
    Float(f64),
    /// Integers, Index and Bool; U64 as its bits.
    Int(i64),
}

impl Scalar {
    fn int(self) -> i64 {
        match self {
            Scalar::Int(v) => v,
            Scalar::Float(v) => v as i64,
        }
    }
    fn float(self) -> f64 {
        match self {
            Scalar::Float(v) => v,
            Scalar::Int(v) => v as f64,
        }
    }
}

/// Runs a kernel. `memory[slot]` holds `params[slot].layout.elements()` scalars.
///
/// # Errors
/// Bug when an access leaves its buffer or a node has no meaning at this stage.
pub fn run_kernel(kernel: &Kernel, memory: &mut [Vec<Scalar>]) -> Result<()> {
    let mut interpreter = Interpreter {
        kernel,
        memory,
        env: FxHashMap::default(),
        memo: Vec::new(),
        free: FreeRanges::new(),
        tiles: FxHashMap::default(),
    };
    let mut free = FreeRanges::new();
    let g = &kernel.uops;
    let nests = g.src(kernel.sink).iter();
    let is_range = |id: &UopId| matches!(g.op(*id), Op::Range { .. });
    let mut all: Vec<(UopId, Vec<UopId>)> = Vec::new();
    for &nest in nests {
        let (more, stores): (Vec<UopId>, Vec<UopId>) = match g.op(nest) {
            Op::Sink => g.src(nest).iter().copied().partition(is_range),
            _ => (Vec::new(), vec![nest]),
        };
        for store in stores {
            let mut loops: Vec<UopId> = free.of(&kernel.uops, store).to_vec();
            loops.extend(&more);
            loops.sort_by_key(|&r| range_id(kernel, r));
            loops.dedup();
            all.push((store, loops));
        }
    }
    let views: Vec<(UopId, &[UopId])> = all.iter().map(|(s, l)| (*s, &l[..])).collect();
    interpreter.nests(&views)
}

fn range_id(kernel: &Kernel, range: UopId) -> u32 {
    match kernel.uops.op(range) {
        Op::Range { id, .. } => id,
        _ => u32::MAX,
    }
}

struct Interpreter<'a> {
    kernel: &'a Kernel,
    memory: &'a mut [Vec<Scalar>],
    env: FxHashMap<UopId, i64>,
    /// One table for each loop level that is open.
    memo: Vec<FxHashMap<(UopId, u16), Scalar>>,
    free: FreeRanges,
    /// Memory of work-groups, by the iteration that it was filled for.
    tiles: FxHashMap<(UopId, Vec<i64>), Vec<Option<Scalar>>>,
}

impl Interpreter<'_> {
    /// Stores with the loops that each still needs. Neighbours share the loops that they have in common.
    fn nests(&mut self, nests: &[(UopId, &[UopId])]) -> Result<()> {
        let mut rest = nests;
        while let Some(&(store, loops)) = rest.first() {
            let Some(&range) = loops.first() else {
                self.memo.push(FxHashMap::default());
                let done = self.store(store);
                self.memo.pop();
                done?;
                rest = &rest[1..];
                continue;
            };
            let together = rest
                .iter()
                .take_while(|n| n.1.first() == Some(&range))
                .count();
            let inner: Vec<_> = rest[..together].iter().map(|n| (n.0, &n.1[1..])).collect();
            for n in 0..self.extent(range)? {
                self.env.insert(range, n);
                self.nests(&inner)?;
            }
            self.env.remove(&range);
            rest = &rest[together..];
        }
        Ok(())
    }

    fn extent(&self, range: UopId) -> Result<i64> {
        self.kernel
            .uops
            .extent(range)
            .ok_or_else(|| Error::bug("a range without constant extent"))
    }

    fn store(&mut self, id: UopId) -> Result<()> {
        let node = self.kernel.uops.get(id).clone();
        let Op::Store { gated } = node.op else {
            return Err(Error::bug("a sink's source is no store"));
        };
        if gated && self.value(node.src[2], 0)?.int() == 0 {
            return Ok(());
        }
        let index = &node.src[2 + usize::from(gated)..];
        for lane in 0..self.lanes(node.src[1]) {
            let value = self.value(node.src[1], lane)?;
            let (slot, place) = self.place(node.src[0], index, lane)?;
            self.memory[slot][place] = value;
            if self.kernel.params[slot].access == Access::ReadWrite {
                self.tiles.clear();
            }
        }
        Ok(())
    }

    fn lanes(&self, id: UopId) -> u16 {
        self.kernel.uops.ty(id).lanes
    }

    /// The element at an index; lanes of a vector go on in the last dimension.
    fn place(&mut self, buffer: UopId, index: &[UopId], lane: u16) -> Result<(usize, usize)> {
        let Op::Param { slot } = self.kernel.uops.op(buffer) else {
            return Err(Error::bug("an access to no parameter"));
        };
        let layout = &self.kernel.params[slot as usize].layout;
        let mut logical = Vec::new();
        for &i in index {
            logical.push(self.value(i, 0)?.int());
        }
        if let Some(last) = logical.last_mut() {
            *last += i64::from(lane);
        }
        for (dim, &i) in logical.iter().enumerate() {
            let (low, _) = layout.halo_of(dim);
            let top = layout.reach(dim);
            if i + low < 0 || i + low >= top {
                return Err(Error::bug(format!(
                    "kernel '{}': index {i} of dimension {dim} leaves parameter {slot}",
                    self.kernel.name
                )));
            }
        }
        let place = layout.place(&logical);
        let size = self.memory[slot as usize].len();
        usize::try_from(place)
            .ok()
            .filter(|&p| p < size)
            .map(|p| (slot as usize, p))
            .ok_or_else(|| {
                Error::bug(format!(
                    "kernel '{}': element {place} of {size} in parameter {slot}",
                    self.kernel.name
                ))
            })
    }

    /// One lane of a value.
    fn value(&mut self, id: UopId, lane: u16) -> Result<Scalar> {
        if let Some(&known) = self.env.get(&id) {
            return Ok(Scalar::Int(known));
        }
        if let Some(known) = self.memo.last().and_then(|m| m.get(&(id, lane))) {
            return Ok(*known);
        }
        let value = self.compute(id, lane)?;
        if let Some(memo) = self.memo.last_mut() {
            memo.insert((id, lane), value);
        }
        Ok(value)
    }

    /// A source at a lane; a scalar has one value for all lanes.
    fn source(&mut self, id: UopId, lane: u16) -> Result<Scalar> {
        let lane = if self.lanes(id) > 1 { lane } else { 0 };
        self.value(id, lane)
    }

    fn compute(&mut self, id: UopId, lane: u16) -> Result<Scalar> {
        let node = self.kernel.uops.get(id).clone();
        let ty = node.ty;
        Ok(match node.op {
            Op::Const(bits) if ty.scalar.is_float() => Scalar::Float(f64::from_bits(bits)),
            Op::Const(bits) => Scalar::Int(bits as i64),
            Op::Lanes(start) => Scalar::Int(start + i64::from(lane)),
            Op::Load { gated } => {
                if gated && self.value(node.src[1], 0)?.int() == 0 {
                    return self.source(node.src[2], lane);
                }
                let index = &node.src[if gated { 3 } else { 1 }..];
                let buffer = node.src[0];
                if matches!(self.kernel.uops.op(buffer), Op::Tile { .. } | Op::Filled) {
                    let place = self.value(index[0], 0)?.int();
                    return self.of_group(buffer, place);
                }
                let (slot, place) = self.place(node.src[0], index, lane)?;
                self.memory[slot][place]
            }
            Op::Unary(op) => unary(op, self.source(node.src[0], lane)?, ty),
            Op::Binary(op) => {
                let from = self.kernel.uops.ty(node.src[0]);
                let (a, b) = (
                    self.source(node.src[0], lane)?,
                    self.source(node.src[1], lane)?,
                );
                binary(op, a, b, from.scalar)
            }
            Op::Where => {
                let chosen = if self.source(node.src[0], lane)?.int() != 0 {
                    node.src[1]
                } else {
                    node.src[2]
                };
                self.source(chosen, lane)?
            }
            Op::MulAdd => {
                let (a, b, c) = (
                    self.source(node.src[0], lane)?.float(),
                    self.source(node.src[1], lane)?.float(),
                    self.source(node.src[2], lane)?.float(),
                );
                Scalar::Float(round(ty.scalar, a * b + c))
            }
            Op::Cast => cast(
                self.source(node.src[0], lane)?,
                self.kernel.uops.ty(node.src[0]).scalar,
                ty.scalar,
            ),
            Op::Bitcast => bitcast(
                self.source(node.src[0], lane)?,
                self.kernel.uops.ty(node.src[0]).scalar,
                ty.scalar,
            ),
            Op::Splat => self.value(node.src[0], 0)?,
            Op::Stack => self.value(node.src[usize::from(lane)], 0)?,
            Op::Lane(n) => self.value(node.src[0], n)?,
            Op::Zip { high } => {
                let start = if high { ty.lanes / 2 } else { 0 };
                self.value(node.src[usize::from(lane % 2)], start + lane / 2)?
            }
            Op::Unzip { odd } => {
                let half = ty.lanes / 2;
                let n = usize::from(lane / half);
                self.value(node.src[n], lane % half * 2 + u16::from(odd[n]))?
            }
            Op::Fold(op) => {
                let mut all = (0..self.lanes(node.src[0]))
                    .map(|n| self.value(node.src[0], n))
                    .collect::<Result<Vec<_>>>()?;
                // Halves onto each other, as the generated code does.
                while all.len() > 1 {
                    let half = all.len() / 2;
                    for n in 0..half {
                        all[n] = binary(combine(op), all[n], all[n + half], ty.scalar);
                    }
                    all.truncate(half);
                }
                all.first()
                    .copied()
                    .ok_or_else(|| Error::bug("a fold of no lanes"))?
            }
            Op::Reduce(op) => self.reduce(op, node.src[0], lane, &node.src[1..])?,
            op => {
                return Err(Error::bug(format!("{op:?} has no value in a kernel")));
            }
        })
    }

    fn reduce(
        &mut self,
        op: ReduceOp,
        value: UopId,
        lane: u16,
        ranges: &[UopId],
    ) -> Result<Scalar> {
        let dtype = self.kernel.uops.ty(value).scalar;
        let extents = ranges
            .iter()
            .map(|&r| self.extent(r))
            .collect::<Result<Vec<_>>>()?;
        let total: i64 = extents.iter().product();
        let mut result: Option<Scalar> = None;
        for flat in 0..total {
            let mut rest = flat;
            for (r, e) in ranges.iter().zip(&extents).rev() {
                self.env.insert(*r, rest % e);
                rest /= e;
            }
            self.memo.push(FxHashMap::default());
            let next = self.source(value, lane);
            self.memo.pop();
            let next = next?;
            result = Some(match result {
                None => next,
                Some(r) => binary(combine(op), r, next, dtype),
            });
        }
        for r in ranges {
            self.env.remove(r);
        }
        result.ok_or_else(|| Error::bug("a reduce over nothing"))
    }
}

/// How two values of a reduce are combined.
fn combine(op: ReduceOp) -> Binary {
    match op {
        ReduceOp::Sum => Binary::Add,
        ReduceOp::Prod => Binary::Mul,
        ReduceOp::Max => Binary::Max,
        ReduceOp::Min => Binary::Min,
        ReduceOp::All => Binary::And,
        ReduceOp::Any => Binary::Or,
    }
}

/// Rounds to a float type.
fn round(dtype: DType, v: f64) -> f64 {
    match dtype {
        DType::F32 => f64::from(v as f32),
        DType::F16 => half::f16::from_f64(v).to_f64(),
        DType::BF16 => half::bf16::from_f64(v).to_f64(),
        _ => v,
    }
}

/// Wraps to an integer type.
fn wrap(dtype: DType, v: i128) -> i64 {
    match dtype {
        DType::Bool => i64::from(v != 0),
        DType::I8 => v as i8 as i64,
        DType::I16 => v as i16 as i64,
        DType::I32 => v as i32 as i64,
        DType::U8 => v as u8 as i64,
        DType::U16 => v as u16 as i64,
        DType::U32 => v as u32 as i64,
        _ => v as i64,
    }
}

fn wide(dtype: DType, v: i64) -> i128 {
    if dtype == DType::U64 {
        i128::from(v as u64)
    } else {
        i128::from(v)
    }
}

fn unary(op: Unary, a: Scalar, ty: Type) -> Scalar {
    if let (Scalar::Int(v), true) = (a, op != Unary::IsNan) {
        return Scalar::Int(match op {
            Unary::Neg => wrap(ty.scalar, -i128::from(v)),
            Unary::Not if ty.scalar == DType::Bool => i64::from(v == 0),
            Unary::Not => wrap(ty.scalar, !i128::from(v)),
            Unary::Abs => wrap(ty.scalar, wide(ty.scalar, v).abs()),
            _ => v,
        });
    }
    let x = a.float();
    let y = match op {
        Unary::Neg => -x,
        Unary::Not => return Scalar::Int(i64::from(x == 0.0)),
        Unary::Abs => x.abs(),
        Unary::Sqrt => x.sqrt(),
        Unary::Exp => x.exp(),
        Unary::Exp2 => x.exp2(),
        Unary::Log => x.ln(),
        Unary::Log2 => x.log2(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tan => x.tan(),
        Unary::Atan => x.atan(),
        Unary::Tanh => x.tanh(),
        Unary::Erf => erf(x),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Trunc => x.trunc(),
        Unary::Round => x.round_ties_even(),
        Unary::IsNan => return Scalar::Int(i64::from(x.is_nan())),
    };
    Scalar::Float(round(ty.scalar, y))
}

/// Error function by its Taylor series, or the continued fraction of its complement for large arguments
/// (Abramowitz and Stegun 7.1.6 and 7.1.14).
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    if a < 3.0 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term > 1e-18 * sum && n < 200.0 {
            n += 1.0;
            term *= 2.0 * a * a / (2.0 * n + 1.0);
            sum += term;
        }
        return (sum * (-a * a).exp() * std::f64::consts::FRAC_2_SQRT_PI).copysign(x);
    }
    let mut fraction = 0.0;
    for k in (1..60).rev() {
        fraction = f64::from(k) / 2.0 / (a + fraction);
    }
    (1.0 - (-a * a).exp() / (a + fraction) / std::f64::consts::PI.sqrt()).copysign(x)
}

fn binary(op: Binary, a: Scalar, b: Scalar, dtype: DType) -> Scalar {
    if dtype.is_float() {
        let (x, y) = (a.float(), b.float());
        let nan = x.is_nan() || y.is_nan();
        let value = match op {
            Binary::Add => x + y,
            Binary::Sub => x - y,
            Binary::Mul => x * y,
            Binary::Div => x / y,
            Binary::Rem => x % y,
            Binary::FloorDiv => (x / y).floor(),
            Binary::FloorMod => x - (x / y).floor() * y,
            Binary::Max if nan => f64::NAN,
            Binary::Min if nan => f64::NAN,
            Binary::Max => x.max(y),
            Binary::Min => x.min(y),
            Binary::Pow => x.powf(y),
            Binary::Lt => return Scalar::Int(i64::from(x < y)),
            Binary::Le => return Scalar::Int(i64::from(x <= y)),
            Binary::Eq => return Scalar::Int(i64::from(x == y)),
            Binary::Ne => return Scalar::Int(i64::from(x != y)),
            Binary::And | Binary::Or | Binary::Xor | Binary::Shl | Binary::Shr => f64::NAN,
        };
        return Scalar::Float(round(dtype, value));
    }
    let (x, y) = (wide(dtype, a.int()), wide(dtype, b.int()));
    let bits = dtype.size() as u32 * 8;
    let value = match op {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x.wrapping_mul(y),
        Binary::Div => x.checked_div(y).unwrap_or(0),
        Binary::Rem => x.checked_rem(y).unwrap_or(0),
        Binary::FloorDiv if y == 0 => 0,
        Binary::FloorMod if y == 0 => 0,
        Binary::FloorDiv => x.div_euclid(y) - i128::from(y < 0 && x.rem_euclid(y) != 0),
        Binary::FloorMod => {
            let r = x.rem_euclid(y);
            if r != 0 && y < 0 { r + y } else { r }
        }
        Binary::Max => x.max(y),
        Binary::Min => x.min(y),
        Binary::Pow => x.checked_pow(y.clamp(0, 1 << 16) as u32).unwrap_or(0),
        Binary::And => x & y,
        Binary::Or => x | y,
        Binary::Xor => x ^ y,
        Binary::Shl => x
            .checked_shl(y.clamp(0, 127) as u32)
            .filter(|_| y < i128::from(bits))
            .unwrap_or(0),
        Binary::Shr => x >> y.clamp(0, 127),
        Binary::Lt => i128::from(x < y),
        Binary::Le => i128::from(x <= y),
        Binary::Eq => i128::from(x == y),
        Binary::Ne => i128::from(x != y),
    };
    Scalar::Int(wrap(
        if op.is_compare() { DType::Bool } else { dtype },
        value,
    ))
}

fn cast(a: Scalar, from: DType, to: DType) -> Scalar {
    if to.is_float() {
        let v = match a {
            Scalar::Float(v) => v,
            Scalar::Int(v) => wide(from, v) as f64,
        };
        return Scalar::Float(round(to, v));
    }
    match a {
        Scalar::Float(v) if to == DType::Bool => Scalar::Int(i64::from(v != 0.0)),
        Scalar::Float(v) if to == DType::U64 => Scalar::Int(v as u64 as i64),
        Scalar::Float(v) => {
            let (low, high) = to.int_bounds().unwrap_or((i64::MIN, i64::MAX));
            Scalar::Int((v as i64).clamp(low, high))
        }
        Scalar::Int(v) => Scalar::Int(wrap(to, wide(from, v))),
    }
}

fn bitcast(a: Scalar, from: DType, to: DType) -> Scalar {
    let bits: u64 = match (a, from) {
        (Scalar::Float(v), DType::F32) => u64::from((v as f32).to_bits()),
        (Scalar::Float(v), DType::F16) => u64::from(half::f16::from_f64(v).to_bits()),
        (Scalar::Float(v), DType::BF16) => u64::from(half::bf16::from_f64(v).to_bits()),
        (Scalar::Float(v), _) => v.to_bits(),
        (Scalar::Int(v), _) => v as u64,
    };
    match to {
        DType::F32 => Scalar::Float(f64::from(f32::from_bits(bits as u32))),
        DType::F16 => Scalar::Float(half::f16::from_bits(bits as u16).to_f64()),
        DType::BF16 => Scalar::Float(half::bf16::from_bits(bits as u16).to_f64()),
        DType::F64 => Scalar::Float(f64::from_bits(bits)),
        _ => Scalar::Int(wrap(to, i128::from(bits))),
    }
}
