// What all kernels of this folder share: address spaces, types, the number of the lane.
#pragma once
#ifdef HOST
#define KERNEL static
#define GLOBAL
#else
#define KERNEL __attribute__((amdgpu_kernel, visibility("default")))
#define GLOBAL __attribute__((address_space(1)))
#define LDS __attribute__((address_space(3)))
#define SHARED static __attribute__((loader_uninitialized)) LDS
#endif
#define INLINE static inline __attribute__((always_inline))

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long i64;
typedef unsigned long u64;
typedef _Float16 f16;
typedef float f32;
typedef double f64;
typedef f16 h2 __attribute__((ext_vector_type(2)));
typedef f16 h4 __attribute__((ext_vector_type(4)));
typedef f16 h8 __attribute__((ext_vector_type(8)));
typedef f16 h16 __attribute__((ext_vector_type(16)));
typedef i16 s2 __attribute__((ext_vector_type(2)));
typedef i16 s16 __attribute__((ext_vector_type(16)));
typedef u16 w2 __attribute__((ext_vector_type(2)));
typedef f32 f2 __attribute__((ext_vector_type(2)));
typedef f32 f3 __attribute__((ext_vector_type(3)));
typedef f32 f4 __attribute__((ext_vector_type(4)));
typedef f32 f8 __attribute__((ext_vector_type(8)));
typedef i32 i2 __attribute__((ext_vector_type(2)));
typedef i32 i4 __attribute__((ext_vector_type(4)));
typedef i32 i8x __attribute__((ext_vector_type(8)));

#ifdef HOST
static i32 id;
INLINE i32 local_x(void) { return id; }
INLINE i32 group_x(void) { return 0; }
#else
INLINE i32 local_x(void) { return __builtin_amdgcn_workitem_id_x(); }
INLINE i32 local_y(void) { return __builtin_amdgcn_workitem_id_y(); }
INLINE i32 group_x(void) { return __builtin_amdgcn_workgroup_id_x(); }
INLINE i32 group_y(void) { return __builtin_amdgcn_workgroup_id_y(); }
INLINE i32 group_z(void) { return __builtin_amdgcn_workgroup_id_z(); }
INLINE void barrier(void) {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
#endif
