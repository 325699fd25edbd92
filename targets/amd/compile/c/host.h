// What generated kernels call by names of their own, for this machine: groups and threads one after another.
#define TINYC_GLOBAL
#define TINYC_KERNEL(name, threads) static void name
#define TINYC_SHARED(type, name, count) static type name[count]
static int tinyc_group, tinyc_thread;
static void tinyc_barrier(void);
#define TINYC_GROUP() tinyc_group
#define TINYC_THREAD() tinyc_thread
#define TINYC_BARRIER() tinyc_barrier()
#define TINYC_FMA16(a, b, c) ((_Float16)__builtin_fma((double)(a), (double)(b), (double)(c)))
#define TINYC_FMA32(a, b, c) __builtin_fmaf(a, b, c)
#define TINYC_FMA64(a, b, c) __builtin_fma(a, b, c)
