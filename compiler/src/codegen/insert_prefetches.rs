//! Asks for the weights of a matmul or a convolution before they are needed.
//!
//! In: a linear list. Out: the same list with `prefetch` lines at the head of reduce loops that walk through a
//! buffer without a gap, at least a cache line an iteration. A register tile reads its panel of weights faster than the second-level
//! cache answers when it is asked only then. The distance is the target's. Nothing else reads what is prefetched, so a
//! place behind the end of the buffer is harmless.
//!
//! A panel that several tiles of rows pass comes from memory while the first of them runs, which then waits. So each tile also asks
//! for a part of the next panel, into the second-level cache: all of it is there when its turn comes.
//!
//! Example: in `loop k; a = load w, k*32; b = load w, k*32+16; ...` with 8 KiB ahead, `prefetch w, k*32+2048` and
//! `prefetch w, k*32+2064` come first.

use crate::diag::Result;
use crate::program::{LinearKernel, LinearParam};
use crate::target::Facts;
use crate::uop::{Linear, Op, Type, UopId, Uops};
use rustc_hash::FxHashMap;

/// Bytes of a cache line.
const LINE: i64 = 64;

/// A load of the loop body: first element relative to the range's term, and how many.
struct Stream {
    buffer: UopId,
    size: i64,
    /// Of the whole buffer.
    bytes: u64,
    /// Elements that one iteration moves on.
    step: i64,
    /// Place without constant, and for each load constant and lanes.
    base: Linear,
    parts: Vec<(i64, i64)>,
}

/// The pass.
pub fn insert_prefetches(mut kernel: LinearKernel, facts: &Facts) -> Result<LinearKernel> {
    let list = std::mem::take(&mut kernel.list);
    kernel.list = add_prefetches(&mut kernel.uops, list, &kernel.params, facts);
    Ok(kernel)
}

/// Adds prefetches to a list.
fn add_prefetches(
    g: &mut Uops,
    list: Vec<UopId>,
    params: &[LinearParam],
    facts: &Facts,
) -> Vec<UopId> {
    if facts.prefetch_bytes == 0 {
        return list;
    }
    let mut out = Vec::with_capacity(list.len());
    let mut open: Vec<UopId> = Vec::new();
    for (at, &id) in list.iter().enumerate() {
        out.push(id);
        match g.op(id) {
            Op::Loop => open.push(g.src(id)[0]),
            Op::EndLoop => {
                open.pop();
                continue;
            }
            _ => continue,
        }
        let body = list[at + 1..]
            .iter()
            .take_while(|&&x| !matches!(g.op(x), Op::Loop | Op::EndLoop));
        let end = list.get(at + 1 + body.clone().count());
        // Innermost loops only, and only those of reduces.
        if end.is_none_or(|&e| g.op(e) != Op::EndLoop)
            || body.clone().any(|&x| matches!(g.op(x), Op::Store { .. }))
        {
            continue;
        }
        let range = g.src(id)[0];
        for stream in streams(g, body.copied(), range, params, facts) {
            let ahead = i64::from(facts.prefetch_bytes) / stream.size;
            let (low, high) = stream.parts.iter().fold((i64::MAX, i64::MIN), |(l, h), p| {
                (l.min(p.0), h.max(p.0 + p.1))
            });
            let mut place = low;
            while place < high {
                let mut target = stream.base.clone();
                target.constant = place + ahead;
                let index = target.build(g);
                out.push(g.add_node(
                    Op::Prefetch { far: false },
                    Type::VOID,
                    [stream.buffer, index],
                ));
                place += (LINE / stream.size).max(1);
            }
            if stream.bytes > facts.l2_bytes {
                out.extend(next_panel(g, &stream, &open, low, high));
            }
        }
    }
    out
}

/// A part of the next panel for each tile of rows, so that all tiles together ask for all of it. `open` are the ranges of the open loops,
/// the reduce's last; `low..high` is what an iteration reads. Nothing where no loop lies between panels and reduce.
fn next_panel(g: &mut Uops, stream: &Stream, open: &[UopId], low: i64, high: i64) -> Vec<UopId> {
    let coefficient = |r: &UopId| stream.base.terms.iter().find(|t| t.0 == *r).map(|t| t.1);
    let around = &open[..open.len().saturating_sub(1)];
    let Some(at) = around.iter().rposition(|r| coefficient(r).is_some()) else {
        return Vec::new();
    };
    let between = &around[at + 1..];
    let (Some(panel), Some(&tile)) = (coefficient(&around[at]), between.first()) else {
        return Vec::new();
    };
    let tiles = g.extent(tile).unwrap_or(1);
    let line = (LINE / stream.size).max(1);
    let lines = (high - low + line - 1) / line;
    if tiles < 2 || between.len() != 1 || panel < stream.step {
        return Vec::new();
    }
    let each = (lines + tiles - 1) / tiles;
    let parts = (lines + each - 1) / each;
    let part = if tiles > parts {
        g.mod_const(tile, parts)
    } else {
        tile
    };
    let mut out = Vec::new();
    for n in 0..each {
        let mut target = stream.base.clone();
        target.constant = low + panel + n * line;
        let start = target.build(g);
        let skip = g.mul_const(part, each * line);
        let index = g.add(start, skip);
        out.push(g.add_node(
            Op::Prefetch { far: true },
            Type::VOID,
            [stream.buffer, index],
        ));
    }
    out
}

/// Buffers that the body of a loop walks through without a gap.
fn streams(
    g: &Uops,
    body: impl Iterator<Item = UopId>,
    range: UopId,
    params: &[LinearParam],
    facts: &Facts,
) -> Vec<Stream> {
    let mut found: Vec<Stream> = Vec::new();
    let mut broken: FxHashMap<UopId, ()> = FxHashMap::default();
    for id in body {
        let node = g.get(id);
        if !matches!(node.op, Op::Load { gated: false }) || node.ty.lanes < 2 {
            continue;
        }
        let (buffer, place) = (node.src[0], node.src[1]);
        let Op::Param { slot } = g.op(buffer) else {
            continue;
        };
        let Some(param) = params.get(slot as usize) else {
            continue;
        };
        let size = param.dtype.size() as i64;
        if (param.elements * size) as u64 <= facts.l1_bytes {
            continue;
        }
        let Some(mut base) = Linear::of(g, place) else {
            continue;
        };
        let step = base.terms.iter().find(|t| t.0 == range).map_or(0, |t| t.1);
        let constant = std::mem::take(&mut base.constant);
        let part = (constant, i64::from(node.ty.lanes));
        match found.iter_mut().find(|s| s.buffer == buffer) {
            Some(stream) if stream.base == base => stream.parts.push(part),
            Some(_) => {
                broken.insert(buffer, ());
            }
            None => found.push(Stream {
                buffer,
                size,
                bytes: (param.elements * size) as u64,
                step,
                base,
                parts: vec![part],
            }),
        }
    }
    found.retain(|s| {
        let lanes: i64 = s.parts.iter().map(|p| p.1).sum();
        !broken.contains_key(&s.buffer) && s.step == lanes && s.step * s.size >= LINE
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Access;
    use crate::uop::{Axis, DType};

    fn facts(prefetch_bytes: u32) -> Facts {
        Facts {
            prefetch_bytes,
            ..Facts::default()
        }
    }

    /// `loop k; load w, k*32 (16 lanes); load w, k*32+16; end` over a buffer of `elements`.
    fn list(g: &mut Uops, stride: i64) -> Vec<UopId> {
        let n = g.index(1024);
        let k = g.range(0, n, Axis::Loop);
        let w = g.param(0, DType::F32);
        let by = g.index(stride);
        let at = g.mul(k, by);
        let sixteen = g.index(16);
        let next = g.add(at, sixteen);
        let ty = DType::F32.vec(16);
        let open = g.add_node(Op::Loop, Type::VOID, [k]);
        let a = g.add_node(Op::Load { gated: false }, ty, [w, at]);
        let b = g.add_node(Op::Load { gated: false }, ty, [w, next]);
        let close = g.add_node(Op::EndLoop, Type::VOID, [k]);
        vec![open, a, b, close]
    }

    fn param(elements: i64) -> LinearParam {
        LinearParam {
            dtype: DType::F32,
            elements,
            access: Access::Read,
        }
    }

    fn prefetches(stride: i64, elements: i64, bytes: u32) -> usize {
        let mut g = Uops::new();
        let list = list(&mut g, stride);
        let out = add_prefetches(&mut g, list, &[param(elements)], &facts(bytes));
        assert!(out.len() >= 4);
        out.iter()
            .filter(|&&id| g.op(id) == (Op::Prefetch { far: false }))
            .count()
    }

    #[test]
    fn a_stream_is_asked_for_line_by_line() {
        assert_eq!(prefetches(32, 1 << 20, 8192), 2);
    }

    #[test]
    fn small_buffers_gaps_and_targets_without_are_left_alone() {
        assert_eq!(prefetches(32, 1 << 10, 8192), 0);
        assert_eq!(prefetches(48, 1 << 20, 8192), 0);
        assert_eq!(prefetches(32, 1 << 20, 0), 0);
    }
}
