//! Text form of kernels with their parameters; it round-trips.
//!
//! In: a [`Kernel`] or [`LinearKernel`]. Out: a header, a line a parameter, a line a model node, then the nodes as
//! `uop::text` writes them, and back. A row-major layout is left out.
//!
//! ```text
//! kernel k0_relu
//! param f32 [1,8] read
//! param f32 [1,8] write layout d1/4:2 d1/1:4 halo 0:0 1:1
//! origin "relu" "Relu" "y"
//! %0 = range 0 loop 8 : index
//! ```

use super::{Access, Kernel, Layout, LayoutAxis, LinearKernel, LinearParam, Param};
use crate::diag::{Error, Origin, Result};
use crate::uop::text::Bad;
use crate::uop::{DType, Op, UopId, text};
use rustc_hash::FxHashMap;
use std::cell::Cell;
use std::fmt::Write;

const ACCESS: [(&str, Access); 4] = [
    ("read", Access::Read),
    ("write", Access::Write),
    ("readwrite", Access::ReadWrite),
    ("scratch", Access::Scratch),
];

fn access_name(access: Access) -> &'static str {
    ACCESS
        .iter()
        .find(|a| a.1 == access)
        .map_or("read", |a| a.0)
}

/// A kernel as text.
pub fn print_kernel(kernel: &Kernel) -> String {
    let mut out = format!("kernel {}\n", kernel.name);
    for p in &kernel.params {
        let shape: Vec<String> = p.layout.shape.iter().map(i64::to_string).collect();
        let _ = write!(
            out,
            "param {} [{}] {}",
            p.dtype,
            shape.join(","),
            access_name(p.access)
        );
        if p.weight {
            out.push_str(" weight");
        }
        if p.layout != Layout::row_major(&p.layout.shape) {
            out.push_str(" layout");
            for a in &p.layout.axes {
                let _ = write!(out, " d{}/{}:{}", a.dim, a.div, a.extent);
            }
            if !p.layout.halo.is_empty() {
                out.push_str(" halo");
                for (low, high) in &p.layout.halo {
                    let _ = write!(out, " {low}:{high}");
                }
            }
        }
        out.push('\n');
    }
    origins(&mut out, &kernel.origins);
    out.push_str(&text::print(&kernel.uops, &[kernel.sink]));
    out
}

/// A linear kernel as text.
pub fn print_linear(kernel: &LinearKernel) -> String {
    let mut out = format!(
        "linear {} parallel {} flops {}\n",
        kernel.name, kernel.parallel, kernel.flops
    );
    for p in &kernel.params {
        let _ = writeln!(
            out,
            "param {} {} {}",
            p.dtype,
            p.elements,
            access_name(p.access)
        );
    }
    origins(&mut out, &kernel.origins);
    out.push_str(&text::print_list(&kernel.uops, &kernel.list));
    out
}

fn origins(out: &mut String, origins: &[Origin]) {
    for o in origins {
        out.push_str("origin");
        for word in [&o.node, &o.op_type, &o.tensor] {
            let _ = write!(out, " {}", quote(word));
        }
        out.push('\n');
    }
}

/// In quotes; `"`, `\`, `;` and control characters as `\u{hex}`.
fn quote(word: &str) -> String {
    let mut out = String::from("\"");
    for c in word.chars() {
        if c.is_control() || matches!(c, '"' | '\\' | ';') {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out.push('"');
    out
}

fn unquote(word: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = word;
    while let Some((plain, tail)) = rest.split_once("\\u{") {
        let (hex, tail) = tail.split_once('}')?;
        out.push_str(plain);
        out.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
        rest = tail;
    }
    out.push_str(rest);
    Some(out)
}

/// What stands before the nodes.
struct Header<'a> {
    kind: &'a str,
    name: String,
    words: Vec<&'a str>,
    /// Number of the line from 1, and the line.
    params: Vec<(usize, &'a str)>,
    origins: Vec<Origin>,
    /// The text with header lines made empty, so that line numbers stay.
    body: String,
}

fn header(text: &str) -> Result<Header<'_>> {
    let mut out = Header {
        kind: "",
        name: String::new(),
        words: Vec::new(),
        params: Vec::new(),
        origins: Vec::new(),
        body: String::new(),
    };
    for (number, full) in text.lines().enumerate() {
        let number = number + 1;
        let line = full.split(';').next().unwrap_or_default().trim();
        let bad = |at: &str, what: &str| Err(Bad::new(at, what).error(number, full));
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "kernel" | "linear" => {
                let mut words = rest.split_whitespace();
                let name = words.next().unwrap_or_default();
                let identifier = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                    && name.starts_with(|c: char| !c.is_ascii_digit());
                if !identifier || !out.kind.is_empty() {
                    return bad(rest, "one header with an identifier is needed");
                }
                out.kind = word;
                out.name = name.into();
                out.words = words.collect();
            }
            "param" => out.params.push((number, full)),
            "origin" => {
                let words: Vec<&str> = rest.split('"').skip(1).step_by(2).collect();
                let words: Option<Vec<String>> = words.into_iter().map(unquote).collect();
                match words.as_deref() {
                    Some([node, op, tensor]) => out.origins.push(Origin::new(node, op, tensor)),
                    _ => return bad(rest, "three names in quotes are needed"),
                }
            }
            // With its blanks, so that columns stay.
            _ => out.body.push_str(full),
        }
        out.body.push('\n');
    }
    if out.kind.is_empty() {
        return Err(Error::model(
            "line 1, column 1: no header, such as `kernel NAME` or `linear NAME`",
        ));
    }
    Ok(out)
}

/// Reads a kernel.
///
/// # Errors
/// Model, with line and column.
pub fn parse_kernel(source: &str) -> Result<Kernel> {
    parse_kernel_lines(source).map(|k| k.0)
}

/// Reads a kernel; also the line of each node, from 1.
///
/// # Errors
/// Model, with line and column.
pub fn parse_kernel_lines(source: &str) -> Result<(Kernel, FxHashMap<UopId, usize>)> {
    let header = header(source)?;
    if header.kind != "kernel" {
        return Err(Error::model(
            "line 1, column 1: a linear list, where a kernel is needed",
        ));
    }
    let mut params = Vec::new();
    for &(number, full) in &header.params {
        let line = full.split(';').next().unwrap_or_default();
        let at = Cell::new(line.trim());
        let param = parse_param(line, &at);
        let bad = |at: &str, what: &str| Bad::new(at, what).error(number, full);
        let param = param.ok_or_else(|| bad(at.get(), "no parameter"))?;
        // Those of scratch parameters may have lost digits.
        if param.access != Access::Scratch {
            let checked = param.layout.check();
            checked.map_err(|what| bad(line.trim(), &what))?;
        }
        params.push(param);
    }
    let parsed = text::parse_lines(&header.body)?;
    let [sink] = parsed.roots[..] else {
        return Err(Error::model("a kernel has one root, its sink"));
    };
    if parsed.uops.op(sink) != Op::Sink {
        let line = parsed.lines.get(&sink).copied().unwrap_or(1);
        return Err(Error::model(format!(
            "line {line}, column 1: the root of a kernel is a sink"
        )));
    }
    slots(&parsed, params.len())?;
    let kernel = Kernel {
        name: header.name,
        uops: parsed.uops,
        sink,
        params,
        origins: header.origins,
    };
    Ok((kernel, parsed.lines))
}

/// Reads a linear kernel.
///
/// # Errors
/// Model, with line and column.
pub fn parse_linear(source: &str) -> Result<LinearKernel> {
    let header = header(source)?;
    let bad = || Error::model("line 1, column 1: `linear NAME parallel N flops N` is needed");
    let (parallel, flops) = match (header.kind, &header.words[..]) {
        ("linear", ["parallel", p, "flops", f]) => {
            (p.parse().map_err(|_| bad())?, f.parse().map_err(|_| bad())?)
        }
        _ => return Err(bad()),
    };
    let mut params = Vec::new();
    for &(number, full) in &header.params {
        let line = full.split(';').next().unwrap_or_default().trim();
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let param = match words[..] {
            [dtype, elements, access] => storable(dtype)
                .zip(elements.parse().ok().filter(|&e: &i64| e >= 0))
                .zip(parse_access(access)),
            _ => None,
        };
        let ((dtype, elements), access) =
            param.ok_or_else(|| Bad::new(line, "no parameter").error(number, full))?;
        params.push(LinearParam {
            dtype,
            elements,
            access,
        });
    }
    let parsed = text::parse_lines(&header.body)?;
    slots(&parsed, params.len())?;
    Ok(LinearKernel {
        name: header.name,
        uops: parsed.uops,
        list: parsed.list,
        params,
        parallel,
        flops,
        origins: header.origins,
    })
}

/// Every parameter node has its line.
fn slots(parsed: &text::Parsed, count: usize) -> Result<()> {
    for n in 0..parsed.uops.len() {
        let id = UopId(n as u32);
        if let Op::Param { slot } = parsed.uops.op(id)
            && slot as usize >= count
        {
            let line = parsed.lines.get(&id).copied().unwrap_or(1);
            return Err(Error::model(format!(
                "line {line}, column 1: parameter {slot} is used, but the text holds {count} param lines"
            )));
        }
    }
    Ok(())
}

fn storable(word: &str) -> Option<DType> {
    DType::parse(word).filter(|&d| d != DType::Index)
}

fn parse_access(word: &str) -> Option<Access> {
    ACCESS.iter().find(|a| a.0 == word).map(|a| a.1)
}

/// `at` is left at the word that makes no sense.
fn parse_param<'a>(line: &'a str, at: &Cell<&'a str>) -> Option<Param> {
    let mut words = line
        .split_whitespace()
        .inspect(|&w| at.set(w))
        .skip(1)
        .peekable();
    let dtype = storable(words.next()?)?;
    let list = words.next()?.strip_prefix('[')?.strip_suffix(']')?;
    let shape: Vec<i64> = if list.is_empty() {
        Vec::new()
    } else {
        list.split(',')
            .map(|n| n.parse().ok().filter(|&n: &i64| n >= 0))
            .collect::<Option<_>>()?
    };
    let access = parse_access(words.next()?)?;
    let weight = words.next_if_eq(&"weight").is_some();
    let mut layout = Layout::row_major(&shape);
    if words.next_if_eq(&"layout").is_some() {
        layout.axes.clear();
        while let Some(word) = words.next_if(|w| *w != "halo") {
            let (dim, rest) = word.strip_prefix('d')?.split_once('/')?;
            let (div, extent) = rest.split_once(':')?;
            let axis = LayoutAxis {
                dim: dim.parse().ok().filter(|&d: &usize| d < shape.len())?,
                div: div.parse().ok().filter(|&d: &i64| d > 0)?,
                extent: extent.parse().ok().filter(|&e: &i64| e >= 0)?,
            };
            layout.axes.push(axis);
        }
        if words.next_if_eq(&"halo").is_some() {
            for word in words.by_ref() {
                let (low, high) = word.split_once(':')?;
                let bound = |w: &str| w.parse().ok().filter(|&n: &i64| n >= 0);
                layout.halo.push((bound(low)?, bound(high)?));
            }
            if layout.halo.len() != shape.len() {
                return None;
            }
        }
    }
    let fits = |mut all: Box<dyn Iterator<Item = i64> + '_>| {
        all.try_fold(1i64, |p, e| p.checked_mul(e)).is_some()
    };
    let good = words.next().is_none()
        && fits(Box::new(shape.iter().copied()))
        && fits(Box::new(layout.axes.iter().map(|a| a.extent)));
    good.then_some(Param {
        dtype,
        layout,
        access,
        weight,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const KERNEL: &str = "kernel k0_relu
param f32 [1,8] read
param f32 [1,8] write layout d1/4:2 d1/1:4 halo 0:0 0:0
param f32 [] read weight
origin \"a \\u{22}b\\u{3b}\" \"Relu\" \"y\"
%0 = param 1 : f32
%1 = param 0 : f32
%2 = range 0 loop 8 : index
%3 = load %1, 0, %2 : f32
%4 = max %3, f32(0.0) : f32
%5 = store %0, %4, 0, %2
%6 = sink %5
";

    const LINEAR: &str = "linear k0 parallel 1 flops 8
param f32 8 readwrite
let %0 = range 0 loop 8 : index
%1 = loop %0
let %2 = param 0 : f32
%3 = load %2, %0 : f32
%4 = store %2, %3, %0
%5 = endloop %0
%1
%5
";

    #[test]
    fn kernels_round_trip() {
        let kernel = parse_kernel(KERNEL).unwrap();
        assert_eq!(print_kernel(&kernel), KERNEL);
        assert_eq!(&*kernel.origins[0].node, "a \"b;");
    }

    #[test]
    fn linear_kernels_round_trip() {
        assert_eq!(print_linear(&parse_linear(LINEAR).unwrap()), LINEAR);
    }

    #[test]
    fn errors_name_the_line() {
        for (from, to, line) in [
            (
                "param f32 [1,8] read",
                "param f32 [1,-8] read",
                "line 2, column 11:",
            ),
            ("max %3", "max %9", "line 10, column 10:"),
            ("d1/4:2", "d7/4:2", "line 3, column 30:"),
            ("k0_relu", "0k", "line 1, column 8:"),
        ] {
            let e = parse_kernel(&KERNEL.replacen(from, to, 1)).unwrap_err();
            assert!(e.message.contains(line), "{}", e.message);
        }
    }

    proptest! {
        #[test]
        fn damaged_text_never_panics(at in 0usize..1000, with in "[%0-9a-z=:,. ()\\[\\]\"\\\\;\\n-]{0,4}") {
            for whole in [KERNEL, LINEAR] {
                let mut text = whole.to_string();
                let at = at % text.len();
                text.replace_range(at..at + 1, &with);
                let _ = parse_kernel(&text);
                let _ = parse_linear(&text);
            }
        }
    }
}
