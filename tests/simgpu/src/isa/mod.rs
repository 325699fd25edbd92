//! Machine code of RDNA3: words to instructions, instructions to text and words.
//!
//! In: words. Out: an [`Inst`], whose `Display` is the text of `llvm-objdump` and whose [`Inst::encode`] gives the words
//! back. [`Isa`] holds the opcodes of one architecture; one file for each encoding family has its table and its text.
//! What is not in a table, or has bits set that no field covers, is a [`DecodeError`] with its bytes: there is no guess.

mod buffer;
mod ds;
mod fields;
mod flat;
mod op;
mod operand;
mod smem;
mod sop;
mod sopp;
mod vop;
mod vop3;
mod vop3p;
mod vopd;

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

pub use fields::{FIELDS, Field, LAYOUTS, Layout};
pub use op::{Family, Imm, Kind, Op};
pub use operand::{NULL, Operand, VCC, VGPR};
pub use vopd::Half;

/// The opcodes of one architecture.
pub struct Isa {
    /// Name as compilers know it.
    pub name: &'static str,
    ops: HashMap<(Family, u16), Op>,
}

static GFX1100: LazyLock<Isa> = LazyLock::new(|| {
    let tables = [
        sop::rows(),
        sopp::rows(),
        smem::rows(),
        vop::rows(),
        vop3::rows(),
        vop3p::rows(),
        vopd::rows(),
        ds::rows(),
        flat::rows(),
        buffer::rows(),
    ];
    let ops = tables.into_iter().flatten();
    Isa {
        name: "gfx1100",
        ops: ops.map(|o| ((o.family, o.code), o)).collect(),
    }
});

/// Words that are no known instruction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no known instruction: {} ({why})", hex(.words))]
pub struct DecodeError {
    /// The words, as far as they were read.
    pub words: Vec<u32>,
    /// What does not fit.
    pub why: &'static str,
}

fn hex(words: &[u32]) -> String {
    let bytes: Vec<String> = words
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .map(|b| format!("{b:02x}"))
        .collect();
    bytes.join(" ")
}

/// The word after the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ext {
    /// There is none.
    None,
    /// A constant.
    Literal(u32),
    /// How lanes of the first operand move.
    Dpp16(Dpp),
    /// The same within eight lanes, three bits for each.
    Dpp8 {
        /// The first operand.
        src0: u8,
        /// Selectors.
        lanes: u32,
        /// Whether inactive lanes are read too.
        fetch_inactive: bool,
    },
}

/// Data-parallel primitives: the word that moves lanes within rows of sixteen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dpp(pub u32);

#[allow(missing_docs)] // the names of the manual
impl Dpp {
    pub fn src0(self) -> u32 {
        self.0 & 0xFF
    }
    pub fn ctrl(self) -> u32 {
        self.0 >> 8 & 0x1FF
    }
    pub fn fetch_inactive(self) -> bool {
        self.0 >> 18 & 1 != 0
    }
    pub fn bound_ctrl(self) -> bool {
        self.0 >> 19 & 1 != 0
    }
    /// Negation of the operands in the short encodings, a bit for each.
    pub fn negated(self) -> u32 {
        (self.0 >> 20 & 1) | (self.0 >> 21 & 2)
    }
    /// Absolute values of the operands in the short encodings, a bit for each.
    pub fn absolute(self) -> u32 {
        (self.0 >> 21 & 1) | (self.0 >> 22 & 2)
    }
    pub fn bank_mask(self) -> u32 {
        self.0 >> 24 & 0xF
    }
    pub fn row_mask(self) -> u32 {
        self.0 >> 28
    }
}

/// Values of a first operand that announce a word of lane movement.
const DPP16: u32 = 250;
const DPP8: u32 = 233;
const DPP8_FI: u32 = 234;

/// One instruction.
#[derive(Clone, Copy)]
pub struct Inst {
    /// What it does.
    pub op: &'static Op,
    /// The second operation of a dual instruction.
    pub op_y: Option<&'static Op>,
    /// How it is encoded.
    pub layout: &'static Layout,
    /// Its fields; those that the encoding lacks are zero.
    pub fields: [u32; FIELDS],
    /// The word after them.
    pub ext: Ext,
}

impl Isa {
    /// RDNA3: Radeon RX 7900.
    pub fn gfx1100() -> &'static Isa {
        &GFX1100
    }

    /// The opcode with this number.
    pub fn op(&self, family: Family, code: u32) -> Option<&Op> {
        self.ops.get(&(family, u16::try_from(code).ok()?))
    }

    /// All opcodes, in no order.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.ops.values()
    }

    /// The instruction at the start of `words`.
    pub fn decode(&'static self, words: &[u32]) -> Result<Inst, DecodeError> {
        let fail = |why, n: usize| DecodeError {
            words: words[..n.min(words.len())].to_vec(),
            why,
        };
        let first = *words.first().ok_or(fail("the code ends", 0))?;
        let mut layout = Layout::find(first).ok_or(fail("no encoding", 1))?;
        let len = layout.words;
        if words.len() < len {
            return Err(fail("the code ends inside", len));
        }
        let both = [first, words.get(1).copied().unwrap_or(0)];
        let code = layout
            .fields
            .iter()
            .find(|f| f.0 == Field::Op)
            .map_or(0, |&(_, low, width)| first >> low & ((1 << width) - 1));
        let op = match layout.family {
            Family::Vop3 => self.vop3(code),
            family => self.op(family, code),
        };
        let op = op.ok_or(fail("no such opcode", len))?;
        if layout.family == Family::Vop3 && op.dsts.get(1) == Some(&Kind::Mask) {
            layout = &fields::VOP3SD;
        }
        let fields = layout
            .read(both)
            .ok_or(fail("bits outside of all fields", len))?;
        let mut inst = Inst {
            op,
            op_y: None,
            layout,
            fields,
            ext: Ext::None,
        };
        if layout.family == Family::Vopd {
            inst.op_y = Some(
                self.op(Family::Vopd, fields[Field::OpY as usize])
                    .ok_or(fail("no such second opcode", 2))?,
            );
        }
        inst.ext = inst
            .find_ext(words.get(len).copied())
            .map_err(|why| fail(why, len + 1))?;
        inst.check().map_err(|why| fail(why, inst.len()))?;
        Ok(inst)
    }

    /// Opcodes of the long encoding: those of the short ones come first, each at its place.
    fn vop3(&self, code: u32) -> Option<&Op> {
        let op = match code {
            0..0x100 => self.op(Family::Vopc, code),
            0x100..0x180 => self.op(Family::Vop2, code - 0x100),
            0x180..0x200 => self.op(Family::Vop1, code - 0x180),
            _ => self.op(Family::Vop3, code),
        };
        op.filter(|o| o.family == Family::Vop3 || !o.has("plain"))
    }
}

impl Inst {
    /// A field's value.
    pub fn get(&self, field: Field) -> u32 {
        self.fields[field as usize]
    }

    /// Length in words.
    pub fn len(&self) -> usize {
        self.layout.words + usize::from(self.ext != Ext::None)
    }

    /// Never: an instruction has at least one word.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whether it is the long form of an opcode that has a short one.
    pub fn is_promoted(&self) -> bool {
        self.layout.family == Family::Vop3 && self.op.family != Family::Vop3
    }

    /// The words.
    pub fn encode(&self) -> Vec<u32> {
        let mut words = self.layout.write(&self.fields)[..self.layout.words].to_vec();
        match self.ext {
            Ext::None => {}
            Ext::Literal(word) | Ext::Dpp16(Dpp(word)) => words.push(word),
            Ext::Dpp8 { src0, lanes, .. } => words.push(u32::from(src0) | lanes << 8),
        }
        words
    }

    /// The literal, zero when there is none.
    pub fn literal(&self) -> u32 {
        match self.ext {
            Ext::Literal(word) => word,
            _ => 0,
        }
    }

    /// Codes of the sources of vector and scalar arithmetic, in the order of the row. Vector registers start at
    /// [`VGPR`]. Constants in the instruction have no code: zero stands at their place.
    pub fn sources(&self) -> [u32; 4] {
        let mut out = [0; 4];
        let first = match self.ext {
            Ext::Dpp16(dpp) => VGPR + dpp.src0(),
            Ext::Dpp8 { src0, .. } => VGPR + u32::from(src0),
            _ => self.get(Field::Src0),
        };
        let short = matches!(self.layout.family, Family::Vop2 | Family::Vopc);
        let mut fields = [
            Some(first),
            Some(self.get(Field::Src1)),
            Some(self.get(Field::Src2)),
        ]
        .into_iter()
        .enumerate()
        .map(|(i, code)| match (i, code) {
            (1, Some(code)) if short => VGPR + code,
            (2, _) if short => VCC,
            (_, code) => code.unwrap_or(0),
        });
        for (i, kind) in self.op.srcs.iter().enumerate().take(4) {
            if !matches!(kind, Kind::Imm(_)) {
                out[i] = fields.next().unwrap_or(0);
            }
        }
        out
    }

    /// Reads what follows the fields, where they announce something.
    fn find_ext(&self, word: Option<u32>) -> Result<Ext, &'static str> {
        let ends = "the code ends before the last word";
        let vector = matches!(
            self.layout.family,
            Family::Vop1 | Family::Vop2 | Family::Vopc | Family::Vop3 | Family::Vop3p
        );
        let src0 = self.get(Field::Src0);
        if vector && [DPP16, DPP8, DPP8_FI].contains(&src0) {
            let word = word.ok_or(ends)?;
            return Ok(match src0 {
                DPP16 => Ext::Dpp16(Dpp(word)),
                _ => Ext::Dpp8 {
                    src0: (word & 0xFF) as u8,
                    lanes: word >> 8,
                    fetch_inactive: src0 == DPP8_FI,
                },
            });
        }
        let literal = |op: &Op| op.srcs.contains(&Kind::Imm(Imm::Literal));
        let mut sources = self.layout.fields.iter().filter(|f| {
            matches!(f.0, Field::Src0 | Field::Src1 | Field::Src2 | Field::Src0Y) && f.2 >= 8
        });
        let scalar = matches!(
            self.layout.family,
            Family::Sop1 | Family::Sop2 | Family::Sopc
        );
        let named = sources.any(|f| {
            (f.2 == 9 || scalar)
                && self.get(f.0) == operand::LITERAL
                && self.op.name != "s_sendmsg_rtn_b32"
        });
        if named || literal(self.op) || self.op_y.is_some_and(literal) {
            return word.map(Ext::Literal).ok_or(ends);
        }
        Ok(Ext::None)
    }

    /// Whether all fields mean something for this opcode.
    fn check(&self) -> Result<(), &'static str> {
        match self.layout.family {
            Family::Sop1 | Family::Sop2 | Family::Sopc | Family::Sopk => sop::check(self),
            Family::Sopp => sopp::check(self),
            Family::Smem => smem::check(self),
            Family::Vop1 | Family::Vop2 | Family::Vopc => vop::check(self),
            Family::Vop3 => vop3::check(self),
            Family::Vop3p => vop3p::check(self),
            Family::Vopd => vopd::check(self),
            Family::Ds => ds::check(self),
            Family::Flat | Family::Scratch | Family::Global => flat::check(self),
            Family::Buffer => Ok(()),
        }
    }
}

impl fmt::Display for Inst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layout.family {
            Family::Sop1 | Family::Sop2 | Family::Sopc | Family::Sopk => sop::text(self, f),
            Family::Sopp => sopp::text(self, f),
            Family::Smem => smem::text(self, f),
            Family::Vop1 | Family::Vop2 | Family::Vopc => vop::text(self, f),
            Family::Vop3 => vop3::text(self, f),
            Family::Vop3p => vop3p::text(self, f),
            Family::Vopd => vopd::text(self, f),
            Family::Ds => ds::text(self, f),
            Family::Flat | Family::Scratch | Family::Global => flat::text(self, f),
            Family::Buffer => f.write_str(&self.op.name),
        }
    }
}

impl fmt::Debug for Inst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} [{}]", hex(&self.encode()))
    }
}
