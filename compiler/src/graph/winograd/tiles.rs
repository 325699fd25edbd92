//! The algorithms F(2,3) and F(4,3): matrices, transformed weights, error.
//!
//! `m` outputs of a row of three taps come from `m + 2` products instead of `3 m`: `A' [(G g) * (B' d)]`, where `d` are `m + 2`
//! inputs and `g` the taps. Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015 (arXiv 1509.09308); the
//! points of F(4,3) are 0, 1, -1, 2, -2 and infinity.
//!
//! Example: F(2,3) makes two outputs of four inputs with four products.

use crate::graph::ops::Matrix;
use rayon::prelude::*;

/// Outputs of a tile along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tile {
    /// F(2,3).
    Two,
    /// F(4,3).
    Four,
}

impl Tile {
    /// Outputs of a tile.
    pub fn outputs(self) -> i64 {
        match self {
            Tile::Two => 2,
            Tile::Four => 4,
        }
    }
    /// Inputs that a tile reads, and products that it takes.
    pub fn inputs(self) -> i64 {
        self.outputs() + 2
    }
    /// `B'`: inputs to factors.
    pub fn input_matrix(self) -> Matrix {
        match self {
            Tile::Two => Matrix::from_rows(&[
                [1.0, 0.0, -1.0, 0.0],
                [0.0, 1.0, 1.0, 0.0],
                [0.0, -1.0, 1.0, 0.0],
                [0.0, 1.0, 0.0, -1.0],
            ]),
            Tile::Four => Matrix::from_rows(&[
                [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
                [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
                [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
                [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
                [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
                [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
            ]),
        }
    }
    /// `G`: taps to factors.
    pub fn weight_matrix(self) -> Matrix {
        match self {
            Tile::Two => Matrix::from_rows(&[
                [1.0, 0.0, 0.0],
                [0.5, 0.5, 0.5],
                [0.5, -0.5, 0.5],
                [0.0, 0.0, 1.0],
            ]),
            Tile::Four => Matrix::from_rows(&[
                [1.0 / 4.0, 0.0, 0.0],
                [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
                [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
                [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
                [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
                [0.0, 0.0, 1.0],
            ]),
        }
    }
    /// `A'`: products to outputs.
    pub fn output_matrix(self) -> Matrix {
        match self {
            Tile::Two => Matrix::from_rows(&[[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]]),
            Tile::Four => Matrix::from_rows(&[
                [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
                [0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
                [0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
                [0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
            ]),
        }
    }
}

/// `m [rows x columns]` times a block `[columns x wide]`.
fn times(m: &Matrix, block: &[f64], wide: usize) -> Vec<f64> {
    let mut out = vec![0.0; m.rows() * wide];
    for r in 0..m.rows() {
        for (c, x) in m.row(r).enumerate() {
            for n in 0..wide {
                out[r * wide + n] += x * block[c * wide + n];
            }
        }
    }
    out
}

/// `high * block * wide'` of a block `[high.columns x wide.columns]`.
fn both(high: &Matrix, wide: &Matrix, block: &[f64]) -> Vec<f64> {
    let rows = times(high, block, wide.columns);
    let mut out = Vec::with_capacity(high.rows() * wide.rows());
    for row in rows.chunks(wide.columns) {
        out.extend(times(wide, row, 1));
    }
    out
}

/// Taps `[M, C, 3, 3]` as factors `[a, b, M, C]`, for tiles along both axes.
pub fn transform_weights(taps: &[f32], c: usize, high: Tile, wide: Tile) -> Vec<f32> {
    let (gh, gw) = (high.weight_matrix(), wide.weight_matrix());
    let m = taps.len() / (9 * c).max(1);
    let mut out = vec![0f32; gh.rows() * gw.rows() * m * c];
    out.par_chunks_mut(m * c).enumerate().for_each(|(p, rows)| {
        let (a, b): (Vec<f64>, Vec<f64>) = (
            gh.row(p / gw.rows()).collect(),
            gw.row(p % gw.rows()).collect(),
        );
        let factors: [f64; 9] = std::array::from_fn(|t| a[t / 3] * b[t % 3]);
        let (filters, _) = taps.as_chunks::<9>();
        for (to, filter) in rows.iter_mut().zip(filters) {
            let terms = factors.iter().zip(filter);
            *to = terms.map(|(f, &x)| f * f64::from(x)).sum::<f64>() as f32;
        }
    });
    out
}

/// Output channels that [`error`] looks at.
const SAMPLES: usize = 8;

/// Relative error (norm over norm) of some output channels for inputs between -1 and 1 when the tiles are computed in f32, against sums
/// in f64.
pub fn error(taps: &[f32], m: usize, c: usize, high: Tile, wide: Tile) -> f64 {
    let (h, w) = (high.inputs() as usize, wide.inputs() as usize);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let (bh, bw) = (high.input_matrix(), wide.input_matrix());
    let (gh, gw) = (high.weight_matrix(), wide.weight_matrix());
    let (ah, aw) = (high.output_matrix(), wide.output_matrix());
    let round = |v: Vec<f64>| -> Vec<f32> { v.into_iter().map(|x| x as f32).collect() };
    let inputs: Vec<Vec<f64>> = (0..c)
        .map(|_| (0..h * w).map(|_| f64::from(random())).collect())
        .collect();
    let factors: Vec<Vec<f32>> = inputs.iter().map(|d| round(both(&bh, &bw, d))).collect();
    let (mut wrong, mut whole) = (0.0, 0.0);
    for sample in 0..SAMPLES.min(m) {
        let co = sample * m / SAMPLES.min(m);
        let mut products = vec![0f32; h * w];
        let mut exact = vec![0f64; ah.rows() * aw.rows()];
        for ci in 0..c {
            let from = (co * c + ci) * 9;
            let g: Vec<f64> = taps[from..from + 9].iter().map(|&x| f64::from(x)).collect();
            let u = round(both(&gh, &gw, &g));
            for (p, (a, b)) in products.iter_mut().zip(factors[ci].iter().zip(&u)) {
                *p = a.mul_add(*b, *p);
            }
            for (n, e) in exact.iter_mut().enumerate() {
                let (y, x) = (n / aw.rows(), n % aw.rows());
                for (t, tap) in g.iter().enumerate() {
                    *e += tap * inputs[ci][(y + t / 3) * w + x + t % 3];
                }
            }
        }
        let products: Vec<f64> = products.into_iter().map(f64::from).collect();
        for (got, want) in round(both(&ah, &aw, &products)).into_iter().zip(exact) {
            wrong += (f64::from(got) - want).powi(2);
            whole += want * want;
        }
    }
    if whole == 0.0 {
        0.0
    } else {
        (wrong / whole).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taps(m: usize, c: usize) -> Vec<f32> {
        (0..m * c * 9)
            .map(|n| ((n * 7919) % 101) as f32 / 50.0 - 1.0)
            .collect()
    }

    #[test]
    fn tiles_give_the_convolution() {
        let taps = taps(8, 32);
        for (high, wide) in [
            (Tile::Two, Tile::Two),
            (Tile::Two, Tile::Four),
            (Tile::Four, Tile::Four),
        ] {
            let error = error(&taps, 8, 32, high, wide);
            assert!(error > 0.0 && error < 2e-6, "{high:?} {wide:?}: {error:e}");
        }
    }

    #[test]
    fn factors_of_a_constant_filter() {
        // G g G' of nine ones: rows of G sum to 1, 1.5, 0.5 and 1.
        let u = transform_weights(&[1.0; 9], 1, Tile::Two, Tile::Two);
        let rows = [1.0, 1.5, 0.5, 1.0];
        for (n, x) in u.iter().enumerate() {
            assert_eq!(*x, rows[n / 4] * rows[n % 4]);
        }
    }
}
