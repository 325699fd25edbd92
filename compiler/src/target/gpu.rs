//! Numbers that only targets with work-groups have.
//!
//! In: the `[gpu]` table of a target file. Out: [`Gpu`], which [`super::Facts`] holds; a target without one runs loops and threads.

use crate::uop::DType;
use serde::{Deserialize, Serialize};

/// A device that runs a kernel as work-groups of threads. Threads of a group share memory and barriers; groups run in any order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Threads that run in lockstep.
    pub wave_lanes: u32,
    /// Most threads of a work-group.
    pub group_threads: u32,
    /// Processors that run work-groups.
    pub compute_units: u32,
    /// Most waves that a compute unit holds.
    pub unit_waves: u32,
    /// Registers of 32 bits that one thread may have.
    pub thread_registers: u32,
    /// Registers of 32 bits that all threads of a compute unit have together.
    pub unit_registers: u32,
    /// Bytes of memory that a work-group may share.
    pub group_memory_bytes: u32,
    /// Banks of that memory, 4 bytes each.
    pub group_memory_banks: u32,
    /// Bytes that one thread loads at once.
    pub load_bytes: u32,
    /// Matrix instructions.
    #[serde(default)]
    pub matrix_tiles: Vec<MatrixTile>,
}

/// A matrix instruction: `rows x depth` times `depth x columns` added to `rows x columns` by the threads of a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixTile {
    /// Element type of the factors.
    #[serde(with = "dtype_name")]
    pub factors: DType,
    /// Element type of the sum.
    #[serde(with = "dtype_name")]
    pub sum: DType,
    /// Rows, columns, depth.
    pub shape: [u32; 3],
    /// Steps of a row, or of a column, that one thread holds. Thread `t` of a wave has row (column) `t % rows` and the steps from
    /// `t / rows * steps_each` on, round and round.
    pub steps_each: u32,
    /// Neighbouring rows of the sum that one thread holds before others follow. Thread `t` has column `t % columns`.
    pub rows_together: u32,
}

/// Element types by name.
mod dtype_name {
    use crate::uop::DType;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(dtype: &DType, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(dtype.name())
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<DType, D::Error> {
        let name = String::deserialize(from)?;
        DType::parse(&name).ok_or_else(|| D::Error::custom(format!("there is no type '{name}'")))
    }
}

impl Gpu {
    /// Threads that keep every compute unit busy with a few waves.
    pub fn busy_threads(&self) -> i64 {
        i64::from(self.compute_units) * i64::from(self.wave_lanes) * 2
    }
}
