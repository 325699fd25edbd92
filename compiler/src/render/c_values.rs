//! Scalar expressions of the C printer: what one lane of each operation is.

use super::c_prelude::scalar;
use crate::diag::{Error, Result};
use crate::uop::{Binary, DType, Unary};

/// A constant.
pub fn constant(dtype: DType, bits: u64) -> String {
    let v = f64::from_bits(bits);
    match dtype {
        DType::F64 => float(v, "", "__builtin_inf()", "__builtin_nan(\"\")"),
        DType::F32 | DType::BF16 => float(v, "f", "__builtin_inff()", "__builtin_nanf(\"\")"),
        DType::F16 => format!(
            "((_Float16){})",
            float(v, "f", "__builtin_inff()", "__builtin_nanf(\"\")")
        ),
        DType::U64 => format!("{bits}ULL"),
        DType::I64 | DType::Index if bits as i64 == i64::MIN => {
            "(-9223372036854775807LL - 1)".into()
        }
        DType::I64 => format!("{}LL", bits as i64),
        DType::I32 if bits as i64 == i64::from(i32::MIN) => "(-2147483647 - 1)".into(),
        DType::U32 => format!("{bits}U"),
        _ => format!("{}", bits as i64),
    }
}

fn float(v: f64, suffix: &str, infinity: &str, nan: &str) -> String {
    if v.is_nan() {
        return nan.into();
    }
    if v.is_infinite() {
        return format!("({}{infinity})", if v < 0.0 { "-" } else { "" });
    }
    let sign = if v.is_sign_negative() { "-" } else { "" };
    let a = v.abs();
    if a < 1e15 && a == a.trunc() {
        return format!("({sign}{a:.1}{suffix})");
    }
    // Hexadecimal is exact.
    let bits = a.to_bits();
    let (exponent, mantissa) = ((bits >> 52) as i64, bits & ((1 << 52) - 1));
    let (lead, exponent) = if exponent == 0 {
        (0, -1022)
    } else {
        (1, exponent - 1023)
    };
    format!("({sign}0x{lead}.{mantissa:013x}p{exponent}{suffix})")
}

/// Unsigned type in which the arithmetic of an integer type wraps (small ones would be promoted to `int`).
fn wrapping(dtype: DType) -> &'static str {
    if dtype.size() == 8 {
        "uint64_t"
    } else {
        "uint32_t"
    }
}

/// a op b for scalars of one type. `nonnegative` tells that an Index division may be C's.
pub fn binary(op: Binary, a: &str, b: &str, dtype: DType, nonnegative: bool) -> Result<String> {
    let c = scalar(dtype);
    let float = dtype.is_float();
    let unsigned = dtype.is_unsigned();
    let bits = dtype.size() * 8;
    // Signed overflow is undefined in C: such types wrap as unsigned ones. Addresses never overflow.
    let u = wrapping(dtype);
    let wraps = !float && !matches!(dtype, DType::Index | DType::Bool);
    let text = match op {
        Binary::Add if wraps => format!("({c})(({u}){a} + ({u}){b})"),
        Binary::Sub if wraps => format!("({c})(({u}){a} - ({u}){b})"),
        Binary::Mul if wraps => format!("({c})(({u}){a} * ({u}){b})"),
        Binary::Add => format!("({a} + {b})"),
        Binary::Sub => format!("({a} - {b})"),
        Binary::Mul => format!("({a} * {b})"),
        Binary::Div if float => format!("({a} / {b})"),
        Binary::Div if unsigned => format!("tinyc_udiv({a}, {b})"),
        Binary::Div => format!("tinyc_div({a}, {b})"),
        Binary::Rem if float => format!("tinyc_fmod({a}, {b})"),
        Binary::Rem if unsigned => format!("tinyc_urem({a}, {b})"),
        Binary::Rem => format!("tinyc_rem({a}, {b})"),
        Binary::FloorDiv if nonnegative => format!("({a} / {b})"),
        Binary::FloorMod if nonnegative => format!("({a} % {b})"),
        Binary::FloorDiv if float => format!("__builtin_floor((double)({a}) / {b})"),
        Binary::FloorMod if float => format!("tinyc_ffloormod({a}, {b})"),
        Binary::FloorDiv if unsigned => format!("tinyc_udiv({a}, {b})"),
        Binary::FloorMod if unsigned => format!("tinyc_urem({a}, {b})"),
        Binary::FloorDiv => format!("tinyc_floordiv({a}, {b})"),
        Binary::FloorMod => format!("tinyc_floormod({a}, {b})"),
        Binary::Max if float => format!("(({a} > {b} || {a} != {a}) ? {a} : {b})"),
        Binary::Min if float => format!("(({a} < {b} || {a} != {a}) ? {a} : {b})"),
        Binary::Max => format!("({a} > {b} ? {a} : {b})"),
        Binary::Min => format!("({a} < {b} ? {a} : {b})"),
        Binary::Pow if !float => format!("tinyc_ipow({a}, {b})"),
        Binary::Pow => return Err(Error::bug("a float power reached the printer")),
        Binary::And => format!("({a} & {b})"),
        Binary::Or => format!("({a} | {b})"),
        Binary::Xor => format!("({a} ^ {b})"),
        Binary::Shl => format!(
            "((uint64_t)({b}) < {bits} ? (({u}){a} << ({b} & {})) : 0)",
            bits - 1
        ),
        Binary::Shr => format!(
            "((uint64_t)({b}) < {bits} ? ({a} >> ({b} & {})) : ({a} < 0 ? -1 : 0))",
            bits - 1
        ),
        Binary::Lt => return Ok(format!("({a} < {b})")),
        Binary::Le => return Ok(format!("({a} <= {b})")),
        Binary::Eq => return Ok(format!("({a} == {b})")),
        Binary::Ne => return Ok(format!("({a} != {b})")),
    };
    Ok(match dtype {
        DType::BF16 => format!("tinyc_round_bf16({text})"),
        DType::F32 | DType::F64 | DType::I64 | DType::Index | DType::U64
            if !wraps && !text.contains("builtin") && !text.starts_with("tinyc") =>
        {
            text
        }
        _ => format!("({c}){text}"),
    })
}

/// op a.
pub fn unary(op: Unary, a: &str, dtype: DType) -> Result<String> {
    let c = scalar(dtype);
    let f = match dtype {
        DType::F64 => "",
        _ => "f",
    };
    let call = |name: &str| {
        if dtype.is_float() {
            format!("__builtin_{name}{f}({a})")
        } else {
            a.to_string()
        }
    };
    let text = match op {
        Unary::Neg if dtype.is_float() => format!("(-{a})"),
        Unary::Neg => format!("(0 - ({}){a})", wrapping(dtype)),
        Unary::Not if dtype == DType::Bool => format!("(!{a})"),
        Unary::Not => format!("(~{a})"),
        Unary::Abs if dtype.is_float() => call("fabs"),
        Unary::Abs if dtype.is_unsigned() || dtype == DType::Bool => a.to_string(),
        Unary::Abs => format!("({a} < 0 ? 0 - ({0}){a} : ({0}){a})", wrapping(dtype)),
        Unary::Sqrt => call("sqrt"),
        Unary::Floor => call("floor"),
        Unary::Ceil => call("ceil"),
        Unary::Trunc => call("trunc"),
        Unary::Round => call("rint"),
        Unary::IsNan => return Ok(format!("({a} != {a})")),
        _ => return Err(Error::bug(format!("{op:?} reached the printer"))),
    };
    Ok(match dtype {
        DType::BF16 => format!("tinyc_round_bf16({text})"),
        _ => format!("(({c}){text})"),
    })
}

/// (to)a.
pub fn cast(a: &str, from: DType, to: DType) -> String {
    let c = scalar(to);
    if to == DType::Bool {
        return format!("({a} != 0)");
    }
    if to == DType::BF16 {
        return format!("tinyc_round_bf16((float){a})");
    }
    if from.is_float() && !to.is_float() {
        if to == DType::U64 {
            return format!("tinyc_clamp_u64({a})");
        }
        let (low, high) = to.int_bounds().unwrap_or((i64::MIN, i64::MAX));
        let (low_float, high_float) = (format!("{:.1}", low as f64), format!("{:.1}", high as f64));
        let most = constant(DType::I64, high as u64);
        let least = constant(DType::I64, low as u64);
        return format!("(({c})tinyc_clamp({a}, {low_float}, {high_float}, {least}, {most}))");
    }
    format!("(({c}){a})")
}

/// Same bits.
pub fn bitcast(a: &str, from: DType, to: DType) -> String {
    let raw = match from {
        DType::F32 => format!("tinyc_f32_bits({a})"),
        DType::F64 => format!("tinyc_f64_bits({a})"),
        DType::F16 => format!("tinyc_f16_bits({a})"),
        DType::BF16 => format!("tinyc_to_bf16({a})"),
        _ => a.to_string(),
    };
    match to {
        DType::F32 => format!("tinyc_bits_f32((uint32_t){raw})"),
        DType::F64 => format!("tinyc_bits_f64((uint64_t){raw})"),
        DType::F16 => format!("tinyc_bits_f16((uint16_t){raw})"),
        DType::BF16 => format!("tinyc_from_bf16((uint16_t){raw})"),
        _ => format!("(({}){raw})", scalar(to)),
    }
}
