//! Exponentials, logarithms, circular functions, error function and powers as arithmetic.
//!
//! In: a store, scalar or vector. Out: the same without transcendental nodes: only arithmetic, comparisons, selects
//! and bit operations are left, so every target vectorises them and no mathematics library is needed. Runs
//! after `vectorise`, so that each function is expanded once for all lanes.
//!
//! Methods: exp reduces by multiples of ln 2 and scales by the exponent bits in two steps, so that overflow and
//! denormals come out right, in one where nobody can tell (see [`Edges`]); log uses `2 atanh((m-1)/(m+1))` for the mantissa in `sqrt(1/2)..sqrt(2)`; sin and cos reduce
//! by multiples of pi/2 in double precision (Cody and Waite, "Software Manual for the Elementary Functions", 1980);
//! atan reduces at tan(pi/8); erf is an odd polynomial below 3.758 and one above, fitted by reweighted least squares at Chebyshev points.
//! f16 and bf16 are computed in f32, powers and circular functions of f32 in f64.

use crate::uop::{Binary, DType, Op, ReduceOp, Sources, Type, Unary, UopId, Uops, rebuild};
use rustc_hash::{FxHashMap, FxHashSet};

/// Expands all transcendental nodes below `root`.
pub fn lower_transcendentals(g: &mut Uops, root: UopId) -> UopId {
    let mut new: FxHashMap<UopId, UopId> = FxHashMap::default();
    let order = g.toposort(&[root]);
    let only_plus_one = only_plus_one(g, &order);
    for id in order {
        let node = g.get(id).clone();
        let src: Sources = node.src.iter().map(|s| new[s]).collect();
        let to = match node.op {
            Op::Unary(op) if node.ty.scalar.is_float() && is_transcendental(op) => {
                let edges = if below_maximum(g, node.src[0]) || only_plus_one.contains(&id) {
                    Edges::NoDenormals
                } else {
                    Edges::All
                };
                let mut math = Math { g };
                let x = math.without_division(src[0]);
                math.unary(op, x, edges)
            }
            Op::Binary(Binary::Pow) if node.ty.scalar.is_float() => Math { g }.pow(src[0], src[1]),
            op => rebuild(g, op, node.ty, src),
        };
        new.insert(id, to);
    }
    new[&root]
}

/// What an f32 exponential has to get right at the ends of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edges {
    /// All: infinity, denormals, zero.
    All,
    /// Results near the least normal number and below may be zero: the largest of the row is one, or one is added and nobody
    /// else looks.
    NoDenormals,
    /// The argument is between -86 and 89, or the result is not used.
    None,
}

/// True for `x - m` where m is a maximum of what lies in the same buffers as x.
fn below_maximum(g: &Uops, id: UopId) -> bool {
    if g.op(id) != Op::Binary(Binary::Sub) {
        return false;
    }
    let (x, m) = (g.src(id)[0], g.src(id)[1]);
    let buffers = |id: UopId| -> FxHashSet<UopId> {
        let mut all = g.toposort(&[id]);
        all.retain(|&p| matches!(g.op(p), Op::Param { .. }));
        all.into_iter().collect()
    };
    is_maximum(g, m) && buffers(x) == buffers(m)
}

fn is_maximum(g: &Uops, id: UopId) -> bool {
    match g.op(id) {
        Op::Reduce(ReduceOp::Max) => true,
        Op::Splat | Op::Lane(_) | Op::Fold(_) => is_maximum(g, g.src(id)[0]),
        Op::Binary(Binary::Max) => g.src(id).iter().any(|&s| is_maximum(g, s)),
        _ => false,
    }
}

/// Exponentials that are read only by sums with one.
fn only_plus_one(g: &Uops, order: &[UopId]) -> FxHashSet<UopId> {
    let is_exp = |id: UopId| g.op(id) == Op::Unary(Unary::Exp);
    let (mut with_one, mut others) = (FxHashSet::default(), FxHashSet::default());
    for &id in order {
        let src = g.src(id);
        for &s in src.iter().filter(|&&s| is_exp(s)) {
            let one = g.op(id) == Op::Binary(Binary::Add)
                && src.iter().any(|&o| number(g, o) == Some(1.0));
            if one { &mut with_one } else { &mut others }.insert(s);
        }
    }
    with_one.retain(|id| !others.contains(id));
    with_one
}

/// Value of a constant, splatted or not.
fn number(g: &Uops, id: UopId) -> Option<f64> {
    let id = if g.op(id) == Op::Splat {
        g.src(id)[0]
    } else {
        id
    };
    g.as_float(id)
}

fn is_transcendental(op: Unary) -> bool {
    matches!(
        op,
        Unary::Exp
            | Unary::Exp2
            | Unary::Log
            | Unary::Log2
            | Unary::Sin
            | Unary::Cos
            | Unary::Tan
            | Unary::Atan
            | Unary::Tanh
            | Unary::Erf
    )
}

/// Builds the expansions.
pub(super) struct Math<'a> {
    pub(super) g: &'a mut Uops,
}

impl Math<'_> {
    fn unary(&mut self, op: Unary, x: UopId, edges: Edges) -> UopId {
        let scalar = self.g.ty(x).scalar;
        let wide = match (op, scalar) {
            (_, DType::F64) => DType::F64,
            (Unary::Sin | Unary::Cos | Unary::Tan, _) => DType::F64,
            _ => DType::F32,
        };
        let mut a = self.cast(x, wide);
        if wide == DType::F64 && scalar != DType::F64 {
            a = self.fold_circle(a);
        }
        let y = match op {
            Unary::Exp if wide == DType::F32 && edges != Edges::All => self.exp_short(a, edges),
            Unary::Exp => self.exp(a),
            Unary::Exp2 => self.exp2(a),
            Unary::Log => self.log(a),
            Unary::Log2 => {
                let l = self.log(a);
                let k = self.c(l, std::f64::consts::LOG2_E);
                self.mul(l, k)
            }
            Unary::Sin => self.sin_cos(a).0,
            Unary::Cos => self.sin_cos(a).1,
            Unary::Tan => {
                let (s, c) = self.sin_cos(a);
                self.bin(Binary::Div, s, c)
            }
            Unary::Atan => self.atan(a),
            Unary::Tanh => self.tanh(a),
            _ => self.erf(a),
        };
        self.cast(y, scalar)
    }

    // ---- building blocks ----

    pub(super) fn c(&mut self, like: UopId, value: f64) -> UopId {
        let ty = self.g.ty(like);
        let rounded = if ty.scalar == DType::F32 {
            f64::from(value as f32)
        } else {
            value
        };
        self.g.constant(ty, rounded.to_bits())
    }
    pub(super) fn i(&mut self, like: UopId, value: i64) -> UopId {
        let ty = self.g.ty(like);
        self.g.constant(ty, value as u64)
    }
    pub(super) fn bin(&mut self, op: Binary, a: UopId, b: UopId) -> UopId {
        let ty = self.g.ty(a);
        let to = if op.is_compare() {
            ty.with_scalar(DType::Bool)
        } else {
            ty
        };
        self.g.add_node(Op::Binary(op), to, [a, b])
    }
    pub(super) fn add(&mut self, a: UopId, b: UopId) -> UopId {
        self.bin(Binary::Add, a, b)
    }
    pub(super) fn sub(&mut self, a: UopId, b: UopId) -> UopId {
        self.bin(Binary::Sub, a, b)
    }
    pub(super) fn mul(&mut self, a: UopId, b: UopId) -> UopId {
        self.bin(Binary::Mul, a, b)
    }
    pub(super) fn fma(&mut self, a: UopId, b: UopId, c: UopId) -> UopId {
        let ty = self.g.ty(a);
        self.g.add_node(Op::MulAdd, ty, [a, b, c])
    }
    pub(super) fn un(&mut self, op: Unary, a: UopId) -> UopId {
        let ty = self.g.ty(a);
        self.g.add_node(Op::Unary(op), ty, [a])
    }
    pub(super) fn select(&mut self, c: UopId, a: UopId, b: UopId) -> UopId {
        let ty = self.g.ty(a);
        self.g.add_node(Op::Where, ty, [c, a, b])
    }
    pub(super) fn cast(&mut self, a: UopId, to: DType) -> UopId {
        self.g.cast(a, to)
    }
    pub(super) fn bits(&mut self, a: UopId, to: DType) -> UopId {
        let ty: Type = self.g.ty(a).with_scalar(to);
        self.g.add_node(Op::Bitcast, ty, [a])
    }
    /// Horner's rule, constant term first.
    pub(super) fn poly(&mut self, x: UopId, coefficients: &[f64]) -> UopId {
        let mut terms = coefficients.iter().rev();
        let Some(&last) = terms.next() else {
            return self.c(x, 0.0);
        };
        let mut sum = self.c(x, last);
        for &k in terms {
            let k = self.c(x, k);
            sum = self.fma(sum, x, k);
        }
        sum
    }

    /// Integer type of the float's width, mantissa bits, exponent bias.
    pub(super) fn format(&self, a: UopId) -> (DType, i64, i64) {
        if self.g.ty(a).scalar == DType::F64 {
            (DType::I64, 52, 1023)
        } else {
            (DType::I32, 23, 127)
        }
    }

    // ---- functions of f32 or f64 ----

    /// p * 2^n for integers n, and 0 where `vanishes`: there the product would be below the least number, which costs
    /// most CPUs a hundred cycles.
    fn scale(&mut self, p: UopId, n: UopId, vanishes: UopId) -> UopId {
        let (int, mantissa, bias) = self.format(p);
        let one = self.i(n, 1);
        let half = self.bin(Binary::Shr, n, one);
        let rest = self.sub(n, half);
        let mut out = p;
        for (last, part) in [(false, half), (true, rest)] {
            let b = self.i(part, bias);
            let biased = self.add(part, b);
            let m = self.i(part, mantissa);
            let shifted = self.bin(Binary::Shl, biased, m);
            let float = if int == DType::I64 {
                DType::F64
            } else {
                DType::F32
            };
            let mut factor = self.bits(shifted, float);
            if last {
                let zero = self.c(p, 0.0);
                factor = self.select(vanishes, zero, factor);
            }
            out = self.mul(out, factor);
        }
        out
    }

    /// Rounds x to an integer: as a float and as bits.
    pub(super) fn nearest(&mut self, x: UopId) -> (UopId, UopId) {
        let (int, ..) = self.format(x);
        // 1.5 * 2^mantissa: adding it leaves the integer in the low bits.
        let magic_value = if int == DType::I64 {
            6_755_399_441_055_744.0
        } else {
            12_582_912.0
        };
        let magic = self.c(x, magic_value);
        let shifted = self.add(x, magic);
        let float = self.sub(shifted, magic);
        let raw = self.bits(shifted, int);
        let offset = self.bits(magic, int);
        let n = self.sub(raw, offset);
        (float, n)
    }

    pub(super) fn exp(&mut self, x: UopId) -> UopId {
        let double = self.g.ty(x).scalar == DType::F64;
        let (low, high) = if double {
            (-746.0, 710.0)
        } else {
            (-104.0, 89.0)
        };
        let (low, high) = (self.c(x, low), self.c(x, high));
        let a = self.bin(Binary::Max, x, low);
        let a = self.bin(Binary::Min, a, high);
        let k = self.c(x, std::f64::consts::LOG2_E);
        let scaled = self.mul(a, k);
        let (n, bits) = self.nearest(scaled);
        // ln 2 in two parts: the first has so few bits that n times it is exact.
        let (hi, lo) = if double {
            (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10)
        } else {
            (0.693_359_375, -2.121_944_400_546_905_8e-4)
        };
        let (hi, lo) = (self.c(x, -hi), self.c(x, -lo));
        let r = self.fma(n, hi, a);
        let r = self.fma(n, lo, r);
        let p = self.exp_small(r);
        let vanishes = self.bin(Binary::Lt, x, low);
        self.scale(p, bits, vanishes)
    }

    /// exp of an f32 in one step; `edges` are never `All`.
    pub(super) fn exp_short(&mut self, x: UopId, edges: Edges) -> UopId {
        let k = self.c(x, std::f64::consts::LOG2_E);
        let magic = self.c(x, 12_582_912.0);
        let shifted = self.fma(x, k, magic);
        let n = self.sub(shifted, magic);
        let (hi, lo) = (
            self.c(x, -0.693_359_375),
            self.c(x, 2.121_944_400_546_905_8e-4),
        );
        let r = self.fma(n, hi, x);
        let r = self.fma(n, lo, r);
        // Relative error 2e-9 for |r| <= ln(2)/2: reweighted least squares at Chebyshev points.
        let p = self.poly(
            r,
            &[
                1.0,
                1.0,
                0.499_999_910_593_032_84,
                0.166_664_198_040_962_22,
                0.041_668_225_079_774_86,
                0.008_374_831_639_230_251,
                0.001_383_682_247_251_271_2,
            ],
        );
        // The low bits of `shifted` are n; the shift drops the others.
        let bits = self.bits(shifted, DType::I32);
        let m = self.i(bits, 23);
        let exponent = self.bin(Binary::Shl, bits, m);
        // Half the power, so that the largest results come out right.
        let half = self.i(bits, 126 << 23);
        let factor = self.add(exponent, half);
        let factor = self.bits(factor, DType::F32);
        let y = self.mul(p, factor);
        let y = self.add(y, y);
        if edges == Edges::None {
            return y;
        }
        let high = self.c(x, 89.0);
        let over = self.bin(Binary::Lt, high, x);
        let infinity = self.c(x, f64::INFINITY);
        let y = self.select(over, infinity, y);
        let low = self.c(x, -86.0);
        let under = self.bin(Binary::Lt, x, low);
        let zero = self.c(x, 0.0);
        self.select(under, zero, y)
    }

    /// `a/k` as a product: an argument that is half a unit off is none the worse.
    fn without_division(&mut self, x: UopId) -> UopId {
        if self.g.op(x) != Op::Binary(Binary::Div) || self.g.ty(x).scalar != DType::F32 {
            return x;
        }
        let (a, b) = (self.g.src(x)[0], self.g.src(x)[1]);
        match number(self.g, b) {
            Some(k) if (1e-30..1e30).contains(&k.abs()) => {
                let inverse = self.c(x, 1.0 / k);
                self.mul(a, inverse)
            }
            _ => x,
        }
    }

    /// exp(r) for |r| <= ln(2)/2 by its Taylor series.
    fn exp_small(&mut self, r: UopId) -> UopId {
        let terms = if self.g.ty(r).scalar == DType::F64 {
            14
        } else {
            8
        };
        let mut k = Vec::new();
        let mut factorial = 1.0;
        for n in 0..terms {
            if n > 0 {
                factorial *= f64::from(n);
            }
            k.push(1.0 / factorial);
        }
        self.poly(r, &k)
    }

    fn exp2(&mut self, x: UopId) -> UopId {
        let double = self.g.ty(x).scalar == DType::F64;
        let (low, high) = if double {
            (-1076.0, 1025.0)
        } else {
            (-151.0, 129.0)
        };
        let (low, high) = (self.c(x, low), self.c(x, high));
        let a = self.bin(Binary::Max, x, low);
        let a = self.bin(Binary::Min, a, high);
        let (n, bits) = self.nearest(a);
        let r = self.sub(a, n);
        let k = self.c(x, std::f64::consts::LN_2);
        let r = self.mul(r, k);
        let p = self.exp_small(r);
        let vanishes = self.bin(Binary::Lt, x, low);
        self.scale(p, bits, vanishes)
    }

    fn log(&mut self, x: UopId) -> UopId {
        let (int, mantissa, _) = self.format(x);
        let double = int == DType::I64;
        let float = self.g.ty(x).scalar;
        // Denormals are made normal first.
        let tiny = self.c(
            x,
            if double {
                f64::MIN_POSITIVE
            } else {
                f64::from(f32::MIN_POSITIVE)
            },
        );
        let is_tiny = self.bin(Binary::Lt, x, tiny);
        let up = self.c(
            x,
            if double {
                18_014_398_509_481_984.0
            } else {
                33_554_432.0
            },
        );
        let grown = self.mul(x, up);
        let a = self.select(is_tiny, grown, x);
        let shift = self.c(x, if double { -54.0 } else { -25.0 });
        let zero = self.c(x, 0.0);
        let shift = self.select(is_tiny, shift, zero);
        let bits = self.bits(a, int);
        // Bits of sqrt(1/2): mantissas end up in sqrt(1/2)..sqrt(2).
        let root = self.i(
            bits,
            if double {
                0x3fe6_a09e_667f_3bcd
            } else {
                0x3f35_04f3
            },
        );
        let distance = self.sub(bits, root);
        let m = self.i(bits, mantissa);
        let exponent = self.bin(Binary::Shr, distance, m);
        let back = self.bin(Binary::Shl, exponent, m);
        let fraction = self.sub(bits, back);
        let f = self.bits(fraction, float);
        let e = self.cast(exponent, float);
        let e = self.add(e, shift);
        let one = self.c(x, 1.0);
        let two = self.c(x, 2.0);
        let f = self.sub(f, one);
        let denominator = self.add(f, two);
        let s = self.bin(Binary::Div, f, denominator);
        let z = self.mul(s, s);
        // 2 atanh(s) = f - s*(f - z*R) with R = 2(1/3 + z/5 + ...): f is exact, so little is lost near 1.
        let terms = if double { 12 } else { 5 };
        let k: Vec<f64> = (1..terms)
            .map(|n| 2.0 / (2.0 * f64::from(n) + 1.0))
            .collect();
        let r = self.poly(z, &k);
        let zr = self.mul(z, r);
        let inner = self.sub(f, zr);
        let correction = self.mul(s, inner);
        let (hi, lo) = if double {
            (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10)
        } else {
            (0.693_359_375, -2.121_944_400_546_905_8e-4)
        };
        let (hi, lo) = (self.c(x, hi), self.c(x, lo));
        let low = self.mul(e, lo);
        let low = self.sub(low, correction);
        let sum = self.add(f, low);
        let y = self.fma(e, hi, sum);
        // log(inf) = inf, log(0) = -inf, log of negatives and NaN is NaN.
        let infinity = self.c(x, f64::INFINITY);
        let is_infinite = self.bin(Binary::Eq, x, infinity);
        let y = self.select(is_infinite, infinity, y);
        let minus = self.c(x, f64::NEG_INFINITY);
        let is_zero = self.bin(Binary::Eq, x, zero);
        let y = self.select(is_zero, minus, y);
        let valid = self.bin(Binary::Le, zero, x);
        let nan = self.c(x, f64::NAN);
        self.select(valid, y, nan)
    }

    fn pow(&mut self, x: UopId, y: UopId) -> UopId {
        let scalar = self.g.ty(x).scalar;
        if let Some(power) = number(self.g, y) {
            // Small whole powers are products: exact for whole numbers, and fast.
            if power == 2.0 {
                return self.mul(x, x);
            }
            if power == 3.0 {
                let square = self.mul(x, x);
                return self.mul(square, x);
            }
            if power == 1.0 {
                return x;
            }
        }
        let (a, b) = (self.cast(x, DType::F64), self.cast(y, DType::F64));
        let size = self.un(Unary::Abs, a);
        let l = self.log(size);
        let product = self.mul(l, b);
        let r = self.exp(product);
        let (zero, one, two) = (self.c(a, 0.0), self.c(a, 1.0), self.c(a, 2.0));
        // |x| = 1 for any power, infinite ones too.
        let unit = self.bin(Binary::Eq, size, one);
        let r = self.select(unit, one, r);
        // Negative base: odd powers are negative, powers that are not whole are NaN.
        let whole = self.un(Unary::Floor, b);
        let is_whole = self.bin(Binary::Eq, whole, b);
        let half = self.bin(Binary::Div, b, two);
        let half_floor = self.un(Unary::Floor, half);
        let odd = self.bin(Binary::Ne, half, half_floor);
        let is_odd = self.bin(Binary::And, odd, is_whole);
        let negative = self.bin(Binary::Lt, a, zero);
        let flip = self.bin(Binary::And, negative, is_odd);
        let minus = self.un(Unary::Neg, r);
        let r = self.select(flip, minus, r);
        let infinity = self.c(a, f64::INFINITY);
        let finite = self.bin(Binary::Lt, size, infinity);
        let nothing = self.bin(Binary::Eq, is_whole, is_whole);
        let not_whole = self.bin(Binary::Xor, is_whole, nothing);
        let bad = self.bin(Binary::And, negative, not_whole);
        let bad = self.bin(Binary::And, bad, finite);
        let nan = self.c(a, f64::NAN);
        let r = self.select(bad, nan, r);
        let is_zero = self.bin(Binary::Eq, b, zero);
        let r = self.select(is_zero, one, r);
        // NaN in either shows in the product, but for x^0 and 1^y.
        let plus_one = self.bin(Binary::Eq, a, one);
        let r = self.select(plus_one, one, r);
        self.cast(r, scalar)
    }
}
