//! Random expressions keep their value; the cases that convolutions and reshapes make simplify fully.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::uop::{Axis, Bounds, fold_index};
use proptest::prelude::*;

fn eval(g: &Uops, id: UopId, values: &[i64]) -> i64 {
    let src: Vec<i64> = match g.op(id) {
        Op::Range { .. } => vec![],
        _ => g.src(id).iter().map(|&s| eval(g, s, values)).collect(),
    };
    match g.op(id) {
        Op::Const(bits) => bits as i64,
        Op::Range { id, .. } => values[id as usize],
        Op::Binary(Binary::And) => src[0] & src[1],
        Op::Binary(op) => fold_index(op, src[0], src[1]).unwrap(),
        Op::Where => src[if src[0] != 0 { 1 } else { 2 }],
        op => unreachable!("{op:?}"),
    }
}

/// A step of a random program on a stack of Index values.
#[derive(Debug, Clone)]
enum Step {
    Range(u8),
    Number(i64),
    Arith(u8),
    Divide(i64),
    Remainder(i64),
    Scale(i64),
    Select,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..4).prop_map(Step::Range),
        2 => (-20i64..40).prop_map(Step::Number),
        4 => (0u8..4).prop_map(Step::Arith),
        3 => (1i64..13).prop_map(Step::Divide),
        3 => (1i64..13).prop_map(Step::Remainder),
        3 => prop::sample::select(vec![-3i64, -1, 2, 3, 4, 6, 8, 12]).prop_map(Step::Scale),
        1 => Just(Step::Select),
    ]
}

const EXTENTS: [i64; 4] = [3, 4, 6, 8];

fn build(g: &mut Uops, steps: &[Step]) -> UopId {
    let mut stack = vec![g.index(5)];
    let ranges: Vec<UopId> = EXTENTS
        .iter()
        .enumerate()
        .map(|(n, &e)| {
            let e = g.index(e);
            g.range(n as u32, e, Axis::Loop)
        })
        .collect();
    for step in steps {
        match step {
            Step::Range(n) => stack.push(ranges[*n as usize]),
            Step::Number(n) => {
                let n = g.index(*n);
                stack.push(n);
            }
            Step::Arith(kind) if stack.len() > 1 => {
                let (b, a) = (stack.pop().unwrap(), stack.pop().unwrap());
                let op = [Binary::Add, Binary::Sub, Binary::Max, Binary::Min][*kind as usize];
                let n = g.binary(op, a, b);
                stack.push(n);
            }
            Step::Select if stack.len() > 2 => {
                let (c, b, a) = (
                    stack.pop().unwrap(),
                    stack.pop().unwrap(),
                    stack.pop().unwrap(),
                );
                let test = g.binary(Binary::Le, a, b);
                let n = g.select(test, b, c);
                stack.push(n);
            }
            Step::Divide(n) => {
                let a = stack.pop().unwrap();
                let n = g.div_const(a, *n);
                stack.push(n);
            }
            Step::Remainder(n) => {
                let a = stack.pop().unwrap();
                let n = g.mod_const(a, *n);
                stack.push(n);
            }
            Step::Scale(n) => {
                let a = stack.pop().unwrap();
                let n = g.mul_const(a, *n);
                stack.push(n);
            }
            _ => {}
        }
    }
    stack.into_iter().reduce(|a, b| g.add(a, b)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn keeps_the_value(steps in prop::collection::vec(step(), 1..24)) {
        let mut g = Uops::new();
        let before = build(&mut g, &steps);
        let after = simplify(&mut g, before);
        let (low, high) = Bounds::new().of(&g, before);
        for point in 0..(3 * 4 * 6 * 8) {
            let values = [point % 3, point / 3 % 4, point / 12 % 6, point / 72];
            let wanted = eval(&g, before, &values);
            prop_assert_eq!(eval(&g, after, &values), wanted);
            prop_assert!((low..=high).contains(&wanted));
        }
        let again = simplify(&mut g, after);
        prop_assert_eq!(eval(&g, again, &[1, 2, 3, 4]), eval(&g, before, &[1, 2, 3, 4]));
    }

    #[test]
    fn comparisons_keep_their_truth(steps in prop::collection::vec(step(), 1..12), other in prop::collection::vec(step(), 1..12), kind in 0usize..4) {
        let mut g = Uops::new();
        let (a, b) = (build(&mut g, &steps), build(&mut g, &other));
        let op = [Binary::Lt, Binary::Le, Binary::Eq, Binary::Ne][kind];
        let before = g.binary(op, a, b);
        let after = simplify(&mut g, before);
        for point in 0..(3 * 4 * 6 * 8) {
            let values = [point % 3, point / 3 % 4, point / 12 % 6, point / 72];
            prop_assert_eq!(eval(&g, after, &values), eval(&g, before, &values));
        }
    }
}

fn range(g: &mut Uops, id: u32, extent: i64) -> UopId {
    let n = g.index(extent);
    g.range(id, n, Axis::Loop)
}

#[test]
fn a_blocked_index_falls_into_digits() {
    let mut g = Uops::new();
    let (hi, mid, lo) = (
        range(&mut g, 0, 4),
        range(&mut g, 1, 2),
        range(&mut g, 2, 16),
    );
    let (a, b) = (g.mul_const(hi, 32), g.mul_const(mid, 16));
    let sum = g.add(a, b);
    let c = g.add(sum, lo);
    let (block, lane) = (g.div_const(c, 16), g.mod_const(c, 16));
    assert_eq!(simplify(&mut g, lane), lo);
    let twice = g.mul_const(hi, 2);
    let wanted = g.add(mid, twice);
    let wanted = simplify(&mut g, wanted);
    assert_eq!(simplify(&mut g, block), wanted);
}

#[test]
fn flatten_and_unflatten_is_nothing() {
    let mut g = Uops::new();
    let (a, b, c) = (
        range(&mut g, 0, 5),
        range(&mut g, 1, 7),
        range(&mut g, 2, 3),
    );
    let flat = g.mul_const(a, 7);
    let flat = g.add(flat, b);
    let flat = g.mul_const(flat, 3);
    let flat = g.add(flat, c);
    let x = g.div_const(flat, 21);
    let y = g.div_const(flat, 3);
    let y = g.mod_const(y, 7);
    let z = g.mod_const(flat, 3);
    assert_eq!(
        (
            simplify(&mut g, x),
            simplify(&mut g, y),
            simplify(&mut g, z)
        ),
        (a, b, c)
    );
}

#[test]
fn quotient_and_remainder_recombine() {
    let mut g = Uops::new();
    let r = range(&mut g, 0, 100);
    let (q, m) = (g.div_const(r, 7), g.mod_const(r, 7));
    let q = g.mul_const(q, 7);
    let sum = g.add(q, m);
    assert_eq!(simplify(&mut g, sum), r);
}
