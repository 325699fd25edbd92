//! Opens a model file: memory-maps it, tells what it is when it is not a model, decodes it.
//!
//! In: a path. Out: a [`ModelProto`] whose tensors still lie in the map. Only what the file itself
//! says is judged here (is it a model at all?); the graph is judged by `import`.
//!
//! Example: a Git-LFS pointer gives "is a Git-LFS pointer, not the model itself" with the command
//! that fetches the model, and not a protobuf error.

use super::proto::ModelProto;
use crate::diag::{Error, Result};
use memmap2::Mmap;
use prost::Message;
use prost::bytes::Bytes;
use std::fs::File;
use std::path::Path;

/// A file that is not there is bad input; one that may not be read is the environment's fault.
pub(super) fn cannot_read(path: &Path, e: &std::io::Error) -> Error {
    let what = format!("cannot read '{}': {e}", path.display());
    match e.kind() {
        std::io::ErrorKind::PermissionDenied => Error::environment(what),
        _ => Error::model(what),
    }
}

/// Maps a file. The bytes stay valid as long as any part of them is referred to.
pub(super) fn map(path: &Path) -> Result<Bytes> {
    let cannot = |e| cannot_read(path, &e).help("check the path and its permissions");
    let file = File::open(path).map_err(cannot)?;
    let meta = file.metadata().map_err(cannot)?;
    if !meta.is_file() {
        return Err(Error::model(format!(
            "'{}' is not a regular file",
            path.display()
        )));
    }
    if meta.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the map is read-only and private. Another process that shortens the file while tinyc
    // runs would end it with SIGBUS; every tool that maps models accepts that.
    let map = unsafe { Mmap::map(&file) }.map_err(cannot)?;
    Ok(Bytes::from_owner(map))
}

/// Reads a model without its external data.
pub(super) fn read_model(path: &Path) -> Result<(ModelProto, Bytes)> {
    let bytes = map(path)?;
    let model = decode_model(&bytes, &path.display().to_string())?;
    Ok((model, bytes))
}

/// Decodes a model; `name` is for messages.
pub(super) fn decode_model(bytes: &Bytes, name: &str) -> Result<ModelProto> {
    if let Some(error) = recognise(bytes, name) {
        return Err(error);
    }
    let model = ModelProto::decode(bytes.clone()).map_err(|e| {
        Error::model(format!(
            "'{name}' is not an ONNX model, or it is truncated: {e}"
        ))
        .help("compare its size with the original, or write it again")
    })?;
    let Some(graph) = &model.graph else {
        return Err(Error::model(format!(
            "'{name}' holds no graph: it is not an ONNX model, or it is truncated"
        )));
    };
    if graph.output.is_empty() {
        return Err(Error::model(format!(
            "the graph of '{name}' is empty: it has no output ({} nodes)",
            graph.node.len()
        )));
    }
    Ok(model)
}

/// Says what a file is that cannot be a model.
fn recognise(bytes: &[u8], name: &str) -> Option<Error> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let text: String = bytes
        .iter()
        .take(256)
        .map(|&b| b.to_ascii_lowercase() as char)
        .collect();
    let text = text
        .trim_start_matches(['\u{ef}', '\u{bb}', '\u{bf}'])
        .trim_start();
    let (what, help) = if bytes.is_empty() {
        ("an empty file", "write or download the model again")
    } else if starts(b"version https://git-lfs.github.com/spec/") {
        (
            "a Git-LFS pointer, not the model itself",
            "fetch the model with `git lfs pull`",
        )
    } else if text.starts_with("<!doctype html") || text.starts_with("<html") {
        (
            "an HTML page, not a model",
            "the download answered with a web page: use the raw file's address",
        )
    } else if text.starts_with("<?xml") {
        ("an XML file, not an ONNX model", "export the model to ONNX")
    } else if starts(b"PK\x03\x04") {
        (
            "a zip archive (a PyTorch file is one), not an ONNX model",
            "unpack it, or export the model to ONNX",
        )
    } else if starts(b"\x1f\x8b") {
        (
            "a gzip archive, not an ONNX model",
            "unpack it with `gunzip`",
        )
    } else if starts(b"\x89HDF") {
        (
            "an HDF5 (Keras) file, not an ONNX model",
            "export the model to ONNX",
        )
    } else if starts(b"\x7fELF") {
        ("an executable, not an ONNX model", "give the .onnx file")
    } else if bytes.get(4..8) == Some(b"TFL3") {
        ("a TensorFlow Lite model", "convert it to ONNX with tf2onnx")
    } else if bytes.get(4..8) == Some(b"ORTM") {
        (
            "a model in ONNX Runtime's own format",
            "give the .onnx file it was made from",
        )
    } else {
        return None;
    };
    Some(Error::model(format!("'{name}' is {what}")).help(help))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::diag::Kind;
    use crate::onnx::proto::{GraphProto, TensorProto, ValueInfoProto};

    fn message(bytes: &[u8]) -> String {
        let error = decode_model(&Bytes::copy_from_slice(bytes), "m.onnx").unwrap_err();
        assert_eq!(error.kind, Kind::Model);
        error.message
    }

    #[test]
    fn files_that_are_no_models_are_named() {
        let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
        assert!(message(lfs).contains("Git-LFS pointer"));
        assert!(message(b"\n <!DOCTYPE HTML><html>").contains("HTML page"));
        assert!(message(b"<html><body>404").contains("HTML page"));
        assert!(message(b"").contains("empty file"));
        assert!(message(b"PK\x03\x04abcd").contains("zip"));
        assert!(message(b"hello, world, this is text").contains("not an ONNX model"));
    }

    #[test]
    fn a_model_without_graph_or_outputs_is_refused() {
        let mut model = ModelProto {
            ir_version: Some(8),
            ..ModelProto::default()
        };
        assert!(message(&model.encode_to_vec()).contains("no graph"));
        model.graph = Some(GraphProto::default());
        assert!(message(&model.encode_to_vec()).contains("empty"));
    }

    #[test]
    fn every_truncation_is_an_error_or_a_smaller_model() {
        let tensor = TensorProto {
            raw_data: Some(Bytes::from_static(&[0; 64])),
            ..Default::default()
        };
        let graph = GraphProto {
            initializer: vec![tensor],
            output: vec![ValueInfoProto::default()],
            ..Default::default()
        };
        let model = ModelProto {
            graph: Some(graph),
            ..Default::default()
        };
        let bytes = model.encode_to_vec();
        for len in 0..bytes.len() {
            let error = decode_model(&Bytes::copy_from_slice(&bytes[..len]), "m").unwrap_err();
            assert_eq!(error.kind, Kind::Model);
        }
    }

    #[test]
    fn raw_data_is_not_copied() {
        let tensor = TensorProto {
            raw_data: Some(Bytes::from(vec![7u8; 4096])),
            ..Default::default()
        };
        let model = ModelProto {
            graph: Some(GraphProto {
                initializer: vec![tensor],
                output: vec![ValueInfoProto::default()],
                ..Default::default()
            }),
            ..Default::default()
        };
        let bytes = Bytes::from(model.encode_to_vec());
        let decoded = decode_model(&bytes, "m").unwrap();
        let raw = decoded.graph.unwrap().initializer[0]
            .raw_data
            .clone()
            .unwrap();
        let inside = bytes.as_ptr_range();
        assert!(inside.contains(&raw.as_ptr()));
        assert_eq!(raw.len(), 4096);
    }

    #[test]
    fn a_missing_file_is_bad_input() {
        let error = read_model(Path::new("/does/not/exist.onnx")).unwrap_err();
        assert_eq!(error.kind, Kind::Model);
        let error = read_model(Path::new("/")).unwrap_err();
        assert_eq!(error.kind, Kind::Model);
    }
}
