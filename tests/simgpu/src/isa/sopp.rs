//! Program flow and waiting: SOPP, and the constants of its instructions. In: fields. Out: `s_waitcnt vmcnt(0)`,
//! `s_delay_alu instid0(VALU_DEP_1) | instskip(NEXT) | instid1(VALU_DEP_1)`, `s_cbranch_scc1 65520`.

use super::op::{Family, Imm, Kind, Op, parse_rows};
use super::operand;
use super::{Field, Inst};
use std::fmt::{self, Display};

const TABLE: &str = "\
00 s_nop = #short
01 s_setkill = #short
02 s_sethalt = #short
03 s_sleep = #short
04 s_set_inst_prefetch_distance = #hex
05 s_clause = #hex
07 s_delay_alu = #delay
08 s_waitcnt_depctr = #depctr
09 s_waitcnt = #wait
0a s_wait_idle = #none
0b s_wait_event = #hex
10 s_trap = #short
11 s_round_mode = #hex
12 s_denorm_mode = #short
1f s_code_end = #none
20 s_branch = #words
21 s_cbranch_scc0 = #words
22 s_cbranch_scc1 = #words
23 s_cbranch_vccz = #words
24 s_cbranch_vccnz = #words
25 s_cbranch_execz = #words
26 s_cbranch_execnz = #words
27 s_cbranch_cdbgsys = #words
28 s_cbranch_cdbguser = #words
29 s_cbranch_cdbgsys_or_user = #words
2a s_cbranch_cdbgsys_and_user = #words
30 s_endpgm = #end
31 s_endpgm_saved = #none
34 s_wakeup = #none
35 s_setprio = #short
36 s_sendmsg = #message
37 s_sendmsghalt = #message
38 s_incperflevel = #short
39 s_decperflevel = #short
3a s_ttracedata = #none
3b s_ttracedata_imm = #hex
3c s_icache_inv = #none
3d s_barrier = #none";

/// Registers of the hardware by number.
const HW_REGS: &[(u32, &str)] = &[
    (1, "HW_REG_MODE"),
    (2, "HW_REG_STATUS"),
    (3, "HW_REG_TRAPSTS"),
    (5, "HW_REG_GPR_ALLOC"),
    (6, "HW_REG_LDS_ALLOC"),
    (7, "HW_REG_IB_STS"),
    (15, "HW_REG_SH_MEM_BASES"),
    (18, "HW_REG_PERF_SNAPSHOT_PC_LO"),
    (19, "HW_REG_PERF_SNAPSHOT_PC_HI"),
    (20, "HW_REG_FLAT_SCR_LO"),
    (21, "HW_REG_FLAT_SCR_HI"),
    (23, "HW_REG_HW_ID1"),
    (24, "HW_REG_HW_ID2"),
    (27, "HW_REG_PERF_SNAPSHOT_DATA"),
    (29, "HW_REG_SHADER_CYCLES"),
];

/// Messages by number.
const MESSAGES: &[(u32, &str)] = &[
    (1, "MSG_INTERRUPT"),
    (2, "MSG_HS_TESSFACTOR"),
    (3, "MSG_DEALLOC_VGPRS"),
    (5, "MSG_STALL_WAVE_GEN"),
    (6, "MSG_HALT_WAVES"),
    (9, "MSG_GS_ALLOC_REQ"),
    (128, "MSG_RTN_GET_DOORBELL"),
    (129, "MSG_RTN_GET_DDID"),
    (130, "MSG_RTN_GET_TMA"),
    (131, "MSG_RTN_GET_REALTIME"),
    (132, "MSG_RTN_SAVE_WAVE"),
    (133, "MSG_RTN_GET_TBA"),
    (134, "MSG_RTN_GET_TBA_TO_PC"),
];

/// Fields of `s_waitcnt_depctr`: name, lowest bit, width, in the order of the text.
const DEPCTR: &[(&str, u32, u32)] = &[
    ("hold_cnt", 7, 1),
    ("sa_sdst", 0, 1),
    ("va_vdst", 12, 4),
    ("va_sdst", 9, 3),
    ("va_ssrc", 8, 1),
    ("va_vcc", 1, 1),
    ("vm_vsrc", 2, 3),
];

pub(super) fn rows() -> Vec<Op> {
    parse_rows(Family::Sopp, TABLE)
}

pub(super) fn check(i: &Inst) -> Result<(), &'static str> {
    let value = i.get(Field::Simm);
    let known = match i.op.srcs.first() {
        Some(Kind::Imm(Imm::None)) => value == 0,
        Some(Kind::Imm(Imm::Delay)) => {
            value >> 11 == 0 && value & 15 < 12 && value >> 7 < 12 && value >> 4 & 7 < 6
        }
        Some(Kind::Imm(Imm::Wait)) => value & 8 == 0,
        Some(Kind::Imm(Imm::Message)) => value < 256,
        _ => true,
    };
    known.then_some(()).ok_or("a constant without a meaning")
}

pub(super) fn text(i: &Inst, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&i.op.name)?;
    let value = i.get(Field::Simm);
    for kind in &i.op.srcs {
        let &Kind::Imm(imm) = kind else { continue };
        if imm == Imm::None || (imm == Imm::End && value == 0) {
            continue;
        }
        f.write_str(" ")?;
        immediate(value, imm, f)?;
    }
    Ok(())
}

/// A constant of sixteen bits.
pub(super) fn immediate(value: u32, imm: Imm, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match imm {
        Imm::Short => operand::literal(value, Kind::B32, f),
        Imm::Hex => write!(f, "{value:#x}"),
        Imm::Words | Imm::End => value.fmt(f),
        Imm::Wait => wait(value, f),
        Imm::Delay => delay(value, f),
        Imm::Depctr => depctr(value, f),
        Imm::Message => message(value, f),
        Imm::HwReg => hw_reg(value, f),
        Imm::None | Imm::Literal => Ok(()),
    }
}

/// Counters that are waited for; all when none is.
fn wait(value: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let counters = [
        ("vmcnt", value >> 10 & 63, 63),
        ("expcnt", value & 7, 7),
        ("lgkmcnt", value >> 4 & 63, 63),
    ];
    let all = counters.iter().all(|&(_, v, max)| v == max);
    let mut sep = "";
    for (name, v, max) in counters {
        if all || v != max {
            write!(f, "{sep}{name}({v})")?;
            sep = " ";
        }
    }
    Ok(())
}

/// What the next instructions wait for.
fn delay(value: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let id = |n: u32| match n {
        1..=4 => format!("VALU_DEP_{n}"),
        5..=7 => format!("TRANS32_DEP_{}", n - 4),
        8 => "FMA_ACCUM_CYCLE_1".to_string(),
        _ => format!("SALU_CYCLE_{}", n - 8),
    };
    let (first, skip, second) = (value & 15, value >> 4 & 7, value >> 7 & 15);
    let mut parts = Vec::new();
    if first != 0 {
        parts.push(format!("instid0({})", id(first)));
    }
    match skip {
        0 => {}
        1 => parts.push("instskip(NEXT)".to_string()),
        n => parts.push(format!("instskip(SKIP_{})", n - 1)),
    }
    if second != 0 {
        parts.push(format!("instid1({})", id(second)));
    }
    if parts.is_empty() {
        return f.write_str("0");
    }
    f.write_str(&parts.join(" | "))
}

/// The fields that differ from their highest value. A number when unused bits are not as they always are.
fn depctr(value: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let unused = 0x60;
    let unusual = value & unused != 0;
    let fields = DEPCTR.iter().map(|&(name, low, width)| {
        let max = (1 << width) - 1;
        (name, value >> low & max, max)
    });
    if unusual {
        return write!(f, "{value:#x}");
    }
    let all = fields.clone().all(|(_, v, max)| v == max);
    let mut sep = "";
    for (name, v, max) in fields {
        if all || v != max {
            write!(f, "{sep}depctr_{name}({v})")?;
            sep = " ";
        }
    }
    Ok(())
}

/// A message to the rest of the chip.
pub(super) fn message(value: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match MESSAGES.iter().find(|m| m.0 == value) {
        Some((_, name)) => write!(f, "sendmsg({name})"),
        None => write!(f, "sendmsg({value}, 0, 0)"),
    }
}

/// Bits of a register of the hardware.
fn hw_reg(value: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (id, offset, size) = (value & 63, value >> 6 & 31, (value >> 11) + 1);
    f.write_str("hwreg(")?;
    match HW_REGS.iter().find(|r| r.0 == id) {
        Some((_, name)) => f.write_str(name)?,
        None => id.fmt(f)?,
    }
    if offset != 0 || size != 32 {
        write!(f, ", {offset}, {size}")?;
    }
    f.write_str(")")
}
