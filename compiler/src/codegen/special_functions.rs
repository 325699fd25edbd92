//! Circular functions, hyperbolic tangent and error function as arithmetic.
//!
//! In: an f32 or f64 value, scalar or vector. Out: the value of the function, built from the blocks of
//! `lower_transcendentals`, where the methods are described.

use super::lower_transcendentals::{Edges, Math};
use crate::uop::{Binary, DType, Unary, UopId};

/// pi/2 in three parts of 33 bits and the rest.
const HALF_PI: [f64; 3] = [
    1.570_796_326_734_125_6,
    6.077_100_506_303_966e-11,
    2.022_266_248_795_950_6e-21,
];

/// Powers of two modulo 2 pi, in a part of 26 fractional bits, one of 29 more, and the rest.
const POWERS: [(i32, f64, f64, f64); 7] = [
    (1, 2.0, 0.0, 0.0),
    (
        17,
        4.754492223262787,
        1.0563304453370392e-8,
        1.9913282212943643e-17,
    ),
    (
        33,
        0.9604676812887192,
        2.5602647224509667e-9,
        1.7304117618625757e-17,
    ),
    (
        49,
        0.25972139835357666,
        3.5590820846032045e-9,
        6.923703313111969e-18,
    ),
    (
        65,
        6.235983893275261,
        1.2408509858508054e-8,
        9.95423228217992e-18,
    ),
    (
        81,
        4.219308003783226,
        5.9762948756425516e-9,
        4.1690163171338196e-18,
    ),
    (
        97,
        6.150729238986969,
        1.7325977874627085e-9,
        2.1289953575805626e-17,
    ),
];

impl Math<'_> {
    /// A small f64 that differs from `x` by a multiple of 2 pi. `x` has the 24 bits of an f32: from 2^24 on
    /// it is a whole `t` times a power of two, and `t` times each part of that power modulo 2 pi is exact.
    pub(super) fn fold_circle(&mut self, x: UopId) -> UopId {
        let size = self.un(Unary::Abs, x);
        let (_, one, two, three) = POWERS[0];
        let half = self.c(x, 0.5);
        let mut t = self.mul(x, half);
        let mut parts = [self.c(x, one), self.c(x, two), self.c(x, three)];
        for (power, one, two, three) in POWERS.into_iter().skip(1) {
            let from = self.c(x, 2f64.powi(power + 23));
            let reached = self.bin(Binary::Le, from, size);
            let down = self.c(x, 2f64.powi(-power));
            let scaled = self.mul(x, down);
            t = self.select(reached, scaled, t);
            for (part, value) in parts.iter_mut().zip([one, two, three]) {
                let value = self.c(x, value);
                *part = self.select(reached, value, *part);
            }
        }
        let first = self.mul(t, parts[0]);
        let first = self.less_turns(first);
        let second = self.mul(t, parts[1]);
        let second = self.less_turns(second);
        let third = self.mul(t, parts[2]);
        let sum = self.add(second, third);
        let folded = self.add(first, sum);
        let limit = self.c(x, 16_777_216.0);
        let small = self.bin(Binary::Lt, size, limit);
        self.select(small, x, folded)
    }

    /// x without its multiples of 2 pi.
    fn less_turns(&mut self, x: UopId) -> UopId {
        let k = self.c(x, 0.5 / std::f64::consts::PI);
        let turns = self.mul(x, k);
        let (n, _) = self.nearest(turns);
        // In two halves of 20 bits, so that the products are exact without fused multiply-adds too.
        let (down, up) = (self.c(x, 2f64.powi(-20)), self.c(x, 2f64.powi(20)));
        let high = self.mul(n, down);
        let (high, _) = self.nearest(high);
        let high = self.mul(high, up);
        let low = self.sub(n, high);
        let mut r = x;
        for part in HALF_PI {
            let part = self.c(x, -4.0 * part);
            r = self.fma(high, part, r);
            r = self.fma(low, part, r);
        }
        r
    }

    /// Sine and cosine of an f64.
    pub(super) fn sin_cos(&mut self, x: UopId) -> (UopId, UopId) {
        let k = self.c(x, std::f64::consts::FRAC_2_PI);
        let scaled = self.mul(x, k);
        let (n, bits) = self.nearest(scaled);
        let mut r = x;
        for part in HALF_PI {
            let part = self.c(x, -part);
            r = self.fma(n, part, r);
        }
        let z = self.mul(r, r);
        let mut sin = Vec::new();
        let mut cos = Vec::new();
        let mut term = 1.0;
        for i in 0..9 {
            cos.push(term);
            term /= f64::from(2 * i + 1);
            sin.push(term);
            term /= -f64::from(2 * i + 2);
        }
        let s = self.poly(z, &sin);
        let s = self.mul(s, r);
        let c = self.poly(z, &cos);
        let zero = self.i(bits, 0);
        let bit = |m: &mut Self, offset: i64, mask: i64| {
            let o = m.i(bits, offset);
            let moved = m.add(bits, o);
            let k = m.i(bits, mask);
            let masked = m.bin(Binary::And, moved, k);
            m.bin(Binary::Ne, masked, zero)
        };
        let swap = bit(self, 0, 1);
        let (minus_sin, minus_cos) = (bit(self, 0, 2), bit(self, 1, 2));
        let a = self.select(swap, c, s);
        let b = self.select(swap, s, c);
        let (na, nb) = (self.un(Unary::Neg, a), self.un(Unary::Neg, b));
        let a = self.select(minus_sin, na, a);
        let b = self.select(minus_cos, nb, b);
        // Infinity has neither; r keeps NaN. Zero keeps its sign.
        let nothing = self.c(x, 0.0);
        let is_zero = self.bin(Binary::Eq, x, nothing);
        let a = self.select(is_zero, x, a);
        let infinity = self.c(x, f64::INFINITY);
        let size = self.un(Unary::Abs, x);
        let finite = self.bin(Binary::Lt, size, infinity);
        let nan = self.c(x, f64::NAN);
        (self.select(finite, a, nan), self.select(finite, b, nan))
    }

    pub(super) fn atan(&mut self, x: UopId) -> UopId {
        let double = self.g.ty(x).scalar == DType::F64;
        let a = self.un(Unary::Abs, x);
        let one = self.c(x, 1.0);
        let large = self.bin(Binary::Lt, one, a);
        let inverse = self.bin(Binary::Div, one, a);
        let b = self.select(large, inverse, a);
        let corner = self.c(x, 0.414_213_562_373_095_05);
        let middle = self.bin(Binary::Lt, corner, b);
        let top = self.sub(b, one);
        let bottom = self.add(b, one);
        let turned = self.bin(Binary::Div, top, bottom);
        let t = self.select(middle, turned, b);
        let z = self.mul(t, t);
        let terms = if double { 22 } else { 11 };
        let k: Vec<f64> = (0..terms)
            .map(|n| (if n % 2 == 0 { 1.0 } else { -1.0 }) / (2.0 * f64::from(n) + 1.0))
            .collect();
        let p = self.poly(z, &k);
        let p = self.mul(p, t);
        let quarter = self.c(x, std::f64::consts::FRAC_PI_4);
        let shifted = self.add(p, quarter);
        let p = self.select(middle, shifted, p);
        let half = self.c(x, std::f64::consts::FRAC_PI_2);
        let rest = self.sub(half, p);
        let p = self.select(large, rest, p);
        self.with_sign(p, x)
    }

    /// |p| with the sign of x.
    fn with_sign(&mut self, p: UopId, x: UopId) -> UopId {
        let (int, ..) = self.format(x);
        let float = self.g.ty(x).scalar;
        let (pb, xb) = (self.bits(p, int), self.bits(x, int));
        let sign = self.i(
            xb,
            if int == DType::I64 {
                i64::MIN
            } else {
                i64::from(i32::MIN)
            },
        );
        let s = self.bin(Binary::And, xb, sign);
        let joined = self.bin(Binary::Xor, pb, s);
        self.bits(joined, float)
    }

    pub(super) fn tanh(&mut self, x: UopId) -> UopId {
        let double = self.g.ty(x).scalar == DType::F64;
        let a = self.un(Unary::Abs, x);
        let z = self.mul(a, a);
        let small = if double {
            self.tanh_fraction(a, z)
        } else {
            // (tanh a - a) / a^3 in powers of a^2, fitted by least squares at Chebyshev points of 0..0.36.
            let p = self.poly(
                z,
                &[
                    -0.333_332_96,
                    0.133_318_8,
                    -0.053_780_4,
                    0.020_785_147,
                    -0.005_883_233,
                ],
            );
            let cubic = self.mul(a, z);
            self.fma(cubic, p, a)
        };
        let two = self.c(x, 2.0);
        let one = self.c(x, 1.0);
        let twice = self.mul(a, two);
        let e = if double {
            self.exp(twice)
        } else {
            self.exp_short(twice, Edges::None)
        };
        let d = self.add(e, one);
        let q = self.bin(Binary::Div, two, d);
        let large = self.sub(one, q);
        let border = self.c(x, 0.6);
        let is_small = self.bin(Binary::Lt, a, border);
        let y = self.select(is_small, small, large);
        let y = if double {
            y
        } else {
            let end = self.c(x, 10.0);
            let far = self.bin(Binary::Lt, end, a);
            self.select(far, one, y)
        };
        self.with_sign(y, x)
    }

    /// Lambert's continued fraction for the hyperbolic tangent of small `a`; z is its square.
    fn tanh_fraction(&mut self, a: UopId, z: UopId) -> UopId {
        let mut bottom = self.c(a, 21.0);
        for level in (1..=19).rev().step_by(2) {
            let k = self.c(a, f64::from(level));
            let q = self.bin(Binary::Div, z, bottom);
            bottom = self.add(k, q);
        }
        self.bin(Binary::Div, a, bottom)
    }

    pub(super) fn erf(&mut self, x: UopId) -> UopId {
        let a = self.un(Unary::Abs, x);
        let z = self.mul(a, a);
        let one = self.c(x, 1.0);
        if self.g.ty(x).scalar == DType::F64 {
            // Series below 2.5, continued fraction of the complement above (Abramowitz and Stegun 7.1.6, 7.1.14).
            let two_z = self.add(z, z);
            let mut series = self.c(x, 1.0);
            for n in (1..60).rev() {
                let k = self.c(x, 1.0 / f64::from(2 * n + 1));
                let step = self.mul(two_z, k);
                series = self.fma(step, series, one);
            }
            let minus = self.un(Unary::Neg, z);
            let e = self.exp(minus);
            let k = self.c(x, std::f64::consts::FRAC_2_SQRT_PI);
            let small = self.mul(a, k);
            let small = self.mul(small, e);
            let small = self.mul(small, series);
            let mut fraction = a;
            for n in (1..60).rev() {
                let k = self.c(x, f64::from(n) / 2.0);
                let q = self.bin(Binary::Div, k, fraction);
                fraction = self.add(a, q);
            }
            let root = self.c(x, 0.564_189_583_547_756_3);
            let c = self.mul(e, root);
            let c = self.bin(Binary::Div, c, fraction);
            let large = self.sub(one, c);
            let border = self.c(x, 2.5);
            let is_small = self.bin(Binary::Lt, a, border);
            let infinite = self.c(x, 27.0);
            let beyond = self.bin(Binary::Lt, infinite, a);
            let large = self.select(beyond, one, large);
            let y = self.select(is_small, small, large);
            return self.with_sign(y, x);
        }
        // erf(a)/a over a^2 scaled to -1..1. From there on erf is one but for 1.1e-7.
        let scale = self.c(x, 0.141_466_721_892_356_87);
        let minus_one = self.c(x, -1.0);
        let t = self.fma(z, scale, minus_one);
        let p = self.poly(
            t,
            &[
                3.760_567_307_472_229e-1,
                -1.875_483_840_703_964_2e-1,
                1.389_632_672_071_457e-1,
                -1.117_919_161_915_779e-1,
                9.076_307_713_985_443e-2,
                -7.181_745_022_535_324e-2,
                5.394_298_583_269_119e-2,
                -3.759_183_734_655_38e-2,
                2.522_416_971_623_897_6e-2,
                -1.714_235_916_733_741_8e-2,
                9.383_002_296_090_126e-3,
                -2.981_445_984_914_899e-3,
                1.909_288_577_735_424e-3,
                -2.337_439_218_536_019_3e-3,
                9.257_503_552_362_323e-4,
            ],
        );
        let small = self.mul(p, x);
        let end = self.c(x, 3.758);
        let far = self.bin(Binary::Lt, end, a);
        let sign = self.with_sign(one, x);
        self.select(far, sign, small)
    }
}
