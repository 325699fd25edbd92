//! What a tensor asks of its sources to answer a question of its own.
//!
//! In: a tensor and one [`Request`] for its value. Out: the requests that this makes to its sources, with the index rewritten: movement moves
//! it, a reduce adds ranges, a gather reads it.
//!
//! Example: `Slice{start: 2}` asked at `[i]` asks its source at `[i + 2]`.

use super::super::movement::{is_movement, move_index};
use super::{Analysis, Request, Root};
use crate::graph::{Op, TensorId};
use crate::uop::{Binary, DType, Op as U, UopId, simplify_kernel};

impl Analysis<'_> {
    /// Hands a question on to the sources of a tensor.
    pub(super) fn ask_sources(&mut self, id: TensorId, request: &Request) {
        let tensor = self.graph.tensor(id);
        let src = tensor.src.clone();
        let op = tensor.op.clone();
        let padded = request.padded || matches!(op, Op::Pad { .. } | Op::Concat(_));
        let ask = |s: &mut Self, n: usize, index: Vec<UopId>, contracting: bool| {
            s.requests[src[n].0 as usize].push(Request {
                root: request.root,
                index,
                contracting,
                product: contracting
                    && (matches!(op, Op::Reduce { .. }) || is_movement(&op) && request.product),
                padded,
                transforming: matches!(op, Op::Transform { .. }),
            });
        };
        let dims_of = |s: &Self, t: TensorId| s.dims[t.0 as usize].clone();
        match &op {
            op if is_movement(op) => {
                if self.halo_allowed(id)
                    && let Op::Pad { pads, .. } = op
                    && !self.out.stored.contains(&id)
                {
                    let wanted = self
                        .out
                        .halo
                        .entry(src[0])
                        .or_insert_with(|| vec![(0, 0); pads.len()]);
                    for (w, p) in wanted.iter_mut().zip(pads) {
                        *w = (w.0.max(p.0), w.1.max(p.1));
                    }
                }
                let (from, to) = (dims_of(self, src[0]), dims_of(self, id));
                if let Some(moved) = move_index(&mut self.g, op, &from, &to, &request.index) {
                    ask(self, 0, moved.index, request.contracting);
                }
            }
            Op::Reduce { axes, .. } => {
                let around = self.loops(&request.index);
                let from = dims_of(self, src[0]);
                let mut kept = request.index.iter().copied();
                let mut index = Vec::with_capacity(from.len());
                for (dim, &extent) in from.iter().enumerate() {
                    if !axes.contains(&dim) {
                        index.extend(kept.next());
                    } else if extent == 1 {
                        index.push(self.g.index(0));
                    } else {
                        let (range, node) = self.new_range(extent, &around);
                        self.reduce_ranges.insert(range);
                        index.push(node);
                    }
                }
                // Ranges of one reduce enclose each other.
                let mine: Vec<u32> = index.iter().flat_map(|&i| self.free(i)).collect();
                for r in &mine {
                    if self.reduce_ranges.contains(r) {
                        let mut all = around.clone();
                        all.extend(mine.iter().copied());
                        all.sort_unstable();
                        all.dedup();
                        self.enclosing.insert(*r, all);
                    }
                }
                let contracting = self.work[id.0 as usize].contracts;
                ask(self, 0, index, contracting);
            }
            Op::Gather(axis) => {
                let data_rank = dims_of(self, src[0]).len();
                let rank = dims_of(self, src[1]).len();
                let at = request.index[*axis..axis + rank].to_vec();
                let mut index = request.index[..*axis].to_vec();
                index.push(self.opaque(src[1], &at));
                index.extend_from_slice(&request.index[axis + rank..]);
                debug_assert_eq!(index.len(), data_rank);
                ask(self, 0, index, request.contracting);
                ask(self, 1, at, false);
            }
            Op::GatherElements(axis) => {
                let mut index = request.index.clone();
                index[*axis] = self.opaque(src[1], &request.index);
                ask(self, 0, index, request.contracting);
                ask(self, 1, request.index.clone(), false);
            }
            Op::Concat(_)
                if !matches!(request.root, Root::Part(..))
                    && self.root_tensor(request.root) == id =>
            {
                for (n, &source) in src.iter().enumerate() {
                    let root = Root::Part(id, n as u32);
                    let index = self.root_index(root, source);
                    self.requests[source.0 as usize].push(Request {
                        root,
                        index,
                        contracting: false,
                        product: false,
                        padded: false,
                        transforming: false,
                    });
                }
            }
            Op::Concat(axis) => {
                let mut start = 0;
                for n in 0..src.len() {
                    let mut index = request.index.clone();
                    index[*axis] = self.g.add_const(index[*axis], -start);
                    start += dims_of(self, src[n])[*axis];
                    ask(self, n, index, request.contracting);
                }
            }
            Op::Transform { axis, matrix } => {
                let around = self.loops(&request.index);
                let mut index = request.index.clone();
                index[*axis] = self.new_range(matrix.columns as i64, &around).1;
                ask(self, 0, index, request.contracting);
            }
            Op::Scatter(_) => {
                // Its own steps read the sources element by element.
                for (n, &source) in src.iter().enumerate() {
                    let index = self.root_index(request.root, source);
                    ask(self, n, index, false);
                }
            }
            // Beside a weight, whose layout is free, the other factor has no wishes; but rows beside one without whole vectors of columns have.
            Op::Binary(Binary::Mul) if request.contracting => {
                for n in 0..2 {
                    let narrow = self.is_tiny(src[1 - n]) && !self.is_image(src[n]);
                    let free = self.is_weight(src[1 - n]) && !narrow;
                    ask(self, n, request.index.clone(), !free);
                }
            }
            _ => {
                for n in 0..src.len() {
                    ask(self, n, request.index.clone(), request.contracting);
                }
            }
        }
    }

    /// True when an index divides anything. Example: the rows `y / 2` that a pixel shuffle reads.
    pub(super) fn divides(&self, index: &[UopId]) -> bool {
        let nodes = self.g.toposort(index);
        nodes.into_iter().any(|n| is_division(self.g.op(n)))
    }

    /// True when an index divides something else than a range or its digits: loops cannot be split so that it becomes a sum of ranges.
    /// Example: `(y + 1) / 2`.
    pub(super) fn divides_a_sum(&mut self, index: &[UopId]) -> bool {
        index.iter().any(|&i| {
            if !self.divides(&[i]) {
                return false;
            }
            // What rules do not simplify is not simple.
            let Ok(simple) = simplify_kernel(&mut self.g, i) else {
                return true;
            };
            self.g.toposort(&[simple]).into_iter().any(|n| {
                let of = self.g.src(n).first().copied().unwrap_or(n);
                is_division(self.g.op(n))
                    && !is_division(self.g.op(of))
                    && !matches!(self.g.op(of), U::Range { .. })
            })
        })
    }

    /// Stands for the value of a tensor used as an index.
    fn opaque(&mut self, id: TensorId, at: &[UopId]) -> UopId {
        let buffer = self.g.param(id.0, DType::Index);
        self.g.load(buffer, at)
    }
}

fn is_division(op: U) -> bool {
    matches!(op, U::Binary(Binary::FloorDiv | Binary::FloorMod))
}
