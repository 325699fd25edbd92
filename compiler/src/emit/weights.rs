//! Permutes constants into the layouts that the kernels want and places them in the weights section.
//!
//! In: weight buffers (row-major bytes, mostly memory-mapped) and the plan. Out: the bytes of the
//! section; padding and halo are zero. Buffers at one offset share bytes and are packed once.
//!
//! Example: a `[3,2]` weight in layout `[(dim 0, div 2, 2), (dim 1, div 1, 2), (dim 0, div 1, 2)]` has
//! 8 elements: rows 0 and 1 interleaved, then row 2 interleaved with zeros.

use crate::diag::{Error, Result};
use crate::program::{BufferKind, Built, Layout, Place, Weight};
use rayon::prelude::*;

/// Fills `section` (zeroed, `plan.weight_bytes` long) with every weight buffer.
pub fn pack_all(built: &Built, section: &mut [u8]) -> Result<()> {
    let mut parts: Vec<(u64, u64, &Weight, &Layout)> = Vec::new();
    for (buffer, place) in built.program.buffers.iter().zip(&built.plan.places) {
        if let (BufferKind::Weight(weight), Place::Weights(at)) = (&buffer.kind, place) {
            parts.push((*at, buffer.bytes(), weight, &buffer.layout));
        }
    }
    parts.sort_by_key(|p| (p.0, p.1));
    parts.dedup_by_key(|p| (p.0, p.1));
    let mut jobs = Vec::with_capacity(parts.len());
    let mut rest = section;
    let mut position = 0u64;
    for (at, bytes, weight, layout) in parts {
        let misplaced = || Error::bug(format!("weight '{}' overlaps another", weight.name));
        let skip = at.checked_sub(position).ok_or_else(misplaced)?;
        let tail = rest
            .split_at_mut_checked(skip as usize)
            .ok_or_else(misplaced)?
            .1;
        let (part, tail) = tail
            .split_at_mut_checked(bytes as usize)
            .ok_or_else(misplaced)?;
        rest = tail;
        position = at + bytes;
        jobs.push((weight, layout, part));
    }
    jobs.into_par_iter()
        .try_for_each(|(weight, layout, part)| pack(weight, layout, part))
}

/// Writes one weight in `layout` to `out`, which must be zero: padding is left as it is.
pub fn pack(weight: &Weight, layout: &Layout, out: &mut [u8]) -> Result<()> {
    let size = weight.dtype.size();
    let wrong = |what: &str| Error::bug(format!("weight '{}': {what}", weight.name));
    let elements: i64 = weight.shape.iter().product();
    let flat: i64 = layout.shape.iter().product();
    if elements != flat || weight.bytes.len() as u64 != elements as u64 * size as u64 {
        return Err(wrong("shape, layout and bytes disagree"));
    }
    if out.len() as u64 != layout.elements() as u64 * size as u64 {
        return Err(wrong("its place has another size"));
    }
    if layout
        .axes
        .iter()
        .any(|a| a.dim >= layout.shape.len() || a.extent < 0)
    {
        return Err(wrong("its layout names no dimension"));
    }
    if layout.is_row_major() {
        out.copy_from_slice(&weight.bytes);
        return Ok(());
    }
    let walk = Walk::new(layout);
    let start: Vec<i64> = (0..layout.shape.len())
        .map(|d| -layout.halo_of(d).0)
        .collect();
    match size {
        1 => walk.copy::<1>(&weight.bytes, out, 0, &mut start.clone()),
        2 => walk.copy::<2>(&weight.bytes, out, 0, &mut start.clone()),
        4 => walk.copy::<4>(&weight.bytes, out, 0, &mut start.clone()),
        _ => walk.copy::<8>(&weight.bytes, out, 0, &mut start.clone()),
    }
    Ok(())
}

/// The nest over physical axes.
struct Walk<'a> {
    layout: &'a Layout,
    /// Row-major stride of each logical dimension, in elements.
    source: Vec<i64>,
    /// Stride of each physical axis, in elements.
    target: Vec<i64>,
}

impl Walk<'_> {
    fn new(layout: &Layout) -> Walk<'_> {
        let mut source = vec![1; layout.shape.len()];
        for d in (0..layout.shape.len().saturating_sub(1)).rev() {
            source[d] = source[d + 1] * layout.shape[d + 1];
        }
        Walk {
            layout,
            source,
            target: layout.strides(),
        }
    }

    /// Copies everything under physical axis `axis`; `index` holds what the outer axes add up to.
    fn copy<const N: usize>(&self, from: &[u8], to: &mut [u8], axis: usize, index: &mut [i64]) {
        let Some(a) = self.layout.axes.get(axis) else {
            let inside = index
                .iter()
                .zip(&self.layout.shape)
                .all(|(&i, &n)| 0 <= i && i < n);
            if inside {
                let at = self.offset(index) * N;
                to[..N].copy_from_slice(&from[at..at + N]);
            }
            return;
        };
        if axis + 1 == self.layout.axes.len() {
            self.copy_row::<N>(from, to, axis, index);
            return;
        }
        let step = self.target[axis] as usize * N;
        let before = index[a.dim];
        for digit in 0..a.extent as usize {
            index[a.dim] = before + digit as i64 * a.div;
            self.copy::<N>(from, &mut to[digit * step..], axis + 1, index);
        }
        index[a.dim] = before;
    }

    /// The innermost axis: one run of elements that lie at a fixed distance in the source.
    fn copy_row<const N: usize>(&self, from: &[u8], to: &mut [u8], axis: usize, index: &mut [i64]) {
        let a = &self.layout.axes[axis];
        let others = index.iter().zip(&self.layout.shape).enumerate();
        let outside = |(d, (&i, &n)): (usize, (&i64, &i64))| d != a.dim && !(0 <= i && i < n);
        if a.extent == 0 || others.into_iter().any(outside) {
            return;
        }
        // Digits whose logical index lies inside the tensor.
        let (base, shape) = (index[a.dim], self.layout.shape[a.dim]);
        let first = if base < 0 {
            (-base + a.div - 1) / a.div
        } else {
            0
        };
        let end = if base < shape {
            (shape - base + a.div - 1) / a.div
        } else {
            0
        };
        let end = end.min(a.extent);
        if first >= end {
            return;
        }
        index[a.dim] = base + first * a.div;
        let start = self.offset(index) * N;
        index[a.dim] = base;
        let step = (a.div * self.source[a.dim]) as usize * N;
        let to = &mut to[first as usize * N..end as usize * N];
        if step == N {
            let length = to.len();
            to.copy_from_slice(&from[start..start + length]);
            return;
        }
        let mut at = start;
        for element in to.chunks_exact_mut(N) {
            element.copy_from_slice(&from[at..at + N]);
            at += step;
        }
    }

    fn offset(&self, index: &[i64]) -> usize {
        index
            .iter()
            .zip(&self.source)
            .map(|(i, s)| i * s)
            .sum::<i64>() as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::program::{Bytes, LayoutAxis};
    use crate::uop::DType;
    use proptest::prelude::*;

    fn axis(dim: usize, div: i64, extent: i64) -> LayoutAxis {
        LayoutAxis { dim, div, extent }
    }

    fn weight(shape: &[i64], dtype: DType) -> Weight {
        let count = shape.iter().product::<i64>() as usize * dtype.size();
        Weight {
            name: "w".into(),
            dtype,
            shape: shape.to_vec(),
            bytes: Bytes::new((0..count).map(|i| (i % 251 + 1) as u8).collect::<Vec<u8>>()),
        }
    }

    #[test]
    fn interleaves_rows_and_pads_with_zero() {
        let layout = Layout {
            shape: vec![3, 2],
            halo: Vec::new(),
            axes: vec![axis(0, 2, 2), axis(1, 1, 2), axis(0, 1, 2)],
        };
        let mut out = vec![0; 8];
        pack(&weight(&[3, 2], DType::U8), &layout, &mut out).unwrap();
        assert_eq!(out, [1, 3, 2, 4, 5, 0, 6, 0]);
    }

    #[test]
    fn wrong_size_is_an_error() {
        let layout = Layout::row_major(&[3, 2]);
        assert!(pack(&weight(&[3, 2], DType::U8), &layout, &mut [0; 5]).is_err());
    }

    proptest! {
        /// `Layout::place` is the specification.
        #[test]
        fn every_element_is_at_its_place(
            shape in prop::collection::vec(1i64..7, 1..4),
            splits in prop::collection::vec(1i64..5, 4),
            halo in prop::collection::vec((0i64..2, 0i64..2), 4),
            order in any::<u64>(),
            size in 0usize..4,
        ) {
            let dtype = [DType::U8, DType::F16, DType::F32, DType::F64][size];
            let halo = halo[..shape.len()].to_vec();
            let mut axes = Vec::new();
            for (d, &n) in shape.iter().enumerate() {
                let room = n + halo[d].0 + halo[d].1;
                axes.push(axis(d, splits[d], (room + splits[d] - 1) / splits[d]));
                axes.push(axis(d, 1, splits[d]));
            }
            let mut seed = order;
            for i in (1..axes.len()).rev() {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                axes.swap(i, (seed >> 33) as usize % (i + 1));
            }
            let layout = Layout { shape: shape.clone(), halo, axes };
            let w = weight(&shape, dtype);
            let n = dtype.size();
            let mut out = vec![0; layout.elements() as usize * n];
            pack(&w, &layout, &mut out).unwrap();
            let mut expected = vec![0; out.len()];
            let count: i64 = shape.iter().product();
            for flat in 0..count {
                let mut rest = flat;
                let mut index = vec![0; shape.len()];
                for d in (0..shape.len()).rev() {
                    index[d] = rest % shape[d];
                    rest /= shape[d];
                }
                let (from, to) = (flat as usize * n, layout.place(&index) as usize * n);
                expected[to..to + n].copy_from_slice(&w.bytes[from..from + n]);
            }
            prop_assert_eq!(out, expected);
        }
    }
}
