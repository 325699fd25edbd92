//! C with vector extensions (GCC and clang): no intrinsics, no library.
//!
//! In: a [`LinearKernel`]. Out: one function, with the types and helpers that it needs in front, guarded so that many
//! kernels fit in one file. Bool vectors are masks of 32-bit integers. An operation that vector extensions do not
//! have is a loop over lanes, which both compilers vectorise.
//!
//! Kernels of work-groups are printed by `c_groups`, with this printer for all that is inside.
//!
//! Example: a two-lane add prints as
//! `f32x2 v0 = *(const f32x2u *)(p0 + i0); *(f32x2u *)(p1 + i0) = v0 + v0;`.

use super::c_groups::{Groups, fused};
use super::c_prelude::{PRELUDE, memory, name, vector, vector_types};
use super::c_values::{binary, bitcast, cast, constant, unary};
use crate::diag::{Error, Result};
use crate::program::{Access, LinearKernel};
use crate::uop::{Axis, Binary, Bounds, DType, Op, Type, UopId, Uops};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Prints one kernel.
///
/// # Errors
/// Bug when the list holds something that C cannot say.
pub fn render(kernel: &LinearKernel) -> Result<String> {
    let mut printer = Printer::new(kernel, None);
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
            Access::Write | Access::Scratch => ("", "restrict "),
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
fn loops_for_one(kernel: &LinearKernel) -> BTreeSet<UopId> {
    let g = &kernel.uops;
    let mut open = Vec::new();
    let (mut storing, mut sharing) = (BTreeSet::new(), BTreeSet::new());
    for &id in &kernel.list {
        match g.op(id) {
            Op::Loop => {
                open.push(g.src(id)[0]);
                if is_parallel(g, g.src(id)[0]) {
                    sharing.extend(open.iter().copied());
                }
            }
            Op::EndLoop => {
                open.pop();
            }
            Op::Store { .. } => storing.extend(open.iter().copied()),
            _ => {}
        }
    }
    storing.difference(&sharing).copied().collect()
}

pub(super) fn is_parallel(g: &Uops, range: UopId) -> bool {
    let axis = Axis::Parallel;
    matches!(g.op(range), Op::Range { axis: a, .. } if a == axis)
}

pub(super) struct Printer<'a> {
    pub(super) k: &'a LinearKernel,
    pub(super) out: String,
    pub(super) depth: usize,
    /// Variables by scope.
    names: Vec<FxHashMap<UopId, String>>,
    next: usize,
    pub(super) types: BTreeSet<String>,
    pub(super) bounds: Bounds,
    /// Loops that store and that no parallel loop inside divides.
    loops_for_one: BTreeSet<UopId>,
    /// For each open loop and guarded block: what is inside belongs to one worker.
    divided: Vec<bool>,
    /// What a kernel of work-groups needs besides; `None` for workers.
    pub(super) groups: Option<Groups>,
}

impl<'a> Printer<'a> {
    pub(super) fn new(k: &'a LinearKernel, groups: Option<Groups>) -> Printer<'a> {
        Printer {
            k,
            out: String::new(),
            depth: 1,
            names: vec![FxHashMap::default()],
            next: 0,
            types: BTreeSet::new(),
            bounds: Bounds::new(),
            loops_for_one: loops_for_one(k),
            divided: Vec::new(),
            groups,
        }
    }
}

impl Printer<'_> {
    pub(super) fn line(&mut self, text: &str) {
        for _ in 0..self.depth {
            self.out.push_str("    ");
        }
        self.out.push_str(text);
        self.out.push('\n');
    }

    pub(super) fn fresh(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}{}", self.next)
    }

    pub(super) fn ty(&mut self, ty: Type) -> String {
        if ty.lanes > 1 {
            self.types.insert(vector(ty));
        }
        name(ty)
    }

    pub(super) fn define(&mut self, id: UopId, text: &str) {
        let ty = self.k.uops.ty(id);
        let c = match self.index_type(id) {
            Some(c) => c.to_string(),
            None => self.ty(ty),
        };
        let name = self.fresh("v");
        self.line(&format!("{c} {name} = {text};"));
        self.bind(id, name);
    }

    pub(super) fn bind(&mut self, id: UopId, name: String) {
        if let Some(scope) = self.names.last_mut() {
            scope.insert(id, name);
        }
    }

    pub(super) fn lookup(&self, id: UopId) -> Option<&String> {
        self.names.iter().rev().find_map(|s| s.get(&id))
    }

    pub(super) fn range_name(&self, range: UopId) -> String {
        match self.k.uops.op(range) {
            Op::Range { id, .. } => format!("r{id}"),
            _ => "r".into(),
        }
    }

    pub(super) fn item(&mut self, id: UopId) -> Result<()> {
        let node = self.k.uops.get(id).clone();
        match node.op {
            Op::Loop => self.open(node.src[0])?,
            Op::EndLoop | Op::EndIf => {
                self.close_threads(id);
                self.names.pop();
                self.divided.pop();
                self.depth -= 1;
                self.line("}");
            }
            Op::Prefetch { far } => {
                let (slot, _) = self.slot(node.src[0])?;
                let place = self.value(node.src[1])?;
                let level = if far { ", 0, 2" } else { "" };
                self.line(&format!("__builtin_prefetch(p{slot} + {place}{level});"));
            }
            Op::If => {
                let c = self.value(node.src[0])?;
                self.line(&format!("if ({c}) {{"));
                self.depth += 1;
                self.divided.push(self.is_divided());
                self.names.push(FxHashMap::default());
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
            Op::GroupFold { op, threads } => self.group_fold(id, op, threads)?,
            Op::Barrier => self.line("TINYC_BARRIER();"),
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

    /// True when workers have parted already: what is printed here runs once.
    fn is_divided(&self) -> bool {
        self.divided.last() == Some(&true)
    }

    fn open(&mut self, range: UopId) -> Result<()> {
        let g = &self.k.uops;
        let extent = g.extent(range).ok_or_else(|| {
            Error::unsupported("a loop whose length is not known at compile time")
        })?;
        if self.groups.is_some() {
            self.open_in_group(range, extent)?;
            self.divided.push(true);
            self.names.push(FxHashMap::default());
            return Ok(());
        }
        let parallel = is_parallel(g, range);
        let r = self.range_name(range);
        let mut divided = self.is_divided();
        if parallel && !divided {
            // All parallel ranges of this nest, flattened; workers take equal shares.
            let nest = self.parallel_ranges(range);
            let total: i64 = nest
                .iter()
                .map(|&r| self.k.uops.extent(r).unwrap_or(1))
                .fold(1, i64::saturating_mul);
            self.line(&format!("for (int64_t w = {total} * worker / workers, e = {total} * (worker + 1) / workers; w < e; w++) {{"));
            self.depth += 1;
            let mut below = total;
            for &n in &nest {
                // Without iterations the line is never reached, but it has to compile.
                let extent = self.k.uops.extent(n).unwrap_or(1).max(1);
                below /= extent;
                let name = self.range_name(n);
                self.line(&format!("int64_t {name} = w / {below} % {extent};"));
            }
            divided = true;
        } else if parallel {
            self.line("{");
            self.depth += 1;
        } else {
            let once = if !divided && self.loops_for_one.contains(&range) {
                divided = true;
                "if (worker == 0) "
            } else {
                ""
            };
            self.line(&format!(
                "{once}for (int64_t {r} = 0; {r} < {extent}; {r}++) {{"
            ));
            self.depth += 1;
        }
        self.divided.push(divided);
        self.names.push(FxHashMap::default());
        Ok(())
    }

    /// The parallel ranges from `first` to the end of its nest.
    pub(super) fn parallel_ranges(&self, first: UopId) -> Vec<UopId> {
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
                        if is_parallel(g, r) {
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

    pub(super) fn slot(&self, buffer: UopId) -> Result<(u32, DType)> {
        match self.k.uops.op(buffer) {
            Op::Param { slot } => Ok((slot, self.k.params[slot as usize].dtype)),
            _ => Err(Error::bug("an access to something that is no parameter")),
        }
    }

    /// Name and element type of a buffer.
    fn buffer(&self, buffer: UopId) -> Result<(String, DType)> {
        let node = self.k.uops.get(buffer);
        match (node.op, &self.groups) {
            (Op::Local { id, .. }, Some(_)) => Ok((format!("tile{id}"), node.ty.scalar)),
            _ => self
                .slot(buffer)
                .map(|(slot, dtype)| (format!("p{slot}"), dtype)),
        }
    }

    fn store(&mut self, src: &[UopId], gated: bool) -> Result<()> {
        let (buffer, dtype) = self.buffer(src[0])?;
        let ty = self.k.uops.ty(src[1]);
        let place = self.value(src[src.len() - 1])?;
        let value = self.value(src[1])?;
        let mut guard = String::new();
        if gated {
            let gate = self.value(src[2])?;
            guard = format!("if ({gate}) ");
        }
        if let Some(one) = self.one_of_idle_threads() {
            guard = format!("if ({one}) {guard}");
        } else if self.groups.is_none() && !self.is_divided() {
            guard = format!("if (worker == 0) {guard}");
        }
        if ty.lanes == 1 {
            let value = if dtype == DType::BF16 {
                format!("tinyc_to_bf16({value})")
            } else {
                value
            };
            self.line(&format!("{guard}{buffer}[{place}] = {value};"));
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
                "{guard}for (int l = 0; l < {lanes}; l++) {buffer}[{place} + l] = {one};"
            ));
            return Ok(());
        }
        let c = self.ty(ty);
        let space = self.space();
        self.line(&format!(
            "{guard}*({c}u {space}*)({buffer} + {place}) = {value};"
        ));
        Ok(())
    }

    /// A vector expression from a text that may be a scalar.
    pub(super) fn splat(&mut self, text: &str, ty: Type, id: UopId) -> String {
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
    pub(super) fn value(&mut self, id: UopId) -> Result<String> {
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
    pub(super) fn whole(&mut self, id: UopId) -> Result<String> {
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
                let (buffer, memory) = self.buffer(node.src[0])?;
                let place = self.value(node.src[node.src.len() - 1])?;
                let load = match memory {
                    DType::BF16 => format!("tinyc_from_bf16({buffer}[{place}])"),
                    _ => format!("{buffer}[{place}]"),
                };
                if gated && self.groups.is_some() {
                    let (slot, _) = self.slot(node.src[0])?;
                    self.load_somewhere(&node.src, dtype, slot, &place)?
                } else if gated {
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
                if nonnegative && let Some(text) = self.short_division(op, &node.src, &a, &b) {
                    return Ok(text);
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
                match self.groups {
                    Some(_) => format!("{}({a}, {b}, {c})", fused(dtype)),
                    None => format!("({a} * {b} + {c})"),
                }
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
}
