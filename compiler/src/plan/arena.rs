//! Offsets in one arena for buffers with lifetimes.
//!
//! Several orders of greedy best-fit are tried (by size, by life times size, by start; each buffer goes to the
//! lowest gap that fits among those already placed and alive with it) and the smallest result wins; when
//! that is above the lower bound, buffers that stick out are moved to the front of the order and it is
//! tried again. After Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference" (2020).

/// A buffer's life, in steps (inclusive), and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// First step that touches it.
    pub first: usize,
    /// Last step that touches it.
    pub last: usize,
    /// Size, a multiple of the alignment.
    pub bytes: u64,
}

/// Result of [`place`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arena {
    /// One for each buffer.
    pub offsets: Vec<u64>,
    /// End of the last buffer.
    pub bytes: u64,
    /// Largest sum of live bytes at one step.
    pub lower_bound: u64,
}

/// How often an order is improved.
const ROUNDS: usize = 200;

/// Places buffers so that no two alive at one step overlap.
pub fn place(lives: &[Life]) -> Arena {
    let lower_bound = lower_bound(lives);
    let mut best: Option<Arena> = None;
    let mut orders: Vec<Vec<usize>> = Vec::new();
    let by = |key: &dyn Fn(&Life) -> (u64, u64)| {
        let mut order: Vec<usize> = (0..lives.len()).collect();
        order.sort_by_key(|&n| {
            let k = key(&lives[n]);
            (std::cmp::Reverse(k), n)
        });
        order
    };
    orders.push(by(&|l| (l.bytes, 0)));
    orders.push(by(&|l| {
        (
            l.bytes.saturating_mul((l.last - l.first + 1) as u64),
            l.bytes,
        )
    }));
    orders.push(by(&|l| ((l.last - l.first + 1) as u64, l.bytes)));
    orders.push(by(&|l| (u64::MAX - l.first as u64, l.bytes)));
    for mut order in orders {
        for _ in 0..ROUNDS {
            let offsets = first_fit(lives, &order);
            let bytes = end(lives, &offsets);
            let highest = order
                .iter()
                .position(|&n| offsets[n] + lives[n].bytes == bytes);
            if best.as_ref().is_none_or(|b| bytes < b.bytes) {
                best = Some(Arena {
                    offsets,
                    bytes,
                    lower_bound,
                });
            }
            match highest {
                Some(at) if at > 0 && bytes > lower_bound => {
                    let n = order.remove(at);
                    order.insert(at / 2, n);
                }
                _ => break,
            }
        }
        if best.as_ref().is_some_and(|b| b.bytes == lower_bound) {
            break;
        }
    }
    best.unwrap_or(Arena {
        offsets: Vec::new(),
        bytes: 0,
        lower_bound: 0,
    })
}

fn end(lives: &[Life], offsets: &[u64]) -> u64 {
    lives
        .iter()
        .zip(offsets)
        .map(|(l, o)| l.bytes + o)
        .max()
        .unwrap_or(0)
}

fn lower_bound(lives: &[Life]) -> u64 {
    let steps = lives.iter().map(|l| l.last + 2).max().unwrap_or(0);
    let mut delta = vec![0i128; steps];
    for l in lives {
        delta[l.first] += i128::from(l.bytes);
        delta[l.last + 1] -= i128::from(l.bytes);
    }
    let mut live = 0;
    let mut most = 0;
    for d in delta {
        live += d;
        most = most.max(live);
    }
    most as u64
}

/// Places in the given order, each at the lowest gap.
fn first_fit(lives: &[Life], order: &[usize]) -> Vec<u64> {
    let mut offsets = vec![0; lives.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(lives.len()); // ascending offsets
    for &n in order {
        let mine = lives[n];
        let mut at = 0;
        for &other in &placed {
            let life = lives[other];
            if life.first > mine.last || life.last < mine.first {
                continue;
            }
            if offsets[other] >= at + mine.bytes {
                break;
            }
            at = at.max(offsets[other] + life.bytes);
        }
        offsets[n] = at;
        let position = placed.partition_point(|&p| offsets[p] <= at);
        placed.insert(position, n);
    }
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_needs_two_buffers() {
        let lives: Vec<Life> = (0..6)
            .map(|n| Life {
                first: n,
                last: n + 1,
                bytes: 64,
            })
            .collect();
        let arena = place(&lives);
        assert_eq!((arena.bytes, arena.lower_bound), (128, 128));
    }

    proptest! {
        #[test]
        fn live_buffers_never_overlap(raw in prop::collection::vec((0usize..20, 0usize..8, 1u64..50), 0..30)) {
            let lives: Vec<Life> = raw.iter().map(|&(first, len, size)| Life { first, last: first + len, bytes: size * 64 }).collect();
            let arena = place(&lives);
            prop_assert_eq!(arena.offsets.len(), lives.len());
            prop_assert!(arena.bytes >= arena.lower_bound);
            for (i, a) in lives.iter().enumerate() {
                prop_assert!(arena.offsets[i] + a.bytes <= arena.bytes);
                for (j, b) in lives.iter().enumerate().skip(i + 1) {
                    if a.first <= b.last && b.first <= a.last {
                        let (x, y) = (arena.offsets[i], arena.offsets[j]);
                        prop_assert!(x + a.bytes <= y || y + b.bytes <= x, "{} and {} overlap", i, j);
                    }
                }
            }
        }
    }
}
