// Small whole kernels, as networks have them: sums, products of matrices, histograms, softmax.
#include "prelude.h"
KERNEL void vector_add(GLOBAL const f32 *a, GLOBAL const f32 *b, GLOBAL f32 *c, i32 n) {
  i32 i = group_x() * 256 + local_x();
  if (i < n) c[i] = a[i] + b[i];
}
SHARED f32 partial[256];
KERNEL void reduce(GLOBAL const f32 *a, GLOBAL f32 *c) {
  i32 t = local_x();
  partial[t] = a[group_x() * 256 + t];
  for (i32 s = 128; s > 0; s >>= 1) {
    barrier();
    if (t < s) partial[t] += partial[t + s];
  }
  if (t == 0) c[group_x()] = partial[0];
}
// The same without barriers: wrong as soon as waves do not run in step.
KERNEL void racing_reduce(GLOBAL const f32 *a, GLOBAL f32 *c) {
  volatile LDS f32 *p = partial;
  i32 t = local_x();
  p[t] = a[group_x() * 256 + t];
  for (i32 s = 128; s > 0; s >>= 1)
    if (t < s) p[t] += p[t + s];
  if (t == 0) c[group_x()] = p[0];
}
SHARED f32 tile_a[16 * 17], tile_b[16 * 17];
// c = a * b, n a multiple of 16, work-groups of 16 by 16.
KERNEL void matmul(GLOBAL const f32 *a, GLOBAL const f32 *b, GLOBAL f32 *c, i32 n) {
  i32 x = local_x(), y = local_y(), row = group_y() * 16 + y, column = group_x() * 16 + x;
  f32 s = 0;
  for (i32 k = 0; k < n; k += 16) {
    tile_a[y * 17 + x] = a[row * n + k + x];
    tile_b[y * 17 + x] = b[(k + y) * n + column];
    barrier();
    for (i32 j = 0; j < 16; j++) s = __builtin_fmaf(tile_a[y * 17 + j], tile_b[j * 17 + x], s);
    barrier();
  }
  c[row * n + column] = s;
}
// Registers only: 4 rows by 4 columns of each lane, n a multiple of 128, work-groups of 32 lanes.
KERNEL void matmul_wide(GLOBAL const f32 *a, GLOBAL const f4 *b, GLOBAL f4 *c, i32 n) {
  i32 column = group_x() * 32 + local_x(), row = group_y() * 4, w = n / 4;
  f4 s[4] = {0, 0, 0, 0};
  for (i32 k = 0; k < n; k++) {
    f4 v = b[k * w + column];
    for (i32 r = 0; r < 4; r++) s[r] = __builtin_elementwise_fma((f4)a[(row + r) * n + k], v, s[r]);
  }
  for (i32 r = 0; r < 4; r++) c[(row + r) * w + column] = s[r];
}
// Waves hand values to each other through global memory.
KERNEL void exchange(GLOBAL u32 *a, GLOBAL u32 *c) {
  i32 t = local_x();
  a[t] = t * 3;
  barrier();
  c[t] = a[255 - t];
}
KERNEL void histogram(GLOBAL const u32 *a, GLOBAL u32 *bins, i32 n) {
  for (i32 i = group_x() * 64 + local_x(); i < n; i += 64 * 8) __atomic_fetch_add(bins + (a[i] & 63), 1, __ATOMIC_RELAXED);
}
SHARED u32 local_bins[64];
KERNEL void histogram_local(GLOBAL const u32 *a, GLOBAL u32 *bins, i32 n) {
  if (local_x() < 64) local_bins[local_x()] = 0;
  barrier();
  for (i32 i = local_x(); i < n; i += 128) __atomic_fetch_add(local_bins + (a[i] & 63), 1, __ATOMIC_RELAXED);
  barrier();
  if (local_x() < 64) bins[local_x()] = local_bins[local_x()];
}
KERNEL void float_sum(GLOBAL const f32 *a, GLOBAL f32 *c) { __atomic_fetch_add(c, a[group_x() * 64 + local_x()], __ATOMIC_RELAXED); }
// Exponential and logarithm by polynomials, without the instructions for them.
INLINE f32 exponential(f32 x) {
  x = __builtin_fminf(__builtin_fmaxf(x, -87.0f), 88.0f);
  f32 n = __builtin_rintf(x * 1.44269504f), r = __builtin_fmaf(n, -0.693145752f, x);
  r = __builtin_fmaf(n, -1.42860677e-6f, r);
  f32 p = 1.3888889e-3f;
  p = __builtin_fmaf(p, r, 8.3333333e-3f), p = __builtin_fmaf(p, r, 4.1666667e-2f), p = __builtin_fmaf(p, r, 0.16666667f);
  p = __builtin_fmaf(p, r, 0.5f), p = __builtin_fmaf(p, r, 1.0f), p = __builtin_fmaf(p, r, 1.0f);
  return __builtin_ldexpf(p, (i32)n);
}
INLINE f32 logarithm(f32 x) {
  i32 e = __builtin_amdgcn_frexp_expf(x);
  f32 m = __builtin_amdgcn_frexp_mantf(x);
  if (m < 0.70710678f) m *= 2, e--;
  f32 t = (m - 1) / (m + 1), u = t * t, p = 0.11111111f;
  p = __builtin_fmaf(p, u, 0.14285714f), p = __builtin_fmaf(p, u, 0.2f), p = __builtin_fmaf(p, u, 0.33333333f), p = __builtin_fmaf(p, u, 1.0f);
  return __builtin_fmaf((f32)e, 0.69314718f, 2 * t * p);
}
KERNEL void exp_log(GLOBAL const f32 *a, GLOBAL f32 *b, GLOBAL f32 *c) {
  i32 i = group_x() * 64 + local_x();
  b[i] = exponential(a[i]);
  c[i] = logarithm(__builtin_fabsf(a[i]) + 0.001f);
}
// A row of 128 for each work-group of one wave: lanes meet by permutations.
KERNEL void softmax(GLOBAL const f4 *a, GLOBAL f4 *c) {
  i32 t = local_x();
  f4 v = a[group_x() * 32 + t];
  f32 m = __builtin_fmaxf(__builtin_fmaxf(v.x, v.y), __builtin_fmaxf(v.z, v.w));
  for (i32 s = 16; s > 0; s >>= 1)
    m = __builtin_fmaxf(m, __builtin_bit_cast(f32, __builtin_amdgcn_ds_bpermute((t ^ s) * 4, __builtin_bit_cast(i32, m))));
  f4 e = {exponential(v.x - m), exponential(v.y - m), exponential(v.z - m), exponential(v.w - m)};
  f32 sum = e.x + e.y + e.z + e.w;
  for (i32 s = 16; s > 0; s >>= 1)
    sum += __builtin_bit_cast(f32, __builtin_amdgcn_ds_bpermute((t ^ s) * 4, __builtin_bit_cast(i32, sum)));
  c[group_x() * 32 + t] = e / sum;
}
// c = a * b for 16 rows and columns of each wave: a by rows, b by columns, both of half floats; c by rows.
KERNEL void wmma(GLOBAL const f16 *a, GLOBAL const f16 *b, GLOBAL f32 *c, i32 n) {
  i32 lane = local_x(), l = lane & 15, row = group_y() * 16, column = group_x() * 16;
  f8 s = 0;
  for (i32 k = 0; k < n; k += 16)
    s = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(*(GLOBAL h16 *)(a + (row + l) * n + k), *(GLOBAL h16 *)(b + (column + l) * n + k), s);
  for (i32 r = 0; r < 8; r++) c[(row + 2 * r + (lane >> 4)) * n + column + l] = s[r];
}
KERNEL void out_of_bounds(GLOBAL f32 *a, i32 n) { a[n + local_x()] = 1; }
KERNEL void out_of_local(GLOBAL f32 *a, i32 n) { partial[n + local_x()] = a[0], barrier(), a[1] = partial[n]; }
KERNEL void endless(GLOBAL volatile i32 *a) { while (a[0] == 0) {} }
