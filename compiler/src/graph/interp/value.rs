//! Values of the reference interpreter: every float type is held as f64 (rounded to the type), every
//! integer type and Bool as i64 (wrapped to the type; U64 as its bits).

use crate::diag::{Error, Result};
use crate::program::{Bytes, Weight};
use crate::uop::DType;

/// Elements of a [`Value`].
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Of a float type.
    Float(Vec<f64>),
    /// Of an integer type or Bool.
    Int(Vec<i64>),
}

/// A tensor with its elements, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Vec<i64>,
    /// Elements.
    pub data: Data,
}

/// Rounds to a float type.
pub fn round_to(dtype: DType, x: f64) -> f64 {
    match dtype {
        DType::F32 => x as f32 as f64,
        DType::F16 => half::f16::from_f64(x).to_f64(),
        DType::BF16 => half::bf16::from_f64(x).to_f64(),
        _ => x,
    }
}

/// Wraps to an integer type; U64 keeps its bits.
pub fn wrap_to(dtype: DType, x: i64) -> i64 {
    match dtype {
        DType::Bool => (x != 0) as i64,
        DType::I8 => x as i8 as i64,
        DType::I16 => x as i16 as i64,
        DType::I32 => x as i32 as i64,
        DType::U8 => x as u8 as i64,
        DType::U16 => x as u16 as i64,
        DType::U32 => x as u32 as i64,
        _ => x,
    }
}

/// Constant bits of a number, as the kernel IR's `Const`: rounded for floats, truncated and saturated
/// for integers, `!= 0` for Bool.
pub fn number_bits(dtype: DType, x: f64) -> u64 {
    if dtype.is_float() {
        let rounded = round_to(dtype, x);
        return if rounded.is_nan() {
            f64::NAN.to_bits()
        } else {
            rounded.to_bits()
        };
    }
    match dtype {
        DType::Bool => (x != 0.0) as u64,
        DType::U64 => x as u64,
        _ => match dtype.int_bounds() {
            Some((low, high)) => (x as i64).clamp(low, high) as u64,
            None => x as i64 as u64,
        },
    }
}

impl Value {
    /// A value of floats; they are rounded to `dtype`.
    pub fn floats(dtype: DType, shape: &[i64], data: Vec<f64>) -> Value {
        let data = match dtype {
            DType::F64 => data,
            _ => data.into_iter().map(|x| round_to(dtype, x)).collect(),
        };
        Value {
            dtype,
            shape: shape.to_vec(),
            data: Data::Float(data),
        }
    }
    /// A value of integers or Bools; they are wrapped to `dtype`.
    pub fn ints(dtype: DType, shape: &[i64], data: Vec<i64>) -> Value {
        let data = match dtype {
            DType::I64 | DType::U64 | DType::Index => data,
            _ => data.into_iter().map(|x| wrap_to(dtype, x)).collect(),
        };
        Value {
            dtype,
            shape: shape.to_vec(),
            data: Data::Int(data),
        }
    }
    /// The same constant everywhere.
    pub fn full(dtype: DType, shape: &[i64], bits: u64) -> Value {
        let n = shape.iter().product::<i64>().max(0) as usize;
        let data = if dtype.is_float() {
            Data::Float(vec![f64::from_bits(bits); n])
        } else {
            Data::Int(vec![bits as i64; n])
        };
        Value {
            dtype,
            shape: shape.to_vec(),
            data,
        }
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Float(v) => v.len(),
            Data::Int(v) => v.len(),
        }
    }
    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Elements as integers, when they are.
    pub fn as_ints(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Int(v) => Some(v),
            Data::Float(_) => None,
        }
    }
    /// Elements as floats, when they are.
    pub fn as_floats(&self) -> Option<&[f64]> {
        match &self.data {
            Data::Float(v) => Some(v),
            Data::Int(_) => None,
        }
    }
    /// Elements as f64, whatever the type (U64 as unsigned).
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::Float(v) => v.clone(),
            Data::Int(v) if self.dtype == DType::U64 => {
                v.iter().map(|&x| x as u64 as f64).collect()
            }
            Data::Int(v) => v.iter().map(|&x| x as f64).collect(),
        }
    }
    /// Elements as i64, whatever the type (floats truncate and saturate).
    pub fn to_i64(&self) -> Vec<i64> {
        match &self.data {
            Data::Int(v) => v.clone(),
            Data::Float(v) => v.iter().map(|&x| x as i64).collect(),
        }
    }
    /// The only element as f64.
    pub fn scalar_f64(&self) -> Option<f64> {
        match self.to_f64()[..] {
            [x] => Some(x),
            _ => None,
        }
    }
    /// The only element as i64.
    pub fn scalar_i64(&self) -> Option<i64> {
        match self.to_i64()[..] {
            [x] => Some(x),
            _ => None,
        }
    }
    /// Little-endian elements of `dtype`.
    pub fn from_bytes(dtype: DType, shape: &[i64], bytes: &[u8]) -> Result<Value> {
        let n = shape
            .iter()
            .try_fold(1i64, |a, &d| a.checked_mul(d))
            .unwrap_or(-1);
        if n < 0 || bytes.len() as i128 != n as i128 * dtype.size() as i128 {
            return Err(Error::model(format!(
                "{} bytes do not fill shape {shape:?} of {dtype}",
                bytes.len()
            )));
        }
        macro_rules! each {
            ($t:ty, $to:ty) => {
                bytes
                    .as_chunks::<{ size_of::<$t>() }>()
                    .0
                    .iter()
                    .map(|c| <$t>::from_le_bytes(*c) as $to)
                    .collect()
            };
        }
        let data = match dtype {
            DType::Bool => Data::Int(bytes.iter().map(|&b| (b != 0) as i64).collect()),
            DType::I8 => Data::Int(each!(i8, i64)),
            DType::I16 => Data::Int(each!(i16, i64)),
            DType::I32 => Data::Int(each!(i32, i64)),
            DType::I64 | DType::Index => Data::Int(each!(i64, i64)),
            DType::U8 => Data::Int(each!(u8, i64)),
            DType::U16 => Data::Int(each!(u16, i64)),
            DType::U32 => Data::Int(each!(u32, i64)),
            DType::U64 => Data::Int(each!(u64, i64)),
            DType::F32 => Data::Float(each!(f32, f64)),
            DType::F64 => Data::Float(each!(f64, f64)),
            DType::F16 => Data::Float(
                (bytes.as_chunks::<2>().0.iter())
                    .map(|c| half::f16::from_le_bytes(*c).to_f64())
                    .collect(),
            ),
            DType::BF16 => Data::Float(
                (bytes.as_chunks::<2>().0.iter())
                    .map(|c| half::bf16::from_le_bytes(*c).to_f64())
                    .collect(),
            ),
        };
        Ok(Value {
            dtype,
            shape: shape.to_vec(),
            data,
        })
    }
    /// Little-endian elements, as `Weight::bytes` holds them.
    pub fn to_bytes(&self) -> Vec<u8> {
        macro_rules! each {
            ($v:expr, $t:ty) => {
                $v.iter().flat_map(|&x| (x as $t).to_le_bytes()).collect()
            };
        }
        match (&self.data, self.dtype) {
            (Data::Int(v), DType::Bool | DType::I8 | DType::U8) => each!(v, u8),
            (Data::Int(v), DType::I16 | DType::U16) => each!(v, u16),
            (Data::Int(v), DType::I32 | DType::U32) => each!(v, u32),
            (Data::Int(v), _) => each!(v, i64),
            (Data::Float(v), DType::F16) => v
                .iter()
                .flat_map(|&x| half::f16::from_f64(x).to_le_bytes())
                .collect(),
            (Data::Float(v), DType::BF16) => v
                .iter()
                .flat_map(|&x| half::bf16::from_f64(x).to_le_bytes())
                .collect(),
            (Data::Float(v), DType::F32) => each!(v, f32),
            (Data::Float(v), _) => each!(v, f64),
        }
    }
    /// The value of a constant.
    pub fn from_weight(w: &Weight) -> Result<Value> {
        Value::from_bytes(w.dtype, &w.shape, &w.bytes)
    }
    /// As a constant.
    pub fn to_weight(&self, name: &str) -> Weight {
        Weight {
            name: name.to_string(),
            dtype: self.dtype,
            shape: self.shape.clone(),
            bytes: Bytes::new(self.to_bytes()),
        }
    }
}
