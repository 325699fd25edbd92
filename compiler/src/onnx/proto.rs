//! The ONNX messages that tinyc reads, as prost structs by field number.
//!
//! In: bytes of a model or tensor file. Out: [`ModelProto`] or [`TensorProto`]. Fields that play no
//! part in compilation (documentation, sharding, training) are left out: protobuf skips what a
//! struct does not name. Field numbers follow `onnx.proto3` of ONNX 1.23.
//!
//! Tensor bytes are `bytes::Bytes`: decoding from a memory map copies none of them.
//!
//! ```
//! use prost::Message;
//! use tinyc_compiler::onnx::proto::ModelProto;
//! let model = ModelProto { ir_version: Some(8), ..Default::default() };
//! assert_eq!(ModelProto::decode(model.encode_to_vec().as_slice()).unwrap().ir_version, Some(8));
//! ```

use prost::bytes::Bytes;

/// A model file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ModelProto {
    /// Version of the file format.
    #[prost(int64, optional, tag = "1")]
    pub ir_version: Option<i64>,
    /// Program that wrote the file.
    #[prost(string, tag = "2")]
    pub producer_name: String,
    /// The graph.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    /// Operator sets in use.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// Functions that nodes may call.
    #[prost(message, repeated, tag = "25")]
    pub functions: Vec<FunctionProto>,
}

/// One operator set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OperatorSetIdProto {
    /// Empty for ONNX's own operators.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Version.
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// A graph: the model's, or the body of a control-flow node.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GraphProto {
    /// Nodes in topological order.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    /// Name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Constants.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    /// Inputs.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    /// Outputs.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
    /// Types of inner tensors, as the exporter saw them.
    #[prost(message, repeated, tag = "13")]
    pub value_info: Vec<ValueInfoProto>,
    /// Sparse constants.
    #[prost(message, repeated, tag = "15")]
    pub sparse_initializer: Vec<SparseTensorProto>,
}

/// One node.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeProto {
    /// Input names; empty for an optional input left out.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Output names; empty for an output nobody needs.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// Name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Operator.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// Attributes.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    /// Domain of the operator; empty for ONNX's own.
    #[prost(string, tag = "7")]
    pub domain: String,
    /// Which of several functions of one name.
    #[prost(string, tag = "8")]
    pub overload: String,
}

/// One attribute.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttributeProto {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// A float.
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    /// An integer.
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    /// A string.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub s: Option<Bytes>,
    /// A tensor.
    #[prost(message, optional, tag = "5")]
    pub t: Option<TensorProto>,
    /// A graph.
    #[prost(message, optional, tag = "6")]
    pub g: Option<GraphProto>,
    /// Floats.
    #[prost(float, repeated, tag = "7")]
    pub floats: Vec<f32>,
    /// Integers.
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    /// Strings.
    #[prost(bytes = "bytes", repeated, tag = "9")]
    pub strings: Vec<Bytes>,
    /// Tensors.
    #[prost(message, repeated, tag = "10")]
    pub tensors: Vec<TensorProto>,
    /// Graphs.
    #[prost(message, repeated, tag = "11")]
    pub graphs: Vec<GraphProto>,
    /// A type.
    #[prost(message, optional, tag = "14")]
    pub tp: Option<TypeProto>,
    /// Which field is in use: a number of [`attribute_type`].
    #[prost(int32, tag = "20")]
    pub r#type: i32,
    /// In a function body: the name of the function's attribute that gives the value.
    #[prost(string, tag = "21")]
    pub ref_attr_name: String,
    /// A sparse tensor.
    #[prost(message, optional, tag = "22")]
    pub sparse_tensor: Option<SparseTensorProto>,
}

/// Values of [`AttributeProto::type`](AttributeProto).
#[allow(missing_docs)]
pub mod attribute_type {
    pub const UNDEFINED: i32 = 0;
    pub const FLOAT: i32 = 1;
    pub const INT: i32 = 2;
    pub const STRING: i32 = 3;
    pub const TENSOR: i32 = 4;
    pub const GRAPH: i32 = 5;
    pub const FLOATS: i32 = 6;
    pub const INTS: i32 = 7;
    pub const STRINGS: i32 = 8;
    pub const TENSORS: i32 = 9;
    pub const GRAPHS: i32 = 10;
    pub const SPARSE_TENSOR: i32 = 11;
    pub const TYPE_PROTO: i32 = 13;
}

/// A constant tensor.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorProto {
    /// Shape.
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    /// Element type: a number of [`data_type`].
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Part of a larger tensor; never written by anyone.
    #[prost(message, optional, tag = "3")]
    pub segment: Option<Segment>,
    /// Floats (and complex numbers).
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    /// Integers of 32 bits and fewer, Bool, and the bits of halves.
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    /// Strings.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub string_data: Vec<Bytes>,
    /// 64-bit integers.
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    /// Name.
    #[prost(string, tag = "8")]
    pub name: String,
    /// Little-endian elements.
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub raw_data: Option<Bytes>,
    /// Doubles.
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    /// Unsigned 32- and 64-bit integers.
    #[prost(uint64, repeated, tag = "11")]
    pub uint64_data: Vec<u64>,
    /// Where the bytes lie when they are in another file: location, offset, length.
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringStringEntryProto>,
    /// 0: here, 1: in another file.
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

/// Part of a larger tensor.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Segment {
    /// First element.
    #[prost(int64, tag = "1")]
    pub begin: i64,
    /// One past the last element.
    #[prost(int64, tag = "2")]
    pub end: i64,
}

/// Values of [`TensorProto::data_type`].
#[allow(missing_docs)]
pub mod data_type {
    pub const UNDEFINED: i32 = 0;
    pub const FLOAT: i32 = 1;
    pub const UINT8: i32 = 2;
    pub const INT8: i32 = 3;
    pub const UINT16: i32 = 4;
    pub const INT16: i32 = 5;
    pub const INT32: i32 = 6;
    pub const INT64: i32 = 7;
    pub const STRING: i32 = 8;
    pub const BOOL: i32 = 9;
    pub const FLOAT16: i32 = 10;
    pub const DOUBLE: i32 = 11;
    pub const UINT32: i32 = 12;
    pub const UINT64: i32 = 13;
    pub const COMPLEX64: i32 = 14;
    pub const COMPLEX128: i32 = 15;
    pub const BFLOAT16: i32 = 16;

    /// Name of an element type, for messages.
    pub fn name(number: i32) -> String {
        const NAMES: [&str; 29] = [
            "undefined",
            "float",
            "uint8",
            "int8",
            "uint16",
            "int16",
            "int32",
            "int64",
            "string",
            "bool",
            "float16",
            "double",
            "uint32",
            "uint64",
            "complex64",
            "complex128",
            "bfloat16",
            "float8e4m3fn",
            "float8e4m3fnuz",
            "float8e5m2",
            "float8e5m2fnuz",
            "uint4",
            "int4",
            "float4e2m1",
            "float8e8m0",
            "uint2",
            "int2",
            "float6e2m3",
            "float6e3m2",
        ];
        usize::try_from(number)
            .ok()
            .and_then(|n| NAMES.get(n))
            .map_or_else(|| format!("number {number}"), |n| (*n).to_string())
    }
}

/// A sparse constant.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SparseTensorProto {
    /// The values that are not zero; its name is the tensor's.
    #[prost(message, optional, tag = "1")]
    pub values: Option<TensorProto>,
    /// Where they are: linear, or one row of coordinates for each.
    #[prost(message, optional, tag = "2")]
    pub indices: Option<TensorProto>,
    /// Shape.
    #[prost(int64, repeated, tag = "3")]
    pub dims: Vec<i64>,
}

/// A key and its value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StringStringEntryProto {
    /// Key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Name and type of a tensor.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ValueInfoProto {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Type.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

/// A type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TypeProto {
    /// Which.
    #[prost(oneof = "type_proto::Value", tags = "1, 4, 5, 7, 8, 9")]
    pub value: Option<type_proto::Value>,
}

/// Parts of [`TypeProto`].
pub mod type_proto {
    /// Which type.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Value {
        /// A tensor.
        #[prost(message, tag = "1")]
        TensorType(Tensor),
        /// A list.
        #[prost(message, tag = "4")]
        SequenceType(Box<Sequence>),
        /// A dictionary.
        #[prost(message, tag = "5")]
        MapType(Box<Map>),
        /// Something that only its domain knows.
        #[prost(message, tag = "7")]
        OpaqueType(Opaque),
        /// A sparse tensor.
        #[prost(message, tag = "8")]
        SparseTensorType(Tensor),
        /// A value that may be missing.
        #[prost(message, tag = "9")]
        OptionalType(Box<Sequence>),
    }
    /// Type of a dense or sparse tensor.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Tensor {
        /// Element type.
        #[prost(int32, tag = "1")]
        pub elem_type: i32,
        /// Shape; nothing is known about it when missing, not even the rank.
        #[prost(message, optional, tag = "2")]
        pub shape: Option<super::TensorShapeProto>,
    }
    /// Type of a list or an optional.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Sequence {
        /// Type of what is inside.
        #[prost(message, optional, tag = "1")]
        pub elem_type: Option<super::TypeProto>,
    }
    /// Type of a dictionary.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Map {
        /// Type of keys.
        #[prost(int32, tag = "1")]
        pub key_type: i32,
        /// Type of values.
        #[prost(message, optional, tag = "2")]
        pub value_type: Option<super::TypeProto>,
    }
    /// An opaque type.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Opaque {
        /// Domain.
        #[prost(string, tag = "1")]
        pub domain: String,
        /// Name.
        #[prost(string, tag = "2")]
        pub name: String,
    }
}

/// A shape.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorShapeProto {
    /// Dimensions.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<tensor_shape_proto::Dimension>,
}

/// Parts of [`TensorShapeProto`].
pub mod tensor_shape_proto {
    /// One dimension.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Dimension {
        /// Number or name; neither when unknown.
        #[prost(oneof = "Value", tags = "1, 2")]
        pub value: Option<Value>,
    }
    /// Number or name.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Value {
        /// Number.
        #[prost(int64, tag = "1")]
        DimValue(i64),
        /// Name.
        #[prost(string, tag = "2")]
        DimParam(String),
    }
}

/// A function that nodes may call.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FunctionProto {
    /// Name: the `op_type` of calling nodes.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Names of inputs.
    #[prost(string, repeated, tag = "4")]
    pub input: Vec<String>,
    /// Names of outputs.
    #[prost(string, repeated, tag = "5")]
    pub output: Vec<String>,
    /// Names of attributes without default.
    #[prost(string, repeated, tag = "6")]
    pub attribute: Vec<String>,
    /// Body.
    #[prost(message, repeated, tag = "7")]
    pub node: Vec<NodeProto>,
    /// Operator sets of the body.
    #[prost(message, repeated, tag = "9")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// Domain of calling nodes.
    #[prost(string, tag = "10")]
    pub domain: String,
    /// Attributes with default.
    #[prost(message, repeated, tag = "11")]
    pub attribute_proto: Vec<AttributeProto>,
    /// Which of several functions of one name.
    #[prost(string, tag = "13")]
    pub overload: String,
}

/// A list of values, as ONNX test data stores it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SequenceProto {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// 1 for tensors.
    #[prost(int32, tag = "2")]
    pub elem_type: i32,
    /// The tensors.
    #[prost(message, repeated, tag = "3")]
    pub tensor_values: Vec<TensorProto>,
}
