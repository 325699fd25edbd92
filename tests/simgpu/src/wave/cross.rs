//! Operations that look across lanes or outside of them: reads of one lane, permutations, relative registers. In: mnemonic
//! and operands. Out: handlers.

use super::lanes::{Args, Src};
use super::{FaultKind, Handler, LANES, M0, Wave};

/// The value of a scalar operand.
fn scalar(w: &Wave, src: Src) -> u32 {
    match src {
        Src::S(n) => w.s[n],
        Src::C(c) => c as u32,
        Src::Scc => u32::from(w.scc),
        Src::V(_) | Src::Moved => 0,
    }
}

/// Lanes of a row of sixteen from selectors of four bits; the other row when crossed.
fn permlane(args: Args, crossed: bool) -> Handler {
    let fetch_inactive = args.sel & 1 != 0;
    let bound = args.sel & 2 != 0;
    Box::new(move |w, _| {
        let value = args.raw(w, 0);
        let low = scalar(w, args.src[1]);
        let high = scalar(w, args.src[2]);
        let selector = u64::from(high) << 32 | u64::from(low);
        let exec = w.exec();
        let old = w.v[args.dst];
        let out = std::array::from_fn(|lane| {
            let row = (lane & 16) ^ if crossed { 16 } else { 0 };
            let from = row | (selector >> (4 * (lane & 15)) & 15) as usize;
            match exec >> from & 1 != 0 || fetch_inactive {
                true => value[from],
                false if bound => 0,
                false => old[lane],
            }
        });
        w.set_v(args.dst, &out);
        Ok(())
    })
}

/// A register counted from M0.
fn relative(w: &Wave, register: usize) -> Result<usize, FaultKind> {
    let at = register.wrapping_add(w.s[M0] as usize);
    (at < w.v.len()).then_some(at).ok_or(FaultKind::Unsupported(
        "a vector register past the last one",
    ))
}

pub(super) fn lower(name: &str, args: Args) -> Option<Handler> {
    let register = match args.src[0] {
        Src::V(n) => Some(n),
        _ => None,
    };
    Some(match name {
        "v_nop" => Box::new(|_, _| Ok(())),
        "v_readfirstlane_b32" => {
            let from = register?;
            Box::new(move |w, _| {
                let lane = w.exec().trailing_zeros() as usize % LANES;
                let value = w.v[from][lane];
                w.set_s(args.dst, value);
                Ok(())
            })
        }
        "v_readlane_b32" => {
            let from = register?;
            Box::new(move |w, _| {
                let lane = scalar(w, args.src[1]) as usize % LANES;
                let value = w.v[from][lane];
                w.set_s(args.dst, value);
                Ok(())
            })
        }
        "v_writelane_b32" => Box::new(move |w, _| {
            let lane = scalar(w, args.src[1]) as usize % LANES;
            w.v[args.dst][lane] = scalar(w, args.src[0]);
            Ok(())
        }),
        "v_permlane16_b32" => permlane(args, false),
        "v_permlanex16_b32" => permlane(args, true),
        "v_swap_b32" => {
            let other = register?;
            Box::new(move |w, _| {
                let (a, b) = (w.v[args.dst], w.v[other]);
                w.set_v(args.dst, &b);
                w.set_v(other, &a);
                Ok(())
            })
        }
        "v_movreld_b32" => Box::new(move |w, _| {
            let value = args.raw(w, 0);
            let dst = relative(w, args.dst)?;
            w.set_v(dst, &value);
            Ok(())
        }),
        "v_movrels_b32" => {
            let from = register?;
            Box::new(move |w, _| {
                let value = w.v[relative(w, from)?];
                w.set_v(args.dst, &value);
                Ok(())
            })
        }
        "v_movrelsd_b32" => {
            let from = register?;
            Box::new(move |w, _| {
                let value = w.v[relative(w, from)?];
                let dst = relative(w, args.dst)?;
                w.set_v(dst, &value);
                Ok(())
            })
        }
        // Both halves of 64 lanes change places: with 32 there is one half.
        "v_permlane64_b32" => {
            let from = register?;
            Box::new(move |w, _| {
                let value = w.v[from];
                w.set_v(args.dst, &value);
                Ok(())
            })
        }
        _ => return None,
    })
}
