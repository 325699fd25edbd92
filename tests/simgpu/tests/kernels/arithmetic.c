// Every operator on every type: -DT=i32 and so on. Floats have no bit operations: -DFLOAT.
#include "prelude.h"
typedef T GLOBAL *P;
#define ID (group_x() * 64 + local_x())
#define BINARY(name, expr)                                                                                             \
  KERNEL void name(P a, P b, P c, T s) {                                                                               \
    i32 i = ID;                                                                                                        \
    T x = a[i], y = b[i], z = c[i];                                                                                    \
    c[i] = (T)(expr);                                                                                                  \
  }
BINARY(add, x + y)
BINARY(sub, x - y)
BINARY(mul, x * y)
BINARY(multiply_add, x * y + z)
BINARY(scalar, (x + s) * (s - y))
BINARY(divide, x / y)
BINARY(square, x * x - y * y + 3)
BINARY(smaller, x < y ? x : y)
BINARY(larger, x > y ? x : z)
BINARY(equal, (x == y) + (x != z) * 2 + (x <= s) * 4 + (y >= z) * 8)
BINARY(logic, (x > y && y > z) || z < 0)
BINARY(negative, -x + 1)
BINARY(constant, x * (T)0.5 + (T)100 - y * (T)3)
BINARY(median, x < y ? (y < z ? y : (x < z ? z : x)) : (x < z ? x : (y < z ? z : y)))
#ifndef FLOAT
BINARY(rest, x % y)
BINARY(bits, (x & y) | (~x & z))
BINARY(xor3, x ^ y ^ z)
BINARY(left, x << (y & 7))
BINARY(right, x >> (y & 7))
BINARY(shift_add, (x << 3) + y)
BINARY(add_shift, (x + y) << 2)
BINARY(or_shift, (x << 4) | y)
BINARY(bitfield, (x >> 5) & 15)
BINARY(by_constant, x / 7 + y % 10)
BINARY(count, __builtin_popcountl((u64)x) + __builtin_ctzl((u64)y | 1) + __builtin_clzl((u64)z | 1))
BINARY(swapped, __builtin_bswap32((u32)x) + __builtin_bitreverse32((u32)y))
BINARY(rotated, __builtin_rotateleft32((u32)x, (u32)y))
#endif
#define CONVERT(U)                                                                                                     \
  KERNEL void to_##U(P a, GLOBAL U *c) { c[ID] = (U)a[ID]; }                                                           \
  KERNEL void from_##U(GLOBAL U *a, P c) { c[ID] = (T)a[ID]; }                                                         \
  KERNEL void mixed_##U(GLOBAL U *a, P b, P c) { c[ID] = (T)(a[ID] * b[ID] + (T)1); }
CONVERT(i8)
CONVERT(u8)
CONVERT(i16)
CONVERT(u16)
CONVERT(i32)
CONVERT(u32)
CONVERT(i64)
CONVERT(u64)
CONVERT(f16)
CONVERT(f32)
CONVERT(f64)
KERNEL void sum(P a, P c, i32 n) {
  T s = 0;
  for (i32 i = 0; i < n; i++) s += a[ID * n + i];
  c[ID] = s;
}
KERNEL void dot(P a, P b, P c, i32 n) {
  T s = 0;
  for (i32 i = 0; i < n; i++) s += a[i * 64 + local_x()] * b[i];
  c[ID] = s;
}
KERNEL void until(P a, P c, i32 n) {
  i32 i = ID, k = 0;
  while (a[i] > 0 && k < n) {
    if (a[i] > 10) { k += 2; continue; }
    if (a[i] > 5) break;
    i = (i * 5 + 1) & 1023;
    k++;
  }
  c[ID] = (T)k;
}
KERNEL void choose(P a, P c, i32 n) {
  T x = a[ID];
  switch (n + (i32)x) {
  case 0: x = x + 1; break;
  case 1: x = x * 3; break;
  case 2: x = x - c[ID + 64]; break;
  case 5: x = 7; break;
  case 9: c[ID + 128] = x; break;
  default: x = -x;
  }
  c[ID] = x;
}
KERNEL void stack(P a, P c, i32 n) {
  T t[16];
  for (i32 i = 0; i < 16; i++) t[i] = a[i + n];
  for (i32 i = 0; i < n; i++) t[(i * 7 + local_x()) & 15] += t[i & 15];
  c[ID] = t[n & 15];
}
__attribute__((noinline)) static T called(T x, T y, i32 n) { return n > 3 ? (T)(x * y) : (T)(x - y); }
KERNEL void calls(P a, P c, i32 n) { c[ID] = called(a[ID], called(c[ID], (T)n, n), n - 1); }
SHARED T tile[1024];
KERNEL void transpose(P a, P c) {
  i32 x = local_x() & 15, y = local_x() >> 4;
  tile[x * 17 + y] = a[ID];
  barrier();
  c[ID] = tile[y * 17 + x] + tile[x + 512];
}
#define WIDE(N)                                                                                                        \
  typedef T v##N __attribute__((ext_vector_type(N)));                                                                  \
  SHARED v##N wide_tile##N[64];                                                                                        \
  KERNEL void wide##N(GLOBAL v##N *a, GLOBAL v##N *b, GLOBAL v##N *c) {                                                \
    wide_tile##N[local_x()] = a[ID] + b[ID];                                                                           \
    barrier();                                                                                                         \
    c[ID] = wide_tile##N[63 - local_x()] * a[ID];                                                                      \
  }
WIDE(2)
WIDE(3)
WIDE(4)
WIDE(8)
