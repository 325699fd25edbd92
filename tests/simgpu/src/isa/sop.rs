//! Scalar arithmetic: SOP1, SOP2, SOPC, SOPK. In: fields. Out: `s_add_u32 s0, s1, 0x1234`, `s_movk_i32 s4, 0x80`.

use super::op::{Family, Imm, Kind, Op, parse_rows};
use super::operand::{self, Reg, Source};
use super::{Field, Inst, sopp};
use std::fmt::{self, Display};

const SOP1: &str = "\
00 s_mov_b32 b32 = b32
01 s_mov_b64 b64 = b64
02 s_cmov_b32 b32 = b32
03 s_cmov_b64 b64 = b64
04 s_brev_b32 b32 = b32
05 s_brev_b64 b64 = b64
08 s_ctz_i32_b32 b32 = b32
09 s_ctz_i32_b64 b32 = b64
0a s_clz_i32_u32 b32 = b32
0b s_clz_i32_u64 b32 = b64
0c s_cls_i32 b32 = b32
0d s_cls_i32_i64 b32 = b64
0e s_sext_i32_i8 b32 = b32
0f s_sext_i32_i16 b32 = b32
10 s_bitset0_b32 b32 = b32
11 s_bitset0_b64 b64 = b32
12 s_bitset1_b32 b32 = b32
13 s_bitset1_b64 b64 = b32
14 s_bitreplicate_b64_b32 b64 = b32
15 s_abs_i32 b32 = b32
16 s_bcnt0_i32_b32 b32 = b32
17 s_bcnt0_i32_b64 b32 = b64
18 s_bcnt1_i32_b32 b32 = b32
19 s_bcnt1_i32_b64 b32 = b64
1a s_quadmask_b32 b32 = b32
1b s_quadmask_b64 b64 = b64
1c s_wqm_b32 b32 = b32
1d s_wqm_b64 b64 = b64
1e s_not_b32 b32 = b32
1f s_not_b64 b64 = b64
20 s_and_saveexec_b32 b32 = b32
21 s_and_saveexec_b64 b64 = b64
22 s_or_saveexec_b32 b32 = b32
23 s_or_saveexec_b64 b64 = b64
24 s_xor_saveexec_b32 b32 = b32
25 s_xor_saveexec_b64 b64 = b64
26 s_nand_saveexec_b32 b32 = b32
27 s_nand_saveexec_b64 b64 = b64
28 s_nor_saveexec_b32 b32 = b32
29 s_nor_saveexec_b64 b64 = b64
2a s_xnor_saveexec_b32 b32 = b32
2b s_xnor_saveexec_b64 b64 = b64
2c s_and_not0_saveexec_b32 b32 = b32
2d s_and_not0_saveexec_b64 b64 = b64
2e s_or_not0_saveexec_b32 b32 = b32
2f s_or_not0_saveexec_b64 b64 = b64
30 s_and_not1_saveexec_b32 b32 = b32
31 s_and_not1_saveexec_b64 b64 = b64
32 s_or_not1_saveexec_b32 b32 = b32
33 s_or_not1_saveexec_b64 b64 = b64
34 s_and_not0_wrexec_b32 b32 = b32
35 s_and_not0_wrexec_b64 b64 = b64
36 s_and_not1_wrexec_b32 b32 = b32
37 s_and_not1_wrexec_b64 b64 = b64
40 s_movrels_b32 b32 = b32
41 s_movrels_b64 b64 = b64
42 s_movreld_b32 b32 = b32
43 s_movreld_b64 b64 = b64
44 s_movrelsd_2_b32 b32 = b32
47 s_getpc_b64 b64 =
48 s_setpc_b64 = b64
49 s_swappc_b64 b64 = b64
4a s_rfe_b64 = b64
4c s_sendmsg_rtn_b32 b32 = #message
4d s_sendmsg_rtn_b64 b64 = #message";

const SOP2: &str = "\
00 s_add_u32 b32 = b32 b32
01 s_sub_u32 b32 = b32 b32
02 s_add_i32 b32 = b32 b32
03 s_sub_i32 b32 = b32 b32
04 s_addc_u32 b32 = b32 b32
05 s_subb_u32 b32 = b32 b32
06 s_absdiff_i32 b32 = b32 b32
08 s_lshl_b32 b32 = b32 b32
09 s_lshl_b64 b64 = b64 b32
0a s_lshr_b32 b32 = b32 b32
0b s_lshr_b64 b64 = b64 b32
0c s_ashr_i32 b32 = b32 b32
0d s_ashr_i64 b64 = b64 b32
0e s_lshl1_add_u32 b32 = b32 b32
0f s_lshl2_add_u32 b32 = b32 b32
10 s_lshl3_add_u32 b32 = b32 b32
11 s_lshl4_add_u32 b32 = b32 b32
12 s_min_i32 b32 = b32 b32
13 s_min_u32 b32 = b32 b32
14 s_max_i32 b32 = b32 b32
15 s_max_u32 b32 = b32 b32
16 s_and_b32 b32 = b32 b32
17 s_and_b64 b64 = b64 b64
18 s_or_b32 b32 = b32 b32
19 s_or_b64 b64 = b64 b64
1a s_xor_b32 b32 = b32 b32
1b s_xor_b64 b64 = b64 b64
1c s_nand_b32 b32 = b32 b32
1d s_nand_b64 b64 = b64 b64
1e s_nor_b32 b32 = b32 b32
1f s_nor_b64 b64 = b64 b64
20 s_xnor_b32 b32 = b32 b32
21 s_xnor_b64 b64 = b64 b64
22 s_and_not1_b32 b32 = b32 b32
23 s_and_not1_b64 b64 = b64 b64
24 s_or_not1_b32 b32 = b32 b32
25 s_or_not1_b64 b64 = b64 b64
26 s_bfe_u32 b32 = b32 b32
27 s_bfe_i32 b32 = b32 b32
28 s_bfe_u64 b64 = b64 b32
29 s_bfe_i64 b64 = b64 b32
2a s_bfm_b32 b32 = b32 b32
2b s_bfm_b64 b64 = b32 b32
2c s_mul_i32 b32 = b32 b32
2d s_mul_hi_u32 b32 = b32 b32
2e s_mul_hi_i32 b32 = b32 b32
30 s_cselect_b32 b32 = b32 b32
31 s_cselect_b64 b64 = b64 b64
32 s_pack_ll_b32_b16 b32 = b32 b32
33 s_pack_lh_b32_b16 b32 = b32 b32
34 s_pack_hh_b32_b16 b32 = b32 b32
35 s_pack_hl_b32_b16 b32 = b32 b32";

const SOPC: &str = "\
00 s_cmp_eq_i32 = b32 b32
01 s_cmp_lg_i32 = b32 b32
02 s_cmp_gt_i32 = b32 b32
03 s_cmp_ge_i32 = b32 b32
04 s_cmp_lt_i32 = b32 b32
05 s_cmp_le_i32 = b32 b32
06 s_cmp_eq_u32 = b32 b32
07 s_cmp_lg_u32 = b32 b32
08 s_cmp_gt_u32 = b32 b32
09 s_cmp_ge_u32 = b32 b32
0a s_cmp_lt_u32 = b32 b32
0b s_cmp_le_u32 = b32 b32
0c s_bitcmp0_b32 = b32 b32
0d s_bitcmp1_b32 = b32 b32
0e s_bitcmp0_b64 = b64 b32
0f s_bitcmp1_b64 = b64 b32
10 s_cmp_eq_u64 = b64 b64
11 s_cmp_lg_u64 = b64 b64";

const SOPK: &str = "\
00 s_movk_i32 b32 = #hex
02 s_cmovk_i32 b32 = #hex
03 s_cmpk_eq_i32 = b32 #hex
04 s_cmpk_lg_i32 = b32 #hex
05 s_cmpk_gt_i32 = b32 #hex
06 s_cmpk_ge_i32 = b32 #hex
07 s_cmpk_lt_i32 = b32 #hex
08 s_cmpk_le_i32 = b32 #hex
09 s_cmpk_eq_u32 = b32 #hex
0a s_cmpk_lg_u32 = b32 #hex
0b s_cmpk_gt_u32 = b32 #hex
0c s_cmpk_ge_u32 = b32 #hex
0d s_cmpk_lt_u32 = b32 #hex
0e s_cmpk_le_u32 = b32 #hex
0f s_addk_i32 b32 = #hex
10 s_mulk_i32 b32 = #hex
11 s_getreg_b32 b32 = #hwreg
12 s_setreg_b32 = #hwreg b32
13 s_setreg_imm32_b32 = #hwreg #literal
14 s_call_b64 b64 = #words
18 s_waitcnt_vscnt = b32 #hex
19 s_waitcnt_vmcnt = b32 #hex
1a s_waitcnt_expcnt = b32 #hex
1b s_waitcnt_lgkmcnt = b32 #hex";

pub(super) fn rows() -> Vec<Op> {
    [
        (Family::Sop1, SOP1),
        (Family::Sop2, SOP2),
        (Family::Sopc, SOPC),
        (Family::Sopk, SOPK),
    ]
    .into_iter()
    .flat_map(|(family, text)| parse_rows(family, text))
    .collect()
}

/// Where the operands of the row are: their codes. Constants get zero.
fn codes(i: &Inst) -> impl Iterator<Item = (Kind, u32)> {
    // With a constant in the instruction the only register stands where results do.
    let mut fields = match i.layout.family {
        Family::Sopk => [i.get(Field::Sdst), 0],
        _ => [i.get(Field::Src0), i.get(Field::Src1)],
    }
    .into_iter();
    i.op.srcs.iter().map(move |&kind| match kind {
        Kind::Imm(_) => (kind, 0),
        _ => (kind, fields.next().unwrap_or(0)),
    })
}

pub(super) fn check(i: &Inst) -> Result<(), &'static str> {
    for &kind in &i.op.dsts {
        operand::check(i.get(Field::Sdst), kind)?;
    }
    for (kind, code) in codes(i) {
        if !matches!(kind, Kind::Imm(_)) {
            operand::check(code, kind)?;
        }
    }
    let jump = [
        "s_movrels_b32",
        "s_movrels_b64",
        "s_movrelsd_2_b32",
        "s_setpc_b64",
        "s_swappc_b64",
        "s_rfe_b64",
    ]
    .contains(&i.op.name.as_str());
    if jump && i.get(Field::Src0) >= 128
        || i.op.srcs == [Kind::Imm(Imm::Message)] && i.get(Field::Src0) == 255
    {
        return Err("an operand that has to be a register");
    }
    let registers = codes(i).filter(|(k, _)| !matches!(k, Kind::Imm(_)));
    let free = match (i.layout.family, registers.count(), i.op.dsts.len()) {
        (Family::Sopk, 0, 0) => i.get(Field::Sdst) != 0,
        (Family::Sop1, n, d) => {
            let message = i.op.srcs.contains(&Kind::Imm(Imm::Message));
            (n == 0 && !message && i.get(Field::Src0) != 0) || (d == 0 && i.get(Field::Sdst) != 0)
        }
        _ => false,
    };
    if free {
        return Err("a field that has no meaning here");
    }
    Ok(())
}

pub(super) fn text(i: &Inst, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&i.op.name)?;
    let mut sep = " ";
    for kind in &i.op.dsts {
        write!(f, "{sep}{}", Reg(i.get(Field::Sdst), kind.regs()))?;
        sep = ", ";
    }
    for (kind, code) in codes(i) {
        f.write_str(sep)?;
        sep = ", ";
        let literal = i.literal();
        match kind {
            Kind::Imm(Imm::Literal) => operand::literal(literal, Kind::B32, f)?,
            Kind::Imm(Imm::Message) if i.layout.family == Family::Sop1 => {
                sopp::message(i.get(Field::Src0), f)?;
            }
            Kind::Imm(imm) => sopp::immediate(i.get(Field::Simm), imm, f)?,
            _ => {
                let source = Source {
                    code,
                    kind,
                    literal,
                };
                source.fmt(f)?;
            }
        }
    }
    Ok(())
}
