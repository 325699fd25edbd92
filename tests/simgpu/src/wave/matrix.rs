//! Products of matrices of 16 by 16: WMMA. In: instruction. Out: handlers.
//!
//! Lane `l` holds row `l % 16` of A and column `l % 16` of B, so lanes 16 to 31 repeat lanes 0 to 15: that they do is
//! checked. Register `r` of the result holds in lane `l` row `2 * r + l / 16`, column `l % 16`.

use super::lanes::{Args, Src};
use super::lower::args;
use super::{FaultKind, Handler, LANES, Wave};
use crate::isa::Inst;
use half::{bf16, f16};

/// Rows, columns, and length of the sums.
const SIDE: usize = 16;

/// Row or column `lane` of an operand: 16 values.
fn line<T: Copy + Default>(
    w: &Wave,
    args: &Args,
    n: usize,
    width: u32,
    read: impl Fn(u32) -> T,
) -> Result<[[T; SIDE]; SIDE], FaultKind> {
    let Src::V(first) = args.src[n] else {
        return Err(FaultKind::Unsupported(
            "a matrix outside of vector registers",
        ));
    };
    let per_register = (32 / width) as usize;
    let registers = SIDE / per_register;
    for r in first..first + registers {
        let (low, high) = w.v[r].split_at(SIDE);
        if low != high {
            return Err(FaultKind::Unsupported(
                "a matrix whose second half of lanes does not repeat the first",
            ));
        }
    }
    let mask = u32::MAX >> (32 - width);
    Ok(std::array::from_fn(|lane| {
        std::array::from_fn(|k| {
            let word = w.v[first + k / per_register][lane];
            read(word >> ((k % per_register) as u32 * width) & mask)
        })
    }))
}

/// The accumulator's register `r`, or the constant in its place.
fn accumulator(w: &Wave, src: Src, r: usize) -> [u32; LANES] {
    match src {
        Src::V(first) => w.v[first + r],
        Src::C(c) => [c as u32; LANES],
        _ => [0; LANES],
    }
}

/// What accumulates: `step` adds all products of a row and a column to a value.
fn product<T: Copy + Default + 'static>(
    args: Args,
    width: u32,
    read: fn(u32, usize, &Args) -> T,
    upper: Option<bool>,
    step: fn(u32, &[T; SIDE], &[T; SIDE], &Args) -> u32,
) -> Handler {
    Box::new(move |w, _| {
        let a = line(w, &args, 0, width, |x| read(x, 0, &args))?;
        let b = line(w, &args, 1, width, |x| read(x, 1, &args))?;
        let out: [[u32; LANES]; SIDE / 2] = std::array::from_fn(|r| {
            let c = accumulator(w, args.src[2], r);
            std::array::from_fn(|lane| {
                let (row, column) = (2 * r + lane / SIDE, lane % SIDE);
                let shift = if upper == Some(true) { 16 } else { 0 };
                let start = match upper {
                    Some(_) => c[lane] >> shift & 0xFFFF,
                    None => c[lane],
                };
                let sum = step(start, &a[row], &b[column], &args);
                match upper {
                    Some(_) => w.v[args.dst + r][lane] & !(0xFFFF << shift) | sum << shift,
                    None => sum,
                }
            })
        });
        // Matrices are whole: inactive lanes take part.
        w.v[args.dst..args.dst + SIDE / 2].copy_from_slice(&out);
        Ok(())
    })
}

/// Products of floats added one after the other.
fn sum(start: f32, a: &[f32; SIDE], b: &[f32; SIDE]) -> f32 {
    // Products of half floats are exact in single precision, so that every step rounds once.
    a.iter().zip(b).fold(start, |s, (x, y)| s + x * y)
}

/// The value of an accumulator of single floats, with the sign the instruction gives it.
fn start32(bits: u32, args: &Args) -> f32 {
    let keep = if args.neg_hi >> 2 & 1 != 0 {
        u32::MAX >> 1
    } else {
        u32::MAX
    };
    f32::from_bits(bits & keep ^ (args.neg >> 2 & 1) << 31)
}

/// An element of an operand, negated when the instruction says so.
fn sign(x: f32, n: usize, args: &Args) -> f32 {
    if args.neg >> n & 1 != 0 { -x } else { x }
}

fn signed(x: u32, width: u32, n: usize, args: &Args) -> i32 {
    match args.neg >> n & 1 != 0 {
        true => ((x << (32 - width)) as i32) >> (32 - width),
        false => x as i32,
    }
}

fn ints(start: u32, a: &[i32; SIDE], b: &[i32; SIDE], args: &Args) -> u32 {
    let products = a.iter().zip(b).map(|(x, y)| i64::from(*x) * i64::from(*y));
    let sum = i64::from(start as i32) + products.sum::<i64>();
    match args.clamp {
        true => sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u32,
        false => sum as u32,
    }
}

pub(super) fn lower(i: &Inst) -> Result<Handler, &'static str> {
    let args = args(i)?;
    let float = i.op.name.contains("f16");
    // Signs apply to both halves of a register or to none.
    if float && (args.neg & 3) != (args.neg_hi & 3) {
        return Err("signs of every other element of a matrix");
    }
    let upper = Some(args.sel & 4 != 0);
    Ok(match i.op.name.as_str() {
        "v_wmma_f32_16x16x16_f16" => product(
            args,
            16,
            |x, n, args| sign(f16::from_bits(x as u16).to_f32(), n, args),
            None,
            |s, a, b, args| sum(start32(s, args), a, b).to_bits(),
        ),
        "v_wmma_f32_16x16x16_bf16" => product(
            args,
            16,
            |x, n, args| sign(bf16::from_bits(x as u16).to_f32(), n, args),
            None,
            |s, a, b, args| sum(start32(s, args), a, b).to_bits(),
        ),
        "v_wmma_f16_16x16x16_f16" => product(
            args,
            16,
            |x, n, args| sign(f16::from_bits(x as u16).to_f32(), n, args),
            upper,
            |s, a, b, _| {
                let start = f16::from_bits(s as u16).to_f32();
                u32::from(f16::from_f32(sum(start, a, b)).to_bits())
            },
        ),
        "v_wmma_bf16_16x16x16_bf16" => product(
            args,
            16,
            |x, n, args| sign(bf16::from_bits(x as u16).to_f32(), n, args),
            upper,
            |s, a, b, _| {
                let start = bf16::from_bits(s as u16).to_f32();
                u32::from(bf16::from_f32(sum(start, a, b)).to_bits())
            },
        ),
        "v_wmma_i32_16x16x16_iu8" => {
            product(args, 8, |x, n, args| signed(x, 8, n, args), None, ints)
        }
        "v_wmma_i32_16x16x16_iu4" => {
            product(args, 4, |x, n, args| signed(x, 4, n, args), None, ints)
        }
        _ => return Err("a product of matrices that is not simulated"),
    })
}
