/* Counts events of the processor in every step of the launch table, follows profile.c. The events are those of
 * tinyc_compiler::target::EVENTS, in that order. An event that cannot be counted is UINT64_MAX everywhere. Returns 0, or the
 * error number of the first event when none can be counted. */
#if defined(__linux__) && __has_include(<linux/perf_event.h>)
#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TINYC_EVENTS 5

static int tinyc_open_event(uint32_t type, uint64_t config)
{
    struct perf_event_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.size = sizeof attr;
    attr.type = type;
    attr.config = config;
    attr.exclude_kernel = 1;
    attr.exclude_hv = 1;
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0ul);
}

TINYC_API int TINYC(load_count)(uint8_t *const *bases, uint64_t *counts)
{
    static const uint64_t l1_misses =
        PERF_COUNT_HW_CACHE_L1D | PERF_COUNT_HW_CACHE_OP_READ << 8 | PERF_COUNT_HW_CACHE_RESULT_MISS << 16;
    uint8_t *args[TINYC_MAX_ARGS];
    int events[TINYC_EVENTS], opened = 0, error = 0;
    events[0] = tinyc_open_event(PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES);
    error = events[0] < 0 ? errno : 0;
    events[1] = tinyc_open_event(PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS);
    events[2] = tinyc_open_event(PERF_TYPE_HW_CACHE, l1_misses);
    events[3] = tinyc_open_event(PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_REFERENCES);
    events[4] = tinyc_open_event(PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES);
    for (int e = 0; e < TINYC_EVENTS; e++)
        opened += events[e] >= 0;
    for (uint32_t s = 0; opened > 0 && s < TINYC_STEPS; s++) {
        const struct tinyc_step *step = &steps[s];
        uint64_t before[TINYC_EVENTS], after[TINYC_EVENTS];
        for (uint32_t a = 0; a < step->count; a++) {
            const struct tinyc_place *place = &places[arguments[step->first + a]];
            args[a] = bases[place->base] + place->offset;
        }
        for (int e = 0; e < TINYC_EVENTS; e++)
            if (events[e] < 0 || read(events[e], &before[e], 8) != 8)
                before[e] = UINT64_MAX;
        if (!is_left_out(step, bases))
            kernels[step->kernel](args, 0, 1);
        for (int e = 0; e < TINYC_EVENTS; e++) {
            int counted = events[e] >= 0 && read(events[e], &after[e], 8) == 8 && before[e] != UINT64_MAX;
            counts[s * TINYC_EVENTS + e] = counted ? after[e] - before[e] : UINT64_MAX;
        }
    }
    for (int e = 0; e < TINYC_EVENTS; e++)
        if (events[e] >= 0)
            close(events[e]);
    return opened > 0 ? 0 : error > 0 ? error : -1;
}
#else
TINYC_API int TINYC(load_count)(uint8_t *const *bases, uint64_t *counts)
{
    (void)bases;
    (void)counts;
    return -1;
}
#endif
