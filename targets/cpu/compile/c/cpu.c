/* Does this processor execute the level's instructions? Compiled for the architecture's baseline,
 * like everything that runs before the answer is known. TINYC_LEVEL is 2, 3, 4 of x86-64, else 0. */

#if defined(__x86_64__)
#include <cpuid.h>

static int lacks(uint32_t have, uint32_t need)
{
    return (have & need) != need;
}

/* Nonzero when an instruction set is missing. Bits: Intel SDM volume 2, CPUID. */
int TINYC(cpu_lacks)(void)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 1;
    /* SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT */
    if (lacks(c, 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23))
        return 1;
#if TINYC_LEVEL >= 3
    /* FMA, MOVBE, OSXSAVE, AVX, F16C */
    if (lacks(c, 1u << 12 | 1u << 22 | 1u << 27 | 1u << 28 | 1u << 29))
        return 1;
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    /* The system saves SSE and AVX state; for level 4 also masks and 512-bit registers. */
    if (lacks(low, TINYC_LEVEL >= 4 ? 0xe6u : 0x06u))
        return 1;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 1;
    /* BMI1, AVX2, BMI2 */
    if (lacks(b, 1u << 3 | 1u << 5 | 1u << 8))
        return 1;
#if TINYC_LEVEL >= 4
    /* AVX-512 F, DQ, CD, BW, VL */
    if (lacks(b, 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31))
        return 1;
#endif
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d))
        return 1;
    /* LZCNT */
    if (lacks(c, 1u << 5))
        return 1;
#endif
    return 0;
}
#else
/* Advanced SIMD is part of every AArch64 processor that runs Linux. */
int TINYC(cpu_lacks)(void)
{
    return 0;
}
#endif
