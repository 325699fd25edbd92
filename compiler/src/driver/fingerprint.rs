//! Identity of kernels: two with one fingerprint compute the same in the same way.
//!
//! In: a [`Kernel`]. Out: a SHA-256 over its DAG (numbered by a walk from the sink, so that what
//! else lies in the arena does not matter) and its parameters. The name and the origins do not count:
//! 24 equal layers have one fingerprint.

use crate::program::Kernel;
use crate::uop::{UopId, Uops};
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};

/// SHA-256 of what a kernel computes and how.
pub fn fingerprint(kernel: &Kernel) -> [u8; 32] {
    let mut hash = Sha256::new();
    let order = walk(&kernel.uops, kernel.sink);
    let mut number = FxHashMap::default();
    for (n, &id) in order.iter().enumerate() {
        number.insert(id, n);
        let node = kernel.uops.get(id);
        hash.update(format!("{:?} {}", node.op, node.ty));
        for src in &node.src {
            // A source is walked before its user, so it has a number.
            hash.update(format!(
                " {}",
                number.get(src).copied().unwrap_or(usize::MAX)
            ));
        }
        hash.update(b"\n");
    }
    for param in &kernel.params {
        hash.update(format!("{param:?}\n"));
    }
    hash.finalize().into()
}

/// [`fingerprint`] in hex, as files name kernels.
pub fn kernel_hash(kernel: &Kernel) -> String {
    let print = fingerprint(kernel);
    print.iter().map(|b| format!("{b:02x}")).collect()
}

/// Nodes below `root` in post-order: depends on the DAG only, not on the arena's numbers.
fn walk(uops: &Uops, root: UopId) -> Vec<UopId> {
    let mut out = Vec::new();
    let mut seen = vec![false; uops.len()];
    let mut stack = vec![(root, 0)];
    while let Some((id, next)) = stack.pop() {
        if next == 0 && std::mem::replace(&mut seen[id.0 as usize], true) {
            continue;
        }
        match uops.src(id).get(next) {
            Some(&src) => {
                stack.push((id, next + 1));
                if !seen[src.0 as usize] {
                    stack.push((src, 0));
                }
            }
            None => out.push(id),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Access, Layout, Param};
    use crate::uop::{Axis, DType};

    fn copy_kernel(noise: bool, extent: i64) -> Kernel {
        let mut uops = Uops::new();
        if noise {
            let x = uops.index(77);
            uops.range(9, x, Axis::Loop);
        }
        let n = uops.index(extent);
        let r = uops.range(0, n, Axis::Loop);
        let (a, b) = (uops.param(0, DType::F32), uops.param(1, DType::F32));
        let x = uops.load(a, &[r]);
        let y = uops.add(x, x);
        let s = uops.store(b, y, &[r]);
        let sink = uops.sink(&[s]);
        let param = |access| Param {
            dtype: DType::F32,
            layout: Layout::row_major(&[extent]),
            access,
            weight: false,
        };
        Kernel {
            name: format!("k{noise}"),
            uops,
            sink,
            params: vec![param(Access::Read), param(Access::Write)],
            origins: Vec::new(),
        }
    }

    #[test]
    fn depends_on_the_dag_only() {
        let plain = fingerprint(&copy_kernel(false, 8));
        assert_eq!(plain, fingerprint(&copy_kernel(true, 8)));
        assert_ne!(plain, fingerprint(&copy_kernel(false, 9)));
    }

    #[test]
    fn parameters_count() {
        let mut k = copy_kernel(false, 8);
        let before = fingerprint(&k);
        k.params[0].weight = true;
        assert_ne!(before, fingerprint(&k));
    }
}
