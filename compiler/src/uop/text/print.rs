//! Nodes to text. In: an arena and ids. Out: lines as the module above defines them.

use crate::uop::table::words;
use crate::uop::{DType, Op, Type, UopId, Uops};
use rustc_hash::FxHashMap;
use std::fmt::Write;

/// Everything below `roots`, a line a node.
pub fn print(g: &Uops, roots: &[UopId]) -> String {
    let mut out = Printer::new(g);
    for &root in roots {
        out.below(root, "");
        out.define(root, "");
    }
    let last = out.text.lines().count();
    let single = roots.len() == 1 && out.names.get(&roots[0]) == last.checked_sub(1).as_ref();
    if !single && !roots.is_empty() {
        let names: Vec<String> = roots.iter().map(|&r| out.source(r)).collect();
        let _ = writeln!(out.text, "root {}", names.join(", "));
    }
    out.text
}

/// A linear list, a line an instruction; what the list does not hold is marked `let`.
pub fn print_list(g: &Uops, list: &[UopId]) -> String {
    let mut out = Printer::new(g);
    for &id in list {
        if let Some(name) = out.names.get(&id) {
            let _ = writeln!(out.text, "%{name}");
            continue;
        }
        out.below(id, "let ");
        out.define(id, "");
    }
    out.text
}

/// One node on a line, its sources by id: for messages.
pub fn node_text(g: &Uops, id: UopId) -> String {
    let node = g.get(id);
    let sources: Vec<String> = node
        .src
        .iter()
        .map(|&s| match g.op(s) {
            Op::Const(bits) => constant(g.ty(s), bits),
            _ => format!("%{}", s.0),
        })
        .collect();
    let head = match node.op {
        Op::Const(bits) => format!("const {}", constant(node.ty, bits)),
        op => words(op),
    };
    let mut text = format!("%{} = {head}", id.0);
    if !sources.is_empty() {
        let _ = write!(text, " {}", sources.join(", "));
    }
    if node.ty.lanes > 0 {
        let _ = write!(text, " : {}", node.ty);
    }
    text
}

struct Printer<'a> {
    g: &'a Uops,
    text: String,
    names: FxHashMap<UopId, usize>,
}

impl<'a> Printer<'a> {
    fn new(g: &'a Uops) -> Self {
        Printer {
            g,
            text: String::new(),
            names: FxHashMap::default(),
        }
    }

    /// Defines what lies below a node and has no line yet; constants get none.
    fn below(&mut self, root: UopId, mark: &str) {
        let mut stack: Vec<UopId> = self.g.src(root).iter().rev().copied().collect();
        while let Some(&top) = stack.last() {
            if self.names.contains_key(&top) || matches!(self.g.op(top), Op::Const(_)) {
                stack.pop();
                continue;
            }
            let waiting: Vec<UopId> = self
                .g
                .src(top)
                .iter()
                .rev()
                .copied()
                .filter(|s| !self.names.contains_key(s) && !matches!(self.g.op(*s), Op::Const(_)))
                .collect();
            if waiting.is_empty() {
                self.define(top, mark);
                stack.pop();
            } else {
                stack.extend(waiting);
            }
        }
    }

    fn define(&mut self, id: UopId, mark: &str) {
        if self.names.contains_key(&id) {
            return;
        }
        let node = self.g.get(id);
        let sources: Vec<String> = node.src.iter().map(|&s| self.source(s)).collect();
        let name = self.names.len();
        let head = match node.op {
            Op::Const(bits) => format!("const {}", constant(node.ty, bits)),
            op => words(op),
        };
        let _ = write!(self.text, "{mark}%{name} = {head}");
        if !sources.is_empty() {
            let _ = write!(self.text, " {}", sources.join(", "));
        }
        if node.ty.lanes > 0 && !matches!(node.op, Op::Const(_)) {
            let _ = write!(self.text, " : {}", node.ty);
        }
        self.text.push('\n');
        self.names.insert(id, name);
    }

    fn source(&self, id: UopId) -> String {
        match (self.names.get(&id), self.g.op(id)) {
            (Some(n), _) => format!("%{n}"),
            (None, Op::Const(bits)) => constant(self.g.ty(id), bits),
            (None, _) => "%?".into(),
        }
    }
}

/// `16`, `f32(0.5)`, `bool(1)`, `f32x16(0.0)`.
fn constant(ty: Type, bits: u64) -> String {
    if ty == Type::INDEX {
        return (bits as i64).to_string();
    }
    let value = match ty.scalar {
        d if d.is_float() => {
            let v = f64::from_bits(bits);
            if v.is_nan() && bits != f64::NAN.to_bits() {
                format!("{bits:#x}")
            } else {
                format!("{v:?}")
            }
        }
        DType::U64 => bits.to_string(),
        _ => (bits as i64).to_string(),
    };
    format!("{ty}({value})")
}
