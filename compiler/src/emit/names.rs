//! Identifiers for tensors: valid in C, C++ and Rust, and different from each other.
//!
//! In: names as the model has them. Out: identifiers in the same order. Example: `x:0`, `x/0`, `int`
//! become `x_0`, `x_0_2`, `int_`. Uniqueness ignores case, so that macros made of them differ too.

use std::collections::HashSet;

/// Words that are keywords, or predefined or widely used macros, somewhere.
const RESERVED: &[&str] = &[
    "abstract",
    "alignas",
    "alignof",
    "and",
    "and_eq",
    "as",
    "asm",
    "assert",
    "async",
    "atomic",
    "auto",
    "await",
    "become",
    "bitand",
    "bitor",
    "bool",
    "box",
    "break",
    "case",
    "catch",
    "char",
    "char8_t",
    "char16_t",
    "char32_t",
    "class",
    "co_await",
    "co_return",
    "co_yield",
    "compl",
    "complex",
    "concept",
    "const",
    "consteval",
    "constexpr",
    "constinit",
    "const_cast",
    "continue",
    "crate",
    "decltype",
    "default",
    "delete",
    "do",
    "double",
    "dyn",
    "dynamic_cast",
    "else",
    "enum",
    "eof",
    "errno",
    "explicit",
    "export",
    "extern",
    "false",
    "final",
    "float",
    "fn",
    "for",
    "friend",
    "gen",
    "goto",
    "i386",
    "if",
    "impl",
    "import",
    "in",
    "inline",
    "int",
    "let",
    "linux",
    "long",
    "loop",
    "macro",
    "match",
    "mod",
    "module",
    "move",
    "mut",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "not",
    "not_eq",
    "null",
    "nullptr",
    "operator",
    "or",
    "or_eq",
    "override",
    "priv",
    "private",
    "protected",
    "pub",
    "public",
    "ref",
    "register",
    "reinterpret_cast",
    "requires",
    "restrict",
    "return",
    "self",
    "short",
    "signed",
    "sizeof",
    "static",
    "static_assert",
    "static_cast",
    "stderr",
    "stdin",
    "stdout",
    "struct",
    "super",
    "switch",
    "template",
    "this",
    "thread_local",
    "throw",
    "trait",
    "true",
    "try",
    "type",
    "typedef",
    "typeid",
    "typename",
    "typeof",
    "union",
    "unix",
    "unsafe",
    "unsigned",
    "unsized",
    "use",
    "using",
    "virtual",
    "void",
    "volatile",
    "wchar_t",
    "where",
    "while",
    "xor",
    "xor_eq",
    "yield",
];

/// One identifier for each name.
pub fn identifiers<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut out = Vec::new();
    for name in names {
        let base = identifier(name);
        let mut candidate = base.clone();
        let mut n = 2;
        while !taken.insert(candidate.to_ascii_lowercase()) {
            candidate = format!("{base}_{n}");
            n += 1;
        }
        out.push(candidate);
    }
    out
}

/// True for a name that can prefix every symbol of an artifact.
pub fn is_identifier(name: &str) -> bool {
    !name.is_empty() && identifier(name) == name
}

fn identifier(name: &str) -> String {
    // Runs of other characters become one underscore; two in a row are reserved in C++.
    let mut out = String::new();
    for c in name.chars().take(120) {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    let trimmed = out.trim_matches('_');
    let mut out = trimmed.to_string();
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert_str(0, if out.is_empty() { "tensor" } else { "t_" });
    }
    if RESERVED.contains(&out.to_ascii_lowercase().as_str()) {
        out.push('_');
    }
    out
}

/// A C string literal of any text. Bytes outside printable ASCII become octal escapes, which end
/// after three digits (hexadecimal ones do not).
pub fn c_string(text: &str) -> String {
    let mut out = String::from("\"");
    for b in text.bytes() {
        match b {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(b as char);
            }
            // `??` starts a trigraph.
            b' '..=b'~' if b != b'?' => out.push(b as char),
            _ => out.push_str(&format!("\\{b:03o}")),
        }
    }
    out.push('"');
    out
}

/// Text that may stand inside a comment of C or Rust.
pub fn comment(text: &str) -> String {
    let mut out = String::from("`");
    for c in text.chars().take(120) {
        match c {
            '/' if out.ends_with('*') => out.push_str(" /"),
            '*' if out.ends_with('/') => out.push_str(" *"),
            '\\' | '`' => out.push('\''),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('`');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_valid_identifiers() {
        let names = [
            "x:0", "x/0", "X_0", "int", "0", "", "", "ü", "a__b", "linux",
        ];
        assert_eq!(
            identifiers(names),
            [
                "x_0", "x_0_2", "X_0_3", "int_", "t_0", "tensor", "tensor_2", "tensor_3", "a_b",
                "linux_"
            ]
        );
    }

    #[test]
    fn made_up_names_do_not_collide() {
        assert_eq!(identifiers(["a", "a_2", "a"]), ["a", "a_2", "a_3"]);
    }

    #[test]
    fn literals_and_comments_cannot_be_left() {
        assert_eq!(c_string("a\"\\\n?"), "\"a\\\"\\\\\\012\\077\"");
        assert_eq!(comment("*/ x /* \n"), "`* / x / *  `");
    }

    #[test]
    fn model_names() {
        assert!(is_identifier("mnist_opt"));
        assert!(
            !is_identifier("int")
                && !is_identifier("a-b")
                && !is_identifier("")
                && !is_identifier("_a")
        );
    }
}
