//! Vector arithmetic in its long encoding: VOP3, and VOP1, VOP2, VOPC with any operands. In: fields. Out:
//! `v_fma_f32 v0, -v1, |v2|, 1.0 clamp mul:2`, `v_cmp_lt_f32_e64 s0, v1, v2`, `v_div_scale_f32 v0, vcc_lo, v1, v2, v1`.

use super::op::{Family, Kind, Op, parse_rows};
use super::operand::{self, Reg, Source, VGPR};
use super::vop::{check_dpp, check_register, movement, signed};
use super::{Ext, Field, Inst};
use std::fmt;

const TABLE: &str = "\
209 v_fma_dx9_zero_f32 f32 = f32 f32 f32 +fixed
20a v_mad_i32_i24 b32 = b32 b32 b32 +clamp
20b v_mad_u32_u24 b32 = b32 b32 b32 +clamp
20c v_cubeid_f32 f32 = f32 f32 f32
20d v_cubesc_f32 f32 = f32 f32 f32
20e v_cubetc_f32 f32 = f32 f32 f32
20f v_cubema_f32 f32 = f32 f32 f32
210 v_bfe_u32 b32 = b32 b32 b32
211 v_bfe_i32 b32 = b32 b32 b32
212 v_bfi_b32 b32 = b32 b32 b32
213 v_fma_f32 f32 = f32 f32 f32
214 v_fma_f64 f64 = f64 f64 f64
215 v_lerp_u8 b32 = b32 b32 b32
216 v_alignbit_b32 b32 = b32 b32 b32
217 v_alignbyte_b32 b32 = b32 b32 b32
218 v_mullit_f32 f32 = f32 f32 f32
219 v_min3_f32 f32 = f32 f32 f32
21a v_min3_i32 b32 = b32 b32 b32
21b v_min3_u32 b32 = b32 b32 b32
21c v_max3_f32 f32 = f32 f32 f32
21d v_max3_i32 b32 = b32 b32 b32
21e v_max3_u32 b32 = b32 b32 b32
21f v_med3_f32 f32 = f32 f32 f32
220 v_med3_i32 b32 = b32 b32 b32
221 v_med3_u32 b32 = b32 b32 b32
222 v_sad_u8 b32 = b32 b32 b32 +clamp
223 v_sad_hi_u8 b32 = b32 b32 b32 +clamp
224 v_sad_u16 b32 = b32 b32 b32 +clamp
225 v_sad_u32 b32 = b32 b32 b32 +clamp
226 v_cvt_pk_u8_f32 b32 = f32 b32 b32
227 v_div_fixup_f32 f32 = f32 f32 f32 +fixed
228 v_div_fixup_f64 f64 = f64 f64 f64
237 v_div_fmas_f32 f32 = f32 f32 f32 +fixed
238 v_div_fmas_f64 f64 = f64 f64 f64
239 v_msad_u8 b32 = b32 b32 b32 +clamp
23a v_qsad_pk_u16_u8 b64 = b64 b32 b64 +clamp
23b v_mqsad_pk_u16_u8 b64 = b64 b32 b64 +clamp
240 v_xor3_b32 b32 = b32 b32 b32
241 v_mad_u16 b16 = b16 b16 b16 +sel +clamp
244 v_perm_b32 b32 = b32 b32 b32
245 v_xad_u32 b32 = b32 b32 b32
246 v_lshl_add_u32 b32 = b32 b32 b32
247 v_add_lshl_u32 b32 = b32 b32 b32
248 v_fma_f16 f16 = f16 f16 f16 +sel
249 v_min3_f16 f16 = f16 f16 f16 +sel
24a v_min3_i16 b16 = b16 b16 b16 +sel +clamp
24b v_min3_u16 b16 = b16 b16 b16 +sel +clamp
24c v_max3_f16 f16 = f16 f16 f16 +sel
24d v_max3_i16 b16 = b16 b16 b16 +sel +clamp
24e v_max3_u16 b16 = b16 b16 b16 +sel +clamp
24f v_med3_f16 f16 = f16 f16 f16 +sel
250 v_med3_i16 b16 = b16 b16 b16 +sel +clamp
251 v_med3_u16 b16 = b16 b16 b16 +sel +clamp
253 v_mad_i16 b16 = b16 b16 b16 +sel +clamp
254 v_div_fixup_f16 f16 = f16 f16 f16 +sel
255 v_add3_u32 b32 = b32 b32 b32
256 v_lshl_or_b32 b32 = b32 b32 b32
257 v_and_or_b32 b32 = b32 b32 b32
258 v_or3_b32 b32 = b32 b32 b32
259 v_mad_u32_u16 b32 = b16 b16 b32 +sel +clamp
25a v_mad_i32_i16 b32 = b16 b16 b32 +sel +clamp
25b v_permlane16_b32 b32 = b32 s s +sel +fixed
25c v_permlanex16_b32 b32 = b32 s s +sel +fixed
25e v_maxmin_f32 f32 = f32 f32 f32
25f v_minmax_f32 f32 = f32 f32 f32
260 v_maxmin_f16 f16 = f16 f16 f16
261 v_minmax_f16 f16 = f16 f16 f16
262 v_maxmin_u32 b32 = b32 b32 b32
263 v_minmax_u32 b32 = b32 b32 b32
264 v_maxmin_i32 b32 = b32 b32 b32
265 v_minmax_i32 b32 = b32 b32 b32
266 v_dot2_f16_f16 f16 = h2 h2 f16 +sel
2fc v_div_scale_f32 f32 m = f32 f32 f32 +fixed
2fd v_div_scale_f64 f64 m = f64 f64 f64
2fe v_mad_u64_u32 b64 m = b32 b32 b64 +clamp
2ff v_mad_i64_i32 b64 m = b32 b32 b64 +clamp
300 v_add_co_u32 b32 m = b32 b32 +clamp
301 v_sub_co_u32 b32 m = b32 b32 +clamp
302 v_subrev_co_u32 b32 m = b32 b32 +clamp
303 v_add_nc_u16 b16 = b16 b16 +sel +clamp
304 v_sub_nc_u16 b16 = b16 b16 +sel +clamp
305 v_mul_lo_u16 b16 = b16 b16
306 v_cvt_pk_i16_f32 b32 = f32 f32
307 v_cvt_pk_u16_f32 b32 = f32 f32
309 v_max_u16 b16 = b16 b16
30a v_max_i16 b16 = b16 b16
30b v_min_u16 b16 = b16 b16
30c v_min_i16 b16 = b16 b16
30d v_add_nc_i16 b16 = b16 b16 +sel +clamp
30e v_sub_nc_i16 b16 = b16 b16 +sel +clamp
311 v_pack_b32_f16 b32 = f16 f16 +sel
312 v_cvt_pk_norm_i16_f16 b32 = f16 f16 +sel
313 v_cvt_pk_norm_u16_f16 b32 = f16 f16 +sel
31c v_ldexp_f32 f32 = f32 b32
31d v_bfm_b32 b32 = b32 b32
31e v_bcnt_u32_b32 b32 = b32 b32
31f v_mbcnt_lo_u32_b32 b32 = b32 b32
320 v_mbcnt_hi_u32_b32 b32 = b32 b32
321 v_cvt_pk_norm_i16_f32 b32 = f32 f32
322 v_cvt_pk_norm_u16_f32 b32 = f32 f32
323 v_cvt_pk_u16_u32 b32 = b32 b32
324 v_cvt_pk_i16_i32 b32 = b32 b32
325 v_sub_nc_i32 b32 = b32 b32 +clamp
326 v_add_nc_i32 b32 = b32 b32 +clamp
327 v_add_f64 f64 = f64 f64
328 v_mul_f64 f64 = f64 f64
329 v_min_f64 f64 = f64 f64
32a v_max_f64 f64 = f64 f64
32b v_ldexp_f64 f64 = f64 b32
32c v_mul_lo_u32 b32 = b32 b32 +fixed
32d v_mul_hi_u32 b32 = b32 b32 +fixed
32e v_mul_hi_i32 b32 = b32 b32 +fixed
32f v_trig_preop_f64 f64 = f64 b32
338 v_lshlrev_b16 b16 = b16 b16
339 v_lshrrev_b16 b16 = b16 b16
33a v_ashrrev_i16 b16 = b16 b16
33c v_lshlrev_b64 b64 = b32 b64
33d v_lshrrev_b64 b64 = b32 b64
33e v_ashrrev_i64 b64 = b32 b64
360 v_readlane_b32 s = b32 s +fixed
361 v_writelane_b32 b32 = s s +fixed
362 v_and_b16 b16 = b16 b16
363 v_or_b16 b16 = b16 b16
364 v_xor_b16 b16 = b16 b16";

pub(super) fn rows() -> Vec<Op> {
    parse_rows(Family::Vop3, TABLE)
}

/// The code of the main result.
fn result(i: &Inst, kind: Kind) -> u32 {
    match kind {
        Kind::Mask | Kind::Scalar => i.get(Field::Vdst),
        _ => VGPR + i.get(Field::Vdst),
    }
}

/// EXEC, which `v_cmpx` names as its result.
const EXEC: u32 = 126;

pub(super) fn check(i: &Inst) -> Result<(), &'static str> {
    match i.op.dsts.first() {
        Some(&kind) => {
            if result(i, kind) < VGPR && i.get(Field::Vdst) >= 128 {
                return Err("a result that is no scalar register");
            }
            operand::check(result(i, kind), kind)?;
        }
        None if i.get(Field::Vdst) != EXEC => return Err("a result where there is none"),
        None => {}
    }
    for (n, (&kind, code)) in i.op.srcs.iter().zip(i.sources()).enumerate() {
        operand::check(code, kind)?;
        let plain = !kind.is_float() || (n == 1 && i.op.name == "v_ldexp_f16");
        let bits = i.get(Field::Neg) | i.get(Field::Abs);
        if plain && bits >> n & 1 != 0 {
            return Err("the sign of an operand that has none");
        }
    }
    let n = i.op.srcs.len() as u32;
    for (field, at) in [(Field::Src0, 0), (Field::Src1, 1), (Field::Src2, 2)] {
        if n <= at && i.get(field) != 0 {
            return Err("an operand where there is none");
        }
    }
    if (i.get(Field::Neg) | i.get(Field::Abs)) >> n != 0 {
        return Err("the sign of an operand that is none");
    }
    check_result(i)?;
    check_register(i)?;
    let halves = i.get(Field::OpSel);
    let meant = match (i.op.has("sel"), i.op.name.as_str()) {
        (false, _) => 0,
        (_, "v_permlane16_b32" | "v_permlanex16_b32") => 3,
        (_, "v_dot2_f16_f16") => 0b1100,
        _ => 8 | ((1 << n) - 1),
    };
    if halves & !meant != 0 {
        return Err("halves of operands that have none");
    }
    check_dpp(i)
}

/// Results are clamped and multiplied where they are floats; some integer operations saturate.
fn check_result(i: &Inst) -> Result<(), &'static str> {
    let name = i.op.name.as_str();
    let float = |k: &Kind| k.is_float();
    let dots = ["v_dot2_f16_f16", "v_cndmask_b32"];
    let special = dots.contains(&name) || name.contains("_class_");
    let floats = !special && i.op.dsts.iter().chain(&i.op.srcs).any(float);
    if i.get(Field::Clamp) != 0 && !floats && !i.op.has("clamp") {
        return Err("a result that does not saturate");
    }
    if i.get(Field::Omod) != 0 && (special || !i.op.dsts.first().is_some_and(float)) {
        return Err("a result that is not multiplied");
    }
    Ok(())
}

pub(super) fn text(i: &Inst, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&i.op.name)?;
    if i.is_promoted() || !matches!(i.ext, Ext::None | Ext::Literal(_)) {
        f.write_str("_e64")?;
    }
    if matches!(i.ext, Ext::Dpp16(_) | Ext::Dpp8 { .. }) {
        f.write_str("_dpp")?;
    }
    let mut sep = " ";
    for (n, &kind) in i.op.dsts.iter().enumerate() {
        let code = match n {
            0 => result(i, kind),
            _ => i.get(Field::Sdst),
        };
        write!(f, "{sep}{}", Reg(code, kind.regs()))?;
        sep = ", ";
    }
    let (neg, abs) = (i.get(Field::Neg), i.get(Field::Abs));
    for (n, (&kind, code)) in i.op.srcs.iter().zip(i.sources()).enumerate() {
        f.write_str(sep)?;
        sep = ", ";
        let source = Source {
            code,
            kind,
            literal: i.literal(),
        };
        signed(f, &source, neg >> n & 1 != 0, abs >> n & 1 != 0)?;
    }
    let halves = i.get(Field::OpSel);
    if halves != 0 {
        let mut bits: Vec<u32> = (0..i.op.srcs.len() as u32).collect();
        match i.op.name.starts_with("v_permlane") {
            true => bits.truncate(2),
            false => bits.push(3),
        }
        if i.op.name == "v_fmac_f16" {
            bits = vec![0, 1, 2, 3]; // its result is an operand too
        }
        list(f, "op_sel", halves, &bits)?;
    }
    if i.get(Field::Clamp) != 0 {
        f.write_str(" clamp")?;
    }
    f.write_str(["", " mul:2", " mul:4", " div:2"][i.get(Field::Omod) as usize & 3])?;
    movement(i, f)
}

/// A list of bits: ` op_sel:[0,1,0]`.
pub(super) fn list(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    value: u32,
    bits: &[u32],
) -> fmt::Result {
    let bits: Vec<String> = bits.iter().map(|b| (value >> b & 1).to_string()).collect();
    write!(f, " {name}:[{}]", bits.join(","))
}
