//! The operators that tinyc imports: a table of rows, one file for each family.
//!
//! In: a node whose inputs are tensors already. Out: tensors for its outputs, made by calls on
//! [`Import`]. To add an operator, write a handler in its family's file and add a row; nothing else
//! names operators. A row says since which opset it holds, so one operator may have several rows.
//!
//! Example: `row("Softmax", 13, 1..=1, &["axis"], softmax)`.

mod activation;
mod attention;
mod constant;
mod control;
mod conv;
mod convert;
mod elementwise;
mod gather;
mod image;
mod loss;
mod matmul;
mod movement;
mod norm;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod resize;
mod shape;
mod signal;
mod slice;
mod sort;

pub(super) use slice::pad_with;

use super::import::Import;
use super::node::Node;
use crate::diag::{Error, Result};
use crate::graph::TensorId;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

/// Imports one node: its outputs in order. Outputs that nobody wants may be left off the end.
pub(super) type Handler = for<'m> fn(&mut Import<'m>, &Node<'m>) -> Result<Vec<TensorId>>;

/// One operator in one range of opsets.
#[derive(Debug)]
pub(super) struct Row {
    name: &'static str,
    since: i64,
    inputs: RangeInclusive<usize>,
    attributes: &'static [&'static str],
    pub(super) run: Handler,
}

/// A row of the table.
const fn row(
    name: &'static str,
    since: i64,
    inputs: RangeInclusive<usize>,
    attributes: &'static [&'static str],
    run: Handler,
) -> Row {
    Row {
        name,
        since,
        inputs,
        attributes,
        run,
    }
}

/// Any number of inputs.
const ANY: usize = usize::MAX;

const FAMILIES: &[&[Row]] = &[
    activation::ROWS,
    attention::ROWS,
    constant::ROWS,
    control::ROWS,
    conv::ROWS,
    convert::ROWS,
    elementwise::ROWS,
    gather::ROWS,
    image::ROWS,
    loss::ROWS,
    matmul::ROWS,
    movement::ROWS,
    norm::ROWS,
    pool::ROWS,
    quantize::ROWS,
    recurrent::ROWS,
    reduce::ROWS,
    resize::ROWS,
    shape::ROWS,
    signal::ROWS,
    slice::ROWS,
    sort::ROWS,
];

static TABLE: LazyLock<HashMap<&str, Vec<&Row>>> = LazyLock::new(|| {
    let mut table: HashMap<&str, Vec<&Row>> = HashMap::new();
    for row in FAMILIES.iter().copied().flatten() {
        table.entry(row.name).or_default().push(row);
    }
    table
});

/// The row of an operator, or an error that names it with its domain and opset.
pub(super) fn find(domain: &str, op_type: &str, opset: Option<i64>) -> Result<&'static Row> {
    let Some(opset) = opset else {
        return Err(Error::model(format!(
            "the model imports no operator set of domain '{domain}'"
        )));
    };
    let rows = TABLE.get(op_type).filter(|_| domain.is_empty());
    let Some(rows) = rows else {
        let name = if domain.is_empty() {
            op_type.to_string()
        } else {
            format!("{domain}::{op_type}")
        };
        return Err(Error::unsupported(format!(
            "operator {name} (opset {opset}) is not supported"
        )));
    };
    rows.iter()
        .filter(|r| r.since <= opset)
        .max_by_key(|r| r.since)
        .copied()
        .ok_or_else(|| {
            let since = rows.iter().map(|r| r.since).min().unwrap_or(0);
            Error::model(format!(
                "operator {op_type} exists since opset {since}, the model uses opset {opset}"
            ))
        })
}

impl Row {
    /// Refuses what the operator does not have.
    pub(super) fn check(&self, node: &Node<'_>) -> Result<()> {
        if !self.inputs.contains(&node.inputs.len()) {
            return Err(Error::model(format!(
                "{} has {} inputs, expected {}",
                self.name,
                node.inputs.len(),
                match (*self.inputs.start(), *self.inputs.end()) {
                    (low, ANY) => format!("at least {low}"),
                    (low, high) if low == high => low.to_string(),
                    (low, high) => format!("{low} to {high}"),
                }
            )));
        }
        for (name, _) in &node.attributes {
            if !self.attributes.contains(name) {
                return Err(Error::model(format!(
                    "{} of opset {} has no attribute '{name}'",
                    self.name, node.opset
                )));
            }
        }
        Ok(())
    }
}

/// Names of the operators that have a row, in order.
pub fn supported() -> Vec<&'static str> {
    let mut names: Vec<&str> = TABLE.keys().copied().collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::diag::Kind;

    #[test]
    fn rows_are_found_by_opset() {
        assert_eq!(find("", "Slice", Some(9)).unwrap().since, 1);
        assert_eq!(find("", "Slice", Some(13)).unwrap().since, 10);
        let error = find("", "LayerNormalization", Some(16)).unwrap_err();
        assert_eq!(error.kind, Kind::Model);
        let error = find("com.microsoft", "Gelu", Some(1)).unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported);
        assert!(error.message.contains("com.microsoft::Gelu (opset 1)"));
        assert_eq!(find("x", "Y", None).unwrap_err().kind, Kind::Model);
    }

    #[test]
    fn no_row_stands_twice() {
        for (name, rows) in TABLE.iter() {
            let mut since: Vec<i64> = rows.iter().map(|r| r.since).collect();
            since.sort_unstable();
            assert!(since.windows(2).all(|w| w[0] != w[1]), "{name}");
        }
    }
}
