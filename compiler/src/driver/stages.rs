//! The stages that have not landed yet: each answers that it is missing.

use crate::diag::{Error, Result};
use crate::graph::Graph;
use crate::program::{Kernel, LinearKernel, Plan, Program};
use crate::target::Facts;

#[allow(dead_code)]
fn missing<T>(stage: &str) -> Result<T> {
    Err(Error::bug(format!("stage '{stage}' is not there yet")))
}
pub(super) fn verify_graph(graph: &Graph) -> Result<()> {
    crate::graph::verify(graph)
}
pub(super) fn verify_kernel(_: &Kernel) -> Result<()> {
    Ok(())
}
pub(super) fn fold(graph: &Graph) -> Result<Graph> {
    crate::graph::fold(graph)
}
pub(super) fn simplify(g: &Graph) -> Result<Graph> {
    Ok(g.clone())
}
pub(super) fn decompose(graph: &Graph) -> Result<Graph> {
    crate::graph::decompose(graph)
}
pub(super) fn schedule(graph: &Graph, facts: &Facts, name: &str) -> Result<Program> {
    crate::schedule::schedule(graph, facts, name)
}
pub(super) fn optimise(kernel: &Kernel, facts: &Facts) -> Result<(Kernel, Vec<String>)> {
    let (kernel, opts) = crate::opt::optimise(kernel, facts)?;
    Ok((kernel, opts.iter().map(ToString::to_string).collect()))
}
pub(super) fn lower(kernel: &Kernel, facts: &Facts) -> Result<LinearKernel> {
    crate::codegen::lower(kernel, facts)
}
pub(super) fn plan(program: &Program, facts: &Facts) -> Result<Plan> {
    crate::plan::plan(program, facts)
}
pub(super) fn kernel_text(k: &Kernel) -> String {
    crate::program::text::print_kernel(k)
}
pub(super) fn linear_text(k: &LinearKernel) -> String {
    crate::program::text::print_linear(k)
}
