//! Command streams: PM4 packets of the compute queues of RDNA3.
//!
//! In: words. Out: [`Packet`]s, whose `Display` is a line of text; or a [`PacketError`] for anything that is not exactly
//! as it has to be: lengths, fields, registers, alignment, places that were never patched. [`queue`] executes them.
//!
//! ```
//! use tinyc_simgpu::pm4::Packet;
//! let (packet, words) = Packet::decode(&[0xC000_4600, 0x407])?;
//! assert_eq!(packet.to_string(), "EVENT_WRITE CS_PARTIAL_FLUSH");
//! assert_eq!(words, 2);
//! # Ok::<(), tinyc_simgpu::pm4::PacketError>(())
//! ```

pub mod check;
mod decode;
pub mod queue;
mod registers;
mod text;

pub use queue::{Progress, Queue, StreamFault};
pub use registers::{Register, SH_REGISTERS, name, name_in};

/// What an unpatched word holds: a stream that still contains it may not run.
pub const SENTINEL: u32 = 0xBADC_0DED;

/// Whose forms packets have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// CDNA 3: caches are told by CP_COHER_CNTL, waves have 64 lanes.
    Gfx9,
    /// RDNA 3.
    Gfx11,
    /// RDNA 4: packets as those of RDNA 3.
    Gfx12,
}

impl Generation {
    /// That of a chip as the driver numbers it: 110000, 90402.
    pub fn of(gfx_target_version: u32) -> Option<Generation> {
        match gfx_target_version / 10_000 {
            9 => Some(Generation::Gfx9),
            11 => Some(Generation::Gfx11),
            12 => Some(Generation::Gfx12),
            _ => None,
        }
    }
}

/// Words that are no valid packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why} (header {header:#010x})")]
pub struct PacketError {
    /// The first word.
    pub header: u32,
    /// What does not fit.
    pub why: String,
}

/// How a wait compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Any value will do.
    Always,
    /// Less.
    Less,
    /// Less or equal.
    LessEqual,
    /// Equal.
    Equal,
    /// Different.
    NotEqual,
    /// Greater or equal.
    GreaterEqual,
    /// Greater.
    Greater,
}

impl Compare {
    /// Whether a value, seen through the mask, fulfils the condition. Only 32 bits are compared.
    pub fn holds(self, value: u32, reference: u32) -> bool {
        match self {
            Compare::Always => true,
            Compare::Less => value < reference,
            Compare::LessEqual => value <= reference,
            Compare::Equal => value == reference,
            Compare::NotEqual => value != reference,
            Compare::GreaterEqual => value >= reference,
            Compare::Greater => value > reference,
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A word of memory.
    Memory {
        /// Where.
        address: u64,
        /// How it compares.
        compare: Compare,
        /// With what.
        reference: u32,
        /// Which bits count.
        mask: u32,
    },
    /// A register that is written, and another that answers: the flush of the host data path.
    Registers {
        /// The one that is written.
        request: u32,
        /// The one that answers.
        done: u32,
        /// What is written and waited for.
        reference: u32,
        /// Which bits count.
        mask: u32,
    },
}

/// What a release stores when all before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Nothing.
    Nothing,
    /// 32 bits.
    Low,
    /// 64 bits.
    Both,
    /// The clock.
    Clock,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Nothing, so many words long.
    Nop(usize),
    /// Writes registers of the shader engine from an offset on.
    SetShReg(u32, Vec<u32>),
    /// Writes registers of the user configuration from an offset on.
    SetUconfigReg(u32, Vec<u32>),
    /// Starts a kernel with so many work-groups.
    Dispatch {
        /// Work-groups.
        groups: [u32; 3],
        /// Flags.
        initiator: u32,
    },
    /// Waits until all kernels before are done.
    PartialFlush,
    /// Makes caches forget, over a range.
    Acquire {
        /// Bits by cache.
        gcr: u32,
        /// Start and length in bytes.
        base: u64,
        /// Length in bytes.
        size: u64,
    },
    /// The same in the form of gfx9.
    AcquireCoher {
        /// Bits by cache.
        coher: u32,
        /// Start and length in bytes.
        base: u64,
        /// Length in bytes.
        size: u64,
    },
    /// When all before is done: writes caches back, stores a value, interrupts.
    Release {
        /// Bits by cache.
        flush: u32,
        /// What is stored.
        store: Store,
        /// Where.
        address: u64,
        /// The value.
        value: u64,
        /// The number of the interrupt, if there is one.
        interrupt: Option<u32>,
    },
    /// Waits.
    Wait(Wait),
    /// Stores words.
    Write {
        /// Where.
        address: u64,
        /// What.
        data: Vec<u32>,
    },
    /// Copies a word, two words, or the clock.
    Copy {
        /// From where; nothing means the clock.
        from: Option<u64>,
        /// To where.
        to: u64,
        /// Two words instead of one.
        wide: bool,
    },
    /// Goes on with packets elsewhere, then here.
    Indirect {
        /// Where.
        address: u64,
        /// How many words.
        words: u32,
    },
}

/// Bits of caches in an acquire.
pub mod gcr {
    /// The instruction cache forgets.
    pub const GLI_INV: u32 = 1;
    /// Metadata are written back.
    pub const GLM_WB: u32 = 1 << 4;
    /// Metadata are forgotten.
    pub const GLM_INV: u32 = 1 << 5;
    /// The scalar cache is written back.
    pub const GLK_WB: u32 = 1 << 6;
    /// The scalar cache forgets.
    pub const GLK_INV: u32 = 1 << 7;
    /// The vector caches forget.
    pub const GLV_INV: u32 = 1 << 8;
    /// The caches of shader arrays forget.
    pub const GL1_INV: u32 = 1 << 9;
    /// The second-level cache forgets.
    pub const GL2_INV: u32 = 1 << 14;
    /// The second-level cache is written back.
    pub const GL2_WB: u32 = 1 << 15;
    /// All that kernels read through.
    pub const READ: u32 = GLK_INV | GLV_INV | GL1_INV;
    /// All bits that mean something here.
    pub const KNOWN: u32 = GLI_INV | GLM_WB | GLM_INV | GLK_WB | READ | GL2_INV | GL2_WB;
}

/// Bits of caches in an acquire of gfx9.
pub mod coher {
    /// The second-level cache is written back.
    pub const TC_WB: u32 = 1 << 18;
    /// The vector caches forget.
    pub const TCL1: u32 = 1 << 22;
    /// The second-level cache forgets.
    pub const TC: u32 = 1 << 23;
    /// The scalar cache forgets.
    pub const KCACHE: u32 = 1 << 27;
    /// The instruction cache forgets.
    pub const ICACHE: u32 = 1 << 29;
    /// All that kernels read through.
    pub const READ: u32 = TCL1 | KCACHE;
    /// All bits that mean something here.
    pub const KNOWN: u32 = READ | TC | TC_WB | ICACHE;
}

/// Bits of caches in a release of gfx9.
pub mod flush9 {
    /// The second-level cache is written back.
    pub const TC_WB: u32 = 1 << 15;
    /// Lines that are not coherent are dealt with too.
    pub const TC_NC: u32 = 1 << 19;
    /// All bits that mean something here.
    pub const KNOWN: u32 = TC_WB | TC_NC;
}

/// Bits of caches in a release.
pub mod flush {
    /// Metadata are written back.
    pub const GLM_WB: u32 = 1 << 12;
    /// Metadata are forgotten.
    pub const GLM_INV: u32 = 1 << 13;
    /// The vector caches forget.
    pub const GLV_INV: u32 = 1 << 14;
    /// The caches of shader arrays forget.
    pub const GL1_INV: u32 = 1 << 15;
    /// The second-level cache forgets.
    pub const GL2_INV: u32 = 1 << 20;
    /// The second-level cache is written back.
    pub const GL2_WB: u32 = 1 << 21;
    /// Caches one after the other.
    pub const SEQ: u32 = 1 << 22;
    /// All bits that mean something here.
    pub const KNOWN: u32 = GLM_WB | GLM_INV | GLV_INV | GL1_INV | GL2_INV | GL2_WB | SEQ;
}
