//! Text to nodes. In: lines as the module above defines them. Out: an arena and its roots or list.
//! Nothing is folded: the nodes are exactly those of the text. Numbers of sources are checked here, types by
//! the verifier.

use crate::diag::{Error, Result};
use crate::uop::table::{arity, attributes, operation};
use crate::uop::{DType, Op, Sources, Type, UopId, Uops};
use rustc_hash::FxHashMap;

/// Reads nodes and roots: those of the `root` line, else the last node.
///
/// # Errors
/// Model, with the number of the line.
pub fn parse(text: &str) -> Result<(Uops, Vec<UopId>)> {
    let (uops, parsed) = Parser::default().run(text)?;
    match (parsed.roots, parsed.last) {
        (Some(roots), _) => Ok((uops, roots)),
        (None, Some(last)) => Ok((uops, vec![last])),
        (None, None) => Err(Error::model("line 1: the text holds no node")),
    }
}

/// Reads a linear list.
///
/// # Errors
/// Model, with the number of the line.
pub fn parse_list(text: &str) -> Result<(Uops, Vec<UopId>)> {
    let (uops, parsed) = Parser::default().run(text)?;
    Ok((uops, parsed.list))
}

#[derive(Default)]
struct Parser {
    g: Uops,
    names: FxHashMap<String, UopId>,
}

#[derive(Default)]
struct Parsed {
    roots: Option<Vec<UopId>>,
    last: Option<UopId>,
    list: Vec<UopId>,
}

impl Parser {
    fn run(mut self, text: &str) -> Result<(Uops, Parsed)> {
        let mut parsed = Parsed::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.split(';').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            self.line(line, &mut parsed).map_err(|message| {
                Error::model(format!("line {}: {message}: `{line}`", number + 1))
            })?;
        }
        Ok((self.g, parsed))
    }

    fn line(&mut self, line: &str, parsed: &mut Parsed) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("root ") {
            parsed.roots = Some(self.sources(rest)?.to_vec());
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
                    .ok_or("a name is % and letters or digits")?;
                let id = self.node(node.trim())?;
                if self.names.insert(word.to_string(), id).is_some() {
                    return Err(format!("{name} is defined twice"));
                }
                id
            }
            None if line.starts_with('%') => self.source(line)?,
            None => self.node(line)?,
        };
        parsed.last = Some(id);
        if listed {
            parsed.list.push(id);
        }
        Ok(())
    }

    fn node(&mut self, text: &str) -> Result<UopId, String> {
        if let Some(value) = text.strip_prefix("const ") {
            return self.source(value.trim());
        }
        let (text, ty) = match text.rsplit_once(':') {
            Some((text, ty)) => (text.trim(), parse_type(ty.trim())?),
            None => (text, Type::VOID),
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
        let count = attributes(name).ok_or_else(|| format!("no operation '{name}'"))?;
        let words: Vec<&str> = (0..count).map(|_| word()).collect();
        let op = operation(name, &words)
            .ok_or_else(|| format!("'{}' are no attributes of {name}", words.join(" ")))?;
        let src = self.sources(rest)?;
        let (least, most) = arity(op);
        if src.len() < least || src.len() > most {
            return Err(format!("{name} does not take {} sources", src.len()));
        }
        let void = matches!(
            op,
            Op::Store { .. }
                | Op::Sink
                | Op::Assign
                | Op::Prefetch
                | Op::Loop
                | Op::EndLoop
                | Op::If
                | Op::EndIf
        );
        if void != (ty == Type::VOID) {
            return Err(format!(
                "{name} {}",
                if void {
                    "has no value, so no type"
                } else {
                    "needs a type"
                }
            ));
        }
        Ok(self.g.add_node(op, ty, src))
    }

    fn sources(&mut self, text: &str) -> Result<Sources, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Sources::new());
        }
        text.split(',').map(|s| self.source(s.trim())).collect()
    }

    /// `%name`, `16` or `f32(0.5)`.
    fn source(&mut self, text: &str) -> Result<UopId, String> {
        if let Some(name) = text.strip_prefix('%') {
            return self
                .names
                .get(name)
                .copied()
                .ok_or_else(|| format!("%{name} is not defined above"));
        }
        let Some((ty, value)) = text.split_once('(') else {
            let value: i64 = text
                .parse()
                .map_err(|_| format!("'{text}' is no index constant"))?;
            return Ok(self.g.index(value));
        };
        let ty = parse_type(ty)?;
        let value = value.strip_suffix(')').ok_or("a ')' is missing")?;
        let bad = || format!("'{value}' is no {}", ty.scalar);
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
