//! Layout: a bijection from the logical index of a tensor to a place in memory, with room to spare.
//!
//! A layout is a list of physical axes, outermost first. Each takes one digit of one logical index:
//! `digit = (index[dim] + halo_low[dim]) / div % extent` (the outermost digit of a dim is not reduced
//! by `%`). The physical place is the digits in mixed radix. `C/16,H,W,16` of a `[1,C,H,W]` tensor is
//! `[(dim 1, div 16, C/16), (dim 2, div 1, H), (dim 3, div 1, W), (dim 1, div 1, 16)]`.

/// One physical axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LayoutAxis {
    /// Logical dimension.
    pub dim: usize,
    /// Divisor of its index.
    pub div: i64,
    /// Number of digit values.
    pub extent: i64,
}

/// Logical shape and physical order of a buffer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Logical shape, without halo.
    pub shape: Vec<i64>,
    /// Room before and after each dimension that a kernel may read as zero: (low, high).
    /// The producer writes the zeros. Empty means no halo anywhere.
    pub halo: Vec<(i64, i64)>,
    /// Physical axes, outermost first. Dims of extent 1 need none.
    pub axes: Vec<LayoutAxis>,
}

impl Layout {
    /// Row-major, no halo.
    pub fn row_major(shape: &[i64]) -> Layout {
        let axes = shape
            .iter()
            .enumerate()
            .map(|(dim, &extent)| LayoutAxis {
                dim,
                div: 1,
                extent,
            })
            .collect();
        Layout {
            shape: shape.to_vec(),
            halo: Vec::new(),
            axes,
        }
    }
    /// True for row-major order without halo or padding: what callers see.
    pub fn is_row_major(&self) -> bool {
        let mut expected = self.shape.iter().enumerate().filter(|&(_, &e)| e != 1);
        let mut axes = self.axes.iter().filter(|a| a.extent != 1);
        self.halo.iter().all(|&h| h == (0, 0))
            && expected.all(|(dim, &extent)| {
                axes.next()
                    == Some(&LayoutAxis {
                        dim,
                        div: 1,
                        extent,
                    })
            })
            && axes.next().is_none()
    }
    /// The layout without the dimensions of extent 1: two layouts that are equal in this form put the same elements at
    /// the same places.
    pub fn squeezed(&self) -> Layout {
        let kept: Vec<usize> = (0..self.shape.len())
            .filter(|&d| self.shape[d] != 1 || self.halo_of(d) != (0, 0))
            .collect();
        let place = |dim: usize| kept.iter().position(|&d| d == dim);
        Layout {
            shape: kept.iter().map(|&d| self.shape[d]).collect(),
            halo: if self.halo.iter().all(|&h| h == (0, 0)) {
                Vec::new()
            } else {
                kept.iter().map(|&d| self.halo_of(d)).collect()
            },
            axes: self
                .axes
                .iter()
                .filter(|a| a.extent != 1)
                .filter_map(|a| {
                    Some(LayoutAxis {
                        dim: place(a.dim)?,
                        ..a.clone()
                    })
                })
                .collect(),
        }
    }
    /// This squeezed layout for a shape that has more dimensions of extent 1; `None` for another shape.
    pub fn unsqueezed(&self, shape: &[i64]) -> Option<Layout> {
        let kept: Vec<usize> = (0..shape.len()).filter(|&d| shape[d] != 1).collect();
        let same = kept.len() == self.shape.len()
            && kept.iter().zip(&self.shape).all(|(&d, &e)| shape[d] == e);
        if !same || !self.halo.is_empty() {
            return None;
        }
        Some(Layout {
            shape: shape.to_vec(),
            halo: Vec::new(),
            axes: self
                .axes
                .iter()
                .map(|a| LayoutAxis {
                    dim: kept[a.dim],
                    ..a.clone()
                })
                .collect(),
        })
    }
    /// Elements in memory, padding and halo included.
    pub fn elements(&self) -> i64 {
        self.axes.iter().map(|a| a.extent).product()
    }
    /// Room before and after a dimension.
    pub fn halo_of(&self, dim: usize) -> (i64, i64) {
        self.halo.get(dim).copied().unwrap_or((0, 0))
    }
    /// Says why it is no layout: the digits of each dimension follow each other without gaps from 1 on, and
    /// hold the dimension with its halo.
    pub fn check(&self) -> Result<(), String> {
        for (dim, &extent) in self.shape.iter().enumerate() {
            let mut digits: Vec<&LayoutAxis> = self.axes.iter().filter(|a| a.dim == dim).collect();
            digits.sort_by_key(|a| (a.div, a.extent));
            let mut next = 1;
            for digit in digits {
                if digit.div != next {
                    return Err(format!(
                        "a digit d{dim}/{}, where d{dim}/{next} follows",
                        digit.div
                    ));
                }
                next = digit.div.saturating_mul(digit.extent);
            }
            let (low, high) = self.halo_of(dim);
            let wanted = extent.saturating_add(low).saturating_add(high);
            if next < wanted {
                return Err(format!("room for {next} of {wanted} in dimension {dim}"));
            }
        }
        Ok(())
    }
    /// Values that the index of a dimension can have, halo and padding included.
    pub fn reach(&self, dim: usize) -> i64 {
        // A scratch layout may lack digits: several indices then have one place.
        let axes = self.axes.iter().filter(|a| a.dim == dim);
        axes.map(|a| a.div.saturating_mul(a.extent))
            .max()
            .unwrap_or(1)
            .max(self.shape[dim])
    }
    /// Stride in elements of each physical axis.
    pub fn strides(&self) -> Vec<i64> {
        let mut strides = vec![1; self.axes.len()];
        for i in (0..self.axes.len().saturating_sub(1)).rev() {
            strides[i] = strides[i + 1] * self.axes[i + 1].extent;
        }
        strides
    }
    /// Physical place of a logical index (which may lie in the halo).
    pub fn place(&self, index: &[i64]) -> i64 {
        self.axes
            .iter()
            .zip(self.strides())
            .map(|(a, s)| (index[a.dim] + self.halo_of(a.dim).0) / a.div % a.extent * s)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_of_one_come_and_go() {
        let mut packed = Layout::row_major(&[1, 40, 1, 3]);
        packed.axes = vec![
            LayoutAxis {
                dim: 1,
                div: 16,
                extent: 3,
            },
            LayoutAxis {
                dim: 3,
                div: 1,
                extent: 3,
            },
            LayoutAxis {
                dim: 1,
                div: 1,
                extent: 16,
            },
        ];
        let squeezed = packed.squeezed();
        assert_eq!(squeezed.shape, [40, 3]);
        assert_eq!(squeezed.place(&[21, 2]), packed.place(&[0, 21, 0, 2]));
        assert_eq!(squeezed.unsqueezed(&[1, 40, 1, 3]), Some(packed));
        assert_eq!(squeezed.unsqueezed(&[3, 40]), None);
    }
}
