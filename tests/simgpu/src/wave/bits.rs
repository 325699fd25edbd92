//! Bits of lanes: logic, shifts, fields, bytes, selection. In: mnemonic and operands. Out: handlers.

use super::lanes::{Args, Lane, Out, Src, one, three, two};
use super::{Handler, LANES};

/// All ones when there is none, as the hardware counts zeros.
fn count(value: u32, zeros: u32) -> u32 {
    if value == 0 { u32::MAX } else { zeros }
}

/// `v_perm_b32`: each byte of the selector picks one of eight bytes, a sign, zero or ones.
fn perm(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = (u64::from(a) << 32 | u64::from(b)).to_le_bytes();
    let sign = |at: usize| if bytes[at] & 0x80 != 0 { 0xFF } else { 0 };
    let pick = selector.to_le_bytes().map(|s| match s {
        0..=7 => bytes[usize::from(s)],
        8 => sign(1),
        9 => sign(3),
        10 => sign(5),
        11 => sign(7),
        12 => 0,
        _ => 0xFF,
    });
    u32::from_le_bytes(pick)
}

/// Bits `offset` and so many more.
fn bfe_u(a: u32, offset: u32, width: u32) -> u32 {
    let (offset, width) = (offset & 31, width & 31);
    if width == 0 {
        0
    } else {
        a >> offset & ((1 << width) - 1)
    }
}

fn bfe_i(a: u32, offset: u32, width: u32) -> u32 {
    let (offset, width) = (offset & 31, width & 31);
    if width == 0 {
        return 0;
    }
    // A field that ends above bit 31 takes the sign of the operand.
    let above = 32 - width.min(32 - offset) - offset;
    let shifted = (a << above) as i32;
    (shifted >> (above + offset)) as u32
}

/// One of two operands by a mask of lanes. Signs of the operands change bits, whatever they are.
fn cndmask(args: Args) -> Option<Handler> {
    let Src::S(mask) = args.src[2] else {
        return None;
    };
    let plain = args.neg | args.abs == 0;
    Some(Box::new(move |w, _| {
        let change = |n: usize, bits: super::Lanes| match plain {
            true => bits,
            false => {
                let keep = if args.abs >> n & 1 != 0 {
                    u32::MAX >> 1
                } else {
                    u32::MAX
                };
                let flip = (args.neg >> n & 1) << 31;
                bits.map(|b| b & keep ^ flip)
            }
        };
        let a = change(0, args.raw(w, 0));
        let b = change(1, args.raw(w, 1));
        let mask = w.s[mask];
        let mut out = [0; LANES];
        for l in 0..LANES {
            out[l] = if mask >> l & 1 != 0 { b[l] } else { a[l] };
        }
        w.set_v(args.dst, &out);
        Ok(())
    }))
}

/// How many of the bits below the lane's number are set in the operand, plus an offset.
fn mbcnt(args: Args, upper: bool) -> Handler {
    Box::new(move |w, _| {
        let a = u32::get(w, &args, 0);
        let b = u32::get(w, &args, 1);
        let mut out = [0; LANES];
        for l in 0..LANES {
            // The upper half of the lanes does not exist: none of its bits is below.
            let below = if upper { 0 } else { a[l] & ((1 << l) - 1) };
            out[l] = below.count_ones().wrapping_add(b[l]);
        }
        u32::put(w, &args, &out);
        Ok(())
    })
}

pub(super) fn lower(name: &str, args: Args) -> Option<Handler> {
    Some(match name {
        "v_mov_b32" => one(args, |a: u32| a),
        "v_cndmask_b32" => return cndmask(args),
        "v_not_b32" => one(args, |a: u32| !a),
        "v_not_b16" => one(args, |a: u16| !a),
        "v_bfrev_b32" => one(args, u32::reverse_bits),
        "v_clz_i32_u32" => one(args, |a: u32| count(a, a.leading_zeros())),
        "v_ctz_i32_b32" => one(args, |a: u32| count(a, a.trailing_zeros())),
        "v_cls_i32" => one(args, |a: i32| {
            let folded = (a ^ (a >> 31)) as u32;
            count(folded, folded.leading_zeros())
        }),
        "v_and_b32" => two(args, |a: u32, b: u32| a & b),
        "v_or_b32" => two(args, |a: u32, b: u32| a | b),
        "v_xor_b32" => two(args, |a: u32, b: u32| a ^ b),
        "v_xnor_b32" => two(args, |a: u32, b: u32| !(a ^ b)),
        "v_and_b16" => two(args, |a: u16, b: u16| a & b),
        "v_or_b16" => two(args, |a: u16, b: u16| a | b),
        "v_xor_b16" => two(args, |a: u16, b: u16| a ^ b),
        "v_lshlrev_b32" => two(args, |a: u32, b: u32| b << (a & 31)),
        "v_lshrrev_b32" => two(args, |a: u32, b: u32| b >> (a & 31)),
        "v_ashrrev_i32" => two(args, |a: u32, b: i32| b >> (a & 31)),
        "v_lshlrev_b16" => two(args, |a: u16, b: u16| b << (a & 15)),
        "v_lshrrev_b16" => two(args, |a: u16, b: u16| b >> (a & 15)),
        "v_ashrrev_i16" => two(args, |a: u16, b: i16| b >> (a & 15)),
        "v_bfm_b32" => two(args, |a: u32, b: u32| ((1u32 << (a & 31)) - 1) << (b & 31)),
        "v_bcnt_u32_b32" => two(args, |a: u32, b: u32| a.count_ones().wrapping_add(b)),
        "v_mbcnt_lo_u32_b32" => mbcnt(args, false),
        "v_mbcnt_hi_u32_b32" => mbcnt(args, true),
        "v_bfe_u32" => three(args, bfe_u),
        "v_bfe_i32" => three(args, bfe_i),
        "v_bfi_b32" => three(args, |a: u32, b: u32, c: u32| a & b | !a & c),
        "v_alignbit_b32" => three(args, |a: u32, b: u32, c: u32| {
            ((u64::from(a) << 32 | u64::from(b)) >> (c & 31)) as u32
        }),
        "v_alignbyte_b32" => three(args, |a: u32, b: u32, c: u32| {
            ((u64::from(a) << 32 | u64::from(b)) >> (8 * (c & 3))) as u32
        }),
        "v_xor3_b32" => three(args, |a: u32, b: u32, c: u32| a ^ b ^ c),
        "v_or3_b32" => three(args, |a: u32, b: u32, c: u32| a | b | c),
        "v_and_or_b32" => three(args, |a: u32, b: u32, c: u32| a & b | c),
        "v_perm_b32" => three(args, perm),
        "v_xad_u32" => three(args, |a: u32, b: u32, c: u32| (a ^ b).wrapping_add(c)),
        "v_lshl_add_u32" => three(args, |a: u32, b: u32, c: u32| {
            (a << (b & 31)).wrapping_add(c)
        }),
        "v_add_lshl_u32" => three(args, |a: u32, b: u32, c: u32| a.wrapping_add(b) << (c & 31)),
        "v_lshl_or_b32" => three(args, |a: u32, b: u32, c: u32| a << (b & 31) | c),
        "v_sat_pk_u8_i16" => one(args, |a: u32| {
            let byte = |x: u16| (x as i16).clamp(0, 255) as u16;
            byte(a as u16) | byte((a >> 16) as u16) << 8
        }),
        "v_cvt_pk_u16_u32" => two(args, |a: u32, b: u32| a.min(0xFFFF) | b.min(0xFFFF) << 16),
        "v_cvt_pk_i16_i32" => two(args, |a: i32, b: i32| {
            let half = |x: i32| x.clamp(-0x8000, 0x7FFF) as u16;
            u32::from(half(a)) | u32::from(half(b)) << 16
        }),
        "v_pack_b32_f16" => two(args, |a: u16, b: u16| u32::from(a) | u32::from(b) << 16),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_bytes() {
        assert_eq!(bfe_u(0xABCD_1234, 4, 8), 0x23);
        assert_eq!(bfe_i(0xABCD_1284, 0, 8), 0xFFFF_FF84);
        assert_eq!(bfe_i(0x8000_0000, 28, 31), 0xFFFF_FFF8);
        assert_eq!(bfe_i(5, 3, 0), 0);
        assert_eq!(perm(0x7766_5544, 0x3322_1100, 0x0C0D_0701), 0x00FF_7711);
        assert_eq!(perm(0x8000_0000, 0, 0x0B0B_0808), 0xFFFF_0000);
    }
}
