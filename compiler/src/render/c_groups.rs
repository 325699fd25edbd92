//! C for work-groups of threads.
//!
//! In: a [`LinearKernel`] whose loops may be `Parallel` (work-groups), `Local` and `Group` (threads). Out: one function of one thread,
//! with the number of threads of a group that it is written for. What differs between devices is called by these names, which a target
//! defines in front: `TINYC_KERNEL(name, threads)` begins a kernel, `TINYC_GLOBAL` qualifies pointers to buffers,
//! `TINYC_SHARED(type, name, count)` is memory of a group, `TINYC_GROUP()` and `TINYC_THREAD()` number groups and threads, and at
//! `TINYC_BARRIER()` all threads of a group wait for each other and see each other's writes to its memory. `TINYC_FMA16`, `TINYC_FMA32`
//! and `TINYC_FMA64` multiply and add with one rounding; `TINYC_MATRIX_F16_16X16X16(a, b, sum)` and the like, with `BF16`, are products of matrices
//! that a wave holds (`uop::Op::Matrix`); elements of bfloat16 come as their bits. `TINYC_AT(type, pointer, index)` is an element of a buffer of less than 4 GiB: 32 bits of offset are enough.
//!
//! Indices are 32 bits wide where they surely fit. A guarded load reads the buffer's first element where its guard is false: that is
//! cheaper than threads of a wave that part.
//!
//! Example: `loop r0 (parallel 13); loop r1 (local 256)` prints as `int32_t r0 = group; { int32_t r1 = thread; ... }`.

use super::c::{Printer, is_parallel};
use super::c_prelude::{PRELUDE, memory, scalar, vector_types};
use super::c_values::binary;
use crate::diag::{Error, Result};
use crate::program::groups::{Threads, is_thread_range, threads};
use crate::program::{Access, LinearKernel};
use crate::uop::{Binary, Bounds, DType, Op, ReduceOp, Type, UopId};
use std::collections::BTreeSet;
use std::fmt::Write;

/// What the printer keeps for a kernel of work-groups.
#[derive(Debug)]
pub(super) struct Groups {
    threads: Threads,
    /// Some index that is made of loops only does not fit into 32 bits.
    wide: bool,
    /// Product of the extents of the threads' ranges that are open, for each open loop and block.
    open: Vec<i64>,
    /// Element types that threads hand to each other.
    shared: BTreeSet<&'static str>,
}

/// Prints one kernel.
///
/// # Errors
/// Bug when the list holds something that C cannot say.
pub fn render(kernel: &LinearKernel) -> Result<String> {
    let groups = Groups {
        threads: threads(&kernel.uops, &kernel.list)?,
        wide: is_wide(kernel),
        open: Vec::new(),
        shared: BTreeSet::new(),
    };
    let count = groups.threads.count;
    let mut printer = Printer::new(kernel, Some(groups));
    for &id in &kernel.list {
        printer.item(id)?;
    }
    let body = std::mem::take(&mut printer.out);
    let types: Vec<String> = printer.types.iter().cloned().collect();
    let mut text = String::from(PRELUDE);
    text.push_str(&vector_types(&types));
    let _ = write!(text, "TINYC_KERNEL({}, {count})(", kernel.name);
    for (slot, param) in kernel.params.iter().enumerate() {
        let c = memory(param.dtype);
        let (constant, restrict) = match param.access {
            Access::Read => ("const ", "restrict "),
            Access::Write | Access::Scratch => ("", "restrict "),
            Access::ReadWrite => ("", ""),
        };
        let comma = if slot > 0 { ", " } else { "" };
        let _ = write!(text, "{comma}{constant}{c} TINYC_GLOBAL *{restrict}p{slot}");
    }
    text.push_str(") {\n");
    for c in printer.groups.iter().flat_map(|g| &g.shared) {
        let _ = writeln!(text, "    TINYC_SHARED({c}, shared_{c}, {count});");
    }
    for (id, len, c) in tiles(kernel) {
        let _ = writeln!(text, "    TINYC_SHARED({c}, tile{id}, {len});");
    }
    text.push_str("    const int32_t group = TINYC_GROUP(), thread = TINYC_THREAD();\n");
    text.push_str("    (void)group; (void)thread;\n");
    text.push_str(&body);
    text.push_str("}\n");
    Ok(text)
}

/// Memory that the threads of a group share: number, elements, element type.
fn tiles(kernel: &LinearKernel) -> BTreeSet<(u32, u32, &'static str)> {
    let g = &kernel.uops;
    let all = g.toposort(&kernel.list).into_iter();
    all.filter_map(|id| match g.op(id) {
        Op::Local { id: number, len } => Some((number, len, memory(g.ty(id).scalar))),
        _ => None,
    })
    .collect()
}

/// True when an index without loads, or a loop, exceeds 32 bits.
fn is_wide(kernel: &LinearKernel) -> bool {
    let g = &kernel.uops;
    let mut bounds = Bounds::new();
    g.toposort(&kernel.list).into_iter().any(|id| {
        g.ty(id) == Type::INDEX
            && !matches!(g.op(id), Op::Const(_))
            && !is_short(&mut bounds, kernel, id)
            && g.toposort(&[id])
                .iter()
                .all(|&s| !matches!(g.op(s), Op::Load { .. } | Op::Cast))
    })
}

fn is_short(bounds: &mut Bounds, kernel: &LinearKernel, id: UopId) -> bool {
    let (low, high) = bounds.of(&kernel.uops, id);
    low >= i64::from(i32::MIN) && high < i64::from(i32::MAX)
}

/// Multiply and add with one rounding.
pub(super) fn fused(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "TINYC_FMA16",
        DType::F64 => "TINYC_FMA64",
        _ => "TINYC_FMA32",
    }
}

impl Printer<'_> {
    /// Qualifier of pointers to buffers.
    pub(super) fn space(&self) -> &'static str {
        match self.groups {
            Some(_) => "TINYC_GLOBAL ",
            None => "",
        }
    }

    /// C type of an index in a kernel of work-groups; `None` for other values and kernels.
    pub(super) fn index_type(&mut self, id: UopId) -> Option<&'static str> {
        let groups = self.groups.as_ref()?;
        if self.k.uops.ty(id) != Type::INDEX {
            return None;
        }
        let short = !groups.wide && is_short(&mut self.bounds, self.k, id);
        Some(if short { "int32_t" } else { "int64_t" })
    }

    /// Opens a loop; those over groups and threads run once, with their digit of the group's or thread's number.
    pub(super) fn open_in_group(&mut self, range: UopId, extent: i64) -> Result<()> {
        let c = self.index_type(range).unwrap_or("int64_t");
        let r = self.range_name(range);
        let Some(groups) = &mut self.groups else {
            return Err(Error::bug("a loop over threads in a kernel of workers"));
        };
        let mut open = groups.open.last().copied().unwrap_or(1);
        if is_thread_range(&self.k.uops, range) {
            let stride = groups.threads.strides.get(&range).copied().unwrap_or(1);
            let whole = stride * extent == groups.threads.count;
            open *= extent;
            groups.open.push(open);
            let digit = digit("thread", stride, extent, whole);
            self.line("{");
            self.depth += 1;
            self.line(&format!("const {c} {r} = {digit};"));
            return Ok(());
        }
        groups.open.push(open);
        if !is_parallel(&self.k.uops, range) {
            self.line(&format!("for ({c} {r} = 0; {r} < {extent}; {r}++) {{"));
            self.depth += 1;
            return Ok(());
        }
        // The first is the highest digit of the group's number; it opens them all.
        let nest = self.parallel_ranges(range);
        let below: i64 = nest[1..]
            .iter()
            .map(|&r| self.k.uops.extent(r).unwrap_or(1))
            .fold(1, i64::saturating_mul);
        let first = self.is_outermost_parallel();
        let digit = digit("group", below, extent, first);
        self.line("{");
        self.depth += 1;
        self.line(&format!("const {c} {r} = {digit};"));
        Ok(())
    }

    /// True when no loop over groups is open.
    fn is_outermost_parallel(&self) -> bool {
        self.depth == 1
    }

    /// Forgets what a loop or block opened.
    pub(super) fn close_threads(&mut self, id: UopId) {
        if let (Some(groups), Op::EndLoop) = (&mut self.groups, self.k.uops.op(id)) {
            groups.open.pop();
        }
    }

    /// A condition that holds for one of the threads that would store the same; `None` when there is but one.
    pub(super) fn one_of_idle_threads(&self) -> Option<String> {
        let groups = self.groups.as_ref()?;
        let idle = groups.threads.count / groups.open.last().copied().unwrap_or(1).max(1);
        (idle > 1).then(|| format!("(uint32_t)thread % {idle}u == 0"))
    }

    /// A guarded load: from the first element where the guard is false.
    pub(super) fn load_somewhere(
        &mut self,
        src: &[UopId],
        dtype: DType,
        slot: u32,
        place: &str,
    ) -> Result<String> {
        let (gate, other) = (self.value(src[1])?, self.value(src[2])?);
        let (g, v) = (self.fresh("g"), self.fresh("l"));
        let c = scalar(dtype);
        let element = memory(dtype);
        let mut load = match self.k.params[slot as usize].elements < 1 << 28 {
            true => format!("TINYC_AT({element}, p{slot}, {g} ? {place} : 0)"),
            false => format!("p{slot}[{g} ? {place} : 0]"),
        };
        if dtype == DType::BF16 {
            load = format!("tinyc_from_bf16({load})");
        }
        self.line(&format!("const int {g} = {gate};"));
        self.line(&format!("{c} {v} = {load};"));
        Ok(format!("({g} ? {v} : {other})"))
    }

    /// Division of small numbers that are not negative, which needs no care for signs.
    pub(super) fn short_division(
        &mut self,
        op: Binary,
        src: &[UopId],
        a: &str,
        b: &str,
    ) -> Option<String> {
        self.groups.as_ref()?;
        let short = src.iter().all(|&s| is_short(&mut self.bounds, self.k, s));
        let sign = match op {
            Binary::FloorDiv => "/",
            Binary::FloorMod => "%",
            _ => return None,
        };
        short.then(|| format!("((int32_t)((uint32_t){a} {sign} (uint32_t){b}))"))
    }

    /// Combines a value over neighbouring threads, halves at a time.
    pub(super) fn group_fold(&mut self, id: UopId, op: ReduceOp, threads: u32) -> Result<()> {
        let node = self.k.uops.get(id).clone();
        let dtype = node.ty.scalar;
        if node.ty.lanes != 1 {
            return Err(Error::bug("a reduce of vectors over threads"));
        }
        let c = scalar(dtype);
        let value = self.value(node.src[0])?;
        if let Some(groups) = &mut self.groups {
            groups.shared.insert(c);
        }
        let combine = match op {
            ReduceOp::Sum => Binary::Add,
            ReduceOp::Prod => Binary::Mul,
            ReduceOp::Max => Binary::Max,
            ReduceOp::Min => Binary::Min,
            ReduceOp::All => Binary::And,
            ReduceOp::Any => Binary::Or,
        };
        let (n, s, t) = (self.fresh("v"), self.fresh("s"), self.fresh("t"));
        self.line(&format!("{c} {n} = {value};"));
        self.line(&format!("shared_{c}[thread] = {n};"));
        self.line("TINYC_BARRIER();");
        self.line(&format!(
            "for (int32_t {s} = {}; {s} > 0; {s} >>= 1) {{",
            threads / 2
        ));
        self.depth += 1;
        let one = binary(combine, &n, &t, dtype, false)?;
        self.line(&format!("if ((thread & {}) < {s}) {{", threads - 1));
        self.line(&format!("    const {c} {t} = shared_{c}[thread + {s}];"));
        self.line(&format!("    shared_{c}[thread] = {n} = {one};"));
        self.line("}");
        self.line("TINYC_BARRIER();");
        self.depth -= 1;
        self.line("}");
        self.line(&format!("{n} = shared_{c}[thread & ~{}];", threads - 1));
        self.line("TINYC_BARRIER();");
        self.bind(id, n);
        Ok(())
    }
}

/// `number / stride % extent`, with what is not needed left out. `top`: there is nothing above this digit.
fn digit(number: &str, stride: i64, extent: i64, top: bool) -> String {
    let mut text = format!("(uint32_t){number}");
    if stride > 1 {
        text = format!("{text} / {stride}u");
    }
    if !top {
        text = format!("{text} % {extent}u");
    }
    if text == format!("(uint32_t){number}") {
        return number.to_string();
    }
    format!("(int32_t)({text})")
}
