//! Damaged models: whatever the bytes, import answers with a graph or an error of the right kind.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::proto::*;
use super::{LoadOptions, load, load_bytes};
use crate::diag::{Error, Kind};
use prost::Message;
use prost::bytes::Bytes;

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&d: &i64| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::Value::DimValue(d)),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: data_type::FLOAT,
                shape: Some(TensorShapeProto {
                    dim: dims.iter().map(dim).collect(),
                }),
            })),
        }),
    }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: format!("{op}_node"),
        input: inputs.iter().map(|s| (*s).into()).collect(),
        output: outputs.iter().map(|s| (*s).into()).collect(),
        ..Default::default()
    }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute_type::INTS,
        ints: ints.to_vec(),
        ..Default::default()
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute_type::INT,
        i: Some(i),
        ..Default::default()
    }
}

fn floats(name: &str, dims: &[i64]) -> TensorProto {
    let n = dims.iter().product::<i64>() as usize;
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: data_type::FLOAT,
        raw_data: Some(Bytes::from(vec![0u8; n * 4])),
        ..Default::default()
    }
}

fn shape(name: &str, v: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![v.len() as i64],
        data_type: data_type::INT64,
        int64_data: v.to_vec(),
        ..Default::default()
    }
}

/// A model with a convolution, shape arithmetic, control flow and a function.
fn model() -> ModelProto {
    let mut conv = node("Conv", &["x", "w"], &["c"]);
    conv.attribute = vec![ints("pads", &[1, 1, 1, 1]), ints("strides", &[2, 2])];
    let mut pool = node("MaxPool", &["c"], &["p"]);
    pool.attribute = vec![ints("kernel_shape", &[2, 2]), int("ceil_mode", 1)];
    let mut branch = node("If", &["yes"], &["i"]);
    for (name, op) in [("then_branch", "Relu"), ("else_branch", "Neg")] {
        branch.attribute.push(AttributeProto {
            name: name.into(),
            r#type: attribute_type::GRAPH,
            g: Some(GraphProto {
                node: vec![node(op, &["r"], &["b"])],
                output: vec![value("b", &[1, 4])],
                ..Default::default()
            }),
            ..Default::default()
        });
    }
    let mut call = node("Twice", &["i"], &["y"]);
    call.domain = "local".into();
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![
            OperatorSetIdProto {
                domain: String::new(),
                version: 17,
            },
            OperatorSetIdProto {
                domain: "local".into(),
                version: 1,
            },
        ],
        functions: vec![FunctionProto {
            name: "Twice".into(),
            domain: "local".into(),
            input: vec!["a".into()],
            output: vec!["z".into()],
            node: vec![node("Add", &["a", "a"], &["z"])],
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: 17,
            }],
            ..Default::default()
        }],
        graph: Some(GraphProto {
            name: "g".into(),
            node: vec![
                conv,
                pool,
                node("Reshape", &["p", "s"], &["r"]),
                branch,
                call,
            ],
            initializer: vec![
                floats("w", &[4, 3, 3, 3]),
                shape("s", &[1, -1]),
                TensorProto {
                    name: "yes".into(),
                    data_type: data_type::BOOL,
                    int32_data: vec![1],
                    ..Default::default()
                },
            ],
            input: vec![value("x", &[1, 3, 4, 4])],
            output: vec![value("y", &[1, 4])],
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn import(model: &ModelProto) -> Result<crate::graph::Graph, Error> {
    load_bytes(model.encode_to_vec(), &LoadOptions::default()).map(|i| i.graph)
}

fn refused(change: impl FnOnce(&mut ModelProto), kind: Kind, text: &str) {
    let mut m = model();
    change(&mut m);
    let error = import(&m).unwrap_err();
    let all: Vec<String> = std::iter::once(&error)
        .chain(&error.others)
        .map(ToString::to_string)
        .collect();
    assert_eq!(error.kind, kind, "{all:?}");
    assert!(all.iter().any(|t| t.contains(text)), "{all:?}");
}

fn graph(m: &mut ModelProto) -> &mut GraphProto {
    m.graph.get_or_insert_default()
}

#[test]
fn the_whole_model_is_imported() {
    let g = import(&model()).unwrap();
    assert_eq!(g.outputs[0].0, "y");
    assert_eq!(g.dims(g.outputs[0].1).unwrap(), [1, 4]);
    assert_eq!(g.inputs.len(), 1);
}

#[test]
fn damage_is_named() {
    use Kind::{Model, Unsupported};
    refused(|m| graph(m).node[0].input[1] = "q".into(), Model, "'q'");
    refused(|m| graph(m).node[1].input[0] = "y".into(), Model, "cyclic");
    refused(|m| graph(m).node[1].output[0] = "c".into(), Model, "twice");
    refused(
        |m| graph(m).node[0].attribute.push(int("colour", 1)),
        Model,
        "'colour'",
    );
    refused(
        |m| graph(m).node[0].attribute[0] = int("pads", 1),
        Model,
        "a list of integers",
    );
    refused(|m| graph(m).node[0].input.clear(), Model, "0 inputs");
    refused(|m| graph(m).initializer[0].raw_data = None, Model, "'w'");
    refused(
        |m| graph(m).initializer[1].int64_data = vec![7, -1],
        Model,
        "reshape",
    );
    refused(
        |m| graph(m).initializer[1].int64_data = vec![i64::MAX, 5],
        Model,
        "reshape",
    );
    refused(
        |m| graph(m).input[0] = value("x", &[1 << 40, 3, 1 << 30, 4]),
        Model,
        "too large",
    );
    refused(
        |m| graph(m).output[0] = value("nothing", &[1]),
        Model,
        "'nothing'",
    );
    refused(|m| m.opset_import[0].version = 6, Unsupported, "opset 6");
    refused(|m| m.opset_import.clear(), Unsupported, "opset 1");
    refused(
        |m| {
            m.functions[0].node[0] = node("Twice", &["a"], &["z"]);
            m.functions[0].node[0].domain = "local".into();
            let local = m.opset_import[1].clone();
            m.functions[0].opset_import.push(local);
        },
        Model,
        "calls itself",
    );
}

#[test]
fn a_branch_that_does_not_fit_asks_for_the_choice() {
    let mut m = model();
    // The choice comes from outside; one branch cannot have its shape.
    graph(&mut m).initializer.truncate(2);
    let mut yes = value("yes", &[]);
    if let Some(TypeProto {
        value: Some(type_proto::Value::TensorType(t)),
    }) = &mut yes.r#type
    {
        t.elem_type = data_type::BOOL;
    }
    graph(&mut m).input.push(yes);
    assert!(import(&m).is_ok());
    let other = graph(&mut m).node[3].attribute[1].g.as_mut().unwrap();
    other.node[0] = node("Add", &["r", "w"], &["b"]);
    let error = import(&m).unwrap_err();
    assert_eq!(error.kind, Kind::Model);
    let help = error.help.unwrap();
    assert!(help.contains("--const yes=value.npy"), "{help}");
}

#[test]
fn all_unsupported_operators_are_listed() {
    let mut m = model();
    let g = graph(&mut m);
    g.node[0] = node("Foo", &["x"], &["c"]);
    g.node.push(node("Bar", &["x"], &["z"]));
    g.node[5].domain = "com.example".into();
    m.opset_import.push(OperatorSetIdProto {
        domain: "com.example".into(),
        version: 3,
    });
    let error = import(&m).unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported);
    let all: Vec<String> = std::iter::once(&error)
        .chain(&error.others)
        .map(|e| e.to_string())
        .collect();
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(
        all[0].contains("Foo 'Foo_node'") && all[0].contains("(opset 17)"),
        "{all:?}"
    );
    assert!(all[1].contains("com.example::Bar (opset 3)"), "{all:?}");
}

#[test]
fn open_dimensions_are_bound_by_name_or_place() {
    let mut m = model();
    let g = graph(&mut m);
    let Some(type_proto::Value::TensorType(t)) =
        g.input[0].r#type.as_mut().and_then(|t| t.value.as_mut())
    else {
        panic!("a tensor")
    };
    t.shape.as_mut().unwrap().dim[0].value =
        Some(tensor_shape_proto::Value::DimParam("batch".into()));
    let bytes = m.encode_to_vec();
    let with = |dims: &[(&str, i64)]| {
        let dims = dims.iter().map(|(n, v)| ((*n).to_string(), *v)).collect();
        load_bytes(
            bytes.clone(),
            &LoadOptions {
                dims,
                ..Default::default()
            },
        )
    };
    let error = with(&[]).unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported);
    assert!(error.help.unwrap().contains("--dim batch=N"));
    for name in ["batch", "x:0"] {
        let i = with(&[(name, 1)]).unwrap();
        assert_eq!(i.graph.dims(i.graph.inputs[0].1).unwrap()[0], 1);
    }
    assert_eq!(
        with(&[("batch", 1), ("width", 2)]).unwrap_err().kind,
        Kind::Usage
    );
    assert_eq!(with(&[("batch", -1)]).unwrap_err().kind, Kind::Usage);
}

#[test]
fn inputs_that_decide_shapes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let mut m = model();
    let g = graph(&mut m);
    let s = g.initializer.remove(1);
    let mut v = value("s", &[2]);
    if let Some(type_proto::Value::TensorType(t)) = v.r#type.as_mut().and_then(|t| t.value.as_mut())
    {
        t.elem_type = data_type::INT64;
    }
    g.input.push(v);
    std::fs::write(&path, m.encode_to_vec()).unwrap();
    let options = LoadOptions::default();
    assert_eq!(super::value_inputs(&path, &options).unwrap(), ["s"]);
    let error = load(&path, &options).unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported);
    assert!(error.help.unwrap().contains("--const s="));
    let weight = super::tensor::weight(&s, &super::external::ExternalFiles::default()).unwrap();
    let options = LoadOptions {
        constants: vec![("s".into(), weight)],
        ..Default::default()
    };
    assert!(super::value_inputs(&path, &options).unwrap().is_empty());
    assert_eq!(load(&path, &options).unwrap().bound, ["s"]);
}

/// A small generator: the same damage every time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] = random.below(256) as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes.insert(at, random.below(256) as u8),
            3 => {
                bytes.remove(at);
            }
            _ => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
}

fn survives(bytes: Vec<u8>, name: &str) {
    let copy = bytes.clone();
    let result = std::panic::catch_unwind(|| load_bytes(bytes, &LoadOptions::default()).err());
    match result {
        Ok(None) => {}
        Ok(Some(e)) => assert!(
            matches!(e.kind, Kind::Model | Kind::Unsupported | Kind::Environment),
            "{name}: {e:?}"
        ),
        Err(_) => panic!("{name} panics on {copy:02x?}"),
    }
}

#[test]
fn random_damage_never_panics() {
    let whole = model().encode_to_vec();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..3000 {
        let mut bytes = whole.clone();
        damage(&mut bytes, &mut random);
        survives(bytes, &format!("round {round}"));
    }
    // The operators' own models, where they are at hand.
    let Some(root) = std::env::var_os("TINYC_NODE_TESTS") else {
        return;
    };
    let rounds: usize = std::env::var("TINYC_FUZZ_ROUNDS").map_or(5, |v| v.parse().unwrap());
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path().join("model.onnx");
        let Ok(whole) = std::fs::read(&path) else {
            continue;
        };
        for round in 0..rounds {
            let mut bytes = whole.clone();
            damage(&mut bytes, &mut random);
            survives(bytes, &format!("{} round {round}", path.display()));
        }
    }
}
