//! From a decoded instruction to a handler. In: [`Inst`] and the address after it. Out: [`Lowered`].

use super::lanes::{Args, Src};
use super::{Handler, PRIVATE_BASE, SHARED_BASE, VCC, Wave};
use super::{bits, compare, convert, cross, dual, flat, float, half_float, integer, lds};
use super::{matrix, move_lanes, packed, scalar, scalar_flow, scalar_memory, waits, wide};
use crate::isa::{Ext, Family, Field, Imm, Inst, Kind, NULL, Operand, VGPR};

/// What an instruction occupies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Class {
    Scalar,
    ScalarMemory,
    Branch,
    Wait,
    Vector,
    Transcendental,
    Dual,
    Matrix,
    Lds,
    Load,
    Store,
    Atomic,
    Scratch,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = Class::Scratch as usize + 1;
    /// All of them, in order.
    pub const ALL: [Class; Class::COUNT] = [
        Class::Scalar,
        Class::ScalarMemory,
        Class::Branch,
        Class::Wait,
        Class::Vector,
        Class::Transcendental,
        Class::Dual,
        Class::Matrix,
        Class::Lds,
        Class::Load,
        Class::Store,
        Class::Atomic,
        Class::Scratch,
    ];
}

/// When a branch is taken.
pub type Condition = fn(&Wave) -> bool;

/// What happens to the order of execution.
pub enum Action {
    /// The handler runs, the next instruction follows unless it set a jump.
    Run(Handler),
    /// Nothing happens.
    Nothing,
    /// A jump by so many words from the next instruction when the condition holds.
    Branch(Condition, i16),
    /// The work-group meets.
    Barrier,
    /// The wave ends.
    End,
}

/// An instruction, ready to run.
pub struct Lowered {
    /// What it does.
    pub action: Action,
    /// What it occupies.
    pub class: Class,
    /// The number of vector registers it needs.
    pub vgprs: usize,
    /// Whether the next instruction in memory may follow.
    pub falls_through: bool,
}

/// Operations that the transcendental unit executes.
const TRANSCENDENTAL: [&str; 8] = [
    "v_exp_",
    "v_log_",
    "v_rcp_",
    "v_rsq_",
    "v_sqrt_",
    "v_sin_",
    "v_cos_",
    "v_rcp_iflag",
];

/// Makes an instruction ready. `after` is the address of the next one.
pub fn lower(i: &Inst, after: u64) -> Result<Lowered, &'static str> {
    let name = i.op.name.as_str();
    let (action, class) = match i.layout.family {
        Family::Sop1 | Family::Sop2 | Family::Sopc | Family::Sopk => {
            (Action::Run(scalar::lower(i, after)?), Class::Scalar)
        }
        Family::Sopp => {
            let action = scalar_flow::lower(i)?;
            let class = match action {
                Action::Branch(..) | Action::End => Class::Branch,
                _ => Class::Wait,
            };
            (action, class)
        }
        Family::Smem => match i.op.dsts.is_empty() {
            true => (Action::Nothing, Class::Wait),
            false => (
                Action::Run(waits::defer(i, scalar_memory::lower(i)?)),
                Class::ScalarMemory,
            ),
        },
        Family::Vop1 | Family::Vop2 | Family::Vopc | Family::Vop3 => {
            let class = match TRANSCENDENTAL.iter().any(|t| name.starts_with(t)) {
                true => Class::Transcendental,
                false => Class::Vector,
            };
            (Action::Run(vector(i)?), class)
        }
        Family::Vop3p if i.op.has("wmma") => (Action::Run(matrix::lower(i)?), Class::Matrix),
        Family::Vop3p => (Action::Run(packed::lower(i)?), Class::Vector),
        Family::Vopd => (Action::Run(dual::lower(i)?), Class::Dual),
        Family::Ds => (Action::Run(waits::defer(i, lds::lower(i)?)), Class::Lds),
        Family::Flat | Family::Global | Family::Scratch => {
            let class = match (i.layout.family, name) {
                (Family::Scratch, _) => Class::Scratch,
                (_, n) if n.contains("atomic") => Class::Atomic,
                (_, n) if n.contains("store") => Class::Store,
                _ => Class::Load,
            };
            (Action::Run(waits::defer(i, flat::lower(i)?)), class)
        }
        // Caches are not simulated here: there is nothing to invalidate.
        Family::Buffer => (Action::Nothing, Class::Wait),
    };
    let ends = matches!(action, Action::End)
        || matches!(
            name,
            "s_branch" | "s_setpc_b64" | "s_swappc_b64" | "s_call_b64"
        );
    Ok(Lowered {
        action,
        class,
        vgprs: registers(i),
        falls_through: !ends,
    })
}

/// How many vector registers an instruction needs.
fn registers(i: &Inst) -> usize {
    let mut most = 0;
    let mut see = |code: u32, regs: u32| {
        if code >= VGPR {
            most = most.max(code - VGPR + regs);
        }
    };
    let op = i.op;
    let vector = |field| VGPR + i.get(field);
    match i.layout.family {
        Family::Vop1 | Family::Vop2 | Family::Vopc | Family::Vop3 | Family::Vop3p => {
            let scalar = matches!(op.dsts.first(), None | Some(Kind::Mask | Kind::Scalar));
            if let Some(kind) = op.dsts.first().filter(|_| !scalar) {
                see(vector(Field::Vdst), kind.regs());
            }
            for (kind, code) in op.srcs.iter().zip(i.sources()) {
                see(code, kind.regs());
            }
        }
        Family::Vopd => {
            for half in i.halves().iter().flatten() {
                see(VGPR + half.vdst, 1);
                half.srcs.iter().for_each(|c| see(*c, 1));
            }
        }
        Family::Ds | Family::Flat | Family::Global | Family::Scratch => {
            if let Some(kind) = op.dsts.first() {
                see(vector(Field::Vdst), kind.regs());
            }
            let mut data = [Field::Data0, Field::Data1].into_iter();
            for kind in &op.srcs {
                match kind {
                    Kind::Addr => see(vector(Field::Addr), 1),
                    _ => see(data.next().map_or(0, vector), kind.regs()),
                }
            }
        }
        _ => {}
    }
    most as usize
}

/// Where an operand with this code comes from.
pub(crate) fn source(
    code: u32,
    kind: Kind,
    literal: u32,
    signed: bool,
) -> Result<Src, &'static str> {
    if code == NULL {
        return Ok(Src::C(0));
    }
    Ok(
        match Operand::of(code).ok_or("an operand without meaning")? {
            Operand::Sgpr(n) => Src::S(n as usize),
            Operand::Vgpr(n) => Src::V(n as usize),
            Operand::Special("src_scc") => Src::Scc,
            Operand::Special(_) if kind.regs() != 2 => {
                return Err("one half of the base of a kind of memory");
            }
            Operand::Special("src_shared_base") => Src::C(SHARED_BASE),
            Operand::Special("src_private_base") => Src::C(PRIVATE_BASE),
            Operand::Special(_) => return Err("the limit of a kind of memory"),
            Operand::Literal if kind == Kind::B64 && signed => {
                Src::C(i64::from(literal as i32) as u64)
            }
            _ => Src::C(Operand::constant(code, kind, literal).ok_or("a constant without value")?),
        },
    )
}

/// Operands and modifiers of a vector instruction.
pub(crate) fn args(i: &Inst) -> Result<Args, &'static str> {
    let signed = i.op.name.ends_with("_i64");
    let mut src = [Src::C(0); 3];
    for (n, (&kind, code)) in i.op.srcs.iter().zip(i.sources()).enumerate().take(3) {
        src[n] = match kind {
            Kind::Imm(Imm::Literal) => Src::C(u64::from(i.literal())),
            _ => source(code, kind, i.literal(), signed)?,
        };
    }
    let (mut neg, mut abs) = (i.get(Field::Neg), i.get(Field::Abs));
    if let Ext::Dpp16(dpp) = i.ext
        && i.layout.words == 1
    {
        (neg, abs) = (dpp.negated(), dpp.absolute());
    }
    let short = i.layout.words == 1;
    let sdst = match i.op.dsts.get(1) {
        Some(_) if short => VCC,
        _ => i.get(Field::Sdst) as usize,
    };
    let dst = match i.op.dsts.first() {
        Some(Kind::Mask) if short => VCC,
        _ => i.get(Field::Vdst) as usize,
    };
    if !matches!(i.ext, Ext::None | Ext::Literal(_)) {
        src[0] = Src::Moved;
    }
    Ok(Args {
        dst,
        sdst,
        src,
        neg,
        abs,
        sel: i.get(Field::OpSel),
        sel_hi: i.op_sel_hi(),
        neg_hi: i.get(Field::NegHi),
        clamp: i.get(Field::Clamp) != 0,
        omod: i.get(Field::Omod),
    })
}

/// VOP1, VOP2, VOPC and VOP3.
fn vector(i: &Inst) -> Result<Handler, &'static str> {
    let args = args(i)?;
    let name = i.op.name.as_str();
    let handler = cross::lower(name, args)
        .or_else(|| float::lower(name, args))
        .or_else(|| integer::lower(name, args))
        .or_else(|| bits::lower(name, args))
        .or_else(|| wide::lower(name, args))
        .or_else(|| half_float::lower(name, args))
        .or_else(|| convert::lower(name, args))
        .or_else(|| compare::lower(name, args))
        .or_else(|| packed::accumulate(name, args))
        .ok_or("an operation that is not simulated")?;
    Ok(move_lanes::wrap(i, handler))
}
