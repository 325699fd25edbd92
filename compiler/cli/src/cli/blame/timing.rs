//! Times the kernels of two artifacts in turns until it is clear which of them moved.
//!
//! In: matched launches. Out: for each pair of kernels a ratio with an interval and a [`Verdict`].
//!
//! What makes this work on a shared machine:
//! - Both sides of a pair are timed within milliseconds of each other, in the order old, new, new, old (then the other way
//!   round), each by the fastest of several short groups of calls. Short kernels are called many times a group.
//! - A *session* is one pair of processes, both on the same processor. Memory lies elsewhere in each, which alone can be worth
//!   several percent; so sessions, not single times, are what the bootstrap draws.
//! - Intervals allow for the number of kernels that are compared, and a kernel that seems to have moved must do so again in
//!   sessions of its own before it is named: looking often does not find something in nothing.
//! - Kernels that are decided are only run, not timed.

use super::artifact::Artifact;
use super::matching::Region;
use super::server::Server;
use crate::cli::statistics::{Interval, bootstrap, median};
use serde::Serialize;
use std::time::{Duration, Instant};
use tinyc_compiler::diag::Result;

/// Sessions before anything is decided, and sessions that must confirm it.
const SESSIONS: usize = 5;
/// Sessions after which a kernel that shows no sign of a change is let go, however wide its interval is.
const PATIENCE: usize = 20;
/// Rounds in a session.
const ROUNDS: usize = 3;
/// Seconds that a group of calls should take at least: much more than reading the clock does.
const GROUP_SECONDS: f64 = 40e-6;
/// Regions of one group that are timed in each round; others only in later rounds.
const REGIONS_A_ROUND: usize = 3;
/// Chance that the interval of any kernel misses.
const MISS: f64 = 0.02;

/// What to find out, and how long to try.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Relative change that counts.
    pub threshold: f64,
    /// Kernels below this share of the time are not compared.
    pub min_share: f64,
    /// When to give up.
    pub limit: Duration,
    /// Processors to use in turns.
    pub processors: usize,
}

/// What became of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The time ran out.
    Undecided,
    /// Seems to have moved; sessions before this one do not confirm it.
    #[serde(skip)]
    Suspect(usize),
    /// Moved by more than the threshold.
    Moved,
    /// Moved by less, or shows no sign of a change.
    Still,
    /// Too small a part of the time to count.
    Small,
    /// Has launches on one side only.
    OneSided,
}

/// Kernels of both sides that do the same work, wherever they are launched.
#[derive(Debug, Clone)]
pub struct Group {
    /// Kernels of the old artifact.
    pub old: Vec<usize>,
    /// Kernels of the new one.
    pub new: Vec<usize>,
    /// Where they are launched.
    pub regions: Vec<usize>,
    /// Logarithms of new over old time, by session.
    ratios: Vec<Vec<f64>>,
    /// Seconds of one region, old and new.
    seconds: (Vec<f64>, Vec<f64>),
    /// What became of it.
    pub verdict: Verdict,
    /// New over old time.
    pub ratio: Interval,
}

impl Group {
    /// Seconds of all regions in one run: old, new.
    pub fn seconds(&self) -> (f64, f64) {
        let all = |list: &[f64]| match list {
            [] => 0.0,
            list => median(list) * self.regions.len() as f64,
        };
        (all(&self.seconds.0), all(&self.seconds.1))
    }

    /// Sessions that timed it.
    pub fn sessions(&self) -> usize {
        self.ratios.len()
    }

    /// Decides after a session. `rivals` are the groups that are compared.
    fn decide(&mut self, rivals: usize, threshold: f64) {
        let (low, high) = ((1.0 - threshold).ln(), (1.0 + threshold).ln());
        let outside = |i: Interval| i.low > high || i.high < low;
        let all = bootstrap(&self.ratios, MISS / rivals.max(1) as f64);
        self.ratio = all.map(f64::exp);
        if self.ratios.len() < SESSIONS {
            return;
        }
        self.verdict = match self.verdict {
            Verdict::Suspect(since) if outside(all) => {
                let fresh = self.ratios.get(since..).unwrap_or(&[]);
                // Where sessions differ by more than the change, a few of them agree by luck.
                let wide = all.high - all.low > all.middle.abs();
                if fresh.len() < if wide { 3 * SESSIONS } else { SESSIONS } {
                    return;
                }
                let again = bootstrap(fresh, MISS);
                let same_side = (again.middle > 0.0) == (all.middle > 0.0);
                if outside(again) && same_side {
                    Verdict::Moved
                } else {
                    Verdict::Undecided
                }
            }
            _ if outside(all) => Verdict::Suspect(self.ratios.len()),
            _ if all.low > low && all.high < high => Verdict::Still,
            _ if self.ratios.len() >= PATIENCE && no_sign(all, threshold) => Verdict::Still,
            _ => Verdict::Undecided,
        };
    }
}

/// No change is well inside the interval, and its middle is near it.
fn no_sign(i: Interval, threshold: f64) -> bool {
    i.low < 0.0 && i.high > 0.0 && i.middle.abs() < threshold / 2.0
}

/// Times everything. `tell` hears what is left to decide.
pub fn time(
    old: &Artifact,
    new: &Artifact,
    regions: &[Region],
    plan: Plan,
    mut tell: impl FnMut(&str),
) -> Result<Vec<Group>> {
    let mut groups = groups(old, new, regions);
    let mut bench = Bench {
        sides: [old, new],
        regions,
        pace: [
            vec![Pace::default(); old.launches.len()],
            vec![Pace::default(); new.launches.len()],
        ],
    };
    let start = Instant::now();
    for session in 0.. {
        bench.session(session, &mut groups, plan)?;
        let open = |v: Verdict| matches!(v, Verdict::Undecided | Verdict::Suspect(_));
        let small = |v: Verdict| matches!(v, Verdict::Small | Verdict::OneSided);
        let rivals = groups.iter().filter(|g| !small(g.verdict)).count();
        for group in groups.iter_mut().filter(|g| open(g.verdict)) {
            group.decide(rivals, plan.threshold);
        }
        let left = groups.iter().filter(|g| open(g.verdict)).count();
        tell(&format!(
            "session {}: {left} kernels to decide",
            session + 1
        ));
        let one_sided =
            session + 1 < ROUNDS && groups.iter().any(|g| g.verdict == Verdict::OneSided);
        if left == 0 && !one_sided || start.elapsed() > plan.limit {
            break;
        }
    }
    for group in &mut groups {
        if let Verdict::Suspect(_) = group.verdict {
            group.verdict = Verdict::Undecided;
        }
    }
    Ok(groups)
}

/// Regions with the same kernels are one group.
fn groups(old: &Artifact, new: &Artifact, regions: &[Region]) -> Vec<Group> {
    let mut out: Vec<Group> = Vec::new();
    for (n, region) in regions.iter().enumerate() {
        let kernels = |a: &Artifact, range: &std::ops::Range<usize>| -> Vec<usize> {
            let list = a.launches.get(range.clone()).unwrap_or(&[]);
            list.iter().map(|l| l.kernel).collect()
        };
        let (a, b) = (kernels(old, &region.old), kernels(new, &region.new));
        match out.iter_mut().find(|g| g.old == a && g.new == b) {
            Some(group) => group.regions.push(n),
            None => out.push(Group {
                verdict: match a.is_empty() || b.is_empty() {
                    true => Verdict::OneSided,
                    false => Verdict::Undecided,
                },
                old: a,
                new: b,
                regions: vec![n],
                ratios: Vec::new(),
                seconds: (Vec::new(), Vec::new()),
                ratio: bootstrap(&[], MISS),
            }),
        }
    }
    out
}

/// How a launch is timed.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    calls: u32,
    groups: u32,
}

impl Pace {
    /// For a launch that takes so long.
    fn of(seconds: f64) -> Pace {
        let calls = (GROUP_SECONDS / seconds.max(1e-9)).ceil();
        Pace {
            calls: calls.clamp(1.0, 1e5) as u32,
            groups: match seconds {
                s if s < 2e-4 => 8,
                s if s < 1e-3 => 5,
                s if s < 1e-2 => 3,
                _ => 2,
            },
        }
    }
}

/// The two sides and what is known about their launches.
struct Bench<'a> {
    sides: [&'a Artifact; 2],
    regions: &'a [Region],
    pace: [Vec<Pace>; 2],
}

impl Bench<'_> {
    /// One pair of processes.
    fn session(&mut self, session: usize, groups: &mut [Group], plan: Plan) -> Result<()> {
        let processor = session % plan.processors.max(1);
        let mut servers = [
            Server::start(self.sides[0], processor)?,
            Server::start(self.sides[1], processor)?,
        ];
        for (server, side) in servers.iter_mut().zip(self.sides) {
            for launch in 0..side.launches.len() {
                server.run(launch)?;
            }
            server.settle()?;
        }
        let mut group_of = vec![0; self.regions.len()];
        for (n, group) in groups.iter_mut().enumerate() {
            for &region in &group.regions {
                group_of[region] = n;
            }
            group.ratios.push(Vec::new());
        }
        for round in 0..ROUNDS {
            let mut timed = vec![0usize; groups.len()];
            let mut sums = vec![(0.0, 0.0); groups.len()];
            for (n, region) in self.regions.iter().enumerate() {
                let group = &groups[group_of[n]];
                let wanted = match group.verdict {
                    Verdict::Undecided | Verdict::Suspect(_) => true,
                    Verdict::OneSided => session < ROUNDS,
                    _ => false,
                };
                // Many equal layers take turns.
                let of = group.regions.len().div_ceil(REGIONS_A_ROUND);
                let at = group.regions.iter().position(|&r| r == n).unwrap_or(0);
                let turn = at % of == (session * ROUNDS + round) % of;
                if !(wanted && turn) {
                    self.pass_by(&mut servers, region)?;
                    continue;
                }
                let swapped = (n + round + session) % 2 == 1;
                let (a, b) = self.time_region(&mut servers, region, swapped)?;
                let sum = &mut sums[group_of[n]];
                *sum = (sum.0 + a, sum.1 + b);
                timed[group_of[n]] += 1;
            }
            for ((group, count), (a, b)) in groups.iter_mut().zip(timed).zip(sums) {
                if count == 0 {
                    continue;
                }
                group.seconds.0.push(a / count as f64);
                group.seconds.1.push(b / count as f64);
                let list = group.ratios.last_mut();
                if let (Some(list), true) = (list, a > 0.0 && b > 0.0) {
                    list.push((b / a).ln());
                }
            }
            if session == 0 && round == 0 {
                drop_small(groups, plan.min_share);
            }
        }
        for group in groups.iter_mut() {
            if group.ratios.last().is_some_and(Vec::is_empty) {
                group.ratios.pop();
            }
        }
        Ok(())
    }

    /// Runs a region on both sides.
    fn pass_by(&self, servers: &mut [Server; 2], region: &Region) -> Result<()> {
        for (server, range) in servers.iter_mut().zip([&region.old, &region.new]) {
            for launch in range.clone() {
                server.run(launch)?;
            }
        }
        Ok(())
    }

    /// Seconds of a region on both sides. Leaves the memory of both as if it had run once.
    fn time_region(
        &mut self,
        servers: &mut [Server; 2],
        region: &Region,
        swapped: bool,
    ) -> Result<(f64, f64)> {
        for server in servers.iter_mut() {
            server.settle()?;
        }
        let mut seconds = [0.0; 2];
        let order = if swapped { [1, 0] } else { [0, 1] };
        if region.is_pair() {
            let launches = [region.old.start, region.new.start];
            for side in order {
                self.prepare(&mut servers[side], side, launches[side])?;
            }
            for side in [order[0], order[1], order[1], order[0]] {
                let pace = self.pace[side][launches[side]];
                let time = servers[side].time(launches[side], pace.calls, pace.groups)?;
                seconds[side] += time / 2.0;
            }
            for side in order {
                self.finish(&mut servers[side], side, launches[side])?;
            }
            return Ok((seconds[0], seconds[1]));
        }
        for side in order {
            let range = [&region.old, &region.new][side];
            for launch in range.clone() {
                self.prepare(&mut servers[side], side, launch)?;
                let pace = self.pace[side][launch];
                seconds[side] += servers[side].time(launch, pace.calls, pace.groups)?;
                self.finish(&mut servers[side], side, launch)?;
            }
        }
        Ok((seconds[0], seconds[1]))
    }

    /// Keeps what timing would spoil, and finds out how to time a launch.
    fn prepare(&mut self, server: &mut Server, side: usize, launch: usize) -> Result<()> {
        server.keep(launch, &self.sides[side].launches[launch].written)?;
        let pace = &mut self.pace[side][launch];
        if pace.calls == 0 {
            let once = server.time(launch, 1, 3)?;
            *pace = Pace::of(server.time(launch, Pace::of(once).calls, 2)?);
        }
        server.settle()
    }

    fn finish(&self, server: &mut Server, side: usize, launch: usize) -> Result<()> {
        let written = &self.sides[side].launches[launch].written;
        if written.iter().any(|w| w.read) {
            server.bring_back(launch, written)?;
            server.run(launch)?;
        }
        server.settle()
    }
}

/// Groups that do not matter are not compared: each costs the others certainty.
fn drop_small(groups: &mut [Group], min_share: f64) {
    let total: f64 = groups
        .iter()
        .map(|g| g.seconds().0.max(g.seconds().1))
        .sum();
    for group in groups.iter_mut() {
        let (a, b) = group.seconds();
        if group.verdict == Verdict::Undecided && a.max(b) < min_share * total {
            group.verdict = Verdict::Small;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(ratios: Vec<Vec<f64>>) -> Group {
        Group {
            old: vec![0],
            new: vec![0],
            regions: vec![0],
            ratios,
            seconds: (vec![1.0], vec![1.1]),
            verdict: Verdict::Undecided,
            ratio: bootstrap(&[], MISS),
        }
    }

    /// Sessions around a change, each off by up to `noise` of its own.
    fn sessions(change: f64, noise: f64, count: usize) -> Vec<Vec<f64>> {
        let mut random = tinyc_compiler::driver::Random::new(7);
        let mut off = || (random.below(2001) as f64 / 1000.0 - 1.0) * noise;
        (0..count)
            .map(|_| {
                let own = off();
                (0..ROUNDS)
                    .map(|_| change.ln_1p() + own + off() * 0.3)
                    .collect()
            })
            .collect()
    }

    #[test]
    fn a_kernel_is_named_after_it_was_confirmed() {
        let all = sessions(0.1, 0.03, 2 * SESSIONS);
        let mut g = group(all[..SESSIONS].to_vec());
        g.decide(20, 0.03);
        assert_eq!(g.verdict, Verdict::Suspect(SESSIONS));
        g.ratios = all;
        g.decide(20, 0.03);
        assert_eq!(g.verdict, Verdict::Moved);
        assert!((g.ratio.middle - 1.1).abs() < 0.03, "{:?}", g.ratio);
    }

    #[test]
    fn wide_intervals_need_more_sessions() {
        let noisy = |count: usize| -> Vec<Vec<f64>> {
            let list = [0.1, 0.3, 0.5, 0.12, 0.6];
            (0..count).map(|n| vec![list[n % list.len()]]).collect()
        };
        let mut g = group(noisy(SESSIONS));
        g.decide(20, 0.03);
        assert_eq!(g.verdict, Verdict::Suspect(SESSIONS));
        g.ratios = noisy(2 * SESSIONS);
        g.decide(20, 0.03);
        assert_eq!(g.verdict, Verdict::Suspect(SESSIONS));
        g.ratios = noisy(4 * SESSIONS);
        g.decide(20, 0.03);
        assert_ne!(g.verdict, Verdict::Suspect(SESSIONS));
    }

    #[test]
    fn luck_is_not_confirmed() {
        let mut g = group(sessions(0.1, 0.01, SESSIONS));
        g.decide(20, 0.03);
        assert_eq!(g.verdict, Verdict::Suspect(SESSIONS));
        g.ratios.extend(sessions(0.0, 0.01, SESSIONS));
        g.decide(20, 0.03);
        assert_eq!(g.verdict, Verdict::Undecided);
    }

    #[test]
    fn noise_below_the_threshold_is_still() {
        let mut g = group(sessions(0.0, 0.02, 12));
        g.decide(20, 0.03);
        assert_eq!(g.verdict, Verdict::Still);
        let mut g = group(sessions(0.0, 0.02, SESSIONS - 1));
        g.decide(20, 0.03);
        assert_eq!(g.verdict, Verdict::Undecided);
    }

    #[test]
    fn a_noisy_kernel_is_let_go_when_it_shows_no_sign() {
        let mut g = group(sessions(0.0, 0.3, PATIENCE - 1));
        g.decide(20, 0.03);
        assert_eq!(g.verdict, Verdict::Undecided);
        let wide = Interval {
            low: -0.05,
            middle: 0.01,
            high: 0.06,
        };
        assert!(no_sign(wide, 0.03));
        assert!(!no_sign(Interval { low: 0.001, ..wide }, 0.03));
        assert!(!no_sign(
            Interval {
                middle: 0.02,
                ..wide
            },
            0.03
        ));
    }

    #[test]
    fn short_kernels_are_called_often() {
        let pace = Pace::of(1e-6);
        assert!((40..=41).contains(&pace.calls) && pace.groups == 8);
        assert_eq!(Pace::of(0.1).calls, 1);
        assert!((40_000..=40_001).contains(&Pace::of(0.0).calls));
    }
}
