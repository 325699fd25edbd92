// What generated kernels call by names of their own, for this machine: groups and threads one after another.
#define TINYC_GLOBAL
#define TINYC_KERNEL(name, threads) static void name
#define TINYC_SHARED(type, name, count) static type name[count]
static int tinyc_group, tinyc_thread;
static void tinyc_barrier(void);
#define TINYC_GROUP() tinyc_group
#define TINYC_THREAD() tinyc_thread
#define TINYC_BARRIER() tinyc_barrier()
typedef _Float16 tinyc_f16x16 __attribute__((vector_size(32)));
typedef float tinyc_f32x8 __attribute__((vector_size(32)));
static tinyc_f16x16 tinyc_rows[1024], tinyc_columns[1024];
// Rows and columns of the threads of a wave; those of a thread are also those of the thread 16 after or before it.
static tinyc_f32x8 tinyc_matrix(tinyc_f16x16 a, tinyc_f16x16 b, tinyc_f32x8 sum) {
    int thread = tinyc_thread, wave = thread & ~31, lane = thread & 31;
    tinyc_rows[thread] = a;
    tinyc_columns[thread] = b;
    tinyc_barrier();
    for (int i = 0; i < 8; i++) {
        int row = 2 * i + lane / 16;
        for (int k = 0; k < 16; k++)
            sum[i] += (float)tinyc_rows[wave + row][k] * (float)tinyc_columns[wave + lane % 16][k];
    }
    tinyc_barrier();
    return sum;
}
#define TINYC_MATRIX_F16(a, b, sum) tinyc_matrix(a, b, sum)
#define TINYC_AT(type, pointer, index)           \
    (*(type TINYC_GLOBAL *)((uint8_t TINYC_GLOBAL *)(pointer) + \
                            (uint32_t)((uint32_t)(index) * (uint32_t)sizeof(type))))
#define TINYC_FMA16(a, b, c) ((_Float16)__builtin_fma((double)(a), (double)(b), (double)(c)))
#define TINYC_FMA32(a, b, c) __builtin_fmaf(a, b, c)
#define TINYC_FMA64(a, b, c) __builtin_fma(a, b, c)
