//! Where each encoding keeps its fields. In: words. Out: values of [`Field`]s, and back.
//!
//! A [`Layout`] lists fields with their lowest bit and width; a field in the second word starts at bit 32. What no field
//! covers has to be zero: an instruction with other bits there is not known.

use super::op::Family;

/// Fields of all encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the names of the manual
pub enum Field {
    Op,
    Vdst,
    Sdst,
    Src0,
    Src1,
    Src2,
    Simm,
    Clamp,
    OpSel,
    OpSelHi,
    OpSelHi2,
    Abs,
    Neg,
    NegHi,
    Omod,
    Offset,
    Offset1,
    Addr,
    Data0,
    Data1,
    Saddr,
    Sve,
    Sbase,
    Soffset,
    Glc,
    Slc,
    Dlc,
    Gds,
    OpY,
    Src0Y,
    Src1Y,
    VdstY,
}

/// Number of fields.
pub const FIELDS: usize = Field::VdstY as usize + 1;

/// One encoding: fixed bits, and fields as (name, lowest bit, width).
pub struct Layout {
    /// Name in error messages.
    pub name: &'static str,
    /// Family of the opcodes.
    pub family: Family,
    /// Bits that tell this encoding from others: mask and value of the first word.
    pub mask: u32,
    /// Value of the bits in `mask`.
    pub tag: u32,
    /// Length in words without literals.
    pub words: usize,
    /// Fields.
    pub fields: &'static [(Field, u32, u32)],
}

use Field as F;

const FLAT: &[(Field, u32, u32)] = &[
    (F::Offset, 0, 13),
    (F::Dlc, 13, 1),
    (F::Glc, 14, 1),
    (F::Slc, 15, 1),
    (F::Op, 18, 7),
    (F::Addr, 32, 8),
    (F::Data0, 40, 8),
    (F::Saddr, 48, 7),
    (F::Sve, 55, 1),
    (F::Vdst, 56, 8),
];

/// All encodings, the more special ones first.
pub static LAYOUTS: &[Layout] = &[
    Layout {
        name: "SOP1",
        family: Family::Sop1,
        mask: 0xFF80_0000,
        tag: 0xBE80_0000,
        words: 1,
        fields: &[(F::Src0, 0, 8), (F::Op, 8, 8), (F::Sdst, 16, 7)],
    },
    Layout {
        name: "SOPC",
        family: Family::Sopc,
        mask: 0xFF80_0000,
        tag: 0xBF00_0000,
        words: 1,
        fields: &[(F::Src0, 0, 8), (F::Src1, 8, 8), (F::Op, 16, 7)],
    },
    Layout {
        name: "SOPP",
        family: Family::Sopp,
        mask: 0xFF80_0000,
        tag: 0xBF80_0000,
        words: 1,
        fields: &[(F::Simm, 0, 16), (F::Op, 16, 7)],
    },
    Layout {
        name: "SOPK",
        family: Family::Sopk,
        mask: 0xF000_0000,
        tag: 0xB000_0000,
        words: 1,
        fields: &[(F::Simm, 0, 16), (F::Sdst, 16, 7), (F::Op, 23, 5)],
    },
    Layout {
        name: "SOP2",
        family: Family::Sop2,
        mask: 0xC000_0000,
        tag: 0x8000_0000,
        words: 1,
        fields: &[
            (F::Src0, 0, 8),
            (F::Src1, 8, 8),
            (F::Sdst, 16, 7),
            (F::Op, 23, 7),
        ],
    },
    Layout {
        name: "SMEM",
        family: Family::Smem,
        mask: 0xFC00_0000,
        tag: 0xF400_0000,
        words: 2,
        fields: &[
            (F::Sbase, 0, 6),
            (F::Sdst, 6, 7),
            (F::Dlc, 13, 1),
            (F::Glc, 14, 1),
            (F::Op, 18, 8),
            (F::Offset, 32, 21),
            (F::Soffset, 57, 7),
        ],
    },
    Layout {
        name: "VOP1",
        family: Family::Vop1,
        mask: 0xFE00_0000,
        tag: 0x7E00_0000,
        words: 1,
        fields: &[(F::Src0, 0, 9), (F::Op, 9, 8), (F::Vdst, 17, 8)],
    },
    Layout {
        name: "VOPC",
        family: Family::Vopc,
        mask: 0xFE00_0000,
        tag: 0x7C00_0000,
        words: 1,
        fields: &[(F::Src0, 0, 9), (F::Src1, 9, 8), (F::Op, 17, 8)],
    },
    Layout {
        name: "VOP2",
        family: Family::Vop2,
        mask: 0x8000_0000,
        tag: 0x0000_0000,
        words: 1,
        fields: &[
            (F::Src0, 0, 9),
            (F::Src1, 9, 8),
            (F::Vdst, 17, 8),
            (F::Op, 25, 6),
        ],
    },
    Layout {
        name: "VOP3",
        family: Family::Vop3,
        mask: 0xFC00_0000,
        tag: 0xD400_0000,
        words: 2,
        fields: &[
            (F::Vdst, 0, 8),
            (F::Abs, 8, 3),
            (F::OpSel, 11, 4),
            (F::Clamp, 15, 1),
            (F::Op, 16, 10),
            (F::Src0, 32, 9),
            (F::Src1, 41, 9),
            (F::Src2, 50, 9),
            (F::Omod, 59, 2),
            (F::Neg, 61, 3),
        ],
    },
    Layout {
        name: "VOP3P",
        family: Family::Vop3p,
        mask: 0xFF80_0000,
        tag: 0xCC00_0000,
        words: 2,
        fields: &[
            (F::Vdst, 0, 8),
            (F::NegHi, 8, 3),
            (F::OpSel, 11, 3),
            (F::OpSelHi2, 14, 1),
            (F::Clamp, 15, 1),
            (F::Op, 16, 7),
            (F::Src0, 32, 9),
            (F::Src1, 41, 9),
            (F::Src2, 50, 9),
            (F::OpSelHi, 59, 2),
            (F::Neg, 61, 3),
        ],
    },
    Layout {
        name: "VOPD",
        family: Family::Vopd,
        mask: 0xFC00_0000,
        tag: 0xC800_0000,
        words: 2,
        fields: &[
            (F::Src0, 0, 9),
            (F::Src1, 9, 8),
            (F::OpY, 17, 5),
            (F::Op, 22, 4),
            (F::Src0Y, 32, 9),
            (F::Src1Y, 41, 8),
            (F::VdstY, 49, 7),
            (F::Vdst, 56, 8),
        ],
    },
    Layout {
        name: "DS",
        family: Family::Ds,
        mask: 0xFC00_0000,
        tag: 0xD800_0000,
        words: 2,
        fields: &[
            (F::Offset, 0, 8),
            (F::Offset1, 8, 8),
            (F::Gds, 17, 1),
            (F::Op, 18, 8),
            (F::Addr, 32, 8),
            (F::Data0, 40, 8),
            (F::Data1, 48, 8),
            (F::Vdst, 56, 8),
        ],
    },
    Layout {
        name: "FLAT",
        family: Family::Flat,
        mask: 0xFC03_0000,
        tag: 0xDC00_0000,
        words: 2,
        fields: FLAT,
    },
    Layout {
        name: "SCRATCH",
        family: Family::Scratch,
        mask: 0xFC03_0000,
        tag: 0xDC01_0000,
        words: 2,
        fields: FLAT,
    },
    Layout {
        name: "GLOBAL",
        family: Family::Global,
        mask: 0xFC03_0000,
        tag: 0xDC02_0000,
        words: 2,
        fields: FLAT,
    },
    Layout {
        name: "MUBUF",
        family: Family::Buffer,
        mask: 0xFC00_0000,
        tag: 0xE000_0000,
        words: 2,
        fields: &[(F::Op, 18, 8)],
    },
];

/// VOP3 instructions with a second result keep it where the others have `abs` and `op_sel`.
pub static VOP3SD: Layout = Layout {
    name: "VOP3SD",
    family: Family::Vop3,
    mask: 0xFC00_0000,
    tag: 0xD400_0000,
    words: 2,
    fields: &[
        (F::Vdst, 0, 8),
        (F::Sdst, 8, 7),
        (F::Clamp, 15, 1),
        (F::Op, 16, 10),
        (F::Src0, 32, 9),
        (F::Src1, 41, 9),
        (F::Src2, 50, 9),
        (F::Omod, 59, 2),
        (F::Neg, 61, 3),
    ],
};

impl Layout {
    /// The encoding of an instruction whose first word this is.
    pub fn find(word: u32) -> Option<&'static Layout> {
        LAYOUTS.iter().find(|l| word & l.mask == l.tag)
    }

    /// The fields of an instruction, or `None` when bits outside of all of them are set.
    pub fn read(&self, words: [u32; 2]) -> Option<[u32; FIELDS]> {
        let mut bits = u64::from(words[0]);
        if self.words == 2 {
            bits |= u64::from(words[1]) << 32;
        }
        let mut rest = bits & !u64::from(self.mask);
        let mut out = [0; FIELDS];
        for &(field, low, width) in self.fields {
            let mask = (1u64 << width) - 1;
            out[field as usize] = ((bits >> low) & mask) as u32;
            rest &= !(mask << low);
        }
        (rest == 0).then_some(out)
    }

    /// The words that hold these fields.
    pub fn write(&self, fields: &[u32; FIELDS]) -> [u32; 2] {
        let mut bits = u64::from(self.tag);
        for &(field, low, width) in self.fields {
            let mask = (1u64 << width) - 1;
            bits |= (u64::from(fields[field as usize]) & mask) << low;
        }
        [bits as u32, (bits >> 32) as u32]
    }
}
