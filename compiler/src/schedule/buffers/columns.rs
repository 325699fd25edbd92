//! What the columns of its readers want of a stored tensor.
//!
//! In: a tensor and the requests for it. Out: which of its dimensions a contraction walks along as its vectors do, how far whole vectors
//! reach, and whether a copy pays because the columns lie across what is there.
//!
//! Example: scores multiply each row of queries with all keys. Keys that lie as `[key, 64]` in one tensor with the values, which are
//! read along the 64, are copied to `[64, key]`.

use super::super::movement::{is_movement, move_index};
use super::{Analysis, Request, Root};
use crate::graph::{Op, TensorId};
use crate::uop::{Binary, Linear, Op as U, UopId, simplify_kernel};

/// Times that each element is read, from which on a copy is worth its time.
const REUSE: f64 = 8.0;

/// Times that a row is wider than the part of it that is read, from which on such parts fall into few sets of the cache.
const THIN: i64 = 4;

impl Analysis<'_> {
    /// Notes the dimension that contractions want contiguous, and images that are read channel by channel.
    pub(super) fn note_columns(&mut self, id: TensorId, requests: &[Request]) {
        if let Some(channels) = self.graph.tensor(id).channels {
            let summed = |s: &mut Self, i: UopId| {
                let ranges = s.free(i);
                ranges.iter().any(|r| s.reduce_ranges.contains(r))
            };
            for request in requests {
                let mut parts = request.index.iter().enumerate();
                let windows = parts.any(|(d, &i)| d != usize::from(channels) && summed(self, i));
                let channel = request.index.get(usize::from(channels)).copied();
                let apart = channel.is_some_and(|i| !summed(self, i));
                if windows && apart && self.contracting_roots.contains(&request.root) {
                    self.out.by_channel.insert(id);
                }
            }
        }
        for request in requests.iter().filter(|r| r.contracting) {
            self.out.contracted.insert(id);
            // Beside each other lie the terms of a sum.
            if request.product {
                continue;
            }
            let Some(&(column, _)) = self.innermost.get(&request.root) else {
                continue;
            };
            if let [dim] = self.walked(&request.index, column)[..] {
                self.out.column.entry(id).or_insert(dim);
            }
        }
    }

    /// Dimensions whose index moves by one as the range does.
    fn walked(&self, index: &[UopId], range: u32) -> Vec<usize> {
        (0..index.len())
            .filter(|&dim| self.walks(index[dim], range))
            .collect()
    }

    /// True for a view of a part of a tensor, or of an input, each of whose elements a contraction reads many times, but whose vectors lie
    /// across memory there. A tensor of which this is the only reader is laid out for it instead.
    pub(super) fn lies_across(&mut self, id: TensorId, requests: &[Request]) -> bool {
        let op = &self.graph.tensor(id).op;
        if self.facts.gpu.is_some() || matches!(op, Op::Expand) || self.repeats(id) {
            return false;
        }
        requests.iter().all(|request| {
            let Some(&(column, _)) = self.innermost.get(&request.root) else {
                return false;
            };
            let mut ranges: Vec<u32> = request.index.iter().flat_map(|&i| self.free(i)).collect();
            ranges.sort_unstable();
            ranges.dedup();
            ranges.retain(|r| !self.reduce_ranges.contains(r));
            let own: f64 = ranges
                .iter()
                .map(|&r| self.extents[r as usize] as f64)
                .product();
            request.contracting
                && !request.product
                && self.root_size(request.root) >= REUSE * own
                && self.is_across(id, &request.index, column)
        })
    }

    /// True when what a chain of movement starts from is cut or an input, and is not walked along its last dimension.
    fn is_across(&mut self, mut id: TensorId, index: &[UopId], column: u32) -> bool {
        let mut index = index.to_vec();
        let mut shared = false;
        while is_movement(&self.graph.tensor(id).op) {
            let tensor = self.graph.tensor(id);
            let (op, source) = (tensor.op.clone(), tensor.src[0]);
            let (from, to) = (&self.dims[source.0 as usize], &self.dims[id.0 as usize]);
            let Some(moved) = move_index(&mut self.g, &op, from, to, &index) else {
                return false;
            };
            shared |= matches!(op, Op::Slice { .. });
            (id, index) = (source, moved.index);
        }
        let tensor = self.graph.tensor(id);
        shared |= matches!(tensor.op, Op::Input(_));
        let dims = &self.dims[id.0 as usize];
        let last = dims.iter().rposition(|&e| e > 1);
        let walked = self.walked(&index, column);
        shared
            && tensor.channels.is_none()
            && !matches!(tensor.op, Op::Weight(_))
            && matches!(walked[..], [dim] if Some(dim) != last || dims[dim] >= THIN * self.extents[column as usize])
    }

    /// True when the columns of a product are asked for in pieces that are no whole vectors: heads of 19 columns. The product is made as it
    /// is, and the pieces are copied.
    pub(super) fn splits_columns(&self, id: TensorId, request: &Request) -> bool {
        let (Some(&(column, _)), Some(&index)) =
            (self.innermost.get(&request.root), request.index.last())
        else {
            return false;
        };
        let tensor = self.graph.tensor(id);
        let lanes = i64::from(self.facts.lanes(tensor.dtype.size()));
        let piece = self.extents[column as usize];
        let all = self.dims[id.0 as usize].last().copied().unwrap_or(1);
        self.facts.gpu.is_none()
            && tensor.channels.is_none()
            && piece < all
            && piece % lanes != 0
            && all >= 2 * lanes
            && self.walks(index, column)
    }

    /// True when neighbouring columns of a result whose rows are contiguous are channels of what is asked for: pixels shuffled out of few
    /// channels. Vectors would be as short as there are pixels in one.
    pub(super) fn shuffles_pixels(&mut self, request: &Request) -> bool {
        let Some(&index) = request.index.last() else {
            return false;
        };
        let Ok(index) = simplify_kernel(&mut self.g, index) else {
            return false;
        };
        let (U::Binary(Binary::FloorDiv), &[range, by]) = (self.g.op(index), self.g.src(index))
        else {
            return false;
        };
        let id = self.root_tensor(request.root);
        let (tensor, dims) = (self.graph.tensor(id), &self.dims[id.0 as usize]);
        let lanes = i64::from(self.facts.lanes(tensor.dtype.size()));
        let blocked = tensor
            .channels
            .and_then(|c| dims.get(usize::from(c)))
            .is_some_and(|&c| c * 2 > lanes);
        let planar = matches!(request.root, Root::Output(_)) || !blocked;
        self.facts.gpu.is_none()
            && planar
            && self.g.extent(range) == dims.last().copied()
            && self.g.as_int(by).is_some_and(|by| by < lanes)
    }

    /// Columns that are computed a vector at a time reach further than those that are wanted: 28 columns of windows of 5 as if there were
    /// 32. Readers whose columns are no sums of ranges are left out.
    pub(super) fn note_reach(&mut self, id: TensorId, requests: &[Request]) {
        let lanes = i64::from(self.facts.lanes(self.graph.tensor(id).dtype.size()));
        let read = requests.iter().filter_map(|request| {
            let form = Linear::of(&self.g, *request.index.last()?)?;
            let mut last = form.constant;
            for &(term, step) in &form.terms {
                let U::Range { id, .. } = self.g.op(term) else {
                    return None;
                };
                let extent = self.g.extent(term)?;
                let reduced = self.reduce_ranges.contains(&id);
                let missing = if reduced {
                    0
                } else {
                    (lanes - extent % lanes) % lanes
                };
                last += step.max(0) * (extent - 1 + missing);
            }
            Some(last + 1)
        });
        if let Some(reach) = read.max() {
            self.out.reach.insert(id, reach);
        }
    }

    /// True when an index moves by one as the range does, at least within blocks.
    fn walks(&self, index: UopId, range: u32) -> bool {
        let Some(form) = Linear::of(&self.g, index) else {
            return false;
        };
        form.terms.iter().any(|&(term, c)| {
            let node = self.g.get(term);
            let digit = match node.op {
                U::Binary(Binary::FloorMod) => node.src[0],
                _ => term,
            };
            c == 1 && matches!(self.g.op(digit), U::Range { id, .. } if id == range)
        })
    }
}
