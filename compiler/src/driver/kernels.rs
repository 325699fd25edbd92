//! From scheduled kernels to distinct optimised ones.
//!
//! In: a [`Program`] as scheduled. Out: the same program whose kernels are distinct and optimised,
//! whose steps point at them and whose weight buffers have the layouts that the kernels chose. Equal
//! kernels are found by [`fingerprint`], before optimisation (each is optimised once) and after.

use super::fingerprint::{fingerprint, kernel_hash};
use crate::codegen::{self, Lowered};
use crate::diag::{Error, Result};
use crate::opt;
use crate::program::verify::verify_scheduled;
use crate::program::{Access, BufferId, BufferKind, Kernel, Layout, Program, Weight};
use crate::search::{LockedKernel, Recipe, Recipes};
use crate::target::Facts;
use crate::uop::{FreeRanges, Op};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

/// Passes that [`run_pass`] knows, in order.
pub fn kernel_passes() -> Vec<&'static str> {
    let mut all = vec!["opt"];
    all.extend(codegen::KERNEL_PASSES.iter().map(|p| p.0));
    all.push(codegen::LINEARISE);
    all.extend(codegen::LIST_PASSES.iter().map(|p| p.0));
    all
}

/// Runs one pass over one kernel or list.
///
/// # Errors
/// Usage when there is no such pass or it comes too late; Bug when the kernel breaks an invariant of its stage.
pub fn run_pass(name: &str, state: Lowered, facts: &Facts) -> Result<Lowered> {
    if !kernel_passes().contains(&name) {
        return Err(Error::usage(format!("there is no pass '{name}'"))
            .help(format!("passes: {}", kernel_passes().join(", "))));
    }
    let kernel = match state {
        Lowered::Kernel(kernel) if name == "opt" => kernel,
        state => return codegen::run_pass(name, state, facts),
    };
    verify_scheduled(&kernel).map_err(|e| {
        Error::usage(format!(
            "pass 'opt' runs before those of codegen: {}",
            e.message
        ))
    })?;
    let (optimised, _opts) = opt::optimise(&kernel, facts)?;
    Ok(Lowered::Kernel(optimised))
}

/// Makes equal kernels one. Origins of the merged ones are kept by their steps.
///
/// `numbers` are what `codegen` takes besides the kernel, one for each: they must agree too. Returns those that are left.
pub(super) fn merge_equal(program: &mut Program, numbers: &[Option<u32>]) -> Vec<Option<u32>> {
    let prints: Vec<[u8; 32]> = program.kernels.par_iter().map(fingerprint).collect();
    let mut first: FxHashMap<([u8; 32], Option<u32>), usize> = FxHashMap::default();
    let mut kept = Vec::new();
    let mut left = Vec::new();
    let mut map = Vec::with_capacity(prints.len());
    let kernels = std::mem::take(&mut program.kernels).into_iter();
    for (at, (kernel, print)) in kernels.zip(prints).enumerate() {
        let number = numbers.get(at).copied().flatten();
        let n = *first.entry((print, number)).or_insert(kept.len());
        if n == kept.len() {
            kept.push(kernel);
            left.push(number);
        }
        map.push(n);
    }
    program.kernels = kept;
    for step in &mut program.steps {
        step.kernel = map[step.kernel];
    }
    left
}

/// What was chosen for a program's kernels.
pub(super) struct Choice {
    /// One for each.
    pub kernels: Vec<LockedKernel>,
    /// Kernels for which the first choice was given up, with the reason.
    pub refused: Vec<String>,
}

/// Optimises every kernel, `advance` called after each, and gives weight buffers the chosen layouts.
pub(super) fn optimise_all(
    program: &mut Program,
    facts: &Facts,
    recipes: &Recipes,
    advance: &(dyn Fn() + Sync),
) -> Result<Choice> {
    let done: Vec<(Kernel, (LockedKernel, Option<String>))> = program
        .kernels
        .par_iter()
        .map(|kernel| {
            let hash = kernel_hash(kernel);
            let (mut done, recipe, refused) =
                choose(kernel, &hash, facts, recipes).map_err(|e| name_kernel(e, kernel))?;
            done.name.clone_from(&kernel.name);
            advance();
            let name = kernel.name.clone();
            Ok((done, (LockedKernel { hash, name, recipe }, refused)))
        })
        .collect::<Result<_>>()?;
    let (optimised, chosen): (Vec<Kernel>, Vec<_>) = done.into_iter().unzip();
    let (kernels, refused): (Vec<_>, Vec<_>) = chosen.into_iter().unzip();
    for (before, after) in program.kernels.iter().zip(&optimised) {
        check_params(before, after)?;
    }
    program.kernels = optimised;
    share_weight_layouts(program);
    assign_weight_layouts(program)?;
    Ok(Choice {
        kernels,
        refused: refused.into_iter().flatten().collect(),
    })
}

/// The optimised kernel and how it came about: as given, else by heuristic.
fn choose(
    kernel: &Kernel,
    hash: &str,
    facts: &Facts,
    recipes: &Recipes,
) -> Result<(Kernel, Recipe, Option<String>)> {
    let given = recipes.get(hash);
    if let Some(file) = &recipes.complete {
        let again = "the model, its options or tinyc have changed: write it again with --lock and without --locked";
        let short = &hash[..12];
        let Some(recipe) = given else {
            return Err(Error::usage(format!(
                "{file} has no choices for kernel '{}' ({short})",
                kernel.name
            ))
            .help(again));
        };
        let done = recipe.apply(kernel).map_err(|e| {
            Error::usage(format!(
                "{file}: the choices for kernel '{}' ({short}) do not apply: {}",
                kernel.name, e.message
            ))
            .help(again)
        })?;
        return Ok((done, recipe.clone(), None));
    }
    let (done, heuristic, refused) = Recipe::heuristic(kernel, facts)?;
    if let Some(recipe) = given
        && recipes.holds(hash, &heuristic)
        && let Ok(done) = recipe.apply(kernel)
    {
        return Ok((done, recipe.clone(), None));
    }
    Ok((done, heuristic, refused))
}

/// Lets a kernel that picks a few elements from a big weight (an embedding table) take the layout in which another
/// kernel multiplies by it, so that the weight is stored once.
fn share_weight_layouts(program: &mut Program) {
    let mut wanted: FxHashMap<BufferId, Vec<(usize, usize)>> = FxHashMap::default();
    let first = equal_weights(program);
    for step in &program.steps {
        for (slot, arg) in step.args.iter().enumerate() {
            if let Some(&weight) = first.get(arg) {
                let users = wanted.entry(weight).or_default();
                if !users.contains(&(step.kernel, slot)) {
                    users.push((step.kernel, slot));
                }
            }
        }
    }
    let mut changes = Vec::new();
    for users in wanted.values() {
        let (picks, others): (Vec<_>, Vec<_>) = users
            .iter()
            .partition(|&&(kernel, slot)| picks_few(&program.kernels[kernel], slot as u32));
        let mut layouts = others
            .iter()
            .map(|&&(kernel, slot)| program.kernels[kernel].params[slot].layout.squeezed());
        let Some(first) = layouts.next() else {
            continue;
        };
        if layouts.any(|l| l != first) {
            continue;
        }
        for &&(kernel, slot) in &picks {
            // Only where the kernel has this weight in every launch.
            let elsewhere = wanted
                .iter()
                .filter(|(_, u)| u.contains(&(kernel, slot)))
                .count();
            let param = &program.kernels[kernel].params[slot];
            if let (1, Some(layout)) = (elsewhere, first.unsqueezed(&param.layout.shape)) {
                changes.push((kernel, slot, layout));
            }
        }
    }
    for (kernel, slot, layout) in changes {
        program.kernels[kernel].params[slot].layout = layout;
    }
}

/// For each weight buffer the first one with the same elements.
fn equal_weights(program: &Program) -> FxHashMap<BufferId, BufferId> {
    let mut found: FxHashMap<usize, Vec<(BufferId, &Weight)>> = FxHashMap::default();
    let mut first = FxHashMap::default();
    for (n, buffer) in program.buffers.iter().enumerate() {
        let BufferKind::Weight(weight) = &buffer.kind else {
            continue;
        };
        let id = BufferId(n as u32);
        let same = found.entry(weight.bytes.len()).or_default();
        let known = same.iter().find(|(_, w)| w.same_data(weight)).map(|s| s.0);
        if known.is_none() {
            same.push((id, weight));
        }
        first.insert(id, known.unwrap_or(id));
    }
    first
}

/// True when a kernel loads at most an eighth of a parameter's elements, at places that it looks up.
fn picks_few(kernel: &Kernel, slot: u32) -> bool {
    let g = &kernel.uops;
    let mut free = FreeRanges::new();
    let mut reads = 0i64;
    for id in g.toposort(&[kernel.sink]) {
        let Op::Load { gated } = g.op(id) else {
            continue;
        };
        let src = g.src(id);
        if !matches!(g.op(src[0]), Op::Param { slot: s } if s == slot) {
            continue;
        }
        let index = &src[if gated { 3 } else { 1 }..];
        let looked_up = g
            .toposort(index)
            .iter()
            .any(|&i| matches!(g.op(i), Op::Load { .. }));
        if !looked_up {
            return false;
        }
        let elements = free
            .of(g, id)
            .iter()
            .map(|&r| g.extent(r).unwrap_or(i64::MAX))
            .fold(1i64, i64::saturating_mul);
        reads = reads.saturating_add(elements);
    }
    reads > 0 && reads <= kernel.params[slot as usize].layout.elements() / 8
}

/// Says which kernel an error is about, when it says nothing better.
pub(super) fn name_kernel(error: Error, kernel: &Kernel) -> Error {
    match kernel.origins.first() {
        Some(origin) => error.at(origin),
        None => error,
    }
}

/// An optimiser may change the layout of weight and scratch parameters and nothing else of the parameters.
fn check_params(before: &Kernel, after: &Kernel) -> Result<()> {
    let same = before.params.len() == after.params.len()
        && before.params.iter().zip(&after.params).all(|(b, a)| {
            b.dtype == a.dtype
                && b.access == a.access
                && b.weight == a.weight
                && (b.layout == a.layout
                    || (b.weight || b.access == Access::Scratch)
                        && b.layout.shape == a.layout.shape)
        });
    if same {
        Ok(())
    } else {
        Err(Error::bug(format!(
            "optimising kernel '{}' changed a parameter that callers see",
            after.name
        )))
    }
}

/// Gives each weight buffer the layout its kernel chose. A weight that two kernels want in
/// different layouts is stored once for each layout.
fn assign_weight_layouts(program: &mut Program) -> Result<()> {
    let originals = program.buffers.len();
    let mut stored: FxHashMap<(BufferId, Layout), BufferId> = FxHashMap::default();
    let mut claimed = vec![false; originals];
    let Program {
        kernels,
        buffers,
        steps,
        ..
    } = program;
    for step in steps {
        for (arg, param) in step.args.iter_mut().zip(&kernels[step.kernel].params) {
            let index = arg.0 as usize;
            let is_weight = matches!(buffers[index].kind, BufferKind::Weight(_));
            if param.weight && !is_weight {
                return Err(Error::bug(format!(
                    "kernel '{}' takes buffer '{}' for a weight",
                    kernels[step.kernel].name, buffers[index].name
                )));
            }
            if param.access == Access::Scratch {
                buffers[index].layout = param.layout.clone();
            }
            if !is_weight {
                continue;
            }
            let key = (*arg, param.layout.clone());
            *arg = match stored.get(&key) {
                Some(&id) => id,
                None => {
                    let id = if std::mem::replace(&mut claimed[index], true) {
                        let copy = buffers[index].clone();
                        buffers.push(copy);
                        BufferId(buffers.len() as u32 - 1)
                    } else {
                        *arg
                    };
                    buffers[id.0 as usize].layout = param.layout.clone();
                    stored.insert(key, id);
                    id
                }
            };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::program::{Access, Buffer, Bytes, LayoutAxis, Param, Step};
    use crate::uop::{Axis, DType, Uops};

    /// A kernel that reads a 4x6 weight in the given layout.
    fn reader(name: &str, layout: Layout) -> Kernel {
        let mut uops = Uops::new();
        let (r, c) = (uops.index(4), uops.index(6));
        let (r, c) = (uops.range(0, r, Axis::Loop), uops.range(1, c, Axis::Loop));
        let (w, y) = (uops.param(0, DType::F32), uops.param(1, DType::F32));
        let x = uops.load(w, &[r, c]);
        let s = uops.store(y, x, &[r, c]);
        let sink = uops.sink(&[s]);
        let out = Layout::row_major(&layout.shape);
        let param = |layout, access, weight| Param {
            dtype: DType::F32,
            layout,
            access,
            weight,
        };
        Kernel {
            name: name.into(),
            uops,
            sink,
            params: vec![
                param(layout, Access::Read, true),
                param(out, Access::Write, false),
            ],
            origins: Vec::new(),
        }
    }

    fn program(layouts: Vec<Layout>) -> Program {
        let weight = Weight {
            name: "w".into(),
            dtype: DType::F32,
            shape: vec![4, 6],
            bytes: Bytes::new(vec![0u8; 96]),
        };
        let buffer = |kind| Buffer {
            name: "b".into(),
            dtype: DType::F32,
            layout: Layout::row_major(&[4, 6]),
            kind,
        };
        Program {
            name: "p".into(),
            steps: (0..layouts.len())
                .map(|kernel| Step {
                    kernel,
                    args: vec![BufferId(0), BufferId(1)],
                    origins: Vec::new(),
                    condition: None,
                })
                .collect(),
            kernels: layouts
                .into_iter()
                .enumerate()
                .map(|(i, l)| reader(&format!("k{i}"), l))
                .collect(),
            buffers: vec![
                buffer(BufferKind::Weight(weight)),
                buffer(BufferKind::Internal),
            ],
            inputs: Vec::new(),
            outputs: Vec::new(),
        }
    }

    fn packed() -> Layout {
        let mut l = Layout::row_major(&[4, 6]);
        l.axes = vec![
            LayoutAxis {
                dim: 1,
                div: 1,
                extent: 6,
            },
            LayoutAxis {
                dim: 0,
                div: 1,
                extent: 4,
            },
        ];
        l
    }

    /// A kernel that copies the rows of a 4x6 weight that a list names.
    fn picker(rows: i64) -> Kernel {
        let mut k = reader("pick", Layout::row_major(&[4, 6]));
        let mut g = Uops::new();
        let (n, c) = (g.index(rows), g.index(1));
        let (n, c) = (g.range(0, n, Axis::Loop), g.range(1, c, Axis::Loop));
        let (w, y) = (g.param(0, DType::F32), g.param(1, DType::F32));
        let list = g.param(2, DType::I64);
        let row = g.load(list, &[n]);
        let row = g.cast(row, DType::Index);
        let x = g.load(w, &[row, c]);
        let s = g.store(y, x, &[n, c]);
        k.sink = g.sink(&[s]);
        k.uops = g;
        k.params.push(Param {
            dtype: DType::I64,
            layout: Layout::row_major(&[rows]),
            access: Access::Read,
            weight: false,
        });
        k
    }

    #[test]
    fn a_table_takes_the_layout_of_the_multiplication() {
        for (rows, shared) in [(2, true), (4, false)] {
            let mut p = program(vec![packed(), packed()]);
            p.kernels[0] = picker(rows);
            p.steps[0].args.push(BufferId(1));
            share_weight_layouts(&mut p);
            assert_eq!(p.kernels[0].params[0].layout == packed(), shared, "{rows}");
            assign_weight_layouts(&mut p).unwrap();
            assert_eq!(p.buffers.len(), if shared { 2 } else { 3 });
        }
    }

    #[test]
    fn equal_kernels_merge() {
        let row = Layout::row_major(&[4, 6]);
        let mut p = program(vec![row.clone(), packed(), row]);
        merge_equal(&mut p, &[]);
        assert_eq!(p.kernels.len(), 2);
        let steps: Vec<_> = p.steps.iter().map(|s| s.kernel).collect();
        assert_eq!(steps, [0, 1, 0]);
    }

    #[test]
    fn one_layout_changes_the_buffer_in_place() {
        let mut p = program(vec![packed(), packed()]);
        assign_weight_layouts(&mut p).unwrap();
        assert_eq!(p.buffers.len(), 2);
        assert_eq!(p.buffers[0].layout, packed());
    }

    #[test]
    fn two_layouts_store_the_weight_twice() {
        let row = Layout::row_major(&[4, 6]);
        let mut p = program(vec![packed(), row.clone(), packed()]);
        assign_weight_layouts(&mut p).unwrap();
        assert_eq!(p.buffers.len(), 3);
        assert_eq!(p.buffers[0].layout, packed());
        assert_eq!(p.buffers[2].layout, row);
        let args: Vec<_> = p.steps.iter().map(|s| s.args[0].0).collect();
        assert_eq!(args, [0, 2, 0]);
    }
}
