//! Vector arithmetic in its short encodings: VOP1, VOP2, VOPC. In: fields. Out: `v_add_f32_e32 v0, 1.0, v1`,
//! `v_cmp_lt_f32_e32 vcc_lo, v0, v1`, `v_mov_b32_dpp v0, v1 row_shr:1 row_mask:0xf bank_mask:0xf`.

use super::op::{Family, Imm, Kind, Op, parse_rows};
use super::operand::{self, Reg, Source, VCC, VGPR};
use super::{Dpp, Ext, Field, Inst};
use std::fmt;

const VOP1: &str = "\
000 v_nop = +plain
001 v_mov_b32 b32 = b32
002 v_readfirstlane_b32 s = b32 +plain
003 v_cvt_i32_f64 b32 = f64
004 v_cvt_f64_i32 f64 = b32
005 v_cvt_f32_i32 f32 = b32
006 v_cvt_f32_u32 f32 = b32
007 v_cvt_u32_f32 b32 = f32
008 v_cvt_i32_f32 b32 = f32
00a v_cvt_f16_f32 f16 = f32
00b v_cvt_f32_f16 f32 = f16
00c v_cvt_nearest_i32_f32 b32 = f32
00d v_cvt_floor_i32_f32 b32 = f32
00e v_cvt_off_f32_i4 f32 = b32
00f v_cvt_f32_f64 f32 = f64
010 v_cvt_f64_f32 f64 = f32
011 v_cvt_f32_ubyte0 f32 = b32
012 v_cvt_f32_ubyte1 f32 = b32
013 v_cvt_f32_ubyte2 f32 = b32
014 v_cvt_f32_ubyte3 f32 = b32
015 v_cvt_u32_f64 b32 = f64
016 v_cvt_f64_u32 f64 = b32
017 v_trunc_f64 f64 = f64
018 v_ceil_f64 f64 = f64
019 v_rndne_f64 f64 = f64
01a v_floor_f64 f64 = f64
020 v_fract_f32 f32 = f32
021 v_trunc_f32 f32 = f32
022 v_ceil_f32 f32 = f32
023 v_rndne_f32 f32 = f32
024 v_floor_f32 f32 = f32
025 v_exp_f32 f32 = f32
027 v_log_f32 f32 = f32
02a v_rcp_f32 f32 = f32
02b v_rcp_iflag_f32 f32 = f32
02e v_rsq_f32 f32 = f32
02f v_rcp_f64 f64 = f64
031 v_rsq_f64 f64 = f64
033 v_sqrt_f32 f32 = f32
034 v_sqrt_f64 f64 = f64
035 v_sin_f32 f32 = f32
036 v_cos_f32 f32 = f32
037 v_not_b32 b32 = b32
038 v_bfrev_b32 b32 = b32
039 v_clz_i32_u32 b32 = b32
03a v_ctz_i32_b32 b32 = b32
03b v_cls_i32 b32 = b32
03c v_frexp_exp_i32_f64 b32 = f64
03d v_frexp_mant_f64 f64 = f64
03e v_fract_f64 f64 = f64
03f v_frexp_exp_i32_f32 b32 = f32
040 v_frexp_mant_f32 f32 = f32
042 v_movreld_b32 b32 = b32 +fixed
043 v_movrels_b32 b32 = b32 +fixed
044 v_movrelsd_b32 b32 = b32 +fixed
048 v_movrelsd_2_b32 b32 = b32 +fixed
050 v_cvt_f16_u16 f16 = b16
051 v_cvt_f16_i16 f16 = b16
052 v_cvt_u16_f16 b16 = f16
053 v_cvt_i16_f16 b16 = f16
054 v_rcp_f16 f16 = f16
055 v_sqrt_f16 f16 = f16
056 v_rsq_f16 f16 = f16
057 v_log_f16 f16 = f16
058 v_exp_f16 f16 = f16
059 v_frexp_mant_f16 f16 = f16
05a v_frexp_exp_i16_f16 b16 = f16
05b v_floor_f16 f16 = f16
05c v_ceil_f16 f16 = f16
05d v_trunc_f16 f16 = f16
05e v_rndne_f16 f16 = f16
05f v_fract_f16 f16 = f16
060 v_sin_f16 f16 = f16
061 v_cos_f16 f16 = f16
062 v_sat_pk_u8_i16 b16 = b32
063 v_cvt_norm_i16_f16 b16 = f16
064 v_cvt_norm_u16_f16 b16 = f16
065 v_swap_b32 b32 = b32 +plain
067 v_permlane64_b32 b32 = b32 +plain
068 v_swaprel_b32 b32 = b32 +plain
069 v_not_b16 b16 = b16
06a v_cvt_i32_i16 b32 = b16
06b v_cvt_u32_u16 b32 = b16";

const VOP2: &str = "\
001 v_cndmask_b32 b32 = f32 f32 m
002 v_dot2acc_f32_f16 f32 = h2 h2 +plain
003 v_add_f32 f32 = f32 f32
004 v_sub_f32 f32 = f32 f32
005 v_subrev_f32 f32 = f32 f32
006 v_fmac_dx9_zero_f32 f32 = f32 f32 +fixed
007 v_mul_dx9_zero_f32 f32 = f32 f32
008 v_mul_f32 f32 = f32 f32
009 v_mul_i32_i24 b32 = b32 b32 +clamp
00a v_mul_hi_i32_i24 b32 = b32 b32
00b v_mul_u32_u24 b32 = b32 b32 +clamp
00c v_mul_hi_u32_u24 b32 = b32 b32
00f v_min_f32 f32 = f32 f32
010 v_max_f32 f32 = f32 f32
011 v_min_i32 b32 = b32 b32
012 v_max_i32 b32 = b32 b32
013 v_min_u32 b32 = b32 b32
014 v_max_u32 b32 = b32 b32
018 v_lshlrev_b32 b32 = b32 b32
019 v_lshrrev_b32 b32 = b32 b32
01a v_ashrrev_i32 b32 = b32 b32
01b v_and_b32 b32 = b32 b32
01c v_or_b32 b32 = b32 b32
01d v_xor_b32 b32 = b32 b32
01e v_xnor_b32 b32 = b32 b32
020 v_add_co_ci_u32 b32 m = b32 b32 m +clamp
021 v_sub_co_ci_u32 b32 m = b32 b32 m +clamp
022 v_subrev_co_ci_u32 b32 m = b32 b32 m +clamp
025 v_add_nc_u32 b32 = b32 b32 +clamp
026 v_sub_nc_u32 b32 = b32 b32 +clamp
027 v_subrev_nc_u32 b32 = b32 b32 +clamp
02b v_fmac_f32 f32 = f32 f32
02c v_fmamk_f32 f32 = f32 #literal f32 +plain
02d v_fmaak_f32 f32 = f32 f32 #literal +plain
02f v_cvt_pk_rtz_f16_f32 b32 = f32 f32
032 v_add_f16 f16 = f16 f16
033 v_sub_f16 f16 = f16 f16
034 v_subrev_f16 f16 = f16 f16
035 v_mul_f16 f16 = f16 f16
036 v_fmac_f16 f16 = f16 f16 +sel
037 v_fmamk_f16 f16 = f16 #literal f16 +plain
038 v_fmaak_f16 f16 = f16 f16 #literal +plain
039 v_max_f16 f16 = f16 f16
03a v_min_f16 f16 = f16 f16
03b v_ldexp_f16 f16 = f16 f16
03c v_pk_fmac_f16 h2 = h2 h2 +plain";

/// Comparisons of floats, in the order of their codes.
const FLOAT_COMPARISONS: [&str; 16] = [
    "f", "lt", "eq", "le", "gt", "lg", "ge", "o", "u", "nge", "nlg", "ngt", "nle", "neq", "nlt",
    "t",
];
/// Comparisons of integers. Those of sixteen bits lack the first and the last.
const INT_COMPARISONS: [&str; 8] = ["f", "lt", "eq", "le", "gt", "ne", "ge", "t"];

pub(super) fn rows() -> Vec<Op> {
    let mut out = parse_rows(Family::Vop1, VOP1);
    out.extend(parse_rows(Family::Vop2, VOP2));
    // Comparisons that write EXEC follow 128 codes after those that write a mask.
    for (base, prefix) in [(0, "v_cmp"), (128, "v_cmpx")] {
        let mut add = |code: u16, name: String, kinds: [Kind; 2]| {
            out.push(Op {
                name,
                family: Family::Vopc,
                code,
                dsts: if base == 0 { vec![Kind::Mask] } else { vec![] },
                srcs: kinds.to_vec(),
                flags: vec![],
            });
        };
        for (start, ty, kind) in [
            (0, "f16", Kind::F16),
            (16, "f32", Kind::F32),
            (32, "f64", Kind::F64),
        ] {
            for (code, name) in (base + start..).zip(FLOAT_COMPARISONS) {
                add(code, format!("{prefix}_{name}_{ty}"), [kind; 2]);
            }
        }
        let ints = [
            (48, "i16", Kind::B16),
            (56, "u16", Kind::B16),
            (64, "i32", Kind::B32),
            (72, "u32", Kind::B32),
            (80, "i64", Kind::B64),
            (88, "u64", Kind::B64),
        ];
        for (start, ty, kind) in ints {
            for (code, name) in (base + start..).zip(INT_COMPARISONS) {
                if kind != Kind::B16 || !["f", "t"].contains(&name) {
                    add(code, format!("{prefix}_{name}_{ty}"), [kind; 2]);
                }
            }
        }
        for (code, ty, kind, mask) in [
            (125, "f16", Kind::F16, Kind::B32),
            (126, "f32", Kind::F32, Kind::B32),
            (127, "f64", Kind::F64, Kind::B32),
        ] {
            add(base + code, format!("{prefix}_class_{ty}"), [kind, mask]);
        }
    }
    out
}

pub(super) fn check(i: &Inst) -> Result<(), &'static str> {
    let dst = match i.op.dsts.first() {
        Some(Kind::Scalar) => i.get(Field::Vdst),
        _ => VGPR + i.get(Field::Vdst),
    };
    if i.op.dsts.is_empty() && i.get(Field::Vdst) != 0 {
        return Err("a result where there is none");
    }
    // The upper half of the registers stands for upper halves of the lower half, which nothing here emits.
    let half = |kind: Kind, code: u32| kind.is_half() && code >= VGPR + 128;
    if let Some(&kind) = i.op.dsts.first().filter(|k| **k != Kind::Mask) {
        operand::check(dst, kind)?;
        if half(kind, dst) {
            return Err("an upper half as result");
        }
    }
    for (&kind, code) in i.op.srcs.iter().zip(i.sources()) {
        if matches!(kind, Kind::Imm(_)) {
            continue;
        }
        operand::check(code, kind)?;
        let class = i.op.name.ends_with("class_f16") && code >= VGPR + 128;
        if half(kind, code) || class {
            return Err("an upper half as operand");
        }
    }
    check_register(i)?;
    if i.op.dsts.first() == Some(&Kind::Scalar) && dst >= 128 {
        return Err("a result that is no scalar register");
    }
    if i.op.name == "v_nop" && i.get(Field::Src0) != 0 {
        return Err("an operand where there is none");
    }
    check_dpp(i)
}

/// Some operations take lanes of registers apart: their operand is one.
pub(super) fn check_register(i: &Inst) -> Result<(), &'static str> {
    let names = [
        "v_readfirstlane_b32",
        "v_swap_b32",
        "v_swaprel_b32",
        "v_permlane64_b32",
        "v_permlane16_b32",
        "v_permlanex16_b32",
        "v_readlane_b32",
        "v_movrels_b32",
        "v_movrelsd_b32",
        "v_movrelsd_2_b32",
    ];
    if names.contains(&i.op.name.as_str()) && i.sources()[0] < VGPR {
        return Err("an operand that has to be a vector register");
    }
    Ok(())
}

/// Lanes move only for operations that pass through 32 bits, and only in ways that exist.
pub(super) fn check_dpp(i: &Inst) -> Result<(), &'static str> {
    if matches!(i.ext, Ext::None | Ext::Literal(_)) {
        return Ok(());
    }
    let wide = i.op.dsts.iter().chain(&i.op.srcs).any(|k| k.regs() > 1);
    if i.sources().contains(&operand::LITERAL) {
        return Err("a literal where lanes move");
    }
    let first_only = i.op.has("plain") && i.op.name != "v_dot2acc_f32_f16";
    let scalar = i.layout.words == 2 && i.op.srcs.len() > 1 && i.sources()[1] < VGPR;
    if wide || first_only || scalar || i.op.has("fixed") {
        return Err("this operation cannot move lanes");
    }
    if let Ext::Dpp16(dpp) = i.ext {
        let ctrl = dpp.ctrl();
        let known = matches!(ctrl, 0..=0xFF | 0x101..=0x10F | 0x111..=0x11F | 0x121..=0x12F | 0x140 | 0x141 | 0x150..=0x16F);
        if !known || dpp.0 >> 17 & 1 != 0 {
            return Err("no such movement of lanes");
        }
        let long = i.layout.words == 2;
        let float = |n: usize| i.op.srcs.get(n).is_some_and(|k| k.is_float());
        let mods = dpp.negated() | dpp.absolute();
        if mods != 0 && (long || (mods & 1 != 0 && !float(0)) || (mods & 2 != 0 && !float(1))) {
            return Err("signs of operands that have none");
        }
    }
    Ok(())
}

pub(super) fn text(i: &Inst, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&i.op.name)?;
    match i.ext {
        Ext::Dpp16(_) | Ext::Dpp8 { .. } if i.op.family == Family::Vopc => {}
        Ext::Dpp16(_) | Ext::Dpp8 { .. } => f.write_str("_dpp")?,
        _ if i.op.has("plain") => {}
        _ => f.write_str("_e32")?,
    }
    let mut sep = " ";
    for (n, kind) in i.op.dsts.iter().enumerate() {
        let code = match kind {
            Kind::Mask => VCC,
            Kind::Scalar => i.get(Field::Vdst),
            _ => VGPR + i.get(Field::Vdst),
        };
        debug_assert!(n < 2);
        write!(f, "{sep}{}", Reg(code, kind.regs()))?;
        sep = ", ";
    }
    let (neg, abs) = match i.ext {
        Ext::Dpp16(dpp) => (dpp.negated(), dpp.absolute()),
        _ => (0, 0),
    };
    for (n, (&kind, code)) in i.op.srcs.iter().zip(i.sources()).enumerate() {
        f.write_str(sep)?;
        sep = ", ";
        if kind == Kind::Imm(Imm::Literal) {
            write!(f, "{}", Hex(i.literal()))?;
            continue;
        }
        let source = Source {
            code,
            kind,
            literal: i.literal(),
        };
        signed(f, &source, neg >> n & 1 != 0, abs >> n & 1 != 0)?;
    }
    movement(i, f)
}

/// The constant that `v_fmaak` and `v_fmamk` add or multiply with: as any literal of 32 bits.
pub(super) struct Hex(pub u32);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// An operand with its sign changed or removed. `neg(...)` is written where `-` would make another number of a constant.
pub(super) fn signed(
    f: &mut fmt::Formatter<'_>,
    source: &Source,
    neg: bool,
    abs: bool,
) -> fmt::Result {
    let constant = (128..=208).contains(&source.code)
        || (240..VGPR).contains(&source.code) && source.code != 253;
    let bars = if abs { "|" } else { "" };
    match (neg, constant) {
        (true, true) if !abs => write!(f, "neg({source})"),
        (true, _) => write!(f, "-{bars}{source}{bars}"),
        (false, _) => write!(f, "{bars}{source}{bars}"),
    }
}

/// How lanes of the first operand move.
pub(super) fn movement(i: &Inst, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match i.ext {
        Ext::Dpp16(dpp) => dpp16(dpp, f),
        Ext::Dpp8 {
            lanes,
            fetch_inactive,
            ..
        } => {
            let lanes: Vec<String> = (0..8).map(|n| (lanes >> (3 * n) & 7).to_string()).collect();
            write!(f, " dpp8:[{}]", lanes.join(","))?;
            if fetch_inactive {
                f.write_str(" fi:1")?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn dpp16(dpp: Dpp, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let ctrl = dpp.ctrl();
    let n = ctrl & 0xF;
    match ctrl {
        0..=0xFF => {
            let lane = |k: u32| ctrl >> (2 * k) & 3;
            let (a, b, c, d) = (lane(0), lane(1), lane(2), lane(3));
            write!(f, " quad_perm:[{a},{b},{c},{d}]")?;
        }
        0x100..=0x10F => write!(f, " row_shl:{n}")?,
        0x110..=0x11F => write!(f, " row_shr:{n}")?,
        0x120..=0x12F => write!(f, " row_ror:{n}")?,
        0x140 => f.write_str(" row_mirror")?,
        0x141 => f.write_str(" row_half_mirror")?,
        0x150..=0x15F => write!(f, " row_share:{n}")?,
        _ => write!(f, " row_xmask:{n}")?,
    }
    write!(
        f,
        " row_mask:{:#x} bank_mask:{:#x}",
        dpp.row_mask(),
        dpp.bank_mask()
    )?;
    if dpp.bound_ctrl() {
        f.write_str(" bound_ctrl:1")?;
    }
    if dpp.fetch_inactive() {
        f.write_str(" fi:1")?;
    }
    Ok(())
}
