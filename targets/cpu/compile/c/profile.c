/* Times every step of the launch table on the calling thread, 0 for one that is left out; follows replay.c and loader.c. */
#include <time.h>

TINYC_API int TINYC(load_profile)(uint8_t *const *bases, uint64_t *nanoseconds)
{
    uint8_t *args[TINYC_MAX_ARGS];
    for (uint32_t s = 0; s < TINYC_STEPS; s++) {
        const struct tinyc_step *step = &steps[s];
        struct timespec start, end;
        nanoseconds[s] = 0;
        if (is_left_out(step, bases))
            continue;
        for (uint32_t a = 0; a < step->count; a++) {
            const struct tinyc_place *place = &places[arguments[step->first + a]];
            args[a] = bases[place->base] + place->offset;
        }
        if (clock_gettime(CLOCK_MONOTONIC, &start) != 0)
            return 1;
        kernels[step->kernel](args, 0, 1);
        if (clock_gettime(CLOCK_MONOTONIC, &end) != 0)
            return 1;
        nanoseconds[s] = (uint64_t)((end.tv_sec - start.tv_sec) * 1000000000ll + (end.tv_nsec - start.tv_nsec));
    }
    return 0;
}
