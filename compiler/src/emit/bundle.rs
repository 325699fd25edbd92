//! Writes the bundle of a `.tinyexe`: what `tinyc_runtime::bundle` describes and reads.
//!
//! In: [`Built`]. Out: the bytes of the bundle. The digest of the machine code is known only after linking: [`super::append`]
//! writes it.

use super::identities::identity_lines;
use super::launches::{Launches, launches};
use super::weights::pack_all;
use crate::diag::{Error, Origin, Result};
use crate::program::{BufferId, Built, Io};
use crate::uop::DType;
use rustc_hash::FxHashMap;
use std::fmt::Write;
use tinyc_runtime::bundle::{DIGEST_AT, ENTRY, Kind, MAGIC, VERSION, header_digest};
use tinyc_runtime::elf;
use tinyc_runtime::program::{MAX_ARGUMENTS, TYPES};
use tinyc_runtime::sha256::Sha256;

/// Alignment of sections.
const ALIGN: usize = 64;

/// What a target says of itself in the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Target and chip, one line.
    pub target: String,
    /// Compiler and flags, one line.
    pub toolchain: String,
    /// `part: licence`, for everything that the target links in.
    pub licences: Vec<String>,
    /// Hash of each kernel's code, see [`super::code_hash`].
    pub code: Vec<String>,
    /// Lines of the manifest that only this target has: key and value.
    pub more: Vec<(String, String)>,
}

/// The bundle of a program. `more` are sections that only this target has.
///
/// # Errors
/// Unsupported when a kernel takes more buffers than an executable allows.
pub fn bundle(
    built: &Built,
    provenance: &Provenance,
    more: Vec<(Kind, Vec<u8>)>,
) -> Result<Vec<u8>> {
    let flat = launches(built)?;
    if flat.max_args > MAX_ARGUMENTS as usize {
        return Err(Error::unsupported(format!(
            "a kernel takes {} buffers, a .tinyexe allows {MAX_ARGUMENTS}",
            flat.max_args
        )));
    }
    let weights = built.plan.weight_bytes as usize;
    let mut small = vec![
        (Kind::Manifest, manifest(built, provenance).into_bytes()),
        (Kind::Program, program(built, &flat)),
        (Kind::Tensors, tensors(built)?),
        (
            Kind::Kernels,
            lines(built.linear.iter().map(|k| k.name.clone())),
        ),
        (
            Kind::Origins,
            lines(built.program.steps.iter().map(|s| origins(&s.origins))),
        ),
        (
            Kind::Identities,
            identity_lines(built, &provenance.code)
                .join("\n")
                .into_bytes(),
        ),
    ];
    small.extend(more);
    // Table: the small sections, the weights, the code.
    let table = ENTRY * (1 + small.len() + 2);
    let mut at = table.next_multiple_of(ALIGN);
    let mut places = Vec::new();
    for (kind, bytes) in &small {
        places.push((*kind, at, bytes.len()));
        at = (at + bytes.len()).next_multiple_of(ALIGN);
    }
    places.push((Kind::Weights, at, weights));
    let total = at + weights;
    places.push((Kind::Code, 0, 0));
    let mut out = vec![0; total];
    for ((_, bytes), (_, start, len)) in small.iter().zip(&places) {
        out[*start..start + len].copy_from_slice(bytes);
    }
    pack_all(built, &mut out[total - weights..])?;
    for (i, &(kind, start, len)) in places.iter().enumerate() {
        // The `sha2` crate uses the processor's instructions: weights may be large.
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&out[start..start + len]);
        let entry = &mut out[ENTRY * (i + 1)..ENTRY * (i + 2)];
        entry[..4].copy_from_slice(&kind.number().to_le_bytes());
        entry[8..16].copy_from_slice(&(start as u64).to_le_bytes());
        entry[16..24].copy_from_slice(&(len as u64).to_le_bytes());
        entry[DIGEST_AT..].copy_from_slice(&digest);
    }
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&(places.len() as u32).to_le_bytes());
    out[16..24].copy_from_slice(&(total as u64).to_le_bytes());
    stamp_header(&mut out, places.len())?;
    Ok(out)
}

/// Writes the digest of everything that an executable loads, but its bundle at `start`, into that bundle.
pub(super) fn seal(executable: &[u8], start: u64, bundle: &mut [u8]) -> Result<()> {
    let wrong = || Error::bug("the linked executable holds no sound bundle");
    let count = bundle.get(12..16).ok_or_else(wrong)?;
    let count = count.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b));
    let mut code = Sha256::new();
    let hole = (start, bundle.len() as u64);
    let bytes = elf::loaded(executable, hole, &mut |part| code.update(part)).ok_or_else(wrong)?;
    let mut entries = bundle.chunks_exact_mut(ENTRY).skip(1).take(count);
    let entry = entries.find(|e| e[..4] == Kind::Code.number().to_le_bytes());
    let entry = entry.ok_or_else(wrong)?;
    entry[16..24].copy_from_slice(&bytes.to_le_bytes());
    entry[DIGEST_AT..].copy_from_slice(&code.finish());
    stamp_header(bundle, count)
}

fn stamp_header(out: &mut [u8], count: usize) -> Result<()> {
    let digest = header_digest(out, count).ok_or_else(|| Error::bug("bundle without a table"))?;
    out[DIGEST_AT..DIGEST_AT + 32].copy_from_slice(&digest);
    Ok(())
}

fn manifest(built: &Built, provenance: &Provenance) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let one_line: String = value.chars().filter(|c| !c.is_control()).collect();
        let _ = writeln!(text, "{key}={one_line}");
    };
    line("format", &VERSION.to_string());
    line("name", &built.program.name);
    line("tinyc", env!("CARGO_PKG_VERSION"));
    line("target", &provenance.target);
    line("toolchain", &provenance.toolchain);
    line("model_sha256", &built.meta.model_sha256);
    for option in &built.meta.options {
        line("option", option);
    }
    for bound in &built.meta.bound {
        line("bound", bound);
    }
    line("kernels", &built.linear.len().to_string());
    line("launches", &built.program.steps.len().to_string());
    line("arena_bytes", &built.plan.arena_bytes.to_string());
    line(
        "arena_lower_bound",
        &built.plan.arena_lower_bound.to_string(),
    );
    line("weight_bytes", &built.plan.weight_bytes.to_string());
    line("flops", &flops(built).to_string());
    for (key, value) in &provenance.more {
        line(key, value);
    }
    for licence in &provenance.licences {
        line("licence", licence);
    }
    line("licence", "weights: as the model's author says");
    text
}

/// Estimated operations of one run: of the branches of a choice, the one with more.
fn flops(built: &Built) -> u64 {
    let mut always = 0u64;
    let mut branches: FxHashMap<BufferId, [u64; 2]> = FxHashMap::default();
    for step in &built.program.steps {
        let flops = built.linear.get(step.kernel).map_or(0, |k| k.flops);
        let sum = match step.condition {
            Some((choice, wanted)) => &mut branches.entry(choice).or_default()[usize::from(wanted)],
            None => &mut always,
        };
        *sum = sum.saturating_add(flops);
    }
    let branches = branches.into_values().map(|[a, b]| a.max(b));
    branches.fold(always, u64::saturating_add)
}

fn program(built: &Built, flat: &Launches) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(built.plan.arena_bytes.to_le_bytes());
    out.extend(flops(built).to_le_bytes());
    let counts = [
        flat.steps.len(),
        flat.args.len(),
        flat.places.len(),
        built.linear.len(),
    ];
    out.extend(counts.iter().flat_map(|&n| (n as u32).to_le_bytes()));
    for s in &flat.steps {
        let words = [s.kernel, s.first, s.count, s.flags()];
        out.extend(words.iter().flat_map(|n| n.to_le_bytes()));
    }
    out.extend(flat.args.iter().flat_map(|n| n.to_le_bytes()));
    for place in &flat.places {
        out.extend(place.offset.to_le_bytes());
        out.extend(place.bytes.to_le_bytes());
        out.extend(place.base.to_le_bytes());
        out.extend(0u32.to_le_bytes());
    }
    out
}

fn tensors(built: &Built) -> Result<Vec<u8>> {
    let (inputs, outputs) = (&built.program.inputs, &built.program.outputs);
    let mut out = Vec::new();
    out.extend((inputs.len() as u32).to_le_bytes());
    out.extend((outputs.len() as u32).to_le_bytes());
    for io in inputs.iter().chain(outputs) {
        tensor(io, &mut out)?;
    }
    Ok(out)
}

fn tensor(io: &Io, out: &mut Vec<u8>) -> Result<()> {
    let unknown = |_: DType| Error::bug(format!("tensor '{}' of type {}", io.name, io.dtype));
    let number = TYPES
        .iter()
        .position(|t| t.0 == io.dtype.name())
        .ok_or_else(|| unknown(io.dtype))?;
    let words = [number, io.name.len(), io.shape.len(), 0];
    out.extend(words.iter().flat_map(|&n| (n as u32).to_le_bytes()));
    out.extend(io.shape.iter().flat_map(|n| n.to_le_bytes()));
    out.extend(io.name.bytes());
    out.resize(out.len().next_multiple_of(8), 0);
    Ok(())
}

fn lines(list: impl Iterator<Item = String>) -> Vec<u8> {
    let mut out = Vec::new();
    for line in list {
        out.extend(
            line.chars()
                .filter(|c| !c.is_control())
                .collect::<String>()
                .bytes(),
        );
        out.push(b'\n');
    }
    out
}

fn origins(list: &[Origin]) -> String {
    list.iter()
        .map(Origin::to_string)
        .collect::<Vec<_>>()
        .join(" + ")
}
