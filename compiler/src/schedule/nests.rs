//! Builds the loop nests of one root: the value of each element as a UOp expression.
//!
//! In: the graph, the buffer decision and the layouts. Out: stores over fresh ranges. A tensor that is
//! stored (or is an input or weight) becomes a load; any other one is expanded in place, with its index
//! rewritten. A *gate* travels down from padding: where it is false, loads touch nothing.

use super::movement::{and, is_movement, move_index};
use super::{Scheduler, Slot};
use crate::diag::{Error, Origin, Result};
use crate::graph::{Op, TensorId};
use crate::uop::{Axis, Binary, DType, Op as U, ReduceOp, Type, UopId, Uops, simplify};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Most slabs around a padded tensor that are written apart.
const MOST_SLABS: usize = 6;

/// A kernel under construction.
pub struct Nests<'a> {
    scheduler: &'a Scheduler<'a>,
    /// Its nodes.
    pub g: Uops,
    /// Buffers in order of first use: the kernel's parameters.
    pub slots: Vec<Slot>,
    /// Finished stores.
    pub stores: Vec<UopId>,
    /// Model nodes computed so far, by tensor.
    pub origins: Vec<(TensorId, Arc<Origin>)>,
    /// The tensor whose nest this is: expanded even if it is stored.
    root: Option<TensorId>,
    next_range: u32,
    values: FxHashMap<(TensorId, Vec<UopId>, Option<UopId>), UopId>,
}

impl<'a> Nests<'a> {
    /// An empty kernel.
    pub fn new(scheduler: &'a Scheduler<'a>) -> Self {
        Nests {
            scheduler,
            g: Uops::new(),
            slots: Vec::new(),
            stores: Vec::new(),
            origins: Vec::new(),
            root: None,
            next_range: 0,
            values: FxHashMap::default(),
        }
    }

    /// Adds the nests that compute tensor `id` into `target`.
    pub fn compute(&mut self, id: TensorId, target: Slot) -> Result<()> {
        self.root = matches!(target, Slot::Stored(_)).then_some(id);
        let graph = self.scheduler.graph;
        let tensor = graph.tensor(id);
        let expanded = self.root.is_some() || !self.scheduler.in_memory(id);
        match &tensor.op {
            Op::Concat(axis) if expanded => {
                self.note(id);
                let mut start = 0;
                for &part in &tensor.src {
                    let dims = self.scheduler.dims(part).to_vec();
                    let ranges = self.ranges(&dims);
                    let value = self.value(part, &ranges, None)?;
                    let mut index = ranges;
                    index[*axis] = self.g.add_const(index[*axis], start);
                    start += dims[*axis];
                    self.store(target, value, &index);
                }
            }
            // Its source, then what lies around it: no element asks where it is.
            Op::Pad { pads, value } if expanded && self.is_frame(id, pads) => {
                self.note(id);
                let inner = self.scheduler.dims(tensor.src[0]).to_vec();
                let ranges = self.ranges(&inner);
                let copied = self.value(tensor.src[0], &ranges, None)?;
                let index: Vec<UopId> = ranges
                    .iter()
                    .zip(pads)
                    .map(|(&r, &(low, _))| self.g.add_const(r, low))
                    .collect();
                self.store(target, copied, &index);
                let fill = self.g.constant(tensor.dtype.scalar(), *value);
                self.fill_around(target, &inner, pads, true, fill);
            }
            _ => {
                let dims = match self.root {
                    Some(_) => self.scheduler.stored_dims(id).to_vec(),
                    None => self.scheduler.dims(id).to_vec(),
                };
                let ranges = self.ranges(&dims);
                let value = match (&tensor.op, self.root) {
                    (Op::Scatter(_), Some(_)) => {
                        self.note(id);
                        self.value(tensor.src[0], &ranges, None)?
                    }
                    (_, Some(_)) => self.expand(id, &ranges, None)?,
                    (_, None) => self.value(id, &ranges, None)?,
                };
                self.store(target, value, &ranges);
            }
        }
        if matches!(target, Slot::Stored(_)) {
            self.fill_halo(id, target);
        }
        Ok(())
    }

    /// Adds the nest of a scatter's second step: the updates, one after another.
    pub fn scatter(&mut self, id: TensorId, op: Option<ReduceOp>) -> Result<()> {
        let tensor = self.scheduler.graph.tensor(id);
        self.note(id);
        let data = self.scheduler.dims(id).to_vec();
        let updates = self.scheduler.dims(tensor.src[2]).to_vec();
        let n = self.g.index(updates[0]);
        let row = self.new_range(n, Axis::Serial);
        let column = self.ranges(&updates[1..]);
        let at = self.value(tensor.src[1], &[row], None)?;
        let (place, inside) = self.wrap(at, data[0]);
        let mut from = vec![row];
        from.extend(&column);
        let update = self.value(tensor.src[2], &from, None)?;
        let mut to = vec![place];
        to.extend(&column);
        let buffer = self.buffer(Slot::Stored(id));
        let value = match op {
            None => update,
            Some(op) => {
                let old = self.g.load(buffer, &to);
                let combine = match op {
                    ReduceOp::Sum => Binary::Add,
                    ReduceOp::Prod => Binary::Mul,
                    ReduceOp::Max => Binary::Max,
                    ReduceOp::Min => Binary::Min,
                    ReduceOp::All => Binary::And,
                    ReduceOp::Any => Binary::Or,
                };
                self.g.binary(combine, old, update)
            }
        };
        let src = [buffer, value, inside].into_iter().chain(to);
        let store = if self.g.as_int(inside) == Some(1) {
            let to: Vec<UopId> = src.skip(3).collect();
            self.g.store(buffer, value, &to)
        } else {
            self.g.add_node(U::Store { gated: true }, Type::VOID, src)
        };
        self.stores.push(store);
        Ok(())
    }

    fn note(&mut self, id: TensorId) {
        let origin = &self.scheduler.graph.tensor(id).origin;
        if !origin.is_empty() {
            self.origins.push((id, origin.clone()));
        }
    }

    fn new_range(&mut self, extent: UopId, axis: Axis) -> UopId {
        let id = self.next_range;
        self.next_range += 1;
        self.g.range(id, extent, axis)
    }

    /// One loop a dimension; none where the extent is 1.
    fn ranges(&mut self, dims: &[i64]) -> Vec<UopId> {
        dims.iter()
            .map(|&extent| {
                if extent == 1 {
                    return self.g.index(0);
                }
                let n = self.g.index(extent);
                self.new_range(n, Axis::Loop)
            })
            .collect()
    }

    fn buffer(&mut self, slot: Slot) -> UopId {
        let position = self
            .slots
            .iter()
            .position(|&s| s == slot)
            .unwrap_or_else(|| {
                self.slots.push(slot);
                self.slots.len() - 1
            });
        let dtype = self.scheduler.slot_dtype(slot);
        self.g.param(position as u32, dtype)
    }

    fn store(&mut self, target: Slot, value: UopId, index: &[UopId]) {
        let buffer = self.buffer(target);
        let store = self.g.store(buffer, value, index);
        self.stores.push(store);
    }

    /// True when a pad adds to some dimensions, takes from none, and all of it is stored.
    fn is_frame(&self, id: TensorId, pads: &[(i64, i64)]) -> bool {
        let source = self.scheduler.graph.tensor(id).src[0];
        let whole = self.scheduler.stored_dims(id) == self.scheduler.dims(id);
        let few = pads.iter().filter(|&&p| p != (0, 0)).count() <= MOST_SLABS / 2;
        let empty = self.scheduler.dims(source).contains(&0);
        whole && few && !empty && pads.iter().all(|p| p.0 >= 0 && p.1 >= 0)
    }

    /// Writes the zeros around a stored tensor.
    fn fill_halo(&mut self, id: TensorId, target: Slot) {
        let layout = self.scheduler.layout(id);
        let dims = self.scheduler.stored_dims(id).to_vec();
        let halo: Vec<(i64, i64)> = (0..dims.len()).map(|d| layout.halo_of(d)).collect();
        let zero = self.g.number(self.scheduler.graph.tensor(id).dtype, 0.0);
        self.fill_around(target, &dims, &halo, false, zero);
    }

    /// Writes a constant around a box of `dims` elements, slab by slab: `around` says how far in each dimension. The box
    /// begins at the halo's end when `inside` the tensor, else at zero.
    fn fill_around(
        &mut self,
        target: Slot,
        dims: &[i64],
        around: &[(i64, i64)],
        inside: bool,
        fill: UopId,
    ) {
        for dim in 0..dims.len() {
            let (low, high) = around[dim];
            for (start, count) in [(-low, low), (dims[dim], high)] {
                if count == 0 {
                    continue;
                }
                // Dims before this one cover their halo too, so that corners are written once.
                let mut index = Vec::new();
                for (d, &extent) in dims.iter().enumerate() {
                    let (l, h) = if d < dim { (0, 0) } else { around[d] };
                    let (from, n) = match d.cmp(&dim) {
                        std::cmp::Ordering::Equal => (start, count),
                        _ => (-l, extent + l + h),
                    };
                    let from = from + if inside { around[d].0 } else { 0 };
                    let place = if n == 1 {
                        self.g.index(from)
                    } else {
                        let n = self.g.index(n);
                        let range = self.new_range(n, Axis::Loop);
                        self.g.add_const(range, from)
                    };
                    index.push(place);
                }
                self.store(target, fill, &index);
            }
        }
    }

    /// The value of tensor `id` at `index`: a load where it is in memory, else its expression.
    pub(super) fn value(
        &mut self,
        id: TensorId,
        index: &[UopId],
        gate: Option<UopId>,
    ) -> Result<UopId> {
        let graph = self.scheduler.graph;
        let tensor = graph.tensor(id);
        let slot = match tensor.op {
            Op::Input(n) => Slot::Input(n),
            Op::Weight(n) => {
                if let Some(bits) = self.scheduler.number(n) {
                    return Ok(self.g.constant(tensor.dtype.scalar(), bits));
                }
                Slot::Weight(n)
            }
            _ if self.scheduler.in_memory(id) => Slot::Stored(id),
            _ => return self.expand(id, index, gate),
        };
        let buffer = self.buffer(slot);
        Ok(match gate {
            Some(gate) => {
                let alternative = self.g.number(tensor.dtype, 0.0);
                self.g.load_gated(buffer, gate, alternative, index)
            }
            None => self.g.load(buffer, index),
        })
    }

    fn expand(&mut self, id: TensorId, index: &[UopId], gate: Option<UopId>) -> Result<UopId> {
        let key = (id, index.to_vec(), gate);
        if let Some(&known) = self.values.get(&key) {
            return Ok(known);
        }
        self.note(id);
        let value = self.expand_new(id, index, gate)?;
        self.values.insert(key, value);
        Ok(value)
    }

    fn expand_new(&mut self, id: TensorId, index: &[UopId], gate: Option<UopId>) -> Result<UopId> {
        let graph = self.scheduler.graph;
        let tensor = graph.tensor(id);
        let src = &tensor.src;
        Ok(match &tensor.op {
            Op::Full(bits) => self.g.constant(tensor.dtype.scalar(), *bits),
            Op::Iota => self.g.cast(index[0], tensor.dtype),
            Op::Pad { pads, value } => self.pad(id, pads, *value, index, gate)?,
            op if is_movement(op) => {
                let (from, to) = (self.scheduler.dims(src[0]), self.scheduler.dims(id));
                let moved = move_index(&mut self.g, op, from, to, index).ok_or_else(|| {
                    Error::bug("a movement op without index rule").at(&tensor.origin)
                })?;
                self.value(src[0], &moved.index, gate)?
            }
            Op::Unary(op) => {
                let a = self.value(src[0], index, gate)?;
                self.g.unary(*op, a)
            }
            Op::Binary(op) => {
                let a = self.value(src[0], index, gate)?;
                let b = self.value(src[1], index, gate)?;
                self.g.binary(*op, a, b)
            }
            Op::Where => {
                let c = self.value(src[0], index, gate)?;
                let a = self.value(src[1], index, gate)?;
                let b = self.value(src[2], index, gate)?;
                self.g.select(c, a, b)
            }
            Op::Cast(dtype) => {
                let a = self.value(src[0], index, gate)?;
                self.g.cast(a, *dtype)
            }
            Op::Bitcast(dtype) => {
                let a = self.value(src[0], index, gate)?;
                self.g.add_node(U::Bitcast, dtype.scalar(), [a])
            }
            Op::Reduce { op, axes } => self.reduce(id, *op, axes, index, gate)?,
            Op::Gather(axis) => {
                let rank = self.scheduler.dims(src[1]).len();
                let at = self.value(src[1], &index[*axis..axis + rank], gate)?;
                let extent = self.scheduler.dims(src[0])[*axis];
                let mut from = index[..*axis].to_vec();
                from.push(self.clamp(at, extent));
                from.extend_from_slice(&index[axis + rank..]);
                self.value(src[0], &from, gate)?
            }
            Op::GatherElements(axis) => {
                let at = self.value(src[1], index, gate)?;
                let extent = self.scheduler.dims(src[0])[*axis];
                let mut from = index.to_vec();
                from[*axis] = self.clamp(at, extent);
                self.value(src[0], &from, gate)?
            }
            Op::Concat(axis) => self.concat(id, *axis, index, gate)?,
            Op::Transform { axis, matrix } => self.transform(src[0], *axis, matrix, index, gate)?,
            op => {
                return Err(Error::bug(format!("{op:?} reached the scheduler")).at(&tensor.origin));
            }
        })
    }

    fn pad(
        &mut self,
        id: TensorId,
        pads: &[(i64, i64)],
        value: u64,
        index: &[UopId],
        gate: Option<UopId>,
    ) -> Result<UopId> {
        let graph = self.scheduler.graph;
        let tensor = graph.tensor(id);
        let source = tensor.src[0];
        let (from, to) = (self.scheduler.dims(source), self.scheduler.dims(id));
        let moved = move_index(&mut self.g, &tensor.op, from, to, index)
            .ok_or_else(|| Error::bug("a pad without index rule").at(&tensor.origin))?;
        if value == 0 && self.scheduler.in_memory(source) && Some(source) != self.root {
            let layout = self.scheduler.layout(source);
            let covered = pads.iter().enumerate().all(|(d, p)| {
                let (low, high) = layout.halo_of(d);
                p.0 <= low && p.1 <= high
            });
            if covered {
                return self.value(source, &moved.index, gate);
            }
        }
        let Some(inside) = moved.gate else {
            return self.value(source, &moved.index, gate);
        };
        let inside = simplify(&mut self.g, inside);
        if self.g.as_int(inside) == Some(1) {
            return self.value(source, &moved.index, gate);
        }
        let both = and(&mut self.g, gate, inside);
        let inner = self.value(source, &moved.index, Some(both))?;
        let outside = self.g.constant(tensor.dtype.scalar(), value);
        // A gated load already gives zero outside.
        let plain = self.g.op(inner) == U::Load { gated: true }
            && self.g.src(inner)[1] == both
            && gate.is_none();
        if plain && self.g.src(inner)[2] == outside {
            return Ok(inner);
        }
        Ok(self.g.select(inside, inner, outside))
    }

    fn reduce(
        &mut self,
        id: TensorId,
        op: ReduceOp,
        axes: &[usize],
        index: &[UopId],
        gate: Option<UopId>,
    ) -> Result<UopId> {
        let tensor = self.scheduler.graph.tensor(id);
        let from = self.scheduler.dims(tensor.src[0]).to_vec();
        let mut kept = index.iter().copied();
        let mut ranges = Vec::new();
        let mut inner = Vec::with_capacity(from.len());
        for (dim, &extent) in from.iter().enumerate() {
            if !axes.contains(&dim) {
                inner.extend(kept.next());
            } else if extent == 1 {
                inner.push(self.g.index(0));
            } else {
                let n = self.g.index(extent);
                let range = self.new_range(n, Axis::Loop);
                ranges.push(range);
                inner.push(range);
            }
        }
        if axes.iter().any(|&a| from[a] == 0) {
            return Ok(self.identity(op, tensor.dtype));
        }
        let value = self.value(tensor.src[0], &inner, gate)?;
        let narrow = matches!(tensor.dtype, DType::F16 | DType::BF16);
        let wide = if narrow {
            self.g.cast(value, DType::F32)
        } else {
            value
        };
        let reduced = self.g.reduce(op, wide, &ranges);
        Ok(self.g.cast(reduced, tensor.dtype))
    }

    /// What a reduce over nothing gives.
    fn identity(&mut self, op: ReduceOp, dtype: DType) -> UopId {
        match (op, dtype.int_bounds()) {
            (ReduceOp::Sum | ReduceOp::Any, _) => self.g.number(dtype, 0.0),
            (ReduceOp::Prod | ReduceOp::All, _) => self.g.number(dtype, 1.0),
            (ReduceOp::Max, Some((low, _))) => self.g.int(dtype, low),
            (ReduceOp::Min, Some(_)) if dtype == DType::U64 => self.g.int(dtype, -1),
            (ReduceOp::Min, Some((_, high))) => self.g.int(dtype, high),
            (ReduceOp::Max, None) => self.g.float(dtype, f64::NEG_INFINITY),
            (ReduceOp::Min, None) => self.g.float(dtype, f64::INFINITY),
        }
    }

    /// `i < end of part 0 ? part 0 : i < end of part 1 ? part 1 : ... last part`.
    fn concat(
        &mut self,
        id: TensorId,
        axis: usize,
        index: &[UopId],
        gate: Option<UopId>,
    ) -> Result<UopId> {
        let tensor = self.scheduler.graph.tensor(id);
        let parts: Vec<(TensorId, i64)> = tensor
            .src
            .iter()
            .map(|&p| (p, self.scheduler.dims(p)[axis]))
            .filter(|p| p.1 > 0)
            .collect();
        let total: i64 = parts.iter().map(|p| p.1).sum();
        let mut end = total;
        let mut result: Option<UopId> = None;
        for &(part, extent) in parts.iter().rev() {
            let start = end - extent;
            let first = self.g.index(start);
            let above = self.g.binary(Binary::Le, first, index[axis]);
            let last = self.g.index(end);
            let below = self.g.binary(Binary::Lt, index[axis], last);
            let (above, below) = (simplify(&mut self.g, above), simplify(&mut self.g, below));
            end = start;
            let mine = self.g.and(above, below);
            if self.g.as_int(mine) == Some(0) {
                continue;
            }
            let both = if self.g.as_int(mine) == Some(1) {
                gate
            } else {
                Some(and(&mut self.g, gate, mine))
            };
            let moved = self.g.add_const(index[axis], -start);
            let mut inner = index.to_vec();
            inner[axis] = simplify(&mut self.g, moved);
            let value = self.value(part, &inner, both)?;
            result = Some(match result {
                None => value,
                Some(rest) => self.g.select(below, value, rest),
            });
        }
        Ok(result.unwrap_or_else(|| self.g.number(tensor.dtype, 0.0)))
    }

    /// A tensor's value as an index into `extent` elements: negative counts from the end.
    /// Second: whether it lies inside; the index itself is clamped.
    fn wrap(&mut self, at: UopId, extent: i64) -> (UopId, UopId) {
        let raw = self.g.cast(at, DType::Index);
        let raw = simplify(&mut self.g, raw);
        let zero = self.g.index(0);
        let n = self.g.index(extent);
        let negative = self.g.binary(Binary::Lt, raw, zero);
        let from_end = self.g.add(raw, n);
        let wrapped = self.g.select(negative, from_end, raw);
        let above = self.g.binary(Binary::Le, zero, wrapped);
        let below = self.g.binary(Binary::Lt, wrapped, n);
        let inside = self.g.and(above, below);
        let inside = simplify(&mut self.g, inside);
        (self.clamp(at, extent), inside)
    }

    fn clamp(&mut self, at: UopId, extent: i64) -> UopId {
        let raw = self.g.cast(at, DType::Index);
        let raw = simplify(&mut self.g, raw);
        let zero = self.g.index(0);
        let negative = self.g.binary(Binary::Lt, raw, zero);
        let n = self.g.index(extent);
        let from_end = self.g.add(raw, n);
        let wrapped = self.g.select(negative, from_end, raw);
        let low = self.g.binary(Binary::Max, wrapped, zero);
        let last = self.g.index(extent - 1);
        let clamped = self.g.binary(Binary::Min, low, last);
        simplify(&mut self.g, clamped)
    }
}
