//! Memory plan: where each buffer lives.
//!
//! In: a [`Program`] in launch order. Out: a [`Plan`]: a place for each buffer, the arena's size beside
//! the least that any plan needs. Internal buffers live from the first step that touches them to the
//! last; two buffers may share bytes when their lives do not meet. Equal weights in equal layouts have one place.
//!
//! Example: in a chain `a -> b -> c -> d` of equal buffers, `a` and `c` share an offset.

mod arena;

use crate::diag::{Error, Result};
use crate::program::{BufferKind, Layout, Place, Plan, Program, Weight};
use crate::target::Facts;
use arena::{Life, place};
use rustc_hash::FxHashMap;

/// Places all buffers of a program.
///
/// # Errors
/// Model when sizes overflow; Bug when a step names a buffer that does not exist.
pub fn plan(program: &Program, facts: &Facts) -> Result<Plan> {
    let align = u64::from(facts.alignment.max(1));
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; program.buffers.len()];
    for (step, launch) in program.steps.iter().enumerate() {
        for arg in launch.buffers() {
            let life = lives
                .get_mut(arg.0 as usize)
                .ok_or_else(|| Error::bug(format!("step {step} uses buffer {}", arg.0)))?;
            *life = Some(life.map_or((step, step), |(first, _)| (first, step)));
        }
    }
    let mut places = vec![Place::Arena(0); program.buffers.len()];
    let mut weight_bytes = 0u64;
    // Equal weights in equal layouts are stored once.
    let mut weights: FxHashMap<(u64, Layout), Vec<(u64, &Weight)>> = FxHashMap::default();
    let mut internal = Vec::new();
    for (n, buffer) in program.buffers.iter().enumerate() {
        match &buffer.kind {
            BufferKind::Input(i) => places[n] = Place::Input(*i),
            BufferKind::Output(i) => places[n] = Place::Output(*i),
            BufferKind::Weight(weight) => {
                let same = weights
                    .entry((buffer.bytes(), buffer.layout.squeezed()))
                    .or_default();
                if let Some((at, _)) = same.iter().find(|(_, w)| w.same_data(weight)) {
                    places[n] = Place::Weights(*at);
                    continue;
                }
                same.push((weight_bytes, weight));
                places[n] = Place::Weights(weight_bytes);
                weight_bytes = round_up(buffer.bytes(), align)
                    .and_then(|b| weight_bytes.checked_add(b))
                    .ok_or_else(|| Error::model("the weights are larger than the address space"))?;
            }
            BufferKind::Internal => {
                if let Some((first, last)) = lives[n] {
                    let bytes = round_up(buffer.bytes(), align).ok_or_else(|| {
                        Error::model(format!(
                            "tensor '{}' is larger than the address space",
                            buffer.name
                        ))
                    })?;
                    internal.push((n, Life { first, last, bytes }));
                }
            }
        }
    }
    let lives: Vec<Life> = internal.iter().map(|l| l.1).collect();
    let arena = place(&lives);
    for ((n, _), offset) in internal.iter().zip(&arena.offsets) {
        places[*n] = Place::Arena(*offset);
    }
    Ok(Plan {
        places,
        arena_bytes: arena.bytes,
        arena_lower_bound: arena.lower_bound,
        weight_bytes,
    })
}

fn round_up(bytes: u64, align: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(align)
}
