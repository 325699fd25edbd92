//! Every operation over wide inputs of every type, scalar and in vectors.

use crate::harness::{Case, check, kernel, param};
use tinyc_compiler::program::Access;
use tinyc_compiler::program::interp::Scalar;
use tinyc_compiler::uop::{Axis, Binary, DType, Op, ReduceOp, Type, Unary, UopId, Uops};

const N: i64 = 4096;

/// Applies `build` to `inputs` element by element; `lanes` 1 is a plain loop.
fn case(
    inputs: &[(DType, Vec<Scalar>)],
    to: DType,
    lanes: i64,
    build: &dyn Fn(&mut Uops, &[UopId]) -> UopId,
) -> Case {
    let n = inputs[0].1.len() as i64;
    let mut g = Uops::new();
    let outer = g.index(n / lanes);
    let outer = g.range(0, outer, Axis::Loop);
    let mut index = g.mul_const(outer, lanes);
    if lanes > 1 {
        let l = g.index(lanes);
        let l = g.range(1, l, Axis::Vector);
        index = g.add(index, l);
    }
    let mut params = Vec::new();
    let mut memory = Vec::new();
    let mut values = Vec::new();
    for (slot, (dtype, data)) in inputs.iter().enumerate() {
        let p = g.param(slot as u32, *dtype);
        values.push(g.load(p, &[index]));
        params.push(param(*dtype, &[n], Access::Read));
        memory.push(data.clone());
    }
    let value = build(&mut g, &values);
    let y = g.param(inputs.len() as u32, to);
    let store = g.store(y, value, &[index]);
    params.push(param(to, &[n], Access::Write));
    memory.push(vec![zero(to); n as usize]);
    Case {
        kernel: kernel(g, &[store], params),
        memory,
        workers: 1,
    }
}

fn zero(dtype: DType) -> Scalar {
    if dtype.is_float() {
        Scalar::Float(0.0)
    } else {
        Scalar::Int(0)
    }
}

fn noise(seed: u64, i: u64) -> u64 {
    let mut x =
        (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed.wrapping_mul(0xD1B5_4A32_D192_ED03);
    x ^= x >> 30;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 27;
    x.wrapping_mul(0x94D0_49BB_1331_11EB) ^ (x >> 31)
}

/// Special values, then random ones: all exponents, and a dense part around 0.
fn data(dtype: DType, seed: u64) -> Vec<Scalar> {
    let round = |v: f64| match dtype {
        DType::F16 => half::f16::from_f64(v).to_f64(),
        DType::BF16 => half::bf16::from_f64(v).to_f64(),
        DType::F32 => f64::from(v as f32),
        _ => v,
    };
    (0..N as u64)
        .map(|i| {
            let r = noise(seed, i);
            let rotated = (i + seed * 7) as usize;
            if dtype.is_float() {
                let special = [
                    0.0,
                    -0.0,
                    1.0,
                    -1.0,
                    f64::INFINITY,
                    f64::NEG_INFINITY,
                    f64::NAN,
                    0.5,
                    -0.5,
                    2.5,
                    3.5,
                    -2.5,
                    1e-40,
                    -1e-40,
                    1e38,
                    -1e38,
                    8_388_609.0,
                    -8_388_607.5,
                    88.7,
                    -87.5,
                    -103.9,
                    2_147_483_648.0,
                    -2_147_483_648.0,
                    4_294_967_296.0,
                    1e20,
                    255.5,
                    65_504.0,
                    1.5,
                    -1.5,
                    3.0,
                    -7.0,
                    2.0,
                ];
                let v = if i < 512 {
                    special[rotated % special.len()]
                } else if i < 1024 {
                    f64::from(f32::from_bits(r as u32))
                } else {
                    let unit = (r >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0;
                    unit * [1.0, 4.0, 20.0, 90.0, 1000.0][(i % 5) as usize]
                };
                Scalar::Float(round(if v.is_nan() { f64::NAN } else { v }))
            } else if dtype == DType::Bool {
                Scalar::Int((r & 1) as i64)
            } else {
                let (low, high) = dtype.int_bounds().unwrap();
                let special = [0, 1, -1, 2, 7, -7, low, high, low + 1, high - 1, 31, 63];
                let v = if i < 512 {
                    special[rotated % special.len()]
                } else if i < 2048 {
                    (r as i64) >> 32
                } else {
                    r as i64 % 100
                };
                Scalar::Int(wrap(dtype, v))
            }
        })
        .collect()
}

fn wrap(dtype: DType, v: i64) -> i64 {
    match dtype {
        DType::I8 => i64::from(v as i8),
        DType::I16 => i64::from(v as i16),
        DType::I32 => i64::from(v as i32),
        DType::U8 => i64::from(v as u8),
        DType::U16 => i64::from(v as u16),
        DType::U32 => i64::from(v as u32),
        _ => v,
    }
}

const FLOATS: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];
const INTS: [DType; 8] = [
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
];

fn unaries(dtypes: &[DType], ops: &[Unary], most: f64) {
    let (mut cases, mut names) = (Vec::new(), Vec::new());
    for &d in dtypes {
        for &op in ops {
            for lanes in [1, 16] {
                let to = if op == Unary::IsNan { DType::Bool } else { d };
                cases.push(case(&[(d, data(d, 1))], to, lanes, &|g, v| {
                    g.unary(op, v[0])
                }));
                names.push(format!("{op:?} {d} x{lanes}"));
            }
        }
    }
    check(&cases, &names, most);
}

fn binaries(dtypes: &[DType], ops: &[Binary], most: f64) {
    let (mut cases, mut names) = (Vec::new(), Vec::new());
    for &d in dtypes {
        for &op in ops {
            for lanes in [1, 16] {
                let to = if op.is_compare() { DType::Bool } else { d };
                let inputs = [(d, data(d, 1)), (d, data(d, 2))];
                cases.push(case(&inputs, to, lanes, &|g, v| g.binary(op, v[0], v[1])));
                names.push(format!("{op:?} {d} x{lanes}"));
            }
        }
    }
    check(&cases, &names, most);
}

#[test]
fn exact_unaries() {
    unaries(
        &FLOATS,
        &[
            Unary::Neg,
            Unary::Abs,
            Unary::Sqrt,
            Unary::Floor,
            Unary::Ceil,
            Unary::Trunc,
            Unary::Round,
            Unary::IsNan,
        ],
        0.5,
    );
    unaries(&INTS, &[Unary::Neg, Unary::Abs, Unary::Not], 0.0);
    unaries(&[DType::Bool], &[Unary::Not], 0.0);
}

#[test]
fn transcendental_f32() {
    unaries(
        &[DType::F32],
        &[
            Unary::Exp,
            Unary::Exp2,
            Unary::Log,
            Unary::Log2,
            Unary::Sin,
            Unary::Cos,
            Unary::Tan,
            Unary::Atan,
            Unary::Tanh,
        ],
        2.5,
    );
    unaries(&[DType::F32], &[Unary::Erf], 4.0);
}

/// Where an exponential is expanded in one step: sums with one, and differences from a maximum, which here is not of the same row.
#[test]
fn exponentials_with_easy_ends() {
    let some: Vec<Scalar> = (0..N as u64)
        .map(|i| {
            let unit = (noise(9, i) >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0;
            Scalar::Float(f64::from((40.0 * unit) as f32))
        })
        .collect();
    let (mut cases, mut names) = (Vec::new(), Vec::new());
    for lanes in [1, 16] {
        cases.push(case(
            &[(DType::F32, data(DType::F32, 1))],
            DType::F32,
            lanes,
            &|g, v| {
                let e = g.unary(Unary::Exp, v[0]);
                let one = g.float(DType::F32, 1.0);
                g.binary(Binary::Add, e, one)
            },
        ));
        names.push(format!("1 + exp x{lanes}"));
        cases.push(case(
            &[(DType::F32, some.clone())],
            DType::F32,
            lanes,
            &|g, v| {
                let n = g.index(16);
                let k = g.range(7, n, Axis::Loop);
                let p = g.param(0, DType::F32);
                let other = g.load(p, &[k]);
                let most = g.reduce(ReduceOp::Max, other, &[k]);
                let zero = g.float(DType::F32, 0.0);
                let four = g.float(DType::F32, 4.0);
                let x = g.binary(Binary::Max, v[0], zero);
                let x = g.binary(Binary::Mul, x, four);
                let x = g.binary(Binary::Sub, x, most);
                g.unary(Unary::Exp, x)
            },
        ));
        names.push(format!("exp of a difference x{lanes}"));
    }
    check(&cases, &names, 2.5);
}

#[test]
fn transcendental_halves() {
    unaries(
        &[DType::F16, DType::BF16],
        &[
            Unary::Exp,
            Unary::Exp2,
            Unary::Log,
            Unary::Log2,
            Unary::Sin,
            Unary::Cos,
            Unary::Tan,
            Unary::Atan,
            Unary::Tanh,
            Unary::Erf,
        ],
        1.0,
    );
}

#[test]
fn transcendental_f64() {
    unaries(
        &[DType::F64],
        &[
            Unary::Exp,
            Unary::Exp2,
            Unary::Log,
            Unary::Log2,
            Unary::Atan,
            Unary::Tanh,
            Unary::Erf,
        ],
        450.0,
    );
}

#[test]
fn float_binaries() {
    binaries(
        &FLOATS,
        &[
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::Div,
            Binary::Max,
            Binary::Min,
            Binary::Lt,
            Binary::Le,
            Binary::Eq,
            Binary::Ne,
            Binary::Rem,
        ],
        0.5,
    );
}

#[test]
fn powers() {
    binaries(&[DType::F32], &[Binary::Pow], 2.5);
}

#[test]
fn integer_binaries() {
    binaries(
        &INTS,
        &[
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::Div,
            Binary::Rem,
            Binary::FloorDiv,
            Binary::FloorMod,
            Binary::Max,
            Binary::Min,
            Binary::And,
            Binary::Or,
            Binary::Xor,
            Binary::Lt,
            Binary::Le,
            Binary::Eq,
            Binary::Ne,
        ],
        0.0,
    );
    binaries(
        &[DType::Bool],
        &[Binary::And, Binary::Or, Binary::Xor, Binary::Eq, Binary::Ne],
        0.0,
    );
}

#[test]
fn shifts() {
    let (mut cases, mut names) = (Vec::new(), Vec::new());
    for d in INTS {
        for op in [Binary::Shl, Binary::Shr] {
            for lanes in [1, 16] {
                let amounts: Vec<Scalar> = (0..N)
                    .map(|i| Scalar::Int(i % (d.size() as i64 * 8)))
                    .collect();
                let inputs = [(d, data(d, 1)), (d, amounts)];
                cases.push(case(&inputs, d, lanes, &|g, v| g.binary(op, v[0], v[1])));
                names.push(format!("{op:?} {d} x{lanes}"));
            }
        }
    }
    check(&cases, &names, 0.0);
}

#[test]
fn casts() {
    let (mut cases, mut names) = (Vec::new(), Vec::new());
    for from in DType::STORABLE {
        for to in DType::STORABLE {
            for lanes in [1, 16] {
                if from != to {
                    let inputs = [(from, data(from, 3))];
                    cases.push(case(&inputs, to, lanes, &|g, v| g.cast(v[0], to)));
                    names.push(format!("{from} to {to} x{lanes}"));
                }
            }
        }
    }
    check(&cases, &names, 0.5);
}

#[test]
fn selects() {
    let (mut cases, mut names) = (Vec::new(), Vec::new());
    for d in DType::STORABLE {
        for lanes in [1, 16] {
            let inputs = [
                (DType::Bool, data(DType::Bool, 5)),
                (d, data(d, 1)),
                (d, data(d, 2)),
            ];
            cases.push(case(&inputs, d, lanes, &|g, v| g.select(v[0], v[1], v[2])));
            names.push(format!("select {d} x{lanes}"));
        }
    }
    check(&cases, &names, 0.0);
}

#[test]
fn bitcasts() {
    let (mut cases, mut names) = (Vec::new(), Vec::new());
    for (a, b) in [
        (DType::F32, DType::U32),
        (DType::I32, DType::F32),
        (DType::F64, DType::I64),
        (DType::U64, DType::F64),
        (DType::I16, DType::U16),
    ] {
        for lanes in [1, 16] {
            let inputs = [(a, data(a, 1))];
            cases.push(case(&inputs, b, lanes, &|g, v| {
                g.add_node(
                    Op::Bitcast,
                    Type {
                        scalar: b,
                        lanes: 1,
                    },
                    [v[0]],
                )
            }));
            names.push(format!("{a} as {b} x{lanes}"));
        }
    }
    check(&cases, &names, 0.0);
}
