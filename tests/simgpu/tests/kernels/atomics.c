// Atomic operations in global and local memory, fences of all scopes, memory without address space.
#include "prelude.h"
#define ID (group_x() * 64 + local_x())
#define ALL(t, space, where)                                                                                           \
  KERNEL void t##_##where##_add(space t *p, GLOBAL t *o, t v) { o[ID] = __atomic_fetch_add(p + (ID & 7), v, __ATOMIC_RELAXED); } \
  KERNEL void t##_##where##_sub(space t *p, GLOBAL t *o, t v) { o[ID] = __atomic_fetch_sub(p + ID, v, __ATOMIC_ACQ_REL); } \
  KERNEL void t##_##where##_and(space t *p, GLOBAL t *o, t v) { __atomic_fetch_and(p + ID, v, __ATOMIC_RELAXED); }     \
  KERNEL void t##_##where##_or(space t *p, GLOBAL t *o, t v) { __atomic_fetch_or(p + 3, v + local_x(), __ATOMIC_SEQ_CST); } \
  KERNEL void t##_##where##_xor(space t *p, GLOBAL t *o, t v) { o[ID] = __atomic_fetch_xor(p + ID, v, __ATOMIC_RELAXED); } \
  KERNEL void t##_##where##_min(space t *p, GLOBAL t *o, t v) { o[ID] = __atomic_fetch_min(p + ID, v, __ATOMIC_RELAXED); } \
  KERNEL void t##_##where##_max(space t *p, GLOBAL t *o, t v) { __atomic_fetch_max(p + ID, v, __ATOMIC_RELEASE); }     \
  KERNEL void t##_##where##_swap(space t *p, GLOBAL t *o, t v) { o[ID] = __atomic_exchange_n(p + ID, v, __ATOMIC_RELAXED); } \
  KERNEL void t##_##where##_cas(space t *p, GLOBAL t *o, t v) {                                                        \
    t e = o[ID];                                                                                                       \
    __atomic_compare_exchange_n(p + ID, &e, v, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);                                 \
    o[ID] = e;                                                                                                         \
  }                                                                                                                    \
  KERNEL void t##_##where##_load(space t *p, GLOBAL t *o, t v) {                                                       \
    o[ID] = __atomic_load_n(p + ID, __ATOMIC_ACQUIRE);                                                                 \
    __atomic_store_n(p + ID + 64, v, __ATOMIC_RELEASE);                                                                \
  }
#define EACH(t) ALL(t, GLOBAL, global) ALL(t, LDS, lds) ALL(t, , flat)
EACH(i32)
EACH(u32)
EACH(i64)
EACH(u64)
KERNEL void fadd(GLOBAL f32 *p, GLOBAL f32 *o) { o[ID] = __builtin_amdgcn_global_atomic_fadd_f32(p + (ID & 3), 1.5f); }
KERNEL void fadd_lds(LDS f32 *p, GLOBAL f32 *o) { o[ID] = __builtin_amdgcn_ds_faddf(p + (ID & 3), 1.5f, __ATOMIC_RELAXED, __ATOMIC_RELAXED, 0); }
KERNEL void fminmax(GLOBAL f32 *p, GLOBAL f64 *q) {
  __atomic_fetch_add(p, 2.0f, __ATOMIC_RELAXED);
  __atomic_fetch_add(q, 2.0, __ATOMIC_RELAXED);
}
KERNEL void wrap(GLOBAL u32 *p, LDS u32 *q) {
  p[ID] = __builtin_amdgcn_atomic_inc32(p, 100, __ATOMIC_SEQ_CST, "agent") + __builtin_amdgcn_atomic_dec32(q, 9, __ATOMIC_SEQ_CST, "workgroup");
}
KERNEL void fences(GLOBAL i32 *p) {
  p[ID] = 1;
  __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, "");
  p[ID + 1] = 2;
  __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "agent");
  p[ID + 2] = 3;
  __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "workgroup");
  p[ID + 3] = p[ID + 64];
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}
KERNEL void flat(char *a, short *b, int *c, long *d, i4 *e) {
  i32 i = ID;
  a[i] += a[i + 1];
  b[i] += b[i + 1];
  c[i] += c[i + 1];
  d[i] += d[i + 1];
  e[i] += e[i + 1];
}
KERNEL void narrow(GLOBAL u8 *a, GLOBAL i8 *b, GLOBAL u16 *c, GLOBAL h2 *d, GLOBAL w2 *e) {
  i32 i = ID;
  e[i] = (w2){a[i], (u16)b[i]};
  d[i].y = d[i + 1].x;
  c[i] = e[i + 64].y;
  a[i + 2] = (u8)(e[i + 65].y);
}
KERNEL void volatile_memory(GLOBAL volatile i32 *p, LDS volatile i32 *q, volatile i32 *r) {
  p[ID] = q[ID] + r[ID];
  q[ID] = p[ID + 1];
  r[ID + 2] = 1;
}
KERNEL void nontemporal(GLOBAL f4 *p, GLOBAL f4 *q) { __builtin_nontemporal_store(__builtin_nontemporal_load(p + ID), q + ID); }
