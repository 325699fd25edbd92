//! Lanes of the first operand that move on their way: DPP. In: a handler that reads [`super::Wave::moved`]. Out: a handler
//! that fills it before, and lets only those lanes be written that got a value.

use super::{EXEC, Handler, LANES, Wave};
use crate::isa::{Dpp, Ext, Inst};

/// Where lane `lane` looks, when that is within its row.
fn from(ctrl: u32, lane: usize) -> Option<usize> {
    let (row, at) = (lane & !15, lane & 15);
    let n = (ctrl & 15) as usize;
    let within = match ctrl {
        0..=0xFF => at & !3 | (ctrl >> (2 * (lane & 3)) & 3) as usize,
        0x100..=0x10F => at + n,
        0x110..=0x11F => at.wrapping_sub(n),
        0x120..=0x12F => (at + 16 - n) & 15,
        0x140 => 15 - at,
        0x141 => at & 8 | (7 - (at & 7)),
        0x150..=0x15F => n,
        _ => at ^ n,
    };
    (within < 16).then_some(row | within)
}

/// Moves lanes of a register: values, and the lanes that may be written.
fn dpp16(w: &Wave, dpp: Dpp, register: usize) -> ([u32; LANES], u32) {
    let exec = w.exec();
    let mut out = [0; LANES];
    let mut mask = 0;
    for (lane, value) in out.iter_mut().enumerate() {
        let enabled =
            dpp.row_mask() >> (lane / 16) & 1 != 0 && dpp.bank_mask() >> (lane % 16 / 4) & 1 != 0;
        let source = from(dpp.ctrl(), lane).filter(|s| dpp.fetch_inactive() || exec >> s & 1 != 0);
        let write = match source {
            Some(s) => {
                *value = w.v[register][s];
                true
            }
            None => dpp.bound_ctrl(),
        };
        mask |= u32::from(enabled && write) << lane;
    }
    (out, mask)
}

/// Wraps a handler when the instruction moves lanes.
pub(super) fn wrap(i: &Inst, handler: Handler) -> Handler {
    match i.ext {
        Ext::Dpp16(dpp) => Box::new(move |w, env| {
            let (moved, mask) = dpp16(w, dpp, dpp.src0() as usize);
            let exec = w.exec();
            w.moved = moved;
            w.s[EXEC] = exec & mask;
            let out = handler(w, env);
            // Comparisons that write EXEC leave what they wrote.
            if w.s[EXEC] == exec & mask {
                w.s[EXEC] = exec;
            }
            out
        }),
        Ext::Dpp8 {
            src0,
            lanes,
            fetch_inactive,
        } => Box::new(move |w, env| {
            let exec = w.exec();
            for lane in 0..LANES {
                let s = lane & !7 | (lanes >> (3 * (lane & 7)) & 7) as usize;
                let active = fetch_inactive || exec >> s & 1 != 0;
                w.moved[lane] = if active { w.v[usize::from(src0)][s] } else { 0 };
            }
            handler(w, env)
        }),
        _ => handler,
    }
}
