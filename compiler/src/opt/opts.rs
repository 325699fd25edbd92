//! The choices that make a kernel fast, as values.
//!
//! An [`Opt`] names a nest (by number: the position of its store in the scheduled sink; parts that a `Peel` cuts
//! off count on from there) and a range of it (by the id it has when the opt is applied; new ranges take
//! the next free ids). A kernel's optimised form is fully given by the scheduled kernel and a list of opts: the text
//! form of that list is what tuning databases store and what a person writes by hand.
//!
//! Example: `split(0.3,16,vector)` cuts range 3 of nest 0 into an outer loop and 16 lanes.

use crate::diag::{Error, Result};
use crate::uop::Axis;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A range of a nest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct At {
    /// Number of the nest.
    pub nest: u32,
    /// Id of the range.
    pub range: u32,
}

/// One choice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Opt {
    /// `range -> outer*by + inner`; the inner range has the next free id, the outer one that after it.
    Split {
        /// What is cut.
        axis: At,
        /// Extent of the inner range; divides.
        by: i64,
        /// What the inner range becomes.
        into: Axis,
    },
    /// The range becomes something else, under a new id.
    Become {
        /// Which.
        axis: At,
        /// What.
        into: Axis,
    },
    /// Cuts the nest in two: iterations before `at` stay, the others are a new nest.
    Peel {
        /// A loop.
        axis: At,
        /// First iteration of the new nest.
        at: i64,
    },
    /// Rounds a loop up into padding.
    PadTo {
        /// A loop.
        axis: At,
        /// New extent.
        to: i64,
    },
    /// Several ranges become the digits of one, which has the next free id.
    Flatten {
        /// Number of the nest.
        nest: u32,
        /// Loops of the store, or ranges of one reduce; the first is the highest digit.
        ranges: Vec<u32>,
    },
    /// A longer range in the place of one: what is beyond its end is not stored, or adds nothing.
    Cover {
        /// Which.
        axis: At,
        /// New extent.
        to: i64,
    },
    /// Cuts a sum in chunks that are added in the output buffer: the nest keeps all chunks but the last, which is a new nest.
    Chunk {
        /// A range of the reduce.
        axis: At,
        /// Extent of a chunk; divides.
        by: i64,
    },
    /// A reduce keeps one partial result a lane and combines them at the end.
    Lanes {
        /// A range of the reduce.
        axis: At,
        /// Lanes.
        by: i64,
    },
    /// A reduce keeps so many partial results, of every so-many-th step each, and combines them at the end.
    Parts {
        /// A range of the reduce.
        axis: At,
        /// How many; divides.
        by: i64,
    },
    /// The nest order, outermost first. Given last.
    Order {
        /// Number of the nest.
        nest: u32,
        /// Ids of all its ranges.
        ranges: Vec<u32>,
    },
    /// A nest shares the outermost loops of one before it. Given after every order.
    Join {
        /// Number of the nest.
        nest: u32,
        /// Number of the one before it.
        with: u32,
        /// How many loops.
        depth: u32,
    },
    /// A weight is laid out in the order in which a nest reads it. Given last.
    Pack {
        /// Parameter.
        slot: u32,
        /// Number of the nest.
        nest: u32,
    },
    /// Copies the tile of a buffer that one iteration reads to fast memory.
    Stage {
        /// Parameter.
        slot: u32,
        /// The loop.
        at: At,
    },
    /// Rows, columns and steps of a nest's product are cut into what a matrix instruction of this shape multiplies. The ranges of the
    /// instruction and those over instructions have the next free ids: rows, columns, steps.
    TensorCore {
        /// Number of the nest.
        nest: u32,
        /// Rows, columns, depth.
        shape: [u32; 3],
    },
}

const AXES: [(Axis, &str); 8] = [
    (Axis::Loop, "loop"),
    (Axis::Serial, "serial"),
    (Axis::Parallel, "parallel"),
    (Axis::Unroll, "unroll"),
    (Axis::Vector, "vector"),
    (Axis::Local, "local"),
    (Axis::Group, "group"),
    (Axis::Matrix, "matrix"),
];

fn axis_name(axis: Axis) -> &'static str {
    AXES.iter().find(|a| a.0 == axis).map_or("loop", |a| a.1)
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.nest, self.range)
    }
}

impl fmt::Display for Opt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Opt::Split { axis, by, into } => write!(f, "split({axis},{by},{})", axis_name(*into)),
            Opt::Become { axis, into } => write!(f, "become({axis},{})", axis_name(*into)),
            Opt::Peel { axis, at } => write!(f, "peel({axis},{at})"),
            Opt::PadTo { axis, to } => write!(f, "pad({axis},{to})"),
            Opt::Cover { axis, to } => write!(f, "cover({axis},{to})"),
            Opt::Flatten { nest, ranges } => {
                write!(f, "flatten({nest}")?;
                for r in ranges {
                    write!(f, ",{r}")?;
                }
                f.write_str(")")
            }
            Opt::Lanes { axis, by } => write!(f, "lanes({axis},{by})"),
            Opt::Parts { axis, by } => write!(f, "parts({axis},{by})"),
            Opt::Chunk { axis, by } => write!(f, "chunk({axis},{by})"),
            Opt::Join { nest, with, depth } => write!(f, "join({nest},{with},{depth})"),
            Opt::Order { nest, ranges } => {
                write!(f, "order({nest}")?;
                for r in ranges {
                    write!(f, ",{r}")?;
                }
                f.write_str(")")
            }
            Opt::Pack { slot, nest } => write!(f, "pack({slot},{nest})"),
            Opt::Stage { slot, at } => write!(f, "stage({slot},{at})"),
            Opt::TensorCore {
                nest,
                shape: [m, n, k],
            } => write!(f, "tensorcore({nest},{m},{n},{k})"),
        }
    }
}

impl From<Opt> for String {
    fn from(opt: Opt) -> String {
        opt.to_string()
    }
}

impl TryFrom<String> for Opt {
    type Error = Error;
    fn try_from(text: String) -> Result<Opt> {
        text.parse()
    }
}

impl FromStr for At {
    type Err = Error;
    fn from_str(text: &str) -> Result<At> {
        let wrong = || Error::usage(format!("'{text}' is no range: expected NEST.RANGE"));
        let (nest, range) = text.split_once('.').ok_or_else(wrong)?;
        Ok(At {
            nest: nest.parse().map_err(|_| wrong())?,
            range: range.parse().map_err(|_| wrong())?,
        })
    }
}

impl FromStr for Opt {
    type Err = Error;
    fn from_str(text: &str) -> Result<Opt> {
        let wrong = || Error::usage(format!("'{text}' is no opt"));
        let text = text.trim();
        let (name, rest) = text.split_once('(').ok_or_else(wrong)?;
        let inside = rest.strip_suffix(')').ok_or_else(wrong)?;
        let parts: Vec<&str> = inside.split(',').map(str::trim).collect();
        let part = |n: usize| parts.get(n).copied().ok_or_else(wrong);
        let at = |n: usize| part(n)?.parse::<At>();
        let number = |n: usize| part(n)?.parse::<i64>().map_err(|_| wrong());
        let small = |n: usize| part(n)?.parse::<u32>().map_err(|_| wrong());
        let into = |n: usize| {
            let name = part(n)?;
            AXES.iter()
                .find(|a| a.1 == name)
                .map(|a| a.0)
                .ok_or_else(wrong)
        };
        let (opt, count) = match name.trim() {
            "split" => (
                Opt::Split {
                    axis: at(0)?,
                    by: number(1)?,
                    into: into(2)?,
                },
                3,
            ),
            "become" => (
                Opt::Become {
                    axis: at(0)?,
                    into: into(1)?,
                },
                2,
            ),
            "peel" => (
                Opt::Peel {
                    axis: at(0)?,
                    at: number(1)?,
                },
                2,
            ),
            "pad" => (
                Opt::PadTo {
                    axis: at(0)?,
                    to: number(1)?,
                },
                2,
            ),
            "cover" => (
                Opt::Cover {
                    axis: at(0)?,
                    to: number(1)?,
                },
                2,
            ),
            "flatten" => (
                Opt::Flatten {
                    nest: small(0)?,
                    ranges: (1..parts.len()).map(small).collect::<Result<_>>()?,
                },
                parts.len(),
            ),
            "lanes" => (
                Opt::Lanes {
                    axis: at(0)?,
                    by: number(1)?,
                },
                2,
            ),
            "parts" => (
                Opt::Parts {
                    axis: at(0)?,
                    by: number(1)?,
                },
                2,
            ),
            "chunk" => (
                Opt::Chunk {
                    axis: at(0)?,
                    by: number(1)?,
                },
                2,
            ),
            "join" => (
                Opt::Join {
                    nest: small(0)?,
                    with: small(1)?,
                    depth: small(2)?,
                },
                3,
            ),
            "order" => (
                Opt::Order {
                    nest: small(0)?,
                    ranges: (1..parts.len()).map(small).collect::<Result<_>>()?,
                },
                parts.len(),
            ),
            "pack" => (
                Opt::Pack {
                    slot: small(0)?,
                    nest: small(1)?,
                },
                2,
            ),
            "stage" => (
                Opt::Stage {
                    slot: small(0)?,
                    at: at(1)?,
                },
                2,
            ),
            "tensorcore" => (
                Opt::TensorCore {
                    nest: small(0)?,
                    shape: [small(1)?, small(2)?, small(3)?],
                },
                4,
            ),
            _ => return Err(wrong()),
        };
        if parts.len() == count {
            Ok(opt)
        } else {
            Err(wrong())
        }
    }
}

/// A list as text: opts with blanks between them.
pub fn print_opts(opts: &[Opt]) -> String {
    let all: Vec<String> = opts.iter().map(Opt::to_string).collect();
    all.join(" ")
}

/// Reads what [`print_opts`] writes.
///
/// # Errors
/// Usage, naming the opt that makes no sense.
pub fn parse_opts(text: &str) -> Result<Vec<Opt>> {
    text.split_whitespace().map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn text_round_trips() {
        let text = "split(0.3,16,vector) become(1.2,parallel) peel(0.1,48) pad(2.7,64) lanes(0.4,8) chunk(0.6,64) parts(0.6,4) join(1,0,2) \
                    order(0,5,3,7) pack(2,0) flatten(0,1,2) cover(0.3,64) stage(1,0.3) tensorcore(0,16,16,32)";
        let opts = parse_opts(text).unwrap();
        assert_eq!(opts.len(), 14);
        assert_eq!(parse_opts(&print_opts(&opts)).unwrap(), opts);
        let json = serde_json::to_string(&opts).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Opt>>(&json).unwrap(), opts);
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in [
            "split",
            "split(0.3,16)",
            "split(0,16,vector)",
            "split(0.3,16,diagonal)",
            "pack(1,2,3)",
            "fuse(0.1)",
            "peel(0.1,x)",
        ] {
            assert!(parse_opts(text).is_err(), "{text}");
        }
    }
}
