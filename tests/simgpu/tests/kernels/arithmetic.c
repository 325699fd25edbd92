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
#include "binary.h"
#define CONVERT(U)                                                                                                     \
  KERNEL void to_##U(P a, GLOBAL U *c) { c[ID] = (U)a[ID]; }                                                           \
  KERNEL void from_##U(GLOBAL U *a, P c) { c[ID] = (T)a[ID]; }                                                         \
  KERNEL void mixed_##U(GLOBAL U *a, P b, P c) { c[ID] = (T)(a[ID] * b[ID] + (T)1); }
#include "types.h"
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
