//! Plain data that the stages hand to each other. No behaviour beyond accessors.
//!
//! `schedule` makes a [`Program`] of [`Kernel`]s, `opt` and `codegen` turn each distinct kernel into a
//! [`LinearKernel`], `plan` adds a [`Plan`]; together they are [`Built`], which `emit` and the targets read.

pub mod element;
pub mod groups;
pub mod interp;
mod layout;
pub mod rows;
pub mod text;
pub mod verify;
mod weight;

pub use layout::{Layout, LayoutAxis};
pub use weight::{Bytes, Weight};

use crate::diag::Origin;
use crate::uop::{DType, UopId, Uops};

/// A kernel: one UOp DAG over buffer parameters.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Readable and unique in the program, a C identifier: `k3_conv_relu`.
    pub name: String,
    /// The arena that holds the DAG.
    pub uops: Uops,
    /// Its root, a `Sink`.
    pub sink: UopId,
    /// Buffer parameters by slot.
    pub params: Vec<Param>,
    /// Model nodes computed here.
    pub origins: Vec<Origin>,
}

/// How a kernel uses a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Only read.
    Read,
    /// Only written. What it held before is lost.
    Write,
    /// Read and written at the same index or in `Serial` order.
    ReadWrite,
    /// Written by one nest and read by later ones of the same kernel; dead before and after. `opt` may shrink its layout to what lives
    /// at a time.
    Scratch,
}

/// A buffer parameter of a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Param {
    /// Element type in memory.
    pub dtype: DType,
    /// How the logical index maps to elements; holds the logical shape.
    pub layout: Layout,
    /// Direction.
    pub access: Access,
    /// A weight: `opt` may choose its layout freely, at no run-time cost.
    pub weight: bool,
}

/// Index into [`Program::buffers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// What a buffer is.
#[derive(Debug, Clone)]
pub enum BufferKind {
    /// Model input `n`; row-major; the caller's memory.
    Input(u32),
    /// Model output `n`; row-major; the caller's memory.
    Output(u32),
    /// Constant; its bytes are permuted into the buffer's layout when the artifact is written.
    Weight(Weight),
    /// Lives in the arena.
    Internal,
}

/// A buffer of a program.
#[derive(Debug, Clone)]
pub struct Buffer {
    /// Model tensor it holds, for people.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Logical shape and physical order.
    pub layout: Layout,
    /// What it is.
    pub kind: BufferKind,
}

impl Buffer {
    /// Bytes it takes.
    pub fn bytes(&self) -> u64 {
        self.layout.elements() as u64 * self.dtype.size() as u64
    }
}

/// One launch: a kernel over buffers.
#[derive(Debug, Clone)]
pub struct Step {
    /// Index into [`Program::kernels`].
    pub kernel: usize,
    /// One buffer for each kernel parameter.
    pub args: Vec<BufferId>,
    /// Model nodes computed by this launch.
    pub origins: Vec<Origin>,
    /// A buffer of one truth value, and what it must be for the launch to be needed. What the launch would write goes nowhere otherwise,
    /// so a device may run it all the same.
    pub condition: Option<(BufferId, bool)>,
}

impl Step {
    /// Every buffer that the launch touches.
    pub fn buffers(&self) -> impl Iterator<Item = BufferId> {
        self.args.iter().copied().chain(self.condition.map(|c| c.0))
    }
}

/// A model input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Io {
    /// Name in the model.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape, row-major.
    pub shape: Vec<i64>,
    /// Its buffer.
    pub buffer: BufferId,
}

impl Io {
    /// Elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }
    /// Bytes.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }
}

/// A scheduled model: steps in an order that respects data flow.
#[derive(Debug, Clone)]
pub struct Program {
    /// Name of the artifact, a C identifier.
    pub name: String,
    /// Kernels; equal kernels are one.
    pub kernels: Vec<Kernel>,
    /// Buffers.
    pub buffers: Vec<Buffer>,
    /// Launches in order.
    pub steps: Vec<Step>,
    /// Model inputs in order.
    pub inputs: Vec<Io>,
    /// Model outputs in order.
    pub outputs: Vec<Io>,
}

impl Program {
    /// A buffer.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }
}

/// A kernel as a linear list, ready to print. All loads and stores have one physical index.
///
/// Every kernel has one machine signature, whatever the target language:
/// `void k(uint8_t *const *args, int64_t worker, int64_t workers)`. A nest whose outermost ranges are
/// `Parallel` runs the share of their flattened iterations that belongs to `worker`:
/// `total*worker/workers .. total*(worker+1)/workers`; a nest without runs on worker 0 only.
#[derive(Debug, Clone)]
pub struct LinearKernel {
    /// As the kernel's.
    pub name: String,
    /// The arena of the list.
    pub uops: Uops,
    /// Nodes in order. Every node comes after its sources; loops and ifs nest.
    pub list: Vec<UopId>,
    /// Parameters by slot.
    pub params: Vec<LinearParam>,
    /// Largest flattened parallel extent of its nests; 1 when nothing is parallel.
    pub parallel: i64,
    /// Estimated operations of one launch (a multiply-add is 2).
    pub flops: u64,
    /// Model nodes, for `#line`.
    pub origins: Vec<Origin>,
}

/// A parameter of a linear kernel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinearParam {
    /// Element type.
    pub dtype: DType,
    /// Elements in memory.
    pub elements: i64,
    /// Direction.
    pub access: Access,
}

/// Where a buffer is at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Byte offset in the arena.
    Arena(u64),
    /// Byte offset in the weights section.
    Weights(u64),
    /// Caller's input `n`.
    Input(u32),
    /// Caller's output `n`.
    Output(u32),
}

/// Memory plan of a program.
#[derive(Debug, Clone)]
pub struct Plan {
    /// One for each buffer.
    pub places: Vec<Place>,
    /// Arena size.
    pub arena_bytes: u64,
    /// Largest sum of live bytes at one step: no plan can be smaller.
    pub arena_lower_bound: u64,
    /// Size of the weights section.
    pub weight_bytes: u64,
}

/// Everything about a compiled model that targets and `emit` need.
#[derive(Debug, Clone)]
pub struct Built {
    /// Steps and buffers; its `kernels` are the optimised ones.
    pub program: Program,
    /// One for each kernel.
    pub linear: Vec<LinearKernel>,
    /// Where buffers live.
    pub plan: Plan,
    /// For the manifest.
    pub meta: Meta,
}

/// What a manifest says about where an artifact came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// SHA-256 of the model file (and its external data), in hex.
    pub model_sha256: String,
    /// Options that changed the result, as `key=value`.
    pub options: Vec<String>,
    /// Inputs that were bound as constants.
    pub bound: Vec<String>,
    /// One for each kernel, in order.
    pub kernels: Vec<Identity>,
}

/// What a kernel is, apart from its name and its place in a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Hash of the kernel before any choice was made, in hex: the same for equal layers of any model.
    pub hash: String,
    /// What was chosen, as text.
    pub choice: String,
}
