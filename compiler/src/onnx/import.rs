//! From messages to tensors: scopes of names, nodes in order, control flow and functions.
//!
//! In: a decoded model and what the user bound. Out: [`Outcome`]: a graph, or everything that is wrong
//! with the model at once. A node that cannot be imported marks its outputs as broken; nodes that read
//! a broken tensor are skipped in silence, so that each error is reported once, where it arises.
//!
//! Example: a graph with `Foo`, `Bar` and `Relu(Foo's output)` gives one error that lists `Foo` and
//! `Bar`.

use super::build::Builder;
use super::external::ExternalFiles;
use super::load::LoadOptions;
use super::node::Node;
use super::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    SparseTensorProto, TensorProto,
};
use super::{ops, signature, sort, tensor};
use crate::diag::{Error, Kind, Origin, Result};
use crate::graph::{Graph, TensorId};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Operator sets of ONNX's own domain that tinyc reads.
pub(super) const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;
/// Deepest nesting of functions: more is a function that calls itself.
const MAX_DEPTH: usize = 64;
/// Most nodes after inlining: more is a model made to exhaust memory.
const MAX_NODES: usize = 2_000_000;

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named<'m> {
    /// A tensor of the graph.
    Tensor(TensorId),
    /// A constant that nobody has read yet.
    Dense(&'m TensorProto),
    /// A sparse constant that nobody has read yet.
    Sparse(&'m SparseTensorProto),
    /// Its node could not be imported, which has been reported.
    Broken,
    /// An optional input that the caller of a function left out.
    Missing,
}

/// Names of one graph or function.
#[derive(Debug, Default)]
struct Scope<'m> {
    names: HashMap<&'m str, Named<'m>>,
    /// A function: names around it are not visible, and these attributes are.
    function: Option<HashMap<&'m str, &'m AttributeProto>>,
    /// Versions of operator sets, for a function (empty elsewhere: those around it hold).
    opsets: HashMap<&'m str, i64>,
}

/// The state of an import.
pub(super) struct Import<'m> {
    pub(super) b: Builder,
    pub(super) files: &'m ExternalFiles,
    functions: HashMap<(&'m str, &'m str, &'m str), &'m FunctionProto>,
    scopes: Vec<Scope<'m>>,
    errors: Vec<Error>,
    /// Inputs whose values are needed now.
    pub(super) needs: BTreeSet<String>,
    pub(super) warnings: Vec<String>,
    nodes: usize,
    /// A body of the current node reads a broken tensor.
    broken_body: bool,
}

/// What an import came to.
pub(super) struct Outcome {
    pub(super) graph: Result<Graph>,
    pub(super) bound: Vec<String>,
    /// Inputs that would have to be constants.
    pub(super) needs: BTreeSet<String>,
    pub(super) warnings: Vec<String>,
}

fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

fn versions(imports: &[OperatorSetIdProto]) -> HashMap<&str, i64> {
    imports
        .iter()
        .map(|o| (domain(&o.domain), o.version))
        .collect()
}

/// Imports a model.
pub(super) fn run(model: &ModelProto, files: &ExternalFiles, options: &LoadOptions) -> Outcome {
    let name = model.graph.as_ref().map_or("", |g| g.name.as_str());
    let mut import = Import {
        b: Builder::new(name),
        files,
        functions: HashMap::new(),
        scopes: vec![Scope::default()],
        errors: Vec::new(),
        needs: BTreeSet::new(),
        warnings: Vec::new(),
        nodes: 0,
        broken_body: false,
    };
    let mut bound = Vec::new();
    let outputs = import.model(model, options, &mut bound);
    let Import {
        b,
        errors,
        needs,
        warnings,
        ..
    } = import;
    let graph = match (outputs, Error::all(errors)) {
        (_, Some(error)) | (Err(error), None) => Err(error),
        (Ok(()), None) => b.finish(),
    };
    Outcome {
        graph,
        bound,
        needs,
        warnings,
    }
}

impl<'m> Import<'m> {
    fn model(
        &mut self,
        model: &'m ModelProto,
        options: &LoadOptions,
        bound: &mut Vec<String>,
    ) -> Result<()> {
        let graph = model
            .graph
            .as_ref()
            .ok_or_else(|| Error::model("the model holds no graph"))?;
        self.scopes[0].opsets = versions(&model.opset_import);
        // IR versions before 3 had no operator sets; everything since names one.
        let opset = self.version("").unwrap_or(1);
        let uses_onnx = graph.node.iter().any(|n| domain(&n.domain).is_empty());
        if uses_onnx && !OPSETS.contains(&opset) {
            return Err(Error::unsupported(format!(
                "the model uses opset {opset}; tinyc reads opsets {} to {}",
                OPSETS.start(),
                OPSETS.end()
            ))
            .help("convert it with onnx.version_converter"));
        }
        for f in &model.functions {
            let key = (domain(&f.domain), f.name.as_str(), f.overload.as_str());
            self.functions.insert(key, f);
        }
        let constants: HashMap<&str, _> = options
            .constants
            .iter()
            .map(|(n, w)| (n.as_str(), w))
            .collect();
        self.constants(graph, &|name| constants.contains_key(name));
        signature::bind(self, graph, options, bound)?;
        self.run_nodes(&graph.node);
        for output in &graph.output {
            match self.lookup(&output.name) {
                Ok(Some(id)) => {
                    signature::check_output(self, output, id);
                    self.b.output(&output.name, id);
                }
                Ok(None) => {}
                Err(e) => self.errors.push(e),
            }
        }
        Ok(())
    }

    /// Remembers an error.
    pub(super) fn report(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// Names a tensor in the innermost scope.
    pub(super) fn define(&mut self, name: &'m str, value: Named<'m>) {
        if let Some(scope) = self.scopes.last_mut()
            && !name.is_empty()
        {
            scope.names.insert(name, value);
        }
    }

    /// True for a name of the innermost scope.
    pub(super) fn defined_here(&self, name: &str) -> bool {
        self.scopes
            .last()
            .is_some_and(|s| s.names.contains_key(name))
    }

    /// Defines the constants of a graph, but for those that `replaced` names.
    fn constants(&mut self, graph: &'m GraphProto, replaced: &dyn Fn(&str) -> bool) {
        let dense = graph.initializer.iter().map(|t| (&t.name, Named::Dense(t)));
        let sparse = graph
            .sparse_initializer
            .iter()
            .filter_map(|t| t.values.as_ref().map(|v| (&v.name, Named::Sparse(t))));
        for (name, value) in dense.chain(sparse) {
            if replaced(name) {
                continue;
            }
            if self.defined_here(name) {
                self.report(Error::model(format!("constant '{name}' is defined twice")));
            }
            self.define(name, value);
        }
    }

    /// Scopes from the innermost outwards, as far as names are visible.
    fn find(&self, name: &str) -> Option<(usize, Named<'m>)> {
        for (i, scope) in self.scopes.iter().enumerate().rev() {
            if let Some(value) = scope.names.get(name) {
                return Some((i, *value));
            }
            if scope.function.is_some() {
                return None;
            }
        }
        None
    }

    /// Version of a domain where we are.
    fn version(&self, domain: &str) -> Option<i64> {
        for scope in self.scopes.iter().rev() {
            if scope.function.is_some() || !scope.opsets.is_empty() {
                return scope.opsets.get(domain).copied();
            }
        }
        None
    }

    /// The tensor of a name; `None` when it is broken. Constants become weights at their first use.
    fn lookup(&mut self, name: &str) -> Result<Option<TensorId>> {
        let (scope, value) = self.find(name).ok_or_else(|| {
            Error::model(format!("tensor '{name}' is read but nobody defines it"))
        })?;
        let weight = match value {
            Named::Tensor(id) => return Ok(Some(id)),
            Named::Broken => return Ok(None),
            Named::Missing => {
                return Err(Error::model(format!(
                    "the optional input '{name}' is read but the caller left it out"
                )));
            }
            Named::Dense(t) => tensor::weight(t, self.files),
            Named::Sparse(t) => tensor::sparse_weight(t, self.files),
        };
        let id = weight.and_then(|w| self.b.weight(w));
        let entry = match &id {
            Ok(id) => Named::Tensor(*id),
            Err(_) => Named::Broken,
        };
        if let Some((known, _)) = self.scopes[scope].names.get_key_value(name) {
            let known = *known;
            self.scopes[scope].names.insert(known, entry);
        }
        id.map(Some)
    }

    /// Imports nodes into the innermost scope; errors are remembered.
    fn run_nodes(&mut self, nodes: &'m [NodeProto]) {
        let order = sort::order(nodes, &|name| self.find(name).is_some());
        let order = match order {
            Ok(order) => order,
            Err(mut e) => {
                let others = std::mem::take(&mut e.others);
                self.errors.push(e);
                self.errors.extend(others);
                return;
            }
        };
        for i in order {
            let proto = &nodes[i];
            let origin = Arc::new(sort::origin(proto));
            for name in &proto.output {
                if self.defined_here(name) && !name.is_empty() {
                    let e = Error::model(format!("tensor '{name}' is defined twice"));
                    self.errors.push(e.at(&origin));
                }
            }
            let outputs = match self.run_node(proto, &origin) {
                Ok(outputs) => outputs,
                Err(e) => {
                    self.errors.push(e.at(&origin));
                    None
                }
            };
            for (k, name) in proto.output.iter().enumerate() {
                let value = outputs.as_ref().and_then(|o| o.get(k));
                self.define(name, value.map_or(Named::Broken, |id| Named::Tensor(*id)));
            }
        }
    }

    /// Outputs of one node; `None` when it reads a broken tensor.
    fn run_node(
        &mut self,
        proto: &'m NodeProto,
        origin: &Arc<Origin>,
    ) -> Result<Option<Vec<TensorId>>> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Error::unsupported(format!(
                "the model has more than {MAX_NODES} nodes after inlining"
            )));
        }
        let home = domain(&proto.domain);
        let key = (home, proto.op_type.as_str(), proto.overload.as_str());
        let function = self.functions.get(&key).copied();
        let opset = self.version(home);
        let row = match function {
            Some(_) => None,
            None => Some(ops::find(home, &proto.op_type, opset)?),
        };
        let mut broken = false;
        let mut inputs = Vec::with_capacity(proto.input.len());
        for name in &proto.input {
            let missing = name.is_empty() || matches!(self.find(name), Some((_, Named::Missing)));
            inputs.push(if missing {
                None
            } else {
                let id = self.lookup(name)?;
                broken |= id.is_none();
                id
            });
        }
        if broken {
            return Ok(None);
        }
        let node = Node {
            opset: opset.unwrap_or(1),
            inputs,
            outputs: &proto.output,
            attributes: self.attributes(proto)?,
        };
        if let Some(f) = function {
            return self.call(f, &node);
        }
        let Some(row) = row else { return Ok(None) };
        row.check(&node)?;
        self.b.set_origin(origin);
        let before = self.errors.len();
        let outputs = (row.run)(self, &node)?;
        if std::mem::take(&mut self.broken_body) || self.errors.len() > before {
            return Ok(None);
        }
        if let Some(k) = (outputs.len()..proto.output.len()).find(|&k| node.wants(k)) {
            return Err(Error::unsupported(format!(
                "output {k} ('{}') is not supported",
                proto.output[k]
            )));
        }
        Ok(Some(outputs))
    }

    /// Attributes of a node, with those that a function passes on looked up.
    fn attributes(&self, proto: &'m NodeProto) -> Result<Vec<(&'m str, &'m AttributeProto)>> {
        let mut out: Vec<(&str, &AttributeProto)> = Vec::with_capacity(proto.attribute.len());
        for a in &proto.attribute {
            let value = if a.ref_attr_name.is_empty() {
                Some(a)
            } else {
                let function = self.scopes.iter().rev().find_map(|s| s.function.as_ref());
                let function = function.ok_or_else(|| {
                    Error::model(format!(
                        "attribute '{}' refers to an attribute outside of a function",
                        a.name
                    ))
                })?;
                function.get(a.ref_attr_name.as_str()).copied()
            };
            if out.iter().any(|(n, _)| *n == a.name) {
                return Err(Error::model(format!(
                    "attribute '{}' is given twice",
                    a.name
                )));
            }
            out.extend(value.map(|v| (a.name.as_str(), v)));
        }
        Ok(out)
    }

    /// Inlines a function.
    fn call(&mut self, f: &'m FunctionProto, node: &Node<'m>) -> Result<Option<Vec<TensorId>>> {
        if self.scopes.len() > MAX_DEPTH {
            return Err(Error::model(format!("function '{}' calls itself", f.name)));
        }
        if node.inputs.len() > f.input.len() || node.outputs.len() > f.output.len() {
            return Err(Error::model(format!(
                "function '{}' has {} inputs and {} outputs, the call {} and {}",
                f.name,
                f.input.len(),
                f.output.len(),
                node.inputs.len(),
                node.outputs.len()
            )));
        }
        let mut attributes: HashMap<&str, &AttributeProto> = f
            .attribute_proto
            .iter()
            .map(|a| (a.name.as_str(), a))
            .collect();
        for (name, value) in &node.attributes {
            let known = f.attribute.iter().any(|a| a == name) || attributes.contains_key(name);
            if !known {
                return Err(Error::model(format!(
                    "function '{}' has no attribute '{name}'",
                    f.name
                )));
            }
            attributes.insert(name, value);
        }
        let opsets = versions(&f.opset_import);
        if let Some(v) = opsets.get("").filter(|v| !OPSETS.contains(v)) {
            return Err(Error::unsupported(format!(
                "function '{}' uses opset {v}; tinyc reads opsets {} to {}",
                f.name,
                OPSETS.start(),
                OPSETS.end()
            )));
        }
        let scope = Scope {
            names: HashMap::new(),
            function: Some(attributes),
            opsets,
        };
        self.scoped(scope, |import| {
            for (i, name) in f.input.iter().enumerate() {
                let value = node.optional(i).map_or(Named::Missing, Named::Tensor);
                import.define(name, value);
            }
            import.run_nodes(&f.node);
            let names: Vec<&str> = f.output.iter().map(String::as_str).collect();
            import.results(&names, |k| node.wants(k))
        })
    }

    fn scoped<T>(&mut self, scope: Scope<'m>, run: impl FnOnce(&mut Self) -> T) -> T {
        self.scopes.push(scope);
        let result = run(self);
        self.scopes.pop();
        result
    }

    /// Tensors of names in the innermost scope; `None` when a wanted one is broken.
    fn results(
        &mut self,
        names: &[&str],
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Option<Vec<TensorId>>> {
        let mut out = Vec::with_capacity(names.len());
        for (k, name) in names.iter().enumerate() {
            if !wanted(k) {
                // A place holder: nobody has a name for it.
                out.push(out.last().copied().unwrap_or(TensorId(0)));
                continue;
            }
            match self.lookup(name)? {
                Some(id) => out.push(id),
                None => return Ok(None),
            }
        }
        Ok(Some(out))
    }

    /// Imports a body graph in place: `inputs` are its inputs, names around it are visible.
    /// `None` when it could not be imported, which has been reported.
    pub(super) fn body(
        &mut self,
        graph: &'m GraphProto,
        inputs: &[TensorId],
    ) -> Result<Option<Vec<TensorId>>> {
        if inputs.len() != graph.input.len() {
            return Err(Error::model(format!(
                "the body has {} inputs, the node gives it {}",
                graph.input.len(),
                inputs.len()
            )));
        }
        if self.scopes.len() > MAX_DEPTH {
            return Err(Error::model("control flow is nested too deeply"));
        }
        let before = self.errors.len();
        let result = self.scoped(Scope::default(), |import| {
            import.constants(graph, &|_| false);
            for (value, id) in graph.input.iter().zip(inputs) {
                import.define(&value.name, Named::Tensor(*id));
            }
            import.run_nodes(&graph.node);
            let names: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
            import.results(&names, |_| true)
        })?;
        let whole = result.filter(|_| self.errors.len() == before);
        self.broken_body = whole.is_none();
        Ok(whole)
    }

    /// Errors found until now.
    pub(super) fn error_count(&self) -> usize {
        self.errors.len()
    }

    /// Errors since `before` are of nodes in branches: those that say nothing of what to do get told that one branch goes away when the
    /// choice is known.
    pub(super) fn suggest_choice(&mut self, before: usize, choice: TensorId) {
        let names = self.ancestors(choice);
        let Some(name) = names.first() else {
            return;
        };
        for error in self.errors.iter_mut().skip(before) {
            error.help.get_or_insert_with(|| {
                format!(
                    "the node is in a branch of an If, of which one is imported when the choice is known: bind it with --const {name}=value.npy"
                )
            });
        }
    }

    /// Remembers that the value of `id` is needed, and says so.
    pub(super) fn needs_value(&mut self, id: TensorId, what: &str) -> Error {
        let names = self.ancestors(id);
        if names.is_empty() {
            return Error::new(
                Kind::Unsupported,
                format!("{what} must be known when the model is compiled"),
            );
        }
        self.needs.extend(names.iter().cloned());
        let list: Vec<String> = names.iter().map(|n| format!("'{n}'")).collect();
        Error::unsupported(format!(
            "{what} must be known when the model is compiled; it depends on input {}",
            list.join(", ")
        ))
        .help(format!("bind it with --const {}=value.npy", names[0]))
    }
}
