//! What a user may choose about a compilation, in one struct that the command line builds.

use crate::program::Meta;
use crate::search::Recipes;
use std::path::PathBuf;

/// Choices of one compilation.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Name of the artifact: a C identifier (see [`identifier`]).
    pub name: String,
    /// Folder for numbered dumps of everything that a pass changed.
    pub dump_dir: Option<PathBuf>,
    /// Pass after which to stop; one of [`super::passes`].
    pub stop_after: Option<String>,
    /// Rewrites that rules may make in each kernel after the schedule; `None` is without end.
    pub fuel: Option<u64>,
    /// Choices known before: of a lockfile, of earlier searches.
    pub recipes: Recipes,
    /// Goes into the manifest.
    pub meta: Meta,
}

impl Options {
    /// Defaults, with a name.
    pub fn named(name: &str) -> Options {
        Options {
            name: identifier(name),
            ..Options::default()
        }
    }
}

/// Makes a C identifier of any text: `face-det v2` becomes `face_det_v2`.
///
/// ```
/// assert_eq!(tinyc_compiler::driver::identifier("3d-net"), "m3d_net");
/// ```
pub fn identifier(text: &str) -> String {
    let mut out: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if !out.starts_with(|c: char| c.is_ascii_alphabetic()) {
        out.insert(0, 'm');
    }
    if RESERVED.contains(&out.as_str()) {
        out.push('_');
    }
    out
}

/// Words that cannot name a C, C++ or Rust item.
const RESERVED: &[&str] = &[
    "as",
    "async",
    "auto",
    "await",
    "bool",
    "break",
    "case",
    "char",
    "class",
    "const",
    "continue",
    "crate",
    "default",
    "delete",
    "do",
    "double",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "float",
    "fn",
    "for",
    "goto",
    "if",
    "impl",
    "in",
    "inline",
    "int",
    "let",
    "long",
    "loop",
    "main",
    "match",
    "mod",
    "move",
    "mut",
    "namespace",
    "new",
    "operator",
    "private",
    "protected",
    "pub",
    "public",
    "ref",
    "register",
    "restrict",
    "return",
    "self",
    "short",
    "signed",
    "sizeof",
    "static",
    "struct",
    "super",
    "switch",
    "template",
    "this",
    "trait",
    "true",
    "type",
    "typedef",
    "union",
    "unsafe",
    "unsigned",
    "use",
    "using",
    "virtual",
    "void",
    "volatile",
    "where",
    "while",
];

#[cfg(test)]
mod tests {
    use super::identifier;

    #[test]
    fn identifiers_are_valid() {
        assert_eq!(identifier("mnist"), "mnist");
        assert_eq!(identifier("face-det v2"), "face_det_v2");
        assert_eq!(identifier("3d"), "m3d");
        assert_eq!(identifier(""), "m");
        assert_eq!(identifier("_x"), "m_x");
        assert_eq!(identifier("für"), "f_r");
        assert_eq!(identifier("struct"), "struct_");
    }
}
