//! Memory of work-groups in the interpreter.
//!
//! In: a load from a `Tile` or `Filled` node. Out: the element. The memory is filled once for an iteration of the loops around it; every
//! place that a load wants must have been filled.

use super::{Interpreter, Scalar};
use crate::diag::{Error, Result};
use crate::uop::{Axis, Node, Op, UopId};
use rustc_hash::FxHashMap;

/// Iterations whose fillings are remembered.
const MOST_TILES: usize = 256;

impl Interpreter<'_> {
    /// An element of a work-group's memory, which is filled when it is not that of the present iteration.
    pub(super) fn of_group(&mut self, buffer: UopId, place: i64) -> Result<Scalar> {
        let g = &self.kernel.uops;
        let node = g.get(buffer).clone();
        let outside = self.free.of(g, buffer);
        let (own, len) = match node.op {
            Op::Tile { len, .. } => (node.src[2..].to_vec(), len),
            _ => match g.op(node.src[0]) {
                Op::Local { len, .. } => (self.of_threads(&node), len),
                _ => return Err(Error::bug("it fills no memory")),
            },
        };
        let outer = outside.iter().filter(|r| !own.contains(r));
        let now: Vec<i64> = outer
            .map(|r| self.env.get(r).copied().unwrap_or(-1))
            .collect();
        let key = (buffer, now);
        if !self.tiles.contains_key(&key) {
            if self.tiles.len() >= MOST_TILES {
                self.tiles.clear();
            }
            let filled = self.fill(&node, &own, len as usize)?;
            self.tiles.insert(key.clone(), filled);
        }
        let known = usize::try_from(place).ok();
        let known = known.and_then(|p| *self.tiles.get(&key)?.get(p)?);
        known.ok_or_else(|| {
            let name = &self.kernel.name;
            Error::bug(format!(
                "kernel '{name}': nothing stands at {place} of a tile"
            ))
        })
    }

    /// Ranges over the threads and copies of stores.
    fn of_threads(&mut self, node: &Node) -> Vec<UopId> {
        let g = &self.kernel.uops;
        let mut own: Vec<UopId> = Vec::new();
        for &store in &node.src[1..] {
            own.extend(self.free.of(g, store).iter().copied().filter(|&r| {
                let axis = |a| matches!(a, Axis::Local | Axis::Unroll);
                matches!(g.op(r), Op::Range { axis: a, .. } if axis(a))
            }));
        }
        own.sort_unstable();
        own.dedup();
        own
    }

    /// The memory of a work-group after all iterations of the ranges.
    fn fill(&mut self, node: &Node, own: &[UopId], len: usize) -> Result<Vec<Option<Scalar>>> {
        let kept: Vec<Option<i64>> = own.iter().map(|r| self.env.get(r).copied()).collect();
        let extents = own.iter().map(|&r| self.extent(r));
        let extents = extents.collect::<Result<Vec<_>>>()?;
        let mut memory = vec![None; len];
        for flat in 0..extents.iter().product::<i64>() {
            let mut rest = flat;
            for (r, e) in own.iter().zip(&extents).rev() {
                self.env.insert(*r, rest % e);
                rest /= e;
            }
            self.memo.push(FxHashMap::default());
            let done = self.fill_once(node, &mut memory);
            self.memo.pop();
            done?;
        }
        for (r, before) in own.iter().zip(kept) {
            match before {
                Some(n) => self.env.insert(*r, n),
                None => self.env.remove(r),
            };
        }
        Ok(memory)
    }

    fn fill_once(&mut self, node: &Node, memory: &mut [Option<Scalar>]) -> Result<()> {
        let mut put = |place: i64, value: Scalar| {
            let room = usize::try_from(place).ok().and_then(|p| memory.get_mut(p));
            let room = room.ok_or_else(|| Error::bug(format!("{place} is outside of a tile")))?;
            *room = Some(value);
            Ok(())
        };
        if let Op::Tile { .. } = node.op {
            return put(
                self.value(node.src[1], 0)?.int(),
                self.value(node.src[0], 0)?,
            );
        }
        for &store in &node.src[1..] {
            let store = self.kernel.uops.get(store).clone();
            let gated = store.op == Op::Store { gated: true };
            if gated && self.value(store.src[2], 0)?.int() == 0 {
                continue;
            }
            let place = self.value(store.src[2 + usize::from(gated)], 0)?.int();
            for lane in 0..self.lanes(store.src[1]) {
                put(place + i64::from(lane), self.value(store.src[1], lane)?)?;
            }
        }
        Ok(())
    }
}
