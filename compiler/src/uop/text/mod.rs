//! Text form of kernels and linear lists; it round-trips.
//!
//! In: an arena and its roots, or a list. Out: a line a node, sources before users, and back:
//!
//! ```text
//! %0 = param 0 : f32
//! %1 = range 0 loop 16 : index
//! %2 = load %0, %1 : f32
//! %3 = add %2, f32(1.0) : f32
//! %4 = store %0, %3, %1
//! %5 = sink %4
//! ```
//!
//! Constants stand where they are used. `;` starts a comment. A type of no value is left out. Names are free.
//! In a list a line stands for an instruction; `let` marks nodes that the list does not hold (they are printed
//! where they are used), and a name alone repeats a node. Several roots, or one that is not the last line, are
//! named by `root %1, %2`.

mod parse;
mod print;

pub(crate) use parse::Bad;
pub use parse::{Parsed, parse, parse_lines, parse_list};
pub use print::{node_text, print, print_list};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::uop::{Axis, Binary, DType, Op, ReduceOp, Type, Unary, Uops};
    use proptest::prelude::*;

    fn softmax() -> (Uops, crate::uop::UopId) {
        let mut g = Uops::new();
        let (n, m) = (g.index(4), g.index(8));
        let (i, j, k) = (
            g.range(0, n, Axis::Parallel),
            g.range(1, m, Axis::Loop),
            g.range(2, m, Axis::Loop),
        );
        let x = g.param(0, DType::F32);
        let y = g.param(1, DType::F32);
        let (a, b) = (g.load(x, &[i, j]), g.load(x, &[i, k]));
        let top = g.reduce(ReduceOp::Max, b, &[k]);
        let d = g.sub(a, top);
        let e = g.unary(Unary::Exp, d);
        let inf = g.float(DType::F32, f64::NEG_INFINITY);
        let e = g.binary(Binary::Max, e, inf);
        let s = g.store(y, e, &[i, j]);
        let sink = g.sink(&[s]);
        (g, sink)
    }

    #[test]
    fn kernels_round_trip() {
        let (g, sink) = softmax();
        let text = print(&g, &[sink]);
        let (again, roots) = parse(&text).unwrap();
        assert_eq!(print(&again, &roots), text);
        assert_eq!(again.toposort(&roots).len(), g.toposort(&[sink]).len());
    }

    #[test]
    fn lists_round_trip() {
        let (mut g, _) = softmax();
        let n = g.index(3);
        let r = g.range(5, n, Axis::Loop);
        let open = g.add_node(Op::Loop, Type::VOID, [r]);
        let c = g.constant(DType::F32.vec(4), 0.5f64.to_bits());
        let acc = g.add_node(Op::Acc { id: 0 }, DType::F32.vec(4), [c]);
        let read = g.add_node(Op::Read(0), DType::F32.vec(4), [acc]);
        let set = g.add_node(Op::Assign, Type::VOID, [acc, read]);
        let close = g.add_node(Op::EndLoop, Type::VOID, [r]);
        let list = [acc, open, read, set, close, open, close];
        let text = print_list(&g, &list);
        let (again, parsed) = parse_list(&text).unwrap();
        assert_eq!(print_list(&again, &parsed), text);
        assert_eq!(parsed.len(), list.len());
    }

    #[test]
    fn constants_keep_their_bits() {
        for (dtype, bits) in [
            (DType::F32, (-0.0f64).to_bits()),
            (DType::F64, f64::MIN_POSITIVE.to_bits() - 1),
            (DType::F32, f64::NAN.to_bits()),
            (DType::F64, 0x7ff0_0000_0000_0001),
            (DType::U64, u64::MAX),
            (DType::I64, i64::MIN as u64),
            (DType::Bool, 1),
        ] {
            let mut g = Uops::new();
            let c = g.constant(dtype.scalar(), bits);
            let (h, roots) = parse(&print(&g, &[c])).unwrap();
            assert_eq!(h.get(roots[0]), g.get(c));
        }
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line) in [
            ("%0 = param 0 : f32\n%1 = add %0, %7 : f32", "line 2"),
            ("%0 = nonsense", "line 1"),
            ("%0 = param x : f32", "line 1"),
            ("%0 = param 0 : f33", "line 1"),
            ("%0 = param 0 : f32x0", "line 1"),
            ("%0 = add 1 : index", "line 1"),
            ("\n\n%0 = neg f32(abc) : f32", "line 3"),
        ] {
            let e = parse(text).unwrap_err();
            assert!(e.message.contains(line), "{text:?}: {}", e.message);
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[%0-9a-z=:,. ();\\n-]{0,80}") {
            let _ = parse(&text);
            let _ = parse_list(&text);
        }

        #[test]
        fn damaged_text_never_panics(at in 0usize..400, with in "[%0-9a-z=:,. ();\\n-]{0,3}") {
            let (g, sink) = softmax();
            let mut text = print(&g, &[sink]);
            let at = at % text.len();
            text.replace_range(at..at + 1, &with);
            if let Ok((h, roots)) = parse(&text) {
                let printed = print(&h, &roots);
                let (again, roots) = parse(&printed).unwrap();
                prop_assert_eq!(print(&again, &roots), printed);
            }
        }
    }
}
