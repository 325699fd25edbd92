//! Recurrent layers, unrolled in time.
//!
//! In: a sequence `[T,B,I]`, weights for each direction, perhaps initial states. Out: all hidden states, and
//! the last. The products with the input are one matrix product for all steps; each step multiplies its
//! hidden state only.
//!
//! Example: `LSTM(x[1,1,128], W, R, B, hidden_size=128)` is two products and the gates.

use super::super::import::Import;
use super::super::node::Node;
use super::activation::{hard_sigmoid_of, sigmoid, softplus};
use super::matmul::matmul;
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::TensorId;
use crate::uop::{Binary, DType, Unary};

const COMMON: &[&str] = &[
    "activation_alpha",
    "activation_beta",
    "activations",
    "clip",
    "direction",
    "hidden_size",
    "input_forget",
    "layout",
    "linear_before_reset",
];

pub(super) const ROWS: &[Row] = &[
    row("RNN", 7, 3..=6, COMMON, |c, n| recurrent(c, n, Cell::Rnn)),
    row("GRU", 7, 3..=6, COMMON, |c, n| recurrent(c, n, Cell::Gru)),
    row("LSTM", 7, 3..=8, COMMON, |c, n| recurrent(c, n, Cell::Lstm)),
];

/// Longest sequence that is unrolled.
const MAX_STEPS: i64 = 2048;

#[derive(Clone, Copy, PartialEq)]
enum Cell {
    Rnn,
    Gru,
    Lstm,
}

/// An activation with its numbers.
#[derive(Clone)]
struct Function {
    name: String,
    alpha: Option<f64>,
    beta: Option<f64>,
}

impl Function {
    fn apply(&self, c: &mut Import<'_>, x: TensorId) -> Result<TensorId> {
        let alpha = |default: f64| self.alpha.unwrap_or(default);
        let beta = |default: f64| self.beta.unwrap_or(default);
        let dtype = c.dtype(x);
        let zero = c.number(0.0, dtype)?;
        let negative = |c: &mut Import<'_>, y: TensorId| {
            let below = c.lt(x, zero)?;
            c.select(below, y, x)
        };
        match self.name.to_ascii_lowercase().as_str() {
            "sigmoid" => sigmoid(c, x),
            "tanh" => c.unary(Unary::Tanh, x),
            "relu" => c.binary(Binary::Max, x, zero),
            "affine" => {
                let y = c.mul_number(x, alpha(1.0))?;
                c.add_number(y, beta(0.0))
            }
            "leakyrelu" => {
                let y = c.mul_number(x, alpha(0.01))?;
                negative(c, y)
            }
            "thresholdedrelu" => {
                let limit = c.number(alpha(1.0), dtype)?;
                let below = c.lt(x, limit)?;
                c.select(below, zero, x)
            }
            "scaledtanh" => {
                let y = c.mul_number(x, beta(1.0))?;
                let y = c.unary(Unary::Tanh, y)?;
                c.mul_number(y, alpha(1.0))
            }
            "hardsigmoid" => hard_sigmoid_of(c, x, alpha(0.2), beta(0.5)),
            "elu" => {
                let e = c.unary(Unary::Exp, x)?;
                let e = c.add_number(e, -1.0)?;
                let e = c.mul_number(e, alpha(1.0))?;
                negative(c, e)
            }
            "softsign" => {
                let size = c.unary(Unary::Abs, x)?;
                let sum = c.add_number(size, 1.0)?;
                c.div(x, sum)
            }
            "softplus" => softplus(c, x),
            other => Err(Error::model(format!(
                "attribute 'activations' names '{other}', which is no activation"
            ))),
        }
    }
}

fn functions(n: &Node<'_>, cell: Cell, directions: usize) -> Result<Vec<Function>> {
    let defaults: &[&str] = match cell {
        Cell::Rnn => &["Tanh"],
        Cell::Gru => &["Sigmoid", "Tanh"],
        Cell::Lstm => &["Sigmoid", "Tanh", "Tanh"],
    };
    let names: Vec<String> = match n.strings("activations")? {
        Some(list) => list.into_iter().map(str::to_string).collect(),
        None => (0..directions)
            .flat_map(|_| defaults)
            .map(|s| (*s).to_string())
            .collect(),
    };
    if names.len() != directions * defaults.len() {
        return Err(Error::model(format!(
            "attribute 'activations' has {} names, expected {}",
            names.len(),
            directions * defaults.len()
        )));
    }
    let mut alpha = n
        .floats("activation_alpha")?
        .unwrap_or_default()
        .into_iter();
    let mut beta = n.floats("activation_beta")?.unwrap_or_default().into_iter();
    // Numbers are listed in order for those functions that take one.
    Ok(names
        .into_iter()
        .map(|name| {
            let lower = name.to_ascii_lowercase();
            let takes_alpha = !matches!(
                lower.as_str(),
                "sigmoid" | "tanh" | "relu" | "softsign" | "softplus"
            );
            let takes_beta = matches!(lower.as_str(), "affine" | "scaledtanh" | "hardsigmoid");
            Function {
                name,
                alpha: if takes_alpha {
                    alpha.next().map(f64::from)
                } else {
                    None
                },
                beta: if takes_beta {
                    beta.next().map(f64::from)
                } else {
                    None
                },
            }
        })
        .collect())
}

/// What one direction works with; all without the axis of directions.
struct Layer {
    x: TensorId,
    w: TensorId,
    r: TensorId,
    bias: Option<(TensorId, TensorId)>,
    peepholes: Option<TensorId>,
    h: TensorId,
    state: TensorId,
    functions: Vec<Function>,
}

fn recurrent(c: &mut Import<'_>, n: &Node<'_>, cell: Cell) -> Result<Vec<TensorId>> {
    let mut x = n.input(0)?;
    let batch_first = n.flag("layout", false)?;
    if c.rank(x) != 3 {
        return Err(Error::model(format!(
            "expected [T,B,I], found {:?}",
            c.shape(x)
        )));
    }
    if batch_first {
        x = c.permute(x, &[1, 0, 2])?;
    }
    let names = [
        ("forward", (true, false)),
        ("reverse", (false, true)),
        ("bidirectional", (true, true)),
    ];
    let (forward, backward) = n.choice("direction", &names)?;
    let directions = usize::from(forward) + usize::from(backward);
    let (w, r) = (n.input(1)?, n.input(2)?);
    let (dx, dw, dr) = (c.dims(x)?, c.dims(w)?, c.dims(r)?);
    let (steps, batch) = (dx[0], dx[1]);
    let gates = match cell {
        Cell::Rnn => 1,
        Cell::Gru => 3,
        Cell::Lstm => 4,
    };
    let hidden = dr.last().copied().unwrap_or(0);
    let d = directions as i64;
    let rows = hidden.saturating_mul(gates);
    if dw != [d, rows, dx[2]] || dr != [d, rows, hidden] {
        return Err(Error::model(format!(
            "weights {dw:?} and {dr:?} do not fit an input of {dx:?} in {d} directions"
        )));
    }
    if let Some(said) = n.int("hidden_size")?
        && said != hidden
    {
        return Err(Error::model(format!(
            "attribute 'hidden_size' is {said}, the weights have {hidden}"
        )));
    }
    let shapes = [
        (3, "B", vec![d, rows.saturating_mul(2)]),
        (4, "sequence_lens", vec![batch]),
        (5, "initial_h", state_shape(batch_first, d, batch, hidden)),
        (6, "initial_c", state_shape(batch_first, d, batch, hidden)),
        (7, "P", vec![d, hidden.saturating_mul(3)]),
    ];
    for (i, name, want) in shapes {
        if let Some(v) = n.optional(i)
            && c.shape(v) != want
        {
            return Err(Error::model(format!(
                "input {i} ({name}) has shape {:?}, expected {want:?}",
                c.shape(v)
            )));
        }
    }
    if !(1..=MAX_STEPS).contains(&steps) {
        return Err(Error::unsupported(format!("a sequence of {steps} steps")));
    }
    let lens = match n.optional(4) {
        None => None,
        Some(l) => {
            // Full sequences need no masks.
            let full = c
                .const_numbers(l)
                .is_some_and(|v| v.iter().all(|&x| x == steps as f64));
            if full { None } else { Some(l) }
        }
    };
    let functions = functions(n, cell, directions)?;
    let per = functions.len() / directions;
    let mut all = Vec::new();
    let mut last_h = Vec::new();
    let mut last_c = Vec::new();
    for k in 0..directions {
        let reverse = !forward || k == 1;
        let at = k as i64;
        let part = |c: &mut Import<'_>, i: usize| -> Result<Option<TensorId>> {
            let Some(v) = n.optional(i) else {
                return Ok(None);
            };
            let axis = usize::from(batch_first && (i == 5 || i == 6));
            let v = c.slice_axis(v, axis, at, 1)?;
            let mut dims = c.dims(v)?;
            dims.remove(axis);
            c.reshape(v, &dims).map(Some)
        };
        let missing = || Error::bug("weights of a direction");
        let zero = c.number(0.0, c.dtype(x))?;
        let zeros = c.broadcast(zero, &[batch, hidden])?;
        let bias = match part(c, 3)? {
            None => None,
            Some(b) => Some((
                c.slice_axis(b, 0, 0, rows)?,
                c.slice_axis(b, 0, rows, rows)?,
            )),
        };
        let layer = Layer {
            x: if reverse { reversed(c, x, lens)? } else { x },
            w: part(c, 1)?.ok_or_else(missing)?,
            r: part(c, 2)?.ok_or_else(missing)?,
            bias,
            peepholes: if cell == Cell::Lstm {
                part(c, 7)?
            } else {
                None
            },
            h: part(c, 5)?.unwrap_or(zeros),
            state: if cell == Cell::Lstm {
                part(c, 6)?.unwrap_or(zeros)
            } else {
                zeros
            },
            functions: functions[k * per..(k + 1) * per].to_vec(),
        };
        let (mut y, h, s) = run(c, n, cell, &layer, lens, (steps, batch, hidden))?;
        if reverse {
            y = reversed(c, y, lens)?;
        }
        all.push(c.unsqueeze(y, 1)?);
        last_h.push(c.unsqueeze(h, 0)?);
        last_c.push(c.unsqueeze(s, 0)?);
    }
    let mut y = c.concat(&all, 1)?;
    let mut h = c.concat(&last_h, 0)?;
    let mut s = c.concat(&last_c, 0)?;
    if batch_first {
        y = c.permute(y, &[2, 0, 1, 3])?;
        h = c.permute(h, &[1, 0, 2])?;
        s = c.permute(s, &[1, 0, 2])?;
    }
    Ok(if cell == Cell::Lstm {
        vec![y, h, s]
    } else {
        vec![y, h]
    })
}

fn state_shape(batch_first: bool, directions: i64, batch: i64, hidden: i64) -> Vec<i64> {
    if batch_first {
        vec![batch, directions, hidden]
    } else {
        vec![directions, batch, hidden]
    }
}

/// The sequence backwards; with lengths, each its own part.
fn reversed(c: &mut Import<'_>, x: TensorId, lens: Option<TensorId>) -> Result<TensorId> {
    let Some(lens) = lens else {
        return c.flip(x, &[0]);
    };
    let dims = c.dims(x)?;
    let lens = c.cast(lens, DType::I64)?;
    let lens = c.reshape(lens, &[1, dims[1], 1])?;
    let place = c.iota_along(dims[0], DType::I64, 0, 3)?;
    let last = c.add_number(lens, -1.0)?;
    let mirrored = c.sub(last, place)?;
    let inside = c.lt(place, lens)?;
    let index = c.select(inside, mirrored, place)?;
    let index = c.broadcast(index, &dims)?;
    c.gather_elements(x, index, 0)
}

type Run = (TensorId, TensorId, TensorId);

fn run(
    c: &mut Import<'_>,
    n: &Node<'_>,
    cell: Cell,
    layer: &Layer,
    lens: Option<TensorId>,
    (steps, batch, hidden): (i64, i64, i64),
) -> Result<Run> {
    let linear_before_reset = n.flag("linear_before_reset", false)?;
    let coupled = n.flag("input_forget", false)?;
    let clip = n.float("clip")?.map(f64::from);
    let w = c.permute(layer.w, &[1, 0])?;
    let r = c.permute(layer.r, &[1, 0])?;
    let mut projected = matmul(c, layer.x, w)?;
    if let Some((wb, rb)) = layer.bias {
        projected = c.add(projected, wb)?;
        if cell != Cell::Gru {
            projected = c.add(projected, rb)?;
        }
    }
    let (mut h, mut s) = (layer.h, layer.state);
    let rows = c.dims(projected)?[2];
    let lens = match lens {
        None => None,
        Some(l) => {
            let l = c.cast(l, DType::I64)?;
            Some(c.reshape(l, &[batch, 1])?)
        }
    };
    let f = &layer.functions;
    let gate = |c: &mut Import<'_>, x: TensorId, k: i64| c.slice_axis(x, 1, k * hidden, hidden);
    let act = |c: &mut Import<'_>, k: usize, x: TensorId| -> Result<TensorId> {
        let x = match clip {
            None => x,
            Some(limit) => {
                let high = c.number(limit, c.dtype(x))?;
                let low = c.number(-limit, c.dtype(x))?;
                let x = c.binary(Binary::Min, x, high)?;
                c.binary(Binary::Max, x, low)?
            }
        };
        f[k].apply(c, x)
    };
    let peephole = |c: &mut Import<'_>, x: TensorId, k: i64, s: TensorId| -> Result<TensorId> {
        let Some(p) = layer.peepholes else {
            return Ok(x);
        };
        let p = c.slice_axis(p, 0, k * hidden, hidden)?;
        let part = c.mul(p, s)?;
        c.add(x, part)
    };
    let mut outputs = Vec::new();
    for t in 0..steps {
        let xt = c.slice_axis(projected, 0, t, 1)?;
        let xt = c.reshape(xt, &[batch, rows])?;
        let (new_h, new_s) = match cell {
            Cell::Rnn => {
                let rh = matmul(c, h, r)?;
                let sum = c.add(xt, rh)?;
                (act(c, 0, sum)?, s)
            }
            Cell::Lstm => {
                // Gates in the order input, output, forget, cell.
                let rh = matmul(c, h, r)?;
                let sum = c.add(xt, rh)?;
                let (i, o) = (gate(c, sum, 0)?, gate(c, sum, 1)?);
                let (fg, g) = (gate(c, sum, 2)?, gate(c, sum, 3)?);
                let i = peephole(c, i, 0, s)?;
                let i = act(c, 0, i)?;
                let fg = if coupled {
                    c.number_minus(1.0, i)?
                } else {
                    let fg = peephole(c, fg, 2, s)?;
                    act(c, 0, fg)?
                };
                let g = act(c, 1, g)?;
                let kept = c.mul(fg, s)?;
                let fresh = c.mul(i, g)?;
                let cell_state = c.add(kept, fresh)?;
                let o = peephole(c, o, 1, cell_state)?;
                let o = act(c, 0, o)?;
                let shown = f[2].apply(c, cell_state)?;
                (c.mul(o, shown)?, cell_state)
            }
            Cell::Gru => {
                // Gates in the order update, reset, hidden.
                let r_gates = c.slice_axis(r, 1, 0, 2 * hidden)?;
                let r_hidden = c.slice_axis(r, 1, 2 * hidden, hidden)?;
                let mut rh = matmul(c, h, r_gates)?;
                let mut hidden_bias = None;
                if let Some((_, rb)) = layer.bias {
                    let b = c.slice_axis(rb, 0, 0, 2 * hidden)?;
                    rh = c.add(rh, b)?;
                    hidden_bias = Some(c.slice_axis(rb, 0, 2 * hidden, hidden)?);
                }
                let x_gates = c.slice_axis(xt, 1, 0, 2 * hidden)?;
                let sum = c.add(x_gates, rh)?;
                let z = gate(c, sum, 0)?;
                let z = act(c, 0, z)?;
                let reset = gate(c, sum, 1)?;
                let reset = act(c, 0, reset)?;
                let add_bias = |c: &mut Import<'_>, v: TensorId| match hidden_bias {
                    None => Ok(v),
                    Some(b) => c.add(v, b),
                };
                let inner = if linear_before_reset {
                    let v = matmul(c, h, r_hidden)?;
                    let v = add_bias(c, v)?;
                    c.mul(reset, v)?
                } else {
                    let v = c.mul(reset, h)?;
                    let v = matmul(c, v, r_hidden)?;
                    add_bias(c, v)?
                };
                let x_hidden = gate(c, xt, 2)?;
                let sum = c.add(x_hidden, inner)?;
                let fresh = act(c, 1, sum)?;
                let rest = c.number_minus(1.0, z)?;
                let a = c.mul(rest, fresh)?;
                let b = c.mul(z, h)?;
                (c.add(a, b)?, s)
            }
        };
        let mut shown = new_h;
        if let Some(lens) = lens {
            // After its end a sequence keeps its state and shows zeros.
            let t = c.integer(t, DType::I64)?;
            let runs = c.lt(t, lens)?;
            let zero = c.number(0.0, c.dtype(new_h))?;
            shown = c.select(runs, new_h, zero)?;
            h = c.select(runs, new_h, h)?;
            s = c.select(runs, new_s, s)?;
        } else {
            (h, s) = (new_h, new_s);
        }
        outputs.push(c.unsqueeze(shown, 0)?);
    }
    Ok((c.concat(&outputs, 0)?, h, s))
}
