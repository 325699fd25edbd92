// What generated kernels call by names of their own, for this machine: groups and threads one after another.
#define TINYC_GLOBAL
#define TINYC_KERNEL(name, threads) static void name
#define TINYC_SHARED(type, name, count) static type name[count]
static int tinyc_group, tinyc_thread;
static void tinyc_barrier(void);
#define TINYC_GROUP() tinyc_group
#define TINYC_THREAD() tinyc_thread
#define TINYC_BARRIER() tinyc_barrier()
// Rows and columns that the threads of a group hold; in front stand TINYC_WAVE and, for each shape, what a thread holds.
static float tinyc_rows[1024][16], tinyc_columns[1024][16];
static float tinyc_f16(_Float16 v) { return (float)v; }
static float tinyc_bf16(uint16_t v) {
    union { uint32_t u; float f; } x = { (uint32_t)v << 16 };
    return x.f;
}
// Element `i` of what this thread holds of a sum.
static float tinyc_matrix(int i, int rows, int columns, int depth, int steps, int together) {
    int wave = tinyc_thread / TINYC_WAVE * TINYC_WAVE, lane = tinyc_thread % TINYC_WAVE;
    int row = i / together * (TINYC_WAVE / columns * together) + lane / columns * together + i % together;
    float sum = 0;
    for (int k = 0; k < depth; k++) {
        int a = wave + row + k / steps * rows, b = wave + lane % columns + k / steps * columns;
        sum += tinyc_rows[a][k % steps] * tinyc_columns[b][k % steps];
    }
    return sum;
}
#define TINYC_MATRIX(convert, rows, columns, depth, steps, together, a, b, sum)      \
    ({                                                                               \
        __typeof__(sum) s_ = sum;                                                    \
        for (int k = 0; k < steps; k++) tinyc_rows[tinyc_thread][k] = convert((a)[k]); \
        for (int k = 0; k < steps; k++) tinyc_columns[tinyc_thread][k] = convert((b)[k]); \
        tinyc_barrier();                                                             \
        for (int i = 0; i < (int)(sizeof(s_) / 4); i++)                              \
            s_[i] += tinyc_matrix(i, rows, columns, depth, steps, together);         \
        tinyc_barrier();                                                             \
        s_;                                                                          \
    })
#define TINYC_AT(type, pointer, index)           \
    (*(type TINYC_GLOBAL *)((uint8_t TINYC_GLOBAL *)(pointer) + \
                            (uint32_t)((uint32_t)(index) * (uint32_t)sizeof(type))))
#define TINYC_FMA16(a, b, c) ((_Float16)__builtin_fma((double)(a), (double)(b), (double)(c)))
#define TINYC_FMA32(a, b, c) __builtin_fmaf(a, b, c)
#define TINYC_FMA64(a, b, c) __builtin_fma(a, b, c)
