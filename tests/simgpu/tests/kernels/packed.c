// Two half floats or two short integers at once, dot products, matrices.
#include "prelude.h"
#define ID (group_x() * 64 + local_x())
#define V(type, name, expr)                                                                                            \
  KERNEL void type##_##name(GLOBAL type *a, GLOBAL type *b, GLOBAL type *c, GLOBAL type *d, type s) {                  \
    type x = a[ID], y = b[ID], z = c[ID];                                                                              \
    d[ID] = (type)(expr);                                                                                              \
  }
#define FLOATS(t)                                                                                                      \
  V(t, add, x + y)                                                                                                     \
  V(t, sub, x - y * s)                                                                                                 \
  V(t, mul, x * y)                                                                                                     \
  V(t, fma, x * y + z)                                                                                                 \
  V(t, neg, -x * y - z)                                                                                                \
  V(t, max, __builtin_elementwise_max(x, y))                                                                           \
  V(t, min, __builtin_elementwise_min(x, z))                                                                           \
  V(t, constant, x * (f16)0.5 + (f16)3)                                                                                \
  V(t, swap, x.yx * y + z.xx)                                                                                          \
  V(t, abs, __builtin_elementwise_abs(x) + y.yy)                                                                       \
  V(t, div, x / y)
#define INTS(t)                                                                                                        \
  V(t, add, x + y)                                                                                                     \
  V(t, sub, x - s)                                                                                                     \
  V(t, mul, x * y)                                                                                                     \
  V(t, mad, x * y + z)                                                                                                 \
  V(t, shl, x << (y & 15))                                                                                             \
  V(t, shr, x >> (y & 15))                                                                                             \
  V(t, max, __builtin_elementwise_max(x, y))                                                                           \
  V(t, min, __builtin_elementwise_min(x, z))                                                                           \
  V(t, swap, x.yx + y.yx * z)                                                                                          \
  V(t, sat, __builtin_elementwise_add_sat(x, y))
FLOATS(h2)
V(h4, fma, x * y + z)
V(h8, fma, x * y - z)
INTS(s2)
INTS(w2)
KERNEL void dot2(GLOBAL h2 *a, GLOBAL h2 *b, GLOBAL f32 *c) { c[ID] = __builtin_amdgcn_fdot2(a[ID], b[ID], c[ID], 0); }
KERNEL void dot2h(GLOBAL h2 *a, GLOBAL h2 *b, GLOBAL f16 *c) { c[ID] = __builtin_amdgcn_fdot2_f16_f16(a[ID], b[ID], c[ID]); }
KERNEL void dot2b(GLOBAL s2 *a, GLOBAL s2 *b, GLOBAL f32 *c) {
  typedef __bf16 b2 __attribute__((ext_vector_type(2)));
  c[ID] = __builtin_amdgcn_fdot2_f32_bf16(__builtin_bit_cast(b2, a[ID]), __builtin_bit_cast(b2, b[ID]), c[ID], 0);
}
KERNEL void mix(GLOBAL f16 *a, GLOBAL f16 *b, GLOBAL f32 *c, GLOBAL f16 *d) {
  f32 r = (f32)a[ID] * (f32)b[ID] + c[ID];
  c[ID] = r;
  d[ID] = (f16)((f32)a[ID] * -__builtin_fabsf((f32)b[ID + 1]) + r);
}
KERNEL void mix2(GLOBAL h2 *a, GLOBAL h2 *b, GLOBAL f2 *c, GLOBAL h2 *d) {
  f2 x = __builtin_convertvector(a[ID], f2), y = __builtin_convertvector(b[ID], f2);
  d[ID] = __builtin_convertvector(x * y + c[ID], h2);
  c[ID] = x.yx * y + c[ID];
}
KERNEL void wmma_f32(GLOBAL h16 *a, GLOBAL h16 *b, GLOBAL f8 *c, i32 n) {
  f8 s = 0;
  for (i32 i = 0; i < n; i++) s = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(a[i * 32 + local_x()], b[i * 32 + local_x()], s);
  c[local_x()] = s;
}
KERNEL void wmma_bf16(GLOBAL s16 *a, GLOBAL s16 *b, GLOBAL f8 *c) {
  c[local_x()] = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(a[local_x()], b[local_x()], c[local_x()]);
}
KERNEL void wmma_f16(GLOBAL h16 *a, GLOBAL h16 *b, GLOBAL h16 *c) {
  c[local_x()] = __builtin_amdgcn_wmma_f16_16x16x16_f16_w32(a[local_x()], b[local_x()], c[local_x()], 0);
  c[local_x() + 32] = __builtin_amdgcn_wmma_f16_16x16x16_f16_w32(a[local_x()], b[local_x()], c[local_x()], 1);
}
KERNEL void wmma_bf16_bf16(GLOBAL s16 *a, GLOBAL s16 *b, GLOBAL s16 *c) {
  c[local_x()] = __builtin_amdgcn_wmma_bf16_16x16x16_bf16_w32(a[local_x()], b[local_x()], c[local_x()], 0);
}
KERNEL void wmma_i8(GLOBAL i4 *a, GLOBAL i4 *b, GLOBAL i8x *c) {
  c[local_x()] = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32(1, a[local_x()], 0, b[local_x()], c[local_x()], 1);
}
KERNEL void wmma_i4(GLOBAL i2 *a, GLOBAL i2 *b, GLOBAL i8x *c) {
  c[local_x()] = __builtin_amdgcn_wmma_i32_16x16x16_iu4_w32(0, a[local_x()], 1, b[local_x()], c[local_x()], 0);
}
