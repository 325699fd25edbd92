//! Doc lines of rules as expressions, and their values: for tests.
//!
//! In: `(floordiv (add (mul a 16) b) 16) => a where 0<=b<16` and a type. Out: two nodes over the same variables,
//! and what they evaluate to. A name is a variable; its type is that of its place, or what `name:type` says.

use super::super::dtype::{DType, Type};
use super::super::ops::{Binary, Op, Unary};
use super::super::table::operation;
use super::super::{Sources, UopId, Uops};

/// A variable of a line.
#[derive(Debug, Clone)]
pub struct Variable {
    pub name: String,
    pub dtype: Option<DType>,
    pub bounds: Option<(i64, i64)>,
    pub node: Option<UopId>,
}

/// A line in an arena.
#[derive(Debug)]
pub struct Line {
    pub g: Uops,
    pub variables: Vec<Variable>,
    pub left: UopId,
    pub right: UopId,
}

/// Reads a line for operands of a type.
pub fn parse(line: &str, dtype: DType) -> Result<Line, String> {
    let (rule, conditions) = line.split_once(" where ").unwrap_or((line, ""));
    let (left, right) = rule.split_once("=>").ok_or("a line needs '=>'")?;
    let mut reader = Reader {
        g: Uops::new(),
        variables: Vec::new(),
        dtype,
    };
    for word in conditions.split_whitespace() {
        reader.condition(word)?;
    }
    let left = reader.whole(left, None)?;
    let result = reader.g.ty(left);
    let right = reader.whole(right, (result.lanes == 1).then_some(result.scalar))?;
    Ok(Line {
        g: reader.g,
        variables: reader.variables,
        left,
        right,
    })
}

struct Reader {
    g: Uops,
    variables: Vec<Variable>,
    dtype: DType,
}

impl Reader {
    /// `x:i32`, `x<4`, `0<=x<4`.
    fn condition(&mut self, word: &str) -> Result<(), String> {
        if let Some((name, ty)) = word.split_once(':') {
            self.variable(name).dtype = Some(DType::parse(ty).ok_or(format!("no type {ty}"))?);
            return Ok(());
        }
        let bad = || format!("'{word}' is not low<=name<high");
        let (low, rest) = word.split_once("<=").ok_or_else(bad)?;
        let (name, high) = rest.split_once('<').ok_or_else(bad)?;
        let low: i64 = low.parse().map_err(|_| bad())?;
        let high: i64 = high.parse().map_err(|_| bad())?;
        self.variable(name).bounds = Some((low, high - 1));
        Ok(())
    }

    fn variable(&mut self, name: &str) -> &mut Variable {
        let at = self.variables.iter().position(|v| v.name == name);
        let at = at.unwrap_or_else(|| {
            self.variables.push(Variable {
                name: name.to_string(),
                dtype: None,
                bounds: None,
                node: None,
            });
            self.variables.len() - 1
        });
        &mut self.variables[at]
    }

    fn whole(&mut self, text: &str, expected: Option<DType>) -> Result<UopId, String> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
        let node = self.term(&mut words, expected)?;
        match words.pop() {
            None => Ok(node),
            Some(word) => Err(format!("'{word}' is left over")),
        }
    }

    fn term(&mut self, words: &mut Vec<&str>, expected: Option<DType>) -> Result<UopId, String> {
        let word = words.pop().ok_or("the line ends too early")?;
        if word != "(" {
            return self.leaf(word, expected.unwrap_or(self.dtype));
        }
        let name = words.pop().ok_or("the line ends too early")?;
        let cast = name.strip_prefix("cast.");
        let op = match cast {
            Some(_) => Op::Cast,
            None => operation(name, &[]).ok_or(format!("no operation {name}"))?,
        };
        let memory = matches!(op, Op::Load { .. } | Op::Store { .. });
        let mut src = Sources::new();
        while words.last().is_some_and(|w| *w != ")") {
            let place = match (op, src.len()) {
                (Op::Where, 0) | (Op::Load { gated: true }, 1) | (Op::Store { gated: true }, 2) => {
                    DType::Bool
                }
                (Op::Load { gated }, n) if n == 0 || gated && n == 2 => DType::F32,
                (Op::Store { .. }, 0 | 1) => DType::F32,
                _ if memory => DType::Index,
                (Op::Binary(op), _) if op.is_compare() && self.dtype == DType::Bool => DType::Index,
                _ => self.dtype,
            };
            let node = if memory && src.is_empty() {
                words.pop();
                self.g.param(999, DType::F32)
            } else {
                self.term(words, Some(place))?
            };
            src.push(node);
        }
        words.pop().ok_or("a ) is missing")?;
        let first = src.last().map_or(Type::VOID, |&s| self.g.ty(s));
        let ty = match op {
            Op::Store { .. } => Type::VOID,
            Op::Load { .. } => DType::F32.scalar(),
            Op::Cast => {
                let to = cast.and_then(DType::parse);
                to.ok_or(format!("no type in {name}"))?.scalar()
            }
            Op::Binary(op) if op.is_compare() => Type::BOOL,
            Op::Unary(Unary::IsNan) => Type::BOOL,
            _ => first,
        };
        Ok(self.g.add_node(op, ty, src))
    }

    fn leaf(&mut self, word: &str, dtype: DType) -> Result<UopId, String> {
        match word {
            "true" => return Ok(self.g.bool(true)),
            "false" => return Ok(self.g.bool(false)),
            _ => {}
        }
        let (value, dtype) = match word.split_once(':') {
            Some((value, ty)) => (value, DType::parse(ty).ok_or(format!("no type {ty}"))?),
            None => (word, dtype),
        };
        if let Ok(value) = value.parse::<f64>() {
            return Ok(if dtype.is_float() {
                self.g.float(dtype, value)
            } else {
                self.g.int(dtype, value as i64)
            });
        }
        let slot = self.variables.len() as u32;
        let variable = self.variable(word);
        let dtype = variable.dtype.unwrap_or(dtype);
        variable.dtype = Some(dtype);
        if let Some(node) = variable.node {
            return Ok(node);
        }
        let bounds = variable.bounds;
        let node = match bounds {
            Some((min, max)) => {
                let slot = slot + 1 + self.g.len() as u32;
                self.g
                    .add_node(Op::Var { slot, min, max }, dtype.scalar(), [])
            }
            None => {
                let slot = slot + self.g.len() as u32;
                let memory = self.g.param(slot, dtype);
                let place = self.g.index(0);
                self.g.load(memory, &[place])
            }
        };
        self.variable(word).node = Some(node);
        Ok(node)
    }
}

/// A value: an integer that fits its type, or a float in its type.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    Int(i128),
    Float(f64),
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => {
                a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
            }
            _ => false,
        }
    }
}

/// Brings an integer into its type by wrapping.
pub fn wrap(value: i128, dtype: DType) -> i128 {
    if matches!(dtype, DType::Bool | DType::Index) {
        return value;
    }
    let bits = dtype.size() as u32 * 8;
    let low = value & ((1i128 << bits) - 1);
    if !dtype.is_unsigned() && low >> (bits - 1) != 0 {
        low - (1i128 << bits)
    } else {
        low
    }
}

/// Rounds a float to its type.
pub fn round(value: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F32 => f64::from(value as f32),
        DType::F16 => half::f16::from_f64(value).to_f64(),
        DType::BF16 => half::bf16::from_f64(value).to_f64(),
        _ => value,
    }
}

/// Value of a node, where `values` says those of variables. A store gives what it writes and where, mixed.
pub fn eval(g: &Uops, id: UopId, values: &[(UopId, Value)]) -> Option<Value> {
    if let Some(found) = values.iter().find(|v| v.0 == id) {
        return Some(found.1);
    }
    let (op, ty) = (g.op(id), g.ty(id).scalar);
    let at = |n: usize| eval(g, *g.src(id).get(n)?, values);
    let mixed = |index: Option<Value>, with: Option<Value>| match (index, with) {
        (Some(Value::Int(i)), Some(Value::Float(v))) => {
            Some(Value::Float((i * 7919 % 10007) as f64 + v))
        }
        _ => None,
    };
    match op {
        Op::Const(bits) if ty.is_float() => Some(Value::Float(f64::from_bits(bits))),
        Op::Const(bits) => Some(Value::Int(wrap(i128::from(bits as i64), ty))),
        Op::Where => match at(0)? {
            Value::Int(0) => at(2),
            _ => at(1),
        },
        Op::Cast => match at(0)? {
            Value::Int(v) if ty.is_float() => Some(Value::Float(round(v as f64, ty))),
            Value::Int(v) if ty == DType::Bool => Some(Value::Int((v != 0).into())),
            Value::Int(v) => Some(Value::Int(wrap(v, ty))),
            Value::Float(_) => None,
        },
        Op::Load { gated: false } => mixed(at(1), Some(Value::Float(0.5))),
        Op::Load { gated: true } => match at(1)? {
            Value::Int(0) => at(2),
            _ => mixed(at(3), Some(Value::Float(0.5))),
        },
        Op::Store { gated: false } => mixed(at(2), at(1)),
        Op::Store { gated: true } => match at(2)? {
            Value::Int(0) => Some(Value::Int(0)),
            _ => mixed(at(3), at(1)),
        },
        Op::Unary(op) => Some(match (op, at(0)?) {
            (Unary::Neg, Value::Int(v)) => Value::Int(wrap(-v, ty)),
            (Unary::Neg, Value::Float(v)) => Value::Float(-v),
            (Unary::Not, Value::Int(v)) if ty == DType::Bool => Value::Int(1 - v),
            (Unary::Not, Value::Int(v)) => Value::Int(wrap(!v, ty)),
            _ => return None,
        }),
        Op::Binary(op) => match (at(0)?, at(1)?) {
            (Value::Int(a), Value::Int(b)) => {
                integer(op, a, b).map(|v| Value::Int(if op.is_compare() { v } else { wrap(v, ty) }))
            }
            (Value::Float(a), Value::Float(b)) => {
                float(op, a, b).map(|v| Value::Float(round(v, ty)))
            }
            _ => None,
        },
        _ => None,
    }
}

fn integer(op: Binary, a: i128, b: i128) -> Option<i128> {
    Some(match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a.checked_mul(b)?,
        Binary::Div if b == 0 => 0,
        Binary::Div => a / b,
        Binary::FloorDiv if b > 0 => a.div_euclid(b),
        Binary::FloorMod if b > 0 => a.rem_euclid(b),
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
        Binary::And => a & b,
        Binary::Or => a | b,
        Binary::Xor => a ^ b,
        Binary::Shl if (0..64).contains(&b) => a << b,
        Binary::Shr if (0..64).contains(&b) => a >> b,
        Binary::Lt => (a < b).into(),
        Binary::Le => (a <= b).into(),
        Binary::Eq => (a == b).into(),
        Binary::Ne => (a != b).into(),
        _ => return None,
    })
}

fn float(op: Binary, a: f64, b: f64) -> Option<f64> {
    Some(match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max | Binary::Min if a.is_nan() || b.is_nan() => f64::NAN,
        Binary::Max if a >= b => a,
        Binary::Min if a <= b => a,
        Binary::Max | Binary::Min => b,
        _ => return None,
    })
}
