//! One node as its handler sees it: inputs looked up, attributes read by name and type.
//!
//! In: a [`NodeProto`](super::proto::NodeProto) in its scope. Out: typed readers. A reader that meets
//! another type says which attribute, what it wanted and what it found. Attributes that the operator
//! does not have were refused before the handler runs (`ops::Row` lists them).
//!
//! Example: `let axis = node.int("axis")?.unwrap_or(-1);`

use super::proto::{AttributeProto, GraphProto, TensorProto, attribute_type as ty};
use crate::diag::{Error, Result};
use crate::graph::TensorId;

/// A node about to be imported.
#[derive(Debug)]
pub(super) struct Node<'m> {
    /// Version of the operator set that it belongs to.
    pub(super) opset: i64,
    /// `None` for an optional input left out.
    pub(super) inputs: Vec<Option<TensorId>>,
    /// Names of outputs; empty where nobody needs one.
    pub(super) outputs: &'m [String],
    /// Name in this node, and the attribute that gives its value (another one inside a function).
    pub(super) attributes: Vec<(&'m str, &'m AttributeProto)>,
}

impl<'m> Node<'m> {
    /// A required input.
    pub(super) fn input(&self, i: usize) -> Result<TensorId> {
        self.optional(i)
            .ok_or_else(|| Error::model(format!("input {i} is missing")))
    }
    /// An optional input.
    pub(super) fn optional(&self, i: usize) -> Option<TensorId> {
        self.inputs.get(i).copied().flatten()
    }
    /// Every input of an operator that takes any number of them.
    pub(super) fn variadic(&self) -> Result<Vec<TensorId>> {
        (0..self.inputs.len()).map(|i| self.input(i)).collect()
    }
    /// True when somebody may use output `i`.
    pub(super) fn wants(&self, i: usize) -> bool {
        self.outputs.get(i).is_some_and(|name| !name.is_empty())
    }
    /// The attribute of that name.
    pub(super) fn attribute(&self, name: &str) -> Option<&'m AttributeProto> {
        self.attributes
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, a)| *a)
    }
    fn read<T>(
        &self,
        name: &str,
        wanted: i32,
        get: impl Fn(&'m AttributeProto) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(a) = self.attribute(name) else {
            return Ok(None);
        };
        let found = kind(a);
        let wrong = || {
            Error::model(format!(
                "attribute '{name}' is {}, expected {}",
                kind_name(found),
                kind_name(wanted)
            ))
        };
        if found != wanted {
            return Err(wrong());
        }
        get(a).map(Some).ok_or_else(wrong)
    }
    /// An integer.
    pub(super) fn int(&self, name: &str) -> Result<Option<i64>> {
        self.read(name, ty::INT, |a| Some(a.i.unwrap_or(0)))
    }
    /// An integer that means yes or no.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.int(name)?.map_or(default, |v| v != 0))
    }
    /// Integers.
    pub(super) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>> {
        self.read(name, ty::INTS, |a| Some(a.ints.clone()))
    }
    /// A float.
    pub(super) fn float(&self, name: &str) -> Result<Option<f32>> {
        self.read(name, ty::FLOAT, |a| Some(a.f.unwrap_or(0.0)))
    }
    /// A float, or its default, as the operators compute with it.
    pub(super) fn float_or(&self, name: &str, default: f32) -> Result<f64> {
        Ok(f64::from(self.float(name)?.unwrap_or(default)))
    }
    /// Floats.
    pub(super) fn floats(&self, name: &str) -> Result<Option<Vec<f32>>> {
        self.read(name, ty::FLOATS, |a| Some(a.floats.clone()))
    }
    /// A string.
    pub(super) fn string(&self, name: &str) -> Result<Option<&'m str>> {
        self.read(name, ty::STRING, |a| {
            std::str::from_utf8(a.s.as_deref().unwrap_or(&[])).ok()
        })
    }
    /// A string out of a list; the first is the default.
    pub(super) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<T> {
        let default = choices.first().map_or("", |c| c.0);
        let value = self.string(name)?.unwrap_or(default);
        let found = choices.iter().find(|(n, _)| *n == value);
        found.map(|(_, v)| *v).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(n, _)| *n).collect();
            Error::model(format!(
                "attribute '{name}' is '{value}', expected one of {}",
                names.join(", ")
            ))
        })
    }
    /// Strings.
    pub(super) fn strings(&self, name: &str) -> Result<Option<Vec<&'m str>>> {
        self.read(name, ty::STRINGS, |a| {
            a.strings
                .iter()
                .map(|s| std::str::from_utf8(s).ok())
                .collect()
        })
    }
    /// A tensor.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<&'m TensorProto>> {
        self.read(name, ty::TENSOR, |a| a.t.as_ref())
    }
    /// A graph.
    pub(super) fn graph(&self, name: &str) -> Result<&'m GraphProto> {
        self.read(name, ty::GRAPH, |a| a.g.as_ref())?
            .ok_or_else(|| Error::model(format!("attribute '{name}' is missing")))
    }
    /// A required attribute.
    pub(super) fn required<T>(&self, name: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| Error::model(format!("attribute '{name}' is missing")))
    }
}

/// Which field of an attribute is in use. Files older than IR version 2 do not say.
fn kind(a: &AttributeProto) -> i32 {
    if a.r#type != ty::UNDEFINED {
        return a.r#type;
    }
    [
        (a.f.is_some(), ty::FLOAT),
        (a.i.is_some(), ty::INT),
        (a.s.is_some(), ty::STRING),
        (a.t.is_some(), ty::TENSOR),
        (a.g.is_some(), ty::GRAPH),
        (!a.floats.is_empty(), ty::FLOATS),
        (!a.ints.is_empty(), ty::INTS),
        (!a.strings.is_empty(), ty::STRINGS),
    ]
    .into_iter()
    .find(|(used, _)| *used)
    .map_or(ty::UNDEFINED, |(_, k)| k)
}

fn kind_name(kind: i32) -> &'static str {
    match kind {
        ty::FLOAT => "a float",
        ty::INT => "an integer",
        ty::STRING => "a string",
        ty::TENSOR => "a tensor",
        ty::GRAPH => "a graph",
        ty::FLOATS => "a list of floats",
        ty::INTS => "a list of integers",
        ty::STRINGS => "a list of strings",
        ty::TENSORS => "a list of tensors",
        ty::GRAPHS => "a list of graphs",
        ty::SPARSE_TENSOR => "a sparse tensor",
        ty::TYPE_PROTO => "a type",
        _ => "of no known type",
    }
}

/// A non-negative axis below `rank`.
pub(super) fn axis(value: i64, rank: usize) -> Result<usize> {
    let n = rank as i64;
    let from_end = if value < 0 {
        value.saturating_add(n)
    } else {
        value
    };
    usize::try_from(from_end)
        .ok()
        .filter(|a| *a < rank)
        .ok_or_else(|| Error::model(format!("axis {value} is out of range for rank {rank}")))
}

/// Distinct axes, ascending.
pub(super) fn axes(values: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut out = values
        .iter()
        .map(|&v| axis(v, rank))
        .collect::<Result<Vec<_>>>()?;
    out.sort_unstable();
    if out.windows(2).any(|w| w[0] == w[1]) {
        return Err(Error::model(format!("axes {values:?} name an axis twice")));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn readers_say_what_is_wrong() {
        let attribute = AttributeProto {
            name: "axis".into(),
            f: Some(1.0),
            r#type: ty::FLOAT,
            ..Default::default()
        };
        let node = Node {
            opset: 13,
            inputs: vec![],
            outputs: &[],
            attributes: vec![("axis", &attribute)],
        };
        let error = node.int("axis").unwrap_err().message;
        assert_eq!(error, "attribute 'axis' is a float, expected an integer");
        assert_eq!(node.float("axis").unwrap(), Some(1.0));
        assert_eq!(node.int("other").unwrap(), None);
        assert!(node.input(0).is_err());
    }

    #[test]
    fn axes_count_from_the_end() {
        assert_eq!(axes(&[-1, 0], 3).unwrap(), [0, 2]);
        assert!(axes(&[-1, 2], 3).is_err());
        assert!(axis(3, 3).is_err());
        assert!(axis(i64::MIN, 3).is_err());
    }
}
