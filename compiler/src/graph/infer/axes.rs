//! Shapes of operations that replace one axis by others: windows and small matrices.
//!
//! In: the source and what the operation says of the axis. Out: shape and element type of the result.
//!
//! Example: a window of 3 elements with stride 2 makes `[17]` into `[8, 3]`.

use super::{Typed, axis_of, known_dim};
use crate::diag::{Error, Result};
use crate::graph::ops::Matrix;
use crate::graph::tensor::{Dim, Tensor};

/// Output extent of a sliding window without padding; 0 when it does not fit.
pub fn window_extent(extent: i64, size: i64, stride: i64, dilation: i64) -> Result<i64> {
    if size < 1 || stride < 1 || dilation < 1 {
        return Err(Error::model(format!(
            "window of size {size}, stride {stride}, dilation {dilation}: all must be positive"
        )));
    }
    let span = (size - 1)
        .checked_mul(dilation)
        .and_then(|s| s.checked_add(1))
        .ok_or_else(|| Error::model("window is too large"))?;
    Ok(if extent < span {
        0
    } else {
        (extent - span) / stride + 1
    })
}

/// `[.., o, k, ..]` of `[.., o*stride + k*dilation, ..]`.
pub fn window(a: &Tensor, axis: usize, [size, stride, dilation]: [i64; 3]) -> Result<Typed> {
    axis_of(a, axis)?;
    let extent = window_extent(known_dim(a, axis)?, size, stride, dilation)?;
    let mut dims = a.shape.clone();
    dims.0[axis] = Dim::Known(extent);
    dims.0.insert(axis + 1, Dim::Known(size));
    Ok((dims, a.dtype))
}

/// As many elements as the matrix has rows in place of as many as it has columns.
pub fn transform(a: &Tensor, axis: usize, matrix: &Matrix) -> Result<Typed> {
    axis_of(a, axis)?;
    let fits = known_dim(a, axis)? == matrix.columns as i64;
    if !fits || matrix.rows() == 0 || !a.dtype.is_float() {
        return Err(Error::bug(format!(
            "a matrix of {} columns does not fit axis {axis} of {} {}",
            matrix.columns, a.dtype, a.shape
        )));
    }
    let mut dims = a.shape.clone();
    dims.0[axis] = Dim::Known(matrix.rows() as i64);
    Ok((dims, a.dtype))
}
