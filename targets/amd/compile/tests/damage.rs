//! Fault injection: one thing at a time is removed from or changed in an artifact, or in what a runtime tells the driver,
//! and each has to be noticed, by a check or by another result on the simulated device in shadow mode.
//!
//! A kind of damage is tried everywhere it can be done in three small models: kernels that depend on each other,
//! sums through local memory, kernels with private memory. [`SURVIVORS`] lists kinds of which some or all damage is not noticed, and why that is right.
//! `TINYC_DAMAGE` lets through kinds whose name contains it. Without clang for AMDGPU the test says that it skips.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;

use harness::copies::COPIES;
use harness::damaged::{Case, Tamper, cases};
use harness::survivors::SURVIVORS;
use rayon::prelude::*;
use std::collections::BTreeMap;
use tinyc_runtime::patch::{Place, symbol};
use tinyc_simgpu::isa::Isa;
use tinyc_target_amd::stream::{Class, Network};

/// Fewest kinds of damage that are noticed wherever they are done.
const KINDS: usize = 150;
/// Most places of one kind in one model.
const PLACES: usize = 12;

/// One damage.
struct Damage {
    kind: String,
    place: String,
    bundle: Option<Vec<u8>>,
    tamper: Tamper,
}

/// A packet of a stream: its opcode, its first word, how many words.
struct Packet {
    op: u32,
    at: usize,
    len: usize,
}

const NOP: u32 = 0x10;
const DISPATCH: u32 = 0x15;
const WRITE: u32 = 0x37;
const WAIT: u32 = 0x3C;
const FLUSH: u32 = 0x46;
const RELEASE: u32 = 0x49;
const ACQUIRE: u32 = 0x58;
const SET: u32 = 0x76;

fn packets(stream: &[u32]) -> Vec<Packet> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        let (op, len) = (
            stream[at] >> 8 & 0xFF,
            (stream[at] >> 16 & 0x3FFF) as usize + 2,
        );
        out.push(Packet { op, at, len });
        at += len;
    }
    out
}

/// What a packet is there for.
fn meaning(p: &Packet, stream: &[u32], last: usize) -> String {
    let register = || match stream[p.at + 1] {
        0x204 => "start and threads",
        0x207 => "threads",
        0x20C => "code address",
        0x210 => "private memory's address",
        0x212 => "resource words 1 and 2",
        0x213 => "resource word 2",
        0x215 => "resource limits",
        0x218 => "private memory's size",
        0x21B => "restart",
        0x228 => "resource word 3",
        0x240 => "arguments' address",
        _ => "another register",
    };
    match p.op {
        DISPATCH => "dispatch".to_string(),
        WRITE => "progress".to_string(),
        WAIT if stream[p.at + 1] >> 4 & 3 == 1 => "wait for the run before".to_string(),
        WAIT => "flush of the host's path".to_string(),
        FLUSH => "wait for a kernel".to_string(),
        RELEASE if p.at == last => "event".to_string(),
        RELEASE => "signal".to_string(),
        ACQUIRE if stream[p.at + 7] >> 14 & 1 == 1 => "acquire of all caches".to_string(),
        ACQUIRE => "acquire between kernels".to_string(),
        SET => register().to_string(),
        _ => format!("opcode {:#x}", p.op),
    }
}

/// Collects damage to one model.
struct Shop<'a> {
    case: &'a Case,
    out: Vec<Damage>,
    tried: BTreeMap<String, usize>,
}

impl Shop<'_> {
    fn wanted(&mut self, kind: &str) -> bool {
        let filter = std::env::var("TINYC_DAMAGE").unwrap_or_default();
        let count = self.tried.entry(kind.to_string()).or_default();
        *count += 1;
        *count <= PLACES && kind.contains(&filter)
    }

    fn network(&mut self, kind: &str, place: impl ToString, damage: impl FnOnce(&mut Network)) {
        if self.wanted(kind) {
            let mut network = self.case.network.clone();
            damage(&mut network);
            self.out.push(Damage {
                kind: kind.to_string(),
                place: place.to_string(),
                bundle: Some(self.case.bundle(&network)),
                tamper: Tamper::Nothing,
            });
        }
    }

    fn runtime(&mut self, kind: &str, tamper: Tamper) {
        if self.wanted(kind) {
            self.out.push(Damage {
                kind: kind.to_string(),
                place: format!("{tamper:?}"),
                bundle: None,
                tamper,
            });
        }
    }

    /// Packets are missing, twice, or in another order; words of them are others.
    fn stream(&mut self) {
        let stream = self.case.network.stream.clone();
        let all = packets(&stream);
        let last = all.iter().rfind(|p| p.op == RELEASE).unwrap().at;
        for (n, p) in all.iter().enumerate() {
            let what = meaning(p, &stream, last);
            let at = p.at;
            self.network(&format!("missing: {what}"), at, |net| {
                net.stream[at] = net.stream[at] & !0xFF00 | NOP << 8;
            });
            let mut word = |kind: &str, n: usize, change: &dyn Fn(u32) -> u32| {
                self.network(kind, at, |net| {
                    net.stream[at + n] = change(net.stream[at + n]);
                });
            };
            word("a packet's length", 0, &|w| w + (1 << 16));
            word("a packet's opcode", 0, &|w| w ^ 0x100);
            match p.op {
                DISPATCH => {
                    word("more work-groups", 1, &|w| w + 1);
                    if stream[at + 1] > 1 {
                        word("fewer work-groups", 1, &|w| w - 1);
                    }
                    word("flags of a dispatch", 4, &|w| w & !(1 << 15));
                }
                ACQUIRE => {
                    for (bit, cache) in [
                        (7, "scalar"),
                        (8, "vector"),
                        (9, "array"),
                        (14, "second level"),
                    ] {
                        if stream[at + 7] >> bit & 1 == 1 {
                            let from = if what.contains("all") {
                                "first acquire"
                            } else {
                                "acquire"
                            };
                            word(&format!("{from} without the {cache} cache"), 7, &|w| {
                                w & !(1 << bit)
                            });
                        }
                    }
                    word("acquire of a part of memory", 3, &|_| 0);
                    self.network("acquire of an empty range", at, |net| {
                        net.stream[at + 2..at + 4].fill(0);
                    });
                }
                RELEASE => {
                    word(&format!("{what} without write-back"), 1, &|w| {
                        w & !(1 << 21)
                    });
                    word(&format!("{what}: nothing is stored"), 2, &|w| {
                        w & !(7 << 29)
                    });
                    word(&format!("{what}: the other interrupt"), 2, &|w| w ^ 2 << 24);
                }
                WAIT if what.starts_with("wait") => {
                    word("wait for more", 1, &|w| w + 1);
                    word("wait through another mask", 5, &|_| 0);
                }
                SET => {
                    word("another register", 1, &|w| w + 1);
                    let mut register = |kind: &str, number: u32, change: &dyn Fn(u32) -> u32| {
                        let word = number.wrapping_sub(stream[at + 1]) as usize;
                        if word < p.len - 2
                            && change(stream[at + 2 + word]) != stream[at + 2 + word]
                        {
                            self.network(kind, at, |net| {
                                net.stream[at + 2 + word] = change(net.stream[at + 2 + word]);
                            });
                        }
                    };
                    register("start that is not zero", 0x204, &|_| 1);
                    register("half of the threads", 0x207, &|w| {
                        if w > 1 { w / 2 } else { 2 }
                    });
                    register("more threads than fit", 0x207, &|_| 2048);
                    register("fewer vector registers", 0x212, &|w| w & !63);
                    register("without the bit for saved waves", 0x212, &|w| {
                        w & !(1 << 20)
                    });
                    register("no local memory", 0x213, &|w| w & !(0x1FF << 15));
                    register("fewer user registers", 0x213, &|w| w & !(31 << 1));
                    register("no work-group numbers", 0x213, &|w| w & !(7 << 7));
                    register("restart that is not zero", 0x21B, &|_| 1);
                }
                _ => {}
            }
            // A packet changes places with the next one.
            let next = all.get(n + 1);
            if let Some(next) =
                next.filter(|q| q.op != p.op && [DISPATCH, FLUSH, RELEASE, WAIT].contains(&p.op))
            {
                let after = meaning(next, &stream, last);
                let (a, b) = (at, next.at);
                let end = b + next.len;
                self.network(&format!("order: {what} after {after}"), at, |net| {
                    swap(net, a, b, end)
                });
            }
        }
        self.network("a stream that ends early", "", |net| {
            let len = net.stream.len() - 8;
            net.stream.truncate(len);
            net.fixups
                .retain(|f| f.patch.place != Place::Stream || f.patch.offset < len as u64 * 4);
            net.needs.stream_words = len as u64;
        });
    }

    /// Patches are missing or wrong.
    fn patches(&mut self) {
        let fixups = self.case.network.fixups.clone();
        for (n, f) in fixups
            .iter()
            .enumerate()
            .filter(|(_, f)| f.class != Class::Constant)
        {
            let what = match f.patch.symbol {
                symbol::ARENA => "arena",
                symbol::WEIGHTS => "weights",
                symbol::IMAGE => "code",
                symbol::KERNARGS => "arguments",
                symbol::STREAM => "stream",
                symbol::SCRATCH => "private memory",
                symbol::SIGNAL => "signal",
                symbol::MAILBOX => "mailbox",
                symbol::EVENT => "event's number",
                symbol::WAIT => "value to wait for",
                symbol::DONE => "value to signal",
                symbol::SCRATCH_SIZE => "private memory's size",
                symbol::PROGRESS => "progress",
                _ => "tensors",
            };
            let mut change = |kind: &str, damage: &dyn Fn(&mut Network)| {
                self.network(&format!("{kind}: {what}"), n, |net| damage(net));
            };
            change("no patch", &|net| {
                net.fixups.remove(n);
            });
            // The end of private memory is what is checked: allocations are rounded up to pages.
            let off = if f.patch.symbol == symbol::SCRATCH {
                1 << 24
            } else {
                256
            };
            change("patch off", &|net| net.fixups[n].patch.addend += off);
            change("patch of another symbol", &|net| {
                let symbol = &mut net.fixups[n].patch.symbol;
                *symbol = match *symbol {
                    symbol::ARENA => symbol::WEIGHTS,
                    symbol::WEIGHTS => symbol::ARENA,
                    symbol::WAIT => symbol::DONE,
                    symbol::DONE => symbol::WAIT,
                    symbol::KERNARGS => symbol::ARENA,
                    _ => symbol::KERNARGS,
                };
            });
            change("patch shifted", &|net| net.fixups[n].patch.shift ^= 4);
            if f.patch.width == 8 && f.patch.symbol != symbol::DONE {
                change("patch of half a field", &|net| {
                    net.fixups[n].patch.mask >>= 32;
                });
            }
            change("patch elsewhere", &|net| net.fixups[n].patch.offset += 4);
        }
    }

    /// What the device must have is said wrong.
    fn needs(&mut self) {
        self.network("needs: another chip", "", |n| {
            n.needs.gfx_target_version = 120_001
        });
        self.network("needs: another queue", "", |n| {
            n.needs.queue = tinyc_replay_amd::Queue::Aql
        });
        self.network("needs: another version", "", |n| n.needs.version += 1);
        self.network("needs: less code", "", |n| n.needs.code_bytes -= 256);
        self.network("needs: fewer arguments", "", |n| {
            n.needs.kernarg_bytes -= 16
        });
        self.network("needs: less stream", "", |n| n.needs.stream_words -= 1);
        self.network("needs: fewer weights", "", |n| n.needs.weight_bytes -= 64);
        self.network("needs: a smaller arena", "", |n| n.needs.arena_bytes /= 2);
        if self.case.network.needs.scratch_bytes > 0 {
            self.network("needs: no private memory", "", |n| {
                n.needs.scratch_bytes = 0
            });
        }
        self.network("needs: too much local memory", "", |n| {
            n.needs.group_bytes = 1 << 20
        });
        self.network("a code byte", "", |n| {
            let at = n.kernels[0].entry as usize;
            n.image[at] ^= 0x40;
        });
        if self.wanted("a byte of a section") {
            let mut bytes = self.case.bundle(&self.case.network);
            let at = bytes.len() - 70;
            bytes[at] ^= 1;
            self.out.push(Damage {
                kind: "a byte of a section".to_string(),
                place: String::new(),
                bundle: Some(bytes),
                tamper: Tamper::Nothing,
            });
        }
    }

    /// Instructions of kernels do nothing.
    fn code(&mut self) {
        let network = self.case.network.clone();
        for kernel in &network.kernels {
            let (mut at, end) = (
                kernel.entry as usize,
                (kernel.start + kernel.bytes) as usize,
            );
            while at + 4 <= end {
                let words = network.image[at..end.min(at + 12)].chunks_exact(4);
                let words: Vec<u32> = words
                    .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect();
                let Ok(inst) = Isa::gfx1100().decode(&words) else {
                    break;
                };
                let text = inst.to_string();
                let len = inst.len() * 4;
                if let Some(kind) = instruction(&text) {
                    let start = at;
                    self.network(&format!("no {kind}"), format!("{start:#x} {text}"), |net| {
                        for word in net.image[start..start + len].chunks_exact_mut(4) {
                            word.copy_from_slice(&S_NOP.to_le_bytes());
                        }
                    });
                }
                if text == "s_endpgm" {
                    break;
                }
                at += len;
            }
        }
    }

    /// A runtime tells the driver something wrong.
    fn runtime_errors(&mut self) {
        self.runtime("fences", Tamper::Fences);
        self.runtime("doorbell too large", Tamper::Doorbell(4));
        self.runtime("doorbell too small", Tamper::Doorbell(-1));
        self.runtime("doorbell not rung", Tamper::Silent);
        self.runtime("another doorbell", Tamper::Elsewhere);
        self.runtime("doorbell of 4 bytes", Tamper::Narrow);
        self.runtime("write pointer not written", Tamper::Pointer(None));
        self.runtime("write pointer off", Tamper::Pointer(Some(1)));
        for n in 0..4 {
            self.runtime("word of the jump not written", Tamper::Jump(n));
        }
        self.runtime("run patch not written: wait", Tamper::Patch(0));
        self.runtime("run patch not written: signal", Tamper::Patch(1));
        self.runtime("input not written", Tamper::Input(0));
        self.runtime("input half written", Tamper::Input(1));
        self.runtime("results read early", Tamper::Early);
        self.runtime("files opened for reading", Tamper::ReadOnly);
        self.runtime("offset of a mapping", Tamper::Offset(4096));
        let field = |request, at, add| Tamper::Field {
            request,
            at,
            add,
            after: false,
        };
        for (kind, request, at, add) in [
            ("save area smaller", 0x02, 80, 4096u32.wrapping_neg()),
            ("save area larger", 0x02, 80, 4096),
            ("list of waves smaller", 0x02, 84, 4096u32.wrapping_neg()),
            ("end-of-pipe buffer's size", 0x02, 64, 2048),
            ("end-of-pipe buffer elsewhere", 0x02, 56, 4096),
            ("ring's size", 0x02, 32, 1 << 16),
            ("ring elsewhere", 0x02, 0, 4096),
            ("kind of queue", 0x02, 40, 1),
            ("share of a queue", 0x02, 44, 100),
            ("another device's memory", 0x16, 32, 1),
            ("size of an allocation", 0x16, 8, 1),
            ("flags of an allocation", 0x16, 36, 2),
            ("handle to be mapped", 0x18, 0, 1000),
            ("devices to map to", 0x18, 16, 1),
            ("another render node", 0x15, 0, 1),
            ("kind of event", 0x08, 12, 2),
            ("event page", 0x08, 0, 7),
        ] {
            self.runtime(kind, field(request, at, add));
        }
        let answer = |request, at, add| Tamper::Field {
            request,
            at,
            add,
            after: true,
        };
        self.runtime("event's number taken wrong", answer(0x08, 24, 1));
        self.runtime("mailbox taken wrong", answer(0x08, 28, 1));
        self.runtime("doorbell's offset taken wrong", answer(0x02, 24, 8));
        for (kind, request) in [
            ("address space not acquired", 0x15),
            ("memory not mapped for the device", 0x18),
            ("queue not destroyed", 0x03),
            ("events not destroyed", 0x09),
            ("memory not unmapped", 0x19),
            ("memory not freed", 0x17),
        ] {
            self.runtime(kind, Tamper::Skipped(request));
        }
        for (kind, tamper) in COPIES {
            self.runtime(kind, *tamper);
        }
        self.runtime("files not closed", Tamper::Close);
        self.runtime("addresses not given back", Tamper::Unmap);
    }
}

/// `s_nop 0`.
const S_NOP: u32 = 0xBF80_0000;

/// What an instruction is there for, when leaving it out is a kind of damage.
fn instruction(text: &str) -> Option<&'static str> {
    let name = text.split([' ', '\n']).next().unwrap_or_default();
    Some(match name {
        "s_barrier" => "s_barrier",
        "s_waitcnt" if text.contains("vmcnt") => "s_waitcnt vmcnt",
        "s_waitcnt" => "s_waitcnt lgkmcnt",
        "s_endpgm" => "s_endpgm",
        n if n.starts_with("ds_store") => "store to local memory",
        n if n.starts_with("ds_load") => "load from local memory",
        n if n.starts_with("global_store") => "store",
        n if n.starts_with("global_load") => "load",
        n if n.starts_with("s_load") => "load of arguments",
        n if n.starts_with("v_fma") || n.starts_with("v_dual_fma") || n.starts_with("v_fmac") => {
            "multiply-add"
        }
        n if n.starts_with("s_cbranch") => "branch",
        _ => return None,
    })
}

/// Two neighbours of a stream change places, and their patches with them.
fn swap(net: &mut Network, a: usize, b: usize, end: usize) {
    net.stream[a..end].rotate_left(b - a);
    let (first, second) = (b - a, end - b);
    for f in net
        .fixups
        .iter_mut()
        .filter(|f| f.patch.place == Place::Stream)
    {
        let word = f.patch.offset as usize / 4;
        if (a..b).contains(&word) {
            f.patch.offset += second as u64 * 4;
        } else if (b..end).contains(&word) {
            f.patch.offset -= first as u64 * 4;
        }
    }
    net.fixups
        .sort_by_key(|f| (f.patch.place as u32, f.patch.offset, f.patch.lsb));
}

#[test]
fn damage_is_noticed() {
    let Some(cases) = cases() else { return };
    let mut found: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut missed: Vec<(String, String)> = Vec::new();
    for case in &cases {
        let whole = case.bundle(&case.network);
        for nothing in [Tamper::Nothing, Tamper::Copies] {
            let noticed = case.noticed(&whole, nothing);
            assert_eq!(noticed, None, "{}: {nothing:?}", case.name);
        }
        println!(
            "{}: {} launches, {} bytes of local memory, {} of private memory",
            case.name,
            case.network.launches.len(),
            case.network.needs.group_bytes,
            case.network.needs.scratch_bytes
        );
        let mut shop = Shop {
            case,
            out: Vec::new(),
            tried: BTreeMap::new(),
        };
        shop.stream();
        shop.patches();
        shop.needs();
        shop.code();
        shop.runtime_errors();
        let results: Vec<(&Damage, Option<String>)> = shop
            .out
            .par_iter()
            .map(|d| {
                (
                    d,
                    case.noticed(d.bundle.as_deref().unwrap_or(&whole), d.tamper),
                )
            })
            .collect();
        for (damage, noticed) in results {
            let counts = found.entry(damage.kind.clone()).or_default();
            counts.0 += 1;
            match noticed {
                Some(_) => counts.1 += 1,
                None => missed.push((
                    damage.kind.clone(),
                    format!("{} {}", case.name, damage.place),
                )),
            }
        }
    }
    for (kind, (tried, noticed)) in &found {
        println!("{noticed:>3} of {tried:>3}  {kind}");
    }
    let always = found
        .values()
        .filter(|(tried, noticed)| tried == noticed)
        .count();
    let unknown: Vec<_> = missed
        .iter()
        .filter(|(kind, _)| !SURVIVORS.iter().any(|(known, _)| known == kind))
        .collect();
    println!("{always} kinds of {} are always noticed", found.len());
    assert!(unknown.is_empty(), "not noticed: {unknown:#?}");
    if std::env::var_os("TINYC_DAMAGE").is_none() {
        assert!(always >= KINDS, "only {always} kinds are always noticed");
        for (kind, why) in SURVIVORS {
            let gone = missed.iter().all(|(k, _)| k != kind);
            assert!(!gone, "'{kind}' is noticed now, although {why}");
        }
    }
}
