//! How operands are read and results written, for each type of lane.
//!
//! In: [`Args`], the operands of an instruction. Out: 32 values of a type, with signs changed and subnormals flushed as
//! the instruction and the mode say; results clamped, scaled and written to the active lanes. With that, an operation is
//! one closure: `two(args, |a: f32, b: f32| a + b)`.

use super::{Handler, LANES, Lanes, Wave};
use half::f16;

/// Where an operand comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Src {
    /// A vector register.
    V(usize),
    /// A scalar register.
    S(usize),
    /// A constant.
    C(u64),
    /// The first operand after lanes moved.
    Moved,
    /// The scalar condition.
    Scc,
}

/// Operands and modifiers of a vector instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Args {
    /// Vector register of the result, or scalar one for masks.
    pub dst: usize,
    /// Scalar register of the second result.
    pub sdst: usize,
    /// Operands.
    pub src: [Src; 3],
    /// Operands whose sign changes, a bit for each.
    pub neg: u32,
    /// Operands without sign.
    pub abs: u32,
    /// Upper halves: a bit for each operand, bit 3 for the result.
    pub sel: u32,
    /// For packed operations: what goes into the upper half.
    pub sel_hi: u32,
    /// For packed operations: signs in the upper half.
    pub neg_hi: u32,
    /// Whether the result saturates.
    pub clamp: bool,
    /// Multiplier of the result: none, 2, 4, 1/2.
    pub omod: u32,
}

impl Args {
    /// Raw 32 bits of an operand.
    #[inline]
    pub fn raw(&self, w: &Wave, n: usize) -> Lanes {
        match self.src[n] {
            Src::V(i) => w.v[i],
            Src::S(i) => [w.s[i]; LANES],
            Src::C(c) => [c as u32; LANES],
            Src::Moved => w.moved,
            Src::Scc => [u32::from(w.scc); LANES],
        }
    }

    /// Raw 64 bits of an operand.
    #[inline]
    pub fn raw64(&self, w: &Wave, n: usize) -> [u64; LANES] {
        match self.src[n] {
            Src::V(i) => {
                let (low, high) = (&w.v[i], &w.v[i + 1]);
                std::array::from_fn(|l| u64::from(low[l]) | u64::from(high[l]) << 32)
            }
            Src::S(i) => [u64::from(w.s[i]) | u64::from(w.s[i + 1]) << 32; LANES],
            Src::C(c) => [c; LANES],
            Src::Moved => std::array::from_fn(|l| u64::from(w.moved[l])),
            Src::Scc => [u64::from(w.scc); LANES],
        }
    }

    /// Raw 16 bits of an operand: one half of a register.
    #[inline]
    pub fn raw16(&self, w: &Wave, n: usize) -> [u16; LANES] {
        let bits = self.raw(w, n);
        let shift = (self.sel >> n & 1) * 16;
        bits.map(|b| (b >> shift) as u16)
    }

    fn signs(&self, n: usize) -> (bool, bool) {
        (self.neg >> n & 1 != 0, self.abs >> n & 1 != 0)
    }
}

/// A type of operand.
pub(crate) trait Lane: Copy + 'static {
    /// The values of operand `n`.
    fn get(w: &Wave, args: &Args, n: usize) -> [Self; LANES];
}

/// A type of result.
pub(crate) trait Out: Copy + Default + 'static {
    /// Writes the active lanes.
    fn put(w: &mut Wave, args: &Args, value: &[Self; LANES]);
}

impl Lane for u32 {
    #[inline]
    fn get(w: &Wave, args: &Args, n: usize) -> [u32; LANES] {
        args.raw(w, n)
    }
}

impl Lane for i32 {
    #[inline]
    fn get(w: &Wave, args: &Args, n: usize) -> [i32; LANES] {
        args.raw(w, n).map(|b| b as i32)
    }
}

impl Lane for u16 {
    #[inline]
    fn get(w: &Wave, args: &Args, n: usize) -> [u16; LANES] {
        args.raw16(w, n)
    }
}

impl Lane for i16 {
    #[inline]
    fn get(w: &Wave, args: &Args, n: usize) -> [i16; LANES] {
        args.raw16(w, n).map(|b| b as i16)
    }
}

impl Lane for u64 {
    #[inline]
    fn get(w: &Wave, args: &Args, n: usize) -> [u64; LANES] {
        args.raw64(w, n)
    }
}

impl Lane for i64 {
    #[inline]
    fn get(w: &Wave, args: &Args, n: usize) -> [i64; LANES] {
        args.raw64(w, n).map(|b| b as i64)
    }
}

/// Zero with the same sign when subnormal.
#[inline]
pub(crate) fn flush32(x: f32) -> f32 {
    let bits = x.to_bits();
    let subnormal = bits & 0x7F80_0000 == 0;
    f32::from_bits(if subnormal { bits & 0x8000_0000 } else { bits })
}

/// The same for doubles.
#[inline]
pub(crate) fn flush64(x: f64) -> f64 {
    let bits = x.to_bits();
    let subnormal = bits & 0x7FF0_0000_0000_0000 == 0;
    f64::from_bits(if subnormal { bits & 1 << 63 } else { bits })
}

/// The same for half floats.
#[inline]
pub(crate) fn flush16(x: f16) -> f16 {
    let bits = x.to_bits();
    f16::from_bits(if bits & 0x7C00 == 0 {
        bits & 0x8000
    } else {
        bits
    })
}

impl Lane for f32 {
    #[inline]
    fn get(w: &Wave, args: &Args, n: usize) -> [f32; LANES] {
        let mut bits = args.raw(w, n);
        let (neg, abs) = args.signs(n);
        if neg | abs {
            let keep = if abs { 0x7FFF_FFFF } else { u32::MAX };
            let flip = u32::from(neg) << 31;
            bits = bits.map(|b| b & keep ^ flip);
        }
        let out = bits.map(f32::from_bits);
        if w.mode.flush_in32 {
            out.map(flush32)
        } else {
            out
        }
    }
}

impl Lane for f64 {
    #[inline]
    fn get(w: &Wave, args: &Args, n: usize) -> [f64; LANES] {
        let (neg, abs) = args.signs(n);
        let keep = if abs { u64::MAX >> 1 } else { u64::MAX };
        let flip = u64::from(neg) << 63;
        let out = args.raw64(w, n).map(|b| f64::from_bits(b & keep ^ flip));
        if w.mode.flush_in64 {
            out.map(flush64)
        } else {
            out
        }
    }
}

impl Lane for f16 {
    #[inline]
    fn get(w: &Wave, args: &Args, n: usize) -> [f16; LANES] {
        let (neg, abs) = args.signs(n);
        let keep = if abs { 0x7FFF } else { u16::MAX };
        let flip = u16::from(neg) << 15;
        let out = args.raw16(w, n).map(|b| f16::from_bits(b & keep ^ flip));
        if w.mode.flush_in64 {
            out.map(flush16)
        } else {
            out
        }
    }
}

impl Out for u32 {
    #[inline]
    fn put(w: &mut Wave, args: &Args, value: &Lanes) {
        w.set_v(args.dst, value);
    }
}

impl Out for i32 {
    #[inline]
    fn put(w: &mut Wave, args: &Args, value: &[i32; LANES]) {
        w.set_v(args.dst, &value.map(|x| x as u32));
    }
}

impl Out for u16 {
    /// One half of the register; the other keeps its value.
    #[inline]
    fn put(w: &mut Wave, args: &Args, value: &[u16; LANES]) {
        let old = &w.v[args.dst];
        let high = args.sel >> 3 & 1 != 0;
        let new = std::array::from_fn(|l| match high {
            true => old[l] & 0xFFFF | u32::from(value[l]) << 16,
            false => old[l] & 0xFFFF_0000 | u32::from(value[l]),
        });
        w.set_v(args.dst, &new);
    }
}

impl Out for i16 {
    #[inline]
    fn put(w: &mut Wave, args: &Args, value: &[i16; LANES]) {
        u16::put(w, args, &value.map(|x| x as u16));
    }
}

impl Out for u64 {
    #[inline]
    fn put(w: &mut Wave, args: &Args, value: &[u64; LANES]) {
        w.set_v(args.dst, &value.map(|x| x as u32));
        w.set_v(args.dst + 1, &value.map(|x| (x >> 32) as u32));
    }
}

impl Out for i64 {
    #[inline]
    fn put(w: &mut Wave, args: &Args, value: &[i64; LANES]) {
        u64::put(w, args, &value.map(|x| x as u64));
    }
}

/// Multipliers of results.
const OMOD: [f64; 4] = [1.0, 2.0, 4.0, 0.5];

macro_rules! saturate {
    ($name:ident, $float:ty) => {
        /// Between zero and one; what is not a number becomes zero when the mode says so.
        #[inline]
        fn $name(x: $float, dx10: bool) -> $float {
            if x.is_nan() {
                return if dx10 { 0.0 } else { x };
            }
            x.clamp(0.0, 1.0) + 0.0
        }
    };
}
saturate!(saturate32, f32);
saturate!(saturate64, f64);

impl Out for f32 {
    #[inline]
    fn put(w: &mut Wave, args: &Args, value: &[f32; LANES]) {
        if args.omod == 0 && !args.clamp && !w.mode.flush_out32 {
            return w.set_v(args.dst, &value.map(f32::to_bits));
        }
        let mut value = *value;
        let dx10 = w.mode.dx10_clamp;
        if w.mode.flush_out32 || args.omod != 0 {
            value = value.map(flush32);
        }
        if args.omod != 0 {
            let by = OMOD[args.omod as usize & 3] as f32;
            value = value.map(|x| flush32(x * by));
        }
        if args.clamp {
            value = value.map(|x| saturate32(x, dx10));
        }
        w.set_v(args.dst, &value.map(f32::to_bits));
    }
}

impl Out for f64 {
    #[inline]
    fn put(w: &mut Wave, args: &Args, value: &[f64; LANES]) {
        let mut value = *value;
        let dx10 = w.mode.dx10_clamp;
        if w.mode.flush_out64 || args.omod != 0 {
            value = value.map(flush64);
        }
        if args.omod != 0 {
            let by = OMOD[args.omod as usize & 3];
            value = value.map(|x| flush64(x * by));
        }
        if args.clamp {
            value = value.map(|x| saturate64(x, dx10));
        }
        u64::put(w, args, &value.map(f64::to_bits));
    }
}

/// A half float after multiplier, clamp and flush.
#[inline]
pub(crate) fn finish16(w: &Wave, args: &Args, x: f16) -> f16 {
    let mut x = x;
    if w.mode.flush_out64 || args.omod != 0 {
        x = flush16(x);
    }
    if args.omod != 0 {
        x = flush16(f16::from_f32(
            x.to_f32() * OMOD[args.omod as usize & 3] as f32,
        ));
    }
    if args.clamp {
        x = f16::from_f32(saturate32(x.to_f32(), w.mode.dx10_clamp));
    }
    x
}

impl Out for f16 {
    #[inline]
    fn put(w: &mut Wave, args: &Args, value: &[f16; LANES]) {
        let value = value.map(|x| finish16(w, args, x).to_bits());
        u16::put(w, args, &value);
    }
}

/// An operation on one operand.
pub(crate) fn one<A: Lane, R: Out>(
    args: Args,
    f: impl Fn(A) -> R + Send + Sync + 'static,
) -> Handler {
    Box::new(move |w, _| {
        let a = A::get(w, &args, 0);
        R::put(w, &args, &a.map(&f));
        Ok(())
    })
}

/// An operation on two operands.
pub(crate) fn two<A: Lane, B: Lane, R: Out>(
    args: Args,
    f: impl Fn(A, B) -> R + Send + Sync + 'static,
) -> Handler {
    Box::new(move |w, _| {
        let a = A::get(w, &args, 0);
        let b = B::get(w, &args, 1);
        let mut out = [R::default(); LANES];
        for l in 0..LANES {
            out[l] = f(a[l], b[l]);
        }
        R::put(w, &args, &out);
        Ok(())
    })
}

/// An operation on three operands.
pub(crate) fn three<A: Lane, B: Lane, C: Lane, R: Out>(
    args: Args,
    f: impl Fn(A, B, C) -> R + Send + Sync + 'static,
) -> Handler {
    Box::new(move |w, _| {
        let a = A::get(w, &args, 0);
        let b = B::get(w, &args, 1);
        let c = C::get(w, &args, 2);
        let mut out = [R::default(); LANES];
        for l in 0..LANES {
            out[l] = f(a[l], b[l], c[l]);
        }
        R::put(w, &args, &out);
        Ok(())
    })
}
