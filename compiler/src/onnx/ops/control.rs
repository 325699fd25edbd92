//! Control flow.
//!
//! In: a condition or a trip count and body graphs. Out: what the bodies give. A condition that is known
//! inlines one branch, and only that one is imported; otherwise both are imported and the result is
//! selected (`schedule` leaves out what a run does not take). Loops whose number of trips is known are unrolled.
//!
//! Example: `If(sr == 16000)` with `sr` bound to 16000 is its `then_branch`.

use super::super::import::Import;
use super::super::node::{Node, axis};
use super::{ANY, Row, row};
use crate::diag::{Error, Result};
use crate::graph::TensorId;
use crate::uop::DType;

/// Most copies of a loop's body.
const MAX_TRIPS: i64 = 4096;

const SCAN: &[&str] = &[
    "body",
    "num_scan_inputs",
    "scan_input_axes",
    "scan_input_directions",
    "scan_output_axes",
    "scan_output_directions",
];

pub(super) const ROWS: &[Row] = &[
    row("If", 1, 1..=1, &["else_branch", "then_branch"], if_else),
    row("Loop", 1, 2..=ANY, &["body"], repeat),
    row(
        "Scan",
        8,
        1..=ANY,
        &["body", "directions", "num_scan_inputs"],
        |_, _| {
            Err(
                Error::unsupported("a scan of opset 8, which runs over a batch")
                    .help("convert the model to opset 9 or newer"),
            )
        },
    ),
    row("Scan", 9, 1..=ANY, SCAN, scan),
];

fn if_else<'m>(c: &mut Import<'m>, n: &Node<'m>) -> Result<Vec<TensorId>> {
    let condition = n.input(0)?;
    let (yes, no) = (n.graph("then_branch")?, n.graph("else_branch")?);
    if c.dtype(condition) != DType::Bool || c.elements(condition)? != 1 {
        return Err(Error::model(format!(
            "the condition is {} of shape {:?}, expected one bool",
            c.dtype(condition),
            c.shape(condition)
        )));
    }
    if let Some(v) = c.const_numbers(condition) {
        let branch = if v.first().is_some_and(|&x| x != 0.0) {
            yes
        } else {
            no
        };
        return Ok(c.body(branch, &[])?.unwrap_or_default());
    }
    let before = c.error_count();
    let (Some(a), Some(b)) = (c.body(yes, &[])?, c.body(no, &[])?) else {
        c.suggest_choice(before, condition);
        return Ok(Vec::new());
    };
    if a.len() != b.len() {
        return Err(Error::model(format!(
            "the branches give {} and {} results",
            a.len(),
            b.len()
        )));
    }
    let condition = c.scalar_of(condition)?;
    let mut out = Vec::new();
    for (x, y) in a.into_iter().zip(b) {
        if c.dtype(x) != c.dtype(y) || c.dims(x)? != c.dims(y)? {
            let what = format!(
                "the branches give {} {:?} and {} {:?}: the condition",
                c.dtype(x),
                c.shape(x),
                c.dtype(y),
                c.shape(y)
            );
            return Err(c.needs_value(condition, &what));
        }
        out.push(c.select(condition, x, y)?);
    }
    Ok(out)
}

/// Inputs: trip count, condition, then loop-carried values. The body: iteration, condition, values in;
/// condition, values and scan outputs out.
fn repeat<'m>(c: &mut Import<'m>, n: &Node<'m>) -> Result<Vec<TensorId>> {
    let body = n.graph("body")?;
    let trips = match n.optional(0) {
        Some(_) => match c.ints(n, 0, "the trip count")?[..] {
            [t] => t,
            _ => return Err(Error::model("the trip count must be one number")),
        },
        None => i64::MAX,
    };
    let mut goes_on = match n.optional(1) {
        Some(_) => c
            .ints(n, 1, "the condition")?
            .first()
            .is_some_and(|&v| v != 0),
        None => true,
    };
    let mut carried: Vec<TensorId> = (2..n.inputs.len())
        .map(|i| n.input(i))
        .collect::<Result<_>>()?;
    let results = body.output.len();
    if results < carried.len() + 1 {
        return Err(Error::model("the body of the loop has too few outputs"));
    }
    let scans = results - 1 - carried.len();
    let mut collected: Vec<Vec<TensorId>> = vec![Vec::new(); scans];
    let mut trip = 0;
    while goes_on && trip < trips {
        if trip >= MAX_TRIPS {
            return Err(Error::unsupported(format!(
                "the loop runs more than {MAX_TRIPS} times"
            )));
        }
        let mut inputs = vec![c.constant_i64(&[trip], &[])?, c.integer(1, DType::Bool)?];
        inputs.extend(&carried);
        let Some(out) = c.body(body, &inputs)? else {
            return Ok(Vec::new());
        };
        for (k, (&old, &new)) in carried.iter().zip(&out[1..]).enumerate() {
            if c.dtype(old) != c.dtype(new) {
                return Err(Error::model(format!(
                    "loop-carried value {k} changes its type"
                )));
            }
        }
        trip += 1;
        // The condition of the last trip decides nothing.
        if trip < trips {
            goes_on = match c.const_numbers(out[0]) {
                Some(v) => v.first().is_some_and(|&x| x != 0.0),
                None => {
                    return Err(c.needs_value(out[0], "the condition that ends the loop"));
                }
            };
        }
        carried = out[1..=carried.len()].to_vec();
        for (list, &x) in collected.iter_mut().zip(&out[1 + carried.len()..]) {
            list.push(x);
        }
    }
    let mut out = carried;
    for list in collected {
        if list.is_empty() {
            return Err(Error::unsupported(
                "a loop that never runs gives a scan output without a known shape",
            ));
        }
        out.push(stack(c, &list, 0)?);
    }
    Ok(out)
}

/// Joins tensors along a new axis.
fn stack(c: &mut Import<'_>, list: &[TensorId], axis: usize) -> Result<TensorId> {
    let mut rows = Vec::with_capacity(list.len());
    for &x in list {
        rows.push(c.unsqueeze(x, axis)?);
    }
    c.concat(&rows, axis)
}

/// Inputs: state, then sequences. The body takes state and one element of each sequence.
fn scan<'m>(c: &mut Import<'m>, n: &Node<'m>) -> Result<Vec<TensorId>> {
    let body = n.graph("body")?;
    let count = n.int("num_scan_inputs")?;
    let count = n.required("num_scan_inputs", count)?;
    let inputs = n.variadic()?;
    let Some(states) = usize::try_from(count)
        .ok()
        .and_then(|k| inputs.len().checked_sub(k))
    else {
        return Err(Error::model(format!(
            "attribute 'num_scan_inputs' is {count}"
        )));
    };
    let mut state = inputs[..states].to_vec();
    let sequences = &inputs[states..];
    let Some(outputs) = body.output.len().checked_sub(states) else {
        return Err(Error::model("the body of the scan has too few outputs"));
    };
    let list = |name: &str, len: usize| -> Result<Vec<i64>> {
        let v = n.ints(name)?.unwrap_or_else(|| vec![0; len]);
        if v.len() == len {
            Ok(v)
        } else {
            Err(Error::model(format!("attribute '{name}' is {v:?}")))
        }
    };
    let in_axes = list("scan_input_axes", sequences.len())?;
    let in_back = list("scan_input_directions", sequences.len())?;
    let out_axes = list("scan_output_axes", outputs)?;
    let out_back = list("scan_output_directions", outputs)?;
    let mut trips = None;
    let mut places = Vec::new();
    for (&x, &a) in sequences.iter().zip(&in_axes) {
        let a = axis(a, c.rank(x))?;
        let len = c.dims(x)?[a];
        if *trips.get_or_insert(len) != len {
            return Err(Error::model("the sequences of the scan differ in length"));
        }
        places.push(a);
    }
    let trips = trips.ok_or_else(|| Error::model("a scan without sequences"))?;
    if trips > MAX_TRIPS || trips == 0 {
        return Err(Error::unsupported(format!("a scan of {trips} steps")));
    }
    let mut collected: Vec<Vec<TensorId>> = vec![Vec::new(); outputs];
    for t in 0..trips {
        let mut given = state.clone();
        for (k, &x) in sequences.iter().enumerate() {
            let at = if in_back[k] == 0 { t } else { trips - 1 - t };
            let part = c.slice_axis(x, places[k], at, 1)?;
            let mut dims = c.dims(part)?;
            dims.remove(places[k]);
            given.push(c.reshape(part, &dims)?);
        }
        let Some(out) = c.body(body, &given)? else {
            return Ok(Vec::new());
        };
        state = out[..states].to_vec();
        for (list, &x) in collected.iter_mut().zip(&out[states..]) {
            list.push(x);
        }
    }
    let mut out = state;
    for (k, mut list) in collected.into_iter().enumerate() {
        if out_back[k] != 0 {
            list.reverse();
        }
        let rank = c.rank(list[0]) + 1;
        out.push(stack(c, &list, axis(out_axes[k], rank)?)?);
    }
    Ok(out)
}
