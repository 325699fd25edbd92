//! Memory by address: FLAT, SCRATCH, GLOBAL. In: fields. Out: `global_load_b128 v[0:3], v4, s[2:3] offset:16`,
//! `scratch_store_b32 off, v0, off offset:4`, `global_atomic_add_u32 v0, v[1:2], v3, off glc`.

use super::op::{Family, Kind, Op, parse_row};
use super::operand::{self, NULL, Reg, VGPR};
use super::{Field, Inst};
use std::fmt;

/// The letters are the families that have it: flat, scratch, global.
const TABLE: &str = "\
10 load_u8 b32 = a +fsg
11 load_i8 b32 = a +fsg
12 load_u16 b32 = a +fsg
13 load_i16 b32 = a +fsg
14 load_b32 b32 = a +fsg
15 load_b64 b64 = a +fsg
16 load_b96 b96 = a +fsg
17 load_b128 b128 = a +fsg
18 store_b8 = a b32 +fsg
19 store_b16 = a b32 +fsg
1a store_b32 = a b32 +fsg
1b store_b64 = a b64 +fsg
1c store_b96 = a b96 +fsg
1d store_b128 = a b128 +fsg
1e load_d16_u8 b32 = a +fsg
1f load_d16_i8 b32 = a +fsg
20 load_d16_b16 b32 = a +fsg
21 load_d16_hi_u8 b32 = a +fsg
22 load_d16_hi_i8 b32 = a +fsg
23 load_d16_hi_b16 b32 = a +fsg
24 store_d16_hi_b8 = a b32 +fsg
25 store_d16_hi_b16 = a b32 +fsg
28 load_addtid_b32 b32 = +g
29 store_addtid_b32 = b32 +g
33 atomic_swap_b32 b32 = a b32 +fg
34 atomic_cmpswap_b32 b32 = a b64 +fg
35 atomic_add_u32 b32 = a b32 +fg
36 atomic_sub_u32 b32 = a b32 +fg
37 atomic_csub_u32 b32 = a b32 +g
38 atomic_min_i32 b32 = a b32 +fg
39 atomic_min_u32 b32 = a b32 +fg
3a atomic_max_i32 b32 = a b32 +fg
3b atomic_max_u32 b32 = a b32 +fg
3c atomic_and_b32 b32 = a b32 +fg
3d atomic_or_b32 b32 = a b32 +fg
3e atomic_xor_b32 b32 = a b32 +fg
3f atomic_inc_u32 b32 = a b32 +fg
40 atomic_dec_u32 b32 = a b32 +fg
41 atomic_swap_b64 b64 = a b64 +fg
42 atomic_cmpswap_b64 b64 = a b128 +fg
43 atomic_add_u64 b64 = a b64 +fg
44 atomic_sub_u64 b64 = a b64 +fg
45 atomic_min_i64 b64 = a b64 +fg
46 atomic_min_u64 b64 = a b64 +fg
47 atomic_max_i64 b64 = a b64 +fg
48 atomic_max_u64 b64 = a b64 +fg
49 atomic_and_b64 b64 = a b64 +fg
4a atomic_or_b64 b64 = a b64 +fg
4b atomic_xor_b64 b64 = a b64 +fg
4c atomic_inc_u64 b64 = a b64 +fg
4d atomic_dec_u64 b64 = a b64 +fg
50 atomic_cmpswap_f32 b32 = a b64 +fg
51 atomic_min_f32 b32 = a b32 +fg
52 atomic_max_f32 b32 = a b32 +fg
56 atomic_add_f32 b32 = a b32 +fg";

pub(super) fn rows() -> Vec<Op> {
    let families = [
        ("f", "flat", Family::Flat),
        ("s", "scratch", Family::Scratch),
        ("g", "global", Family::Global),
    ];
    let mut out = Vec::new();
    for line in TABLE.lines() {
        for (letter, prefix, family) in families {
            let Some(mut op) = parse_row(family, line) else {
                continue;
            };
            if op.flags.iter().any(|f| f.contains(letter)) {
                op.name = format!("{prefix}_{}", op.name);
                out.push(op);
            }
        }
    }
    out
}

impl Inst {
    /// Whether a memory instruction gives back a value: atomics do when asked.
    pub fn returns(&self) -> bool {
        match self.op.name.contains("atomic") {
            true => self.get(Field::Glc) != 0,
            false => !self.op.dsts.is_empty(),
        }
    }

    /// The constant part of the address, signed.
    pub fn flat_offset(&self) -> i32 {
        (self.get(Field::Offset) as i32) << 19 >> 19
    }
}

/// Whether the address has a register for the lane, and how many.
fn address(i: &Inst) -> Option<u32> {
    let has = i.op.srcs.contains(&Kind::Addr);
    match i.layout.family {
        _ if !has => None,
        Family::Scratch => (i.get(Field::Sve) != 0).then_some(1),
        Family::Global if i.get(Field::Saddr) != NULL => Some(1),
        _ => Some(2),
    }
}

/// What is stored or combined.
fn data(i: &Inst) -> Option<Kind> {
    i.op.srcs.iter().copied().find(|k| *k != Kind::Addr)
}

pub(super) fn check(i: &Inst) -> Result<(), &'static str> {
    let saddr = i.get(Field::Saddr);
    match i.layout.family {
        Family::Flat if saddr != NULL => return Err("flat memory has no scalar address"),
        Family::Flat if i.flat_offset() < 0 => return Err("flat memory goes forward only"),
        Family::Global if saddr != NULL => operand::check(saddr, Kind::B64)?,
        Family::Scratch if saddr != NULL => operand::check(saddr, Kind::B32)?,
        _ => {}
    }
    if saddr >= 125 {
        return Err("no scalar address");
    }
    if i.layout.family != Family::Scratch && i.get(Field::Sve) != 0 {
        return Err("bits outside of all fields");
    }
    match address(i) {
        Some(2) => operand::check(VGPR + i.get(Field::Addr), Kind::B64)?,
        Some(_) => {}
        None if i.get(Field::Addr) != 0 => return Err("an address where there is none"),
        None => {}
    }
    match data(i) {
        Some(kind) => operand::check(VGPR + i.get(Field::Data0), kind)?,
        None if i.get(Field::Data0) != 0 => return Err("data where there are none"),
        None => {}
    }
    match i.op.dsts.first().filter(|_| i.returns()) {
        Some(&kind) => operand::check(VGPR + i.get(Field::Vdst), kind),
        None if i.get(Field::Vdst) != 0 => Err("a result where there is none"),
        None => Ok(()),
    }
}

pub(super) fn text(i: &Inst, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&i.op.name)?;
    let mut sep = " ";
    if let Some(kind) = i.op.dsts.first().filter(|_| i.returns()) {
        write!(f, " {}", Reg(VGPR + i.get(Field::Vdst), kind.regs()))?;
        sep = ", ";
    }
    if i.op.srcs.contains(&Kind::Addr) {
        match address(i) {
            Some(regs) => write!(f, "{sep}{}", Reg(VGPR + i.get(Field::Addr), regs))?,
            None => write!(f, "{sep}off")?,
        }
        sep = ", ";
    }
    if let Some(kind) = data(i) {
        write!(f, "{sep}{}", Reg(VGPR + i.get(Field::Data0), kind.regs()))?;
        sep = ", ";
    }
    let saddr = i.get(Field::Saddr);
    match i.layout.family {
        Family::Flat => {}
        _ if saddr == NULL => write!(f, "{sep}off")?,
        Family::Scratch => write!(f, "{sep}{}", Reg(saddr, 1))?,
        _ => write!(f, "{sep}{}", Reg(saddr, 2))?,
    }
    if i.flat_offset() != 0 {
        write!(f, " offset:{}", i.flat_offset())?;
    }
    for (field, name) in [
        (Field::Glc, " glc"),
        (Field::Slc, " slc"),
        (Field::Dlc, " dlc"),
    ] {
        if i.get(field) != 0 {
            f.write_str(name)?;
        }
    }
    Ok(())
}
