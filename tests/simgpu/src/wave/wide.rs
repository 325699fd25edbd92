//! Operations on 64 bits: shifts, products, sums of differences. In: mnemonic and operands. Out: handlers.

use super::lanes::{Args, Lane, Out, two};
use super::{Handler, LANES};

/// A product of 32 bits added to 64, with a carry for each lane.
fn mad(args: Args, f: fn(u32, u32, u64) -> (u64, bool)) -> Handler {
    Box::new(move |w, _| {
        let a = u32::get(w, &args, 0);
        let b = u32::get(w, &args, 1);
        let c = u64::get(w, &args, 2);
        let mut out = [0; LANES];
        let mut carries = 0;
        for l in 0..LANES {
            let (x, o) = f(a[l], b[l], c[l]);
            out[l] = x;
            carries |= u32::from(o) << l;
        }
        let exec = w.exec();
        u64::put(w, &args, &out);
        w.set_s(args.sdst, carries & exec);
        Ok(())
    })
}

/// Four sums of differences between four bytes and those that start at each of the first four bytes.
fn qsad(a: u64, b: u32, c: u64, masked: bool) -> u64 {
    let mut out = 0;
    for at in 0..4 {
        let window = (a >> (8 * at)) as u32;
        let pairs = window.to_le_bytes().into_iter().zip(b.to_le_bytes());
        let pairs = pairs.filter(|&(_, y)| !masked || y != 0);
        let sum: u32 = pairs.map(|(x, y)| u32::from(x.abs_diff(y))).sum();
        let before = (c >> (16 * at)) as u16;
        out |= u64::from(before.saturating_add(sum as u16)) << (16 * at);
    }
    out
}

pub(super) fn lower(name: &str, args: Args) -> Option<Handler> {
    Some(match name {
        "v_lshlrev_b64" => two(args, |a: u32, b: u64| b << (a & 63)),
        "v_lshrrev_b64" => two(args, |a: u32, b: u64| b >> (a & 63)),
        "v_ashrrev_i64" => two(args, |a: u32, b: i64| b >> (a & 63)),
        _ if args.clamp => return None,
        "v_mad_u64_u32" => mad(args, |a, b, c| {
            (u64::from(a) * u64::from(b)).overflowing_add(c)
        }),
        "v_mad_i64_i32" => mad(args, |a, b, c| {
            let (x, o) = (i64::from(a as i32) * i64::from(b as i32)).overflowing_add(c as i64);
            (x as u64, o)
        }),
        "v_qsad_pk_u16_u8" | "v_mqsad_pk_u16_u8" => {
            let masked = name.contains("mqsad");
            super::lanes::three(args, move |a: u64, b: u32, c: u64| qsad(a, b, c, masked))
        }
        _ => return None,
    })
}
