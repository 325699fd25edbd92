//! Tensors in files: `.npz`, `.npy` and ONNX test data (`.pb`).
//!
//! In: a path. Out: named arrays as [`Weight`]s (row-major, little-endian), or the way back. Every
//! storable dtype is read and written; bf16, which numpy lacks, is `V2` as ml_dtypes writes it.

use npyz::{DType as NpyType, Endianness, NpyFile, Order, TypeChar, WriteOptions, WriterBuilder};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::program::{Bytes, Weight};
use tinyc_compiler::uop::DType;

/// Arrays of an `.npz`, in file order, or the one array of an `.npy` (its name is empty).
pub fn read(path: &Path) -> Result<Vec<Weight>> {
    let file = File::open(path).map_err(|e| Error::model(format!("{}: {e}", path.display())))?;
    let mut reader = BufReader::new(file);
    let mut magic = [0u8; 6];
    let got = read_up_to(&mut reader, &mut magic).map_err(|e| bad(path, &e.to_string()))?;
    let file = File::open(path).map_err(|e| Error::model(format!("{}: {e}", path.display())))?;
    let reader = BufReader::new(file);
    if got >= 6 && &magic == b"\x93NUMPY" {
        return Ok(vec![read_npy(reader, "", path)?]);
    }
    if got < 2 || &magic[..2] != b"PK" {
        return Err(bad(path, "this is neither .npy nor .npz")
            .help("write inputs with numpy.savez(path, name=array, ...)"));
    }
    let mut archive =
        npyz::npz::NpzArchive::new(reader).map_err(|e| bad(path, &format!("damaged .npz: {e}")))?;
    let names: Vec<String> = archive.array_names().map(str::to_string).collect();
    let mut out = Vec::with_capacity(names.len());
    for name in names {
        let file_name = npyz::npz::file_name_from_array_name(&name);
        let member = archive
            .zip_archive()
            .by_name(&file_name)
            .map_err(|e| bad(path, &format!("array '{name}': {e}")))?;
        out.push(read_npy(member, &name, path)?);
    }
    Ok(out)
}

/// Writes arrays as an uncompressed `.npz`, or a single one as `.npy` when the path says so.
pub fn write(path: &Path, arrays: &[Weight]) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| {
        Error::environment(format!("cannot write {}: {e}", path.display()))
    };
    if path.extension().is_some_and(|e| e == "npy") {
        let [array] = arrays else {
            return Err(Error::usage(format!(
                "{} outputs do not fit into one .npy file",
                arrays.len()
            ))
            .help("give the output file a name that ends in .npz"));
        };
        let mut file = File::create(path).map_err(|e| failed(&e))?;
        return write_npy(&mut file, array).map_err(|e| failed(&e));
    }
    let file = File::create(path).map_err(|e| failed(&e))?;
    let mut zip = npyz::zip::ZipWriter::new(file);
    for array in arrays {
        let options = npyz::zip::write::FileOptions::default()
            .compression_method(npyz::zip::CompressionMethod::Stored)
            // A fixed time: equal results give equal files.
            .last_modified_time(npyz::zip::DateTime::default())
            .large_file(array.bytes.len() >= u32::MAX as usize);
        zip.start_file(npyz::npz::file_name_from_array_name(&array.name), options)
            .map_err(|e| failed(&e))?;
        write_npy(&mut zip, array).map_err(|e| failed(&e))?;
    }
    zip.finish().map_err(|e| failed(&e))?;
    Ok(())
}

/// `input_N.pb` and `output_N.pb` of a folder of ONNX test data.
pub struct TestData {
    /// Inputs by number.
    pub inputs: Vec<Weight>,
    /// Expected outputs by number.
    pub outputs: Vec<Weight>,
}

/// Reads a folder of ONNX test data.
pub fn read_test_data(dir: &Path) -> Result<TestData> {
    if !dir.is_dir() {
        return Err(Error::model(format!("{}: no such folder", dir.display())));
    }
    let series = |prefix: &str| -> Result<Vec<Weight>> {
        let path = |n: usize| -> PathBuf { dir.join(format!("{prefix}_{n}.pb")) };
        (0..)
            .map(path)
            .take_while(|p| p.exists())
            .map(|p| super::source::read_pb(&p))
            .collect()
    };
    let data = TestData {
        inputs: series("input")?,
        outputs: series("output")?,
    };
    if data.outputs.is_empty() {
        return Err(Error::model(format!(
            "{}: there is no output_0.pb to compare with",
            dir.display()
        )));
    }
    Ok(data)
}

fn bad(path: &Path, what: &str) -> Error {
    Error::model(format!("{}: {what}", path.display()))
}

fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match reader.read(&mut buffer[got..])? {
            0 => break,
            n => got += n,
        }
    }
    Ok(got)
}

fn read_npy(reader: impl Read, name: &str, path: &Path) -> Result<Weight> {
    let label = |what: String| {
        if name.is_empty() {
            bad(path, &what)
        } else {
            bad(path, &format!("array '{name}': {what}"))
        }
    };
    let npy = NpyFile::new(reader).map_err(|e| label(format!("damaged .npy: {e}")))?;
    let (dtype, swap) = from_npy_type(&npy.dtype())
        .ok_or_else(|| label(format!("dtype {} is not supported", npy.dtype().descr())))?;
    let shape: Vec<i64> = npy.shape().iter().map(|&d| d as i64).collect();
    let fortran = npy.order() == Order::Fortran;
    // An axis of 0 makes the rest no smaller: strides are products, too.
    let most = shape.iter().try_fold(dtype.size(), |n, &d| {
        n.checked_mul(usize::try_from(d.max(1)).ok()?)
    });
    let sane = most.is_some_and(|n| n <= isize::MAX as usize) && shape.iter().all(|&d| d >= 0);
    let size = match (sane, most) {
        (true, Some(_)) if shape.contains(&0) => 0,
        (true, Some(size)) => size,
        _ => return Err(label(format!("shape {shape:?} is too large"))),
    };
    let mut bytes = Vec::new();
    npy.into_inner()
        .take(size as u64)
        .read_to_end(&mut bytes)
        .map_err(|e| label(e.to_string()))?;
    if bytes.len() != size {
        return Err(label(format!("ends after {} of {size} bytes", bytes.len())));
    }
    if swap {
        bytes
            .chunks_exact_mut(dtype.size())
            .for_each(<[u8]>::reverse);
    }
    if fortran {
        bytes = to_row_major(&bytes, &shape, dtype.size());
    }
    if dtype == DType::Bool && bytes.iter().any(|&b| b > 1) {
        return Err(label("a Bool is neither 0 nor 1".to_string()));
    }
    Ok(Weight {
        name: name.to_string(),
        dtype,
        shape,
        bytes: Bytes::new(bytes),
    })
}

/// Column-major elements in row-major order.
fn to_row_major(bytes: &[u8], shape: &[i64], size: usize) -> Vec<u8> {
    let mut strides = vec![1usize; shape.len()];
    for i in 1..shape.len() {
        strides[i] = strides[i - 1] * shape[i - 1] as usize;
    }
    let mut index = vec![0i64; shape.len()];
    let mut out = Vec::with_capacity(bytes.len());
    for _ in 0..bytes.len() / size {
        let place: usize = index
            .iter()
            .zip(&strides)
            .map(|(&i, s)| i as usize * s)
            .sum();
        out.extend_from_slice(&bytes[place * size..][..size]);
        for d in (0..shape.len()).rev() {
            index[d] += 1;
            if index[d] < shape[d] {
                break;
            }
            index[d] = 0;
        }
    }
    out
}

fn write_npy(writer: &mut impl Write, array: &Weight) -> std::io::Result<()> {
    let shape: Vec<u64> = array.shape.iter().map(|&d| d as u64).collect();
    let dtype: npyz::TypeStr = to_npy_type(array.dtype)
        .parse()
        .map_err(|e| std::io::Error::other(format!("{e}")))?;
    WriteOptions::new_header_only()
        .dtype(NpyType::new_scalar(dtype))
        .shape(&shape)
        .writer(&mut *writer)
        .write_header_only()?;
    writer.write_all(&array.bytes)
}

/// Element type, and whether its bytes must be swapped.
fn from_npy_type(dtype: &NpyType) -> Option<(DType, bool)> {
    let NpyType::Plain(t) = dtype else {
        return None;
    };
    let out = match (t.type_char(), t.size_field()) {
        (TypeChar::Bool, 1) => DType::Bool,
        (TypeChar::Int, 1) => DType::I8,
        (TypeChar::Int, 2) => DType::I16,
        (TypeChar::Int, 4) => DType::I32,
        (TypeChar::Int, 8) => DType::I64,
        (TypeChar::Uint, 1) => DType::U8,
        (TypeChar::Uint, 2) => DType::U16,
        (TypeChar::Uint, 4) => DType::U32,
        (TypeChar::Uint, 8) => DType::U64,
        (TypeChar::Float, 2) => DType::F16,
        (TypeChar::Float, 4) => DType::F32,
        (TypeChar::Float, 8) => DType::F64,
        (TypeChar::RawData, 2) => DType::BF16,
        _ => return None,
    };
    Some((out, t.endianness() == Endianness::Big && out.size() > 1))
}

fn to_npy_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "|b1",
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 | DType::Index => "<i8",
        DType::U8 => "|u1",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::F16 => "<f2",
        DType::BF16 => "|V2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tinyc_compiler::diag::Kind;

    fn array(name: &str, dtype: DType, shape: &[i64]) -> Weight {
        let n = shape.iter().product::<i64>() as usize * dtype.size();
        Weight {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
            bytes: Bytes::new((0..n).map(|b| (b % 2) as u8).collect::<Vec<_>>()),
        }
    }

    #[test]
    fn every_dtype_survives_npz() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        let arrays: Vec<_> = DType::STORABLE
            .into_iter()
            .map(|d| array(d.name(), d, &[2, 3]))
            .chain([
                array("scalar", DType::F32, &[]),
                array("empty", DType::I64, &[0, 4]),
            ])
            .collect();
        write(&path, &arrays).unwrap();
        let mut back = read(&path).unwrap();
        for a in &arrays {
            let at = back.iter().position(|b| b.name == a.name).unwrap();
            let b = back.remove(at);
            assert_eq!(
                (a.dtype, &a.shape, &*a.bytes),
                (b.dtype, &b.shape, &*b.bytes)
            );
        }
        assert!(back.is_empty());
        let first = std::fs::read(&path).unwrap();
        write(&path, &arrays).unwrap();
        assert_eq!(first, std::fs::read(&path).unwrap());
    }

    #[test]
    fn npy_holds_one_array() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let a = array("x", DType::F16, &[5]);
        write(&path, std::slice::from_ref(&a)).unwrap();
        assert_eq!(*read(&path).unwrap()[0].bytes, *a.bytes);
        assert_eq!(write(&path, &[a.clone(), a]).unwrap_err().kind, Kind::Usage);
    }

    #[test]
    fn column_major_is_turned() {
        let bytes = [1, 2, 3, 4, 5, 6];
        assert_eq!(to_row_major(&bytes, &[2, 3], 1), [1, 3, 5, 2, 4, 6]);
    }

    #[test]
    fn damaged_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        write(&path, &[array("x", DType::F32, &[64])]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 1, 3, 20, 100, whole.len() - 10] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(read(&path).unwrap_err().kind, Kind::Model, "cut at {cut}");
        }
        let npy = dir.path().join("a.npy");
        write(&npy, &[array("x", DType::F32, &[64])]).unwrap();
        let whole = std::fs::read(&npy).unwrap();
        std::fs::write(&npy, &whole[..whole.len() - 1]).unwrap();
        assert!(read(&npy).unwrap_err().message.contains("255 of 256 bytes"));
    }
    #[test]
    fn random_damage_never_panics() {
        let dir = tempfile::tempdir().unwrap();
        let rounds: u64 =
            std::env::var("TINYC_FUZZ_ROUNDS").map_or(1500, |v| v.parse().expect("a number"));
        for name in ["a.npz", "a.npy"] {
            let path = dir.path().join(name);
            write(&path, &[array("x", DType::F32, &[3, 5])]).unwrap();
            let whole = std::fs::read(&path).unwrap();
            for round in 0..rounds {
                let mut state = (round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                let mut below = |n: usize| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    (state % n as u64) as usize
                };
                let mut bytes = whole.clone();
                for _ in 0..=below(3) {
                    let at = below(bytes.len());
                    match below(4) {
                        0 => bytes[at] = b"0123456789(),'<>|fiuV\xff"[below(22)],
                        1 => bytes[at] ^= 1 << below(8),
                        2 => bytes.insert(at, b"9F(,\0"[below(5)]),
                        _ => drop(bytes.remove(at)),
                    }
                }
                std::fs::write(&path, &bytes).unwrap();
                if let Err(e) = read(&path) {
                    assert_eq!(e.kind, Kind::Model, "round {round}: {e}");
                }
            }
        }
    }
}
