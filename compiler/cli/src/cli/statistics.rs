//! Figures out of noisy times: quantiles, and bootstrap intervals over groups.
//!
//! Times that were taken together (in one process, in one round) share their luck: the group is what is drawn again, not the
//! single time. In: groups of numbers. Out: an [`Interval`] around the median of the groups' medians.

use serde::{Deserialize, Serialize};
use tinyc_compiler::driver::Random;

/// Draws of a bootstrap.
const DRAWS: usize = 4000;

/// A value and what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// The value.
    pub middle: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// A function of all three that rises.
    pub fn map(self, f: impl Fn(f64) -> f64) -> Interval {
        Interval {
            low: f(self.low),
            middle: f(self.middle),
            high: f(self.high),
        }
    }
}

/// Value at a share of a sorted list, linear between neighbours; NaN for none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = share * last as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (place - place.floor())
}

/// Median of a list in any order; NaN for none.
pub fn median(list: &[f64]) -> f64 {
    let mut sorted = list.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// Interval of the median of the groups' medians that misses with the chance `miss`. The same lists give the same interval.
pub fn bootstrap(groups: &[Vec<f64>], miss: f64) -> Interval {
    let medians: Vec<f64> = groups
        .iter()
        .filter(|g| !g.is_empty())
        .map(|g| median(g))
        .collect();
    let middle = median(&medians);
    let mut random = Random::new(medians.len() as u64);
    let mut drawn = vec![0.0; medians.len()];
    let mut draws: Vec<f64> = (0..DRAWS)
        .map(|_| {
            for d in &mut drawn {
                *d = medians[random.below(medians.len())];
            }
            median(&drawn)
        })
        .collect();
    draws.sort_by(f64::total_cmp);
    Interval {
        low: quantile(&draws, miss / 2.0),
        middle,
        high: quantile(&draws, 1.0 - miss / 2.0),
    }
}

/// Interval of the ratio of two medians, `now` over `before`, of rounds that have nothing to do with each other.
pub fn bootstrap_ratio(before: &[f64], now: &[f64], miss: f64) -> Interval {
    let middle = median(now) / median(before);
    let mut random = Random::new((before.len() + now.len()) as u64);
    let mut draw = |list: &[f64]| {
        let drawn: Vec<f64> = list
            .iter()
            .map(|_| list[random.below(list.len())])
            .collect();
        median(&drawn)
    };
    let mut draws: Vec<f64> = (0..DRAWS).map(|_| draw(now) / draw(before)).collect();
    draws.sort_by(f64::total_cmp);
    Interval {
        low: quantile(&draws, miss / 2.0),
        middle,
        high: quantile(&draws, 1.0 - miss / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let times = [1.0, 2.0, 3.0, 10.0];
        assert_eq!(quantile(&times, 0.0), 1.0);
        assert_eq!(quantile(&times, 0.5), 2.5);
        assert_eq!(quantile(&times, 1.0), 10.0);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn one_wild_group_does_not_move_the_interval() {
        let mut groups: Vec<Vec<f64>> = (0..20)
            .map(|i| vec![1.0 + f64::from(i % 5) * 0.01; 3])
            .collect();
        groups[7] = vec![90.0; 3];
        let i = bootstrap(&groups, 0.01);
        assert!(
            1.0 <= i.low && i.low <= i.middle && i.middle <= i.high && i.high < 1.05,
            "{i:?}"
        );
        assert_eq!(i, bootstrap(&groups, 0.01));
    }

    #[test]
    fn nothing_gives_nan() {
        assert!(bootstrap(&[], 0.05).middle.is_nan());
        assert!(bootstrap(&[vec![]], 0.05).low.is_nan());
    }
}
