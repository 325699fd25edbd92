//! Command streams on the simulated device: a stream as a runtime builds it gives results and a signal; taking a packet
//! away, or changing a word of it, is found. Without clang-19 the tests say that they skip.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod clang;

use tinyc_simgpu::code_object::CodeObject;
use tinyc_simgpu::device::{Device, Loaded};
use tinyc_simgpu::pm4::{Packet, Progress, Queue, SENTINEL};

/// A packet of type 3.
fn packet(op: u32, body: &[u32]) -> Vec<u32> {
    let mut out = vec![3 << 30 | (body.len() as u32 - 1) << 16 | op << 8];
    out.extend(body);
    out
}

fn set(offset: u32, values: &[u32]) -> Vec<u32> {
    packet(0x76, &[&[offset], values].concat())
}

fn low_high(address: u64) -> [u32; 2] {
    [address as u32, (address >> 32) as u32]
}

/// Makes caches forget, all of memory.
fn acquire(bits: u32) -> Vec<u32> {
    packet(0x58, &[0, u32::MAX, u32::MAX, 0, 0, 0, bits])
}

fn release(bits: u32, address: u64, value: u64) -> Vec<u32> {
    let [low, high] = low_high(address);
    packet(
        0x49,
        &[
            0x14 | 5 << 8 | bits,
            2 << 29,
            low,
            high,
            value as u32,
            (value >> 32) as u32,
            0,
        ],
    )
}

fn wait(address: u64, reference: u32) -> Vec<u32> {
    let [low, high] = low_high(address);
    packet(0x3C, &[5 | 1 << 4, low, high, reference, u32::MAX, 4])
}

/// Flushes the data path of the host.
fn flush_host() -> Vec<u32> {
    packet(0x3C, &[3 | 1 << 6, 0xE26, 0xE27, u32::MAX, u32::MAX, 4])
}

/// All that starts a kernel, from its caches to the wait for its end.
fn dispatch(
    code: &Loaded,
    name: &str,
    groups: [u32; 3],
    threads: [u32; 3],
    arguments: u64,
) -> Vec<Vec<u32>> {
    let kernel = code.kernels.iter().find(|k| k.name == name).unwrap();
    let d = &kernel.descriptor;
    let entry = low_high((code.base + kernel.entry_at) >> 8);
    let rsrc2 = d.rsrc[1] | d.lds.div_ceil(512) << 15;
    let [x, y, z] = groups;
    vec![
        acquire(0x380),
        set(0x20C, &entry),
        set(0x212, &[d.rsrc[0] | 1 << 20, rsrc2]),
        set(0x228, &[d.rsrc[2]]),
        set(0x218, &[0]),
        set(0x210, &[0, 0]),
        set(0x21B, &[0; 3]),
        set(0x240, &low_high(arguments)),
        set(0x215, &[0]),
        set(0x204, &[&[0; 3][..], &threads, &[0; 2]].concat()),
        packet(0x15, &[x, y, z, 1 | 1 << 2 | 1 << 15]),
        packet(0x46, &[7 | 4 << 8]),
    ]
}

const FULL: u32 = 0x380 | 1 << 14 | 1;
const WRITE_BACK: u32 = 1 << 21;

/// Two kernels, the second of which reads what the first wrote.
struct Scene {
    device: Device,
    out: u64,
    signal: u64,
    expected: Vec<f32>,
    stream: Vec<Vec<u32>>,
}

fn scene(code: &CodeObject, seed: u64) -> Scene {
    let mut device = Device::new(seed);
    device.memory.track();
    device.limit = 10_000_000;
    let loaded = device.load(code).unwrap();
    let n = 1024usize;
    let x: Vec<f32> = (0..n).map(|i| (i % 37) as f32 - 11.0).collect();
    let y: Vec<f32> = (0..n).map(|i| (i % 11) as f32).collect();
    let mut map = |bytes: &[u8]| {
        let at = device.memory.map(bytes.len());
        device.memory.write(at, bytes).unwrap();
        at
    };
    let bytes = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let (a, b) = (map(&bytes(&x)), map(&bytes(&y)));
    let (sum, out, signal) = (map(&vec![0xFF; 4 * n]), map(&[0xFF; 16]), map(&[0; 16]));
    let args = |list: &[u64]| {
        list.iter()
            .flat_map(|a| a.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let first = map(&args(&[a, b, sum, n as u64]));
    let second = map(&args(&[sum, out]));
    device.memory.write(signal, &1u64.to_le_bytes()).unwrap();
    let mut stream = vec![wait(signal, 1), flush_host(), acquire(FULL)];
    stream.extend(dispatch(
        &loaded,
        "vector_add",
        [4, 1, 1],
        [256, 1, 1],
        first,
    ));
    stream.extend(dispatch(&loaded, "reduce", [4, 1, 1], [256, 1, 1], second));
    stream.push(release(WRITE_BACK, signal, 2));
    let sums: Vec<f32> = x.iter().zip(&y).map(|(a, b)| a + b).collect();
    Scene {
        device,
        out,
        signal,
        expected: sums.chunks(256).map(|c| c.iter().sum()).collect(),
        stream,
    }
}

/// What is wrong after a stream ran, if anything is.
fn outcome(mut scene: Scene, seed: u64) -> Result<(), String> {
    let words = scene.stream.concat();
    let at = scene.device.memory.map(words.len() * 4);
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    scene.device.memory.write(at, &bytes).unwrap();
    let mut queue = Queue::new(seed);
    let [low, high] = low_high(at);
    queue.push(0, &packet(0x3F, &[low, high, words.len() as u32 | 1 << 23]));
    match queue.run(&mut scene.device) {
        Ok(Progress::Done) => {}
        Ok(other) => return Err(format!("{other:?}")),
        Err(e) => return Err(e.to_string()),
    }
    let signal = scene.device.memory.load::<8>(scene.signal).unwrap();
    if u64::from_le_bytes(signal) != 2 {
        return Err("no signal".to_string());
    }
    for (i, e) in scene.expected.iter().enumerate() {
        let got = f32::from_bits(
            scene
                .device
                .memory
                .load_u32(scene.out + 4 * i as u64)
                .unwrap(),
        );
        if (got - e).abs() > 1e-3 || got.is_nan() {
            return Err(format!("sum {i} is {got}, not {e}"));
        }
    }
    if queue.counters.len() != 2 {
        return Err(format!("{} kernels ran", queue.counters.len()));
    }
    Ok(())
}

fn code() -> Option<CodeObject> {
    if !clang::available() {
        eprintln!("skipped: clang-19 is missing");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let object = dir.path().join("whole.o");
    clang::compile("whole.c", &["-O3".to_string()], &object);
    Some(CodeObject::parse(&std::fs::read(&object).unwrap()).unwrap())
}

#[test]
fn a_stream_runs_to_its_signal() {
    let Some(code) = code() else { return };
    for seed in 0..4 {
        outcome(scene(&code, seed), seed).unwrap();
    }
}

/// Packets that may be missing, and why: what the second kernel sets again to the same value, what is zero anyway.
const SPARE: &[(&str, &str)] = &[
    ("COMPUTE_PGM_RSRC3", "the same for both kernels"),
    ("COMPUTE_TMPRING_SIZE", "the same for both kernels"),
    ("COMPUTE_DISPATCH_SCRATCH_BASE", "the same for both kernels"),
    ("COMPUTE_RESTART", "the same for both kernels"),
    ("COMPUTE_RESOURCE_LIMITS", "the same for both kernels"),
    ("COMPUTE_START", "the same for both kernels"),
    (
        "ACQUIRE_MEM glk_inv glv_inv gl1_inv",
        "before the first kernel nothing is stale",
    ),
    ("WAIT_REG_MEM", "the value it waits for is there"),
];

#[test]
fn packets_that_are_missing_are_missed() {
    let Some(code) = code() else { return };
    let count = scene(&code, 0).stream.len();
    let mut found = 0;
    let mut survived = Vec::new();
    for gone in 0..count {
        let mut scene = scene(&code, gone as u64);
        let text = Packet::decode(&scene.stream[gone]).unwrap().0.to_string();
        scene.stream.remove(gone);
        match outcome(scene, gone as u64) {
            Err(_) => found += 1,
            Ok(()) => survived.push((gone, text)),
        }
    }
    // The last wait for a kernel comes right before a release, which waits too.
    let last = count - 2;
    let known = |at: usize, text: &str| at == last || SPARE.iter().any(|(s, _)| text.contains(s));
    let unknown: Vec<_> = survived
        .iter()
        .filter(|(at, text)| !known(*at, text))
        .collect();
    assert!(unknown.is_empty(), "not missed: {unknown:#?}");
    assert!(
        found >= 16,
        "only {found} of {count} were missed; {survived:#?}"
    );
    eprintln!("{found} of {count} packets missed");
}

#[test]
fn words_that_are_wrong_are_found() {
    let Some(code) = code() else { return };
    let scene_of = |seed| scene(&code, seed);
    let packets = scene_of(0).stream;
    let mut tried = 0;
    let mut survived = Vec::new();
    for (p, words) in packets.iter().enumerate() {
        // The first word says what it is and how long.
        for change in [1u32 << 16, 1 << 8, 1, 1 << 31] {
            let mut scene = scene_of(1);
            scene.stream[p][0] ^= change;
            tried += 1;
            if outcome(scene, 1).is_ok() {
                survived.push((p, change));
            }
        }
        for w in 1..words.len() {
            let mut scene = scene_of(2);
            scene.stream[p][w] = SENTINEL;
            tried += 1;
            if outcome(scene, 2).is_ok() {
                survived.push((p, w as u32));
            }
        }
    }
    assert!(
        survived.is_empty(),
        "{} of {tried} not found: {survived:?}",
        survived.len()
    );
    eprintln!("{tried} changes found");
}

#[test]
fn a_wait_that_is_not_over_blocks() {
    let mut device = Device::new(1);
    let signal = device.memory.map(8);
    device.memory.write(signal, &3u64.to_le_bytes()).unwrap();
    let mut queue = Queue::new(1);
    queue.push(0, &wait(signal, 4));
    queue.push(0, &release(0, signal, 9));
    assert_eq!(queue.run(&mut device), Ok(Progress::Blocked));
    device.memory.write(signal, &4u64.to_le_bytes()).unwrap();
    assert_eq!(queue.run(&mut device), Ok(Progress::Done));
    assert_eq!(device.memory.load_u32(signal), Ok(9));
}

#[test]
fn any_words_are_a_packet_or_an_error() {
    let mut draw = tinyc_simgpu::draw::Draw::new(9);
    for _ in 0..200_000 {
        let mut words: Vec<u32> = (0..8)
            .map(|_| draw.bits() as u32 & draw.bits() as u32)
            .collect();
        let op = [
            0x10, 0x15, 0x37, 0x3C, 0x3F, 0x40, 0x46, 0x49, 0x58, 0x76, 0x79, 0x23,
        ][draw.below(12) as usize];
        words[0] = 3 << 30 | (draw.below(8) as u32) << 16 | op << 8;
        if let Ok((packet, len)) = Packet::decode(&words) {
            assert!(len <= words.len());
            assert!(!packet.to_string().is_empty());
        }
    }
}
