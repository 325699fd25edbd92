//! Every opcode in every encoding with random fields: the text equals LLVM's, the words come back.
//!
//! Words are drawn, those that the decoder takes are given to `llvm-mc`. What LLVM does not take, the decoder may not take
//! either. Without `llvm-mc-19` the test says that it skips.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use tinyc_simgpu::isa::{Family, Field, Inst, Isa, LAYOUTS};

/// Instructions of each opcode in each encoding.
const EACH: usize = 48;

/// Numbers that look random and are the same each time.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// A value for a field so many bits wide: often zero, since most fields have to be.
    fn field(&mut self, field: Field, width: u32) -> u32 {
        let any = self.next() as u32 & ((1u64 << width) - 1) as u32;
        let scalar = [
            0, 4, 8, 12, 16, 102, 104, 105, 106, 107, 108, 120, 122, 123, 124, 125, 126, 127,
        ];
        let constant = [
            128, 129, 130, 192, 193, 208, 235, 236, 237, 238, 240, 241, 245, 247, 248, 253, 255,
        ];
        match field {
            Field::Src0 | Field::Src1 | Field::Src2 | Field::Src0Y if width == 9 => {
                match self.below(8) {
                    0 => 0,
                    1 => self.of(&scalar),
                    2 => self.of(&constant),
                    3 => self.of(&[255, 255, 250, 233, 234]),
                    4 => 256 + self.below(128) as u32,
                    _ => any,
                }
            }
            Field::Src0 | Field::Src1 if self.below(2) == 0 => self.of(&constant),
            Field::Sdst | Field::Soffset | Field::Saddr | Field::Sbase => match self.below(3) {
                0 => 0,
                1 => self.of(&scalar) & ((1 << width) - 1),
                _ => any,
            },
            Field::Vdst => match self.below(4) {
                0 => 126,
                1 => 0,
                2 => any & 0x7c,
                _ => any,
            },
            Field::OpSelHi2 => 1,
            Field::Simm | Field::Offset => match self.below(3) {
                0 => 0,
                1 => any & 0x7f,
                _ => any,
            },
            _ if self.below(2) == 0 => 0,
            _ => any,
        }
    }
}

/// Literals and words that move lanes.
fn last_word(draw: &mut Draw) -> u32 {
    let values = [
        0,
        1,
        64,
        65,
        0xFFFF_FFF0,
        0xFFF0,
        0x3F80_0000,
        0x3C00,
        0x3C00_3C00,
        0x3118,
        0x3E22_F983,
        0xBC00,
        0x3FF0_0000,
        0x8000_0000,
        0x4000,
    ];
    match draw.below(4) {
        0 => draw.of(&values),
        1 => draw.next() as u32,
        // Movements within a row, whose other bits are easily wrong.
        2 => draw.below(0x200) as u32 | (draw.next() as u32 & 0xFF0C_0000),
        _ => (draw.below(0x170) << 8) as u32 | (draw.next() as u32 & 0xFFFC_00FF),
    }
}

/// Instructions of every opcode.
fn instructions() -> Vec<Inst> {
    let isa = Isa::gfx1100();
    let mut draw = Draw(1);
    let mut out = Vec::new();
    for layout in LAYOUTS {
        let (_, low, width) = *layout
            .fields
            .iter()
            .find(|f| f.0 == Field::Op)
            .expect("an opcode");
        for code in 0..1u32 << width {
            let mut got = 0;
            let mut tries = 0;
            while got < EACH && tries < EACH * 200 {
                tries += 1;
                if tries > 2000 && got == 0 {
                    break;
                }
                let mut fields = [0; tinyc_simgpu::isa::FIELDS];
                for &(field, _, width) in layout.fields {
                    fields[field as usize] = draw.field(field, width);
                }
                fields[Field::Op as usize] = code;
                let words = layout.write(&fields);
                let mut words = words[..layout.words].to_vec();
                debug_assert_eq!(words[0] >> low & ((1 << width) - 1), code);
                words.push(last_word(&mut draw));
                if let Ok(inst) = isa.decode(&words)
                    && inst.layout.family == layout.family
                {
                    assert_eq!(inst.encode(), words[..inst.len()], "{inst}");
                    out.push(inst);
                    got += 1;
                }
            }
        }
    }
    out
}

/// What LLVM says about each: the text, or the reason why there is none.
fn llvm(insts: &[Inst]) -> Vec<Result<String, String>> {
    let bytes = |words: &[u32]| {
        words
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .fold(String::new(), |mut s, b| {
                write!(s, "{b:#04x} ").unwrap();
                s
            })
    };
    // Two words that end whatever waits for a literal, and a third as mark.
    let end = bytes(&[0xBF80_0000, 0xBF80_0000, 0xBF80_7EEF]);
    let mut input = String::new();
    for inst in insts {
        writeln!(input, "{}\n{end}", bytes(&inst.encode())).unwrap();
    }
    let mut child = Command::new("llvm-mc-19")
        .args(["-arch=amdgcn", "-mcpu=gfx1100", "--disassemble"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("llvm-mc-19 starts");
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let mut bad = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        let mut parts = line.splitn(4, ':');
        if let (Some("<stdin>"), Some(at), _, Some(why)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        {
            bad.insert(
                (at.parse::<usize>().unwrap() - 1) / 2,
                why.trim().to_string(),
            );
        }
    }
    let mut out = Vec::new();
    let mut first = None;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let line = line.trim();
        match line {
            "" => {}
            _ if line.starts_with(".text") || line.starts_with(".amdgcn") => {}
            "s_nop 0x7eef" => {
                let n = out.len();
                let text: Option<String> = first.take();
                out.push(match (bad.get(&n), text) {
                    (Some(why), _) => Err(why.clone()),
                    (None, Some(text)) => Ok(text),
                    (None, None) => Err("nothing".to_string()),
                });
            }
            _ => first = first.or(Some(line.split("  ").next().unwrap().to_string())),
        }
    }
    assert_eq!(out.len(), insts.len());
    out
}

#[test]
fn every_opcode_reads_as_llvm_writes_it() {
    if Command::new("llvm-mc-19")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: llvm-mc-19 is missing");
        return;
    }
    let insts = instructions();
    let texts = llvm(&insts);
    let mut wrong: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for (inst, theirs) in insts.iter().zip(&texts) {
        let ours = inst.to_string();
        let theirs = match theirs {
            Ok(text) | Err(text) => text,
        };
        if *theirs != ours {
            let name = format!("{} {}", inst.layout.name, inst.op.name);
            let entry = wrong
                .entry(name)
                .or_insert((0, format!("ours {ours}\n    LLVM {theirs}\n    {inst:?}")));
            entry.0 += 1;
        }
    }
    let mut families: BTreeMap<Family, usize> = BTreeMap::new();
    for inst in &insts {
        *families.entry(inst.layout.family).or_default() += 1;
    }
    eprintln!("{} instructions compared: {families:?}", insts.len());
    let listed: Vec<String> = wrong
        .iter()
        .map(|(name, (n, first))| format!("{name} ({n}x)\n    {first}"))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} opcodes differ:\n{}",
        wrong.len(),
        listed.join("\n")
    );
}

/// Opcodes that are decoded but not simulated: graphics, debugging, buffer descriptors, masks of 64 lanes, what no compiler
/// emits. (`s_setreg_b32` is, for the mode: the words drawn here name other registers.)
const NOT_SIMULATED: &[&str] = &[
    "ds_append",
    "ds_cmpstore_f32",
    "ds_cmpstore_f64",
    "ds_cmpstore_rtn_f32",
    "ds_cmpstore_rtn_f64",
    "ds_condxchg32_rtn_b64",
    "ds_consume",
    "ds_load_addtid_b32",
    "ds_max_f64",
    "ds_max_rtn_f64",
    "ds_min_f64",
    "ds_min_rtn_f64",
    "ds_mskor_b32",
    "ds_mskor_b64",
    "ds_mskor_rtn_b32",
    "ds_mskor_rtn_b64",
    "ds_store_addtid_b32",
    "ds_storexchg_2addr_rtn_b32",
    "ds_storexchg_2addr_rtn_b64",
    "ds_storexchg_2addr_stride64_rtn_b32",
    "ds_storexchg_2addr_stride64_rtn_b64",
    "ds_wrap_rtn_b32",
    "global_load_addtid_b32",
    "global_store_addtid_b32",
    "s_and_not0_saveexec_b64",
    "s_and_not0_wrexec_b64",
    "s_and_not1_saveexec_b64",
    "s_and_not1_wrexec_b64",
    "s_and_saveexec_b64",
    "s_bitreplicate_b64_b32",
    "s_bitset0_b64",
    "s_bitset1_b64",
    "s_buffer_load_b128",
    "s_buffer_load_b256",
    "s_buffer_load_b32",
    "s_buffer_load_b512",
    "s_buffer_load_b64",
    "s_cls_i32_i64",
    "s_code_end",
    "s_endpgm_saved",
    "s_movreld_b32",
    "s_movreld_b64",
    "s_movrels_b64",
    "s_movrelsd_2_b32",
    "s_nand_saveexec_b64",
    "s_nor_saveexec_b64",
    "s_or_not0_saveexec_b64",
    "s_or_not1_saveexec_b64",
    "s_or_saveexec_b64",
    "s_quadmask_b64",
    "s_rfe_b64",
    "s_sendmsg",
    "s_sendmsg_rtn_b32",
    "s_sendmsg_rtn_b64",
    "s_sendmsghalt",
    "s_setkill",
    "s_setreg_b32",
    "s_trap",
    "s_wqm_b64",
    "s_xnor_saveexec_b64",
    "s_xor_saveexec_b64",
    "v_cubeid_f32",
    "v_cubema_f32",
    "v_cubesc_f32",
    "v_cubetc_f32",
    "v_fma_dx9_zero_f32",
    "v_fmac_dx9_zero_f32",
    "v_movrelsd_2_b32",
    "v_mullit_f32",
    "v_swaprel_b32",
    "v_trig_preop_f64",
];

/// An opcode is simulated, or is known not to be: executing it is a fault with its text.
#[test]
fn opcodes_are_simulated_or_listed() {
    let mut missing: BTreeMap<String, &str> = BTreeMap::new();
    let mut simulated = std::collections::BTreeSet::new();
    for inst in instructions() {
        let name = inst.op.name.clone();
        match tinyc_simgpu::wave::lower(&inst, 0) {
            Ok(_) => {
                simulated.insert(name);
            }
            Err(why) => {
                missing.insert(name, why);
            }
        }
    }
    missing.retain(|name, _| !simulated.contains(name));
    let names: Vec<&str> = missing.keys().map(String::as_str).collect();
    eprintln!("{} opcodes simulated, {} not", simulated.len(), names.len());
    assert_eq!(names, NOT_SIMULATED);
}
