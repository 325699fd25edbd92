//! Errors for people: every problem of a model in one report, grouped by what is wrong.

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use std::fmt;
use std::io::{IsTerminal, Write};
use tinyc_compiler::diag::{Error, Kind};

/// Nodes named for one problem; the others are counted.
const NODES: usize = 4;

/// Prints an error to stderr.
pub fn print(error: &Error) {
    let terminal = std::io::stderr().is_terminal();
    let _ = writeln!(
        std::io::stderr().lock(),
        "{}",
        render(error, terminal).trim_end()
    );
}

/// An error as text: in colour and wrapped for a terminal, plain otherwise.
pub fn render(error: &Error, terminal: bool) -> String {
    let (theme, width) = if terminal {
        (GraphicalTheme::unicode(), 100)
    } else {
        (GraphicalTheme::none(), 10_000)
    };
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width)
        .with_links(false);
    if handler.render_report(&mut out, &Report::of(error)).is_err() {
        return format!("error: {error}");
    }
    out
}

/// One problem with the nodes that have it.
#[derive(Debug)]
struct Problem {
    text: String,
    help: Option<String>,
}

#[derive(Debug)]
struct Report {
    kind: Kind,
    lead: Problem,
    others: Vec<Problem>,
}

impl Report {
    fn of(error: &Error) -> Report {
        let mut problems = group(error);
        let kind = error.kind;
        let mut lead = if problems.len() > 1 {
            Problem {
                text: format!("{} problems with this model", problems.len()),
                help: None,
            }
        } else {
            problems.remove(0)
        };
        if kind == Kind::Bug {
            lead.help.get_or_insert_with(|| {
                format!(
                    "this is a bug in tinyc {}, not in your model: please report it with this \
                     message, the command line and, if you can, the model",
                    env!("CARGO_PKG_VERSION")
                )
            });
        }
        Report {
            kind,
            lead,
            others: problems,
        }
    }
}

/// Problems in order; nodes of one operator type with one message make one problem.
fn group(error: &Error) -> Vec<Problem> {
    let mut groups: Vec<(&Error, Vec<&Error>)> = Vec::new();
    for e in std::iter::once(error).chain(&error.others) {
        let op = |e: &Error| e.origin.as_ref().map(|o| o.op_type.clone());
        match groups
            .iter_mut()
            .find(|(first, _)| first.message == e.message && op(first) == op(e))
        {
            Some((_, members)) => members.push(e),
            None => groups.push((e, vec![e])),
        }
    }
    groups
        .into_iter()
        .map(|(first, members)| {
            let mut text = first.to_string();
            if members.len() > 1 {
                let names: Vec<String> = members
                    .iter()
                    .skip(1)
                    .filter_map(|e| e.origin.as_ref())
                    .map(|o| {
                        let name = if o.node.is_empty() {
                            &o.tensor
                        } else {
                            &o.node
                        };
                        format!("'{name}'")
                    })
                    .collect();
                let shown = names
                    .iter()
                    .take(NODES)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ");
                text.push_str(&format!(" (also {shown}"));
                if names.len() > NODES {
                    text.push_str(&format!(" and {} more", names.len() - NODES));
                }
                text.push(')');
            }
            Problem {
                text,
                help: first.help.clone(),
            }
        })
        .collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl std::error::Error for Problem {}
impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lead.fmt(f)
    }
}
impl std::error::Error for Report {}
impl Diagnostic for Report {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(match self.kind {
            Kind::Model => "bad input",
            Kind::Unsupported => "not supported",
            Kind::Environment => "environment",
            Kind::Usage => "usage",
            Kind::Bug => "internal error",
        }))
    }
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.lead.help()
    }
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        (!self.others.is_empty()).then(|| {
            Box::new(self.others.iter().map(|p| p as &dyn Diagnostic))
                as Box<dyn Iterator<Item = &dyn Diagnostic>>
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tinyc_compiler::diag::Origin;

    #[test]
    fn one_error() {
        let e = Error::model("m.onnx: this is a Git LFS pointer, not a model")
            .help("fetch the file with 'git lfs pull'");
        insta::assert_snapshot!(render(&e, false));
    }

    #[test]
    fn unsupported_ops_are_listed_together() {
        let node = |n: usize| {
            Error::unsupported("operator is not supported").at(&Origin::new(
                &format!("n{n}"),
                "Unique",
                "",
            ))
        };
        let mut errors: Vec<Error> = (0..8).map(node).collect();
        errors.push(
            Error::unsupported("mode 'x' is not supported")
                .at(&Origin::new("r", "Resize", "y"))
                .help("use 'linear'"),
        );
        insta::assert_snapshot!(render(&Error::all(errors).unwrap(), false));
    }

    #[test]
    fn bugs_say_so() {
        let text = render(&Error::bug("index out of bounds"), false);
        assert!(text.contains("this is a bug in tinyc"), "{text}");
    }
}
