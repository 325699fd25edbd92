//! Single elements of tensors as numbers.

use crate::uop::DType;

/// Element `i` of little-endian `bytes` as f64 (exact for all types but 64-bit integers).
/// Out of range gives NaN.
pub fn to_f64(dtype: DType, bytes: &[u8], i: usize) -> f64 {
    let size = dtype.size();
    let Some(b) = bytes.get(i * size..(i + 1) * size) else {
        return f64::NAN;
    };
    let mut wide = [0u8; 8];
    wide[..size].copy_from_slice(b);
    let bits = u64::from_le_bytes(wide);
    match dtype {
        DType::Bool | DType::U8 | DType::U16 | DType::U32 | DType::U64 => bits as f64,
        DType::I8 => bits as i8 as f64,
        DType::I16 => bits as i16 as f64,
        DType::I32 => bits as i32 as f64,
        DType::I64 | DType::Index => bits as i64 as f64,
        DType::F16 => half::f16::from_bits(bits as u16).to_f64(),
        DType::BF16 => half::bf16::from_bits(bits as u16).to_f64(),
        DType::F32 => f32::from_bits(bits as u32) as f64,
        DType::F64 => f64::from_bits(bits),
    }
}

/// Little-endian bytes of `value` in `dtype`: rounded for floats, truncated for integers.
pub fn from_f64(dtype: DType, value: f64) -> Vec<u8> {
    match dtype {
        DType::Bool => vec![(value != 0.0) as u8],
        DType::U8 => vec![value as u8],
        DType::I8 => vec![value as i8 as u8],
        DType::U16 => (value as u16).to_le_bytes().to_vec(),
        DType::I16 => (value as i16).to_le_bytes().to_vec(),
        DType::U32 => (value as u32).to_le_bytes().to_vec(),
        DType::I32 => (value as i32).to_le_bytes().to_vec(),
        DType::U64 => (value as u64).to_le_bytes().to_vec(),
        DType::I64 | DType::Index => (value as i64).to_le_bytes().to_vec(),
        DType::F16 => half::f16::from_f64(value).to_le_bytes().to_vec(),
        DType::BF16 => half::bf16::from_f64(value).to_le_bytes().to_vec(),
        DType::F32 => (value as f32).to_le_bytes().to_vec(),
        DType::F64 => value.to_le_bytes().to_vec(),
    }
}

/// Multi-index of flat element `flat` of `shape`.
pub fn unflatten(mut flat: usize, shape: &[i64]) -> Vec<i64> {
    let mut index = vec![0; shape.len()];
    for (i, &d) in index.iter_mut().zip(shape).rev() {
        let d = d.max(1) as usize;
        *i = (flat % d) as i64;
        flat /= d;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_survive() {
        for d in DType::STORABLE {
            let expected = if d.is_unsigned() || d == DType::Bool {
                1.0
            } else {
                -2.0
            };
            assert_eq!(to_f64(d, &from_f64(d, expected), 0), expected, "{d}");
        }
        assert!(to_f64(DType::F32, &[0; 4], 1).is_nan());
        assert_eq!(unflatten(7, &[2, 2, 3]), [1, 0, 1]);
    }
}
