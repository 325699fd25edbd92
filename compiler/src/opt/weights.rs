//! Packs weights: gives each weight parameter the layout in which its kernel reads it.
//!
//! In: finished nests. Out: the layouts. The digits of a weight's index (`oc = outer*32 + unrolled*16 + lane`)
//! become physical axes in nest order, so the innermost loops read consecutive memory. The
//! weights are permuted when the artifact is written, so this costs nothing at run time. Where an index is
//! not made of digits the weight stays row-major.

use super::nest::{Nest, Work};
use super::opts::Opt;
use crate::diag::{Error, Result};
use crate::program::{Layout, LayoutAxis, Param};
use crate::uop::{Axis, Linear, UopId};

/// Chooses which nest each weight is laid out for: the first that reads it in digits.
pub fn choose_packs(work: &mut Work<'_>, nests: &[Nest]) {
    let mut packed = vec![false; work.params.len()];
    for nest in nests {
        for access in work.accesses(nest.store) {
            let slot = access.slot as usize;
            if !work.params[slot].weight || std::mem::replace(&mut packed[slot], true) {
                continue;
            }
            if digits(work, nest, &access.index, &work.params[slot].layout.shape).is_some() {
                work.log.push(Opt::Pack {
                    slot: access.slot,
                    nest: nest.number,
                });
            }
        }
    }
}

/// Lays one weight out as `nest` reads it.
///
/// # Errors
/// Usage when the nest does not read it in digits, or when it is no weight.
pub fn pack(work: &Work<'_>, nest: &Nest, slot: u32, params: &mut [Param]) -> Result<()> {
    let chosen = work
        .accesses(nest.store)
        .into_iter()
        .find(|a| a.slot == slot && work.params[slot as usize].weight)
        .and_then(|a| digits(work, nest, &a.index, &params[slot as usize].layout.shape));
    match chosen {
        Some(layout) => {
            params[slot as usize].layout = layout;
            Ok(())
        }
        None => Err(Error::usage(format!(
            "parameter {slot} is no weight that nest {} reads in digits",
            nest.number
        ))),
    }
}

/// Gives weights the room that padded loops read.
pub fn make_room(work: &Work<'_>, nests: &[Nest], params: &mut [Param]) {
    // A later nest may reach further into the padding than the one that chose.
    for nest in nests {
        let mut bounds = crate::uop::Bounds::new();
        for access in work.accesses(nest.store) {
            let param = &mut params[access.slot as usize];
            // A gate says where the weight ends: no padded loop reads on from there.
            if !param.weight || access.gated {
                continue;
            }
            for (dim, &index) in access.index.iter().enumerate() {
                let most = bounds
                    .of(&work.g, index)
                    .1
                    .min(4 * param.layout.shape[dim] + 64);
                if let Some(top) = param
                    .layout
                    .axes
                    .iter_mut()
                    .filter(|a| a.dim == dim)
                    .max_by_key(|a| a.div)
                {
                    top.extent = top.extent.max(most / top.div + 1);
                }
            }
        }
    }
}

/// The layout made of the digits of an index; `None` when it is not made of digits.
fn digits(work: &Work<'_>, nest: &Nest, index: &[UopId], shape: &[i64]) -> Option<Layout> {
    let mut axes: Vec<((u8, usize), LayoutAxis)> = Vec::new();
    // Neighbouring threads read neighbouring elements, whatever loops they run.
    let threads = nest.order.iter().any(|&r| work.axis(r) == Axis::Local);
    let inner = |r: UopId| match work.axis(r) {
        Axis::Local | Axis::Group => 1,
        Axis::Unroll | Axis::Vector if threads => 2,
        Axis::Matrix => 3,
        _ => 0,
    };
    for (dim, &i) in index.iter().enumerate() {
        let form = Linear::of(&work.g, i)?;
        if form.constant != 0 && shape[dim] != 1 {
            return None;
        }
        let mut parts: Vec<(i64, i64, (u8, usize))> = Vec::new();
        for (term, c) in form.terms {
            let at = nest.order.iter().position(|&r| r == term)?;
            if c <= 0 {
                return None;
            }
            parts.push((c, work.extent(term), (inner(term), at)));
        }
        if shape[dim] == 1 {
            continue;
        }
        parts.sort_unstable();
        let mut expected = 1;
        let count = parts.len();
        for (n, &(c, extent, at)) in parts.iter().enumerate() {
            if c < expected {
                return None;
            }
            if c > expected {
                // Loops over parts of a digit: other nests read the rest, 32 columns of a head of 80 after its first 48.
                while axes
                    .last()
                    .is_some_and(|a| a.1.dim == dim && c % a.1.div != 0)
                {
                    axes.pop();
                }
                let digit = axes.last_mut().filter(|a| a.1.dim == dim)?;
                digit.1.extent = c / digit.1.div;
            }
            expected = c * extent;
            let last = n + 1 == count;
            let extent = if last {
                extent.max((shape[dim] + c - 1) / c)
            } else {
                extent
            };
            axes.push((
                at,
                LayoutAxis {
                    dim,
                    div: c,
                    extent,
                },
            ));
        }
        if count == 0 {
            return None;
        }
    }
    axes.sort_by_key(|a| a.0);
    Some(Layout {
        shape: shape.to_vec(),
        halo: Vec::new(),
        axes: axes.into_iter().map(|a| a.1).collect(),
    })
}
