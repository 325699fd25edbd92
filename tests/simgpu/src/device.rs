//! The device: memory, code, and dispatches that run to their end.
//!
//! In: a code object, a kernel's name, numbers of work-groups and work-items, the address of the arguments. Out: changed
//! memory and [`Counters`], or a [`Fault`]. Waves of a few work-groups at a time run in turns whose order and length come
//! from the seed, so that missing barriers and other races show.
//!
//! ```no_run
//! use tinyc_simgpu::{code_object::CodeObject, device::Device};
//! let mut device = Device::new(1);
//! let code = device.load(&CodeObject::parse(&std::fs::read("kernels.o")?)?)?;
//! let out = device.memory.map(1024);
//! let arguments = device.arguments(&out.to_le_bytes())?;
//! let counters = device.dispatch(&code, "fill", [8, 1, 1], [32, 1, 1], arguments)?;
//! println!("{} instructions", counters.total());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::code_object::{CodeObject, Descriptor, Kernel};
use crate::draw::Draw;
use crate::isa::Isa;
use crate::memory::{BadAddress, Memory};
use crate::program::{Program, Step};
use crate::wave::{Counters, FaultKind, LANES, Mode, State, Surroundings, Wave};
use std::collections::HashMap;

/// Why a dispatch did not end well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An instruction did what it must not.
    #[error("kernel {kernel}, work-group {group:?}, wave {wave}, {address:#x}: {text}: {kind}")]
    Instruction {
        /// The kernel.
        kernel: String,
        /// The work-group.
        group: [u32; 3],
        /// The wave in it.
        wave: usize,
        /// Address of the instruction.
        address: u64,
        /// The instruction.
        text: String,
        /// What it did.
        kind: FaultKind,
    },
    /// Code that cannot be executed was reached.
    #[error("kernel {kernel}, work-group {group:?}, {address:#x}: {why}")]
    Code {
        /// The kernel.
        kernel: String,
        /// The work-group.
        group: [u32; 3],
        /// Address of the instruction.
        address: u64,
        /// Why not.
        why: String,
    },
    /// The launch does not fit the kernel or the chip.
    #[error("kernel {kernel}: {why}")]
    Launch {
        /// The kernel.
        kernel: String,
        /// Why not.
        why: String,
    },
    /// Too many instructions.
    #[error("kernel {kernel}: no end after {0} instructions", .instructions)]
    Endless {
        /// The kernel.
        kernel: String,
        /// How many were executed.
        instructions: u64,
    },
    /// Memory that the host named is not there.
    #[error(transparent)]
    Memory(#[from] BadAddress),
}

impl Fault {
    /// The access that hit nothing, when that is what happened.
    pub fn address(&self) -> Option<BadAddress> {
        match self {
            Fault::Instruction {
                kind: FaultKind::Address { bad, .. },
                ..
            }
            | Fault::Memory(bad) => Some(*bad),
            _ => None,
        }
    }
}

/// A code object in the device's memory.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Where its image starts.
    pub base: u64,
    /// Its kernels.
    pub kernels: Vec<Kernel>,
}

/// What the command processor starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// For messages and counters.
    pub name: String,
    /// Address of the first instruction.
    pub entry: u64,
    /// Resource words 1, 2 and 3.
    pub rsrc: [u32; 3],
    /// What the first scalar registers hold.
    pub user: Vec<u32>,
    /// Numbers of work-groups.
    pub groups: [u32; 3],
    /// Work-items of a work-group.
    pub threads: [u32; 3],
    /// Bytes of local memory of a work-group.
    pub lds: usize,
    /// Bytes of private memory of a lane.
    pub scratch: usize,
}

/// Limits of the chip.
const MAX_THREADS: u32 = 1024;
const MAX_LDS: usize = 64 * 1024;
const MAX_SCRATCH: usize = 1 << 17;
const MAX_GROUPS: u64 = 1 << 26;
/// Work-groups that run in turns.
const RESIDENT: usize = 3;
/// Longest turn, in instructions.
const TURN: u64 = 400;

/// A simulated GPU.
pub struct Device {
    /// What it sees.
    pub memory: Memory,
    /// Instructions after which a dispatch counts as endless.
    pub limit: u64,
    draw: Draw,
    programs: HashMap<u64, Program>,
}

/// One wave and where it belongs.
struct Resident {
    group: [u32; 3],
    lds: Vec<u8>,
    waves: Vec<Wave>,
}

impl Device {
    /// A device without memory. The seed decides the order in which waves run.
    pub fn new(seed: u64) -> Device {
        Device {
            memory: Memory::new(),
            limit: 50_000_000_000,
            draw: Draw::new(seed),
            programs: HashMap::new(),
        }
    }

    /// Puts a code object into memory that nothing may be stored to.
    pub fn load(&mut self, code: &CodeObject) -> Result<Loaded, Fault> {
        // The hardware fetches ahead of the last instruction.
        let base = self.memory.map(code.image.len() + 256);
        self.memory.write(base, &code.image)?;
        self.memory.protect(base);
        Ok(Loaded {
            base,
            kernels: code.kernels.clone(),
        })
    }

    /// Maps memory that holds arguments.
    pub fn arguments(&mut self, bytes: &[u8]) -> Result<u64, Fault> {
        let at = self.memory.map(bytes.len());
        self.memory.write(at, bytes)?;
        Ok(at)
    }

    /// Runs a kernel to its end.
    pub fn dispatch(
        &mut self,
        code: &Loaded,
        kernel: &str,
        groups: [u32; 3],
        threads: [u32; 3],
        arguments: u64,
    ) -> Result<Counters, Fault> {
        let refuse = |why: &str| Fault::Launch {
            kernel: kernel.to_string(),
            why: why.to_string(),
        };
        let known = code.kernels.iter().find(|k| k.name == kernel);
        let known = known.ok_or(refuse("there is no such kernel"))?;
        let d = &known.descriptor;
        let user = user_registers(d, arguments).map_err(refuse)?;
        self.run(&Launch {
            name: kernel.to_string(),
            entry: code.base + known.entry_at,
            rsrc: d.rsrc,
            user,
            groups,
            threads,
            lds: d.lds as usize,
            scratch: d.scratch as usize,
        })
    }

    /// Runs what a launch describes to its end.
    pub fn run(&mut self, launch: &Launch) -> Result<Counters, Fault> {
        check(launch).map_err(|why| Fault::Launch {
            kernel: launch.name.clone(),
            why,
        })?;
        let mut program = self.programs.remove(&launch.entry).unwrap_or_default();
        if !program.is_current(&self.memory) {
            program = Program::default();
        }
        self.memory.begin();
        let result = self.execute(launch, &mut program);
        self.memory.settle();
        self.programs.insert(launch.entry, program);
        result
    }

    fn execute(&mut self, launch: &Launch, program: &mut Program) -> Result<Counters, Fault> {
        let start = program.line(&self.memory, launch.entry);
        let mut counters = Counters::default();
        let count = launch.groups.iter().map(|g| u64::from(*g)).product::<u64>();
        let mut order: Vec<u32> = (0..count as u32).collect();
        self.draw.shuffle(&mut order);
        let mut order = order.into_iter();
        let mut resident: Vec<Resident> = Vec::new();
        let mut done = 0u64;
        loop {
            while resident.len() < RESIDENT
                && let Some(n) = order.next()
            {
                resident.push(begin(launch, n, start));
            }
            if resident.is_empty() {
                return Ok(counters);
            }
            let g = self.draw.below(resident.len() as u64) as usize;
            let group = &mut resident[g];
            let running = |w: &Wave| w.state == State::Running;
            let ready = group.waves.iter().filter(|w| running(w)).count();
            if ready == 0 {
                // All that have not ended wait: the barrier opens.
                let mut waiting = false;
                for wave in &mut group.waves {
                    if wave.state == State::Barrier {
                        wave.state = State::Running;
                        waiting = true;
                    }
                }
                if !waiting {
                    counters.waves += group.waves.len() as u64;
                    resident.swap_remove(g);
                }
                continue;
            }
            let nth = self.draw.below(ready as u64) as usize;
            let turn = 1 + self.draw.below(TURN);
            let running = (0..group.waves.len()).filter(|&n| running(&group.waves[n]));
            let Some(w) = running.into_iter().nth(nth) else {
                continue;
            };
            let wave = &mut group.waves[w];
            let mut env = Surroundings {
                memory: &self.memory,
                lds: &mut group.lds,
                counters: &mut counters,
            };
            let allocated = wave.v.len();
            if program.vgprs > allocated {
                return Err(Fault::Launch {
                    kernel: launch.name.clone(),
                    why: format!(
                        "{} vector registers used, {allocated} allocated",
                        program.vgprs
                    ),
                });
            }
            done += turn;
            if done > self.limit {
                return Err(Fault::Endless {
                    kernel: launch.name.clone(),
                    instructions: done,
                });
            }
            run_turn(program, wave, &mut env, turn)
                .map_err(|why| fault(launch, program, group.group, w, &group.waves[w], why))?;
            if let Some(address) = group.waves[w].jump.take() {
                group.waves[w].next = program.line(&self.memory, address);
            }
        }
    }
}

/// Why a wave stopped: a fault of its last instruction.
enum Stop {
    Kind(FaultKind),
    Code,
}

/// Lets a wave execute some instructions.
fn run_turn(
    program: &Program,
    wave: &mut Wave,
    env: &mut Surroundings<'_>,
    turn: u64,
) -> Result<(), Stop> {
    for _ in 0..turn {
        let line = &program.lines[wave.next];
        env.counters.instructions[line.class as usize] += 1;
        wave.clock += 1;
        wave.next += 1;
        match &line.step {
            Step::Run(handler) => {
                handler(wave, env).map_err(Stop::Kind)?;
                if wave.jump.is_some() {
                    return Ok(());
                }
            }
            Step::Nothing => {}
            Step::Branch(condition, target) => {
                if condition(wave) {
                    wave.next = *target;
                }
            }
            Step::Goto(target) => wave.next = *target,
            Step::Barrier => {
                if let Some(why) = wave.unseen() {
                    return Err(Stop::Kind(FaultKind::Unsupported(why)));
                }
                wave.state = State::Barrier;
                return Ok(());
            }
            Step::End => {
                wave.state = State::Ended;
                return Ok(());
            }
            Step::Fault(_) => return Err(Stop::Code),
        }
    }
    Ok(())
}

/// The fault with all that is known about it.
fn fault(
    launch: &Launch,
    program: &Program,
    group: [u32; 3],
    wave: usize,
    state: &Wave,
    stop: Stop,
) -> Fault {
    let kernel = launch.name.clone();
    let line = &program.lines[state.next.saturating_sub(1)];
    match stop {
        Stop::Kind(kind) => {
            let text = Isa::gfx1100().decode(&line.words);
            Fault::Instruction {
                kernel,
                group,
                wave,
                address: line.address,
                text: text.map_or_else(|e| e.to_string(), |i| i.to_string()),
                kind,
            }
        }
        Stop::Code => Fault::Code {
            kernel,
            group,
            address: line.address,
            why: match &line.step {
                Step::Fault(why) => why.to_string(),
                _ => String::new(),
            },
        },
    }
}

/// Whether the chip can run it.
fn check(launch: &Launch) -> Result<(), String> {
    let product = |all: &[u32; 3]| {
        let all = all.iter().map(|n| u64::from(*n));
        all.fold(1u64, u64::saturating_mul)
    };
    let threads = product(&launch.threads);
    let groups = product(&launch.groups);
    if threads == 0 || threads > u64::from(MAX_THREADS) {
        return Err(format!("work-groups of {:?} work-items", launch.threads));
    }
    if groups == 0 || groups > MAX_GROUPS {
        return Err(format!("{:?} work-groups", launch.groups));
    }
    if launch.lds > MAX_LDS {
        return Err(format!("{} bytes of local memory", launch.lds));
    }
    if launch.scratch > MAX_SCRATCH {
        return Err(format!(
            "{} bytes of private memory of a lane",
            launch.scratch
        ));
    }
    if !launch.entry.is_multiple_of(256) {
        return Err(format!("code at {:#x}, no multiple of 256", launch.entry));
    }
    let user = launch.rsrc[1] >> 1 & 31;
    if launch.user.len() > user as usize {
        return Err(format!(
            "{} user registers, {user} announced",
            launch.user.len()
        ));
    }
    Ok(())
}

/// Bits of a descriptor's properties, in the order in which they take scalar registers, and how many each takes.
const PROPERTIES: [(u16, usize); 7] = [(0, 4), (1, 2), (2, 2), (3, 2), (4, 2), (5, 2), (6, 1)];
const KERNARG: u16 = 3;
const PRIVATE_SIZE: u16 = 6;
const WAVE32: u16 = 10;

/// The first scalar registers as a descriptor wants them.
fn user_registers(d: &Descriptor, arguments: u64) -> Result<Vec<u32>, &'static str> {
    if d.properties >> WAVE32 & 1 == 0 {
        return Err("waves of 64 lanes");
    }
    let mut user = Vec::new();
    for (bit, registers) in PROPERTIES {
        if d.properties >> bit & 1 == 0 {
            continue;
        }
        match bit {
            KERNARG => user.extend([arguments as u32, (arguments >> 32) as u32]),
            PRIVATE_SIZE => user.push(d.scratch),
            // Packets and queues that are not there: their registers stay poisoned, whoever follows them finds nothing.
            _ => user.extend(std::iter::repeat_n(crate::memory::POISON, registers)),
        }
    }
    Ok(user)
}

/// A work-group at its beginning.
fn begin(launch: &Launch, n: u32, start: usize) -> Resident {
    let [gx, gy, _] = launch.groups;
    let group = [n % gx, n / gx % gy, n / gx / gy];
    let [x, y, z] = launch.threads;
    let total = (x * y * z) as usize;
    let poison = crate::memory::POISON.to_le_bytes();
    let [rsrc1, rsrc2, _] = launch.rsrc;
    let vgprs = ((rsrc1 & 63) as usize + 1) * 8;
    let ids = rsrc2 >> 11 & 3;
    let waves = (0..total.div_ceil(LANES)).map(|wave| {
        let first = wave * LANES;
        let mut w = Wave::new(vgprs, launch.scratch);
        let active = (total - first).min(LANES);
        w.s[126] = (u64::MAX >> (64 - active)) as u32;
        w.mode = Mode::of_rsrc1(rsrc1);
        w.next = start;
        w.s[..launch.user.len()].copy_from_slice(&launch.user);
        // What the hardware adds comes after all registers that the descriptor announced.
        let mut at = (rsrc2 >> 1 & 31) as usize;
        for (bit, id) in (7..).zip(group) {
            if rsrc2 >> bit & 1 != 0 {
                w.s[at] = id;
                at += 1;
            }
        }
        for lane in 0..active {
            let n = (first + lane) as u32;
            let item = [n % x, n / x % y, n / x / y];
            w.v[0][lane] = item[0]
                | if ids > 0 { item[1] << 10 } else { 0 }
                | if ids > 1 { item[2] << 20 } else { 0 };
        }
        w
    });
    let waves = waves.collect();
    Resident {
        group,
        lds: poison.iter().copied().cycle().take(launch.lds).collect(),
        waves,
    }
}
