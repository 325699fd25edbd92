//! The public interface of a compiled model, as data for templates: header, C glue, crate.
//!
//! In: [`Built`] and what the target says of itself. Out: [`Interface`], from which every generated
//! text file is rendered, so that all of them agree on names, sizes and offsets.

use super::names::{c_string, comment, identifiers, is_identifier};
use crate::diag::{Error, Result};
use crate::program::{Built, Io};
use crate::uop::DType;
use serde::Serialize;
use tera::{Context, Tera};

/// Version of the generated interface: goes up when old callers must change.
pub const ABI_VERSION: u32 = 1;

/// Alignment of arenas and the size of the stamp in front of them.
pub const ARENA_ALIGN: u64 = 64;

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tensor {
    /// Identifier in C and Rust, unique among its kind.
    pub ident: String,
    /// The identifier in upper case.
    #[serde(rename = "const")]
    pub constant: String,
    /// Name in the model as a C string literal.
    pub string: String,
    /// Name in the model as a Rust string literal.
    pub rust_string: String,
    /// Name in the model, fit for a comment.
    pub comment: String,
    /// `f32`.
    pub dtype: String,
    /// `float`.
    pub ctype: String,
    /// `f32` as Rust spells what it stores.
    pub rust_type: String,
    /// `0.0f32`.
    pub rust_zero: String,
    /// What the C type does not say: `IEEE half bits`.
    pub note: String,
    /// `[1,3,224,224]`.
    pub shape: String,
    /// Shape.
    pub dims: Vec<i64>,
    /// Dimensions.
    pub rank: usize,
    /// Elements.
    pub elements: usize,
    /// Bytes of an element.
    pub size: usize,
    /// Bytes.
    pub bytes: usize,
    /// Place in an arena that also holds inputs and outputs.
    pub arena_offset: u64,
    /// An output that has the identifier of an input.
    pub clash: bool,
}

/// Everything that templates need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Prefix of every symbol.
    pub name: String,
    /// Prefix of every macro.
    pub upper: String,
    /// Package name of the Rust crate.
    pub crate_name: String,
    /// How Rust code calls the crate.
    pub crate_ident: String,
    /// [`ABI_VERSION`].
    pub abi: u32,
    /// Version of tinyc.
    pub tinyc: String,
    /// Target and chip: `cpu x86-64-v4`.
    pub target: String,
    /// SHA-256 of the model, may be empty.
    pub model_sha256: String,
    /// Bytes of an arena, stamp included.
    pub arena_bytes: u64,
    /// Bytes of an arena that also holds inputs and outputs.
    pub io_arena_bytes: u64,
    /// Alignment of both.
    pub align: u64,
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// Marks an arena as checked; different for every model, target and version.
    pub stamp: (u64, u64),
    /// Inputs.
    pub inputs: Vec<Tensor>,
    /// Outputs.
    pub outputs: Vec<Tensor>,
    /// System libraries to link: `m`.
    pub libs: Vec<String>,
}

/// Describes the interface of a model. `target` is one line; `libs` are system libraries.
pub fn interface(built: &Built, target: &str, libs: &[&str]) -> Result<Interface> {
    let program = &built.program;
    let name = program.name.clone();
    if !is_identifier(&name) {
        return Err(
            Error::usage(format!("'{name}' cannot prefix the symbols of a library"))
                .help("give --name an identifier that is not a word of C, C++ or Rust"),
        );
    }
    let mut inputs = tensors(&program.inputs)?;
    let mut outputs = tensors(&program.outputs)?;
    let arena_bytes = ARENA_ALIGN + built.plan.arena_bytes;
    let mut end = arena_bytes.next_multiple_of(ARENA_ALIGN);
    for t in inputs.iter_mut().chain(outputs.iter_mut()) {
        t.arena_offset = end;
        end += (t.bytes as u64).next_multiple_of(ARENA_ALIGN);
    }
    for t in &mut outputs {
        t.clash = inputs.iter().any(|i| i.ident == t.ident);
    }
    let tinyc = env!("CARGO_PKG_VERSION").to_string();
    let stamp = stamp(&[&name, &tinyc, target, &built.meta.model_sha256]);
    let taken = ["std", "core", "alloc", "test", "proc_macro", "build"].contains(&name.as_str());
    let crate_name = if taken {
        format!("{name}_model")
    } else {
        name.clone()
    };
    Ok(Interface {
        upper: name.to_ascii_uppercase(),
        crate_ident: crate_name.clone(),
        crate_name,
        name,
        abi: ABI_VERSION,
        tinyc,
        target: target.into(),
        model_sha256: built.meta.model_sha256.clone(),
        arena_bytes,
        io_arena_bytes: end,
        align: ARENA_ALIGN,
        weight_bytes: built.plan.weight_bytes,
        stamp,
        inputs,
        outputs,
        libs: libs.iter().map(|s| s.to_string()).collect(),
    })
}

fn tensors(list: &[Io]) -> Result<Vec<Tensor>> {
    let idents = identifiers(list.iter().map(|io| io.name.as_str()));
    let make = |(io, ident): (&Io, String)| {
        let (ctype, rust_type, note) = types(io.dtype)
            .ok_or_else(|| Error::bug(format!("tensor '{}' of type {}", io.name, io.dtype)))?;
        let dims: Vec<String> = io.shape.iter().map(i64::to_string).collect();
        let zero = if rust_type.starts_with('f') {
            "0.0"
        } else {
            "0"
        };
        Ok(Tensor {
            constant: ident.to_ascii_uppercase(),
            ident,
            string: c_string(&io.name),
            rust_string: format!("{:?}", io.name),
            comment: comment(&io.name),
            dtype: io.dtype.name().into(),
            ctype: ctype.into(),
            rust_type: rust_type.into(),
            rust_zero: format!("{zero}{rust_type}"),
            note: note.into(),
            shape: format!("[{}]", dims.join(",")),
            dims: io.shape.clone(),
            rank: io.shape.len(),
            elements: io.elements(),
            size: io.dtype.size(),
            bytes: io.bytes(),
            arena_offset: 0,
            clash: false,
        })
    };
    list.iter().zip(idents).map(make).collect()
}

/// C type, Rust type, remark.
fn types(dtype: DType) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match dtype {
        DType::Bool => ("uint8_t", "u8", "0 or 1"),
        DType::I8 => ("int8_t", "i8", ""),
        DType::I16 => ("int16_t", "i16", ""),
        DType::I32 => ("int32_t", "i32", ""),
        DType::I64 => ("int64_t", "i64", ""),
        DType::U8 => ("uint8_t", "u8", ""),
        DType::U16 => ("uint16_t", "u16", ""),
        DType::U32 => ("uint32_t", "u32", ""),
        DType::U64 => ("uint64_t", "u64", ""),
        DType::F16 => ("uint16_t", "u16", "bits of IEEE half"),
        DType::BF16 => ("uint16_t", "u16", "bits of bfloat16"),
        DType::F32 => ("float", "f32", ""),
        DType::F64 => ("double", "f64", ""),
        DType::Index => return None,
    })
}

/// 128 bits that no arena holds by accident.
fn stamp(parts: &[&str]) -> (u64, u64) {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let word = |at: usize| {
        digest[at..at + 8]
            .iter()
            .fold(0, |n, &b| n << 8 | u64::from(b))
    };
    (word(0), word(8))
}

impl Interface {
    /// Renders a template.
    pub fn render(&self, name: &str, template: &str) -> Result<String> {
        let wrong = |e: tera::Error| Error::bug(format!("template {name}: {e:?}"));
        let context = Context::from_serialize(self).map_err(wrong)?;
        Tera::one_off(template, &context, false).map_err(wrong)
    }
    /// `NAME.h`.
    pub fn header(&self) -> Result<String> {
        self.render("header.h", include_str!("../../../templates/header.h.tera"))
    }
    /// C source of the public functions. A target adds `NAME_launch(bases, team)`, `NAME_cpu_lacks()`,
    /// the pool and `NAME_weights`.
    pub fn api_source(&self) -> Result<String> {
        self.render("api.c", include_str!("../../../templates/api.c.tera"))
    }
}
