//! One node by itself: number and types of its sources. In: a node. Out: what is wrong with it.

use crate::uop::table::arity;
use crate::uop::{DType, Op, Type, Unary, UopId, Uops};

/// Checks one node of any stage.
pub(super) fn check(g: &Uops, id: UopId) -> Result<(), String> {
    let node = g.get(id);
    let src = &node.src;
    let (least, most) = arity(node.op);
    if src.len() < least || src.len() > most {
        return Err(format!("{} sources", src.len()));
    }
    let ty = |n: usize| g.ty(src[n]);
    let need = |ok: bool, what: &str| ok.then_some(()).ok_or_else(|| what.to_string());
    let memory = |n: usize| {
        need(
            matches!(g.op(src[n]), Op::Param { .. } | Op::Local { .. }),
            "the first source is no buffer",
        )
    };
    let held = |n: usize| {
        need(
            matches!(g.op(src[n]), Op::Tile { .. } | Op::Filled),
            "the first source is no buffer",
        )
    };
    let indices = |from: usize| {
        need(
            src[from..].iter().all(|&s| g.ty(s).scalar == DType::Index),
            "an index is no Index",
        )
    };
    let bool_at = |n: usize| {
        need(
            ty(n).scalar == DType::Bool && ty(n).lanes > 0,
            "the condition is no Bool",
        )
    };
    match node.op {
        Op::Range { .. } => {
            need(
                node.ty == Type::INDEX && ty(0) == Type::INDEX,
                "a range and its extent are Index",
            )?;
            need(
                g.as_int(src[0]).is_none_or(|e| e >= 0),
                "its extent is negative",
            )
        }
        Op::Var { min, max, .. } => need(
            node.ty == Type::INDEX && min <= max,
            "a variable is Index with ordered bounds",
        ),
        Op::Unary(Unary::IsNan) => need(
            node.ty == ty(0).with_scalar(DType::Bool),
            "isnan gives Bool",
        ),
        Op::Unary(_) => need(node.ty == ty(0), "the type is not its source's"),
        Op::Binary(op) => {
            need(ty(0) == ty(1), "the sources have two types")?;
            let wanted = if op.is_compare() {
                ty(0).with_scalar(DType::Bool)
            } else {
                ty(0)
            };
            need(node.ty == wanted, "the type does not follow")
        }
        Op::Where => {
            bool_at(0)?;
            need(
                ty(1) == node.ty && ty(2) == node.ty,
                "the branches have other types",
            )?;
            need(
                ty(0).lanes == node.ty.lanes || ty(0).lanes == 1,
                "the condition has other lanes",
            )
        }
        Op::MulAdd => need(
            (0..3).all(|n| ty(n) == node.ty),
            "the sources have other types",
        ),
        Op::Cast => need(ty(0).lanes == node.ty.lanes, "the lanes change"),
        Op::Bitcast => need(
            ty(0).lanes == node.ty.lanes && ty(0).scalar.size() == node.ty.scalar.size(),
            "the size changes",
        ),
        Op::Reduce(_) => {
            need(ty(0) == node.ty, "the type is not its source's")?;
            need(
                src[1..]
                    .iter()
                    .all(|&r| matches!(g.op(r), Op::Range { .. })),
                "it reduces over something that is no range",
            )
        }
        Op::Tile { .. } => {
            need(ty(0) == node.ty, "the type is not its source's")?;
            need(ty(1) == Type::INDEX, "its place is no Index")?;
            need(
                src[2..]
                    .iter()
                    .all(|&r| matches!(g.op(r), Op::Range { .. })),
                "it is filled over something that is no range",
            )
        }
        Op::Filled => {
            let local = |n: usize| matches!(g.op(src[n]), Op::Local { .. });
            need(
                local(0) && ty(0) == node.ty,
                "it fills no memory of its type",
            )?;
            need(
                src[1..]
                    .iter()
                    .all(|&s| matches!(g.op(s), Op::Store { .. }) && g.src(s)[0] == src[0]),
                "a source is no store to its memory",
            )
        }
        Op::Load { gated } => {
            held(0).or_else(|_| memory(0))?;
            need(
                ty(0).scalar == node.ty.scalar,
                "the type is not its buffer's",
            )?;
            if gated {
                bool_at(1)?;
                need(ty(2) == node.ty, "the alternative has another type")?;
            }
            indices(if gated { 3 } else { 1 })
        }
        Op::Store { gated } => {
            memory(0)?;
            need(
                ty(0).scalar == ty(1).scalar && ty(1).lanes > 0,
                "the value's type is not its buffer's",
            )?;
            if gated {
                bool_at(2)?;
            }
            indices(if gated { 3 } else { 2 })
        }
        Op::Splat => need(
            ty(0)
                == Type {
                    lanes: 1,
                    ..node.ty
                },
            "the source is not its scalar",
        ),
        Op::Stack => need(
            src.len() == usize::from(node.ty.lanes)
                && src.iter().all(|&s| {
                    g.ty(s)
                        == Type {
                            lanes: 1,
                            ..node.ty
                        }
                }),
            "the sources are not one scalar a lane",
        ),
        Op::Lane(n) => need(
            n < ty(0).lanes && node.ty == Type { lanes: 1, ..ty(0) },
            "no such lane",
        ),
        Op::Zip { .. } | Op::Unzip { .. } => need(
            ty(0) == node.ty && ty(1) == node.ty && node.ty.lanes.is_multiple_of(2),
            "its sources are not of its type",
        ),
        Op::Fold(_) => need(
            node.ty == Type { lanes: 1, ..ty(0) },
            "the type is not its source's scalar",
        ),
        Op::Matrix { .. } => {
            need(
                ty(0) == ty(1) && ty(0).scalar.size() == 2,
                "its sources are no rows and columns of halves",
            )?;
            need(
                src.len() == 2 || ty(2) == node.ty,
                "the sum has another type",
            )
        }
        Op::Element => need(
            node.ty == Type { lanes: 1, ..ty(0) } && ty(1) == Type::INDEX,
            "it is no lane of a vector",
        ),
        Op::GroupFold { threads, .. } => {
            need(ty(0) == node.ty, "the type is not its source's")?;
            need(threads.is_power_of_two(), "the threads are no power of two")
        }
        Op::Acc { .. } => need(ty(0) == node.ty, "the first value has another type"),
        Op::Read(_) => need(
            matches!(g.op(src[0]), Op::Acc { .. }) && ty(0) == node.ty,
            "it reads no register of its type",
        ),
        Op::Assign => need(
            matches!(g.op(src[0]), Op::Acc { .. }) && ty(0) == ty(1),
            "it writes no register of the value's type",
        ),
        Op::Loop | Op::EndLoop => need(
            matches!(g.op(src[0]), Op::Range { .. }),
            "its source is no range",
        ),
        Op::Prefetch { .. } => need(
            matches!(g.op(src[0]), Op::Param { .. }) && ty(1) == Type::INDEX,
            "it names no element of a buffer",
        ),
        Op::If => bool_at(0),
        Op::Sink => need(
            src.iter()
                .all(|&s| matches!(g.op(s), Op::Store { .. } | Op::Sink | Op::Range { .. })),
            "a source is no store",
        ),
        Op::Const(_)
        | Op::Lanes(_)
        | Op::Param { .. }
        | Op::Local { .. }
        | Op::Barrier
        | Op::EndIf => Ok(()),
    }
}
