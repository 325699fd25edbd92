//! Tests every doc line of every rule, the harness itself, the engine, its fuel and its guard.
#![allow(clippy::unwrap_used, clippy::panic)]
use super::engine::apply_one;
use super::term::{Value, eval, parse, round};
use super::*;
use crate::uop::{Type, Uops};

/// A small generator with a seed: the same inputs in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
    fn within(&mut self, low: i64, high: i64) -> i64 {
        let span = (i128::from(high) - i128::from(low) + 1) as u128;
        (i128::from(low) + (u128::from(self.next()) % span) as i128) as i64
    }
    fn value(&mut self, dtype: DType, bounds: Option<(i64, i64)>) -> Value {
        if dtype.is_float() {
            const SPECIAL: [f64; 8] = [
                0.0,
                -0.0,
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                1.0,
                -1.0,
                1e-40,
            ];
            let pick = self.next() as usize % 16;
            let other = self.within(-1_000_000, 1_000_000) as f64 / 997.0;
            return Value::Float(round(SPECIAL.get(pick).copied().unwrap_or(other), dtype));
        }
        let (low, high) = bounds.unwrap_or_else(|| {
            let (low, high) = dtype.int_bounds().unwrap();
            (low.max(-1_000_000), high.min(1_000_000))
        });
        Value::Int(self.within(low, high).into())
    }
}

/// Weight of an expression. Conversions between integers and the sign of a term cost nothing: they go into the
/// address or turn a sum into a difference.
fn cost(g: &Uops, id: UopId) -> u64 {
    let own = match g.op(id) {
        Op::Binary(Binary::Mul) if g.as_int(g.src(id)[1]) == Some(-1) => 0,
        Op::Binary(Binary::FloorDiv | Binary::FloorMod | Binary::Div) => 8,
        Op::Binary(Binary::Mul) => 2,
        Op::Binary(_) | Op::Unary(_) | Op::Where => 1,
        Op::Load { gated: true } | Op::Store { gated: true } => 2,
        Op::Load { .. } | Op::Store { .. } => 1,
        _ => 0,
    };
    own + g.src(id).iter().map(|&s| cost(g, s)).sum::<u64>()
}

/// Tests one line of a rule on one type of operands.
fn check(rule: &Rule, line: &str, dtype: DType) -> Result<(), String> {
    let mut line = parse(line.trim(), dtype)?;
    let (before, wanted) = (line.left, line.right);
    if Head::of(line.g.op(before)) != Some(rule.head) {
        return Err(format!("the left side does not start with {:?}", rule.head));
    }
    let after = apply_one(&mut line.g, rule, before).ok_or("the rule does not fire")?;
    if after != wanted {
        let text = |root| crate::uop::text::print(&line.g, &[root]);
        return Err(format!("gives\n{}not\n{}", text(after), text(wanted)));
    }
    if cost(&line.g, after) > cost(&line.g, before) {
        return Err("the cost rises".to_string());
    }
    let mut random = Random(7);
    for _ in 0..1000 {
        let values: Vec<(UopId, Value)> = line
            .variables
            .iter()
            .filter_map(|v| Some((v.node?, random.value(v.dtype?, v.bounds))))
            .collect();
        let (x, y) = (
            eval(&line.g, before, &values),
            eval(&line.g, after, &values),
        );
        if x.is_none() || x != y {
            return Err(format!("{x:?} becomes {y:?} for {values:?}"));
        }
    }
    Ok(())
}

#[test]
fn every_line_is_true() {
    let mut wrong = Vec::new();
    for set in sets() {
        for rule in set.rules {
            for line in rule.docs {
                for &dtype in set.types {
                    if let Err(what) = check(rule, line, dtype) {
                        wrong.push(format!(
                            "{} in {}, `{}` on {}: {what}",
                            rule.name,
                            rule.file,
                            line.trim(),
                            dtype.name()
                        ));
                        break;
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> = sets()
        .iter()
        .flat_map(|s| s.rules)
        .map(|r| r.name)
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

rules! { pub WRONG [Index];
    /// (floordiv x 4) => x
    fn wrong_value(_, FloorDiv(x, _)) { Some(x) }
    /// (sub x 1) => x
    fn wrong_text(g, Sub(_, _)) { Some(g.index(7)) }
    /// (max x y) => x
    fn wrong_never(_, Max(_, _)) { None }
    /// (min x y) => (add (mul x 3) (mul x 3))
    fn wrong_cost(g, Min(x, _)) { let y = g.mul_const(x, 3); Some(g.add(y, y)) }
    /// (add x 1) => y
    fn wrong_head(_, Mul(x, _)) { Some(x) }
    /// (lt x 4) => true where 0<=x<5
    fn wrong_bounds(g, Lt(_, _)) { Some(g.bool(true)) }
}

#[test]
fn wrong_rules_are_found() {
    for (rule, part) in WRONG.rules.iter().zip([
        "becomes",
        "gives",
        "does not fire",
        "cost rises",
        "does not start",
        "becomes",
    ]) {
        let found = check(rule, rule.docs[0], DType::Index).unwrap_err();
        assert!(found.contains(part), "{}: {found}", rule.name);
    }
    let float = Rule {
        docs: &["(add x 0.0) => x"],
        ..WRONG.rules[0]
    };
    fn first(_: &mut Env<'_>, src: &[UopId]) -> Option<UopId> {
        Some(src[0])
    }
    let float = Rule {
        head: Head::Add,
        apply: first,
        ..float
    };
    assert!(
        check(&float, float.docs[0], DType::F32)
            .unwrap_err()
            .contains("becomes")
    );
}

rules! { pub ENDLESS [Index];
    /// (max x y) => (min x y)
    fn there(g, Max(x, y)) { Some(g.add_node(Op::Binary(Binary::Min), Type::INDEX, [x, y])) }
    /// (min x y) => (max x y)
    fn back(g, Min(x, y)) { Some(g.add_node(Op::Binary(Binary::Max), Type::INDEX, [x, y])) }
    /// (xor x y) => (xor x x)
    fn growing(g, Xor(x, y)) {
        let y = g.add_node(Op::Binary(Binary::Or), Type::INDEX, [y, y]);
        Some(g.add_node(Op::Binary(Binary::Xor), Type::INDEX, [x, y]))
    }
}

fn two(g: &mut Uops, op: Binary) -> UopId {
    let (m, zero) = (g.param(0, DType::Index), g.index(0));
    let one = g.index(1);
    let (x, y) = (g.load(m, &[zero]), g.load(m, &[one]));
    g.add_node(Op::Binary(op), Type::INDEX, [x, y])
}

#[test]
fn rules_that_do_not_end_are_reported() {
    let table: &'static Table = Box::leak(Box::new(Table::of(&[&ENDLESS])));
    for (op, names) in [
        (Binary::Max, ["there", "back"]),
        (Binary::Xor, ["growing", ""]),
    ] {
        let mut g = Uops::new();
        let x = two(&mut g, op);
        Engine::new(table).run(&mut g, x);
        assert!(names.contains(&g.fault().unwrap()));
        let error = crate::uop::simplify_kernel(&mut g, x).unwrap_err();
        assert_eq!(error.kind, crate::diag::Kind::Bug);
        assert!(error.message.contains(names[0]) || error.message.contains(names[1]));
    }
}

/// `max(x, x)` as float times one plus the like, one rewrite each.
fn three(g: &mut Uops) -> UopId {
    let (m, zero) = (g.param(0, DType::F32), g.index(0));
    let mut x = g.load(m, &[zero]);
    let one = g.float(DType::F32, 1.0);
    for _ in 0..3 {
        let y = g.mul(x, one);
        x = g.unary(Unary::Sqrt, y);
    }
    x
}

#[test]
fn fuel_counts_rewrites() {
    let multiplications = |g: &Uops, id| {
        let all = g.toposort(&[id]);
        all.iter()
            .filter(|&&n| g.op(n) == Op::Binary(Binary::Mul))
            .count()
    };
    for fuel in 0..5usize {
        let mut g = Uops::new();
        let x = three(&mut g);
        g.set_fuel(Some(fuel as u64));
        let y = crate::uop::simplify(&mut g, x);
        assert_eq!(multiplications(&g, y), 3usize.saturating_sub(fuel));
        assert_eq!(g.rewrites(), fuel.min(3) as u64);
        assert_eq!(g.fuel(), fuel.saturating_sub(3) as u64);
    }
    let mut g = Uops::new();
    let x = three(&mut g);
    let y = crate::uop::simplify(&mut g, x);
    assert_eq!((multiplications(&g, y), g.fuel()), (0, u64::MAX));
}

#[test]
fn what_a_rule_gives_is_rewritten_again() {
    let mut g = Uops::new();
    let (m, zero, one) = (g.param(0, DType::I32), g.index(0), g.int(DType::I32, 1));
    let x = g.load(m, &[zero]);
    let nothing = g.int(DType::I32, 0);
    let y = g.add(x, nothing);
    let y = g.mul(y, one);
    let y = g.unary(Unary::Neg, y);
    let y = g.unary(Unary::Neg, y);
    assert_eq!(crate::uop::simplify(&mut g, y), x);
}

const MARK: &str = "<!-- generated from the rules; do not edit below -->\n";

#[test]
fn the_document_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rules.md");
    let text = std::fs::read_to_string(path).unwrap();
    let law = text.split(MARK).next().unwrap();
    let wanted = format!("{law}{MARK}{}", document());
    if std::env::var_os("TINYC_BLESS").is_some() {
        std::fs::write(path, &wanted).unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text, wanted, "TINYC_BLESS=1 rewrites docs/rules.md");
}
