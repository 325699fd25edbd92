//! Rows of the opcode tables. In: a text with one opcode a line. Out: [`Op`]s.
//!
//! A row is the opcode, the mnemonic, results, `=` and operands, then flags: `0x103 v_cndmask_b32 b32 = f32 f32 m +x`.
//! What the words mean is in [`Kind::parse`]; which fields hold the operands depends on the encoding ([`super::fields`]).

/// Encoding families: each has opcodes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names of the manual
pub enum Family {
    Sop1,
    Sop2,
    Sopc,
    Sopk,
    Sopp,
    Smem,
    Vop1,
    Vop2,
    Vopc,
    Vop3,
    Vop3p,
    Vopd,
    Ds,
    Flat,
    Scratch,
    Global,
    Buffer,
}

/// What an operand is: its width, and how a constant in its place reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 16 bits whose constants are half floats.
    F16,
    /// 16 bits whose constants are integers.
    B16,
    /// A single float: the modifiers `neg` and `abs` apply.
    F32,
    /// Any 32 bits, two packed integers among them.
    B32,
    /// Two packed half floats.
    H2,
    /// A double.
    F64,
    /// Any 64 bits.
    B64,
    /// So many 32-bit registers, three or more.
    Regs(u8),
    /// A bit for each lane: one scalar register in wave32.
    Mask,
    /// One scalar register where everything else is a vector.
    Scalar,
    /// The address operand of a memory instruction.
    Addr,
    /// A constant in the instruction.
    Imm(Imm),
}

/// How a constant in the instruction reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Imm {
    /// Small numbers in decimal, others in hexadecimal.
    Short,
    /// Always hexadecimal.
    Hex,
    /// Always decimal: distances of branches, in words.
    Words,
    /// `s_endpgm`: nothing when zero.
    End,
    /// Nothing; has to be zero.
    None,
    /// Counters of `s_waitcnt`.
    Wait,
    /// `s_delay_alu`.
    Delay,
    /// `s_waitcnt_depctr`.
    Depctr,
    /// `s_sendmsg`.
    Message,
    /// `s_getreg_b32` and `s_setreg_b32`.
    HwReg,
    /// A literal of 32 bits.
    Literal,
}

impl Kind {
    /// Reads the word that stands for it in a row.
    fn parse(word: &str) -> Option<Kind> {
        Some(match word {
            "f16" => Kind::F16,
            "b16" => Kind::B16,
            "f32" => Kind::F32,
            "b32" => Kind::B32,
            "h2" => Kind::H2,
            "f64" => Kind::F64,
            "b64" => Kind::B64,
            "b96" => Kind::Regs(3),
            "b128" => Kind::Regs(4),
            "b256" => Kind::Regs(8),
            "b512" => Kind::Regs(16),
            "m" => Kind::Mask,
            "s" => Kind::Scalar,
            "a" => Kind::Addr,
            "#short" => Kind::Imm(Imm::Short),
            "#hex" => Kind::Imm(Imm::Hex),
            "#words" => Kind::Imm(Imm::Words),
            "#end" => Kind::Imm(Imm::End),
            "#none" => Kind::Imm(Imm::None),
            "#wait" => Kind::Imm(Imm::Wait),
            "#delay" => Kind::Imm(Imm::Delay),
            "#depctr" => Kind::Imm(Imm::Depctr),
            "#message" => Kind::Imm(Imm::Message),
            "#hwreg" => Kind::Imm(Imm::HwReg),
            "#literal" => Kind::Imm(Imm::Literal),
            _ => return None,
        })
    }

    /// How many 32-bit registers hold it.
    pub fn regs(self) -> u32 {
        match self {
            Kind::F64 | Kind::B64 => 2,
            Kind::Regs(n) => u32::from(n),
            _ => 1,
        }
    }

    /// Whether `neg` and `abs` change it.
    pub fn is_float(self) -> bool {
        matches!(self, Kind::F16 | Kind::F32 | Kind::F64 | Kind::H2)
    }

    /// Whether it is one half of a register.
    pub fn is_half(self) -> bool {
        matches!(self, Kind::F16 | Kind::B16)
    }
}

/// One opcode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Mnemonic without the suffix of the encoding.
    pub name: String,
    /// The encoding it belongs to.
    pub family: Family,
    /// Its number there.
    pub code: u16,
    /// Results, first the main one.
    pub dsts: Vec<Kind>,
    /// Operands.
    pub srcs: Vec<Kind>,
    /// Words after `+`.
    pub flags: Vec<&'static str>,
}

impl Op {
    /// Whether the row has this flag.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }
}

/// Reads a table. A row that does not read is left out; the tests of [`super`] count them.
pub(super) fn parse_rows(family: Family, text: &'static str) -> Vec<Op> {
    text.lines().filter_map(|l| parse_row(family, l)).collect()
}

/// Reads one row.
pub(super) fn parse_row(family: Family, line: &'static str) -> Option<Op> {
    let (head, flags) = match line.split_once('+') {
        Some((head, flags)) => (head, flags.split('+').map(str::trim).collect()),
        None => (line, Vec::new()),
    };
    let (left, right) = head.split_once('=')?;
    let mut left = left.split_whitespace();
    let code = u16::from_str_radix(left.next()?, 16).ok()?;
    let name = left.next()?;
    Some(Op {
        name: name.to_string(),
        family,
        code,
        dsts: left.map(Kind::parse).collect::<Option<_>>()?,
        srcs: right
            .split_whitespace()
            .map(Kind::parse)
            .collect::<Option<_>>()?,
        flags,
    })
}
