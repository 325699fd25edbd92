//! Waves: 32 lanes that execute one instruction at a time.
//!
//! In: decoded instructions. Out: a [`Handler`] for each, made once and run often: `lower` turns an instruction into a
//! closure that knows where its operands are. `lanes` says how operands and results of each type are read and written;
//! the other files hold the operations by kind. What an instruction must not do is a [`FaultKind`].

mod bits;
mod compare;
mod convert;
mod cross;
mod dual;
mod flat;
mod float;
mod half_float;
mod integer;
mod lanes;
mod lds;
mod lower;
mod matrix;
mod move_lanes;
mod packed;
mod rounding;
mod scalar;
mod scalar_flow;
mod scalar_memory;
mod waits;
mod wide;

pub use lower::{Action, Class, Condition, Lowered, lower};

use crate::memory::{BadAddress, Memory, POISON};

/// Number of lanes.
pub const LANES: usize = 32;
/// One vector register.
pub type Lanes = [u32; LANES];

/// Codes of scalar registers with a meaning.
pub(crate) const VCC: usize = 106;
pub(crate) const NULL: usize = 124;
pub(crate) const M0: usize = 125;
pub(crate) const EXEC: usize = 126;

/// Addresses whose upper half is one of these lie in local or private memory.
pub(crate) const SHARED_BASE: u64 = 0x0001_0000_0000_0000;
pub(crate) const PRIVATE_BASE: u64 = 0x0002_0000_0000_0000;

/// What an instruction must not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// Memory that is not there.
    #[error("lane {lane}: {bad}")]
    Address {
        /// The first lane that did it.
        lane: usize,
        /// The access.
        bad: BadAddress,
    },
    /// Local memory that the work-group does not have.
    #[error("lane {lane}: {bytes} bytes at {offset:#x} of local memory that has {size:#x}")]
    Lds {
        /// The first lane that did it.
        lane: usize,
        /// Where.
        offset: u64,
        /// How many bytes.
        bytes: usize,
        /// What there is.
        size: usize,
    },
    /// Private memory that the lane does not have.
    #[error("lane {lane}: {bytes} bytes at {offset:#x} of private memory that has {size:#x}")]
    Scratch {
        /// The first lane that did it.
        lane: usize,
        /// Where.
        offset: u64,
        /// How many bytes.
        bytes: usize,
        /// What there is.
        size: usize,
    },
    /// An address that is not a multiple of what the access needs.
    #[error("lane {lane}: address {address:#x} is not a multiple of {align}")]
    Alignment {
        /// The first lane that did it.
        lane: usize,
        /// The address.
        address: u64,
        /// What it has to be a multiple of.
        align: u64,
    },
    /// Something that is not simulated, or that the hardware leaves undefined.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// Rounding: to nearest even, up, down, to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Round {
    /// To the nearest, ties to even.
    #[default]
    Nearest,
    /// Towards positive infinity.
    Up,
    /// Towards negative infinity.
    Down,
    /// Towards zero.
    Zero,
}

impl Round {
    fn of(bits: u32) -> Round {
        match bits & 3 {
            0 => Round::Nearest,
            1 => Round::Up,
            2 => Round::Down,
            _ => Round::Zero,
        }
    }
}

/// How floats behave: register MODE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// All its bits.
    pub bits: u32,
    /// Rounding of single floats.
    pub round32: Round,
    /// Rounding of half floats and doubles.
    pub round64: Round,
    /// Subnormal operands of single floats are zero.
    pub flush_in32: bool,
    /// Subnormal results of single floats are zero.
    pub flush_out32: bool,
    /// Subnormal operands of half floats and doubles are zero.
    pub flush_in64: bool,
    /// Subnormal results of half floats and doubles are zero.
    pub flush_out64: bool,
    /// Clamping makes zero of what is not a number.
    pub dx10_clamp: bool,
    /// Minimum and maximum quiet signalling operands.
    pub ieee: bool,
}

impl Mode {
    /// Reads the bits of the register: rounding, subnormals, clamp, IEEE.
    pub fn of(bits: u32) -> Mode {
        Mode {
            bits,
            round32: Round::of(bits),
            round64: Round::of(bits >> 2),
            flush_in32: bits >> 4 & 1 == 0,
            flush_out32: bits >> 5 & 1 == 0,
            flush_in64: bits >> 6 & 1 == 0,
            flush_out64: bits >> 7 & 1 == 0,
            dx10_clamp: bits >> 8 & 1 != 0,
            ieee: bits >> 9 & 1 != 0,
        }
    }

    /// As a descriptor's first resource word says.
    pub fn of_rsrc1(rsrc1: u32) -> Mode {
        Mode::of(rsrc1 >> 12 & 0xFF | (rsrc1 >> 21 & 1) << 8 | (rsrc1 >> 23 & 1) << 9)
    }
}

/// Whether a wave can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It can.
    Running,
    /// It waits for the others of its work-group.
    Barrier,
    /// It has ended.
    Ended,
}

/// Registers and place of one wave.
pub struct Wave {
    /// Scalar registers by code, VCC, M0 and EXEC among them.
    pub s: [u32; 128],
    /// Vector registers.
    pub v: Vec<Lanes>,
    /// The scalar condition.
    pub scc: bool,
    /// How floats behave.
    pub mode: Mode,
    /// Index of the next step of the program.
    pub next: usize,
    /// Where to go on when it is not the next step.
    pub jump: Option<u64>,
    /// Whether it can go on.
    pub state: State,
    /// Private memory, lane after lane.
    pub scratch: Vec<u8>,
    /// Bytes of private memory of each lane.
    pub scratch_lane: usize,
    /// The first operand after lanes moved.
    pub(crate) moved: Lanes,
    /// Loads that were not waited for, for both counters.
    pub(crate) pending: [waits::Pending; 2],
    /// Stores to global memory that were not waited for.
    pub(crate) stores: u32,
    /// Instructions executed.
    pub clock: u64,
}

impl Wave {
    /// A wave whose registers hold poison.
    pub fn new(vgprs: usize, scratch_lane: usize) -> Wave {
        let mut s = [POISON; 128];
        s[NULL] = 0;
        s[EXEC] = u32::MAX;
        let poison = POISON.to_le_bytes();
        let scratch = scratch_lane * LANES;
        Wave {
            s,
            v: vec![[POISON; LANES]; vgprs],
            scc: false,
            mode: Mode::of(0x3F0),
            next: 0,
            jump: None,
            state: State::Running,
            scratch: poison.iter().copied().cycle().take(scratch).collect(),
            scratch_lane,
            moved: [0; LANES],
            pending: Default::default(),
            stores: 0,
            clock: 0,
        }
    }

    /// The lanes that are active.
    #[inline]
    pub fn exec(&self) -> u32 {
        self.s[EXEC]
    }

    /// Writes a scalar register.
    #[inline]
    pub(crate) fn set_s(&mut self, code: usize, value: u32) {
        if code != NULL {
            self.s[code] = value;
        }
    }

    /// Writes two.
    #[inline]
    pub(crate) fn set_s64(&mut self, code: usize, value: u64) {
        if code != NULL {
            self.s[code] = value as u32;
            self.s[code + 1] = (value >> 32) as u32;
        }
    }

    /// Writes the active lanes of a vector register.
    #[inline]
    pub(crate) fn set_v(&mut self, register: usize, value: &Lanes) {
        let exec = self.exec();
        let into = &mut self.v[register];
        if exec == u32::MAX {
            *into = *value;
            return;
        }
        for lane in 0..LANES {
            let keep = exec >> lane & 1 == 0;
            into[lane] = if keep { into[lane] } else { value[lane] };
        }
    }
}

/// What was done, for each kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Instructions by class, in the order of [`Class`].
    pub instructions: [u64; Class::COUNT],
    /// Bytes loaded from global memory.
    pub loaded: u64,
    /// Bytes stored to global memory.
    pub stored: u64,
    /// Bytes moved in local memory.
    pub lds: u64,
    /// Cycles that local memory needed because lanes met in a bank.
    pub conflicts: u64,
    /// Waves started.
    pub waves: u64,
}

impl Counters {
    /// All instructions.
    pub fn total(&self) -> u64 {
        self.instructions.iter().sum()
    }

    /// Adds what another launch did.
    pub fn add(&mut self, other: &Counters) {
        for (sum, n) in self.instructions.iter_mut().zip(other.instructions) {
            *sum += n;
        }
        self.loaded += other.loaded;
        self.stored += other.stored;
        self.lds += other.lds;
        self.conflicts += other.conflicts;
        self.waves += other.waves;
    }
}

/// What a wave sees beside its registers.
pub struct Surroundings<'a> {
    /// Memory of the device.
    pub memory: &'a Memory,
    /// Local memory of the work-group.
    pub lds: &'a mut [u8],
    /// What was done.
    pub counters: &'a mut Counters,
}

/// An instruction, ready to run.
pub type Handler =
    Box<dyn Fn(&mut Wave, &mut Surroundings<'_>) -> Result<(), FaultKind> + Send + Sync>;
