//! `tinyc inspect --stream`: the command stream of an artifact, packet by packet.
//!
//! In: a bundle with a stream. Out: text or JSON: each packet decoded, with registers by name; launches with their kernels; in
//! place of every value that is patched, what it becomes: `<image+0x100 >> 8>`.
//!
//! The decoder refuses words that were never patched, so fields get values first, each of which tells its symbol.

use serde::Serialize;
use std::fmt::Write;
use tinyc_compiler::diag::{Error, Result};
use tinyc_runtime::patch::{Patch, Place, symbol};
use tinyc_runtime::{Bundle, Kind};
use tinyc_simgpu::pm4::{Generation, Packet, name_in};
use tinyc_target_amd::stream::Needs;

/// A decoded stream.
#[derive(Debug, Serialize)]
pub struct View {
    words: usize,
    patches: Counts,
    launches: Vec<LaunchView>,
    packets: Vec<PacketView>,
}

/// Patches of each class.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Counts {
    constant: usize,
    link: usize,
    run: usize,
}

#[derive(Debug, Serialize)]
struct LaunchView {
    kernel: String,
    nodes: String,
    first_word: u32,
}

#[derive(Debug, Serialize)]
struct PacketView {
    word: usize,
    /// The launch that it belongs to.
    launch: Option<usize>,
    text: String,
    patches: Vec<PatchView>,
}

#[derive(Debug, Serialize)]
struct PatchView {
    word: usize,
    class: &'static str,
    symbol: String,
    value: String,
}

/// A patch of the stream and whether it is one of each run.
type Marked = (Patch, &'static str);

/// Decodes the stream of an artifact.
///
/// # Errors
/// Usage when it has none; Model when it is damaged.
pub fn view(bundle: &Bundle<'_>, file: &str) -> Result<View> {
    let bad = |e: &dyn std::fmt::Display| Error::model(format!("{file}: {e}"));
    let Ok(stream) = bundle.section(Kind::Stream) else {
        return Err(Error::usage(format!("{file} holds no command stream"))
            .help("compile for a device that takes one, such as --target amd-gfx1100"));
    };
    let patches = bundle.patches().map_err(|e| bad(&e))?;
    let symbols = bundle.symbols().map_err(|e| bad(&e))?;
    let needs = bundle.section(Kind::Needs).map_err(|e| bad(&e))?.bytes;
    let needs = Needs::read(needs).ok_or_else(|| bad(&"section 'needs' is malformed"))?;
    let generation = Generation::of(needs.gfx_target_version)
        .ok_or_else(|| bad(&format!("unknown device {}", needs.gfx_target_version)))?;
    let link = patches.link().map(|p| (p, "link"));
    let all = link.chain(patches.run().map(|p| (p, "run")));
    let mut marked: Vec<Marked> = all.filter(|(p, _)| p.place == Place::Stream).collect();
    marked.sort_by_key(|(p, _)| p.offset);
    let mut bytes = stream.bytes.to_vec();
    for (patch, _) in &marked {
        // Inside: `patches` was checked against the section.
        let _ = patch.apply(&mut bytes, stand_in(patch.symbol));
    }
    let words = bytes.as_chunks::<4>().0.iter();
    let words: Vec<u32> = words.map(|w| u32::from_le_bytes(*w)).collect();
    let decoded = Packet::decode_all(&words, generation)
        .map_err(|(at, e)| bad(&format!("word {at} of the stream: {e}")))?;
    let starts: Vec<u32> = (0..symbols.launches())
        .filter_map(|n| symbols.launch(n))
        .map(|l| l.word)
        .collect();
    // What follows the last wait for a kernel belongs to no launch.
    let last = decoded.iter().rposition(|p| p.1 == Packet::PartialFlush);
    let mut rest = marked.as_slice();
    let mut packets = Vec::new();
    for (n, (at, packet)) in decoded.iter().enumerate() {
        let end = decoded.get(n + 1).map_or(words.len(), |p| p.0);
        let count = rest.iter().take_while(|(p, _)| p.offset < end as u64 * 4);
        let (own, others) = rest.split_at(count.count());
        rest = others;
        let launch = starts
            .partition_point(|s| *s as usize <= *at)
            .checked_sub(1);
        packets.push(PacketView {
            word: *at,
            launch: launch.filter(|_| last.is_some_and(|last| n <= last)),
            text: text(packet, *at, own, generation),
            patches: own.iter().map(patch_view).collect(),
        });
    }
    let kernels: Vec<&str> = bundle.kernels().collect();
    let origins: Vec<&str> = bundle.origins().collect();
    let launches = (0..symbols.launches()).filter_map(|n| symbols.launch(n));
    let launches = launches.enumerate().map(|(n, launch)| LaunchView {
        kernel: kernels
            .get(launch.kernel as usize)
            .unwrap_or(&"")
            .to_string(),
        nodes: origins.get(n).unwrap_or(&"").to_string(),
        first_word: launch.word,
    });
    let constant = bundle.value("patches").and_then(|v| v.split(' ').next());
    Ok(View {
        words: words.len(),
        patches: Counts {
            constant: constant.and_then(|n| n.parse().ok()).unwrap_or(0),
            link: patches.link().len(),
            run: patches.run().len(),
        },
        launches: launches.collect(),
        packets,
    })
}

/// A value that tells its symbol: an address where the packet wants one.
fn stand_in(number: u32) -> u64 {
    match number {
        symbol::EVENT | symbol::WAIT | symbol::DONE | symbol::SCRATCH_SIZE => {
            0x7A_0000 + u64::from(number)
        }
        _ => u64::from(number + 1) << 40,
    }
}

/// `<image+0x100 >> 8>`.
fn token(patch: &Patch) -> String {
    let mut out = format!("<{}", symbol::Name(patch.symbol));
    if patch.addend != 0 {
        let sign = if patch.addend < 0 { '-' } else { '+' };
        let _ = write!(out, "{sign}{:#x}", patch.addend.unsigned_abs());
    }
    if patch.shift != 0 {
        let _ = write!(out, " >> {}", patch.shift);
    }
    out + ">"
}

fn patch_view((patch, class): &Marked) -> PatchView {
    PatchView {
        word: patch.offset as usize / 4,
        class,
        symbol: symbol::Name(patch.symbol).to_string(),
        value: token(patch),
    }
}

/// The packet's text, with tokens for values that are patched.
fn text(packet: &Packet, at: usize, patches: &[Marked], generation: Generation) -> String {
    if let Packet::SetShReg(first, values) = packet {
        let mut out = "SET_SH_REG".to_string();
        for (n, value) in values.iter().enumerate() {
            // Header and offset come before the values.
            let place = (at + 2 + n) as u64 * 4;
            let inside = |p: &Patch| (p.offset..p.offset + u64::from(p.width)).contains(&place);
            let patch = patches.iter().find(|(p, _)| inside(p));
            let register = name_in(first + n as u32, generation).unwrap_or_default();
            let sep = if n == 0 { " " } else { ", " };
            let _ = match patch {
                Some((p, _)) if p.offset == place => write!(out, "{sep}{register}={}", token(p)),
                Some(_) => write!(out, "{sep}{register}=upper half"),
                None => write!(out, "{sep}{register}={value:#x}"),
            };
        }
        return out;
    }
    let mut out = packet.to_string();
    for (patch, _) in patches {
        let value = patch.value(0, stand_in(patch.symbol));
        let token = token(patch);
        out = out.replace(&format!("{value:#x}"), &token);
        out = out.replace(&format!("={value}"), &format!("={token}"));
    }
    out
}

impl View {
    /// As text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let Counts {
            constant,
            link,
            run,
        } = self.patches;
        let _ = writeln!(
            out,
            "stream of {} words, {} packets, {} launches; patches: {constant} constant, {link} link, {run} run",
            self.words,
            self.packets.len(),
            self.launches.len()
        );
        let mut launch = None;
        for packet in &self.packets {
            if packet.launch != launch {
                launch = packet.launch;
                let _ = match launch.and_then(|n| Some((n, self.launches.get(n)?))) {
                    Some((n, l)) => writeln!(out, "\nlaunch {n}: {}  {}", l.kernel, l.nodes),
                    None => writeln!(out, "\nend"),
                };
            }
            let _ = write!(out, "{:>7}  {}", packet.word, packet.text);
            for patch in packet.patches.iter().filter(|p| p.class == "run") {
                let _ = write!(out, "  [each run: {}]", patch.symbol);
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr)]
    use super::*;
    use tinyc_compiler::driver::{Options, Silent, compile};
    use tinyc_compiler::target::Target;
    use tinyc_target_amd::{AmdTarget, Chip};

    fn decoded(chip: Chip) -> Option<View> {
        let target = AmdTarget::new(chip, Default::default()).unwrap();
        if let Err(e) = target.toolchain() {
            eprintln!("skipped: {e}");
            return None;
        }
        let graph = tinyc_models::by_name("mnist").unwrap();
        let options = Options::named("mnist");
        let built = compile(graph, &target, &options, &mut Silent)
            .unwrap()
            .built;
        let bytes = target.bundle(&built).unwrap();
        let bundle = tinyc_runtime::read(&bytes).unwrap();
        Some(view(&bundle, "mnist").unwrap())
    }

    #[test]
    fn packets_name_kernels_registers_and_symbols() {
        let Some(view) = decoded(Chip::Gfx1100) else {
            return;
        };
        let text = view.text();
        for part in [
            "WAIT_REG_MEM [<signal>] & 0xffffffff >= <wait>  [each run: wait]",
            "COMPUTE_PGM_0=<image",
            " >> 8>, COMPUTE_PGM_1=upper half",
            "COMPUTE_USER_DATA_0=<kernargs",
            "WRITE_DATA [<progress>]=[0]",
            "launch 0: k",
            "\nend\n",
            "[<mailbox>]=<event> interrupt=<event>",
            "[<signal>]=<done> 64 bits  [each run: done]",
        ] {
            assert!(text.contains(part), "no '{part}' in\n{text}");
        }
        // No number that stands for an address is left.
        assert!(
            !text.contains("0x7a000") && !text.contains("0000000000"),
            "{text}"
        );
        let launches = view
            .packets
            .iter()
            .filter(|p| p.text.starts_with("DISPATCH_DIRECT"));
        assert_eq!(launches.count(), view.launches.len());
        assert!(view.patches.constant > 0 && view.patches.run > 2);
    }

    #[test]
    fn forms_of_every_chip_are_printed() {
        for (chip, part) in [
            (Chip::Gfx942, "ACQUIRE_MEM tc_wb tcl1 tc kcache icache"),
            (Chip::Gfx1201, "RELEASE_MEM glm_wb"),
        ] {
            let Some(view) = decoded(chip) else {
                return;
            };
            assert!(view.text().contains(part), "{}", view.text());
        }
    }
}
