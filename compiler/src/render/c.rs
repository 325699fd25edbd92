//! C with vector extensions (GCC and clang): no intrinsics, no library.
//!
//! In: a [`LinearKernel`]. Out: one function, with the types and helpers that it needs in front, guarded so that many
//! kernels fit in one file. Bool vectors are masks of 32-bit integers. An operation that vector extensions do not
//! have is a loop over lanes, which both compilers vectorise.
//!
//! Example: a two-lane add prints as
//! `f32x2 v0 = *(const f32x2u *)(p0 + i0); *(f32x2u *)(p1 + i0) = v0 + v0;`.

use super::c_prelude::{PRELUDE, mask_of, memory, name, scalar, unsigned_of, vector, vector_types};
use super::c_values::{binary, bitcast, cast, constant, unary};
use crate::diag::{Error, Result};
use crate::program::{Access, LinearKernel};
use crate::uop::{Axis, Binary, Bounds, DType, Op, ReduceOp, Type, Unary, UopId};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Prints one kernel.
///
/// # Errors
/// Bug when the list holds something that C cannot say.
pub fn render(kernel: &LinearKernel) -> Result<String> {
    let mut printer = Printer {
        k: kernel,
        out: String::new(),
        depth: 1,
        names: vec![FxHashMap::default()],
        next: 0,
        types: BTreeSet::new(),
        bounds: Bounds::new(),
        stores_inside: loops_with_stores(kernel),
    };
    for &id in &kernel.list {
        printer.item(id)?;
    }
    let body = std::mem::take(&mut printer.out);
    let types: Vec<String> = printer.types.into_iter().collect();
    let mut text = String::from(PRELUDE);
    text.push_str(&vector_types(&types));
    let _ = writeln!(
        text,
        "void {}(uint8_t *const *args, int64_t worker, int64_t workers) {{",
        kernel.name
    );
    for (slot, param) in kernel.params.iter().enumerate() {
        let c = memory(param.dtype);
        let (constant, restrict) = match param.access {
            Access::Read => ("const ", "restrict "),
            Access::Write => ("", "restrict "),
            Access::ReadWrite => ("", ""),
        };
        let _ = writeln!(
            text,
            "    {constant}{c} *{restrict}p{slot} = ({constant}{c} *)args[{slot}];"
        );
    }
    text.push_str("    (void)worker; (void)workers;\n");
    text.push_str(&body);
    text.push_str("}\n");
    Ok(text)
}

/// Ranges whose loop holds a store.
fn loops_with_stores(kernel: &LinearKernel) -> BTreeSet<UopId> {
    let g = &kernel.uops;
    let mut open = Vec::new();
    let mut found = BTreeSet::new();
    for &id in &kernel.list {
        match g.op(id) {
            Op::Loop => open.push(g.src(id)[0]),
            Op::EndLoop => {
                open.pop();
            }
            Op::Store { .. } => found.extend(open.iter().copied()),
            _ => {}
        }
    }
    found
}

struct Printer<'a> {
    k: &'a LinearKernel,
    out: String,
    depth: usize,
    /// Variables by scope.
    names: Vec<FxHashMap<UopId, String>>,
    next: usize,
    types: BTreeSet<String>,
    bounds: Bounds,
    stores_inside: BTreeSet<UopId>,
}

impl Printer<'_> {
    fn line(&mut self, text: &str) {
        for _ in 0..self.depth {
            self.out.push_str("    ");
        }
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn fresh(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}{}", self.next)
    }

    fn ty(&mut self, ty: Type) -> String {
        if ty.lanes > 1 {
            self.types.insert(vector(ty));
        }
        name(ty)
    }

    fn define(&mut self, id: UopId, text: &str) {
        let ty = self.k.uops.ty(id);
        let c = self.ty(ty);
        let name = self.fresh("v");
        self.line(&format!("{c} {name} = {text};"));
        self.bind(id, name);
    }

    fn bind(&mut self, id: UopId, name: String) {
        if let Some(scope) = self.names.last_mut() {
            scope.insert(id, name);
        }
    }

    fn lookup(&self, id: UopId) -> Option<&String> {
        self.names.iter().rev().find_map(|s| s.get(&id))
    }

    fn range_name(&self, range: UopId) -> String {
        match self.k.uops.op(range) {
            Op::Range { id, .. } => format!("r{id}"),
            _ => "r".into(),
        }
    }

    fn item(&mut self, id: UopId) -> Result<()> {
        let node = self.k.uops.get(id).clone();
        match node.op {
            Op::Loop => self.open(node.src[0])?,
            Op::EndLoop => {
                self.names.pop();
                self.depth -= 1;
                self.line("}");
            }
            Op::If => {
                let c = self.value(node.src[0])?;
                self.line(&format!("if ({c}) {{"));
                self.depth += 1;
                self.names.push(FxHashMap::default());
            }
            Op::EndIf => {
                self.names.pop();
                self.depth -= 1;
                self.line("}");
            }
            Op::Acc { id: number } => {
                let init = self.value(node.src[0])?;
                let c = self.ty(node.ty);
                let init = if node.ty.lanes > 1 {
                    self.splat(&init, node.ty, node.src[0])
                } else {
                    init
                };
                self.line(&format!("{c} acc{number} = {init};"));
            }
            Op::Assign => {
                let acc = self.value(node.src[0])?;
                let value = self.value(node.src[1])?;
                self.line(&format!("{acc} = {value};"));
            }
            Op::Store { gated } => self.store(&node.src, gated)?,
            _ => {
                if node.ty.lanes > 1 {
                    self.vector_item(id)?;
                } else if let Op::Fold(op) = node.op {
                    self.fold(id, op)?;
                } else {
                    let text = self.expression(id)?;
                    self.define(id, &text);
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, range: UopId) -> Result<()> {
        let g = &self.k.uops;
        let extent = g.extent(range).ok_or_else(|| {
            Error::unsupported("a loop whose length is not known at compile time")
        })?;
        let parallel = matches!(
            g.op(range),
            Op::Range {
                axis: Axis::Parallel,
                ..
            }
        );
        let r = self.range_name(range);
        if parallel && self.depth == 1 {
            // All parallel ranges of this nest, flattened; workers take equal shares.
            let nest = self.parallel_ranges(range);
            let total: i64 = nest
                .iter()
                .map(|&r| self.k.uops.extent(r).unwrap_or(1))
                .product();
            self.line(&format!("for (int64_t w = {total} * worker / workers, e = {total} * (worker + 1) / workers; w < e; w++) {{"));
            self.depth += 1;
            let mut below = total;
            for &n in &nest {
                let extent = self.k.uops.extent(n).unwrap_or(1);
                below /= extent;
                let name = self.range_name(n);
                self.line(&format!("int64_t {name} = w / {below} % {extent};"));
            }
        } else if parallel {
            self.line("{");
            self.depth += 1;
        } else {
            let once = if self.depth == 1 && self.stores_inside.contains(&range) {
                "if (worker == 0) "
            } else {
                ""
            };
            self.line(&format!(
                "{once}for (int64_t {r} = 0; {r} < {extent}; {r}++) {{"
            ));
            self.depth += 1;
        }
        self.names.push(FxHashMap::default());
        Ok(())
    }

    /// The parallel ranges from `first` to the end of its nest.
    fn parallel_ranges(&self, first: UopId) -> Vec<UopId> {
        let g = &self.k.uops;
        let mut out = Vec::new();
        let mut depth = 0;
        let mut inside = false;
        for &id in &self.k.list {
            match g.op(id) {
                Op::Loop => {
                    let r = g.src(id)[0];
                    inside |= r == first;
                    if inside {
                        depth += 1;
                        if matches!(
                            g.op(r),
                            Op::Range {
                                axis: Axis::Parallel,
                                ..
                            }
                        ) {
                            out.push(r);
                        }
                    }
                }
                Op::EndLoop if inside => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                _ => {}
            }
        }
        out
    }

    fn slot(&self, buffer: UopId) -> Result<(u32, DType)> {
        match self.k.uops.op(buffer) {
            Op::Param { slot } => Ok((slot, self.k.params[slot as usize].dtype)),
            _ => Err(Error::bug("an access to something that is no parameter")),
        }
    }

    fn store(&mut self, src: &[UopId], gated: bool) -> Result<()> {
        let (slot, dtype) = self.slot(src[0])?;
        let ty = self.k.uops.ty(src[1]);
        let place = self.value(src[src.len() - 1])?;
        let value = self.value(src[1])?;
        let mut guard = String::new();
        if gated {
            let gate = self.value(src[2])?;
            guard = format!("if ({gate}) ");
        }
        if self.depth == 1 {
            guard = format!("if (worker == 0) {guard}");
        }
        if ty.lanes == 1 {
            let value = if dtype == DType::BF16 {
                format!("tinyc_to_bf16({value})")
            } else {
                value
            };
            self.line(&format!("{guard}p{slot}[{place}] = {value};"));
            return Ok(());
        }
        let value = self.splat(&value, ty, src[1]);
        let lanes = ty.lanes;
        let each = match dtype {
            DType::Bool => Some("& 1"),
            DType::BF16 => None,
            _ => Some(""),
        };
        if matches!(dtype, DType::Bool | DType::BF16) {
            let temporary = self.fresh("s");
            let c = self.ty(ty);
            self.line(&format!("{c} {temporary} = {value};"));
            let one = match each {
                Some(mask) => format!("(uint8_t)({temporary}[l] {mask})"),
                None => format!("tinyc_to_bf16({temporary}[l])"),
            };
            self.line(&format!(
                "{guard}for (int l = 0; l < {lanes}; l++) p{slot}[{place} + l] = {one};"
            ));
            return Ok(());
        }
        let c = self.ty(ty);
        self.line(&format!("{guard}*({c}u *)(p{slot} + {place}) = {value};"));
        Ok(())
    }

    /// A vector expression from a text that may be a scalar.
    fn splat(&mut self, text: &str, ty: Type, id: UopId) -> String {
        let g = &self.k.uops;
        let scalar_text = matches!(g.op(id), Op::Splat | Op::Const(_)) && self.lookup(id).is_none();
        if !scalar_text {
            return text.to_string();
        }
        let c = self.ty(ty);
        match ty.scalar {
            DType::Bool => format!("(({c}){{0}} - (int32_t){text})"),
            DType::F16 => format!("(({c}){{{}}})", vec![text; ty.lanes as usize].join(", ")),
            _ => format!("({text} - ({c}){{0}})"),
        }
    }

    /// The text of a value: its variable, or an expression. Splats and vector constants give the scalar.
    fn value(&mut self, id: UopId) -> Result<String> {
        if let Some(name) = self.lookup(id) {
            return Ok(name.clone());
        }
        let node = self.k.uops.get(id).clone();
        match node.op {
            Op::Range { .. } => Ok(self.range_name(id)),
            Op::Const(bits) => Ok(constant(node.ty.scalar, bits)),
            Op::Splat => self.value(node.src[0]),
            Op::Acc { id } => Ok(format!("acc{id}")),
            Op::Read(_) => self.value(node.src[0]),
            Op::Lanes(start) => {
                let c = self.ty(node.ty);
                let all: Vec<String> = (0..i64::from(node.ty.lanes))
                    .map(|l| (start + l).to_string())
                    .collect();
                Ok(format!("(({c}){{{}}})", all.join(", ")))
            }
            _ if node.ty.lanes > 1 => match self.native(id)? {
                Some(text) => Ok(text),
                None => {
                    self.vector_item(id)?;
                    self.value(id)
                }
            },
            _ => self.expression(id),
        }
    }

    /// A vector operand, never a bare scalar.
    fn whole(&mut self, id: UopId) -> Result<String> {
        let text = self.value(id)?;
        let ty = self.k.uops.ty(id);
        Ok(self.splat(&text, ty, id))
    }

    /// A scalar expression.
    fn expression(&mut self, id: UopId) -> Result<String> {
        let node = self.k.uops.get(id).clone();
        let dtype = node.ty.scalar;
        Ok(match node.op {
            Op::Load { gated } => {
                let (slot, memory) = self.slot(node.src[0])?;
                let place = self.value(node.src[node.src.len() - 1])?;
                let load = match memory {
                    DType::BF16 => format!("tinyc_from_bf16(p{slot}[{place}])"),
                    _ => format!("p{slot}[{place}]"),
                };
                if gated {
                    let (gate, other) = (self.value(node.src[1])?, self.value(node.src[2])?);
                    format!("({gate} ? {load} : {other})")
                } else {
                    load
                }
            }
            Op::Unary(op) => {
                let a = self.value(node.src[0])?;
                unary(op, &a, self.k.uops.ty(node.src[0]).scalar)?
            }
            Op::Binary(op) => {
                let from = self.k.uops.ty(node.src[0]).scalar;
                let nonnegative = from == DType::Index
                    && self.bounds.of(&self.k.uops, node.src[0]).0 >= 0
                    && self.bounds.of(&self.k.uops, node.src[1]).0 > 0;
                let (a, b) = (self.value(node.src[0])?, self.value(node.src[1])?);
                if from.is_float() && matches!(op, Binary::Max | Binary::Min) {
                    return self.extremum(op, node.src[0], node.src[1]);
                }
                binary(op, &a, &b, from, nonnegative)?
            }
            Op::Where => {
                let (c, a, b) = (
                    self.value(node.src[0])?,
                    self.value(node.src[1])?,
                    self.value(node.src[2])?,
                );
                format!("({c} ? {a} : {b})")
            }
            Op::MulAdd => {
                let (a, b, c) = (
                    self.value(node.src[0])?,
                    self.value(node.src[1])?,
                    self.value(node.src[2])?,
                );
                format!("({a} * {b} + {c})")
            }
            Op::Cast => {
                let a = self.value(node.src[0])?;
                cast(&a, self.k.uops.ty(node.src[0]).scalar, dtype)
            }
            Op::Bitcast => {
                let a = self.value(node.src[0])?;
                bitcast(&a, self.k.uops.ty(node.src[0]).scalar, dtype)
            }
            Op::Lane(n) => {
                let a = self.whole(node.src[0])?;
                if dtype == DType::Bool {
                    format!("(uint8_t)({a}[{n}] & 1)")
                } else {
                    format!("{a}[{n}]")
                }
            }
            Op::Fold(op) => {
                self.fold(id, op)?;
                self.value(id)?
            }
            Op::Range { .. } | Op::Const(_) | Op::Acc { .. } | Op::Read(_) | Op::Splat => {
                self.value(id)?
            }
            op => return Err(Error::bug(format!("{op:?} cannot be printed as C"))),
        })
    }

    /// Scalar maximum or minimum that keeps NaN; a constant operand goes first, which saves the test.
    fn extremum(&mut self, op: Binary, x: UopId, y: UopId) -> Result<String> {
        let constant = |p: &Self, id: UopId| p.k.uops.as_float(id).is_some_and(|v| !v.is_nan());
        let (first, second) = if constant(self, y) { (y, x) } else { (x, y) };
        let (a, b) = (self.value(first)?, self.value(second)?);
        if constant(self, first) {
            let sign = if op == Binary::Max { ">" } else { "<" };
            return Ok(format!("({a} {sign} {b} ? {a} : {b})"));
        }
        binary(op, &a, &b, self.k.uops.ty(first).scalar, false)
    }

    /// A vector value gets a variable.
    fn vector_item(&mut self, id: UopId) -> Result<()> {
        if let Some(text) = self.native(id)? {
            self.define(id, &text);
            return Ok(());
        }
        // Lane by lane.
        let node = self.k.uops.get(id).clone();
        let mut operands = Vec::new();
        let first = if matches!(node.op, Op::Load { .. }) {
            node.src.len()
        } else {
            0
        };
        for &s in &node.src[first..] {
            let ty = self.k.uops.ty(s);
            let text = self.value(s)?;
            let is_scalar = ty.lanes == 1
                || (matches!(self.k.uops.op(s), Op::Splat | Op::Const(_))
                    && self.lookup(s).is_none());
            if is_scalar {
                operands.push(text);
                continue;
            }
            let simple = text.chars().all(|c| c.is_ascii_alphanumeric());
            let variable = if simple {
                text
            } else {
                let c = self.ty(ty);
                let n = self.fresh("t");
                self.line(&format!("{c} {n} = {text};"));
                n
            };
            operands.push(if ty.scalar == DType::Bool {
                format!("({variable}[l] & 1)")
            } else {
                format!("{variable}[l]")
            });
        }
        let from = node
            .src
            .get(first)
            .map_or(node.ty.scalar, |&s| self.k.uops.ty(s).scalar);
        let one = match node.op {
            Op::Unary(op) => unary(op, &operands[0], from)?,
            Op::Binary(op) => binary(op, &operands[0], &operands[1], from, false)?,
            Op::Where => format!("({} ? {} : {})", operands[0], operands[1], operands[2]),
            Op::MulAdd => format!("({} * {} + {})", operands[0], operands[1], operands[2]),
            Op::Cast => cast(&operands[0], from, node.ty.scalar),
            Op::Bitcast => bitcast(&operands[0], from, node.ty.scalar),
            Op::Load { gated } => {
                let (slot, memory) = self.slot(node.src[0])?;
                let place = self.value(node.src[node.src.len() - 1])?;
                let load = if memory == DType::BF16 {
                    format!("tinyc_from_bf16(p{slot}[{place} + l])")
                } else {
                    format!("p{slot}[{place} + l]")
                };
                if gated {
                    let gate = self.value(node.src[1])?;
                    let other = self.whole(node.src[2])?;
                    let c = self.ty(node.ty);
                    let n = self.fresh("t");
                    self.line(&format!("{c} {n} = {other};"));
                    let alternative = if node.ty.scalar == DType::Bool {
                        format!("({n}[l] & 1)")
                    } else {
                        format!("{n}[l]")
                    };
                    format!("({gate} ? {load} : {alternative})")
                } else {
                    load
                }
            }
            op => return Err(Error::bug(format!("{op:?} cannot be printed lane by lane"))),
        };
        let one = if node.ty.scalar == DType::Bool {
            format!("-(({one}) != 0)")
        } else {
            one
        };
        let c = self.ty(node.ty);
        let name = self.fresh("v");
        let lanes = node.ty.lanes;
        self.line(&format!("{c} {name};"));
        self.line(&format!(
            "for (int l = 0; l < {lanes}; l++) {name}[l] = {one};"
        ));
        self.bind(id, name);
        Ok(())
    }

    /// A vector expression that C vector extensions have; `None` for lane loops.
    fn native(&mut self, id: UopId) -> Result<Option<String>> {
        let node = self.k.uops.get(id).clone();
        let ty = node.ty;
        let c = self.ty(ty);
        let easy = |d: DType| !matches!(d, DType::F16 | DType::BF16);
        Ok(Some(match node.op {
            Op::Const(_) | Op::Splat => {
                let text = self.value(id)?;
                self.splat(&text, ty, id)
            }
            Op::Lanes(_) | Op::Acc { .. } | Op::Read(_) => self.value(id)?,
            Op::Stack => {
                let mut all = Vec::new();
                for &s in &node.src {
                    let text = self.value(s)?;
                    all.push(if ty.scalar == DType::Bool {
                        format!("-(int32_t)({text} != 0)")
                    } else {
                        text
                    });
                }
                format!("(({c}){{{}}})", all.join(", "))
            }
            Op::Load { gated } => {
                let (slot, memory) = self.slot(node.src[0])?;
                if matches!(memory, DType::Bool | DType::BF16) {
                    return Ok(None);
                }
                let place = self.value(node.src[node.src.len() - 1])?;
                let load = format!("*(const {c}u *)(p{slot} + {place})");
                if gated {
                    let gate = self.value(node.src[1])?;
                    let other = self.whole(node.src[2])?;
                    format!("({gate} ? ({c}){load} : {other})")
                } else {
                    load
                }
            }
            Op::Unary(Unary::Neg) if ty.scalar.is_int() => {
                let a = self.whole(node.src[0])?;
                let u = self.ty(unsigned_of(ty.scalar).vec(ty.lanes));
                format!("(({c})-({u}){a})")
            }
            Op::Unary(Unary::Neg) if easy(ty.scalar) => {
                let a = self.whole(node.src[0])?;
                format!("(-{a})")
            }
            Op::Unary(Unary::Not) if !ty.scalar.is_float() => {
                let a = self.whole(node.src[0])?;
                format!("(~{a})")
            }
            Op::Unary(Unary::IsNan) if easy(self.k.uops.ty(node.src[0]).scalar) => {
                let a = self.whole(node.src[0])?;
                let from = self.k.uops.ty(node.src[0]);
                self.mask(&format!("({a} != {a})"), from)
            }
            Op::Binary(op) => return self.native_binary(op, &node.src, ty),
            Op::MulAdd if easy(ty.scalar) => {
                let (a, b, d) = (
                    self.arith(node.src[0])?,
                    self.value(node.src[1])?,
                    self.value(node.src[2])?,
                );
                let scalar_b = self.is_bare(node.src[1]);
                let a = if scalar_b && self.is_bare(node.src[0]) {
                    self.whole(node.src[0])?
                } else {
                    a
                };
                format!("({a} * {b} + {d})")
            }
            Op::Where if matches!(ty.scalar.size(), 4 | 8) && ty.scalar != DType::Bool => {
                let m = self.whole(node.src[0])?;
                let (a, b) = (self.whole(node.src[1])?, self.whole(node.src[2])?);
                let mask = self.ty(mask_of(ty.scalar).vec(ty.lanes));
                let m = if ty.scalar.size() == 8 {
                    format!("__builtin_convertvector({m}, {mask})")
                } else {
                    m
                };
                let n = self.fresh("m");
                self.line(&format!("{mask} {n} = {m};"));
                format!("({c})((({mask}){a} & {n}) | (({mask}){b} & ~{n}))")
            }
            Op::Where if ty.scalar == DType::Bool => {
                let (m, a, b) = (
                    self.whole(node.src[0])?,
                    self.whole(node.src[1])?,
                    self.whole(node.src[2])?,
                );
                let n = self.fresh("m");
                self.line(&format!("{c} {n} = {m};"));
                format!("(({a} & {n}) | ({b} & ~{n}))")
            }
            Op::Cast => {
                let from = self.k.uops.ty(node.src[0]);
                let plain = easy(from.scalar) && easy(ty.scalar);
                let a = self.whole(node.src[0])?;
                match (from.scalar, ty.scalar) {
                    (DType::Bool, d) if plain => format!("__builtin_convertvector(({a} & 1), {c})")
                        .replace("& 1", if d == DType::Bool { "" } else { "& 1" }),
                    (_, DType::Bool) if plain => self.mask(&format!("({a} != 0)"), from),
                    (f, d) if plain && (!f.is_float() || d.is_float()) => {
                        format!("__builtin_convertvector({a}, {c})")
                    }
                    _ => return Ok(None),
                }
            }
            Op::Bitcast if easy(ty.scalar) && easy(self.k.uops.ty(node.src[0]).scalar) => {
                let a = self.whole(node.src[0])?;
                format!("(({c}){a})")
            }
            _ => return Ok(None),
        }))
    }

    /// True when a value prints as a scalar.
    fn is_bare(&self, id: UopId) -> bool {
        matches!(self.k.uops.op(id), Op::Splat | Op::Const(_)) && self.lookup(id).is_none()
    }

    /// An operand of vector arithmetic, where a scalar is fine beside a vector.
    fn arith(&mut self, id: UopId) -> Result<String> {
        self.value(id)
    }

    fn native_binary(&mut self, op: Binary, src: &[UopId], ty: Type) -> Result<Option<String>> {
        let from = self.k.uops.ty(src[0]);
        let d = from.scalar;
        if matches!(d, DType::F16 | DType::BF16) {
            return Ok(None);
        }
        let both = |p: &mut Self| -> Result<(String, String)> {
            let (a, b) = (p.arith(src[0])?, p.arith(src[1])?);
            let a = if p.is_bare(src[0]) && p.is_bare(src[1]) {
                p.whole(src[0])?
            } else {
                a
            };
            Ok((a, b))
        };
        let small = d.size() < 4 && d != DType::Bool;
        Ok(Some(match op {
            Binary::Add | Binary::Sub | Binary::Mul if d != DType::Bool && !small => {
                let sign = match op {
                    Binary::Add => "+",
                    Binary::Sub => "-",
                    _ => "*",
                };
                if d.is_float() || d == DType::Index {
                    let (a, b) = both(self)?;
                    format!("({a} {sign} {b})")
                } else {
                    let (a, b) = (self.whole(src[0])?, self.whole(src[1])?);
                    let (c, u) = (self.ty(ty), self.ty(unsigned_of(d).vec(ty.lanes)));
                    format!("(({c})(({u}){a} {sign} ({u}){b}))")
                }
            }
            Binary::Div if d.is_float() => {
                let (a, b) = both(self)?;
                format!("({a} / {b})")
            }
            Binary::And | Binary::Or | Binary::Xor => {
                let (a, b) = (self.whole(src[0])?, self.whole(src[1])?);
                let sign = match op {
                    Binary::And => "&",
                    Binary::Or => "|",
                    _ => "^",
                };
                format!("({a} {sign} {b})")
            }
            Binary::Shl | Binary::Shr if matches!(self.k.uops.op(src[1]), Op::Const(bits) if bits < d.size() as u64 * 8) =>
            {
                let (a, b) = (self.whole(src[0])?, self.value(src[1])?);
                if op == Binary::Shl {
                    let (c, u) = (self.ty(ty), self.ty(unsigned_of(d).vec(ty.lanes)));
                    format!("(({c})(({u}){a} << {b}))")
                } else {
                    format!("({a} >> {b})")
                }
            }
            Binary::Lt | Binary::Le | Binary::Eq | Binary::Ne if d != DType::Bool => {
                let sign = match op {
                    Binary::Lt => "<",
                    Binary::Le => "<=",
                    Binary::Eq => "==",
                    _ => "!=",
                };
                let (a, b) = (self.whole(src[0])?, self.whole(src[1])?);
                self.mask(&format!("({a} {sign} {b})"), from)
            }
            Binary::Max | Binary::Min if matches!(d.size(), 4 | 8) => {
                let constant = |p: &Self, id: UopId| match p.k.uops.op(id) {
                    Op::Const(bits) => !d.is_float() || !f64::from_bits(bits).is_nan(),
                    Op::Splat => {
                        p.k.uops
                            .as_float(p.k.uops.src(id)[0])
                            .is_some_and(|v| !v.is_nan())
                    }
                    _ => false,
                };
                let (x, y) = if constant(self, src[1]) {
                    (src[1], src[0])
                } else {
                    (src[0], src[1])
                };
                let safe = !d.is_float() || constant(self, x);
                let (a, b) = (self.whole(x)?, self.whole(y)?);
                let mask = self.ty(mask_of(d).vec(ty.lanes));
                let c = self.ty(ty);
                let (na, nb, m) = (self.fresh("a"), self.fresh("b"), self.fresh("m"));
                self.line(&format!("{c} {na} = {a}, {nb} = {b};"));
                let sign = if op == Binary::Max { ">" } else { "<" };
                let nan = if safe {
                    String::new()
                } else {
                    format!(" | ({na} != {na})")
                };
                self.line(&format!("{mask} {m} = ({na} {sign} {nb}){nan};"));
                format!("({c})((({mask}){na} & {m}) | (({mask}){nb} & ~{m}))")
            }
            _ => return Ok(None),
        }))
    }

    /// A comparison's result as a mask of 32-bit integers.
    fn mask(&mut self, text: &str, from: Type) -> String {
        let c = self.ty(DType::Bool.vec(from.lanes));
        if mask_of(from.scalar) == DType::I32 {
            format!("({c}){text}")
        } else {
            format!("__builtin_convertvector({text}, {c})")
        }
    }

    /// All lanes combined, halves at a time.
    fn fold(&mut self, id: UopId, op: ReduceOp) -> Result<()> {
        let node = self.k.uops.get(id).clone();
        let ty = self.k.uops.ty(node.src[0]);
        let text = self.whole(node.src[0])?;
        let c = scalar(ty.scalar);
        let lanes = ty.lanes as usize;
        let whole = self.fresh("t");
        let vector_name = self.ty(ty);
        self.line(&format!("{vector_name} {whole} = {text};"));
        let lane_text = |n: usize| {
            if ty.scalar == DType::Bool {
                format!("({whole}[{n}] & 1)")
            } else {
                format!("{whole}[{n}]")
            }
        };
        let mut values: Vec<String> = (0..lanes).map(lane_text).collect();
        let combine = match op {
            ReduceOp::Sum => Binary::Add,
            ReduceOp::Prod => Binary::Mul,
            ReduceOp::Max => Binary::Max,
            ReduceOp::Min => Binary::Min,
            ReduceOp::All => Binary::And,
            ReduceOp::Any => Binary::Or,
        };
        while values.len() > 1 {
            let half = values.len() / 2;
            let mut next = Vec::new();
            for n in 0..half {
                let name = self.fresh("f");
                let sum = binary(combine, &values[n], &values[n + half], ty.scalar, false)?;
                self.line(&format!("{c} {name} = {sum};"));
                next.push(name);
            }
            next.extend(values.drain(2 * half..));
            values = next;
        }
        let last = values
            .pop()
            .ok_or_else(|| Error::bug("a fold of nothing"))?;
        self.bind(id, last);
        Ok(())
    }
}
