//! Which launches of two artifacts belong together.
//!
//! In: the launches of both. Out: [`Region`]s in order. Launches of equal kernels are matched first (the longest common
//! sequence of hashes), then, between those, launches that compute the same model nodes. What is left between two matches is
//! one region with several launches, or with launches of one side only: there the fusion differs.
//!
//! Example: `conv, relu, pool` against `conv_relu, pool` gives the regions `[conv, relu] | [conv_relu]` and `[pool] | [pool]`.

use super::artifact::Artifact;
use std::ops::Range;

/// Launches of both sides that do the same work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Launches of the old artifact.
    pub old: Range<usize>,
    /// Launches of the new one.
    pub new: Range<usize>,
    /// One launch each, of kernels with one hash.
    pub same_kernel: bool,
}

impl Region {
    /// One launch on each side.
    pub fn is_pair(&self) -> bool {
        self.old.len() == 1 && self.new.len() == 1
    }
}

/// Matches launches.
pub fn regions(old: &Artifact, new: &Artifact) -> Vec<Region> {
    let hashes = |a: &Artifact| -> Vec<String> {
        a.launches
            .iter()
            .map(|l| {
                a.kernels
                    .get(l.kernel)
                    .map_or(String::new(), |k| k.hash.clone())
            })
            .collect()
    };
    let nodes =
        |a: &Artifact| -> Vec<String> { a.launches.iter().map(|l| l.nodes.clone()).collect() };
    match_lists((&hashes(old), &hashes(new)), (&nodes(old), &nodes(new)))
}

/// The same on lists: hashes, then nodes.
fn match_lists(hashes: (&[String], &[String]), nodes: (&[String], &[String])) -> Vec<Region> {
    let mut out = Vec::new();
    let end = (hashes.0.len(), hashes.1.len());
    let mut at = (0, 0);
    for (i, j) in common(hashes.0, hashes.1).into_iter().chain([end]) {
        // Between two equal kernels: by nodes.
        let (a, b) = (&nodes.0[at.0..i], &nodes.1[at.1..j]);
        let mut inner = (0, 0);
        for (x, y) in common(a, b).into_iter().chain([(a.len(), b.len())]) {
            if inner != (x, y) {
                out.push(Region {
                    old: at.0 + inner.0..at.0 + x,
                    new: at.1 + inner.1..at.1 + y,
                    same_kernel: false,
                });
            }
            if (x, y) != (a.len(), b.len()) {
                out.push(Region {
                    old: at.0 + x..at.0 + x + 1,
                    new: at.1 + y..at.1 + y + 1,
                    same_kernel: false,
                });
            }
            inner = (x + 1, y + 1);
        }
        if (i, j) != end {
            out.push(Region {
                old: i..i + 1,
                new: j..j + 1,
                same_kernel: true,
            });
        }
        at = (i + 1, j + 1);
    }
    out
}

/// Places of a longest common sequence. Empty texts are equal to nothing.
fn common(a: &[String], b: &[String]) -> Vec<(usize, usize)> {
    let equal = |i: usize, j: usize| !a[i].is_empty() && a[i] == b[j];
    let start = (0..a.len().min(b.len()))
        .take_while(|&i| equal(i, i))
        .count();
    let room = a.len().min(b.len()) - start;
    let end = (0..room)
        .take_while(|&k| equal(a.len() - 1 - k, b.len() - 1 - k))
        .count();
    let (n, m) = (a.len() - start - end, b.len() - start - end);
    // longest[i][j]: of what is behind i and j, in the middle part.
    let mut longest = vec![0u32; (n + 1) * (m + 1)];
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            longest[i * (m + 1) + j] = if equal(start + i, start + j) {
                longest[(i + 1) * (m + 1) + j + 1] + 1
            } else {
                longest[(i + 1) * (m + 1) + j].max(longest[i * (m + 1) + j + 1])
            };
        }
    }
    let mut out: Vec<(usize, usize)> = (0..start).map(|i| (i, i)).collect();
    let (mut i, mut j) = (0, 0);
    while i < n && j < m {
        if equal(start + i, start + j) {
            out.push((start + i, start + j));
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * (m + 1) + j] >= longest[i * (m + 1) + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    out.extend((0..end).rev().map(|k| (a.len() - 1 - k, b.len() - 1 - k)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_string()).collect()
    }

    /// Regions as `old|new`, `=` for one kernel on both sides.
    fn shown(hashes: [&[&str]; 2], nodes: [&[&str]; 2]) -> Vec<String> {
        let h = hashes.map(texts);
        let n = nodes.map(texts);
        match_lists((&h[0], &h[1]), (&n[0], &n[1]))
            .iter()
            .map(|r| {
                let side = |list: &[String]| list.join("+");
                let middle = if r.same_kernel { "=" } else { "|" };
                format!(
                    "{}{middle}{}",
                    side(&h[0][r.old.clone()]),
                    side(&h[1][r.new.clone()])
                )
            })
            .collect()
    }

    #[test]
    fn equal_programs() {
        let h: &[&str] = &["a", "b", "b", "c"];
        assert_eq!(shown([h, h], [h, h]), ["a=a", "b=b", "b=b", "c=c"]);
        assert_eq!(shown([&[], &[]], [&[], &[]]), Vec::<String>::new());
    }

    #[test]
    fn other_fusion_is_one_region() {
        assert_eq!(
            shown(
                [&["a", "b", "c"], &["ab", "c"]],
                [&["Conv", "Relu", "Pool"], &["Conv + Relu", "Pool"]]
            ),
            ["a+b|ab", "c=c"]
        );
    }

    #[test]
    fn other_kernels_for_the_same_nodes() {
        assert_eq!(
            shown(
                [&["a", "b", "c", "d"], &["a", "x", "y", "d", "e"]],
                [&["1", "2", "3", "4"], &["1", "2", "3", "4", "5"]]
            ),
            ["a=a", "b|x", "c|y", "d=d", "|e"]
        );
    }

    #[test]
    fn nothing_in_common() {
        assert_eq!(shown([&["a", "b"], &["c"]], [&["", ""], &[""]]), ["a+b|c"]);
    }
}
