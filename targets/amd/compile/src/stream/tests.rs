//! Streams of hand-written kernels on the simulated queue: private memory, empty grids, descriptors that ask for too much.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use super::{Class, Network};
use crate::toolchain::Toolchain;
use crate::{Chip, CodeObject, DEVICE, Model};
use tinyc_compiler::emit::{Dispatches, Grid, Launch, Launches, Placed};
use tinyc_compiler::target::Cache;
use tinyc_runtime::bundle::Kind;
use tinyc_runtime::patch::{Patches, symbol};
use tinyc_simgpu::device::Device;
use tinyc_simgpu::pm4::{Progress, Queue};

const THREADS: u32 = 64;

/// Reverses blocks of 16 numbers through memory of each thread.
const REVERSE: &str =
    "TINYC_KERNEL(k0, 64)(const int32_t TINYC_GLOBAL *p0, int32_t TINYC_GLOBAL *p1) {
    volatile int32_t own[16];
    const int32_t at = (TINYC_GROUP() * 64 + TINYC_THREAD()) * 16;
    for (int32_t i = 0; i < 16; i++) own[p0[at + i] & 15] = p0[at + i];
    for (int32_t i = 0; i < 16; i++) p1[at + i] = own[15 - i];
}";
const NOTHING: &str =
    "TINYC_KERNEL(k1, 64)(const int32_t TINYC_GLOBAL *p0, int32_t TINYC_GLOBAL *p1) {
    p1[TINYC_THREAD()] = p0[0];
}";

/// A model of both kernels, the second one over nothing.
fn model(chip: Chip, groups: u32) -> Option<Model> {
    let compiler = match Toolchain::find(chip, None, Cache::new(None)) {
        Ok(compiler) => compiler,
        Err(e) => {
            eprintln!("skipped: {e}");
            return None;
        }
    };
    let gpu = chip.facts().unwrap().gpu.unwrap();
    let code = [("k0", REVERSE), ("k1", NOTHING)].map(|(name, text)| {
        let text = format!("#include <stdint.h>\n{DEVICE}{text}");
        let bytes = compiler.compile(&text, THREADS).unwrap();
        CodeObject::read(name, bytes, THREADS, chip, &gpu).unwrap()
    });
    let bytes = u64::from(groups * THREADS) * 64;
    let place = |base| Placed {
        base,
        offset: 0,
        bytes,
    };
    let step = |kernel| Launch {
        kernel,
        first: 0,
        count: 2,
        parallel: true,
        barrier: true,
        condition: None,
    };
    let grid = |groups| Grid {
        groups,
        threads: THREADS,
    };
    Some(Model {
        code: code.to_vec(),
        dispatches: Dispatches {
            launches: Launches {
                steps: vec![step(0), step(1)],
                args: vec![0, 1],
                places: vec![place(2), place(3)],
                max_args: 2,
                bases: 4,
            },
            grids: vec![grid(groups), grid(0)],
        },
        weight_bytes: 0,
        arena_bytes: 0,
    })
}

#[test]
fn threads_have_memory_of_their_own() {
    let chip = Chip::Gfx1100;
    let Some(model) = model(chip, 3) else {
        return;
    };
    let network = Network::build(&model, &chip.generation().unwrap(), 32).unwrap();
    assert!(network.needs.scratch_bytes >= 64);
    let sections = network.sections();
    let part = |kind| sections.iter().find(|s| s.0 == kind).unwrap().1.clone();
    let mut parts = [Kind::Stream, Kind::Kernargs, Kind::Image].map(part);
    let list = part(Kind::Patches);
    let patches = Patches::open(&list, parts.each_ref().map(|p| p.len() as u64)).unwrap();
    let wanted = |s| patches.link().filter(|p| p.symbol == s).count();
    assert_eq!(wanted(symbol::SCRATCH), 1);
    assert_eq!(wanted(symbol::SCRATCH_SIZE), 1);
    let mut device = Device::new(3);
    let wave = (u64::from(network.needs.scratch_bytes) * 32).next_multiple_of(256);
    let bytes = 3 * THREADS as usize * 64;
    let mut values = [0u64; 18];
    for (value, bytes) in values.iter_mut().zip([
        1,
        1,
        parts[2].len(),
        parts[1].len(),
        parts[0].len(),
        wave as usize * 4,
        16,
        8,
        1,
        1,
        1,
        1,
        4,
        1,
        1,
        1,
        bytes,
        bytes,
    ]) {
        *value = device.memory.map(bytes);
    }
    values[symbol::EVENT as usize] = 9;
    values[symbol::WAIT as usize] = 0;
    values[symbol::DONE as usize] = 1;
    values[symbol::SCRATCH_SIZE as usize] = (wave / 256) << 12 | 4;
    let value = |s: u32| values.get(s as usize).copied();
    let [a, b, c] = &mut parts;
    patches
        .apply_link(&mut [&mut *a, &mut *b, &mut *c], value)
        .unwrap();
    patches.apply_run(&mut [a, b, c], value).unwrap();
    for (symbol, part) in [symbol::STREAM, symbol::KERNARGS, symbol::IMAGE]
        .into_iter()
        .zip(&parts)
    {
        device.memory.write(values[symbol as usize], part).unwrap();
    }
    device
        .memory
        .write(values[symbol::SIGNAL as usize], &[0; 16])
        .unwrap();
    // In each block, the numbers 0 to 15 in some order, with something above.
    let numbers = (0..bytes as u32 / 4).map(|i| (i * 7 % 16) | (i / 16) << 8);
    let input: Vec<u32> = numbers.collect();
    let raw: Vec<u8> = input.iter().flat_map(|n| n.to_le_bytes()).collect();
    device.memory.write(values[16], &raw).unwrap();
    let stream = parts[0].as_chunks::<4>().0.iter();
    let stream: Vec<u32> = stream.map(|w| u32::from_le_bytes(*w)).collect();
    let mut queue = Queue::new(3);
    queue.push(values[symbol::STREAM as usize], &stream);
    assert_eq!(queue.run(&mut device).unwrap(), Progress::Done);
    // The empty launch is there for its number, and starts nothing.
    assert_eq!(queue.counters.len(), 1);
    assert_eq!(network.launches.len(), 2);
    let progress = device.memory.load_u32(values[symbol::PROGRESS as usize]);
    assert_eq!(progress.unwrap(), 2);
    for (i, block) in input.as_chunks::<16>().0.iter().enumerate() {
        for j in 0..16u32 {
            let expected = block.iter().find(|n| *n & 15 == 15 - j).unwrap();
            let at = values[17] + (i as u64 * 16 + u64::from(j)) * 4;
            assert_eq!(device.memory.load_u32(at).unwrap(), *expected);
        }
    }
}

#[test]
fn descriptors_that_ask_for_what_streams_lack_are_refused() {
    let chip = Chip::Gfx1100;
    let Some(model) = model(chip, 1) else {
        return;
    };
    let generation = chip.generation().unwrap();
    let network = Network::build(&model, &generation, 32).unwrap();
    assert!(network.count(Class::Constant) > 4);
    // Every register that a stream does not fill, and too few registers for those that it does.
    for bit in [0u16, 1, 2, 4, 5] {
        let mut model = model.clone();
        model.code[0].descriptor.properties |= 1 << bit;
        let error = Network::build(&model, &generation, 32).unwrap_err();
        assert!(error.message.contains("'k0'"), "{}", error.message);
    }
    let mut few = model.clone();
    few.code[0].descriptor.rsrc[1] &= !(31 << 1);
    assert!(Network::build(&few, &generation, 32).is_err());
    let mut lost = model;
    lost.dispatches.launches.steps[0].kernel = 7;
    assert!(Network::build(&lost, &generation, 32).is_err());
}
