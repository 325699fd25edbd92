//! Comparing two times on a noisy machine.
//!
//! In: times of two things, taken in turns. Out: the median of the ratios within each turn, with an interval that holds it in
//! 95 of 100 cases. What slows the machine down for a while slows both down, so a ratio hardly moves; the interval comes
//! from the order of the ratios alone, whatever their distribution.
//!
//! Example: ratios 0.90 0.91 0.93 ... 1.40 with median 0.93 and interval 0.91 .. 0.96: a win of 7 %, outliers and all.

/// A ratio of two times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Median.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A ratio below this is worth a change.
const WORTH: f64 = 0.98;

impl Ratio {
    /// Of ratios in any order. Fewer than six have no interval that says anything.
    pub fn of(ratios: &[f64]) -> Ratio {
        let mut sorted = ratios.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        if n < 6 {
            return Ratio {
                median: middle(&sorted),
                low: 0.0,
                high: f64::INFINITY,
            };
        }
        // The count of ratios below the median is binomial: normal approximation of its 2.5 % quantile.
        let rank = (n as f64 / 2.0 - 0.98 * (n as f64).sqrt()).floor().max(0.0) as usize;
        Ratio {
            median: middle(&sorted),
            low: sorted[rank],
            high: sorted[n - 1 - rank],
        }
    }

    /// Faster by enough to matter, and not by chance.
    pub fn is_win(&self) -> bool {
        self.median <= WORTH && self.high < 1.0
    }
}

/// Median of a sorted list; 1 for none.
fn middle(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 1.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// Median of times in any order; 1 for none.
pub fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    middle(&sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_do_not_decide() {
        let mut ratios: Vec<f64> = (0..31).map(|i| 0.90 + 0.002 * f64::from(i)).collect();
        ratios[3] = 50.0;
        ratios[7] = 0.001;
        let ratio = Ratio::of(&ratios);
        assert!((ratio.median - 0.93).abs() < 0.003, "{ratio:?}");
        assert!(ratio.low > 0.9 && ratio.high < 0.96);
        assert!(ratio.is_win());
    }

    #[test]
    fn chance_is_no_win() {
        // Coin flips between 0.9 and 1.1.
        let ratios: Vec<f64> = (0..31)
            .map(|i| if i * 7 % 31 < 16 { 0.9 } else { 1.1 })
            .collect();
        assert!(!Ratio::of(&ratios).is_win());
        assert!(!Ratio::of(&[0.5; 4]).is_win());
        assert!(!Ratio::of(&[0.99; 40]).is_win());
        assert_eq!(Ratio::of(&[]).median, 1.0);
    }
}
