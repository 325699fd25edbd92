//! Codes of operands and their text. In: a code of the source fields and a [`Kind`]. Out: `v[4:5]`, `vcc_lo`, `0.5`, `0x1234`.

use super::op::Kind;
use std::fmt::{self, Display};

/// Where codes of vector registers start.
pub const VGPR: u32 = 256;
/// The code of the lower half of VCC.
pub const VCC: u32 = 106;
/// The code that reads zero and keeps nothing.
pub const NULL: u32 = 124;
/// The code that stands for the word after the fields.
pub(super) const LITERAL: u32 = 255;
/// The first of the sixteen registers of trap handlers.
const TTMP: u32 = 108;

/// Floats that have codes of their own: name, half, single, double.
const FLOATS: [(&str, u16, u32, u64); 9] = [
    ("0.5", 0x3800, 0x3F00_0000, 0x3FE0_0000_0000_0000),
    ("-0.5", 0xB800, 0xBF00_0000, 0xBFE0_0000_0000_0000),
    ("1.0", 0x3C00, 0x3F80_0000, 0x3FF0_0000_0000_0000),
    ("-1.0", 0xBC00, 0xBF80_0000, 0xBFF0_0000_0000_0000),
    ("2.0", 0x4000, 0x4000_0000, 0x4000_0000_0000_0000),
    ("-2.0", 0xC000, 0xC000_0000, 0xC000_0000_0000_0000),
    ("4.0", 0x4400, 0x4080_0000, 0x4010_0000_0000_0000),
    ("-4.0", 0xC400, 0xC080_0000, 0xC010_0000_0000_0000),
    ("0.15915494", 0x3118, 0x3E22_F983, 0x3FC4_5F30_6DC9_C882),
];

/// What a code names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A scalar register: general, VCC, trap, null, M0, EXEC.
    Sgpr(u32),
    /// A vector register.
    Vgpr(u32),
    /// An integer between -16 and 64.
    Int(i32),
    /// A float with a code of its own: index into a table of nine.
    Float(usize),
    /// A register of the surroundings, by name.
    Special(&'static str),
    /// The word after the fields.
    Literal,
}

impl Operand {
    /// The operand that a code names, if it names one.
    pub fn of(code: u32) -> Option<Operand> {
        Some(match code {
            0..128 => Operand::Sgpr(code),
            128..=192 => Operand::Int((code - 128) as i32),
            193..=208 => Operand::Int(192 - code as i32),
            235 => Operand::Special("src_shared_base"),
            236 => Operand::Special("src_shared_limit"),
            237 => Operand::Special("src_private_base"),
            238 => Operand::Special("src_private_limit"),
            240..=248 => Operand::Float(code as usize - 240),
            253 => Operand::Special("src_scc"),
            LITERAL => Operand::Literal,
            256..512 => Operand::Vgpr(code - VGPR),
            _ => return None,
        })
    }

    /// The bits of the constant that `code` names, seen as `kind`; 64 bits wide.
    pub fn constant(code: u32, kind: Kind, literal: u32) -> Option<u64> {
        Some(match Operand::of(code)? {
            Operand::Int(n) => match kind.regs() {
                1 => u64::from(n as u32),
                _ => i64::from(n) as u64,
            },
            Operand::Float(i) => match kind {
                Kind::F16 | Kind::B16 | Kind::H2 => u64::from(FLOATS[i].1),
                Kind::F64 | Kind::B64 => FLOATS[i].3,
                _ => u64::from(FLOATS[i].2),
            },
            Operand::Literal => match kind {
                Kind::F64 => u64::from(literal) << 32,
                _ => u64::from(literal),
            },
            _ => return None,
        })
    }
}

/// Whether `regs` registers starting with this one exist together.
pub(super) fn check(code: u32, kind: Kind) -> Result<(), &'static str> {
    let regs = kind.regs();
    match Operand::of(code).ok_or("an operand has no meaning")? {
        Operand::Vgpr(_) if matches!(kind, Kind::Mask | Kind::Scalar) => {
            Err("a vector register where a scalar one has to be")
        }
        Operand::Int(_) | Operand::Float(_) | Operand::Literal if kind == Kind::Mask => {
            Err("a constant where a mask has to be")
        }
        Operand::Sgpr(126..) if kind == Kind::Mask => Err("EXEC where a mask has to be"),
        Operand::Vgpr(n) if n + regs > 256 => Err("vector registers past the last one"),
        Operand::Sgpr(_) if regs == 1 => Ok(()),
        Operand::Sgpr(n) => {
            let step = if regs == 2 { 2 } else { 4 };
            let last = match n {
                0..106 => 106,
                106..108 => 108,
                108..124 => 124,
                124 => 126,
                125 => 0,
                _ => 128,
            };
            let trap = (TTMP..NULL).contains(&n) && (n - TTMP).is_multiple_of(step);
            let aligned = n % step == 0 || trap;
            if aligned && n + regs <= last {
                Ok(())
            } else {
                Err("scalar registers that are not aligned")
            }
        }
        _ => Ok(()),
    }
}

/// A register, or several.
pub(super) struct Reg(pub u32, pub u32);

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reg(code, regs) = *self;
        let (letter, n) = match code {
            VGPR.. => ("v", code - VGPR),
            TTMP..NULL => ("ttmp", code - TTMP),
            106 if regs == 2 => return f.write_str("vcc"),
            126 if regs == 2 => return f.write_str("exec"),
            106 => return f.write_str("vcc_lo"),
            107 => return f.write_str("vcc_hi"),
            124 => return f.write_str("null"),
            125 => return f.write_str("m0"),
            126 => return f.write_str("exec_lo"),
            127 => return f.write_str("exec_hi"),
            _ => ("s", code),
        };
        match regs {
            1 => write!(f, "{letter}{n}"),
            _ => write!(f, "{letter}[{n}:{}]", n + regs - 1),
        }
    }
}

/// A source operand with the literal that may stand for it.
pub(super) struct Source {
    /// Its code.
    pub code: u32,
    /// What it is.
    pub kind: Kind,
    /// The word after the fields.
    pub literal: u32,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Operand::of(self.code) {
            Some(Operand::Sgpr(_) | Operand::Vgpr(_)) => Reg(self.code, self.kind.regs()).fmt(f),
            Some(Operand::Special(name)) => f.write_str(name),
            Some(Operand::Int(n)) => n.fmt(f),
            Some(Operand::Float(8)) if self.kind.regs() > 1 => f.write_str("0.15915494309189532"),
            Some(Operand::Float(i)) if self.kind == Kind::B16 => write!(f, "{:#x}", FLOATS[i].1),
            Some(Operand::Float(i)) => f.write_str(FLOATS[i].0),
            Some(Operand::Literal) => literal(self.literal, self.kind, f),
            None => f.write_str("?"),
        }
    }
}

/// A literal reads as LLVM prints the number, which may be one that has a shorter code.
pub(super) fn literal(word: u32, kind: Kind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let short = |n: i64| (-16..=64).contains(&n);
    let single = |f: &mut fmt::Formatter<'_>, hex: u32| match FLOATS.iter().find(|x| x.2 == word) {
        Some(x) => f.write_str(x.0),
        None => write!(f, "{hex:#x}"),
    };
    let signed = word as i32;
    let low = word as u16;
    let half = FLOATS.iter().find(|x| x.1 == low);
    match kind {
        Kind::F16 if short(i64::from(low as i16)) => (low as i16).fmt(f),
        Kind::F16 => match half {
            Some(x) => f.write_str(x.0),
            None => write!(f, "{low:#x}"),
        },
        Kind::F64 if word == 0 => f.write_str("0"),
        Kind::F64 => match FLOATS.iter().find(|x| x.3 == u64::from(word) << 32) {
            Some(x) => f.write_str(x.0),
            None => write!(f, "{word:#x}"),
        },
        Kind::B64 | Kind::Regs(_) if word <= 64 => word.fmt(f),
        Kind::B64 | Kind::Regs(_) => write!(f, "{word:#x}"),
        _ if short(i64::from(signed)) => signed.fmt(f),
        Kind::B16 => single(f, u32::from(low)),
        Kind::H2 => match half.filter(|_| word >> 16 == 0) {
            Some(x) => f.write_str(x.0),
            None => write!(f, "{word:#x}"),
        },
        _ => single(f, word),
    }
}
