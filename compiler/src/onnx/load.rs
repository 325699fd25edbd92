//! The importer's entry points.
//!
//! In: a file and what the user bound. Out: [`Imported`]: the graph, what was bound, warnings, and
//! on request the hash of all files that were read.
//!
//! Example: `load(path, &LoadOptions { dims: vec![("batch".into(), 1)], ..Default::default() })`.

use super::external::ExternalFiles;
use super::file;
use super::proto::ModelProto;
use crate::diag::Result;
use crate::graph::Graph;
use crate::program::Weight;
use prost::bytes::Bytes;
use sha2::{Digest, Sha256};
use std::path::Path;

/// What the user binds before import.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Dimensions: `(NAME, n)` for a named one, `("INPUT:AXIS", n)` for one of an input.
    pub dims: Vec<(String, i64)>,
    /// Inputs that become constants, by the name of the weight's first field.
    pub constants: Vec<(String, Weight)>,
    /// Complete shapes of inputs (known from data): they bind every dimension that they meet.
    pub shapes: Vec<(String, Vec<i64>)>,
}

/// An imported model.
#[derive(Debug)]
pub struct Imported {
    /// The graph.
    pub graph: Graph,
    /// Inputs that were bound as constants.
    pub bound: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
    model: Bytes,
    external: Vec<(String, Bytes)>,
}

impl Imported {
    /// SHA-256, in hex, of the model file and then of each external file in the order of their names.
    /// Reads all of them, so it is computed when asked for.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.model);
        for (name, bytes) in &self.external {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
            hash.update(bytes);
        }
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// Imports a model file.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Imported> {
    let (model, bytes) = file::read_model(path)?;
    import(&model, bytes, ExternalFiles::beside(path), options)
}

/// Imports a model from memory. It cannot have external data.
pub fn load_bytes(bytes: Vec<u8>, options: &LoadOptions) -> Result<Imported> {
    let bytes = Bytes::from(bytes);
    let model = file::decode_model(&bytes, "model")?;
    import(&model, bytes, ExternalFiles::default(), options)
}

fn import(
    proto: &ModelProto,
    model: Bytes,
    files: ExternalFiles,
    options: &LoadOptions,
) -> Result<Imported> {
    let outcome = super::import::run(proto, &files, options);
    Ok(Imported {
        graph: outcome.graph?,
        bound: outcome.bound,
        warnings: outcome.warnings,
        model,
        external: files.contents(),
    })
}

/// Names of inputs that must be bound as constants before the model can be imported, because their
/// values decide a shape, an axis or a split. Found by an import with what is bound so far: after
/// binding them, ask again, for others may come to light behind them.
pub fn value_inputs(path: &Path, options: &LoadOptions) -> Result<Vec<String>> {
    let (model, _) = file::read_model(path)?;
    let outcome = super::import::run(&model, &ExternalFiles::beside(path), options);
    Ok(outcome.needs.into_iter().collect())
}
