//! Two operations at once: VOPD. In: instruction. Out: a handler that reads the operands of both before it writes.

use super::lanes::{Args, Lane, Src, flush32};
use super::lower::source;
use super::rounding::{fma_directed, fma32};
use super::{Handler, LANES, Lanes, Round, VCC, Wave, float};
use crate::isa::{Half, Imm, Inst, Kind};
use half::f16;

/// The result of one of both.
type Compute = Box<dyn Fn(&Wave) -> Lanes + Send + Sync>;

/// Operands of one half as those of any vector instruction.
fn args(half: &Half, literal: u32) -> Result<Args, &'static str> {
    let mut registers = half.srcs.into_iter();
    let mut src = [Src::C(0); 3];
    for (n, &kind) in half.op.srcs.iter().enumerate().take(3) {
        src[n] = match kind {
            Kind::Imm(Imm::Literal) => Src::C(u64::from(literal)),
            _ => source(registers.next().unwrap_or(0), kind, literal, false)?,
        };
    }
    Ok(Args {
        dst: half.vdst as usize,
        sdst: 0,
        src,
        neg: 0,
        abs: 0,
        sel: 0,
        sel_hi: 0,
        neg_hi: 0,
        clamp: false,
        omod: 0,
    })
}

/// Sums and products, rounded and flushed as the mode says.
fn floats(args: Args, f: fn(f32, f32) -> f32, terms: fn(f32, f32) -> [f32; 3]) -> Compute {
    Box::new(move |w| {
        let a = f32::get(w, &args, 0);
        let b = f32::get(w, &args, 1);
        let round = w.mode.round32;
        let mut out = [0.0; LANES];
        for l in 0..LANES {
            out[l] = f(a[l], b[l]);
        }
        if round != Round::Nearest {
            out = std::array::from_fn(|l| {
                let [x, y, z] = terms(a[l], b[l]);
                fma_directed(x, y, z, round)
            });
        }
        finish(w, out)
    })
}

/// Products added to the third operand.
fn fused(args: Args) -> Compute {
    Box::new(move |w| {
        let a = f32::get(w, &args, 0);
        let b = f32::get(w, &args, 1);
        let c = f32::get(w, &args, 2);
        let out = match w.mode.round32 {
            Round::Nearest => fma32(&a, &b, &c),
            round => std::array::from_fn(|l| fma_directed(a[l], b[l], c[l], round)),
        };
        finish(w, out)
    })
}

fn finish(w: &Wave, out: [f32; LANES]) -> Lanes {
    match w.mode.flush_out32 {
        true => out.map(|x| flush32(x).to_bits()),
        false => out.map(f32::to_bits),
    }
}

fn ints(args: Args, f: fn(u32, u32) -> u32) -> Compute {
    Box::new(move |w| {
        let a = args.raw(w, 0);
        let b = args.raw(w, 1);
        let mut out = [0; LANES];
        for l in 0..LANES {
            out[l] = f(a[l], b[l]);
        }
        out
    })
}

fn compute(half: &Half, literal: u32) -> Result<Compute, &'static str> {
    let mut args = args(half, literal)?;
    Ok(match half.op.name.as_str() {
        "v_dual_mov_b32" => Box::new(move |w| args.raw(w, 0)),
        "v_dual_fmac_f32" => {
            args.src[2] = Src::V(args.dst);
            fused(args)
        }
        "v_dual_fmaak_f32" | "v_dual_fmamk_f32" => fused(args),
        "v_dual_mul_f32" => floats(args, |a, b| a * b, |a, b| [a, b, -0.0]),
        "v_dual_add_f32" => floats(args, |a, b| a + b, |a, b| [a, 1.0, b]),
        "v_dual_sub_f32" => floats(args, |a, b| a - b, |a, b| [a, 1.0, -b]),
        "v_dual_subrev_f32" => floats(args, |a, b| b - a, |a, b| [b, 1.0, -a]),
        "v_dual_max_f32" => floats(args, float::max, |a, b| [float::max(a, b), 1.0, -0.0]),
        "v_dual_min_f32" => floats(args, float::min, |a, b| [float::min(a, b), 1.0, -0.0]),
        "v_dual_mul_dx9_zero_f32" => {
            floats(args, float::mul_dx9, |a, b| match a == 0.0 || b == 0.0 {
                true => [0.0, 0.0, 0.0],
                false => [a, b, -0.0],
            })
        }
        "v_dual_cndmask_b32" => Box::new(move |w| {
            let a = args.raw(w, 0);
            let b = args.raw(w, 1);
            let mask = w.s[VCC];
            std::array::from_fn(|l| if mask >> l & 1 != 0 { b[l] } else { a[l] })
        }),
        "v_dual_dot2acc_f32_f16" => Box::new(move |w| {
            let (a, b) = (args.raw(w, 0), args.raw(w, 1));
            let wide = |x: u32| f64::from(f16::from_bits(x as u16).to_f32());
            let out = std::array::from_fn(|l| {
                let c = f64::from(f32::from_bits(w.v[args.dst][l]));
                let high = wide(a[l] >> 16) * wide(b[l] >> 16);
                (wide(a[l]) * wide(b[l]) + high + c) as f32
            });
            finish(w, out)
        }),
        "v_dual_add_nc_u32" => ints(args, u32::wrapping_add),
        "v_dual_lshlrev_b32" => ints(args, |a, b| b << (a & 31)),
        "v_dual_and_b32" => ints(args, |a, b| a & b),
        _ => return Err("an operation that is not simulated"),
    })
}

pub(super) fn lower(i: &Inst) -> Result<Handler, &'static str> {
    let [x, y] = i.halves().ok_or("half an instruction")?;
    let (dx, dy) = (x.vdst as usize, y.vdst as usize);
    let (x, y) = (compute(&x, i.literal())?, compute(&y, i.literal())?);
    Ok(Box::new(move |w, _| {
        let (a, b) = (x(w), y(w));
        w.set_v(dx, &a);
        w.set_v(dy, &b);
        Ok(())
    }))
}
