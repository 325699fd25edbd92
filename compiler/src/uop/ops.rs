//! The operations of the kernel IR. One enum from the scheduled kernel to the linear list;
//! which of them may appear at which stage is the business of `uop::spec`.

/// One-source arithmetic. The type of the result is the type of the source,
/// but for `IsNan`, which gives Bool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Unary {
    Neg,
    /// Logical not of a Bool, bitwise not of an integer.
    Not,
    Abs,
    Sqrt,
    Exp,
    Exp2,
    Log,
    Log2,
    Sin,
    Cos,
    Tan,
    Atan,
    Tanh,
    Erf,
    Floor,
    Ceil,
    /// Towards zero.
    Trunc,
    /// To nearest, ties to even.
    Round,
    IsNan,
}

/// Two-source arithmetic; both sources have one type, which is the result's but for comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Binary {
    /// Integers wrap.
    Add,
    /// Integers wrap.
    Sub,
    /// Integers wrap.
    Mul,
    /// Floats: IEEE. Integers: truncates towards zero as in C; by zero gives 0.
    Div,
    /// Sign of the dividend, as `fmod` and C's `%`; integers by zero give 0.
    Rem,
    /// Integers and Index: rounds towards minus infinity. On Index the divisor is a positive constant.
    FloorDiv,
    /// Sign of the divisor; goes with `FloorDiv`.
    FloorMod,
    /// NaN in, NaN out.
    Max,
    /// NaN in, NaN out.
    Min,
    /// Floats only.
    Pow,
    /// Bool or integer.
    And,
    /// Bool or integer.
    Or,
    /// Bool or integer.
    Xor,
    Shl,
    /// Arithmetic for signed, logical for unsigned.
    Shr,
    /// Result Bool. False when either is NaN.
    Lt,
    /// Result Bool. False when either is NaN.
    Le,
    /// Result Bool. False when either is NaN.
    Eq,
    /// Result Bool. True when either is NaN.
    Ne,
}

impl Binary {
    /// Comparisons give Bool.
    pub const fn is_compare(self) -> bool {
        matches!(self, Binary::Lt | Binary::Le | Binary::Eq | Binary::Ne)
    }
    /// `a op b == b op a`.
    pub const fn commutes(self) -> bool {
        matches!(
            self,
            Binary::Add
                | Binary::Mul
                | Binary::Max
                | Binary::Min
                | Binary::And
                | Binary::Or
                | Binary::Xor
                | Binary::Eq
                | Binary::Ne
        )
    }
}

/// How a reduce combines values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ReduceOp {
    Sum,
    /// NaN in, NaN out.
    Max,
    /// NaN in, NaN out.
    Min,
    Prod,
    /// Logical and.
    All,
    /// Logical or.
    Any,
}

/// What a range becomes in machine code. Reduce-ness is not here: a range is a reduce range when
/// a `Reduce` node names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Axis {
    /// A loop; opts may split, reorder and change it.
    Loop,
    /// A loop whose iterations must run in order (a scatter): no opt may touch it.
    Serial,
    /// Split over threads (CPU) or work-groups (GPU). Never a reduce range.
    Parallel,
    /// Copies of the body.
    Unroll,
    /// Lanes of a vector. At most one such range a store or reduce.
    Vector,
    /// Work-items of one group (GPU).
    Local,
    /// A reduce over the work-items of one group (GPU).
    Group,
    /// Rows, columns or depth of a matrix instruction (GPU): two loops of a store, and a range of a reduce.
    Matrix,
}

/// Operation of a node. Sources are written in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// A constant. Bits: floats as `f64::to_bits` of the value (exact for all float types), signed
    /// integers and Index as `i64 as u64`, unsigned zero-extended, Bool 0 or 1. A vector constant
    /// has this value in every lane.
    Const(u64),
    /// Vector constant `<start, start+1, ...>` of Index or integer type: the lane number of a vector range.
    Lanes(i64),
    /// Buffer number `slot` of the kernel's parameters. Its type is the element's. Only a source of memory ops.
    Param {
        /// Position in `Kernel::params`.
        slot: u32,
    },
    /// Scratch memory of one thread (CPU) or work-group (GPU): `len` elements. Only a source of memory ops.
    Local {
        /// Distinguishes locals of one kernel.
        id: u32,
        /// Elements.
        len: u32,
    },
    /// `[value, place, range...]`: memory of a work-group of `len` elements, which holds the value of each iteration of the ranges at
    /// its place. Only a source of loads. Places differ between iterations.
    Tile {
        /// Distinguishes tiles of one kernel.
        id: u32,
        /// Elements.
        len: u32,
    },
    /// `[local, store...]`: what a `Tile` becomes in codegen: the memory after its stores by all threads of the work-group, which are the
    /// iterations of the `Local` ranges. Only a source of loads.
    Filled,
    /// A run-time scalar (symbolic dimension, iteration number), with bounds. Index type.
    Var {
        /// Position in `Kernel::vars`.
        slot: u32,
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// A loop counter from 0 to extent-1. `[extent: Index]`. Nest order is the order of ids, lower is outer.
    Range {
        /// Unique in the kernel; also the nest order.
        id: u32,
        /// What it becomes.
        axis: Axis,
    },
    /// Reads. Ungated: `[buffer, index...]`. Gated: `[buffer, gate, alternative, index...]`: where the gate is
    /// false the memory is not touched and the value is the alternative.
    /// Before `lower_layouts` there is one index for each logical dimension of the buffer, after it exactly one.
    Load {
        /// Has gate and alternative.
        gated: bool,
    },
    /// Writes. Ungated: `[buffer, value, index...]`. Gated: `[buffer, value, gate, index...]`.
    /// Its free ranges are its loop nest.
    Store {
        /// Has a gate.
        gated: bool,
    },
    /// `[a]`.
    Unary(Unary),
    /// `[a, b]`.
    Binary(Binary),
    /// `[condition, then, else]`.
    Where,
    /// `[a, b, c]`: a*b + c with one rounding where the target has it.
    MulAdd,
    /// `[a, b]`, in a list `[a, b, sum]`: the product of the matrices whose rows and columns the threads of a wave hold, plus the sum.
    /// Which thread has which elements is the target's (`target::MatrixTile`).
    Matrix {
        /// Rows.
        rows: u8,
        /// Columns.
        columns: u8,
        /// Steps of the sum.
        depth: u8,
    },
    /// `[vector, index]`: the lane with this number, which is a constant once loops are unrolled.
    Element,
    /// `[a]`: value conversion; float to integer truncates and saturates, NaN gives 0; to Bool is `!= 0`.
    Cast,
    /// `[a]`: same bits, same size.
    Bitcast,
    /// `[value, range...]`: combines value over the ranges.
    Reduce(ReduceOp),
    /// `[scalar]`: the scalar in every lane.
    Splat,
    /// `[scalar...]`: a vector from scalars, one a lane.
    Stack,
    /// `[vector]`: one lane.
    Lane(u16),
    /// `[a, b]`: lanes of two vectors in turns: the first halves of both, or the second halves.
    /// `zip low` of `[0, 1, 2, 3]` and `[4, 5, 6, 7]` is `[0, 4, 1, 5]`.
    Zip {
        /// The second halves.
        high: bool,
    },
    /// `[a, b]`: every second lane of `a`, then of `b`, from the first or the second lane on.
    /// `unzip even odd` of `[0, 1, 2, 3]` and `[4, 5, 6, 7]` is `[0, 2, 5, 7]`.
    Unzip {
        /// Whether the second lane of each source is its first.
        odd: [bool; 2],
    },
    /// `[vector]`: combines all lanes into a scalar, pairwise.
    Fold(ReduceOp),
    /// `[store...]`: root of a kernel. Its nests are independent: they write disjoint elements and none
    /// reads what another writes. In codegen a nest of several stores, which share their loops, is a sink
    /// among the root's sources.
    Sink,

    // Only in a linear list:
    /// `[init]`: a mutable register.
    Acc {
        /// Unique in the kernel.
        id: u32,
    },
    /// `[acc, value]`: writes the register.
    Assign,
    /// `[acc]`: the register's value at this place of the list. The number keeps two reads apart.
    Read(u32),
    /// `[value]`: combines the value over each run of so many neighbouring threads of a work-group; every one of them gets the result.
    /// All threads of the group come here together.
    GroupFold {
        /// How.
        op: ReduceOp,
        /// A power of two.
        threads: u32,
    },
    /// All threads of a work-group wait for each other and see each other's writes to its memory.
    Barrier,
    /// `[buffer, index]`: brings the cache line of an element nearer; the index may lie outside.
    Prefetch {
        /// Into the second-level cache only.
        far: bool,
    },
    /// `[range]`: opens a loop.
    Loop,
    /// `[range]`: closes it.
    EndLoop,
    /// `[condition]`: opens a guarded block.
    If,
    /// Closes it.
    EndIf,
}
