//! Scalar arithmetic. In: SOP1, SOP2, SOPC, SOPK instructions. Out: handlers on scalar registers and the condition.

use super::lanes::Src;
use super::lower::source;
use super::waits::Counter;
use super::{EXEC, Handler, M0, Mode, VCC, Wave};
use crate::isa::{Family, Field, Imm, Inst, Kind};

/// The value of a 32-bit operand.
fn read(w: &Wave, src: Src) -> u32 {
    match src {
        Src::S(n) => w.s[n],
        Src::C(c) => c as u32,
        Src::Scc => u32::from(w.scc),
        _ => 0,
    }
}

/// The value of a 64-bit operand.
fn read64(w: &Wave, src: Src) -> u64 {
    match src {
        Src::S(n) => u64::from(w.s[n]) | u64::from(w.s[n + 1]) << 32,
        Src::C(c) => c,
        Src::Scc => u64::from(w.scc),
        _ => 0,
    }
}

/// An operation on 32 bits whose condition may change.
fn op32(dst: usize, a: Src, b: Src, f: fn(u32, u32, bool) -> (u32, bool)) -> Handler {
    Box::new(move |w, _| {
        let (value, scc) = f(read(w, a), read(w, b), w.scc);
        w.set_s(dst, value);
        w.scc = scc;
        Ok(())
    })
}

/// The same on 64 bits.
fn op64(dst: usize, a: Src, b: Src, f: fn(u64, u64, bool) -> (u64, bool)) -> Handler {
    Box::new(move |w, _| {
        let (value, scc) = f(read64(w, a), read64(w, b), w.scc);
        w.set_s64(dst, value);
        w.scc = scc;
        Ok(())
    })
}

/// The condition says whether the result is not zero.
fn nz(x: u32) -> (u32, bool) {
    (x, x != 0)
}

fn nz64(x: u64) -> (u64, bool) {
    (x, x != 0)
}

/// Bits `offset` and so many more, as `s_bfe` packs them: offset below, width above.
fn bfe(a: u64, b: u32, bits: u32, signed: bool) -> u64 {
    let offset = b & (bits - 1);
    let width = (b >> 16 & 0x7F).min(bits - offset);
    if width == 0 {
        return 0;
    }
    let up = 64 - offset - width;
    let value = a << up;
    match signed {
        true => ((value as i64) >> (64 - width)) as u64,
        false => value >> (64 - width),
    }
}

pub(super) fn lower(i: &Inst, after: u64) -> Result<Handler, &'static str> {
    let mut src = [Src::C(0); 2];
    let simm = i.get(Field::Simm);
    let codes = match i.layout.family {
        Family::Sopk => [i.get(Field::Sdst), 0],
        _ => [i.get(Field::Src0), i.get(Field::Src1)],
    };
    let mut codes = codes.into_iter();
    for (n, &kind) in i.op.srcs.iter().enumerate().take(2) {
        src[n] = match kind {
            Kind::Imm(Imm::Literal) => Src::C(u64::from(i.literal())),
            Kind::Imm(_) => Src::C(u64::from(simm)),
            _ => source(
                codes.next().unwrap_or(0),
                kind,
                i.literal(),
                i.op.name.ends_with("i64"),
            )?,
        };
    }
    let dst = i.get(Field::Sdst) as usize;
    let name = i.op.name.as_str();
    match i.layout.family {
        Family::Sop2 => sop2(name, dst, src[0], src[1]),
        Family::Sopc => sopc(name, src[0], src[1]).or_else(|| bit_test(name, src[0], src[1])),
        Family::Sopk => sopk(i, dst, src, after),
        _ => sop1(name, dst, src[0], after),
    }
    .ok_or("a scalar operation that is not simulated")
}

fn sop2(name: &str, d: usize, a: Src, b: Src) -> Option<Handler> {
    let f32: fn(u32, u32, bool) -> (u32, bool) = match name {
        "s_add_u32" => |a, b, _| a.overflowing_add(b),
        "s_sub_u32" => |a, b, _| a.overflowing_sub(b),
        "s_add_i32" => |a, b, _| {
            let (x, o) = (a as i32).overflowing_add(b as i32);
            (x as u32, o)
        },
        "s_sub_i32" => |a, b, _| {
            let (x, o) = (a as i32).overflowing_sub(b as i32);
            (x as u32, o)
        },
        "s_addc_u32" => |a, b, c| {
            let x = u64::from(a) + u64::from(b) + u64::from(c);
            (x as u32, x >> 32 != 0)
        },
        "s_subb_u32" => |a, b, c| {
            let x = i64::from(a) - i64::from(b) - i64::from(c);
            (x as u32, x < 0)
        },
        "s_absdiff_i32" => |a, b, _| nz((a.wrapping_sub(b) as i32).unsigned_abs()),
        "s_lshl_b32" => |a, b, _| nz(a << (b & 31)),
        "s_lshr_b32" => |a, b, _| nz(a >> (b & 31)),
        "s_ashr_i32" => |a, b, _| nz((a as i32 >> (b & 31)) as u32),
        "s_lshl1_add_u32" => |a, b, _| shift_add(a, b, 1),
        "s_lshl2_add_u32" => |a, b, _| shift_add(a, b, 2),
        "s_lshl3_add_u32" => |a, b, _| shift_add(a, b, 3),
        "s_lshl4_add_u32" => |a, b, _| shift_add(a, b, 4),
        "s_min_i32" => |a, b, _| ((a as i32).min(b as i32) as u32, (a as i32) < b as i32),
        "s_min_u32" => |a, b, _| (a.min(b), a < b),
        "s_max_i32" => |a, b, _| ((a as i32).max(b as i32) as u32, a as i32 >= b as i32),
        "s_max_u32" => |a, b, _| (a.max(b), a >= b),
        "s_and_b32" => |a, b, _| nz(a & b),
        "s_or_b32" => |a, b, _| nz(a | b),
        "s_xor_b32" => |a, b, _| nz(a ^ b),
        "s_nand_b32" => |a, b, _| nz(!(a & b)),
        "s_nor_b32" => |a, b, _| nz(!(a | b)),
        "s_xnor_b32" => |a, b, _| nz(!(a ^ b)),
        "s_and_not1_b32" => |a, b, _| nz(a & !b),
        "s_or_not1_b32" => |a, b, _| nz(a | !b),
        "s_bfe_u32" => |a, b, _| nz(bfe(u64::from(a), b, 32, false) as u32),
        "s_bfe_i32" => |a, b, _| nz(bfe(u64::from(a), b, 32, true) as u32),
        "s_bfm_b32" => |a, b, c| (((1u32 << (a & 31)) - 1) << (b & 31), c),
        "s_mul_i32" => |a, b, c| (a.wrapping_mul(b), c),
        "s_mul_hi_u32" => |a, b, c| (((u64::from(a) * u64::from(b)) >> 32) as u32, c),
        "s_mul_hi_i32" => |a, b, c| {
            (
                ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32,
                c,
            )
        },
        "s_cselect_b32" => |a, b, c| (if c { a } else { b }, c),
        "s_pack_ll_b32_b16" => |a, b, c| (a & 0xFFFF | b << 16, c),
        "s_pack_lh_b32_b16" => |a, b, c| (a & 0xFFFF | b & 0xFFFF_0000, c),
        "s_pack_hh_b32_b16" => |a, b, c| (a >> 16 | b & 0xFFFF_0000, c),
        "s_pack_hl_b32_b16" => |a, b, c| (a >> 16 | b << 16, c),
        _ => return sop2_64(name, d, a, b),
    };
    Some(op32(d, a, b, f32))
}

fn shift_add(a: u32, b: u32, by: u32) -> (u32, bool) {
    let x = (u64::from(a) << by) + u64::from(b);
    (x as u32, x >> 32 != 0)
}

fn sop2_64(name: &str, d: usize, a: Src, b: Src) -> Option<Handler> {
    // Shift counts and fields are 32 bits wide: what lies above does not count.
    let f: fn(u64, u64, bool) -> (u64, bool) = match name {
        "s_lshl_b64" => |a, b, _| nz64(a << (b & 63)),
        "s_lshr_b64" => |a, b, _| nz64(a >> (b & 63)),
        "s_ashr_i64" => |a, b, _| nz64((a as i64 >> (b & 63)) as u64),
        "s_and_b64" => |a, b, _| nz64(a & b),
        "s_or_b64" => |a, b, _| nz64(a | b),
        "s_xor_b64" => |a, b, _| nz64(a ^ b),
        "s_nand_b64" => |a, b, _| nz64(!(a & b)),
        "s_nor_b64" => |a, b, _| nz64(!(a | b)),
        "s_xnor_b64" => |a, b, _| nz64(!(a ^ b)),
        "s_and_not1_b64" => |a, b, _| nz64(a & !b),
        "s_or_not1_b64" => |a, b, _| nz64(a | !b),
        "s_bfe_u64" => |a, b, _| nz64(bfe(a, b as u32, 64, false)),
        "s_bfe_i64" => |a, b, _| nz64(bfe(a, b as u32, 64, true)),
        "s_bfm_b64" => |a, b, c| (((1u64 << (a & 63)) - 1) << (b & 63), c),
        "s_cselect_b64" => |a, b, c| (if c { a } else { b }, c),
        _ => return None,
    };
    let narrow = matches!(b, Src::S(_)) && (name.contains("sh") || name.contains("bf"));
    if !narrow {
        return Some(op64(d, a, b, f));
    }
    let first = name != "s_bfm_b64";
    Some(Box::new(move |w, _| {
        let x = if first {
            read64(w, a)
        } else {
            u64::from(read(w, a))
        };
        let (value, scc) = f(x, u64::from(read(w, b)), w.scc);
        w.set_s64(d, value);
        w.scc = scc;
        Ok(())
    }))
}

fn sopc(name: &str, a: Src, b: Src) -> Option<Handler> {
    let compare = |f: fn(u32, u32) -> bool| -> Handler {
        Box::new(move |w, _| {
            w.scc = f(read(w, a), read(w, b));
            Ok(())
        })
    };
    if let Some(f) = comparison(name.strip_prefix("s_cmp_")?) {
        return Some(compare(f));
    }
    match name {
        "s_cmp_eq_u64" | "s_cmp_lg_u64" => {
            let equal = name == "s_cmp_eq_u64";
            Some(Box::new(move |w, _| {
                w.scc = (read64(w, a) == read64(w, b)) == equal;
                Ok(())
            }))
        }
        _ => None,
    }
}

/// Bit tests do not share the prefix of comparisons.
fn bit_test(name: &str, a: Src, b: Src) -> Option<Handler> {
    let (want, wide) = match name {
        "s_bitcmp0_b32" => (0, false),
        "s_bitcmp1_b32" => (1, false),
        "s_bitcmp0_b64" => (0, true),
        "s_bitcmp1_b64" => (1, true),
        _ => return None,
    };
    Some(Box::new(move |w, _| {
        let value = if wide {
            read64(w, a)
        } else {
            u64::from(read(w, a))
        };
        let at = read(w, b) & if wide { 63 } else { 31 };
        w.scc = value >> at & 1 == want;
        Ok(())
    }))
}

fn comparison(name: &str) -> Option<fn(u32, u32) -> bool> {
    Some(match name {
        "eq_i32" | "eq_u32" => |a, b| a == b,
        "lg_i32" | "lg_u32" => |a, b| a != b,
        "gt_i32" => |a, b| a as i32 > b as i32,
        "ge_i32" => |a, b| a as i32 >= b as i32,
        "lt_i32" => |a, b| (a as i32) < b as i32,
        "le_i32" => |a, b| a as i32 <= b as i32,
        "gt_u32" => |a, b| a > b,
        "ge_u32" => |a, b| a >= b,
        "lt_u32" => |a, b| a < b,
        "le_u32" => |a, b| a <= b,
        _ => return None,
    })
}

fn sopk(i: &Inst, d: usize, src: [Src; 2], after: u64) -> Option<Handler> {
    let name = i.op.name.as_str();
    let simm = i.get(Field::Simm);
    let signed = simm as u16 as i16 as i32;
    if let Some(compared) = name.strip_prefix("s_cmpk_") {
        let f = comparison(compared)?;
        let k = if name.ends_with("i32") {
            signed as u32
        } else {
            simm
        };
        return Some(Box::new(move |w, _| {
            w.scc = f(w.s[d], k);
            Ok(())
        }));
    }
    let (id, offset, size) = (simm & 63, simm >> 6 & 31, (simm >> 11) + 1);
    let mask = (u64::MAX >> (64 - size)) as u32;
    Some(match name {
        "s_movk_i32" => Box::new(move |w, _| {
            w.set_s(d, signed as u32);
            Ok(())
        }),
        "s_cmovk_i32" => Box::new(move |w, _| {
            if w.scc {
                w.set_s(d, signed as u32);
            }
            Ok(())
        }),
        "s_addk_i32" => Box::new(move |w, _| {
            let (x, o) = (w.s[d] as i32).overflowing_add(signed);
            w.set_s(d, x as u32);
            w.scc = o;
            Ok(())
        }),
        "s_mulk_i32" => Box::new(move |w, _| {
            let x = w.s[d].wrapping_mul(signed as u32);
            w.set_s(d, x);
            Ok(())
        }),
        "s_getreg_b32" => {
            // The mode, the clock, and the place on the chip, which is always the first.
            if ![1, 23, 24, 29].contains(&id) {
                return None;
            }
            Box::new(move |w, _| {
                let value = match id {
                    1 => w.mode.bits,
                    29 => w.clock as u32,
                    _ => 0,
                };
                w.set_s(d, value >> offset & mask);
                Ok(())
            })
        }
        "s_setreg_b32" | "s_setreg_imm32_b32" if id == 1 => Box::new(move |w, _| {
            let value = read(w, src[1]);
            let bits = w.mode.bits & !(mask << offset) | (value & mask) << offset;
            w.mode = Mode::of(bits);
            Ok(())
        }),
        "s_call_b64" => Box::new(move |w, _| {
            w.set_s64(d, after);
            w.jump = Some(after.wrapping_add_signed(i64::from(signed) * 4));
            Ok(())
        }),
        "s_waitcnt_vmcnt" | "s_waitcnt_lgkmcnt" => {
            let counter = match name {
                "s_waitcnt_vmcnt" => Counter::Vector,
                _ => Counter::Local,
            };
            Box::new(move |w, _| {
                // The count is the sum of a register, usually null, and the constant.
                let left = w.s[d].wrapping_add(simm);
                w.wait(counter, left);
                Ok(())
            })
        }
        "s_waitcnt_vscnt" => Box::new(move |w, _| {
            let left = w.s[d].wrapping_add(simm);
            w.wait_stores(left);
            Ok(())
        }),
        n if n.starts_with("s_waitcnt") => Box::new(|_, _| Ok(())),
        _ => return None,
    })
}

/// Operations on EXEC: the old value goes to the result, the new one is made of both.
fn save_exec(d: usize, a: Src, f: fn(u32, u32) -> u32, keep: bool) -> Handler {
    Box::new(move |w, _| {
        let (value, exec) = (read(w, a), w.s[EXEC]);
        let new = f(value, exec);
        w.set_s(d, if keep { exec } else { new });
        w.s[EXEC] = new;
        w.scc = new != 0;
        Ok(())
    })
}

fn sop1(name: &str, d: usize, a: Src, after: u64) -> Option<Handler> {
    let zero = Src::C(0);
    let f: fn(u32, u32, bool) -> (u32, bool) = match name {
        "s_mov_b32" => |a, _, c| (a, c),
        "s_brev_b32" => |a, _, c| (a.reverse_bits(), c),
        "s_ctz_i32_b32" => |a, _, c| (if a == 0 { u32::MAX } else { a.trailing_zeros() }, c),
        "s_clz_i32_u32" => |a, _, c| (if a == 0 { u32::MAX } else { a.leading_zeros() }, c),
        "s_cls_i32" => |a, _, c| (sign_bits(a), c),
        "s_sext_i32_i8" => |a, _, c| (a as u8 as i8 as u32, c),
        "s_sext_i32_i16" => |a, _, c| (a as u16 as i16 as u32, c),
        "s_abs_i32" => |a, _, _| nz((a as i32).unsigned_abs()),
        "s_bcnt0_i32_b32" => |a, _, _| nz(a.count_zeros()),
        "s_bcnt1_i32_b32" => |a, _, _| nz(a.count_ones()),
        "s_not_b32" => |a, _, _| nz(!a),
        "s_quadmask_b32" => {
            |a, _, _| nz((0..8).fold(0, |m, q| m | u32::from(a >> (4 * q) & 15 != 0) << q))
        }
        "s_wqm_b32" => |a, _, _| {
            nz((0..8).fold(0, |m, q| {
                m | if a >> (4 * q) & 15 != 0 {
                    15 << (4 * q)
                } else {
                    0
                }
            }))
        },
        _ => return sop1_wide(name, d, a, after),
    };
    Some(op32(d, a, zero, f))
}

/// How many bits from the top equal the sign; all ones when every bit does.
fn sign_bits(a: u32) -> u32 {
    let folded = a ^ (a as i32 >> 31) as u32;
    if folded == 0 {
        u32::MAX
    } else {
        folded.leading_zeros()
    }
}

fn sop1_wide(name: &str, d: usize, a: Src, after: u64) -> Option<Handler> {
    let zero = Src::C(0);
    let from64 = |f: fn(u64) -> (u32, bool), sets: bool| -> Handler {
        Box::new(move |w, _| {
            let (x, c) = f(read64(w, a));
            w.set_s(d, x);
            if sets {
                w.scc = c;
            }
            Ok(())
        })
    };
    Some(match name {
        "s_mov_b64" => op64(d, a, zero, |a, _, c| (a, c)),
        "s_brev_b64" => op64(d, a, zero, |a, _, c| (a.reverse_bits(), c)),
        "s_not_b64" => op64(d, a, zero, |a, _, _| nz64(!a)),
        "s_cmov_b32" => Box::new(move |w, _| {
            if w.scc {
                let x = read(w, a);
                w.set_s(d, x);
            }
            Ok(())
        }),
        "s_cmov_b64" => Box::new(move |w, _| {
            if w.scc {
                let x = read64(w, a);
                w.set_s64(d, x);
            }
            Ok(())
        }),
        "s_ctz_i32_b64" => from64(
            |a| (if a == 0 { u32::MAX } else { a.trailing_zeros() }, false),
            false,
        ),
        "s_clz_i32_u64" => from64(
            |a| (if a == 0 { u32::MAX } else { a.leading_zeros() }, false),
            false,
        ),
        "s_bcnt0_i32_b64" => from64(|a| nz(a.count_zeros()), true),
        "s_bcnt1_i32_b64" => from64(|a| nz(a.count_ones()), true),
        "s_bitset0_b32" => Box::new(move |w, _| {
            let x = w.s[d] & !(1 << (read(w, a) & 31));
            w.set_s(d, x);
            Ok(())
        }),
        "s_bitset1_b32" => Box::new(move |w, _| {
            let x = w.s[d] | 1 << (read(w, a) & 31);
            w.set_s(d, x);
            Ok(())
        }),
        "s_getpc_b64" => Box::new(move |w, _| {
            w.set_s64(d, after);
            Ok(())
        }),
        "s_setpc_b64" => Box::new(move |w, _| {
            w.jump = Some(read64(w, a));
            Ok(())
        }),
        "s_swappc_b64" => Box::new(move |w, _| {
            w.jump = Some(read64(w, a));
            w.set_s64(d, after);
            Ok(())
        }),
        "s_movrels_b32" => {
            let Src::S(first) = a else { return None };
            Box::new(move |w, _| {
                let from = first + w.s[M0] as usize;
                let value = w.s.get(from).copied().filter(|_| from < VCC);
                let value = value.ok_or(super::FaultKind::Unsupported(
                    "a scalar register past the last one",
                ))?;
                w.set_s(d, value);
                Ok(())
            })
        }
        _ => {
            let f: fn(u32, u32) -> u32 = match name.split_once('_')?.1.strip_suffix("_b32")? {
                "and_saveexec" => |a, e| a & e,
                "or_saveexec" => |a, e| a | e,
                "xor_saveexec" => |a, e| a ^ e,
                "nand_saveexec" => |a, e| !(a & e),
                "nor_saveexec" => |a, e| !(a | e),
                "xnor_saveexec" => |a, e| !(a ^ e),
                "and_not0_saveexec" | "and_not0_wrexec" => |a, e| !a & e,
                "or_not0_saveexec" => |a, e| !a | e,
                "and_not1_saveexec" | "and_not1_wrexec" => |a, e| a & !e,
                "or_not1_saveexec" => |a, e| a | !e,
                _ => return None,
            };
            save_exec(d, a, f, !name.contains("wrexec"))
        }
    })
}
