//! Errors and origins: who must act, on what, and where it came from.
//!
//! Every fallible function of the compiler returns [`Error`]. Its [`Kind`] says who must act;
//! its [`Origin`] names the model node. Several errors found together (all unsupported ops of a
//! model) travel as one [`Error`] with `others` filled.

use std::fmt;
use std::sync::Arc;

/// Result of every fallible function in the compiler.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where a tensor or kernel comes from, in the user's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Origin {
    /// ONNX node name (or a builder-given name). Empty when the node has none.
    pub node: Arc<str>,
    /// Operator type, such as `Conv`.
    pub op_type: Arc<str>,
    /// Name of the tensor that the node writes.
    pub tensor: Arc<str>,
}

impl Origin {
    /// An origin from its three names.
    pub fn new(node: &str, op_type: &str, tensor: &str) -> Self {
        Origin {
            node: node.into(),
            op_type: op_type.into(),
            tensor: tensor.into(),
        }
    }

    /// True when nothing is known.
    pub fn is_empty(&self) -> bool {
        self.node.is_empty() && self.op_type.is_empty() && self.tensor.is_empty()
    }
}

impl fmt::Display for Origin {
    /// `Conv 'node' (-> 'tensor')`, leaving out what is not known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = if self.op_type.is_empty() {
            "node"
        } else {
            &*self.op_type
        };
        f.write_str(op)?;
        if !self.node.is_empty() {
            write!(f, " '{}'", self.node)?;
        }
        if !self.tensor.is_empty() {
            write!(f, " (-> '{}')", self.tensor)?;
        }
        Ok(())
    }
}

/// Who must act on an error. The command line maps it to its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The user's file is damaged, ill-typed or not what it claims to be (exit code 4).
    Model,
    /// The model is valid, but tinyc cannot compile it (exit code 3).
    Unsupported,
    /// A tool, device, file or permission is missing (exit code 5).
    Environment,
    /// The arguments contradict each other or the model (exit code 2).
    Usage,
    /// tinyc is wrong (exit code 70).
    Bug,
}

/// One error, perhaps with others that were found in the same pass over the model.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Error {
    /// Who must act.
    pub kind: Kind,
    /// What happened: names the file, node, attribute or tensor, what was expected, what was found.
    pub message: String,
    /// The model node, when there is one.
    pub origin: Option<Origin>,
    /// What the user can do about it.
    pub help: Option<String>,
    /// Errors found in the same pass, this one not included.
    pub others: Vec<Error>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) if !origin.is_empty() => write!(f, "{origin}: {}", self.message),
            _ => f.write_str(&self.message),
        }
    }
}

impl Error {
    /// An error of the given kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error {
            kind,
            message: message.into(),
            origin: None,
            help: None,
            others: Vec::new(),
        }
    }
    /// The user's file is wrong.
    pub fn model(message: impl Into<String>) -> Self {
        Self::new(Kind::Model, message)
    }
    /// tinyc does not do this yet.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, message)
    }
    /// A tool, file or device is missing.
    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(Kind::Environment, message)
    }
    /// Contradicting arguments.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }
    /// tinyc broke one of its own invariants.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message)
    }
    /// Adds the node unless one is already known.
    pub fn at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }
    /// Adds what the user can do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    /// Folds many errors into one: the first leads. `None` when there is none.
    /// A [`Kind::Model`] error leads over an unsupported one: a broken file is reported first.
    pub fn all(mut errors: Vec<Error>) -> Option<Error> {
        let lead = errors
            .iter()
            .position(|e| e.kind == Kind::Model)
            .unwrap_or(0);
        if errors.is_empty() {
            return None;
        }
        let mut first = errors.remove(lead);
        first.others.extend(errors);
        Some(first)
    }
}
