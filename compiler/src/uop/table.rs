//! The table of operations: text name, attributes, number of sources and one sentence for each.
//!
//! In: an [`Op`]. Out: its name and attributes as words, and back. The text form and `docs/uop.md` are made from
//! this table, so an operation without a row does not print.
//!
//! Example: `Op::Range { id: 0, axis: Axis::Loop }` is `range 0 loop`.

use super::ops::{Axis, Binary, Op, ReduceOp, Unary};

/// Names of the lanes that an `unzip` takes.
const PARITY: [&str; 2] = ["even", "odd"];

const UNARY: &[(&str, Unary)] = &[
    ("neg", Unary::Neg),
    ("not", Unary::Not),
    ("abs", Unary::Abs),
    ("sqrt", Unary::Sqrt),
    ("exp", Unary::Exp),
    ("exp2", Unary::Exp2),
    ("log", Unary::Log),
    ("log2", Unary::Log2),
    ("sin", Unary::Sin),
    ("cos", Unary::Cos),
    ("tan", Unary::Tan),
    ("atan", Unary::Atan),
    ("tanh", Unary::Tanh),
    ("erf", Unary::Erf),
    ("floor", Unary::Floor),
    ("ceil", Unary::Ceil),
    ("trunc", Unary::Trunc),
    ("round", Unary::Round),
    ("isnan", Unary::IsNan),
];

const BINARY: &[(&str, Binary)] = &[
    ("add", Binary::Add),
    ("sub", Binary::Sub),
    ("mul", Binary::Mul),
    ("div", Binary::Div),
    ("rem", Binary::Rem),
    ("floordiv", Binary::FloorDiv),
    ("floormod", Binary::FloorMod),
    ("max", Binary::Max),
    ("min", Binary::Min),
    ("pow", Binary::Pow),
    ("and", Binary::And),
    ("or", Binary::Or),
    ("xor", Binary::Xor),
    ("shl", Binary::Shl),
    ("shr", Binary::Shr),
    ("lt", Binary::Lt),
    ("le", Binary::Le),
    ("eq", Binary::Eq),
    ("ne", Binary::Ne),
];

const REDUCE: &[(&str, ReduceOp)] = &[
    ("sum", ReduceOp::Sum),
    ("max", ReduceOp::Max),
    ("min", ReduceOp::Min),
    ("prod", ReduceOp::Prod),
    ("all", ReduceOp::All),
    ("any", ReduceOp::Any),
];

const AXIS: &[(&str, Axis)] = &[
    ("loop", Axis::Loop),
    ("serial", Axis::Serial),
    ("parallel", Axis::Parallel),
    ("unroll", Axis::Unroll),
    ("vector", Axis::Vector),
    ("local", Axis::Local),
    ("group", Axis::Group),
    ("matrix", Axis::Matrix),
];

/// One row: name, attributes, least and most sources, one sentence.
pub(super) struct Row {
    pub name: &'static str,
    pub attributes: &'static [&'static str],
    pub sources: (usize, usize),
    pub doc: &'static str,
}

const MANY: usize = usize::MAX;

const fn row(
    name: &'static str,
    attributes: &'static [&'static str],
    sources: (usize, usize),
    doc: &'static str,
) -> Row {
    Row {
        name,
        attributes,
        sources,
        doc,
    }
}

/// Operations other than one- and two-source arithmetic.
pub(super) const ROWS: &[Row] = &[
    row(
        "const",
        &["value"],
        (0, 0),
        "A constant, printed where it is used: `16` for an index, `f32(0.5)` for other types.",
    ),
    row(
        "lanes",
        &["start"],
        (0, 0),
        "The vector `start, start+1, ...`.",
    ),
    row(
        "param",
        &["slot"],
        (0, 0),
        "Buffer parameter of the kernel.",
    ),
    row(
        "local",
        &["id", "len"],
        (0, 0),
        "Scratch memory of one thread or work-group.",
    ),
    row(
        "tile",
        &["id", "len"],
        (2, MANY),
        "Value, place, range...: memory of a work-group that holds the value of each iteration at its place.",
    ),
    row(
        "filled",
        &[],
        (2, MANY),
        "Local, store...: that memory after the stores of all threads of the work-group (codegen only).",
    ),
    row(
        "var",
        &["slot", "min", "max"],
        (0, 0),
        "A run-time scalar with bounds.",
    ),
    row(
        "range",
        &["id", "axis"],
        (1, 1),
        "A loop counter from 0 to its extent less one; lower ids are outer loops.",
    ),
    row("load", &[], (1, MANY), "Buffer, index...: reads."),
    row(
        "load.gated",
        &[],
        (3, MANY),
        "Buffer, gate, alternative, index...: reads where the gate is true, else gives the alternative.",
    ),
    row(
        "store",
        &[],
        (2, MANY),
        "Buffer, value, index...: writes; its free ranges are its loops.",
    ),
    row(
        "store.gated",
        &[],
        (3, MANY),
        "Buffer, value, gate, index...: writes where the gate is true.",
    ),
    row("where", &[], (3, 3), "Condition, then, else."),
    row(
        "muladd",
        &[],
        (3, 3),
        "a*b + c with one rounding where the target has it.",
    ),
    row("cast", &[], (1, 1), "Value conversion."),
    row(
        "bitcast",
        &[],
        (1, 1),
        "Same bits, other type of the same size.",
    ),
    row(
        "reduce",
        &["op"],
        (2, MANY),
        "Value, range...: combines the value over the ranges.",
    ),
    row("splat", &[], (1, 1), "The scalar in every lane."),
    row("stack", &[], (1, MANY), "A vector from scalars."),
    row("lane", &["number"], (1, 1), "One lane of a vector."),
    row(
        "zip",
        &["half"],
        (2, 2),
        "Lanes of two vectors in turns: of their low or their high halves.",
    ),
    row(
        "unzip",
        &["of first", "of second"],
        (2, 2),
        "Every second lane of two vectors one after the other: their even or their odd ones.",
    ),
    row(
        "fold",
        &["op"],
        (1, 1),
        "Combines all lanes into a scalar, pairwise.",
    ),
    row(
        "sink",
        &[],
        (0, MANY),
        "Root of a kernel: its stores are nests, which share the loops of ranges they have in common; in codegen a sink in it is a nest of several stores, and of loops around them that they do not depend on.",
    ),
    row(
        "acc",
        &["id"],
        (1, 1),
        "A mutable register with its first value (linear lists only).",
    ),
    row(
        "assign",
        &[],
        (2, 2),
        "Register, value: writes the register (linear lists only).",
    ),
    row(
        "read",
        &["number"],
        (1, 1),
        "The register's value at this place of the list (linear lists only).",
    ),
    row(
        "matrix",
        &["rows", "columns", "depth"],
        (2, 3),
        "Rows, columns, sum: the product of two matrices that a wave holds, plus the sum, which only linear lists have.",
    ),
    row(
        "element",
        &[],
        (2, 2),
        "Vector, index: the lane with this number, a constant once loops are unrolled.",
    ),
    row(
        "groupfold",
        &["op", "threads"],
        (1, 1),
        "Combines a value over each run of so many threads of a work-group (linear lists only).",
    ),
    row(
        "barrier",
        &[],
        (0, 0),
        "All threads of a work-group wait for each other (linear lists only).",
    ),
    row(
        "prefetch",
        &[],
        (2, 2),
        "Buffer, index: brings the cache line of an element nearer; the index may lie outside (linear lists only).",
    ),
    row(
        "prefetch.far",
        &[],
        (2, 2),
        "Buffer, index: brings the cache line of an element into the second-level cache; the index may lie outside (linear lists only).",
    ),
    row(
        "loop",
        &[],
        (1, 1),
        "Opens the loop of a range (linear lists only).",
    ),
    row("endloop", &[], (1, 1), "Closes it (linear lists only)."),
    row(
        "if",
        &[],
        (1, 1),
        "Opens a guarded block (linear lists only).",
    ),
    row("endif", &[], (0, MANY), "Closes it (linear lists only)."),
];

fn name_of<T: PartialEq + Copy>(table: &[(&'static str, T)], value: T) -> &'static str {
    table.iter().find(|r| r.1 == value).map_or("?", |r| r.0)
}

fn find<T: Copy>(table: &[(&'static str, T)], name: &str) -> Option<T> {
    table.iter().find(|r| r.0 == name).map(|r| r.1)
}

/// Name and attributes of an operation as the text form has them. Constants have none.
pub(super) fn words(op: Op) -> String {
    match op {
        Op::Const(bits) => format!("const {bits}"),
        Op::Lanes(start) => format!("lanes {start}"),
        Op::Param { slot } => format!("param {slot}"),
        Op::Local { id, len } => format!("local {id} {len}"),
        Op::Tile { id, len } => format!("tile {id} {len}"),
        Op::Filled => "filled".into(),
        Op::Barrier => "barrier".into(),
        Op::Var { slot, min, max } => format!("var {slot} {min} {max}"),
        Op::Range { id, axis } => format!("range {id} {}", name_of(AXIS, axis)),
        Op::Load { gated: false } => "load".into(),
        Op::Load { gated: true } => "load.gated".into(),
        Op::Store { gated: false } => "store".into(),
        Op::Store { gated: true } => "store.gated".into(),
        Op::Unary(op) => name_of(UNARY, op).into(),
        Op::Binary(op) => name_of(BINARY, op).into(),
        Op::Where => "where".into(),
        Op::MulAdd => "muladd".into(),
        Op::Matrix {
            rows,
            columns,
            depth,
        } => format!("matrix {rows} {columns} {depth}"),
        Op::Element => "element".into(),
        Op::Cast => "cast".into(),
        Op::Bitcast => "bitcast".into(),
        Op::Reduce(op) => format!("reduce {}", name_of(REDUCE, op)),
        Op::Splat => "splat".into(),
        Op::Stack => "stack".into(),
        Op::Lane(n) => format!("lane {n}"),
        Op::Zip { high } => format!("zip {}", if high { "high" } else { "low" }),
        Op::Unzip { odd: [a, b] } => format!(
            "unzip {} {}",
            PARITY[usize::from(a)],
            PARITY[usize::from(b)]
        ),
        Op::Fold(op) => format!("fold {}", name_of(REDUCE, op)),
        Op::Sink => "sink".into(),
        Op::Acc { id } => format!("acc {id}"),
        Op::Assign => "assign".into(),
        Op::Read(n) => format!("read {n}"),
        Op::GroupFold { op, threads } => format!("groupfold {} {threads}", name_of(REDUCE, op)),
        Op::Prefetch { far: false } => "prefetch".into(),
        Op::Prefetch { far: true } => "prefetch.far".into(),
        Op::Loop => "loop".into(),
        Op::EndLoop => "endloop".into(),
        Op::If => "if".into(),
        Op::EndIf => "endif".into(),
    }
}

/// Number of attribute words after a name; `None` for an unknown name.
pub(super) fn attributes(name: &str) -> Option<usize> {
    if find(UNARY, name).is_some() || find(BINARY, name).is_some() {
        return Some(0);
    }
    ROWS.iter()
        .find(|r| r.name == name)
        .map(|r| r.attributes.len())
}

/// The operation behind a name and its attributes.
pub(super) fn operation(name: &str, attributes: &[&str]) -> Option<Op> {
    if let Some(op) = find(UNARY, name) {
        return Some(Op::Unary(op));
    }
    if let Some(op) = find(BINARY, name) {
        return Some(Op::Binary(op));
    }
    let word = |n: usize| attributes.get(n).copied();
    Some(match name {
        "lanes" => Op::Lanes(word(0)?.parse().ok()?),
        "param" => Op::Param {
            slot: word(0)?.parse().ok()?,
        },
        "local" => Op::Local {
            id: word(0)?.parse().ok()?,
            len: word(1)?.parse().ok()?,
        },
        "tile" => Op::Tile {
            id: word(0)?.parse().ok()?,
            len: word(1)?.parse().ok()?,
        },
        "filled" => Op::Filled,
        "barrier" => Op::Barrier,
        "var" => Op::Var {
            slot: word(0)?.parse().ok()?,
            min: word(1)?.parse().ok()?,
            max: word(2)?.parse().ok()?,
        },
        "range" => Op::Range {
            id: word(0)?.parse().ok()?,
            axis: find(AXIS, word(1)?)?,
        },
        "load" => Op::Load { gated: false },
        "load.gated" => Op::Load { gated: true },
        "store" => Op::Store { gated: false },
        "store.gated" => Op::Store { gated: true },
        "where" => Op::Where,
        "muladd" => Op::MulAdd,
        "matrix" => Op::Matrix {
            rows: word(0)?.parse().ok()?,
            columns: word(1)?.parse().ok()?,
            depth: word(2)?.parse().ok()?,
        },
        "element" => Op::Element,
        "cast" => Op::Cast,
        "bitcast" => Op::Bitcast,
        "reduce" => Op::Reduce(find(REDUCE, word(0)?)?),
        "splat" => Op::Splat,
        "stack" => Op::Stack,
        "lane" => Op::Lane(word(0)?.parse().ok()?),
        "zip" => Op::Zip {
            high: match word(0)? {
                "high" => true,
                "low" => false,
                _ => return None,
            },
        },
        "unzip" => {
            let odd = |n: usize| {
                PARITY
                    .iter()
                    .position(|p| Some(*p) == word(n))
                    .map(|n| n == 1)
            };
            Op::Unzip {
                odd: [odd(0)?, odd(1)?],
            }
        }
        "fold" => Op::Fold(find(REDUCE, word(0)?)?),
        "sink" => Op::Sink,
        "acc" => Op::Acc {
            id: word(0)?.parse().ok()?,
        },
        "assign" => Op::Assign,
        "read" => Op::Read(word(0)?.parse().ok()?),
        "groupfold" => Op::GroupFold {
            op: find(REDUCE, word(0)?)?,
            threads: word(1)?.parse().ok()?,
        },
        "prefetch" => Op::Prefetch { far: false },
        "prefetch.far" => Op::Prefetch { far: true },
        "loop" => Op::Loop,
        "endloop" => Op::EndLoop,
        "if" => Op::If,
        "endif" => Op::EndIf,
        _ => return None,
    })
}

/// Least and most sources of an operation.
pub(super) fn arity(op: Op) -> (usize, usize) {
    match op {
        Op::Unary(_) => (1, 1),
        Op::Binary(_) => (2, 2),
        op => {
            let words = words(op);
            let name = words.split(' ').next().unwrap_or_default();
            ROWS.iter()
                .find(|r| r.name == name)
                .map_or((0, MANY), |r| r.sources)
        }
    }
}

/// `docs/uop.md`: every operation with its attributes and sources.
pub fn document() -> String {
    let mut out = String::from(
        "# Operations of the kernel IR\n\nGenerated from `compiler/src/uop/table.rs` by its test \
         (`TINYC_BLESS=1 cargo test -p tinyc-compiler uop::table`); do not edit.\n\n\
         A line of the text form is `%name = OPERATION attributes sources : type`.\n\n\
         | operation | attributes | sources | meaning |\n|---|---|---|---|\n",
    );
    for row in ROWS {
        let sources = match row.sources {
            (a, MANY) => format!("{a} or more"),
            (a, _) => a.to_string(),
        };
        out += &format!(
            "| `{}` | {} | {sources} | {} |\n",
            row.name,
            row.attributes.join(" "),
            row.doc
        );
    }
    let names = |all: Vec<&str>| {
        all.iter()
            .map(|n| format!("`{n}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    out += &format!(
        "\nOne source: {}.\n\nTwo sources: {}.\n\nReductions: {}.\n\nAxes: {}.\n",
        names(UNARY.iter().map(|r| r.0).collect()),
        names(BINARY.iter().map(|r| r.0).collect()),
        names(REDUCE.iter().map(|r| r.0).collect()),
        names(AXIS.iter().map(|r| r.0).collect()),
    );
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_document_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/uop.md");
        if std::env::var_os("TINYC_BLESS").is_some() {
            std::fs::write(path, document()).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            document(),
            "TINYC_BLESS=1 rewrites docs/uop.md"
        );
    }

    #[test]
    fn every_row_has_an_operation() {
        for row in ROWS.iter().filter(|r| r.name != "const") {
            let words: Vec<&str> = row
                .attributes
                .iter()
                .map(|a| match *a {
                    "op" => "sum",
                    "axis" => "loop",
                    "half" => "low",
                    "of first" | "of second" => "odd",
                    _ => "1",
                })
                .collect();
            let op = operation(row.name, &words).unwrap();
            let text: Vec<&str> = [row.name].into_iter().chain(words).collect();
            assert_eq!(super::words(op), text.join(" "));
        }
    }
}
