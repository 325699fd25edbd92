//! Local data share: DS. In: fields. Out: `ds_load_b128 v[0:3], v4 offset:16`,
//! `ds_store_2addr_b32 v0, v1, v2 offset0:1 offset1:2`, `ds_swizzle_b32 v0, v1 offset:swizzle(SWAP,16)`.

use super::op::{Family, Kind, Op, parse_rows};
use super::operand::{self, Reg, VGPR};
use super::{Field, Inst};
use std::fmt::{self, Display};

const TABLE: &str = "\
00 ds_add_u32 = a b32
01 ds_sub_u32 = a b32
02 ds_rsub_u32 = a b32
03 ds_inc_u32 = a b32
04 ds_dec_u32 = a b32
05 ds_min_i32 = a b32
06 ds_max_i32 = a b32
07 ds_min_u32 = a b32
08 ds_max_u32 = a b32
09 ds_and_b32 = a b32
0a ds_or_b32 = a b32
0b ds_xor_b32 = a b32
0c ds_mskor_b32 = a b32 b32
0d ds_store_b32 = a b32
0e ds_store_2addr_b32 = a b32 b32
0f ds_store_2addr_stride64_b32 = a b32 b32
10 ds_cmpstore_b32 = a b32 b32
11 ds_cmpstore_f32 = a b32 b32
12 ds_min_f32 = a b32
13 ds_max_f32 = a b32
15 ds_add_f32 = a b32
1e ds_store_b8 = a b32
1f ds_store_b16 = a b32
20 ds_add_rtn_u32 b32 = a b32
21 ds_sub_rtn_u32 b32 = a b32
22 ds_rsub_rtn_u32 b32 = a b32
23 ds_inc_rtn_u32 b32 = a b32
24 ds_dec_rtn_u32 b32 = a b32
25 ds_min_rtn_i32 b32 = a b32
26 ds_max_rtn_i32 b32 = a b32
27 ds_min_rtn_u32 b32 = a b32
28 ds_max_rtn_u32 b32 = a b32
29 ds_and_rtn_b32 b32 = a b32
2a ds_or_rtn_b32 b32 = a b32
2b ds_xor_rtn_b32 b32 = a b32
2c ds_mskor_rtn_b32 b32 = a b32 b32
2d ds_storexchg_rtn_b32 b32 = a b32
2e ds_storexchg_2addr_rtn_b32 b64 = a b32 b32
2f ds_storexchg_2addr_stride64_rtn_b32 b64 = a b32 b32
30 ds_cmpstore_rtn_b32 b32 = a b32 b32
31 ds_cmpstore_rtn_f32 b32 = a b32 b32
32 ds_min_rtn_f32 b32 = a b32
33 ds_max_rtn_f32 b32 = a b32
34 ds_wrap_rtn_b32 b32 = a b32 b32
35 ds_swizzle_b32 b32 = a
36 ds_load_b32 b32 = a
37 ds_load_2addr_b32 b64 = a
38 ds_load_2addr_stride64_b32 b64 = a
39 ds_load_i8 b32 = a
3a ds_load_u8 b32 = a
3b ds_load_i16 b32 = a
3c ds_load_u16 b32 = a
3d ds_consume b32 =
3e ds_append b32 =
40 ds_add_u64 = a b64
41 ds_sub_u64 = a b64
42 ds_rsub_u64 = a b64
43 ds_inc_u64 = a b64
44 ds_dec_u64 = a b64
45 ds_min_i64 = a b64
46 ds_max_i64 = a b64
47 ds_min_u64 = a b64
48 ds_max_u64 = a b64
49 ds_and_b64 = a b64
4a ds_or_b64 = a b64
4b ds_xor_b64 = a b64
4c ds_mskor_b64 = a b64 b64
4d ds_store_b64 = a b64
4e ds_store_2addr_b64 = a b64 b64
4f ds_store_2addr_stride64_b64 = a b64 b64
50 ds_cmpstore_b64 = a b64 b64
51 ds_cmpstore_f64 = a b64 b64
52 ds_min_f64 = a b64
53 ds_max_f64 = a b64
60 ds_add_rtn_u64 b64 = a b64
61 ds_sub_rtn_u64 b64 = a b64
62 ds_rsub_rtn_u64 b64 = a b64
63 ds_inc_rtn_u64 b64 = a b64
64 ds_dec_rtn_u64 b64 = a b64
65 ds_min_rtn_i64 b64 = a b64
66 ds_max_rtn_i64 b64 = a b64
67 ds_min_rtn_u64 b64 = a b64
68 ds_max_rtn_u64 b64 = a b64
69 ds_and_rtn_b64 b64 = a b64
6a ds_or_rtn_b64 b64 = a b64
6b ds_xor_rtn_b64 b64 = a b64
6c ds_mskor_rtn_b64 b64 = a b64 b64
6d ds_storexchg_rtn_b64 b64 = a b64
6e ds_storexchg_2addr_rtn_b64 b128 = a b64 b64
6f ds_storexchg_2addr_stride64_rtn_b64 b128 = a b64 b64
70 ds_cmpstore_rtn_b64 b64 = a b64 b64
71 ds_cmpstore_rtn_f64 b64 = a b64 b64
72 ds_min_rtn_f64 b64 = a b64
73 ds_max_rtn_f64 b64 = a b64
76 ds_load_b64 b64 = a
77 ds_load_2addr_b64 b128 = a
78 ds_load_2addr_stride64_b64 b128 = a
79 ds_add_rtn_f32 b32 = a b32
7e ds_condxchg32_rtn_b64 b64 = a b64
a0 ds_store_b8_d16_hi = a b32
a1 ds_store_b16_d16_hi = a b32
a2 ds_load_u8_d16 b32 = a
a3 ds_load_u8_d16_hi b32 = a
a4 ds_load_i8_d16 b32 = a
a5 ds_load_i8_d16_hi b32 = a
a6 ds_load_u16_d16 b32 = a
a7 ds_load_u16_d16_hi b32 = a
b0 ds_store_addtid_b32 = b32
b1 ds_load_addtid_b32 b32 =
b2 ds_permute_b32 b32 = a b32
b3 ds_bpermute_b32 b32 = a b32
de ds_store_b96 = a b96
df ds_store_b128 = a b128
fe ds_load_b96 b96 = a
ff ds_load_b128 b128 = a";

pub(super) fn rows() -> Vec<Op> {
    parse_rows(Family::Ds, TABLE)
}

impl Inst {
    /// Registers of a memory instruction in the order of its row: results, then address and data.
    fn ds_operands(&self) -> impl Iterator<Item = (Kind, u32)> {
        let mut data = [Field::Data0, Field::Data1].into_iter();
        let dst = self.op.dsts.iter().map(|&k| (k, self.get(Field::Vdst)));
        dst.chain(self.op.srcs.iter().map(move |&k| match k {
            Kind::Addr => (k, self.get(Field::Addr)),
            _ => (k, data.next().map_or(0, |d| self.get(d))),
        }))
    }
}

pub(super) fn check(i: &Inst) -> Result<(), &'static str> {
    if i.get(Field::Gds) != 0 {
        return Err("global data share, which no compute code uses");
    }
    for (kind, code) in i.ds_operands() {
        operand::check(VGPR + code, kind)?;
    }
    let data = i.op.srcs.iter().filter(|k| **k != Kind::Addr).count();
    let used = [
        (Field::Vdst, !i.op.dsts.is_empty()),
        (Field::Addr, i.op.srcs.contains(&Kind::Addr)),
        (Field::Data0, data > 0),
        (Field::Data1, data > 1),
    ];
    match used.iter().all(|&(f, used)| used || i.get(f) == 0) {
        true => Ok(()),
        false => Err("an operand where there is none"),
    }
}

pub(super) fn text(i: &Inst, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&i.op.name)?;
    let mut sep = " ";
    for (kind, code) in i.ds_operands() {
        write!(f, "{sep}{}", Reg(VGPR + code, kind.regs()))?;
        sep = ", ";
    }
    let (low, high) = (i.get(Field::Offset), i.get(Field::Offset1));
    let offset = low | high << 8;
    if i.op.name.contains("2addr") {
        for (name, n) in [(" offset0:", low), (" offset1:", high)] {
            if n != 0 {
                write!(f, "{name}{n}")?;
            }
        }
    } else if offset != 0 && i.op.name == "ds_swizzle_b32" {
        f.write_str(" offset:")?;
        swizzle(offset, f)?;
    } else if offset != 0 {
        write!(f, " offset:{offset}")?;
    }
    Ok(())
}

/// How lanes move, by the most special name that fits.
fn swizzle(offset: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if offset >> 8 == 0x80 {
        let lane = |k: u32| offset >> (2 * k) & 3;
        let (a, b, c, d) = (lane(0), lane(1), lane(2), lane(3));
        return write!(f, "swizzle(QUAD_PERM,{a},{b},{c},{d})");
    }
    if offset & 0x8000 != 0 {
        return offset.fmt(f);
    }
    let (and, or, xor) = (offset & 31, offset >> 5 & 31, offset >> 10 & 31);
    if and == 31 && or == 0 && xor.is_power_of_two() {
        return write!(f, "swizzle(SWAP,{xor})");
    }
    if and == 31 && or == 0 && xor > 0 && (xor + 1).is_power_of_two() {
        return write!(f, "swizzle(REVERSE,{})", xor + 1);
    }
    let group = 32 - and;
    if group > 1 && group.is_power_of_two() && or < group && xor == 0 {
        return write!(f, "swizzle(BROADCAST,{group},{or})");
    }
    f.write_str("swizzle(BITMASK_PERM,\"")?;
    for bit in (0..5).rev() {
        // What becomes of a zero and of a one at this place of the lane's number.
        let of = |b: u32| (b & (and >> bit) | (or >> bit)) & 1 ^ (xor >> bit & 1);
        f.write_str(match (of(0), of(1)) {
            (0, 0) => "0",
            (1, 1) => "1",
            (0, _) => "p",
            _ => "i",
        })?;
    }
    f.write_str("\")")
}
