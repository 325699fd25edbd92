//! Packed, mixed and matrix arithmetic: VOP3P. In: fields. Out: `v_pk_fma_f16 v0, v1, v2, v3 op_sel_hi:[1,0,1]`,
//! `v_fma_mix_f32 v0, v1, -v2, v3 op_sel_hi:[1,0,0]`, `v_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]`.

use super::op::{Family, Op, parse_rows};
use super::operand::{self, Reg, Source, VGPR};
use super::vop::{check_dpp, movement, signed};
use super::vop3::list;
use super::{Ext, Field, Inst};
use std::fmt;

const TABLE: &str = "\
00 v_pk_mad_i16 b32 = b32 b32 b32
01 v_pk_mul_lo_u16 b32 = b32 b32
02 v_pk_add_i16 b32 = b32 b32
03 v_pk_sub_i16 b32 = b32 b32
04 v_pk_lshlrev_b16 b32 = b32 b32
05 v_pk_lshrrev_b16 b32 = b32 b32
06 v_pk_ashrrev_i16 b32 = b32 b32
07 v_pk_max_i16 b32 = b32 b32
08 v_pk_min_i16 b32 = b32 b32
09 v_pk_mad_u16 b32 = b32 b32 b32
0a v_pk_add_u16 b32 = b32 b32
0b v_pk_sub_u16 b32 = b32 b32
0c v_pk_max_u16 b32 = b32 b32
0d v_pk_min_u16 b32 = b32 b32
0e v_pk_fma_f16 h2 = h2 h2 h2
0f v_pk_add_f16 h2 = h2 h2
10 v_pk_mul_f16 h2 = h2 h2
11 v_pk_min_f16 h2 = h2 h2
12 v_pk_max_f16 h2 = h2 h2
13 v_dot2_f32_f16 f32 = h2 h2 f32
16 v_dot4_i32_iu8 b32 = b32 b32 b32 +neglo
17 v_dot4_u32_u8 b32 = b32 b32 b32
18 v_dot8_i32_iu4 b32 = b32 b32 b32 +neglo
19 v_dot8_u32_u4 b32 = b32 b32 b32
1a v_dot2_f32_bf16 f32 = h2 h2 f32
20 v_fma_mix_f32 f32 = f16 f16 f16 +mix
21 v_fma_mixlo_f16 f16 = f16 f16 f16 +mix
22 v_fma_mixhi_f16 f16 = f16 f16 f16 +mix
40 v_wmma_f32_16x16x16_f16 b256 = b256 b256 b256 +wmma
41 v_wmma_f32_16x16x16_bf16 b256 = b256 b256 b256 +wmma
42 v_wmma_f16_16x16x16_f16 b256 = b256 b256 b256 +wmma
43 v_wmma_bf16_16x16x16_bf16 b256 = b256 b256 b256 +wmma
44 v_wmma_i32_16x16x16_iu8 b256 = b128 b128 b256 +wmma +neglo
45 v_wmma_i32_16x16x16_iu4 b256 = b64 b64 b256 +wmma +neglo";

pub(super) fn rows() -> Vec<Op> {
    parse_rows(Family::Vop3p, TABLE)
}

impl Inst {
    /// Which halves go into the upper half of the result, a bit for each operand.
    pub fn op_sel_hi(&self) -> u32 {
        self.get(Field::OpSelHi) | self.get(Field::OpSelHi2) << 2
    }
}

pub(super) fn check(i: &Inst) -> Result<(), &'static str> {
    for &kind in &i.op.dsts {
        operand::check(VGPR + i.get(Field::Vdst), kind)?;
    }
    let wmma = i.op.has("wmma");
    for (n, (&kind, code)) in i.op.srcs.iter().zip(i.sources()).enumerate() {
        let constant = matches!(code, 128..=208 | 240..=248);
        if wmma && code < VGPR && !(n == 2 && constant) {
            return Err("a matrix outside of vector registers");
        }
        operand::check(code, kind)?;
    }
    let n = i.op.srcs.len() as u32;
    let signs = i.get(Field::Neg) | i.get(Field::NegHi) | i.get(Field::OpSel);
    if n == 2 && (i.get(Field::Src2) != 0 || signs >> 2 != 0 || i.get(Field::OpSelHi2) == 0) {
        return Err("an operand where there is none");
    }
    let dots = [
        "v_dot2_f32_f16",
        "v_fma_mix_f32",
        "v_fma_mixlo_f16",
        "v_fma_mixhi_f16",
    ];
    if !matches!(i.ext, Ext::None | Ext::Literal(_)) && !dots.contains(&i.op.name.as_str()) {
        return Err("this operation cannot move lanes");
    }
    // Matrices of whole registers have no halves; those of halves choose the half of the result.
    let halves = i.op.name.starts_with("v_wmma_f16") || i.op.name.starts_with("v_wmma_bf16");
    let other = i.op_sel_hi() != 7 || i.get(Field::OpSel) & !if halves { 4 } else { 0 } != 0;
    if wmma && (other || (i.get(Field::Clamp) != 0 && !i.op.has("neglo"))) {
        return Err("a choice that a matrix does not have");
    }
    check_dpp(i)
}

pub(super) fn text(i: &Inst, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&i.op.name)?;
    if matches!(i.ext, Ext::Dpp16(_) | Ext::Dpp8 { .. }) {
        f.write_str("_e64_dpp")?;
    }
    let mut sep = " ";
    for kind in &i.op.dsts {
        write!(f, "{sep}{}", Reg(VGPR + i.get(Field::Vdst), kind.regs()))?;
        sep = ", ";
    }
    let mix = i.op.has("mix");
    let (neg, neg_hi) = (i.get(Field::Neg), i.get(Field::NegHi));
    for (n, (&kind, code)) in i.op.srcs.iter().zip(i.sources()).enumerate() {
        f.write_str(sep)?;
        let source = Source {
            code,
            kind,
            literal: i.literal(),
        };
        // Mixed operands are single ones: what negates upper halves elsewhere is the absolute value here.
        let bit = |v: u32| mix && v >> n & 1 != 0;
        signed(f, &source, bit(neg), bit(neg_hi))?;
    }
    let n = i.op.srcs.len() as u32;
    let bits: Vec<u32> = (0..n).collect();
    let all = (1 << n) - 1;
    if i.get(Field::OpSel) != 0 {
        list(f, "op_sel", i.get(Field::OpSel), &bits)?;
    }
    let hi = i.op_sel_hi() & all;
    if hi != if mix { 0 } else { all } {
        list(f, "op_sel_hi", hi, &bits)?;
    }
    if !mix && neg != 0 {
        list(f, "neg_lo", neg, &bits)?;
    }
    if !mix && neg_hi != 0 {
        list(f, "neg_hi", neg_hi, &bits)?;
    }
    if i.get(Field::Clamp) != 0 {
        f.write_str(" clamp")?;
    }
    movement(i, f)
}
