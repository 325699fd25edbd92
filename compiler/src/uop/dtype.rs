//! Scalar types and vector types of the kernel IR (also used by the tensor IR).

use std::fmt;

/// A scalar type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool,
    /// Signed 8-bit.
    I8,
    /// Signed 16-bit.
    I16,
    /// Signed 32-bit.
    I32,
    /// Signed 64-bit.
    I64,
    /// Unsigned 8-bit.
    U8,
    /// Unsigned 16-bit.
    U16,
    /// Unsigned 32-bit.
    U32,
    /// Unsigned 64-bit.
    U64,
    /// IEEE half.
    F16,
    /// bfloat16.
    BF16,
    /// IEEE single.
    F32,
    /// IEEE double.
    F64,
    /// Loop counters and addresses: the target picks the width. Never stored in a buffer.
    Index,
}

impl DType {
    /// All storable types.
    pub const STORABLE: [DType; 13] = [
        DType::Bool,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
    ];

    /// Bytes of one element in a buffer. [`DType::Index`] counts as 8.
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::I8 | DType::U8 => 1,
            DType::I16 | DType::U16 | DType::F16 | DType::BF16 => 2,
            DType::I32 | DType::U32 | DType::F32 => 4,
            DType::I64 | DType::U64 | DType::F64 | DType::Index => 8,
        }
    }
    /// F16, BF16, F32 or F64.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }
    /// An integer type, [`DType::Index`] included, Bool not.
    pub const fn is_int(self) -> bool {
        !self.is_float() && !matches!(self, DType::Bool)
    }
    /// An unsigned integer type.
    pub const fn is_unsigned(self) -> bool {
        matches!(self, DType::U8 | DType::U16 | DType::U32 | DType::U64)
    }
    /// Name in the text form: `f32`, `i64`, `bool`, `index`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::I8 => "i8",
            DType::I16 => "i16",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::U8 => "u8",
            DType::U16 => "u16",
            DType::U32 => "u32",
            DType::U64 => "u64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::Index => "index",
        }
    }
    /// Inverse of [`DType::name`].
    pub fn parse(name: &str) -> Option<DType> {
        DType::STORABLE
            .into_iter()
            .chain([DType::Index])
            .find(|d| d.name() == name)
    }
    /// Smallest and largest value of an integer type or Bool; `None` for floats.
    /// U64 saturates at `i64::MAX`; Index spans all of `i64`.
    pub const fn int_bounds(self) -> Option<(i64, i64)> {
        Some(match self {
            DType::Bool => (0, 1),
            DType::I8 => (i8::MIN as i64, i8::MAX as i64),
            DType::I16 => (i16::MIN as i64, i16::MAX as i64),
            DType::I32 => (i32::MIN as i64, i32::MAX as i64),
            DType::I64 | DType::Index => (i64::MIN, i64::MAX),
            DType::U8 => (0, u8::MAX as i64),
            DType::U16 => (0, u16::MAX as i64),
            DType::U32 => (0, u32::MAX as i64),
            DType::U64 => (0, i64::MAX),
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => return None,
        })
    }
    /// This scalar as a type of one lane.
    pub const fn scalar(self) -> Type {
        Type {
            scalar: self,
            lanes: 1,
        }
    }
    /// A vector of this scalar.
    pub const fn vec(self, lanes: u16) -> Type {
        Type {
            scalar: self,
            lanes,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Type of a kernel IR value: a scalar, or a vector of `lanes` scalars.
/// Nodes without a value (stores, sinks, loops) have zero lanes: [`Type::VOID`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Type {
    /// Element type.
    pub scalar: DType,
    /// Number of lanes: 1 is a scalar, 0 no value.
    pub lanes: u16,
}

impl Type {
    /// No value.
    pub const VOID: Type = Type {
        scalar: DType::Bool,
        lanes: 0,
    };
    /// A loop counter or address.
    pub const INDEX: Type = DType::Index.scalar();
    /// A condition.
    pub const BOOL: Type = DType::Bool.scalar();
    /// True for more than one lane.
    pub const fn is_vector(self) -> bool {
        self.lanes > 1
    }
    /// Same lanes, other scalar.
    pub const fn with_scalar(self, scalar: DType) -> Type {
        Type {
            scalar,
            lanes: self.lanes,
        }
    }
}

impl fmt::Display for Type {
    /// `f32`, `f32x16`, `void`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lanes {
            0 => f.write_str("void"),
            1 => write!(f, "{}", self.scalar),
            n => write!(f, "{}x{n}", self.scalar),
        }
    }
}
