//! Two operations in one instruction: VOPD. In: fields. Out: `v_dual_mul_f32 v0, v1, v2 :: v_dual_add_f32 v3, v5, v6`.

use super::op::{Family, Kind, Op, parse_rows};
use super::operand::{self, Reg, Source, VGPR};
use super::vop::Hex;
use super::{Field, Inst};
use std::fmt;

const TABLE: &str = "\
00 v_dual_fmac_f32 f32 = f32 f32
01 v_dual_fmaak_f32 f32 = f32 f32 #literal
02 v_dual_fmamk_f32 f32 = f32 #literal f32
03 v_dual_mul_f32 f32 = f32 f32
04 v_dual_add_f32 f32 = f32 f32
05 v_dual_sub_f32 f32 = f32 f32
06 v_dual_subrev_f32 f32 = f32 f32
07 v_dual_mul_dx9_zero_f32 f32 = f32 f32
08 v_dual_mov_b32 b32 = b32
09 v_dual_cndmask_b32 b32 = f32 f32
0a v_dual_max_f32 f32 = f32 f32
0b v_dual_min_f32 f32 = f32 f32
0c v_dual_dot2acc_f32_f16 f32 = h2 h2
10 v_dual_add_nc_u32 b32 = b32 b32
11 v_dual_lshlrev_b32 b32 = b32 b32
12 v_dual_and_b32 b32 = b32 b32";

/// Codes from here on are for the second operation only.
const SECOND_ONLY: u16 = 16;

pub(super) fn rows() -> Vec<Op> {
    parse_rows(Family::Vopd, TABLE)
}

/// One of the two operations.
#[derive(Clone, Copy)]
pub struct Half {
    /// What it does.
    pub op: &'static Op,
    /// Number of the vector register that gets the result.
    pub vdst: u32,
    /// Codes of its operands.
    pub srcs: [u32; 2],
}

impl Inst {
    /// Both operations of a dual instruction.
    pub fn halves(&self) -> Option<[Half; 2]> {
        let vdst = self.get(Field::Vdst);
        Some([
            Half {
                op: self.op,
                vdst,
                srcs: [self.get(Field::Src0), VGPR + self.get(Field::Src1)],
            },
            Half {
                op: self.op_y?,
                // The lowest bit is not stored: it differs from the other result's.
                vdst: self.get(Field::VdstY) << 1 | (!vdst & 1),
                srcs: [self.get(Field::Src0Y), VGPR + self.get(Field::Src1Y)],
            },
        ])
    }
}

pub(super) fn check(i: &Inst) -> Result<(), &'static str> {
    if i.op.code >= SECOND_ONLY {
        return Err("no such first opcode");
    }
    for half in i.halves().iter().flatten() {
        let mut registers = half.srcs.iter();
        for &kind in half.op.srcs.iter().filter(|k| !matches!(k, Kind::Imm(_))) {
            operand::check(registers.next().copied().unwrap_or(0), kind)?;
        }
        if registers.any(|r| *r != VGPR) {
            return Err("an operand where there is none");
        }
    }
    Ok(())
}

pub(super) fn text(i: &Inst, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (n, half) in i.halves().iter().flatten().enumerate() {
        if n > 0 {
            f.write_str(" :: ")?;
        }
        write!(f, "{} {}", half.op.name, Reg(VGPR + half.vdst, 1))?;
        let mut registers = half.srcs.into_iter();
        for &kind in &half.op.srcs {
            if matches!(kind, Kind::Imm(_)) {
                write!(f, ", {}", Hex(i.literal()))?;
                continue;
            }
            let source = Source {
                code: registers.next().unwrap_or(0),
                kind,
                literal: i.literal(),
            };
            write!(f, ", {source}")?;
        }
    }
    Ok(())
}
