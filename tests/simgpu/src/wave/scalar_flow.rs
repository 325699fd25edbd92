//! Branches, barriers, waits. In: SOPP instructions. Out: actions.

use super::lower::{Action, Condition};
use super::waits::Counter;
use super::{EXEC, Mode, VCC};
use crate::isa::{Field, Inst};

/// The wave keeps its state: what an instruction that only waits does.
pub(super) fn lower(i: &Inst) -> Result<Action, &'static str> {
    let value = i.get(Field::Simm);
    let words = value as u16 as i16;
    let branch = |c: Condition| Ok(Action::Branch(c, words));
    match i.op.name.as_str() {
        "s_branch" => branch(|_| true),
        "s_cbranch_scc0" => branch(|w| !w.scc),
        "s_cbranch_scc1" => branch(|w| w.scc),
        "s_cbranch_vccz" => branch(|w| w.s[VCC] == 0),
        "s_cbranch_vccnz" => branch(|w| w.s[VCC] != 0),
        "s_cbranch_execz" => branch(|w| w.s[EXEC] == 0),
        "s_cbranch_execnz" => branch(|w| w.s[EXEC] != 0),
        // No debugger is there.
        n if n.starts_with("s_cbranch_cdbg") => branch(|_| false),
        "s_endpgm" => Ok(Action::End),
        "s_barrier" => Ok(Action::Barrier),
        "s_round_mode" => Ok(Action::Run(Box::new(move |w, _| {
            w.mode = Mode::of(w.mode.bits & !0xF | value & 0xF);
            Ok(())
        }))),
        "s_denorm_mode" => Ok(Action::Run(Box::new(move |w, _| {
            w.mode = Mode::of(w.mode.bits & !0xF0 | (value & 0xF) << 4);
            Ok(())
        }))),
        "s_waitcnt" => Ok(Action::Run(Box::new(move |w, _| {
            w.wait(Counter::Vector, value >> 10 & 63);
            w.wait(Counter::Local, value >> 4 & 63);
            Ok(())
        }))),
        "s_wait_idle" => Ok(Action::Run(Box::new(move |w, _| {
            w.wait(Counter::Vector, 0);
            w.wait(Counter::Local, 0);
            w.wait_stores(0);
            Ok(())
        }))),
        "s_trap" => Err("a trap"),
        "s_sethalt" if value & 1 != 0 => Err("a wave that halts for ever"),
        "s_setkill" | "s_endpgm_saved" | "s_code_end" => Err("an end that kernels do not have"),
        "s_sendmsg" | "s_sendmsghalt" if value != 3 => {
            Err("a message other than the end of registers")
        }
        "s_sendmsghalt" => Err("a wave that halts for ever"),
        _ => Ok(Action::Nothing),
    }
}
