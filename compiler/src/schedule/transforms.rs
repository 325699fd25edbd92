//! Values of tensors that a small constant matrix makes of another (`Op::Transform`).
//!
//! In: an index of the result. Out: one formula for each row of the matrix, chosen by the index: `opt` unrolls the loops over rows, so
//! that each copy keeps one formula. Formulas share what they have in common: two rows that differ in signs only are the sum and the
//! difference of the same two parts.
//!
//! Example: rows `[0, 1, 1, 0]` and `[0, -1, 1, 0]` of `d` are `d2 + d1` and `d2 - d1`.

use super::nests::Nests;
use crate::diag::Result;
use crate::graph::{Matrix, TensorId};
use crate::uop::{Binary, UopId, simplify};

impl Nests<'_> {
    /// `out[.., r, ..] = sum over c of matrix[r, c] * source[.., c, ..]` at `index`.
    pub(super) fn transform(
        &mut self,
        source: TensorId,
        axis: usize,
        matrix: &Matrix,
        index: &[UopId],
        gate: Option<UopId>,
    ) -> Result<UopId> {
        let rows: Vec<Vec<f64>> = (0..matrix.rows())
            .map(|r| matrix.row(r).collect())
            .collect();
        let mut columns: Vec<Option<UopId>> = vec![None; matrix.columns];
        for (c, column) in columns.iter_mut().enumerate() {
            if rows.iter().any(|r| r[c] != 0.0) {
                let mut at = index.to_vec();
                at[axis] = self.g.index(c as i64);
                *column = Some(self.value(source, &at, gate)?);
            }
        }
        let formulas: Vec<UopId> = (0..rows.len())
            .map(|r| self.formula(&rows, r, &columns))
            .collect();
        let row = simplify(&mut self.g, index[axis]);
        if let Some(known) = self.g.as_int(row) {
            return Ok(formulas[known.clamp(0, rows.len() as i64 - 1) as usize]);
        }
        let mut result = formulas[rows.len() - 1];
        for r in (0..rows.len() - 1).rev() {
            let number = self.g.index(r as i64);
            let mine = self.g.binary(Binary::Eq, row, number);
            result = self.g.select(mine, formulas[r], result);
        }
        Ok(result)
    }

    fn formula(&mut self, rows: &[Vec<f64>], r: usize, columns: &[Option<UopId>]) -> UopId {
        let row = &rows[r];
        let partner = rows.iter().position(|other| {
            other != row && other.iter().zip(row).all(|(a, b)| a.abs() == b.abs())
        });
        let Some(partner) = partner else {
            return self.sum(row, columns);
        };
        // Seen from the earlier of the two: what both have, and what the later one has with the other sign.
        let (first, second) = (&rows[r.min(partner)], &rows[r.max(partner)]);
        let part = |alike: bool| -> Vec<f64> {
            let pairs = first.iter().zip(second);
            pairs
                .map(|(a, b)| if (a == b) == alike { *a } else { 0.0 })
                .collect()
        };
        let (same, other) = (part(true), part(false));
        if same.iter().all(|&x| x == 0.0) {
            return self.sum(row, columns);
        }
        let (same, other) = (self.sum(&same, columns), self.sum(&other, columns));
        let op = if r < partner {
            Binary::Add
        } else {
            Binary::Sub
        };
        self.g.binary(op, same, other)
    }

    /// Sum of a row's products, in the order of the columns but for the first, which had better have no factor.
    fn sum(&mut self, row: &[f64], columns: &[Option<UopId>]) -> UopId {
        let mut terms: Vec<(f64, UopId)> = row
            .iter()
            .zip(columns)
            .filter_map(|(&m, &c)| Some((m, c?)))
            .filter(|t| t.0 != 0.0)
            .collect();
        if let Some(plain) = terms.iter().position(|t| t.0 == 1.0) {
            terms[..=plain].rotate_right(1);
        }
        let mut total: Option<UopId> = None;
        for (m, value) in terms {
            let ty = self.g.ty(value).scalar;
            let scaled = |s: &mut Self, m: f64| {
                let factor = s.g.float(ty, m);
                s.g.binary(Binary::Mul, value, factor)
            };
            total = Some(match total {
                None if m == 1.0 => value,
                None => scaled(self, m),
                Some(sum) if m == 1.0 => self.g.binary(Binary::Add, sum, value),
                Some(sum) if m == -1.0 => self.g.binary(Binary::Sub, sum, value),
                Some(sum) => {
                    let product = scaled(self, m);
                    self.g.binary(Binary::Add, sum, product)
                }
            });
        }
        total.unwrap_or_else(|| self.g.number(crate::uop::DType::F32, 0.0))
    }
}
