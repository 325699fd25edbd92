//! Registers that streams may write. In: offsets from the start of their space. Out: names and how many there are.
//!
//! Everything else is refused: a word too many after RESTART, for instance, would turn on thread traces.

use super::Generation;

/// A register, or several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// Offset of the first from the start of the space.
    pub offset: u32,
    /// How many.
    pub count: u32,
    /// The name, without number.
    pub name: &'static str,
}

const fn row(offset: u32, count: u32, name: &'static str) -> Register {
    Register {
        offset,
        count,
        name,
    }
}

/// COMPUTE_START_X and those after it.
pub(super) const START: u32 = 0x204;
pub(super) const NUM_THREAD: u32 = 0x207;
pub(super) const STATISTICS: u32 = 0x20A;
pub(super) const PGM: u32 = 0x20C;
pub(super) const SCRATCH_BASE: u32 = 0x210;
pub(super) const RSRC1: u32 = 0x212;
pub(super) const RSRC2: u32 = 0x213;
pub(super) const RESOURCE_LIMITS: u32 = 0x215;
pub(super) const TMPRING_SIZE: u32 = 0x218;
pub(super) const RESTART: u32 = 0x21B;
pub(super) const RSRC3: u32 = 0x228;
pub(super) const USER_DATA: u32 = 0x240;

/// Registers of the shader engine.
pub const SH_REGISTERS: &[Register] = &[
    row(START, 3, "COMPUTE_START"),
    row(NUM_THREAD, 3, "COMPUTE_NUM_THREAD"),
    row(STATISTICS, 1, "COMPUTE_PIPELINESTAT_ENABLE"),
    row(STATISTICS + 1, 1, "COMPUTE_PERFCOUNT_ENABLE"),
    row(PGM, 2, "COMPUTE_PGM"),
    row(SCRATCH_BASE, 2, "COMPUTE_DISPATCH_SCRATCH_BASE"),
    row(RSRC1, 1, "COMPUTE_PGM_RSRC1"),
    row(RSRC2, 1, "COMPUTE_PGM_RSRC2"),
    row(RESOURCE_LIMITS, 1, "COMPUTE_RESOURCE_LIMITS"),
    row(TMPRING_SIZE, 1, "COMPUTE_TMPRING_SIZE"),
    row(RESTART, 3, "COMPUTE_RESTART"),
    row(RSRC3, 1, "COMPUTE_PGM_RSRC3"),
    row(USER_DATA, 16, "COMPUTE_USER_DATA"),
];

/// COMPUTE_PGM_RSRC3 of gfx9.
const RSRC3_GFX9: u32 = 0x22D;

/// The register of a generation that [`name`] calls by this offset.
pub(super) fn common(offset: u32, generation: Generation) -> u32 {
    match (generation, offset) {
        (Generation::Gfx9, RSRC3_GFX9) => RSRC3,
        // There, something else is at this place.
        (Generation::Gfx9, RSRC3) => 0,
        _ => offset,
    }
}

/// The name of a register of the shader engine of a generation.
pub fn name_in(offset: u32, generation: Generation) -> Option<String> {
    name(common(offset, generation))
}

/// The name of a register of the shader engine of RDNA 3, with its number where there are several.
pub fn name(offset: u32) -> Option<String> {
    let of = |r: &&Register| (r.offset..r.offset + r.count).contains(&offset);
    let register = SH_REGISTERS.iter().find(of)?;
    Some(match register.count {
        1 => register.name.to_string(),
        _ => format!("{}_{}", register.name, offset - register.offset),
    })
}

/// Registers whose write and answer flush what the host wrote: they may be waited on.
pub(super) const HDP_FLUSH: (u32, u32) = (0xE26, 0xE27);
