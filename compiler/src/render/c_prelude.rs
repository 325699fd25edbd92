//! Type names of the C that [`super::c`] prints, and the helpers that it may call.
//!
//! The prelude is guarded, so that many kernels fit in one file. Nothing in it refers to a library.

use crate::uop::{DType, Type};

/// C type of a scalar in a register. A bf16 is a float there.
pub fn scalar(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool | DType::U8 => "uint8_t",
        DType::I8 => "int8_t",
        DType::I16 => "int16_t",
        DType::I32 => "int32_t",
        DType::I64 | DType::Index => "int64_t",
        DType::U16 => "uint16_t",
        DType::U32 => "uint32_t",
        DType::U64 => "uint64_t",
        DType::F16 => "_Float16",
        DType::BF16 | DType::F32 => "float",
        DType::F64 => "double",
    }
}

/// C type of an element in memory.
pub fn memory(dtype: DType) -> &'static str {
    if dtype == DType::BF16 {
        "uint16_t"
    } else {
        scalar(dtype)
    }
}

/// Signed integer of a scalar's width: what comparing such vectors gives.
pub fn mask_of(dtype: DType) -> DType {
    match if dtype == DType::BF16 {
        4
    } else {
        dtype.size()
    } {
        1 => DType::I8,
        2 => DType::I16,
        4 => DType::I32,
        _ => DType::I64,
    }
}

/// Unsigned integer of a scalar's width.
pub fn unsigned_of(dtype: DType) -> DType {
    match mask_of(dtype) {
        DType::I8 => DType::U8,
        DType::I16 => DType::U16,
        DType::I32 => DType::U32,
        _ => DType::U64,
    }
}

/// Name of a vector type; Bool vectors are masks of 32-bit integers.
pub fn vector(ty: Type) -> String {
    let dtype = match ty.scalar {
        DType::Bool => DType::I32,
        DType::Index => DType::I64,
        DType::BF16 => DType::F32,
        d => d,
    };
    format!("{}x{}", dtype.name(), ty.lanes)
}

/// C type of a value.
pub fn name(ty: Type) -> String {
    if ty.lanes > 1 {
        vector(ty)
    } else {
        scalar(ty.scalar).to_string()
    }
}

/// Definitions of the vector types with these names.
pub fn vector_types(names: &[String]) -> String {
    let mut out = String::new();
    for name in names {
        let Some((dtype, lanes)) = name.split_once('x') else {
            continue;
        };
        let (Some(dtype), Ok(lanes)) = (DType::parse(dtype), lanes.parse::<usize>()) else {
            continue;
        };
        let (c, bytes, align) = (scalar(dtype), dtype.size() * lanes, dtype.size());
        out.push_str(&format!(
            "#ifndef TINYC_{name}\n#define TINYC_{name}\ntypedef {c} {name} __attribute__((vector_size({bytes})));\ntypedef {c} {name}u __attribute__((vector_size({bytes}), aligned({align}), may_alias));\n#endif\n"
        ));
    }
    out
}

/// Helpers: conversions and divisions that C leaves undefined.
pub const PRELUDE: &str = r#"#ifndef TINYC_PRELUDE
#define TINYC_PRELUDE
#include <stdint.h>
#if defined(__clang__) || __GNUC__ >= 12
#define TINYC_SHUFFLE(mask, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define TINYC_SHUFFLE(mask, a, b, ...) __builtin_shuffle(a, b, (mask){__VA_ARGS__})
#endif
#define TINYC_INLINE static inline __attribute__((always_inline, unused))
TINYC_INLINE int64_t tinyc_floordiv(int64_t a, int64_t b) {
    if (b == 0) return 0;
    if (b == -1) return (int64_t)(0 - (uint64_t)a);
    int64_t q = a / b;
    return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}
TINYC_INLINE int64_t tinyc_floormod(int64_t a, int64_t b) {
    if (b == 0 || b == -1) return 0;
    int64_t r = a % b;
    return (r != 0 && ((r < 0) != (b < 0))) ? r + b : r;
}
TINYC_INLINE int64_t tinyc_div(int64_t a, int64_t b) {
    if (b == 0) return 0;
    if (b == -1) return (int64_t)(0 - (uint64_t)a);
    return a / b;
}
TINYC_INLINE int64_t tinyc_rem(int64_t a, int64_t b) { return (b == 0 || b == -1) ? 0 : a % b; }
TINYC_INLINE uint64_t tinyc_udiv(uint64_t a, uint64_t b) { return b == 0 ? 0 : a / b; }
TINYC_INLINE uint64_t tinyc_urem(uint64_t a, uint64_t b) { return b == 0 ? 0 : a % b; }
TINYC_INLINE int64_t tinyc_ipow(int64_t a, int64_t b) {
    uint64_t r = 1, x = (uint64_t)a;
    if (b < 0) return a == 1 ? 1 : a == -1 ? (b % 2 ? -1 : 1) : 0;
    for (; b; b >>= 1) { if (b & 1) r *= x; x *= x; }
    return (int64_t)r;
}
TINYC_INLINE int64_t tinyc_clamp(double v, double low, double high, int64_t least, int64_t most) {
    if (v != v) return 0;
    if (v <= low) return least;
    if (v >= high) return most;
    return (int64_t)v;
}
TINYC_INLINE uint64_t tinyc_clamp_u64(double v) {
    if (!(v > 0)) return 0;
    if (v >= 18446744073709551616.0) return UINT64_MAX;
    return (uint64_t)v;
}
TINYC_INLINE double tinyc_fmod(double a, double b) {
    double x = __builtin_fabs(a), y = __builtin_fabs(b);
    if (a != a || b != b || x == __builtin_inf() || y == 0) return __builtin_nan("");
    while (x >= y) {
        union { double d; uint64_t u; } m = { x }, n = { y };
        int64_t gap = (int64_t)(m.u >> 52) - (int64_t)(n.u >> 52);
        double step = y;
        for (; gap > 0; gap--) step *= 2;
        if (step > x) step *= 0.5;
        x -= step;
    }
    return __builtin_copysign(x, a);
}
TINYC_INLINE double tinyc_ffloormod(double a, double b) {
    double r = tinyc_fmod(a, b);
    return (r != 0 && ((r < 0) != (b < 0))) ? r + b : r;
}
TINYC_INLINE float tinyc_from_bf16(uint16_t v) {
    union { uint32_t u; float f; } x = { (uint32_t)v << 16 };
    return x.f;
}
TINYC_INLINE uint16_t tinyc_to_bf16(float v) {
    union { float f; uint32_t u; } x = { v };
    if (v != v) return 0x7fc0;
    return (uint16_t)((x.u + 0x7fff + ((x.u >> 16) & 1)) >> 16);
}
TINYC_INLINE float tinyc_round_bf16(float v) { return tinyc_from_bf16(tinyc_to_bf16(v)); }
TINYC_INLINE float tinyc_bits_f32(uint32_t v) { union { uint32_t u; float f; } x = { v }; return x.f; }
TINYC_INLINE uint32_t tinyc_f32_bits(float v) { union { float f; uint32_t u; } x = { v }; return x.u; }
TINYC_INLINE double tinyc_bits_f64(uint64_t v) { union { uint64_t u; double f; } x = { v }; return x.f; }
TINYC_INLINE uint64_t tinyc_f64_bits(double v) { union { double f; uint64_t u; } x = { v }; return x.u; }
TINYC_INLINE _Float16 tinyc_bits_f16(uint16_t v) { union { uint16_t u; _Float16 f; } x = { v }; return x.f; }
TINYC_INLINE uint16_t tinyc_f16_bits(_Float16 v) { union { _Float16 f; uint16_t u; } x = { v }; return x.u; }
#endif
"#;
