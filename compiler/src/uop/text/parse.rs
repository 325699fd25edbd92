//! Text to nodes. In: lines as the module above defines them. Out: an arena and its roots or list.
//! Nothing is folded: the nodes are exactly those of the text. Numbers of sources are checked here, types by
//! the verifier.

use crate::diag::{Error, Result};
use crate::uop::table::{arity, attributes, operation};
use crate::uop::{DType, Op, Sources, Type, UopId, Uops};
use rustc_hash::FxHashMap;

/// What a text holds.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The nodes.
    pub uops: Uops,
    /// Those of the `root` line, else the last node.
    pub roots: Vec<UopId>,
    /// Nodes of lines without `let`, in order.
    pub list: Vec<UopId>,
    /// Line of the first definition of each node, from 1.
    pub lines: FxHashMap<UopId, usize>,
}

/// Reads nodes and roots: those of the `root` line, else the last node.
///
/// # Errors
/// Model, with line and column.
pub fn parse(text: &str) -> Result<(Uops, Vec<UopId>)> {
    let parsed = parse_lines(text)?;
    if parsed.roots.is_empty() {
        return Err(Error::model("line 1, column 1: the text holds no node"));
    }
    Ok((parsed.uops, parsed.roots))
}

/// Reads a linear list.
///
/// # Errors
/// Model, with line and column.
pub fn parse_list(text: &str) -> Result<(Uops, Vec<UopId>)> {
    let parsed = parse_lines(text)?;
    Ok((parsed.uops, parsed.list))
}

/// Reads everything that the text says.
///
/// # Errors
/// Model, with line and column.
pub fn parse_lines(text: &str) -> Result<Parsed> {
    let mut parser = Parser::default();
    for (number, full) in text.lines().enumerate() {
        let line = full.split(';').next().unwrap_or_default().trim();
        if !line.is_empty() {
            parser
                .line(number + 1, line)
                .map_err(|bad| bad.error(number + 1, full))?;
        }
    }
    let roots = match (parser.roots, parser.last) {
        (Some(roots), _) => roots,
        (None, last) => Vec::from_iter(last),
    };
    Ok(Parsed {
        uops: parser.g,
        roots,
        list: parser.list,
        lines: parser.lines,
    })
}

/// What is wrong with a line, and the part of it that is.
pub(crate) struct Bad<'a> {
    at: &'a str,
    what: String,
}

impl<'a> Bad<'a> {
    pub(crate) fn new(at: &'a str, what: impl Into<String>) -> Bad<'a> {
        Bad {
            at,
            what: what.into(),
        }
    }
    /// `full` is the line that `at` is a part of.
    pub(crate) fn error(&self, number: usize, full: &str) -> Error {
        let offset = (self.at.as_ptr() as usize).wrapping_sub(full.as_ptr() as usize);
        let before = full.get(..offset).unwrap_or_default();
        Error::model(format!(
            "line {number}, column {}: {}: `{}`",
            before.chars().count() + 1,
            self.what,
            full.trim()
        ))
    }
}

type Parse<'a, T> = std::result::Result<T, Bad<'a>>;

#[derive(Default)]
struct Parser {
    g: Uops,
    names: FxHashMap<String, UopId>,
    roots: Option<Vec<UopId>>,
    last: Option<UopId>,
    list: Vec<UopId>,
    lines: FxHashMap<UopId, usize>,
}

impl Parser {
    fn line<'a>(&mut self, number: usize, line: &'a str) -> Parse<'a, ()> {
        if let Some(rest) = line.strip_prefix("root ") {
            self.roots = Some(self.sources(rest)?.to_vec());
            return Ok(());
        }
        let (listed, line) = match line.strip_prefix("let ") {
            Some(rest) => (false, rest.trim()),
            None => (true, line),
        };
        let id = match line.split_once('=') {
            Some((name, node)) => {
                let name = name.trim();
                let word = name
                    .strip_prefix('%')
                    .filter(|n| !n.is_empty() && n.chars().all(|c| c.is_alphanumeric() || c == '_'))
                    .ok_or_else(|| Bad::new(line, "a name is % and letters or digits"))?;
                let id = self.node(node.trim())?;
                if self.names.insert(word.to_string(), id).is_some() {
                    return Err(Bad::new(name, format!("{name} is defined twice")));
                }
                id
            }
            None if line.starts_with('%') => self.source(line)?,
            None => self.node(line)?,
        };
        self.lines.entry(id).or_insert(number);
        self.last = Some(id);
        if listed {
            self.list.push(id);
        }
        Ok(())
    }

    fn node<'a>(&mut self, whole: &'a str) -> Parse<'a, UopId> {
        if let Some(value) = whole.strip_prefix("const ") {
            return self.source(value.trim());
        }
        let (text, ty) = match whole.rsplit_once(':') {
            Some((text, ty)) => {
                let ty = ty.trim();
                let parsed = parse_type(ty).map_err(|what| Bad::new(ty, what))?;
                (text.trim(), parsed)
            }
            None => (whole, Type::VOID),
        };
        let mut rest = text;
        let mut word = || {
            rest = rest.trim_start();
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            rest = tail;
            word
        };
        let name = word();
        let count =
            attributes(name).ok_or_else(|| Bad::new(name, format!("no operation '{name}'")))?;
        let words: Vec<&str> = (0..count).map(|_| word()).collect();
        let op = operation(name, &words).ok_or_else(|| {
            let what = format!("'{}' are no attributes of {name}", words.join(" "));
            Bad::new(words.first().copied().unwrap_or(name), what)
        })?;
        let src = self.sources(rest)?;
        let (least, most) = arity(op);
        if src.len() < least || src.len() > most {
            let what = format!("{name} does not take {} sources", src.len());
            return Err(Bad::new(name, what));
        }
        let void = matches!(
            op,
            Op::Store { .. }
                | Op::Sink
                | Op::Assign
                | Op::Barrier
                | Op::Prefetch { .. }
                | Op::Loop
                | Op::EndLoop
                | Op::If
                | Op::EndIf
        );
        if void != (ty == Type::VOID) {
            let what = if void {
                "has no value, so no type"
            } else {
                "needs a type"
            };
            return Err(Bad::new(name, format!("{name} {what}")));
        }
        Ok(self.g.add_node(op, ty, src))
    }

    fn sources<'a>(&mut self, text: &'a str) -> Parse<'a, Sources> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Sources::new());
        }
        text.split(',').map(|s| self.source(s.trim())).collect()
    }

    /// `%name`, `16` or `f32(0.5)`.
    fn source<'a>(&mut self, text: &'a str) -> Parse<'a, UopId> {
        if let Some(name) = text.strip_prefix('%') {
            return self
                .names
                .get(name)
                .copied()
                .ok_or_else(|| Bad::new(text, format!("%{name} is not defined above")));
        }
        let Some((ty, value)) = text.split_once('(') else {
            let value: i64 = text
                .parse()
                .map_err(|_| Bad::new(text, format!("'{text}' is no index constant")))?;
            return Ok(self.g.index(value));
        };
        let ty = parse_type(ty).map_err(|what| Bad::new(text, what))?;
        let value = value
            .strip_suffix(')')
            .ok_or_else(|| Bad::new(text, "a ')' is missing"))?;
        let bad = || Bad::new(value, format!("'{value}' is no {}", ty.scalar));
        let bits = if ty.scalar.is_float() {
            match value.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16).map_err(|_| bad())?,
                None => {
                    let v: f64 = value.parse().map_err(|_| bad())?;
                    if v.is_nan() {
                        f64::NAN.to_bits()
                    } else {
                        v.to_bits()
                    }
                }
            }
        } else if ty.scalar == DType::U64 {
            value.parse::<u64>().map_err(|_| bad())?
        } else {
            value.parse::<i64>().map_err(|_| bad())? as u64
        };
        Ok(self.g.constant(ty, bits))
    }
}

/// `f32` or `f32x16`.
pub(crate) fn parse_type(text: &str) -> Result<Type, String> {
    let bad = || format!("'{text}' is no type");
    if let Some(scalar) = DType::parse(text) {
        return Ok(scalar.scalar());
    }
    let (scalar, lanes) = text.rsplit_once('x').ok_or_else(bad)?;
    let lanes: u16 = lanes.parse().map_err(|_| bad())?;
    match DType::parse(scalar) {
        Some(scalar) if lanes > 1 => Ok(scalar.vec(lanes)),
        _ => Err(bad()),
    }
}
