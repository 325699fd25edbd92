//! Matrix products.
//!
//! In: matrices, or stacks of them. Out: their products.
//!
//! Example: `Gemm(a, b, c, alpha, beta, transB=1)` is `alpha * a b^T + beta * c`.

use super::super::import::Import;
use super::super::node::Node;
use super::{ANY, Row, row};
use crate::diag::{Error, Result};
use crate::graph::{Op, TensorId};
use crate::uop::{DType, ReduceOp};
use std::collections::BTreeMap;

pub(super) const ROWS: &[Row] = &[
    row("MatMul", 1, 2..=2, &[], |c, n| {
        Ok(vec![matmul(c, n.input(0)?, n.input(1)?)?])
    }),
    row(
        "Gemm",
        7,
        2..=3,
        &["alpha", "beta", "transA", "transB"],
        gemm,
    ),
    row("Einsum", 12, 1..=ANY, &["equation"], einsum),
];

/// As numpy's `matmul`, vectors included.
pub(super) fn matmul(c: &mut Import<'_>, a: TensorId, b: TensorId) -> Result<TensorId> {
    let (da, db) = (c.dims(a)?, c.dims(b)?);
    if da.is_empty() || db.is_empty() {
        return Err(Error::model(format!(
            "cannot multiply {da:?} and {db:?}: scalars are no matrices"
        )));
    }
    let left = if da.len() == 1 {
        c.reshape(a, &[1, da[0]])?
    } else {
        a
    };
    let right = if db.len() == 1 {
        c.reshape(b, &[db[0], 1])?
    } else {
        b
    };
    let out = c.push(Op::MatMul, &[left, right])?;
    if da.len() > 1 && db.len() > 1 {
        return Ok(out);
    }
    let mut dims = c.dims(out)?;
    let rank = dims.len();
    if db.len() == 1 {
        dims.remove(rank - 1);
    }
    if da.len() == 1 {
        dims.remove(rank - 2);
    }
    c.reshape(out, &dims)
}

fn gemm(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (mut a, mut b) = (n.input(0)?, n.input(1)?);
    if c.rank(a) != 2 || c.rank(b) != 2 {
        return Err(Error::model(format!(
            "expected matrices, found {:?} and {:?}",
            c.shape(a),
            c.shape(b)
        )));
    }
    if n.flag("transA", false)? {
        a = c.permute(a, &[1, 0])?;
    }
    if n.flag("transB", false)? {
        b = c.permute(b, &[1, 0])?;
    }
    let mut out = c.push(Op::MatMul, &[a, b])?;
    let dims = c.dims(out)?;
    let alpha = n.float_or("alpha", 1.0)?;
    if alpha != 1.0 {
        out = scale(c, out, alpha)?;
    }
    let beta = n.float_or("beta", 1.0)?;
    if let Some(bias) = n.optional(2).filter(|_| beta != 0.0) {
        let bias = if beta == 1.0 {
            bias
        } else {
            scale(c, bias, beta)?
        };
        out = c.add(out, bias)?;
        if c.dims(out)? != dims {
            return Err(Error::model(format!(
                "C of shape {:?} cannot be broadcast to {dims:?}",
                c.shape(bias)
            )));
        }
    }
    Ok(vec![out])
}

/// Multiplies by a float that may not fit an integer type.
fn scale(c: &mut Import<'_>, x: TensorId, factor: f64) -> Result<TensorId> {
    let dtype = c.dtype(x);
    if dtype.is_float() || factor.fract() == 0.0 {
        return c.mul_number(x, factor);
    }
    let wide = c.cast(x, DType::F64)?;
    let y = c.mul_number(wide, factor)?;
    c.cast(y, dtype)
}

/// Labels of one operand: letters, and for `...` the axes that it stands for, as numbers from the end.
type Labels = Vec<(char, usize)>;

fn labels(term: &str, rank: Option<usize>) -> Result<Labels> {
    let bad = || {
        Error::model(format!(
            "term '{term}' of the equation does not fit its operand"
        ))
    };
    let letters = term.chars().filter(|ch| ch.is_ascii_alphabetic()).count();
    let mut out = Vec::new();
    let mut rest = term;
    let mut ellipsis = false;
    while let Some(ch) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            let extra = match rank {
                Some(r) => r.checked_sub(letters).ok_or_else(bad)?,
                None => 0,
            };
            if std::mem::replace(&mut ellipsis, true) {
                return Err(bad());
            }
            out.extend((0..extra).rev().map(|i| ('.', i)));
            if rank.is_none() {
                out.push(('.', ANY));
            }
            rest = after;
            continue;
        }
        if !ch.is_ascii_alphabetic() {
            return Err(Error::model(format!(
                "'{ch}' in term '{term}' of the equation"
            )));
        }
        out.push((ch, 0));
        rest = &rest[1..];
    }
    if rank.is_some_and(|r| r != out.len()) {
        return Err(bad());
    }
    Ok(out)
}

fn einsum(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let equation = n.string("equation")?;
    let equation: String = n
        .required("equation", equation)?
        .chars()
        .filter(|ch| !ch.is_whitespace())
        .collect();
    let (left, right) = match equation.split_once("->") {
        Some((l, r)) => (l, Some(r)),
        None => (equation.as_str(), None),
    };
    let operands = n.variadic()?;
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != operands.len() {
        return Err(Error::model(format!(
            "equation '{equation}' has {} terms, the node {} inputs",
            terms.len(),
            operands.len()
        )));
    }
    let mut parsed = Vec::new();
    let mut extents: BTreeMap<(char, usize), i64> = BTreeMap::new();
    let mut counts: BTreeMap<(char, usize), usize> = BTreeMap::new();
    for (term, &x) in terms.iter().zip(&operands) {
        let dims = c.dims(x)?;
        let l = labels(term, Some(dims.len()))?;
        for (&label, &d) in l.iter().zip(&dims) {
            *counts.entry(label).or_default() += 1;
            let e = extents.entry(label).or_insert(d);
            if *e == 1 {
                *e = d;
            } else if d != 1 && *e != d {
                return Err(Error::model(format!(
                    "label '{}' of equation '{equation}' is {} and {d}",
                    label.0, e
                )));
            }
        }
        parsed.push((x, l));
    }
    let mut ellipsis: Labels = extents.keys().copied().filter(|l| l.0 == '.').collect();
    ellipsis.sort_by_key(|l| std::cmp::Reverse(l.1));
    let output: Labels = match right {
        None => {
            let once = counts.iter().filter(|(l, k)| l.0 != '.' && **k == 1);
            ellipsis
                .iter()
                .copied()
                .chain(once.map(|(l, _)| *l))
                .collect()
        }
        Some(r) => labels(r, None)?
            .into_iter()
            .flat_map(|l| {
                if l == ('.', ANY) {
                    ellipsis.clone()
                } else {
                    vec![l]
                }
            })
            .collect(),
    };
    let mut seen = output.clone();
    seen.sort_unstable();
    let twice = seen.windows(2).any(|w| w[0] == w[1]);
    if twice || output.iter().any(|l| !extents.contains_key(l)) {
        return Err(Error::model(format!("output of equation '{equation}'")));
    }
    // Repeated labels of one operand: its diagonal.
    let mut list = Vec::new();
    for (x, l) in parsed {
        list.push(diagonal(c, x, l)?);
    }
    let mut list = list.into_iter();
    let Some(mut sum) = list.next() else {
        return Err(Error::model("an equation without operands"));
    };
    let rest: Vec<(TensorId, Labels)> = list.collect();
    for i in 0..rest.len() {
        let later: Labels = rest[i + 1..].iter().flat_map(|r| r.1.clone()).collect();
        let needed = |l: &(char, usize)| output.contains(l) || later.contains(l);
        sum = contract(c, sum, rest[i].clone(), &needed, &extents)?;
    }
    let (mut x, mut l) = sum;
    let gone: Vec<usize> = (0..l.len()).filter(|&i| !output.contains(&l[i])).collect();
    if !gone.is_empty() {
        x = c.reduce(ReduceOp::Sum, x, &gone, false)?;
        l.retain(|a| output.contains(a));
    }
    // An axis that the output names may be missing from none of the operands, so it is in `l`.
    let perm: Vec<usize> = output
        .iter()
        .map(|o| l.iter().position(|a| a == o).unwrap_or(0))
        .collect();
    let x = c.permute(x, &perm)?;
    let dims: Vec<i64> = output.iter().map(|l| extents[l]).collect();
    Ok(vec![c.broadcast(x, &dims)?])
}

fn diagonal(c: &mut Import<'_>, mut x: TensorId, mut l: Labels) -> Result<(TensorId, Labels)> {
    loop {
        let twice = (0..l.len()).find_map(|i| {
            let j = (i + 1..l.len()).find(|&j| l[j] == l[i])?;
            Some((i, j))
        });
        let Some((i, j)) = twice else {
            return Ok((x, l));
        };
        // Moves the two axes last, and reads every (d+1)-th element of them together.
        let rank = l.len();
        let mut perm: Vec<usize> = (0..rank).filter(|&a| a != i && a != j).collect();
        let mut dims: Vec<i64> = perm
            .iter()
            .map(|&a| c.dims(x).map(|d| d[a]))
            .collect::<Result<_>>()?;
        let d = c.dims(x)?[i];
        if c.dims(x)?[j] != d {
            return Err(Error::model("a diagonal of axes that differ"));
        }
        perm.extend([i, j]);
        let moved = c.permute(x, &perm)?;
        dims.push(d * d);
        let flat = c.reshape(moved, &dims)?;
        let places: Vec<i64> = (0..d).map(|k| k * (d + 1)).collect();
        let places = c.constant_i64(&places, &[d])?;
        x = c.gather(flat, places, rank - 2)?;
        let label = l[i];
        l = perm[..rank - 2].iter().map(|&a| l[a]).collect();
        l.push(label);
    }
}

/// The product of two operands, summed over labels that nobody needs afterwards: one matrix product.
fn contract(
    c: &mut Import<'_>,
    a: (TensorId, Labels),
    b: (TensorId, Labels),
    needed: &dyn Fn(&(char, usize)) -> bool,
    extents: &BTreeMap<(char, usize), i64>,
) -> Result<(TensorId, Labels)> {
    let a = sum_own(c, a, &b.1, needed)?;
    let b = sum_own(c, b, &a.1, needed)?;
    let both: Labels = a.1.iter().copied().filter(|l| b.1.contains(l)).collect();
    let batch: Labels = both.iter().copied().filter(|l| needed(l)).collect();
    let inner: Labels = both.iter().copied().filter(|l| !needed(l)).collect();
    let rows: Labels = a.1.iter().copied().filter(|l| !both.contains(l)).collect();
    let columns: Labels = b.1.iter().copied().filter(|l| !both.contains(l)).collect();
    let arrange =
        |c: &mut Import<'_>, x: &(TensorId, Labels), groups: [&Labels; 3]| -> Result<TensorId> {
            let order: Labels = groups.into_iter().flatten().copied().collect();
            let perm: Vec<usize> = order
                .iter()
                .map(|o| x.1.iter().position(|l| l == o).unwrap_or(0))
                .collect();
            let moved = c.permute(x.0, &perm)?;
            // Axes of extent 1 that stand for more are repeated first.
            let full: Vec<i64> = order.iter().map(|l| extents[l]).collect();
            let moved = c.broadcast(moved, &full)?;
            let mut dims: Vec<i64> = groups[0].iter().map(|l| extents[l]).collect();
            dims.push(groups[1].iter().map(|l| extents[l]).product());
            dims.push(groups[2].iter().map(|l| extents[l]).product());
            c.reshape(moved, &dims)
        };
    let left = arrange(c, &a, [&batch, &rows, &inner])?;
    let right = arrange(c, &b, [&batch, &inner, &columns])?;
    let out = c.push(Op::MatMul, &[left, right])?;
    let order: Labels = [batch, rows, columns].concat();
    let dims: Vec<i64> = order.iter().map(|l| extents[l]).collect();
    Ok((c.reshape(out, &dims)?, order))
}

/// Sums over labels that only this operand has and nobody needs.
fn sum_own(
    c: &mut Import<'_>,
    (x, l): (TensorId, Labels),
    other: &Labels,
    needed: &dyn Fn(&(char, usize)) -> bool,
) -> Result<(TensorId, Labels)> {
    let own: Vec<usize> = (0..l.len())
        .filter(|&i| !other.contains(&l[i]) && !needed(&l[i]))
        .collect();
    if own.is_empty() {
        return Ok((x, l));
    }
    let x = c.reduce(ReduceOp::Sum, x, &own, false)?;
    let kept = (0..l.len()).filter(|i| !own.contains(i)).map(|i| l[i]);
    Ok((x, kept.collect()))
}
