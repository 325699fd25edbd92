//! Scalar loads. In: fields. Out: `s_load_b128 s[4:7], s[0:1], 0x10`, `s_load_b32 s0, s[2:3], s5 offset:0x4`.

use super::op::{Family, Op, parse_rows};
use super::operand::{self, NULL, Reg};
use super::{Field, Inst};
use std::fmt::{self, Display};

const TABLE: &str = "\
00 s_load_b32 b32 = b64
01 s_load_b64 b64 = b64
02 s_load_b128 b128 = b64
03 s_load_b256 b256 = b64
04 s_load_b512 b512 = b64
08 s_buffer_load_b32 b32 = b128
09 s_buffer_load_b64 b64 = b128
0a s_buffer_load_b128 b128 = b128
0b s_buffer_load_b256 b256 = b128
0c s_buffer_load_b512 b512 = b128
20 s_gl1_inv =
21 s_dcache_inv =";

pub(super) fn rows() -> Vec<Op> {
    parse_rows(Family::Smem, TABLE)
}

pub(super) fn check(i: &Inst) -> Result<(), &'static str> {
    let (Some(&dst), Some(&base)) = (i.op.dsts.first(), i.op.srcs.first()) else {
        return match i.fields.iter().skip(1).all(|v| *v == 0) {
            true => Ok(()),
            false => Err("a field that has no meaning here"),
        };
    };
    operand::check(i.get(Field::Sdst), dst)?;
    if i.get(Field::Sdst) > NULL {
        return Err("M0 and EXEC cannot be loaded");
    }
    operand::check(i.get(Field::Sbase) * 2, base)
}

/// The constant part of the address.
fn offset(i: &Inst) -> i32 {
    (i.get(Field::Offset) as i32) << 11 >> 11
}

pub(super) fn text(i: &Inst, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&i.op.name)?;
    let (Some(dst), Some(base)) = (i.op.dsts.first(), i.op.srcs.first()) else {
        return Ok(());
    };
    let base = Reg(i.get(Field::Sbase) * 2, base.regs());
    write!(f, " {}, {base}, ", Reg(i.get(Field::Sdst), dst.regs()))?;
    let (register, constant) = (i.get(Field::Soffset), offset(i));
    let sign = if constant < 0 { "-" } else { "" };
    match (register, constant) {
        (_, 0) => Reg(register, 1).fmt(f)?,
        (NULL, n) => write!(f, "{sign}{:#x}", n.unsigned_abs())?,
        (r, n) => write!(f, "{} offset:{sign}{:#x}", Reg(r, 1), n.unsigned_abs())?,
    }
    for (field, name) in [(Field::Glc, " glc"), (Field::Dlc, " dlc")] {
        if i.get(field) != 0 {
            f.write_str(name)?;
        }
    }
    Ok(())
}
