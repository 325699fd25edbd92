//! Rewrite rules of the kernel IR: the `rules!` macro, the registry of all sets and their table in `docs/rules.md`.
//!
//! In: rules as ordinary functions under doc lines. Out: [`sets`], which the [`Engine`] applies and the harness
//! tests. A rule's doc lines are its tests: `left => right where bounds`. A rule without one does not compile.
//!
//! ```text
//! rules! { pub TRIVIAL [Index];
//!     /// (add x 0) => x
//!     fn add_zero(g, Add(x, c)) { g.is_int(c, 0).then_some(x) }
//! }
//! ```

mod boolean;
mod cast;
mod engine;
mod float;
#[cfg(test)]
mod harness;
mod index;
mod integer;
mod select;
#[cfg(test)]
mod term;
mod trivial;

pub use engine::{Engine, Env};

use super::arena::UopId;
use super::dtype::DType;
use super::ops::{Binary, Op, Unary};
use std::sync::OnceLock;

/// One rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Name of its function.
    pub name: &'static str,
    /// Operation at the root of its left side.
    pub head: Head,
    /// Lines `left => right where bounds`; each is a test.
    pub docs: &'static [&'static str],
    /// Source file.
    pub file: &'static str,
    /// Gives the new node, from the sources of the old one.
    pub(super) apply: fn(&mut Env<'_>, &[UopId]) -> Option<UopId>,
}

/// Rules on operands of some types.
#[derive(Debug, Clone, Copy)]
pub struct RuleSet {
    /// Name in `docs/rules.md`.
    pub name: &'static str,
    /// Types of the last operand that the rules are right for; loads and stores count as Bool, by their gate.
    pub types: &'static [DType],
    /// In the order in which they are tried.
    pub rules: &'static [Rule],
}

/// Defines functions and the set that lists them. Several doc lines are several tests of one rule.
macro_rules! rules {
    ($vis:vis $set:ident [$($ty:ident),+];
     $($(#[doc = $doc:literal])+
       fn $name:ident($g:pat_param, $head:ident($($arg:pat_param),+)) $body:block)+) => {
        $($(#[doc = $doc])+
        fn $name(
            $g: &mut $crate::uop::rules::Env<'_>,
            sources: &[$crate::uop::UopId],
        ) -> Option<$crate::uop::UopId> {
            let [$($arg),+] = *sources else { return None };
            $body
        })+
        #[doc = concat!("The set ", stringify!($set), " for operands of ", stringify!($($ty),+), ".")]
        $vis static $set: $crate::uop::rules::RuleSet = $crate::uop::rules::RuleSet {
            name: stringify!($set),
            types: &[$($crate::uop::DType::$ty),+],
            rules: &[$($crate::uop::rules::Rule {
                name: stringify!($name),
                head: $crate::uop::rules::Head::$head,
                docs: &[$($doc),+],
                file: file!(),
                apply: $name,
            }),+],
        };
    };
}
use rules;

/// Operations that have rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Head {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    FloorMod,
    Max,
    Min,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    Lt,
    Le,
    Eq,
    Ne,
    Neg,
    Not,
    Where,
    Cast,
    GatedLoad,
    GatedStore,
}

const HEADS: usize = Head::GatedStore as usize + 1;
const TYPES: usize = DType::Index as usize + 1;

impl Head {
    /// Head of an operation; `None` when no rule can start there.
    pub fn of(op: Op) -> Option<Head> {
        Some(match op {
            Op::Binary(op) => return Head::of_binary(op),
            Op::Unary(Unary::Neg) => Head::Neg,
            Op::Unary(Unary::Not) => Head::Not,
            Op::Where => Head::Where,
            Op::Cast => Head::Cast,
            Op::Load { gated: true } => Head::GatedLoad,
            Op::Store { gated: true } => Head::GatedStore,
            _ => return None,
        })
    }

    fn of_binary(op: Binary) -> Option<Head> {
        Some(match op {
            Binary::Add => Head::Add,
            Binary::Sub => Head::Sub,
            Binary::Mul => Head::Mul,
            Binary::Div => Head::Div,
            Binary::FloorDiv => Head::FloorDiv,
            Binary::FloorMod => Head::FloorMod,
            Binary::Max => Head::Max,
            Binary::Min => Head::Min,
            Binary::And => Head::And,
            Binary::Or => Head::Or,
            Binary::Xor => Head::Xor,
            Binary::Shl => Head::Shl,
            Binary::Shr => Head::Shr,
            Binary::Lt => Head::Lt,
            Binary::Le => Head::Le,
            Binary::Eq => Head::Eq,
            Binary::Ne => Head::Ne,
            Binary::Rem | Binary::Pow => return None,
        })
    }
}

/// All sets, in the order in which they are tried.
pub fn sets() -> [&'static RuleSet; 9] {
    [
        &trivial::TRIVIAL,
        &trivial::TRIVIAL_BOOL,
        &boolean::BOOLEAN,
        &select::SELECT,
        &select::GATE,
        &index::INDEX,
        &cast::CAST,
        &integer::INTEGER,
        &float::FLOAT,
    ]
}

/// Rules by head and type of the last operand.
#[derive(Debug)]
pub struct Table(Vec<Vec<&'static Rule>>);

impl Table {
    /// The table of some sets.
    pub fn of(sets: &[&'static RuleSet]) -> Table {
        let mut rows = vec![Vec::new(); HEADS * TYPES];
        for set in sets {
            for rule in set.rules {
                for &ty in set.types {
                    rows[rule.head as usize * TYPES + ty as usize].push(rule);
                }
            }
        }
        Table(rows)
    }
    /// The table of [`sets`].
    pub fn all() -> &'static Table {
        static ALL: OnceLock<Table> = OnceLock::new();
        ALL.get_or_init(|| Table::of(&sets()))
    }
    fn row(&self, head: Head, ty: DType) -> &[&'static Rule] {
        &self.0[head as usize * TYPES + ty as usize]
    }
}

/// What a constructor folds when an operand is constant: the trivial rules, without fuel.
pub(super) fn fold(g: &mut super::Uops, op: Binary, a: UopId, b: UopId) -> Option<UopId> {
    let ty = g.ty(a);
    let head = Head::of_binary(op)?;
    let set = if ty == super::Type::INDEX {
        &trivial::TRIVIAL
    } else {
        &trivial::TRIVIAL_BOOL
    };
    let mut bounds = super::Bounds::new();
    let mut env = Env::new(g, &mut bounds, ty);
    set.rules
        .iter()
        .filter(|r| r.head == head)
        .find_map(|r| (r.apply)(&mut env, &[a, b]))
}

/// The table in `docs/rules.md`: every rule of every set.
pub fn document() -> String {
    let mut out = String::new();
    for set in sets() {
        let types: Vec<&str> = set.types.iter().map(|t| t.name()).collect();
        out += &format!("\n### {}\n\nOperands: {}.\n\n", set.name, types.join(", "));
        out += "| rule | lines | file |\n|---|---|---|\n";
        for rule in set.rules {
            let lines: Vec<String> = rule
                .docs
                .iter()
                .map(|d| format!("`{}`", d.trim()))
                .collect();
            out += &format!(
                "| `{}` | {} | `{}` |\n",
                rule.name,
                lines.join("<br>"),
                rule.file.rsplit('/').next().unwrap_or_default()
            );
        }
    }
    out
}
