// What generated kernels call by names of their own, for AMDGPU.
#define TINYC_GLOBAL __attribute__((address_space(1)))
#define TINYC_KERNEL(name, threads) __attribute__((amdgpu_kernel, visibility("default"))) void name
#define TINYC_SHARED(type, name, count) \
    static __attribute__((address_space(3), loader_uninitialized, aligned(16))) type name[count]
#define TINYC_GROUP() ((int32_t)__builtin_amdgcn_workgroup_id_x())
#define TINYC_THREAD() ((int32_t)__builtin_amdgcn_workitem_id_x())
#define TINYC_BARRIER()                                       \
    do {                                                      \
        __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup"); \
        __builtin_amdgcn_s_barrier();                         \
        __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup"); \
    } while (0)
#if defined(__gfx1100__)
#define TINYC_MATRIX_F16_16X16X16(a, b, sum) __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(a, b, sum)
#define TINYC_MATRIX_BF16_16X16X16(a, b, sum) \
    __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32((tinyc_shorts)(a), (tinyc_shorts)(b), sum)
typedef short tinyc_shorts __attribute__((vector_size(32)));
#elif defined(__gfx1201__)
#define TINYC_MATRIX_F16_16X16X16(a, b, sum) __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(a, b, sum)
#define TINYC_MATRIX_BF16_16X16X16(a, b, sum) \
    __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12((tinyc_shorts)(a), (tinyc_shorts)(b), sum)
typedef short tinyc_shorts __attribute__((vector_size(16)));
#elif defined(__gfx942__)
#define TINYC_MATRIX_F16_16X16X16(a, b, sum) __builtin_amdgcn_mfma_f32_16x16x16f16(a, b, sum, 0, 0, 0)
#define TINYC_MATRIX_BF16_16X16X16(a, b, sum) \
    __builtin_amdgcn_mfma_f32_16x16x16bf16_1k((tinyc_shorts)(a), (tinyc_shorts)(b), sum, 0, 0, 0)
#define TINYC_MATRIX_F16_32X32X8(a, b, sum) __builtin_amdgcn_mfma_f32_32x32x8f16(a, b, sum, 0, 0, 0)
#define TINYC_MATRIX_BF16_32X32X8(a, b, sum) \
    __builtin_amdgcn_mfma_f32_32x32x8bf16_1k((tinyc_shorts)(a), (tinyc_shorts)(b), sum, 0, 0, 0)
typedef short tinyc_shorts __attribute__((vector_size(8)));
#endif
#define TINYC_AT(type, pointer, index)           \
    (*(type TINYC_GLOBAL *)((uint8_t TINYC_GLOBAL *)(pointer) + \
                            (uint32_t)((uint32_t)(index) * (uint32_t)sizeof(type))))
#define TINYC_FMA16(a, b, c) __builtin_fmaf16(a, b, c)
#define TINYC_FMA32(a, b, c) __builtin_fmaf(a, b, c)
#define TINYC_FMA64(a, b, c) __builtin_fma(a, b, c)
