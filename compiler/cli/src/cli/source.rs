//! Where models come from: ONNX files and the models built into tinyc (`builtin:NAME`).

use std::io::Read;
use std::path::Path;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::graph::Graph;
use tinyc_compiler::onnx::{self, LoadOptions};
use tinyc_compiler::program::Weight;
use tinyc_runtime::sha256::Sha256;

/// What the user, or the data at hand, fixes before a model is read.
#[derive(Debug, Clone, Default)]
pub struct Bindings {
    /// `NAME=N` or `INPUT:AXIS=N`, as typed.
    pub dims: Vec<String>,
    /// Inputs that become constants, by their name.
    pub constants: Vec<Weight>,
    /// Arrays that inputs will be fed with: they fix open dimensions, and those whose value decides a
    /// shape become constants.
    pub data: Vec<Weight>,
}

/// A model that was read.
pub struct Source {
    /// The graph.
    pub graph: Graph,
    /// SHA-256 of the model file and its external data, in hex.
    pub sha256: String,
    /// Inputs that became constants.
    pub bound: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Reads a model.
pub fn load(model: &str, bindings: &Bindings) -> Result<Source> {
    if let Some(name) = model.strip_prefix("builtin:") {
        return load_builtin(name, bindings);
    }
    let path = existing(model)?;
    let mut data = bindings.data.clone();
    // A single array without a name is for a single input.
    if let [array] = &mut data[..]
        && array.name.is_empty()
        && let [name] = &onnx::input_names(path)?[..]
    {
        array.name.clone_from(name);
    }
    let mut options = LoadOptions {
        dims: bindings
            .dims
            .iter()
            .map(|d| parse_dim(d))
            .collect::<Result<_>>()?,
        constants: by_name(&bindings.constants),
        shapes: data
            .iter()
            .filter(|a| !a.name.is_empty())
            .map(|a| (a.name.clone(), a.shape.clone()))
            .collect(),
    };
    bind_values(path, &data, &mut options)?;
    let imported = onnx::load(path, &options)?;
    Ok(Source {
        sha256: imported.sha256(),
        bound: imported.bound.clone(),
        warnings: imported.warnings.clone(),
        graph: imported.graph,
    })
}

/// Makes constants of those arrays whose values decide a shape. An import stops at the first value that it
/// misses, so others come to light behind those that were bound: the list is asked for until nothing is new.
fn bind_values(path: &Path, data: &[Weight], options: &mut LoadOptions) -> Result<()> {
    while !data.is_empty() {
        let bound = options.constants.len();
        for name in onnx::value_inputs(path, options)? {
            let known = options.constants.iter().any(|(n, _)| *n == name);
            let array = data.iter().find(|a| a.name == name);
            if let Some(array) = array.filter(|_| !known) {
                options.constants.push((name, array.clone()));
            }
        }
        if options.constants.len() == bound {
            break;
        }
    }
    Ok(())
}

/// Names of a model's inputs in its order, which is the order of ONNX test data.
pub fn input_names(model: &str) -> Result<Vec<String>> {
    if let Some(name) = model.strip_prefix("builtin:") {
        let source = load_builtin(name, &Bindings::default())?;
        return Ok(source.graph.inputs.into_iter().map(|(n, _)| n).collect());
    }
    onnx::input_names(existing(model)?)
}

/// Reads one tensor of ONNX test data.
pub fn read_pb(path: &Path) -> Result<Weight> {
    onnx::read_tensor(path)
}

/// True for a file that is an executable and not a model.
pub fn is_executable(model: &str) -> bool {
    let mut magic = [0u8; 4];
    std::fs::File::open(model)
        .and_then(|mut f| f.read_exact(&mut magic))
        .is_ok_and(|()| &magic == b"\x7fELF")
}

fn load_builtin(name: &str, bindings: &Bindings) -> Result<Source> {
    if !bindings.dims.is_empty() || !bindings.constants.is_empty() {
        return Err(Error::usage(format!(
            "builtin:{name} has fixed shapes and takes neither --dim nor --const"
        )));
    }
    let graph = tinyc_models::by_name(name)?;
    let mut hash = Sha256::new();
    for weight in &graph.weights {
        hash.update(&weight.bytes);
    }
    let digest = hash.finish();
    Ok(Source {
        sha256: digest.iter().map(|b| format!("{b:02x}")).collect(),
        graph,
        bound: Vec::new(),
        warnings: Vec::new(),
    })
}

/// A missing file is a bad input, whatever reads it.
fn existing(model: &str) -> Result<&Path> {
    let path = Path::new(model);
    match std::fs::metadata(path) {
        Ok(_) => Ok(path),
        Err(e) => Err(Error::model(format!("cannot read '{model}': {e}"))),
    }
}

fn by_name(arrays: &[Weight]) -> Vec<(String, Weight)> {
    arrays.iter().map(|a| (a.name.clone(), a.clone())).collect()
}

/// `batch=1` or `input:0=1`.
fn parse_dim(text: &str) -> Result<(String, i64)> {
    let wrong = || {
        Error::usage(format!("--dim {text}: expected NAME=N or INPUT:AXIS=N"))
            .help("N is a whole number of at least 1, as in --dim batch=1")
    };
    // Names may hold '=', numbers do not.
    let (name, number) = text.rsplit_once('=').ok_or_else(wrong)?;
    match number.parse::<i64>() {
        Ok(n) if n >= 1 && !name.is_empty() => Ok((name.to_string(), n)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tinyc_compiler::diag::Kind;

    #[test]
    fn dims_are_parsed() {
        assert_eq!(parse_dim("batch=4").unwrap(), ("batch".to_string(), 4));
        assert_eq!(parse_dim("x:0=1").unwrap(), ("x:0".to_string(), 1));
        for wrong in ["batch", "=1", "batch=", "batch=0", "batch=-1", "batch=x"] {
            assert_eq!(parse_dim(wrong).unwrap_err().kind, Kind::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_missing_file_is_bad_input() {
        let e = input_names("no/such.onnx").unwrap_err();
        assert_eq!(e.kind, Kind::Model);
        assert!(e.message.contains("no/such.onnx"), "{e}");
    }
    #[test]
    fn values_behind_values_are_bound() {
        use prost::Message;
        use tinyc_compiler::onnx::proto::*;
        use tinyc_compiler::program::Bytes;
        use tinyc_compiler::uop::DType;
        let node = |op: &str, inputs: [&str; 2], output: &str| NodeProto {
            op_type: op.into(),
            input: inputs.map(String::from).to_vec(),
            output: vec![output.into()],
            ..Default::default()
        };
        let value = |name: &str, elem_type: i32, rank: usize| ValueInfoProto {
            name: name.into(),
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                    elem_type,
                    shape: Some(TensorShapeProto {
                        dim: vec![Default::default(); rank],
                    }),
                })),
            }),
        };
        // The second shape matters only where the first is known.
        let model = ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: 17,
            }],
            graph: Some(GraphProto {
                node: vec![
                    node("Reshape", ["x", "first"], "a"),
                    node("Expand", ["a", "second"], "b"),
                    node("Reshape", ["b", "third"], "y"),
                ],
                input: vec![
                    value("x", data_type::FLOAT, 1),
                    value("first", data_type::INT64, 1),
                    value("second", data_type::INT64, 1),
                    value("third", data_type::INT64, 1),
                ],
                output: vec![value("y", data_type::FLOAT, 1)],
                ..Default::default()
            }),
            ..Default::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.onnx");
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        let array = |name: &str, dtype: DType, shape: &[i64], bytes: Vec<u8>| Weight {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
            bytes: Bytes::new(bytes),
        };
        let integers = |name: &str, v: &[i64]| {
            let bytes = v.iter().flat_map(|v| v.to_le_bytes()).collect();
            array(name, DType::I64, &[v.len() as i64], bytes)
        };
        let bindings = Bindings {
            data: vec![
                array("x", DType::F32, &[6], vec![0; 24]),
                integers("first", &[1, 6]),
                integers("second", &[2, 6]),
                integers("third", &[12]),
            ],
            ..Default::default()
        };
        let source = load(path.to_str().unwrap(), &bindings).unwrap();
        assert_eq!(source.bound, ["first", "second", "third"]);
        let (_, y) = &source.graph.outputs[0];
        assert_eq!(source.graph.dims(*y).unwrap(), [12]);
    }
}
