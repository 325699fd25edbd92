//! Vector values of the C printer.
//!
//! In: a vector node. Out: an expression of C's vector extensions where they have the operation, else a loop over
//! lanes, which both compilers vectorise. A scalar beside a vector stays a scalar: the compiler takes it straight
//! from memory.

use super::c::Printer;
use super::c_prelude::{mask_of, scalar, unsigned_of};
use super::c_values::{binary, bitcast, cast, unary};
use crate::diag::{Error, Result};
use crate::uop::{Binary, DType, Op, ReduceOp, Type, Unary, UopId};

impl Printer<'_> {
    /// A vector value gets a variable.
    pub(super) fn vector_item(&mut self, id: UopId) -> Result<()> {
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
    pub(super) fn native(&mut self, id: UopId) -> Result<Option<String>> {
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
            Op::Zip { high } => {
                let (a, b) = (self.whole(node.src[0])?, self.whole(node.src[1])?);
                let start = if high { ty.lanes / 2 } else { 0 };
                self.shuffle(&a, &b, ty, |l| start + l / 2 + l % 2 * ty.lanes)
            }
            Op::Unzip { odd } => {
                let (a, b) = (self.whole(node.src[0])?, self.whole(node.src[1])?);
                let half = ty.lanes / 2;
                let lane = |n: u16| {
                    n / half * ty.lanes + n % half * 2 + u16::from(odd[usize::from(n / half)])
                };
                self.shuffle(&a, &b, ty, lane)
            }
            Op::Load { gated } => {
                let (slot, memory) = self.slot(node.src[0])?;
                if memory == DType::BF16 {
                    return Ok(None);
                }
                let place = self.value(node.src[node.src.len() - 1])?;
                let space = self.space();
                // In memory a truth is a byte.
                let held = match memory {
                    DType::Bool => self.ty(DType::U8.vec(ty.lanes)),
                    _ => c.clone(),
                };
                let mut load = format!("*(const {held}u {space}*)(p{slot} + {place})");
                if memory == DType::Bool {
                    load = format!(
                        "({} != 0)",
                        self.convert(&load, DType::U8, DType::I32.vec(ty.lanes))
                    );
                }
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
            Op::Unary(Unary::Abs) if easy(ty.scalar) && ty.scalar.is_float() => {
                let a = self.whole(node.src[0])?;
                let (mask, value) = if ty.scalar == DType::F64 {
                    (DType::I64, "INT64_MAX")
                } else {
                    (DType::I32, "INT32_MAX")
                };
                let m = self.ty(mask.vec(ty.lanes));
                format!("({c})(({m}){a} & {value})")
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
            Op::Matrix {
                rows,
                columns,
                depth,
            } if node.src.len() == 3 => {
                let (a, b, d) = (
                    self.whole(node.src[0])?,
                    self.whole(node.src[1])?,
                    self.whole(node.src[2])?,
                );
                // Other halves than those of IEEE are held as bits.
                let kind = match self.k.uops.ty(node.src[0]).scalar {
                    DType::F16 => "F16",
                    _ => "BF16",
                };
                format!("TINYC_MATRIX_{kind}_{rows}X{columns}X{depth}({a}, {b}, {d})")
            }
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
                    (f, d) if plain && (!f.is_float() || d.is_float()) => self.convert(&a, f, ty),
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

    /// Conversion of a vector of numbers. Compilers go lane by lane where sizes differ more than twofold, so that integers go step by step.
    fn convert(&mut self, value: &str, from: DType, to: Type) -> String {
        use DType::{I8, I16, I32, U8, U16};
        let steps: &[DType] = match (from, to.scalar.size()) {
            (U8, 4..) => &[U16, I32],
            (I8, 4..) => &[I16, I32],
            (f, 1) if !f.is_float() && f.size() == 4 => &[I16],
            _ => &[],
        };
        let mut text = value.to_string();
        for &step in steps.iter().filter(|&&s| s != to.scalar) {
            let c = self.ty(step.vec(to.lanes));
            text = format!("__builtin_convertvector({text}, {c})");
        }
        let c = self.ty(to);
        format!("__builtin_convertvector({text}, {c})")
    }

    /// A vector of lanes of `a` and `b`, counted through both.
    fn shuffle(&mut self, a: &str, b: &str, ty: Type, lane: impl Fn(u16) -> u16) -> String {
        let lanes: Vec<String> = (0..ty.lanes).map(|n| lane(n).to_string()).collect();
        let mask = self.ty(DType::I32.vec(ty.lanes));
        format!("TINYC_SHUFFLE({mask}, {a}, {b}, {})", lanes.join(", "))
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

    /// Combines the halves of a float vector until four lanes are left: without branches, in the same order as lane by
    /// lane. Other vectors stay as they are. Gives the name of what is left and its lanes.
    fn fold_halves(&mut self, mut name: String, ty: Type, op: Binary) -> (String, usize) {
        let mut lanes = ty.lanes;
        if !matches!(ty.scalar, DType::F32 | DType::F64) || !lanes.is_power_of_two() {
            return (name, lanes as usize);
        }
        while lanes > 4 {
            lanes /= 2;
            let c = self.ty(ty.scalar.vec(lanes));
            let mask = self.ty(mask_of(ty.scalar).vec(lanes));
            let (a, b, out) = (self.fresh("h"), self.fresh("h"), self.fresh("t"));
            self.line(&format!(
                "{c} {a} = ((const {c}u *)&{name})[0], {b} = ((const {c}u *)&{name})[1];"
            ));
            let symbol = match op {
                Binary::Mul => "*",
                Binary::Max => ">",
                Binary::Min => "<",
                _ => "+",
            };
            if matches!(op, Binary::Max | Binary::Min) {
                let m = self.fresh("m");
                self.line(&format!("{mask} {m} = ({a} {symbol} {b}) | ({a} != {a});"));
                self.line(&format!(
                    "{c} {out} = ({c})((({mask}){a} & {m}) | (({mask}){b} & ~{m}));"
                ));
            } else {
                self.line(&format!("{c} {out} = {a} {symbol} {b};"));
            }
            name = out;
        }
        (name, lanes as usize)
    }

    /// All lanes combined, halves at a time.
    pub(super) fn fold(&mut self, id: UopId, op: ReduceOp) -> Result<()> {
        let node = self.k.uops.get(id).clone();
        let ty = self.k.uops.ty(node.src[0]);
        let text = self.whole(node.src[0])?;
        let c = scalar(ty.scalar);
        let whole = self.fresh("t");
        let vector_name = self.ty(ty);
        self.line(&format!("{vector_name} {whole} = {text};"));
        let combine = match op {
            ReduceOp::Sum => Binary::Add,
            ReduceOp::Prod => Binary::Mul,
            ReduceOp::Max => Binary::Max,
            ReduceOp::Min => Binary::Min,
            ReduceOp::All => Binary::And,
            ReduceOp::Any => Binary::Or,
        };
        let (whole, lanes) = self.fold_halves(whole, ty, combine);
        let lane_text = |n: usize| {
            if ty.scalar == DType::Bool {
                format!("({whole}[{n}] & 1)")
            } else {
                format!("{whole}[{n}]")
            }
        };
        let mut values: Vec<String> = (0..lanes).map(lane_text).collect();
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
