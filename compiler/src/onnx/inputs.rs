//! What inputs a model asks its caller for, read without importing it.
//!
//! In: a path. Out: names in the model's order. Inputs that have an initialiser are left out: those are
//! defaults that old opsets list among the inputs. ONNX test data is numbered in this order.

use super::file;
use crate::diag::Result;
use std::path::Path;

/// Names of a model's inputs in order, those with an initialiser left out.
pub fn input_names(path: &Path) -> Result<Vec<String>> {
    let (model, _) = file::read_model(path)?;
    let Some(graph) = model.graph else {
        return Ok(Vec::new());
    };
    let constant = |name: &str| graph.initializer.iter().any(|t| t.name == name);
    Ok(graph
        .input
        .iter()
        .map(|i| i.name.clone())
        .filter(|name| !constant(name))
        .collect())
}
