//! Changes to a decoded model, chosen by a small random generator that gives the same damage every time.

use prost::bytes::Bytes as Raw;
use tinyc_compiler::onnx::proto::*;
use tinyc_compiler::program::{Bytes, Weight};

/// A xorshift generator.
pub struct Random(u64);

impl Random {
    /// A generator for one round of one model.
    pub fn of(name: &str, round: u64) -> Random {
        let mut hash = 0xcbf2_9ce4_8422_2325u64 ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Random(hash | 1)
    }
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
    fn of_mut<'a, T>(&mut self, list: &'a mut [T]) -> Option<&'a mut T> {
        let at = self.below(list.len());
        list.get_mut(at)
    }
    fn int(&mut self) -> i64 {
        self.pick(&[
            i64::MIN,
            i64::MIN + 1,
            -(1 << 40),
            -100,
            -7,
            -3,
            -2,
            -1,
            0,
            1,
            2,
            3,
            4,
            5,
            7,
            16,
            100,
            1000,
            70_000,
            1 << 31,
            1 << 40,
            i64::MAX - 1,
            i64::MAX,
        ])
    }
    fn extent(&mut self) -> i64 {
        self.pick(&[
            0,
            0,
            1,
            1,
            2,
            3,
            4,
            5,
            6,
            9,
            33,
            1000,
            1 << 20,
            1 << 33,
            1 << 62,
            i64::MAX,
            -1,
        ])
    }
}

/// Changes one thing and says what.
pub fn change(model: &mut ModelProto, data: &mut [Weight], random: &mut Random) -> String {
    if random.below(40) == 0 {
        let version = random.pick(&[7i64, 8, 9, 10, 11, 12, 13, 14, 16, 18, 21, 24, 28]);
        for opset in &mut model.opset_import {
            opset.version = version;
        }
        return format!("opset {version}");
    }
    if !data.is_empty() && random.below(4) == 0 {
        return value(data, random);
    }
    let Some(graph) = &mut model.graph else {
        return "nothing".into();
    };
    match random.below(10) {
        0..4 => node(&mut graph.node, random),
        4..7 => declaration(&mut graph.input, random),
        7..9 if !graph.initializer.is_empty() => constant(&mut graph.initializer, random),
        _ => node(&mut graph.node, random),
    }
}

fn node(nodes: &mut [NodeProto], random: &mut Random) -> String {
    let others: Vec<String> = nodes.iter().map(|n| n.op_type.clone()).collect();
    let Some(node) = random.of_mut(nodes) else {
        return "no node".into();
    };
    let op = node.op_type.clone();
    match random.below(9) {
        0 => {
            let k = random.below(node.input.len());
            if let Some(name) = node.input.get_mut(k) {
                name.clear();
            }
            format!("{op} input {k} empty")
        }
        1 => {
            node.input.pop();
            format!("{op} last input gone")
        }
        2 => {
            let (a, b) = (
                random.below(node.input.len()),
                random.below(node.input.len()),
            );
            if !node.input.is_empty() {
                node.input.swap(a, b);
            }
            format!("{op} inputs {a} and {b} swapped")
        }
        3 => {
            let (a, b) = (
                random.below(node.input.len()),
                random.below(node.input.len()),
            );
            if !node.input.is_empty() {
                node.input[a] = node.input[b].clone();
            }
            format!("{op} input {a} is input {b}")
        }
        4 => {
            let known = tinyc_compiler::onnx::supported();
            node.op_type = if random.below(2) == 0 {
                random.pick(&known).to_string()
            } else {
                others[random.below(others.len())].clone()
            };
            format!("{op} becomes {}", node.op_type)
        }
        _ => attribute(node, random),
    }
}

fn attribute(node: &mut NodeProto, random: &mut Random) -> String {
    if node.attribute.is_empty() || random.below(12) == 0 {
        let name = random.pick(&[
            "axis", "axes", "keepdims", "perm", "mode", "group", "to", "pads", "k", "epsilon",
        ]);
        let v = random.int();
        node.attribute
            .push(if name == "axes" || name == "pads" || name == "perm" {
                AttributeProto {
                    name: name.into(),
                    r#type: attribute_type::INTS,
                    ints: vec![v, random.int()],
                    ..Default::default()
                }
            } else {
                AttributeProto {
                    name: name.into(),
                    r#type: attribute_type::INT,
                    i: Some(v),
                    ..Default::default()
                }
            });
        return format!("{} gets {name} {v}", node.op_type);
    }
    let op = node.op_type.clone();
    if random.below(10) == 0 {
        let gone = node.attribute.remove(random.below(node.attribute.len()));
        return format!("{op} loses {}", gone.name);
    }
    let Some(a) = random.of_mut(&mut node.attribute) else {
        return String::new();
    };
    if random.below(10) == 0 {
        a.r#type = random.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        return format!("{op} {} of type {}", a.name, a.r#type);
    }
    if let Some(g) = &mut a.g {
        return format!(
            "in {op}: {}",
            if random.below(3) == 0 {
                declaration(&mut g.input, random)
            } else {
                node_in(g, random)
            }
        );
    }
    if let Some(t) = &mut a.t {
        return format!("{op} {}: {}", a.name, tensor(t, random));
    }
    if let Some(i) = &mut a.i {
        *i = random.int();
    } else if let Some(f) = &mut a.f {
        *f = random.pick(&[0.0, -1.0, 1e30, f32::NAN, f32::INFINITY, 1e-30]);
    } else if a.s.is_some() {
        let word = random.pick(&[
            "",
            "linear",
            "reflect",
            "VALID",
            "SAME_UPPER",
            "max",
            "reverse",
            "bidirectional",
            "\u{1F4A5}",
            "...,...->",
            "ii->i",
            "i->ii",
            "ij,jk",
        ]);
        a.s = Some(Raw::from(word));
    } else if !a.ints.is_empty() {
        match random.below(4) {
            0 => {
                a.ints.pop();
            }
            1 => a.ints.push(random.int()),
            2 if random.below(3) == 0 => a.ints.clear(),
            _ => {
                let v = random.int();
                let at = random.below(a.ints.len());
                a.ints[at] = v;
            }
        }
    } else if !a.floats.is_empty() {
        match random.below(3) {
            0 => a.floats.clear(),
            1 => a.floats.push(f32::NAN),
            _ => a.floats[0] = random.pick(&[-1.0, 0.0, f32::INFINITY, 1e20]),
        }
    } else if !a.strings.is_empty() {
        a.strings.pop();
    }
    format!(
        "{op} {} = {:?} {:?} {:?} {:?} {:?}",
        a.name, a.i, a.f, a.s, a.ints, a.floats
    )
}

fn node_in(graph: &mut GraphProto, random: &mut Random) -> String {
    node(&mut graph.node, random)
}

fn declaration(inputs: &mut [ValueInfoProto], random: &mut Random) -> String {
    let Some(input) = random.of_mut(inputs) else {
        return "no input".into();
    };
    let name = input.name.clone();
    let Some(type_proto::Value::TensorType(t)) =
        input.r#type.as_mut().and_then(|t| t.value.as_mut())
    else {
        return "no tensor".into();
    };
    if random.below(5) == 0 {
        t.elem_type = random.pick(&[1, 1, 2, 3, 6, 7, 7, 9, 10, 11, 13, 16]);
        return format!("{name} has type {}", t.elem_type);
    }
    let Some(shape) = &mut t.shape else {
        return "no shape".into();
    };
    let extent = random.extent();
    let dim = tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::Value::DimValue(extent)),
    };
    let at = random.below(shape.dim.len());
    let what = match random.below(6) {
        0 => {
            shape.dim.pop();
            "loses its last axis".to_string()
        }
        1 => {
            shape.dim.insert(at, dim);
            format!("gets axis {at} of {extent}")
        }
        2 if random.below(2) == 0 => {
            shape.dim.clear();
            "is a scalar".to_string()
        }
        _ if shape.dim.is_empty() => {
            shape.dim.push(dim);
            format!("gets axis of {extent}")
        }
        _ => {
            shape.dim[at] = dim;
            format!("axis {at} is {extent}")
        }
    };
    format!("{name} {what}")
}

fn constant(list: &mut [TensorProto], random: &mut Random) -> String {
    match random.of_mut(list) {
        Some(t) => format!("constant {}: {}", t.name.clone(), tensor(t, random)),
        None => "no constant".into(),
    }
}

/// Changes a constant so that it stays decodable: its shape, or one of its integers.
fn tensor(t: &mut TensorProto, random: &mut Random) -> String {
    let integers = t.data_type == data_type::INT64;
    match random.below(5) {
        0 => {
            t.dims.insert(0, 1);
            "a leading axis".into()
        }
        1 => {
            let n = t.dims.iter().copied().fold(1, i64::wrapping_mul);
            t.dims = vec![n];
            "flat".into()
        }
        2 => {
            let at = random.below(t.dims.len());
            if let Some(d) = t.dims.get_mut(at) {
                *d = random.extent();
            }
            format!("shape {:?}", t.dims)
        }
        3 if t.dims.len() > 1 => {
            t.dims.swap(0, 1);
            "axes swapped".into()
        }
        _ if integers => {
            let v = random.int();
            if let Some(last) = t.int64_data.last_mut() {
                *last = v;
            } else if let Some(raw) = &t.raw_data
                && raw.len() >= 8
            {
                let at = random.below(raw.len() / 8) * 8;
                let mut bytes = raw.to_vec();
                bytes[at..at + 8].copy_from_slice(&v.to_le_bytes());
                t.raw_data = Some(Raw::from(bytes));
            }
            format!("holds {v}")
        }
        _ => {
            t.data_type = random.pick(&[1, 6, 7, 9, 10]);
            format!("type {}", t.data_type)
        }
    }
}

/// Changes one integer of the data that is bound at compile time.
fn value(data: &mut [Weight], random: &mut Random) -> String {
    let v = random.int();
    let Some(w) = random.of_mut(data) else {
        return String::new();
    };
    let size = w.dtype.size();
    let mut bytes = w.bytes.to_vec();
    if bytes.len() >= size && random.below(6) > 0 {
        let at = random.below(bytes.len() / size) * size;
        bytes[at..at + size].copy_from_slice(&v.to_le_bytes()[..size]);
        w.bytes = Bytes::new(bytes);
        return format!("value of {} holds {v}", w.name);
    }
    let n = (bytes.len() / size) as i64;
    w.shape = if w.shape.is_empty() {
        vec![n]
    } else {
        vec![1, n]
    };
    format!("value of {} has shape {:?}", w.name, w.shape)
}
