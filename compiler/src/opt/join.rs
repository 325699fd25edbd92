//! Nests that share their outermost loops, and which nests must not touch each other's elements.
//!
//! In: finished nests. Out: the same with the loops that two of them have in common made one. A matmul whose rows do not
//! divide by the tile's is two nests; joined at the loop over panels of weights each panel is read once.
//!
//! Workers do not wait for each other inside a kernel. So where one nest reads or overwrites what another writes, both must be divided
//! among the workers alike: [`check`] refuses what it cannot prove.
//!
//! Example: `for p { for t { main } } for p { rest }` becomes `for p { for t { main } rest }`.

use super::nest::{AccessTo, Nest, Work};
use super::opts::Opt;
use crate::uop::{Axis, Bounds, Linear, UopId};
use rustc_hash::FxHashMap;

/// True when two values of a range never lead to the same element: in some dimension the range of nest `a` and that of
/// nest `b` count blocks of the same size, and what else is in the index stays inside a block or counts runs of all these blocks.
pub fn separates(work: &Work<'_>, a: UopId, at: &[UopId], b: UopId, bt: &[UopId]) -> bool {
    at.iter().zip(bt).any(|(&x, &y)| {
        let (Some((c, low, high)), Some((d, least, most))) = (digit(work, x, a), digit(work, y, b))
        else {
            return false;
        };
        c == d && work.extent(a) == work.extent(b) && low >= 0 && high < c && least >= 0 && most < c
    })
}

/// Coefficient of a range in an index, and the interval of what is left without the digits above it.
fn digit(work: &Work<'_>, index: UopId, range: UopId) -> Option<(i64, i64, i64)> {
    let mut form = Linear::of(&work.g, index)?;
    let c = form.terms.iter().find(|t| t.0 == range)?.1;
    let above = c.abs().saturating_mul(work.extent(range)).max(1);
    form.terms.retain(|t| t.0 != range && t.1 % above != 0);
    if form.terms.iter().any(|t| work.depends(t.0, range)) {
        return None;
    }
    let (low, high) = form.bounds(&work.g, &mut Bounds::new());
    (c > 0).then_some((c, low, high))
}

/// True when two accesses never meet: some dimension's intervals do not overlap.
fn disjoint(work: &Work<'_>, a: &[UopId], b: &[UopId]) -> bool {
    let mut bounds = Bounds::new();
    a.iter().zip(b).any(|(&x, &y)| {
        let (low, high) = bounds.of(&work.g, x);
        let (least, most) = bounds.of(&work.g, y);
        high < least || most < low
    })
}

/// Accesses of two nests to one buffer that may meet, one of them a store.
fn conflicts(work: &Work<'_>, a: &Nest, b: &Nest) -> Vec<(AccessTo, AccessTo)> {
    let (of_a, of_b) = (work.accesses(a.store), work.accesses(b.store));
    let mut out = Vec::new();
    for x in &of_a {
        for y in &of_b {
            if x.slot == y.slot && (x.store || y.store) && !disjoint(work, &x.index, &y.index) {
                out.push((x.clone(), y.clone()));
            }
        }
    }
    out
}

fn is_plain(axis: Axis) -> bool {
    matches!(axis, Axis::Loop | Axis::Parallel | Axis::Serial)
}

/// How many outermost loops two nests may share: they run equally long and mean the same part of the output.
fn common(work: &Work<'_>, a: &Nest, b: &Nest) -> usize {
    let store = |n: &Nest| work.accesses(n.store).into_iter().find(|x| x.store);
    let (Some(x), Some(y)) = (store(a), store(b)) else {
        return 0;
    };
    if a.family != b.family || x.slot != y.slot || !conflicts(work, a, b).is_empty() {
        return 0;
    }
    let (loops_a, loops_b) = (work.loops(a), work.loops(b));
    let (reduces_a, reduces_b) = (work.reduces(a), work.reduces(b));
    // What a reduce does not depend on stays inside of it: in a shared loop it would run again each time.
    let inside = |reduces: &[UopId], range: UopId| reduces.iter().all(|&x| work.depends(x, range));
    a.order
        .iter()
        .zip(&b.order)
        .take_while(|&(&r, &s)| {
            loops_a.contains(&r)
                && inside(&reduces_a, r)
                && inside(&reduces_b, s)
                && loops_b.contains(&s)
                && work.extent(r) == work.extent(s)
                && work.axis(r) == work.axis(s)
                && is_plain(work.axis(r))
                && (work.axis(r) == Axis::Serial || separates(work, r, &x.index, s, &y.index))
        })
        .count()
}

/// Nests that will share loops, and how many.
#[derive(Debug)]
pub struct Group {
    /// In the order in which they run.
    pub nests: Vec<Nest>,
    /// Loops that all of them share; all loops of a nest that is alone.
    pub depth: usize,
    /// For each nest but the first: loops shared with the first.
    pub depths: Vec<usize>,
}

/// Pieces below which shared loops would leave workers without work.
const ENOUGH: i64 = 16;

/// Iterations of the outermost loops that workers can share.
fn pieces(work: &Work<'_>, nest: &Nest, depth: usize) -> i64 {
    let parallel = |r: &&UopId| work.axis(**r) != Axis::Serial;
    let loops = nest.order[..depth].iter().filter(parallel);
    loops.map(|&r| work.extent(r)).product()
}

/// Parts that share nothing.
pub fn apart(parts: Vec<Nest>) -> Vec<Group> {
    let alone = |nest: Nest| Group {
        depth: nest.order.len(),
        nests: vec![nest],
        depths: Vec::new(),
    };
    parts.into_iter().map(alone).collect()
}

/// Groups the parts of one nest.
pub fn group(work: &Work<'_>, mut parts: Vec<Nest>) -> Vec<Group> {
    parts.sort_by_key(|n| work.place(n.number));
    let mut groups: Vec<Group> = Vec::new();
    for nest in parts {
        let best = groups
            .iter_mut()
            .map(|g| (common(work, &g.nests[0], &nest), g))
            .filter(|(depth, g)| pieces(work, &g.nests[0], *depth) >= ENOUGH)
            .max_by_key(|(depth, _)| *depth);
        match best {
            Some((depth, g)) => {
                g.depth = g.depth.min(depth);
                // Those that share more come first: a loop is opened once.
                let at = g.depths.iter().take_while(|&&d| d >= depth).count();
                g.nests.insert(at + 1, nest);
                g.depths.insert(at, depth);
            }
            None => groups.push(Group {
                depth: nest.order.len(),
                nests: vec![nest],
                depths: Vec::new(),
            }),
        }
    }
    groups
}

/// Records that the nests of a group share their loops.
pub fn record(work: &mut Work<'_>, group: &Group) {
    for (nest, &depth) in group.nests[1..]
        .iter()
        .zip(&group.depths)
        .filter(|d| *d.1 > 0)
    {
        work.log.push(Opt::Join {
            nest: nest.number,
            with: group.nests[0].number,
            depth: depth as u32,
        });
    }
}

/// Moves nest `b` behind those that share loops with nest `a`, and gives it the `depth` outermost loops of `a`.
///
/// # Errors
/// Why that is not legal.
pub fn join(
    work: &mut Work<'_>,
    nests: &mut Vec<Nest>,
    a: usize,
    b: usize,
    depth: usize,
) -> Result<(), String> {
    if a >= b {
        return Err("a nest joins one that comes before it".into());
    }
    let alike = |r: UopId, s: UopId| {
        work.extent(r) == work.extent(s) && work.axis(r) == work.axis(s) && is_plain(work.axis(r))
    };
    let (loops_a, loops_b) = (work.loops(&nests[a]), work.loops(&nests[b]));
    let possible = depth > 0
        && nests[a].order.len().min(nests[b].order.len()) >= depth
        && nests[a].order[..depth]
            .iter()
            .zip(&nests[b].order[..depth])
            .all(|(r, s)| loops_a.contains(r) && loops_b.contains(s) && alike(*r, *s));
    if !possible {
        return Err(format!("the nests do not have {depth} loops in common"));
    }
    let shared: Vec<UopId> = nests[a].order[..depth].to_vec();
    let members = nests[a..b]
        .iter()
        .take_while(|n| n.order.len() >= depth && n.order[..depth] == shared[..])
        .count();
    for (n, other) in nests[a..b].iter().enumerate() {
        for (x, y) in conflicts(work, other, &nests[b]) {
            // Members run before it in the same iteration: fine where they meet in the same iteration only.
            let together = n < members
                && shared
                    .iter()
                    .zip(&nests[b].order)
                    .all(|(&r, &s)| separates(work, r, &x.index, s, &y.index));
            if !together {
                return Err(format!(
                    "it needs what nest {} does in another iteration",
                    other.number
                ));
            }
        }
    }
    let mut nest = nests.remove(b);
    let map: FxHashMap<UopId, UopId> = nest.order.iter().copied().zip(shared.clone()).collect();
    work.replace(&mut nest, &map);
    nest.order[..depth].copy_from_slice(&shared);
    nests.insert(a + members, nest);
    Ok(())
}

/// Checks that nests which meet at an element are divided among workers alike.
///
/// # Errors
/// Which are not.
pub fn check(work: &Work<'_>, nests: &[Nest]) -> Result<(), String> {
    let shared = |n: &Nest| -> Vec<UopId> {
        let parallel = |r: &UopId| work.axis(*r) == Axis::Parallel;
        n.order.iter().copied().filter(parallel).collect()
    };
    for (n, b) in nests.iter().enumerate() {
        for a in &nests[..=n] {
            let (pa, pb) = (shared(a), shared(b));
            // A nest by itself meets its own stores only where iterations depend on each other.
            let alone = a.number == b.number;
            if alone && !a.order.iter().any(|&r| work.axis(r) == Axis::Serial) {
                continue;
            }
            if pa.is_empty() && pb.is_empty() {
                continue;
            }
            for (x, y) in conflicts(work, a, b) {
                // Two stores never meet: each element of an output is stored by one iteration of one nest.
                if x.store && y.store {
                    continue;
                }
                let alike = pa.len() == pb.len()
                    && pa.iter().zip(&pb).all(|(&r, &s)| {
                        work.extent(r) == work.extent(s)
                            && separates(work, r, &x.index, s, &y.index)
                    });
                if !alike {
                    return Err(format!(
                        "nests {} and {} meet, but are not divided alike",
                        a.number, b.number
                    ));
                }
            }
        }
    }
    Ok(())
}
