//! Tensors of ONNX files as [`Weight`]s.
//!
//! In: a [`TensorProto`], typed or raw or external. Out: a [`Weight`] of row-major little-endian
//! elements; raw and external bytes are not copied. Every size is checked: a tensor that says it has
//! more elements than it holds is an error that names it.
//!
//! Example: `dims: [2], data_type: FLOAT, float_data: [1.0, 2.0]` becomes eight bytes of `F32`.

use super::external::ExternalFiles;
use super::file;
use super::proto::{SequenceProto, SparseTensorProto, TensorProto, data_type};
use crate::diag::{Error, Result};
use crate::program::{Bytes, Weight};
use crate::uop::DType;
use prost::Message;
use std::path::Path;

/// Our type for an ONNX element type; `None` when tinyc has none.
pub fn dtype(number: i32) -> Option<DType> {
    Some(match number {
        data_type::FLOAT => DType::F32,
        data_type::DOUBLE => DType::F64,
        data_type::FLOAT16 => DType::F16,
        data_type::BFLOAT16 => DType::BF16,
        data_type::BOOL => DType::Bool,
        data_type::INT8 => DType::I8,
        data_type::INT16 => DType::I16,
        data_type::INT32 => DType::I32,
        data_type::INT64 => DType::I64,
        data_type::UINT8 => DType::U8,
        data_type::UINT16 => DType::U16,
        data_type::UINT32 => DType::U32,
        data_type::UINT64 => DType::U64,
        _ => return None,
    })
}

/// Our type for an ONNX element type; an error that starts with `what` when there is none.
pub(super) fn require_dtype(number: i32, what: &str) -> Result<DType> {
    let known = (1..=28).contains(&number);
    dtype(number).ok_or_else(|| {
        let name = data_type::name(number);
        if known {
            Error::unsupported(format!("{what} has element type {name}"))
                .help("convert it to one of float, double, float16, bfloat16, bool, int8..int64, uint8..uint64")
        } else {
            Error::model(format!("{what} has an unknown element type ({name})"))
        }
    })
}

/// Elements of a shape, checked so that their bytes can be counted in an `i64`.
pub(super) fn elements(dims: &[i64], what: &str) -> Result<usize> {
    let mut total = 1i64;
    for &d in dims {
        if d < 0 {
            return Err(Error::model(format!(
                "{what} has a negative dimension in its shape {dims:?}"
            )));
        }
        // Zeros must not hide an overflow: [2^62, 2^62, 0] has no bytes but strides that overflow.
        total = total
            .checked_mul(d.max(1))
            .filter(|t| *t <= i64::MAX / 16)
            .ok_or_else(|| Error::model(format!("{what}: the shape {dims:?} overflows")))?;
    }
    Ok(if dims.contains(&0) { 0 } else { total as usize })
}

/// A dense tensor.
pub(super) fn weight(tensor: &TensorProto, files: &ExternalFiles) -> Result<Weight> {
    let what = format!("tensor '{}'", tensor.name);
    let dtype = require_dtype(tensor.data_type, &what)?;
    let count = elements(&tensor.dims, &what)?;
    if tensor.segment.is_some() {
        return Err(Error::model(format!("{what} is stored in segments")));
    }
    let size = count * dtype.size();
    let bytes = match tensor.data_location {
        1 => files.bytes(tensor, size)?,
        0 => inline_bytes(tensor, dtype, count, &what)?,
        n => {
            return Err(Error::model(format!(
                "{what} has unknown data location {n}"
            )));
        }
    };
    let bytes = if dtype == DType::Bool && bytes.iter().any(|&b| b > 1) {
        Bytes::new(bytes.iter().map(|&b| u8::from(b != 0)).collect::<Vec<u8>>())
    } else {
        bytes
    };
    Ok(Weight {
        name: tensor.name.clone(),
        dtype,
        shape: tensor.dims.clone(),
        bytes,
    })
}

fn inline_bytes(tensor: &TensorProto, dtype: DType, count: usize, what: &str) -> Result<Bytes> {
    let typed = [
        ("float_data", tensor.float_data.len()),
        ("int32_data", tensor.int32_data.len()),
        ("int64_data", tensor.int64_data.len()),
        ("double_data", tensor.double_data.len()),
        ("uint64_data", tensor.uint64_data.len()),
        ("string_data", tensor.string_data.len()),
    ];
    let used: Vec<&str> = typed.iter().filter(|t| t.1 > 0).map(|t| t.0).collect();
    if let Some(raw) = tensor
        .raw_data
        .as_ref()
        .filter(|r| !r.is_empty() || used.is_empty())
    {
        if !used.is_empty() {
            return Err(Error::model(format!(
                "{what} has both raw_data and {}",
                used[0]
            )));
        }
        let size = count * dtype.size();
        if raw.len() != size {
            return Err(Error::model(format!(
                "{what}: raw_data has {} bytes, the shape {:?} of {dtype} needs {size}",
                raw.len(),
                tensor.dims
            )));
        }
        return Ok(Bytes::new(raw.clone()));
    }
    let field = match dtype {
        DType::F32 => "float_data",
        DType::F64 => "double_data",
        DType::I64 => "int64_data",
        DType::U32 | DType::U64 => "uint64_data",
        _ => "int32_data",
    };
    if let Some(other) = used.iter().find(|f| **f != field) {
        return Err(Error::model(format!(
            "{what} of {dtype} has its elements in {other}, not in {field}"
        )));
    }
    let held = typed.iter().find(|t| t.0 == field).map_or(0, |t| t.1);
    if held != count {
        return Err(Error::model(format!(
            "{what}: {field} has {held} elements, the shape {:?} needs {count}",
            tensor.dims
        )));
    }
    let mut out = Vec::with_capacity(count * dtype.size());
    let range = |v: i128| Error::model(format!("{what}: {v} does not fit {dtype}"));
    match dtype {
        DType::F32 => tensor
            .float_data
            .iter()
            .for_each(|v| out.extend(v.to_le_bytes())),
        DType::F64 => tensor
            .double_data
            .iter()
            .for_each(|v| out.extend(v.to_le_bytes())),
        DType::I64 => tensor
            .int64_data
            .iter()
            .for_each(|v| out.extend(v.to_le_bytes())),
        DType::U64 => tensor
            .uint64_data
            .iter()
            .for_each(|v| out.extend(v.to_le_bytes())),
        DType::U32 => {
            for &v in &tensor.uint64_data {
                let v = u32::try_from(v).map_err(|_| range(v.into()))?;
                out.extend(v.to_le_bytes());
            }
        }
        _ => {
            // Halves are stored as their 16 bits.
            let (low, high) = match dtype {
                DType::F16 | DType::BF16 => (0, i64::from(u16::MAX)),
                _ => dtype.int_bounds().unwrap_or((0, 0)),
            };
            for &v in &tensor.int32_data {
                if !(low..=high).contains(&i64::from(v)) {
                    return Err(range(v.into()));
                }
                out.extend(&v.to_le_bytes()[..dtype.size()]);
            }
        }
    }
    Ok(Bytes::new(out))
}

/// A sparse tensor, made dense.
pub(super) fn sparse_weight(sparse: &SparseTensorProto, files: &ExternalFiles) -> Result<Weight> {
    let (Some(values), Some(indices)) = (&sparse.values, &sparse.indices) else {
        return Err(Error::model("a sparse tensor lacks its values or indices"));
    };
    let what = format!("sparse tensor '{}'", values.name);
    let count = elements(&sparse.dims, &what)?;
    let values = weight(values, files)?;
    let indices = weight(indices, files)?;
    let n = elements(&values.shape, &what)?;
    let rank = sparse.dims.len();
    let linear = indices.shape.len() == 1;
    let expected = if linear { n } else { n.saturating_mul(rank) };
    if indices.dtype != DType::I64 || elements(&indices.shape, &what)? != expected {
        return Err(Error::model(format!(
            "{what}: {n} values do not go with indices of shape {:?}",
            indices.shape
        )));
    }
    let at: Vec<i64> = i64s(&indices.bytes);
    let size = values.dtype.size();
    let mut out = vec![0u8; count * size];
    for (i, value) in values.bytes.chunks_exact(size).enumerate() {
        let place = if linear {
            usize::try_from(at[i]).ok()
        } else {
            at[i * rank..(i + 1) * rank]
                .iter()
                .zip(&sparse.dims)
                .try_fold(0usize, |p, (&x, &d)| {
                    (0..d).contains(&x).then(|| p * d as usize + x as usize)
                })
        };
        let place = place.filter(|p| *p < count).ok_or_else(|| {
            Error::model(format!(
                "{what}: index {i} lies outside of {:?}",
                sparse.dims
            ))
        })?;
        out[place * size..(place + 1) * size].copy_from_slice(value);
    }
    Ok(Weight {
        name: values.name,
        dtype: values.dtype,
        shape: sparse.dims.clone(),
        bytes: Bytes::new(out),
    })
}

/// Little-endian 64-bit integers.
fn i64s(bytes: &[u8]) -> Vec<i64> {
    bytes
        .chunks_exact(8)
        .map(|c| {
            let mut b = [0; 8];
            b.copy_from_slice(c);
            i64::from_le_bytes(b)
        })
        .collect()
}

/// Reads a file that holds one tensor (`input_0.pb` of ONNX test data).
pub fn read_tensor(path: &Path) -> Result<Weight> {
    let bytes = file::map(path)?;
    let name = path.display();
    let tensor = TensorProto::decode(bytes.clone());
    // The three messages share no type tag. Field 3 tells: a list of tensors (or the optional value)
    // in the other two, a leftover of early ONNX in a tensor.
    let list = |t: &TensorProto| t.segment.is_some();
    let raw = matches!(&tensor, Ok(t) if t.raw_data.is_some());
    let error = match tensor {
        Ok(t) if !list(&t) => match weight(&t, &ExternalFiles::beside(path)) {
            Ok(w) => return Ok(w),
            Err(e) => Some(e),
        },
        Ok(_) => Some(Error::model("it is stored in segments")),
        Err(e) => Some(Error::model(format!(
            "not an ONNX tensor, or truncated: {e}"
        ))),
    };
    // A tensor's shape is where the others have their name.
    let other = SequenceProto::decode(bytes).is_ok_and(|s| {
        (!s.name.is_empty() || s.elem_type == 0) && s.name.chars().all(|c| !c.is_control())
    });
    match error {
        Some(e) if e.kind == crate::diag::Kind::Unsupported => Err(e),
        _ if other && !raw => Err(Error::unsupported(format!(
            "'{name}' holds a sequence or an optional value"
        ))
        .help("only tensors can be inputs and outputs")),
        Some(mut e) => {
            e.message = format!("'{name}': {}", e.message);
            Err(e)
        }
        None => Err(Error::bug("a tensor was neither read nor refused")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::diag::Kind;

    fn read(tensor: &TensorProto) -> Result<Weight> {
        weight(tensor, &ExternalFiles::default())
    }

    fn tensor(data_type: i32, dims: &[i64]) -> TensorProto {
        TensorProto {
            name: "t".into(),
            data_type,
            dims: dims.to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn typed_and_raw_elements_agree() {
        let mut typed = tensor(data_type::FLOAT, &[2]);
        typed.float_data = vec![1.0, -2.5];
        let mut raw = tensor(data_type::FLOAT, &[2]);
        let bytes: Vec<u8> = [1.0f32, -2.5]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        raw.raw_data = Some(bytes.into());
        assert_eq!(*read(&typed).unwrap().bytes, *read(&raw).unwrap().bytes);

        let mut half = tensor(data_type::FLOAT16, &[1]);
        half.int32_data = vec![0xc000];
        assert_eq!(*read(&half).unwrap().bytes, [0x00, 0xc0]);

        let mut int8 = tensor(data_type::INT8, &[2]);
        int8.int32_data = vec![-1, 127];
        assert_eq!(*read(&int8).unwrap().bytes, [0xff, 0x7f]);

        let mut u32s = tensor(data_type::UINT32, &[1]);
        u32s.uint64_data = vec![4_000_000_000];
        assert_eq!(*read(&u32s).unwrap().bytes, 4_000_000_000u32.to_le_bytes());

        let mut bools = tensor(data_type::BOOL, &[3]);
        bools.raw_data = Some(vec![0, 1, 7].into());
        assert_eq!(*read(&bools).unwrap().bytes, [0, 1, 1]);

        assert_eq!(
            read(&tensor(data_type::FLOAT, &[0])).unwrap().bytes.len(),
            0
        );
    }

    #[test]
    fn wrong_sizes_are_model_errors() {
        let mut short = tensor(data_type::FLOAT, &[3]);
        short.float_data = vec![1.0];
        let mut raw = tensor(data_type::FLOAT, &[3]);
        raw.raw_data = Some(vec![0; 11].into());
        let mut field = tensor(data_type::FLOAT, &[1]);
        field.int64_data = vec![1];
        let mut both = tensor(data_type::FLOAT, &[1]);
        both.float_data = vec![1.0];
        both.raw_data = Some(vec![0; 4].into());
        let mut range = tensor(data_type::INT8, &[1]);
        range.int32_data = vec![128];
        let huge = tensor(data_type::FLOAT, &[i64::MAX, i64::MAX]);
        let hidden = tensor(data_type::FLOAT, &[1 << 62, 1 << 62, 0]);
        let negative = tensor(data_type::FLOAT, &[-1]);
        let unknown = tensor(99, &[1]);
        for t in [
            short, raw, field, both, range, huge, hidden, negative, unknown,
        ] {
            let error = read(&t).unwrap_err();
            assert_eq!(error.kind, Kind::Model, "{error}");
            assert!(error.message.contains("'t'"), "{error}");
        }
    }

    #[test]
    fn types_without_support_are_named() {
        for t in [data_type::STRING, data_type::COMPLEX64, 17, 21, 22] {
            let error = read(&tensor(t, &[1])).unwrap_err();
            assert_eq!(error.kind, Kind::Unsupported);
            assert!(error.message.contains(&data_type::name(t)), "{error}");
        }
    }

    #[test]
    fn sparse_tensors_become_dense() {
        let mut values = tensor(data_type::FLOAT, &[2]);
        values.float_data = vec![5.0, 6.0];
        let mut indices = tensor(data_type::INT64, &[2, 2]);
        indices.int64_data = vec![0, 1, 1, 0];
        let sparse = |indices: TensorProto| SparseTensorProto {
            values: Some(values.clone()),
            indices: Some(indices),
            dims: vec![2, 2],
        };
        let files = ExternalFiles::default();
        let dense = sparse_weight(&sparse(indices.clone()), &files).unwrap();
        let want: Vec<u8> = [0f32, 5.0, 6.0, 0.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert_eq!(*dense.bytes, want[..]);
        indices.int64_data[3] = 2;
        let error = sparse_weight(&sparse(indices), &files).unwrap_err();
        assert_eq!(error.kind, Kind::Model);
    }

    #[test]
    fn files_of_sequences_are_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input_0.pb");
        let mut t = tensor(data_type::FLOAT, &[1]);
        t.float_data = vec![1.0];
        std::fs::write(&path, t.encode_to_vec()).unwrap();
        assert_eq!(*read_tensor(&path).unwrap().bytes, 1f32.to_le_bytes());
        let list = SequenceProto {
            name: "s".into(),
            elem_type: 1,
            tensor_values: vec![t],
        };
        std::fs::write(&path, list.encode_to_vec()).unwrap();
        let error = read_tensor(&path).unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported);
        std::fs::write(&path, b"\xff\xff\xff").unwrap();
        assert_eq!(read_tensor(&path).unwrap_err().kind, Kind::Model);
    }
}
