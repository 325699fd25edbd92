//! Where models come from: ONNX files and the models built into tinyc (`builtin:NAME`).

use std::path::Path;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::graph::Graph;
use tinyc_compiler::program::Weight;
use tinyc_compiler::uop::DType;

/// A model that was read, with everything bound that was asked for.
pub struct Source {
    /// The graph.
    pub graph: Graph,
    /// SHA-256 of the model file, in hex.
    pub sha256: String,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// An input as the model declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its shape; `None` for a dimension that is not fixed.
    pub dims: Vec<Option<i64>>,
    /// Its value decides a shape, an axis or a split: it must be a constant.
    pub by_value: bool,
}

/// Reads a model. `dims` are `NAME=N` or `INPUT:AXIS=N`; `constants` become constants by name.
pub fn load(model: &str, dims: &[String], constants: &[Weight]) -> Result<Source> {
    let _ = (dims, constants);
    Err(Error::bug(format!("no importer for {model} yet")))
}

/// What inputs a model declares, in its order, without compiling it.
pub fn declared(model: &str) -> Result<Vec<Declared>> {
    Err(Error::bug(format!("no importer for {model} yet")))
}

/// Reads one tensor of ONNX test data.
pub fn read_pb(path: &Path) -> Result<Weight> {
    Err(Error::bug(format!("no reader for {} yet", path.display())))
}

/// True for a file that is an executable and not a model.
pub fn is_executable(model: &str) -> bool {
    use std::io::Read;
    let mut magic = [0u8; 4];
    std::fs::File::open(model)
        .and_then(|mut f| f.read_exact(&mut magic))
        .is_ok_and(|()| &magic == b"\x7fELF")
}
