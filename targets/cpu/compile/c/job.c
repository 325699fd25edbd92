/* Times the forms of one kernel against the first of them and prints one line of JSON. Follows tables:
 * FORMS, OPERANDS, SWEEP, head, about, operands, bytes, forms, copies. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TURNS = 41, FIRST = 5, MOST = 9 };

static uint64_t state = 1;

static uint64_t bits(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Sizes of elements by type: 'b' Bool, 'i' and 'u' integers, 'f' floats, 'g' bfloat16. */
static void fill(uint8_t *to, const struct operand *o)
{
    for (uint64_t i = 0; i < o->elements; i++, to += o->size) {
        uint64_t r = bits();
        double d = (double)(int64_t)r / 9223372036854775808.0;
        float f = (float)d;
        uint16_t half = (uint16_t)((r >> 48) & 0x8000u);
        if (o->type == 'f' && o->size == 4)
            memcpy(to, &f, 4);
        else if (o->type == 'f' && o->size == 8)
            memcpy(to, &d, 8);
        else if (o->type == 'f')
            half |= (uint16_t)(0x3800u | (r & 0x3ffu)), memcpy(to, &half, 2);
        else if (o->type == 'g')
            half |= (uint16_t)(0x3f00u | (r & 0x7fu)), memcpy(to, &half, 2);
        else
            r >>= 63, memcpy(to, &r, o->size); /* 0 or 1: a valid flag, index or level anywhere */
    }
}

static double value(const uint8_t *from, const struct operand *o)
{
    uint64_t wide = 0;
    double d;
    float f;
    memcpy(&wide, from, o->size);
    if (o->type == 'f' && o->size == 8)
        return memcpy(&d, &wide, 8), d;
    if (o->type == 'f' && o->size == 4)
        return memcpy(&f, &wide, 4), f;
    if (o->type == 'g') {
        uint32_t up = (uint32_t)wide << 16;
        return memcpy(&f, &up, 4), f;
    }
    if (o->type == 'f') {
        int exponent = (int)(wide >> 10 & 31), fraction = (int)(wide & 1023);
        double m = exponent == 31 ? (fraction ? NAN : INFINITY)
                   : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                  : ldexp(fraction, -24);
        return wide >> 15 ? -m : m;
    }
    if (o->type == 'i') {
        unsigned up = 64 - 8 * o->size;
        return (double)((int64_t)(wide << up) >> up);
    }
    return (double)wide;
}

static double limit(const struct operand *o)
{
    if (o->type == 'g')
        return 2e-2;
    if (o->type != 'f')
        return 0;
    return o->size == 2 ? 2e-3 : o->size == 4 ? 2e-6 : 1e-12;
}

/* Why two results of one operand differ, or null. */
static const char *differs(const uint8_t *a, const uint8_t *b, const struct operand *o)
{
    static char text[128];
    double sum = 0, off = 0, most = 0, worst = 0;
    for (uint64_t i = 0; i < o->elements; i++) {
        double x = value(a + i * o->size, o), y = value(b + i * o->size, o);
        double d = x == y || (isnan(x) && isnan(y)) ? 0 : x - y;
        if (isfinite(x)) {
            sum += x * x;
            most = fmax(most, fabs(x));
        }
        off += d * d;
        worst = isnan(d) ? INFINITY : fmax(worst, fabs(d));
    }
    double norm = sqrt(off / (sum > 0 ? sum : 1e-300));
    if (!isnan(off) && !(off > 0 && norm > limit(o)) && worst <= 20 * limit(o) * most)
        return 0;
    snprintf(text, sizeof text, "its output differs: relative norm %.1e, largest difference %.1e of %.1e", norm,
             worst, most);
    return text;
}

static uint8_t *room(uint64_t size)
{
    uint8_t *p = aligned_alloc(4096, (size + 8191) / 4096 * 4096);
    if (!p) {
        fprintf(stderr, "no memory for %llu bytes\n", (unsigned long long)size);
        exit(5);
    }
    memset(p, 0, (size + 8191) / 4096 * 4096);
    return p;
}

static volatile uint64_t sink;

static void touch(const uint8_t *p, uint64_t size)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i + 8 <= size; i += 64) {
        uint64_t one;
        memcpy(&one, p + i, 8);
        sum += one;
    }
    sink += sum;
}

static uint8_t *swept, *plain[OPERANDS], *args[FORMS][OPERANDS];

static double once(int form)
{
    struct timespec a, b;
    touch(swept, SWEEP);
    for (int o = 0; o < OPERANDS; o++)
        if (operands[o].warm && SWEEP)
            touch(args[form][o], bytes[form][o]);
    clock_gettime(CLOCK_MONOTONIC, &a);
    forms[form](args[form], 0, 1);
    clock_gettime(CLOCK_MONOTONIC, &b);
    return (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
}

static int order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *list, int n)
{
    double sorted[TURNS];
    memcpy(sorted, list, (size_t)n * sizeof *list);
    qsort(sorted, (size_t)n, sizeof *sorted, order);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static int repeats = 1;

static double timed(int form)
{
    double list[TURNS];
    for (int i = 0; i < repeats; i++)
        list[i] = once(form);
    return median(list, repeats);
}

int main(void)
{
    static char failed[FORMS][128];
    static double ratios[FORMS][TURNS], seconds[TURNS];
    static int turns[FORMS];
    if (TINYC(cpu_lacks)()) {
        fprintf(stderr, "this processor lacks instructions that the kernels use\n");
        return 5;
    }
    swept = room(SWEEP);
    for (int o = 0; o < OPERANDS; o++) {
        plain[o] = room(operands[o].elements * operands[o].size);
        if (!operands[o].output)
            fill(plain[o], &operands[o]);
    }
    for (int f = 0; f < FORMS; f++) {
        for (int o = 0; o < OPERANDS; o++) {
            args[f][o] = room(bytes[f][o]);
            if (!operands[o].output) {
                uint8_t *both[] = { plain[o], args[f][o] };
                copies[f][o](both, 0, 1);
            }
        }
        once(f);
        for (int o = 0; o < OPERANDS && !failed[f][0]; o++) {
            if (!operands[o].output)
                continue;
            uint8_t *back = f ? room(operands[o].elements * operands[o].size) : plain[o];
            uint8_t *both[] = { args[f][o], back };
            copies[f][o](both, 0, 1);
            const char *why = f ? differs(plain[o], back, &operands[o]) : 0;
            if (why)
                snprintf(failed[f], sizeof failed[f], "%s", why);
            if (f)
                free(back);
        }
    }
    double first = fmin(once(0), once(0));
    while (repeats < MOST && repeats * first < 100e-6)
        repeats += 2;
    for (int turn = 0; turn < TURNS; turn++) {
        /* Each is as often before the first form as after it. */
        double base = turn % 2 ? timed(0) : 0, own[FORMS];
        for (int f = 1; f < FORMS; f++) {
            int left = turns[f] >= FIRST && median(ratios[f], turns[f]) > 1.08;
            own[f] = failed[f][0] || left ? 0 : timed(f);
        }
        if (turn % 2 == 0)
            base = timed(0);
        seconds[turn] = base;
        for (int f = 1; f < FORMS; f++)
            if (own[f] > 0)
                ratios[f][turns[f]++] = own[f] / base;
    }
    printf("{%s,\"seconds\":%.9g,\"candidates\":[", head, median(seconds, TURNS));
    for (int f = 1; f < FORMS; f++) {
        printf("%s{%s,", f > 1 ? "," : "", about[f]);
        if (failed[f][0]) {
            printf("\"failed\":\"%s\"}", failed[f]);
            continue;
        }
        printf("\"ratios\":[");
        for (int t = 0; t < turns[f]; t++)
            printf("%s%.4f", t ? "," : "", ratios[f][t]);
        printf("]}");
    }
    printf("]}\n");
    return 0;
}
