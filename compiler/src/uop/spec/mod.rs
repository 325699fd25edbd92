//! The verifier: what a kernel must be at each stage.
//!
//! In: an arena and a root, or a list. Out: nothing, or a bug that prints the guilty node.
//!
//! Every stage: a node has as many sources as its operation takes; arithmetic has one type on its sources and the
//! result that follows from it; conditions and gates are Bool; memory operations start with a `Param` or `Local`;
//! indices are Index; `Reduce` names ranges; no two ranges have one id.
//!
//! Kernels: the root is a `Sink` of stores, or of nests that are sinks of stores; no instruction of linear lists
//! appears. Lists: an instruction comes after its listed sources; loops and ifs nest and close; a range is used
//! only where its loop is open.
//!
//! `program::verify` checks accesses against the parameters. Not checked: that stores write disjoint elements, that
//! reads of a register see the right assignment, values of constants.

mod kernel;
mod linear;
mod node;

pub use kernel::{find_kernel_fault, find_scheduled_fault};
pub use linear::find_list_fault;

use super::text::node_text;
use super::{UopId, Uops};
use crate::diag::Error;

/// A node that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub node: UopId,
    /// The rule.
    pub what: String,
}

impl Fault {
    /// A fault.
    pub fn new(node: UopId, what: &str) -> Fault {
        Fault {
            node,
            what: what.to_string(),
        }
    }
    /// As a bug that prints the node.
    pub fn error(&self, g: &Uops, stage: &str) -> Error {
        let node = node_text(g, self.node);
        Error::bug(format!("{stage}: {}: `{node}`", self.what))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::uop::text::{parse, parse_list};

    const GOOD: &str = "%0 = param 0 : f32
%1 = range 0 loop 4 : index
%2 = load %0, %1 : f32
%3 = add %2, f32(1.0) : f32
%4 = store %0, %3, %1
%5 = sink %4";

    fn kernel(text: &str) -> Result<(), String> {
        let (g, roots) = parse(text).unwrap();
        find_scheduled_fault(&g, roots[0]).map_or(Ok(()), |f| Err(f.error(&g, "kernel").message))
    }

    #[test]
    fn a_good_kernel_passes() {
        kernel(GOOD).unwrap();
    }

    #[test]
    fn guilty_nodes_are_named() {
        for (from, to, guilty) in [
            ("f32(1.0)", "f64(1.0)", "add"),
            ("add %2, f32(1.0) : f32", "add %2, f32(1.0) : i32", "add"),
            ("load %0, %1", "load %1, %1", "load"),
            ("load %0, %1", "load %0, f32(1.0)", "load"),
            ("store %0, %3", "store %0, i32(1)", "store"),
            ("sink %4", "loop %1", "loop"),
            ("loop 4 : index", "loop 4 : f32", "range"),
            ("add %2, f32(1.0)", "lt %2, f32(1.0)", "lt"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            let e = kernel(&text).unwrap_err();
            assert!(e.contains(guilty), "{from}: {e}");
        }
    }

    #[test]
    fn ranges_have_ids_of_their_own() {
        let text = GOOD.replace(
            "%4 = store %0, %3, %1",
            "%6 = range 0 loop 5 : index\n%7 = reduce sum %3, %6 : f32\n%4 = store %0, %7, %1",
        );
        assert!(kernel(&text).unwrap_err().contains("range"));
    }

    #[test]
    fn lists_nest() {
        let good = "let %0 = range 0 loop 8 : index
%1 = loop %0
let %2 = param 0 : f32
%3 = load %2, %0 : f32
%4 = store %2, %3, %0
%5 = endloop %0";
        let check = |text: &str| {
            let (g, list) = parse_list(text).unwrap();
            find_list_fault(&g, &list)
        };
        assert_eq!(check(good), None);
        assert!(check(&good.replace("%5 = endloop %0", "")).is_some());
        assert!(check(&good.replace("%1 = loop %0\n", "")).is_some());
        assert!(check(&format!("{good}\n%4")).is_some());
    }
}
