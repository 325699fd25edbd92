//! Integer arithmetic of lanes: sums, products, extremes, carries. In: mnemonic and operands. Out: handlers.

use super::lanes::{Args, Lane, Out, Src, one, three, two};
use super::{Handler, LANES};

/// The lower 24 bits, with sign.
fn s24(x: i32) -> i32 {
    x << 8 >> 8
}

/// The lower 24 bits.
fn u24(x: u32) -> u32 {
    x & 0xFF_FFFF
}

/// An operation that saturates when the instruction says so.
fn either<A: Lane + Out>(args: Args, wraps: fn(A, A) -> A, saturates: fn(A, A) -> A) -> Handler {
    two(args, if args.clamp { saturates } else { wraps })
}

/// A sum with a carry for each lane: wide result, carry in or not.
fn carry(args: Args, carried: bool, f: fn(u32, u32, u32) -> (u32, bool), floor: u32) -> Handler {
    Box::new(move |w, _| {
        let a = u32::get(w, &args, 0);
        let b = u32::get(w, &args, 1);
        let mask = match args.src[2] {
            Src::S(s) if carried => w.s[s],
            _ => 0,
        };
        let exec = w.exec();
        let mut out = [0; LANES];
        let mut carries = 0;
        for l in 0..LANES {
            let (x, c) = f(a[l], b[l], mask >> l & 1);
            out[l] = if c && args.clamp { floor } else { x };
            carries |= u32::from(c) << l;
        }
        u32::put(w, &args, &out);
        w.set_s(args.sdst, carries & exec);
        Ok(())
    })
}

fn add(a: u32, b: u32, c: u32) -> (u32, bool) {
    let x = u64::from(a) + u64::from(b) + u64::from(c);
    (x as u32, x >> 32 != 0)
}

fn sub(a: u32, b: u32, c: u32) -> (u32, bool) {
    let x = i64::from(a) - i64::from(b) - i64::from(c);
    (x as u32, x < 0)
}

/// The sum of absolute differences of the bytes; those that are zero in `b` do not count when masked.
fn sad(a: u32, b: u32, masked: bool) -> u32 {
    let pairs = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
    let pairs = pairs.filter(|&(_, y)| !masked || y != 0);
    pairs.map(|(x, y)| u32::from(x.abs_diff(y))).sum()
}

/// The middle one of three.
fn med<T: Ord>(a: T, b: T, c: T) -> T {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if c < low {
        low
    } else if c > high {
        high
    } else {
        c
    }
}

pub(super) fn lower(name: &str, args: Args) -> Option<Handler> {
    Some(match name {
        "v_add_nc_u32" => either(args, u32::wrapping_add, u32::saturating_add),
        "v_sub_nc_u32" => either(args, u32::wrapping_sub, u32::saturating_sub),
        "v_subrev_nc_u32" => either(
            args,
            |a: u32, b| b.wrapping_sub(a),
            |a, b| b.saturating_sub(a),
        ),
        "v_add_nc_i32" => either(args, i32::wrapping_add, i32::saturating_add),
        "v_sub_nc_i32" => either(args, i32::wrapping_sub, i32::saturating_sub),
        "v_add_nc_u16" => either(args, u16::wrapping_add, u16::saturating_add),
        "v_sub_nc_u16" => either(args, u16::wrapping_sub, u16::saturating_sub),
        "v_add_nc_i16" => either(args, i16::wrapping_add, i16::saturating_add),
        "v_sub_nc_i16" => either(args, i16::wrapping_sub, i16::saturating_sub),
        "v_add_co_u32" => carry(args, false, add, u32::MAX),
        "v_add_co_ci_u32" => carry(args, true, add, u32::MAX),
        "v_sub_co_u32" => carry(args, false, sub, 0),
        "v_sub_co_ci_u32" => carry(args, true, sub, 0),
        "v_subrev_co_u32" => carry(args, false, |a, b, c| sub(b, a, c), 0),
        "v_subrev_co_ci_u32" => carry(args, true, |a, b, c| sub(b, a, c), 0),
        _ if args.clamp => return None,
        "v_mul_i32_i24" => two(args, |a: i32, b: i32| s24(a).wrapping_mul(s24(b))),
        "v_mul_hi_i32_i24" => two(args, |a: i32, b: i32| {
            ((i64::from(s24(a)) * i64::from(s24(b))) >> 32) as i32
        }),
        "v_mul_u32_u24" => two(args, |a: u32, b: u32| u24(a).wrapping_mul(u24(b))),
        "v_mul_hi_u32_u24" => two(args, |a: u32, b: u32| {
            ((u64::from(u24(a)) * u64::from(u24(b))) >> 32) as u32
        }),
        "v_mul_lo_u32" => two(args, u32::wrapping_mul),
        "v_mul_hi_u32" => two(args, |a: u32, b: u32| {
            ((u64::from(a) * u64::from(b)) >> 32) as u32
        }),
        "v_mul_hi_i32" => two(args, |a: i32, b: i32| {
            ((i64::from(a) * i64::from(b)) >> 32) as i32
        }),
        "v_mul_lo_u16" => two(args, u16::wrapping_mul),
        "v_min_i32" => two(args, |a: i32, b: i32| a.min(b)),
        "v_max_i32" => two(args, |a: i32, b: i32| a.max(b)),
        "v_min_u32" => two(args, |a: u32, b: u32| a.min(b)),
        "v_max_u32" => two(args, |a: u32, b: u32| a.max(b)),
        "v_min_i16" => two(args, |a: i16, b: i16| a.min(b)),
        "v_max_i16" => two(args, |a: i16, b: i16| a.max(b)),
        "v_min_u16" => two(args, |a: u16, b: u16| a.min(b)),
        "v_max_u16" => two(args, |a: u16, b: u16| a.max(b)),
        "v_mad_i32_i24" => three(args, |a: i32, b: i32, c: i32| {
            s24(a).wrapping_mul(s24(b)).wrapping_add(c)
        }),
        "v_mad_u32_u24" => three(args, |a: u32, b: u32, c: u32| {
            u24(a).wrapping_mul(u24(b)).wrapping_add(c)
        }),
        "v_mad_u16" => three(args, |a: u16, b: u16, c: u16| {
            a.wrapping_mul(b).wrapping_add(c)
        }),
        "v_mad_i16" => three(args, |a: i16, b: i16, c: i16| {
            a.wrapping_mul(b).wrapping_add(c)
        }),
        "v_mad_u32_u16" => three(args, |a: u16, b: u16, c: u32| {
            (u32::from(a) * u32::from(b)).wrapping_add(c)
        }),
        "v_mad_i32_i16" => three(args, |a: i16, b: i16, c: i32| {
            (i32::from(a) * i32::from(b)).wrapping_add(c)
        }),
        "v_add3_u32" => three(args, |a: u32, b: u32, c: u32| {
            a.wrapping_add(b).wrapping_add(c)
        }),
        "v_min3_i32" => three(args, |a: i32, b: i32, c: i32| a.min(b).min(c)),
        "v_max3_i32" => three(args, |a: i32, b: i32, c: i32| a.max(b).max(c)),
        "v_med3_i32" => three(args, med::<i32>),
        "v_min3_u32" => three(args, |a: u32, b: u32, c: u32| a.min(b).min(c)),
        "v_max3_u32" => three(args, |a: u32, b: u32, c: u32| a.max(b).max(c)),
        "v_med3_u32" => three(args, med::<u32>),
        "v_maxmin_i32" => three(args, |a: i32, b: i32, c: i32| a.max(b).min(c)),
        "v_minmax_i32" => three(args, |a: i32, b: i32, c: i32| a.min(b).max(c)),
        "v_maxmin_u32" => three(args, |a: u32, b: u32, c: u32| a.max(b).min(c)),
        "v_minmax_u32" => three(args, |a: u32, b: u32, c: u32| a.min(b).max(c)),
        "v_min3_i16" => three(args, |a: i16, b: i16, c: i16| a.min(b).min(c)),
        "v_max3_i16" => three(args, |a: i16, b: i16, c: i16| a.max(b).max(c)),
        "v_med3_i16" => three(args, med::<i16>),
        "v_min3_u16" => three(args, |a: u16, b: u16, c: u16| a.min(b).min(c)),
        "v_max3_u16" => three(args, |a: u16, b: u16, c: u16| a.max(b).max(c)),
        "v_med3_u16" => three(args, med::<u16>),
        "v_sad_u8" => three(args, |a: u32, b: u32, c: u32| {
            sad(a, b, false).wrapping_add(c)
        }),
        "v_msad_u8" => three(args, |a: u32, b: u32, c: u32| {
            sad(a, b, true).wrapping_add(c)
        }),
        "v_sad_hi_u8" => three(args, |a: u32, b: u32, c: u32| {
            (sad(a, b, false) << 16).wrapping_add(c)
        }),
        "v_sad_u16" => three(args, |a: u32, b: u32, c: u32| {
            let low = (a & 0xFFFF).abs_diff(b & 0xFFFF);
            c.wrapping_add(low)
                .wrapping_add((a >> 16).abs_diff(b >> 16))
        }),
        "v_sad_u32" => three(args, |a: u32, b: u32, c: u32| a.abs_diff(b).wrapping_add(c)),
        "v_lerp_u8" => three(args, |a: u32, b: u32, c: u32| {
            let mut out = [0; 4];
            let bytes = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
            for (o, ((x, y), z)) in out.iter_mut().zip(bytes.zip(c.to_le_bytes())) {
                *o = ((u32::from(x) + u32::from(y) + u32::from(z & 1)) >> 1) as u8;
            }
            u32::from_le_bytes(out)
        }),
        "v_cvt_i32_i16" => one(args, |a: i16| i32::from(a)),
        "v_cvt_u32_u16" => one(args, |a: u16| u32::from(a)),
        _ => return None,
    })
}
