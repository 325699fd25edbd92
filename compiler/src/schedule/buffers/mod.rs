//! Decides which tensors get a buffer.
//!
//! In: a graph of primitives. Out: [`Buffers`]: the stored tensors, the halo that each should carry, and
//! the axis along which contractions want to read it. Consumers are visited before producers. Every
//! stored tensor (a *root*) asks its sources for their value at index expressions over its own ranges;
//! a tensor that is not stored hands the question on to its sources, rewritten. A tensor is stored when
//! computing it again for all who ask costs more than storing it (`work`), and where a kernel could not
//! hold it:
//!
//! - a contraction (matmul, convolution) is computed only at the outermost level of a nest, once for
//!   each element, and only one of them in a nest;
//! - a reduce that is asked for at an index over another reduce's range is stored;
//! - a view across which the vectors of a product would lie is stored, and a product that is asked for in pieces of vectors (`columns`);
//! - scatters are stored.
//!
//! So `softmax` is one kernel: its maximum and its sum are asked for at the row only, once each.

mod columns;
mod questions;

use super::conditions::Condition;
use super::movement::{below_views, is_movement};
use super::planar::planar_images;
use super::work::{LOAD, STORE, Work, work};
use crate::diag::Result;
use crate::graph::{Graph, Op, TensorId};
use crate::target::Facts;
use crate::uop::{Axis, Bounds, DType, UopId, Uops};
use rustc_hash::{FxHashMap, FxHashSet};

/// A loop nest: a stored tensor or a model output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Root {
    /// A tensor stored for other kernels.
    Stored(TensorId),
    /// Model output `n`.
    Output(u32),
    /// Part `n` of a concatenation that is itself the tensor of a root: a nest of its own, which writes
    /// its part in place.
    Part(TensorId, u32),
}

/// The decision.
#[derive(Debug, Default)]
pub struct Buffers {
    /// Tensors that are stored, inputs and weights not included.
    pub stored: FxHashSet<TensorId>,
    /// Zeros wanted around a stored tensor, for each dimension.
    pub halo: FxHashMap<TensorId, Vec<(i64, i64)>>,
    /// Dimension of a stored tensor that a contraction wants contiguous: its right operand's column.
    pub column: FxHashMap<TensorId, usize>,
    /// Stored tensors that a contraction reads or makes.
    pub contracted: FxHashSet<TensorId>,
    /// Stored images whose channels are read one by one, by a depthwise convolution.
    pub by_channel: FxHashSet<TensorId>,
    /// Images that stay planar and their views, see `schedule::planar`.
    pub planar: FxHashSet<TensorId>,
    /// Elements of a row of a stored tensor, from its first column on, that readers touch who take whole vectors of their own columns.
    pub reach: FxHashMap<TensorId, i64>,
    /// How far along each dimension stored tensors are read, where that is less than all: no more of them is computed.
    pub read: FxHashMap<TensorId, Vec<i64>>,
}

/// One question: the value of a tensor at an index, inside the nest of a root.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Request {
    root: Root,
    index: Vec<UopId>,
    /// Asked from inside a contraction.
    contracting: bool,
    /// Asked by the sum of a contraction itself: the answer is the product.
    product: bool,
    /// Asked through padding or as a part of a concatenation, where the answer may not be needed.
    padded: bool,
    /// Asked by a transform, whose formulas share what they ask.
    transforming: bool,
}

struct Analysis<'a> {
    graph: &'a Graph,
    facts: &'a Facts,
    dims: &'a [Vec<i64>],
    work: Vec<Work>,
    g: Uops,
    requests: Vec<Vec<Request>>,
    /// Ranges that enclose a range: those of the nest in which its reduce is computed, itself included.
    enclosing: FxHashMap<u32, Vec<u32>>,
    reduce_ranges: FxHashSet<u32>,
    extents: Vec<i64>,
    free: FxHashMap<UopId, Vec<u32>>,
    /// Innermost range of each root, that kernels vectorise.
    innermost: FxHashMap<Root, (u32, UopId)>,
    /// Roots that already compute a contraction.
    contracting_roots: FxHashSet<Root>,
    /// Tensors computed inside each root.
    inlined: FxHashMap<Root, usize>,
    /// When each tensor is needed.
    conditions: &'a [Option<Condition>],
    /// Truth values on which that depends.
    choices: FxHashSet<TensorId>,
    out: Buffers,
}

/// More tensors than this in one kernel make it slow to compile for no gain.
const MAX_INLINED: usize = 160;
/// More distinct questions than this are answered from memory.
const MAX_REQUESTS: usize = 6;
/// A tensor is cut to what is read where that is at most this part of it: less saves nothing, and rows may lie worse.
const WORTH_CUTTING: f64 = 0.95;

/// Decides for the whole graph. `dims` are the shapes of all tensors.
pub fn choose_buffers(
    graph: &Graph,
    dims: &[Vec<i64>],
    conditions: &[Option<Condition>],
    facts: &Facts,
) -> Result<Buffers> {
    let mut a = Analysis {
        graph,
        facts,
        dims,
        work: work(graph, dims),
        g: Uops::new(),
        requests: vec![Vec::new(); graph.tensors.len()],
        enclosing: FxHashMap::default(),
        reduce_ranges: FxHashSet::default(),
        extents: Vec::new(),
        free: FxHashMap::default(),
        innermost: FxHashMap::default(),
        contracting_roots: FxHashSet::default(),
        inlined: FxHashMap::default(),
        conditions,
        choices: conditions.iter().flatten().map(|c| c.choice).collect(),
        out: Buffers {
            planar: planar_images(graph, dims, facts),
            ..Buffers::default()
        },
    };
    for (n, (_, id)) in graph.outputs.iter().enumerate() {
        let root = Root::Output(n as u32);
        let index = a.root_index(root, *id);
        a.requests[id.0 as usize].push(Request {
            root,
            index,
            contracting: false,
            product: false,
            padded: false,
            transforming: false,
        });
    }
    for n in (0..graph.tensors.len()).rev() {
        a.visit(TensorId(n as u32));
    }
    Ok(a.out)
}

impl Analysis<'_> {
    fn numel(&self, id: TensorId) -> f64 {
        self.dims[id.0 as usize].iter().product::<i64>().max(1) as f64
    }

    fn new_range(&mut self, extent: i64, enclosing: &[u32]) -> (u32, UopId) {
        let id = self.extents.len() as u32;
        self.extents.push(extent);
        let mut all = enclosing.to_vec();
        all.push(id);
        self.enclosing.insert(id, all);
        let n = self.g.index(extent);
        (id, self.g.range(id, n, Axis::Loop))
    }

    /// Fresh ranges for a root's own loops.
    fn root_index(&mut self, root: Root, id: TensorId) -> Vec<UopId> {
        let mut dims = self.dims[id.0 as usize].clone();
        if let (Root::Stored(_), Some(read)) = (root, self.out.read.get(&id)) {
            dims.clone_from(read);
        }
        let channels = self.graph.tensor(id).channels.map(usize::from);
        let wanted = match root {
            Root::Stored(_) => self.out.column.get(&id).copied(),
            _ => None,
        };
        let mut index = Vec::with_capacity(dims.len());
        for (dim, &extent) in dims.iter().enumerate() {
            if extent == 1 {
                index.push(self.g.index(0));
                continue;
            }
            let range = self.new_range(extent, &[]);
            let innermost = match (channels, wanted) {
                (Some(axis), _) if dims.get(axis).is_some_and(|&c| c > 1) => dim == axis,
                (_, Some(column)) => dim == column,
                _ => true,
            };
            if innermost {
                self.innermost.insert(root, range);
            }
            index.push(range.1);
        }
        index
    }

    /// Ids of the ranges under an expression.
    fn free(&mut self, id: UopId) -> Vec<u32> {
        if let Some(known) = self.free.get(&id) {
            return known.clone();
        }
        let mut out = match self.g.op(id) {
            crate::uop::Op::Range { id, .. } => vec![id],
            _ => {
                let src = self.g.src(id).to_vec();
                src.into_iter().flat_map(|s| self.free(s)).collect()
            }
        };
        out.sort_unstable();
        out.dedup();
        self.free.insert(id, out.clone());
        out
    }

    /// Ranges in whose loops an index is evaluated: its own and those around its reduce ranges.
    fn loops(&mut self, index: &[UopId]) -> Vec<u32> {
        let mut out: Vec<u32> = index.iter().flat_map(|&i| self.free(i)).collect();
        out = out
            .iter()
            .flat_map(|r| self.enclosing[r].iter().copied())
            .collect();
        out.sort_unstable();
        out.dedup();
        out
    }

    fn visit(&mut self, id: TensorId) {
        let mut requests = std::mem::take(&mut self.requests[id.0 as usize]);
        if requests.is_empty() {
            return;
        }
        let mut seen = FxHashSet::default();
        requests.retain(|r| seen.insert(r.clone()));
        let op = &self.graph.tensor(id).op;
        if matches!(op, Op::Input(_) | Op::Weight(_) | Op::Full(_) | Op::Iota) {
            return;
        }
        if self.choices.contains(&id)
            || self.begins_branch(id, &requests)
            || self.should_store(id, &requests)
        {
            self.store(id, &requests);
            let root = Root::Stored(id);
            let index = self.root_index(root, id);
            requests = vec![Request {
                root,
                index,
                contracting: false,
                product: false,
                padded: false,
                transforming: false,
            }];
        }
        let work = self.work[id.0 as usize];
        for request in requests {
            *self.inlined.entry(request.root).or_default() += 1;
            if work.contracts && matches!(self.graph.tensor(id).op, Op::Reduce { .. }) {
                self.contracting_roots.insert(request.root);
                if let Root::Stored(t) | Root::Part(t, _) = request.root {
                    self.out.contracted.insert(t);
                }
            }
            self.ask_sources(id, &request);
        }
    }

    /// True for a product that a kernel asks for which runs whether it is needed or not.
    fn begins_branch(&self, id: TensorId, requests: &[Request]) -> bool {
        let needed = self.conditions[id.0 as usize];
        needed.is_some()
            && self.work[id.0 as usize].contracts
            && !matches!(self.graph.tensor(id).op, Op::Expand | Op::Window { .. })
            && requests
                .iter()
                .any(|r| self.conditions[self.root_tensor(r.root).0 as usize] != needed)
    }

    /// Notes what the readers of a stored tensor want of it and of its layout.
    fn store(&mut self, id: TensorId, requests: &[Request]) {
        self.out.stored.insert(id);
        self.note_what_is_read(id, requests);
        self.note_reach(id, requests);
        self.note_columns(id, requests);
    }

    /// Windows may leave out the last rows and columns: a pool of 3 x 3 reads 12 rows of 14.
    fn note_what_is_read(&mut self, id: TensorId, requests: &[Request]) {
        if matches!(self.graph.tensor(id).op, Op::Concat(_) | Op::Scatter(_)) {
            return;
        }
        let dims = &self.dims[id.0 as usize];
        let mut bounds = Bounds::new();
        let mut read = vec![1; dims.len()];
        for request in requests {
            for ((r, &index), &all) in read.iter_mut().zip(&request.index).zip(dims) {
                let last = bounds.of(&self.g, index).1;
                *r = last.saturating_add(1).clamp(*r, all.max(1));
            }
        }
        let size = |dims: &[i64]| dims.iter().product::<i64>() as f64;
        if size(&read) <= WORTH_CUTTING * size(dims) {
            self.out.read.insert(id, read);
        }
    }

    fn should_store(&mut self, id: TensorId, requests: &[Request]) -> bool {
        let tensor = self.graph.tensor(id);
        let work = self.work[id.0 as usize];
        // Its formulas are vectors of channels: not for a reader whose rows are contiguous.
        let planar = |r: &Request| {
            matches!(r.root, Root::Output(_))
                || self
                    .graph
                    .tensor(self.root_tensor(r.root))
                    .channels
                    .is_none()
        };
        if work.transforms
            && tensor.channels.is_some()
            && requests.iter().any(|r| planar(r) || self.divides(&r.index))
        {
            return true;
        }
        match tensor.op {
            Op::Scatter(_) => return true,
            // Parts that are stored are written in place; read through a kernel each element asks which part it is of.
            Op::Concat(_) if tensor.src.len() as f64 > LOAD + STORE => return true,
            // A part of a tensor, or an input, that lies across the columns of a product: a copy in which they lie side by side.
            _ if is_movement(&tensor.op) && self.lies_across(id, requests) => return true,
            // These only repeat or select: if storing pays, it pays at the source.
            Op::Expand | Op::Window { .. } | Op::Slice { .. } => return false,
            Op::Pad { .. } if !self.pad_needs_buffer(id) => return false,
            // A rearranged window or repetition: what it repeats is stored, not the repetition.
            _ if is_movement(&tensor.op) && self.repeats(id) => return false,
            // A view of a planar image: what is stored is the image.
            Op::Reshape | Op::Permute(_) if self.out.planar.contains(&id) => return false,
            // A view whose rows of channels are no whole vectors: stored as the image in blocks, which are.
            Op::Reshape | Op::Permute(_) if self.parts_vectors(id) => return false,
            // An image made flat: stored as the image that it is, in blocks of channels, which readers take apart.
            Op::Reshape if self.flattens(id) => return false,
            _ => {}
        }
        // The columns that a transform reads of another one are values of the same formula.
        if matches!(tensor.op, Op::Transform { .. })
            && requests.len() == 1
            && requests[0].transforming
        {
            return false;
        }
        let numel = self.numel(id);
        let mut roots: Vec<Root> = requests.iter().map(|r| r.root).collect();
        roots.sort_unstable();
        roots.dedup();
        let mut evaluations = 0.0;
        let mut in_reduce = false;
        let mut overlapping = false;
        let mut covers_nest = true;
        for request in requests {
            let loops = self.loops(&request.index);
            evaluations += loops
                .iter()
                .map(|&r| self.extents[r as usize] as f64)
                .product::<f64>();
            in_reduce |= loops.iter().any(|r| self.reduce_ranges.contains(r));
            let own: f64 = self.root_size(request.root);
            let mine: f64 = loops
                .iter()
                .map(|&r| self.extents[r as usize] as f64)
                .product();
            covers_nest &= mine >= own;
            overlapping |= mine > numel * 1.01;
        }
        if requests.len() > MAX_REQUESTS {
            return true;
        }
        if roots
            .iter()
            .any(|r| self.inlined.get(r).copied().unwrap_or(0) > MAX_INLINED)
            && work.each > LOAD
        {
            return true;
        }
        let free = evaluations <= numel * 1.01;
        // One value that takes long: every thread would compute it.
        if work.reduces
            && evaluations <= 1.0
            && work.each > 65536.0
            && self.root_size(roots[0]) > 1.0
        {
            return true;
        }
        if work.reduces && in_reduce {
            return true;
        }
        if work.contracts {
            let scattered = !is_movement(&tensor.op)
                && requests.iter().any(|r| {
                    self.divides_a_sum(&r.index)
                        || self.splits_columns(id, r)
                        || self.shuffles_pixels(r)
                });
            let taken = matches!(tensor.op, Op::Reduce { .. })
                && self.contracting_roots.contains(&roots[0]);
            return requests.len() > 1
                || !free
                || !covers_nest
                || taken
                || scattered
                || in_reduce
                || requests[0].padded;
        }
        if roots.len() == 1
            && (free
                || (requests.len() <= 3
                    && evaluations <= 3.01 * numel
                    && work.each <= 64.0
                    && work.depth <= 1
                    && !(in_reduce && work.each > dear(overlapping))))
        {
            return false;
        }
        let again = evaluations * work.each;
        let stored = numel * (work.each + STORE) + evaluations * LOAD;
        again > stored
    }

    /// True when a reshape merges an image's channels with its rows or columns, and the image would be stored for it.
    fn flattens(&self, id: TensorId) -> bool {
        let mut base = id;
        while self.graph.tensor(base).op == Op::Reshape
            && self.graph.tensor(base).channels.is_none()
        {
            base = self.graph.tensor(base).src[0];
        }
        let source = self.graph.tensor(base);
        base != id
            && source.channels.is_some()
            && !is_movement(&source.op)
            && !matches!(source.op, Op::Input(_) | Op::Weight(_))
    }

    /// True for a view of an image whose last channels take several vectors: 12 are 8 and 4.
    fn parts_vectors(&self, id: TensorId) -> bool {
        let base = self.base(id);
        let source = self.graph.tensor(base);
        let lanes = i64::from(self.facts.channel_block);
        let channels = source
            .channels
            .and_then(|c| self.dims[base.0 as usize].get(usize::from(c)).copied());
        self.facts.gpu.is_none()
            && !matches!(source.op, Op::Input(_) | Op::Weight(_))
            && channels.is_some_and(|c| lanes > 1 && (c % lanes).count_ones() > 1)
    }

    /// The tensor below a chain of movement ops.
    fn base(&self, id: TensorId) -> TensorId {
        below_views(self.graph, id)
    }

    fn is_weight(&self, id: TensorId) -> bool {
        matches!(self.graph.tensor(self.base(id)).op, Op::Weight(_))
    }

    fn is_image(&self, id: TensorId) -> bool {
        self.graph.tensor(self.base(id)).channels.is_some()
    }

    /// True when a chain of movement ops starts from fewer elements than a square of vectors.
    fn is_tiny(&self, id: TensorId) -> bool {
        let id = self.base(id);
        let lanes = f64::from(self.facts.lanes(self.graph.tensor(id).dtype.size()));
        self.numel(id) < lanes * lanes
    }

    /// True when a chain of movement ops makes more elements than what it starts from, or windows of an image that do not overlap.
    fn repeats(&self, id: TensorId) -> bool {
        let mut base = id;
        let mut windows = false;
        while is_movement(&self.graph.tensor(base).op)
            && !matches!(self.graph.tensor(base).op, Op::Pad { .. })
        {
            windows |= matches!(self.graph.tensor(base).op, Op::Window { size: 2.., .. });
            base = self.graph.tensor(base).src[0];
        }
        let source = self.graph.tensor(base);
        let image = source.channels.is_some() && !matches!(source.op, Op::Input(_) | Op::Weight(_));
        self.numel(id) > 1.3 * self.numel(base) || windows && image
    }

    fn root_size(&self, root: Root) -> f64 {
        let id = self.root_tensor(root);
        match (root, self.out.read.get(&id)) {
            (Root::Stored(_), Some(read)) => read.iter().product::<i64>().max(1) as f64,
            _ => self.numel(id),
        }
    }

    /// The tensor whose elements a root's loops run over.
    fn root_tensor(&self, root: Root) -> TensorId {
        match root {
            Root::Stored(id) => id,
            Root::Output(n) => self.graph.outputs[n as usize].1,
            Root::Part(id, n) => self.graph.tensor(id).src[n as usize],
        }
    }

    /// A pad is answered from its source's halo when the source will be stored, and tested where it is
    /// read when it pads with something else than zero (a maximum's window); else it is stored itself if
    /// that pays.
    fn pad_needs_buffer(&self, id: TensorId) -> bool {
        // Threads test where they read; zeros around a tensor would be launches of their own.
        if self.facts.gpu.is_some() {
            return false;
        }
        let tensor = self.graph.tensor(id);
        let source = tensor.src[0];
        let stored_anyway = {
            let op = &self.graph.tensor(source).op;
            !is_movement(op) && !matches!(op, Op::Input(_) | Op::Weight(_) | Op::Full(_) | Op::Iota)
        };
        let max_pool = matches!(tensor.op, Op::Pad { value, .. } if value != 0);
        !(stored_anyway && (max_pool || self.halo_allowed(id)))
    }

    /// True when a pad's zeros may lie around its stored source.
    fn halo_allowed(&self, id: TensorId) -> bool {
        let tensor = self.graph.tensor(id);
        let Op::Pad { pads, value } = &tensor.op else {
            return false;
        };
        let source = tensor.src[0];
        tensor.dtype == DType::F32
            && *value == 0
            && self.numel(id) <= 2.0 * self.numel(source)
            && pads.iter().filter(|&&p| p != (0, 0)).count() <= 3
            && self.facts.alignment > 0
            && self.facts.gpu.is_none()
    }
}

/// Values of more operations are not computed again inside a reduce: of few where its windows overlap, an activation with an exponential
/// before a convolution.
fn dear(overlapping: bool) -> f64 {
    match overlapping {
        true => 8.0,
        false => 24.0,
    }
}

#[cfg(test)]
mod tests;
