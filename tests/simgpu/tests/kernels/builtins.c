// One instruction each: what C has no operator for.
#include "prelude.h"
#define ID (group_x() * 64 + local_x())
#define F(name, expr)                                                                                                  \
  KERNEL void f_##name(GLOBAL f32 *a, GLOBAL f32 *b, GLOBAL f32 *c, GLOBAL f32 *d, f32 s) {                            \
    f32 x = a[ID], y = b[ID], z = c[ID];                                                                               \
    d[ID] = (expr);                                                                                                    \
  }
#define D(name, expr)                                                                                                  \
  KERNEL void d_##name(GLOBAL f64 *a, GLOBAL f64 *b, GLOBAL f64 *d) {                                                  \
    f64 x = a[ID], y = b[ID];                                                                                          \
    d[ID] = (expr);                                                                                                    \
  }
#define H(name, expr)                                                                                                  \
  KERNEL void h_##name(GLOBAL f16 *a, GLOBAL f16 *b, GLOBAL f16 *c, GLOBAL f16 *d) {                                   \
    f16 x = a[ID], y = b[ID], z = c[ID];                                                                               \
    d[ID] = (expr);                                                                                                    \
  }
#define U(name, expr)                                                                                                  \
  KERNEL void u_##name(GLOBAL u32 *a, GLOBAL u32 *b, GLOBAL u32 *c, GLOBAL u32 *d, u32 s) {                            \
    u32 x = a[ID], y = b[ID], z = c[ID];                                                                               \
    d[ID] = (expr);                                                                                                    \
  }
F(rcp, __builtin_amdgcn_rcpf(x))
F(rsq, __builtin_amdgcn_rsqf(x))
F(sqrt, __builtin_amdgcn_sqrtf(x))
F(exp, __builtin_amdgcn_exp2f(x))
F(log, __builtin_amdgcn_logf(x))
F(sin, __builtin_amdgcn_sinf(x) + __builtin_amdgcn_cosf(y))
F(fract, __builtin_amdgcn_fractf(x))
F(mant, __builtin_amdgcn_frexp_mantf(x) + (f32)__builtin_amdgcn_frexp_expf(y))
F(ldexp, __builtin_ldexpf(x, (i32)y))
F(med, __builtin_amdgcn_fmed3f(x, y, z))
F(round, __builtin_floorf(x) + __builtin_ceilf(y) + __builtin_truncf(z) + __builtin_rintf(s))
F(minmax, __builtin_fminf(x, y) + __builtin_fmaxf(y, z))
F(min3, __builtin_fminf(__builtin_fminf(x, y), z))
F(max3, __builtin_fmaxf(__builtin_fmaxf(x, y), z))
F(minmax3, __builtin_fminf(__builtin_fmaxf(x, y), z) + __builtin_fmaxf(__builtin_fminf(x, y), z))
F(signs, -__builtin_fabsf(x) * __builtin_fabsf(y) + __builtin_copysignf(z, x))
F(clamp, __builtin_fminf(__builtin_fmaxf(x + y, 0.0f), 1.0f))
F(twice, (x + y) * 2.0f - (x * z) * 0.5f)
F(fma_constant, x * 1.2345f + y * z + (z * x + 3.25f))
F(class, __builtin_isnan(x) ? y : (__builtin_isinf(z) ? 1.0f : z))
F(exp_full, __builtin_exp2f(x) + __builtin_log2f(y))
F(sqrt_full, __builtin_sqrtf(x))
F(cube, __builtin_amdgcn_cubeid(x, y, z) + __builtin_amdgcn_cubema(x, y, z))
F(bytes, (f32)((u8)__builtin_bit_cast(u32, x)) + (f32)((u8)(__builtin_bit_cast(u32, y) >> 16)))
F(dual, (x * y) + (y + z) * (x - z) * (s * x) + (z * z) * (y * s))
F(dpp, x + __builtin_bit_cast(f32, __builtin_amdgcn_update_dpp(0, __builtin_bit_cast(i32, y), 0x111, 15, 15, 1)))
F(quad, x * __builtin_bit_cast(f32, __builtin_amdgcn_mov_dpp(__builtin_bit_cast(i32, y), 0xB1, 15, 15, 1)))
F(half, x + __builtin_bit_cast(f32, __builtin_amdgcn_mov_dpp8(__builtin_bit_cast(i32, y), 0x39C02)))
F(row, x + __builtin_bit_cast(f32, __builtin_amdgcn_update_dpp(__builtin_bit_cast(i32, z), __builtin_bit_cast(i32, y), 0x141, 5, 3, 0)))
D(rcp, __builtin_amdgcn_rcp(x) + __builtin_amdgcn_rsq(y) + __builtin_amdgcn_sqrt(x))
D(round, __builtin_floor(x) + __builtin_ceil(y) + __builtin_trunc(x + y) + __builtin_rint(x - y))
D(minmax, __builtin_fmin(x, y) * __builtin_fmax(x, -y))
D(mant, __builtin_amdgcn_frexp_mant(x) + __builtin_amdgcn_fract(y) + __builtin_amdgcn_frexp_exp(x))
D(ldexp, __builtin_ldexp(x, 3) + __builtin_fabs(y))
D(fma, x * y + 1.5)
D(sqrt_full, __builtin_sqrt(x))
H(rcp, __builtin_amdgcn_rcph(x) + __builtin_amdgcn_rsqh(y) + __builtin_amdgcn_sqrth(z))
H(sin, __builtin_amdgcn_sinh(x) + __builtin_amdgcn_cosh(y))
H(fract, __builtin_amdgcn_fracth(x) + __builtin_amdgcn_frexp_manth(y))
H(med, __builtin_amdgcn_fmed3h(x, y, z))
H(minmax, __builtin_fminf16(x, y) + __builtin_fmaxf16(y, z))
H(round, __builtin_floorf16(x) + __builtin_ceilf16(y) + __builtin_truncf16(z))
H(exp, __builtin_exp2f16(x) + __builtin_log2f16(y))
H(fma, x * y + z * (f16)1.5 + x)
H(mix, (f16)((f32)x * (f32)y + (f32)z))
U(bfe, __builtin_amdgcn_ubfe(x, 3, 7) + (u32)__builtin_amdgcn_sbfe((i32)y, z, 5))
U(align, __builtin_amdgcn_alignbit(x, y, z) + __builtin_amdgcn_alignbyte(x, y, s))
U(perm, __builtin_amdgcn_perm(x, y, 0x07020501))
U(sad, __builtin_amdgcn_sad_u8(x, y, z) + __builtin_amdgcn_sad_u16(x, y, z) + __builtin_amdgcn_msad_u8(x, y, z))
U(lerp, __builtin_amdgcn_lerp(x, y, z))
U(dot4, __builtin_amdgcn_udot4(x, y, z, 0) + __builtin_amdgcn_udot4(x, y, z, 1))
U(dot4s, (u32)__builtin_amdgcn_sudot4(1, (i32)x, 0, (i32)y, (i32)z, 0) + (u32)__builtin_amdgcn_sudot4(0, (i32)x, 1, (i32)y, (i32)z, 1))
U(dot8, __builtin_amdgcn_udot8(x, y, z, 0) + (u32)__builtin_amdgcn_sudot8(1, (i32)x, 1, (i32)y, (i32)z, 0))
U(mul24, (x & 0xFFFFFF) * (y & 0xFFFFFF) + (u32)(((i32)y << 8 >> 8) * ((i32)z << 8 >> 8)) + (u32)(((u64)(x & 0xFFFFFF) * (z & 0xFFFFFF)) >> 32))
U(mulhi, (u32)(((u64)x * y) >> 32) + (u32)(((i64)(i32)y * (i32)z) >> 32))
U(mbcnt, __builtin_amdgcn_mbcnt_lo(x, y) + __builtin_amdgcn_mbcnt_hi(y, z))
U(ballot, __builtin_amdgcn_ballot_w32(x > y) + (u32)__builtin_amdgcn_read_exec_lo())
U(lane, (u32)__builtin_amdgcn_readlane((i32)x, 5) + (u32)__builtin_amdgcn_readfirstlane((i32)y) * s)
U(permute, (u32)__builtin_amdgcn_ds_bpermute((i32)(x * 4), (i32)y) + (u32)__builtin_amdgcn_ds_permute((i32)x, (i32)z))
U(swizzle, (u32)__builtin_amdgcn_ds_swizzle((i32)x, 0x401F) + (u32)__builtin_amdgcn_ds_swizzle((i32)y, 0x80B1))
U(swizzle2, (u32)__builtin_amdgcn_ds_swizzle((i32)x, 0x001F) + (u32)__builtin_amdgcn_ds_swizzle((i32)y, 0x0810))
U(row16, __builtin_amdgcn_permlane16(x, y, 0x76543210, 0xFEDCBA98, 0, 0) + __builtin_amdgcn_permlanex16(y, z, s, s, 1, 1))
U(lanes64, __builtin_amdgcn_permlane64(x))
U(clamped, __builtin_elementwise_add_sat(x, y) + __builtin_elementwise_sub_sat(y, z))
U(min3, x < y ? (x < z ? x : z) : (y < z ? y : z))
U(mode, (u32)__builtin_amdgcn_s_getreg(2177) + x)
U(slow, (__builtin_amdgcn_s_sleep(3), __builtin_amdgcn_s_setprio(1), x))
U(pack, (u32)__builtin_bit_cast(u32, __builtin_amdgcn_cvt_pkrtz(__builtin_bit_cast(f32, x), __builtin_bit_cast(f32, y))))
U(pknorm, (u32)__builtin_bit_cast(u32, __builtin_amdgcn_cvt_pknorm_i16(__builtin_bit_cast(f32, x), __builtin_bit_cast(f32, y))))
U(pki16, (u32)__builtin_bit_cast(u32, __builtin_amdgcn_cvt_pk_i16((i32)x, (i32)y)) + __builtin_bit_cast(u32, __builtin_amdgcn_cvt_pk_u16(x, z)))
U(pku8, __builtin_amdgcn_cvt_pk_u8_f32(__builtin_bit_cast(f32, x), 2, y))
U(quadsad, (u32)__builtin_amdgcn_qsad_pk_u16_u8((u64)x << 32 | y, z, (u64)y))
