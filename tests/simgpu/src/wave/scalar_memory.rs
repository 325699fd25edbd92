//! Scalar loads. In: SMEM instructions. Out: handlers that fill scalar registers.

use super::lower::source;
use super::{FaultKind, Handler};
use crate::isa::{Field, Inst, Kind};
use crate::wave::lanes::Src;

pub(super) fn lower(i: &Inst) -> Result<Handler, &'static str> {
    if i.op.name.starts_with("s_buffer") {
        return Err("a load through a buffer descriptor");
    }
    let base = i.get(Field::Sbase) as usize * 2;
    let constant = i64::from((i.get(Field::Offset) as i32) << 11 >> 11);
    let register = match source(i.get(Field::Soffset), Kind::B32, 0, false)? {
        Src::S(n) => Some(n),
        _ => None,
    };
    let dst = i.get(Field::Sdst) as usize;
    let words = i.op.dsts.first().map_or(1, |k| k.regs()) as usize;
    Ok(Box::new(move |w, env| {
        let start = u64::from(w.s[base]) | u64::from(w.s[base + 1]) << 32;
        let offset = register.map_or(0, |r| u64::from(w.s[r]));
        // The lowest two bits of an address do not count.
        let address = start.wrapping_add_signed(constant).wrapping_add(offset) & !3;
        for n in 0..words {
            let value = env
                .memory
                .load_u32(address.wrapping_add(4 * n as u64))
                .map_err(|bad| FaultKind::Address { lane: 0, bad })?;
            w.set_s(dst + n, value);
        }
        env.counters.loaded += 4 * words as u64;
        Ok(())
    }))
}
