//! Chips: name on the command line, numbers, compiler flags.
//!
//! In: `gfx1100`. Out: a [`Chip`]. What differs between chips stands here and in `targets/amd/*.toml`.

use crate::stream::Generation;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::target::{Facts, Gpu};

/// A chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Chip {
    /// RDNA 3: Radeon RX 7900.
    Gfx1100,
    /// RDNA 4: Radeon RX 9070.
    Gfx1201,
    /// CDNA 3: Instinct MI300.
    Gfx942,
}

impl Chip {
    /// All.
    pub const ALL: [Chip; 3] = [Chip::Gfx1100, Chip::Gfx1201, Chip::Gfx942];

    /// As compilers name it.
    pub const fn name(self) -> &'static str {
        match self {
            Chip::Gfx1100 => "gfx1100",
            Chip::Gfx1201 => "gfx1201",
            Chip::Gfx942 => "gfx942",
        }
    }

    /// Name of the target on the command line.
    pub const fn target(self) -> &'static str {
        match self {
            Chip::Gfx1100 => "amd-gfx1100",
            Chip::Gfx1201 => "amd-gfx1201",
            Chip::Gfx942 => "amd-gfx942",
        }
    }

    /// Parses `gfx1100` or `amd-gfx1100`.
    ///
    /// # Errors
    /// Usage for an unknown chip.
    pub fn parse(name: &str) -> Result<Chip> {
        let chips = Chip::ALL.into_iter();
        let found = chips
            .clone()
            .find(|c| c.name() == name || c.target() == name);
        found.ok_or_else(|| {
            let known: Vec<&str> = chips.map(Chip::name).collect();
            Error::usage(format!("unknown chip '{name}'"))
                .help(format!("use one of: {}", known.join(", ")))
        })
    }

    const fn toml(self) -> &'static str {
        match self {
            Chip::Gfx1100 => include_str!("../../gfx1100.toml"),
            Chip::Gfx1201 => include_str!("../../gfx1201.toml"),
            Chip::Gfx942 => include_str!("../../gfx942.toml"),
        }
    }

    /// Its numbers.
    ///
    /// # Errors
    /// Bug when the file is damaged.
    pub fn facts(self) -> Result<Facts> {
        let facts: Facts = self.read()?.1;
        match facts.gpu {
            Some(_) => Ok(facts),
            None => Err(self.damaged(&"no [gpu]")),
        }
    }

    /// What its command streams are like.
    ///
    /// # Errors
    /// Bug when the file is damaged.
    pub fn generation(self) -> Result<Generation> {
        Ok(self.read()?.0)
    }

    /// Both parts of its file.
    fn read(self) -> Result<(Generation, Facts)> {
        let mut table: toml::Table = self.toml().parse().map_err(|e| self.damaged(&e))?;
        let stream = table.remove("stream");
        let stream = stream.ok_or_else(|| self.damaged(&"no [stream]"))?;
        let generation = stream.try_into().map_err(|e| self.damaged(&e))?;
        let facts = table.try_into().map_err(|e| self.damaged(&e))?;
        Ok((generation, facts))
    }

    fn damaged(self, why: &dyn std::fmt::Display) -> Error {
        Error::bug(format!("targets/amd/{}.toml: {why}", self.name()))
    }

    /// Flags besides `-mcpu`. On RDNA a work-group stays on one compute unit (`cumode`), whose numbers the target file has.
    pub(crate) const fn flags(self) -> &'static [&'static str] {
        match self {
            Chip::Gfx1100 | Chip::Gfx1201 => &["-mcumode"],
            Chip::Gfx942 => &[],
        }
    }

    /// Registers of a thread are counted in steps of so many in a descriptor, and given out in steps of so many.
    pub(crate) const fn register_steps(self) -> (u32, u32) {
        match self {
            Chip::Gfx1100 | Chip::Gfx1201 => (8, 24),
            Chip::Gfx942 => (8, 8),
        }
    }

    /// Waves that a compute unit holds, each thread with so many registers, groups of so many threads with so much shared memory.
    pub(crate) fn occupancy(self, gpu: &Gpu, registers: u32, threads: u32, shared: u32) -> u32 {
        let lanes = gpu.wave_lanes.max(1);
        let step = self.register_steps().1;
        let taken = registers.div_ceil(step) * step * lanes;
        let by_registers = gpu.unit_registers / taken.max(1);
        let waves = threads.div_ceil(lanes).max(1);
        let by_memory = match shared {
            0 => gpu.unit_waves,
            _ => gpu.group_memory_bytes / shared * waves,
        };
        gpu.unit_waves.min(by_registers).min(by_memory)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_facts_agree() {
        for chip in Chip::ALL {
            let facts = chip.facts().unwrap();
            assert_eq!(facts.name, chip.name());
            assert_eq!(Chip::parse(chip.target()).unwrap(), chip);
            let gpu = facts.gpu.unwrap();
            assert!(gpu.group_threads >= gpu.wave_lanes && gpu.wave_lanes.is_power_of_two());
            for tile in &gpu.matrix_tiles {
                let [rows, columns, depth] = tile.shape;
                assert_eq!(rows, columns);
                assert_eq!(gpu.wave_lanes / rows * tile.steps_each % depth, 0);
                assert_eq!(rows * columns % (gpu.wave_lanes * tile.rows_together), 0);
            }
        }
        assert!(Chip::parse("gfx1").is_err());
    }

    #[test]
    fn registers_limit_waves() {
        let chip = Chip::Gfx1100;
        let gpu = chip.facts().unwrap().gpu.unwrap();
        assert_eq!(chip.occupancy(&gpu, 24, 256, 0), 32);
        assert_eq!(chip.occupancy(&gpu, 256, 256, 0), 11);
        assert_eq!(chip.occupancy(&gpu, 24, 256, 32768), 16);
    }
}
