//! Rules on choices: `where` of any type, gated loads and stores.
//!
//! In: a condition that is known or does not matter. Out: the branch; a load or store without a gate.
//!
//! Example: `(where true x y) => x`.

use super::super::arena::Sources;
use super::super::ops::Op;
use super::rules;

rules! { pub SELECT [Bool, I8, I16, I32, I64, U8, U16, U32, U64, F16, BF16, F32, F64, Index];
    /// (where true x y) => x
    /// (where false x y) => y
    fn where_constant(g, Where(c, a, b)) { g.as_int(c).map(|c| if c == 0 { b } else { a }) }
    /// (where c x x) => x
    fn where_same(_, Where(_, a, b)) { (a == b).then_some(a) }
}

rules! { pub GATE [Bool];
    /// (load.gated p false x i) => x
    fn load_never(g, GatedLoad(_, gate, other, ..)) { g.is_int(gate, 0).then_some(other) }
    /// (load.gated p true x i) => (load p i)
    fn load_always(g, GatedLoad(buffer, gate, _, ref index @ ..)) {
        g.is_int(gate, 1).then(|| {
            let src: Sources = [buffer].into_iter().chain(index.iter().copied()).collect();
            let ty = g.ty;
            g.add_node(Op::Load { gated: false }, ty, src)
        })
    }
    /// (store.gated p x true i) => (store p x i)
    fn store_always(g, GatedStore(buffer, value, gate, ref index @ ..)) {
        g.is_int(gate, 1).then(|| {
            let src: Sources = [buffer, value].into_iter().chain(index.iter().copied()).collect();
            let ty = g.ty;
            g.add_node(Op::Store { gated: false }, ty, src)
        })
    }
}
