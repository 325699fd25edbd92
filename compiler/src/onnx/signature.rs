//! Inputs and outputs of the model: which dimensions are bound, which inputs are constants.
//!
//! In: the graph's declarations and the user's bindings. Out: a tensor for each input, or an error
//! for each dimension that is still open.
//!
//! Example: `input: float[batch, 3, 224, 224]` with `batch=2` becomes a `[2,3,224,224]` tensor.

use super::import::{Import, Named};
use super::load::LoadOptions;
use super::proto::tensor_shape_proto::Value as DimKind;
use super::proto::type_proto::{Tensor as TensorType, Value as Type};
use super::proto::{GraphProto, ValueInfoProto};
use super::tensor;
use crate::diag::{Error, Result};
use crate::graph::TensorId;
use std::collections::{BTreeSet, HashMap};

/// One declared dimension.
enum Declared<'m> {
    Known(i64),
    Name(&'m str),
    Open,
}

fn declared(ty: &TensorType) -> Option<Vec<Declared<'_>>> {
    let shape = ty.shape.as_ref()?;
    Some(
        shape
            .dim
            .iter()
            .map(|d| match &d.value {
                // Some exporters write -1 for a dimension that they do not know.
                Some(DimKind::DimValue(n)) if *n >= 0 => Declared::Known(*n),
                Some(DimKind::DimParam(name)) if !name.is_empty() => Declared::Name(name),
                _ => Declared::Open,
            })
            .collect(),
    )
}

fn tensor_type(value: &ValueInfoProto) -> Result<&TensorType> {
    let name = &value.name;
    match value.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(Type::TensorType(t)) => Ok(t),
        None => Err(Error::model(format!("input '{name}' has no type"))),
        Some(other) => {
            let what = match other {
                Type::SequenceType(_) => "a sequence",
                Type::OptionalType(_) => "an optional value",
                Type::MapType(_) => "a map",
                Type::SparseTensorType(_) => "a sparse tensor",
                _ => "of an opaque type",
            };
            Err(Error::unsupported(format!("input '{name}' is {what}"))
                .help("only tensors can be inputs"))
        }
    }
}

/// Defines the inputs of the model's graph. Errors are reported to `import`, one for each input.
pub(super) fn bind<'m>(
    import: &mut Import<'m>,
    graph: &'m GraphProto,
    options: &LoadOptions,
    bound: &mut Vec<String>,
) -> Result<()> {
    let mut binder = Binder::new(graph, options)?;
    let mut seen = BTreeSet::new();
    for value in &graph.input {
        let name = value.name.as_str();
        if name.is_empty() || !seen.insert(name) {
            import.report(Error::model(format!("input '{name}' is declared twice")));
            continue;
        }
        let constant = options.constants.iter().find(|(n, _)| n == name);
        let id = if let Some((_, weight)) = constant {
            bound.push(name.to_string());
            binder
                .fits(value, weight.dtype, &weight.shape)
                .and_then(|()| {
                    let mut weight = weight.clone();
                    weight.name = name.to_string();
                    import.b.weight(weight)
                })
        } else if import.defined_here(name) {
            // An initializer of the same name: a constant.
            continue;
        } else {
            binder
                .shape(value)
                .and_then(|(dtype, shape)| import.b.input(name, dtype, &shape))
        };
        match id {
            Ok(id) => import.define(name, Named::Tensor(id)),
            Err(e) => {
                import.report(e);
                import.define(name, Named::Broken);
            }
        }
    }
    binder.finish(graph)
}

struct Binder<'a> {
    options: &'a LoadOptions,
    /// Named dimensions.
    names: HashMap<&'a str, i64>,
    used: BTreeSet<&'a str>,
}

impl<'a> Binder<'a> {
    fn new(graph: &'a GraphProto, options: &'a LoadOptions) -> Result<Self> {
        let mut names = HashMap::new();
        // Shapes of data bind names for inputs that have no data, and --dim wins over both.
        for value in &graph.input {
            let given = options.shapes.iter().find(|(n, _)| *n == value.name);
            if let (Ok(ty), Some((_, shape))) = (tensor_type(value), given)
                && let Some(dims) = declared(ty)
                && dims.len() == shape.len()
            {
                for (d, n) in dims.iter().zip(shape) {
                    if let Declared::Name(name) = d {
                        names.entry(*name).or_insert(*n);
                    }
                }
            }
        }
        for (name, n) in &options.dims {
            if *n < 0 {
                return Err(Error::usage(format!("dimension {name}={n} is negative")));
            }
            names.insert(name.as_str(), *n);
        }
        Ok(Binder {
            options,
            names,
            used: BTreeSet::new(),
        })
    }

    /// Type and shape of an input.
    fn shape(&mut self, value: &'a ValueInfoProto) -> Result<(crate::uop::DType, Vec<i64>)> {
        let name = &value.name;
        let ty = tensor_type(value)?;
        let dtype = tensor::require_dtype(ty.elem_type, &format!("input '{name}'"))?;
        let given = self.options.shapes.iter().find(|(n, _)| n == name);
        let given = given.map(|(_, s)| s);
        let Some(dims) = declared(ty) else {
            return given.cloned().map(|s| (dtype, s)).ok_or_else(|| {
                Error::unsupported(format!("input '{name}' has no shape, not even a rank"))
                    .help("fix its shape in the model")
            });
        };
        let given = given.filter(|s| s.len() == dims.len());
        let mut shape = Vec::with_capacity(dims.len());
        for (axis, dim) in dims.iter().enumerate() {
            let key = format!("{name}:{axis}");
            let by_axis = self.options.dims.iter().find(|(n, _)| *n == key);
            if let Some((key, _)) = by_axis {
                self.used.insert(key);
            }
            let by_axis = by_axis.map(|(_, n)| *n);
            let data = given.map(|s| s[axis]);
            let (extent, call) = match dim {
                Declared::Known(n) => {
                    if by_axis.is_some_and(|b| b != *n) {
                        return Err(Error::usage(format!(
                            "axis {axis} of input '{name}' is {n} in the model, not {}",
                            by_axis.unwrap_or(0)
                        )));
                    }
                    (Some(*n), String::new())
                }
                Declared::Name(d) => {
                    self.used.extend(
                        self.options
                            .dims
                            .iter()
                            .map(|x| x.0.as_str())
                            .find(|x| x == d),
                    );
                    let n = by_axis.or(data).or_else(|| self.names.get(d).copied());
                    (n, format!("dimension '{d}' (axis {axis})"))
                }
                Declared::Open => (by_axis.or(data), format!("axis {axis}")),
            };
            let bind = match dim {
                Declared::Name(d) => format!("--dim {d}=N"),
                _ => format!("--dim {key}=N"),
            };
            shape.push(extent.ok_or_else(|| {
                Error::unsupported(format!("{call} of input '{name}' has no size"))
                    .help(format!("bind it with {bind}"))
            })?);
        }
        Ok((dtype, shape))
    }

    /// Checks that a constant can take the place of an input.
    fn fits(
        &mut self,
        value: &'a ValueInfoProto,
        dtype: crate::uop::DType,
        shape: &[i64],
    ) -> Result<()> {
        let name = &value.name;
        let ty = tensor_type(value)?;
        let want = tensor::require_dtype(ty.elem_type, &format!("input '{name}'"))?;
        if want != dtype {
            return Err(Error::usage(format!(
                "input '{name}' is {want}, the constant given for it {dtype}"
            )));
        }
        let Some(dims) = declared(ty) else {
            return Ok(());
        };
        let fits = dims.len() == shape.len()
            && dims
                .iter()
                .zip(shape)
                .all(|(d, n)| !matches!(d, Declared::Known(m) if m != n));
        if !fits {
            return Err(Error::usage(format!(
                "the constant for input '{name}' has shape {shape:?}, which the model does not allow"
            )));
        }
        for (axis, d) in dims.iter().enumerate() {
            let key = format!("{name}:{axis}");
            for (n, _) in &self.options.dims {
                if *n == key || matches!(d, Declared::Name(x) if x == n) {
                    self.used.insert(n);
                }
            }
        }
        Ok(())
    }

    /// Bindings that met nothing are mistakes.
    fn finish(self, graph: &GraphProto) -> Result<()> {
        let inputs = || {
            let names: Vec<&str> = graph.input.iter().map(|v| v.name.as_str()).collect();
            format!("inputs are: {}", names.join(", "))
        };
        for (name, _) in &self.options.dims {
            if !self.used.contains(name.as_str()) {
                return Err(
                    Error::usage(format!("--dim {name}: the model has no such dimension"))
                        .help(inputs()),
                );
            }
        }
        for (name, _) in &self.options.constants {
            if !graph.input.iter().any(|v| v.name == *name) {
                return Err(
                    Error::usage(format!("--const {name}: the model has no such input"))
                        .help(inputs()),
                );
            }
        }
        Ok(())
    }
}

/// Compares an output with its declaration: another type is an error, another shape a warning.
pub(super) fn check_output(import: &mut Import<'_>, value: &ValueInfoProto, id: TensorId) {
    let Some(Type::TensorType(ty)) = value.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return;
    };
    let (found, shape) = (import.dtype(id), import.shape(id));
    if let Some(want) = tensor::dtype(ty.elem_type)
        && want != found
    {
        import.report(Error::model(format!(
            "output '{}' is declared as {want}, but its node gives {found}",
            value.name
        )));
    }
    if let Some(dims) = declared(ty) {
        let fits = dims.len() == shape.len()
            && dims
                .iter()
                .zip(&shape)
                .all(|(d, n)| !matches!(d, Declared::Known(m) if m != n));
        if !fits {
            import.warnings.push(format!(
                "output '{}' has shape {shape:?}, the model declares another",
                value.name
            ));
        }
    }
}
