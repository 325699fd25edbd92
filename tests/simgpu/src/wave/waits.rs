//! Loads that take their time. In: handlers of memory instructions. Out: handlers whose results arrive when the wave waits
//! for them, and poison until then: a wait that is missing shows.
//!
//! Two counters: `vmcnt` for vector loads, `lgkmcnt` for local memory and scalar loads; `vscnt` counts stores. A wave that
//! reaches a barrier before the others could see its stores is a fault. Vector loads and local memory come
//! back in order; scalar loads do not, so that only a wait for all of them helps.

use super::lds::{load_of, store_of};
use super::{Handler, LANES, Lanes, Wave};
use crate::isa::{Family, Field, Inst};
use crate::memory::POISON;
use std::collections::VecDeque;

/// What a result goes to.
#[derive(Clone, Copy)]
enum Target {
    /// Bits of the lanes of a vector register.
    Vector {
        register: usize,
        bits: u32,
        exec: u32,
        value: Lanes,
    },
    /// A scalar register.
    Scalar(usize, u32),
    /// Nothing.
    Nothing,
    /// Local memory: others may not see it before it was waited for.
    Store,
}

/// One register of a result that has not arrived.
struct Part {
    target: Target,
    /// Whether it is the last one of its instruction.
    last: bool,
    /// Whether it may overtake others.
    unordered: bool,
}

/// What was started and not waited for.
#[derive(Default)]
pub(crate) struct Pending {
    parts: VecDeque<Part>,
    count: u32,
}

/// The counters.
#[derive(Clone, Copy)]
pub(crate) enum Counter {
    Vector = 0,
    Local = 1,
}

impl Wave {
    /// Waits until no more than `left` instructions of a counter are on their way.
    pub(crate) fn wait(&mut self, counter: Counter, left: u32) {
        let pending = &mut self.pending[counter as usize];
        while pending.count > left {
            let Some(part) = pending.parts.front() else {
                return;
            };
            if part.unordered && left > 0 {
                return;
            }
            let Some(part) = pending.parts.pop_front() else {
                return;
            };
            pending.count -= u32::from(part.last);
            match part.target {
                Target::Vector {
                    register,
                    bits,
                    exec,
                    value,
                } => {
                    let into = &mut self.v[register];
                    for lane in 0..LANES {
                        let bits = if exec >> lane & 1 != 0 { bits } else { 0 };
                        into[lane] = into[lane] & !bits | value[lane] & bits;
                    }
                }
                Target::Scalar(code, value) => self.s[code] = value,
                Target::Nothing | Target::Store => {}
            }
        }
    }

    /// Waits until no more than `left` stores to global memory are on their way.
    pub(crate) fn wait_stores(&mut self, left: u32) {
        self.stores = self.stores.min(left);
    }

    /// Why this wave may not meet the others yet: they would not see what it stored.
    pub(crate) fn unseen(&self) -> Option<&'static str> {
        let local = &self.pending[Counter::Local as usize].parts;
        if local.iter().any(|p| matches!(p.target, Target::Store)) {
            return Some("stores to local memory were not waited for before a barrier");
        }
        (self.stores > 0).then_some("stores to global memory were not waited for before a barrier")
    }

    fn start(&mut self, counter: Counter, target: Target, last: bool, unordered: bool) {
        let pending = &mut self.pending[counter as usize];
        pending.parts.push_back(Part {
            target,
            last,
            unordered,
        });
        pending.count += u32::from(last);
    }
}

/// Which registers, and which of their bits, a memory instruction fills.
fn result(i: &Inst) -> Option<(usize, usize, u32)> {
    let kind = i.op.dsts.first()?;
    if i.op.name.contains("atomic") && !i.returns() {
        return None;
    }
    let name = i.op.name.split_once('_').map_or("", |n| n.1);
    let bits = match name.strip_prefix("load_").and_then(load_of) {
        Some((_, super::lds::Widen::Low(_))) => 0xFFFF,
        Some((_, super::lds::Widen::High(_))) => 0xFFFF_0000,
        _ => u32::MAX,
    };
    Some((i.get(Field::Vdst) as usize, kind.regs() as usize, bits))
}

/// Results of a memory instruction arrive when they are waited for.
pub(super) fn defer(i: &Inst, handler: Handler) -> Handler {
    match i.layout.family {
        Family::Smem => {
            let dst = i.get(Field::Sdst) as usize;
            let words = i.op.dsts.first().map_or(0, |k| k.regs()) as usize;
            Box::new(move |w, env| {
                handler(w, env)?;
                for n in 0..words {
                    let value = w.s[dst + n];
                    w.set_s(dst + n, POISON);
                    let target = match dst + n {
                        super::NULL => Target::Nothing,
                        code => Target::Scalar(code, value),
                    };
                    w.start(Counter::Local, target, n + 1 == words, true);
                }
                Ok(())
            })
        }
        Family::Ds => vector(handler, result(i), Counter::Local, false, Target::Store),
        Family::Flat | Family::Global | Family::Scratch => {
            let name = i.op.name.split_once('_').map_or("", |n| n.1);
            let stores = name
                .strip_prefix("store_")
                .is_some_and(|n| store_of(n).is_some());
            // Flat memory may be local memory, which counts too.
            let both = i.layout.family == Family::Flat;
            match (stores, result(i)) {
                (false, Some(result)) => vector(
                    handler,
                    Some(result),
                    Counter::Vector,
                    both,
                    Target::Nothing,
                ),
                _ if i.layout.family == Family::Scratch => handler,
                _ => {
                    let counted: Handler = Box::new(move |w, env| {
                        handler(w, env)?;
                        w.stores += 1;
                        Ok(())
                    });
                    match both {
                        true => vector(counted, None, Counter::Local, false, Target::Store),
                        false => counted,
                    }
                }
            }
        }
        _ => handler,
    }
}

fn vector(
    handler: Handler,
    result: Option<(usize, usize, u32)>,
    counter: Counter,
    both: bool,
    none: Target,
) -> Handler {
    let Some((dst, registers, bits)) = result else {
        return Box::new(move |w, env| {
            handler(w, env)?;
            w.start(counter, none, true, false);
            Ok(())
        });
    };
    Box::new(move |w, env| {
        handler(w, env)?;
        let exec = w.exec();
        for n in 0..registers {
            let register = dst + n;
            let value = w.v[register];
            let mut poisoned = value;
            for (lane, word) in poisoned.iter_mut().enumerate() {
                if exec >> lane & 1 != 0 {
                    *word = *word & !bits | POISON & bits;
                }
            }
            w.v[register] = poisoned;
            let target = Target::Vector {
                register,
                bits,
                exec,
                value,
            };
            w.start(counter, target, n + 1 == registers, false);
        }
        if both {
            w.start(Counter::Local, Target::Nothing, true, false);
        }
        Ok(())
    })
}
