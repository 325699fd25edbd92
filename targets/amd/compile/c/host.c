// Runs the launches of a model on this machine. Threads of a group are fibers that take turns at barriers; groups and threads run
// forwards in one launch and backwards in the next, and memory starts with a pattern, so that code which depends on either shows.
// The tables stand in front: tinyc_calls, tinyc_waits, tinyc_grids, tinyc_launches, tinyc_args, tinyc_places, tinyc_bytes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { STACK = 256 << 10 };
static ucontext_t scheduler, fibers[1024];
static int ended[1024];
static char *stacks;
static tinyc_call *current;
static uint8_t **current_args;

static void tinyc_barrier(void) {
    int thread = tinyc_thread;
    swapcontext(&fibers[thread], &scheduler);
    tinyc_thread = thread;
}

static void enter(void) {
    int thread = tinyc_thread;
    current(current_args);
    ended[thread] = 1;
}

static void run_group(int threads, int waits, int backwards) {
    if (!waits) {
        for (int n = 0; n < threads; n++) {
            tinyc_thread = backwards ? threads - 1 - n : n;
            current(current_args);
        }
        return;
    }
    for (int n = 0; n < threads; n++) {
        getcontext(&fibers[n]);
        fibers[n].uc_stack.ss_sp = stacks + (size_t)n * STACK;
        fibers[n].uc_stack.ss_size = STACK;
        fibers[n].uc_link = &scheduler;
        makecontext(&fibers[n], enter, 0);
        ended[n] = 0;
    }
    for (int done = 0; done < threads;) {
        done = 0;
        for (int n = 0; n < threads; n++) {
            int at = backwards ? threads - 1 - n : n;
            tinyc_thread = at;
            if (!ended[at]) swapcontext(&scheduler, &fibers[at]);
            done += ended[at];
        }
        if (done != 0 && done != threads) {
            fprintf(stderr, "some threads wait at a barrier that others do not reach\n");
            exit(3);
        }
    }
}

static void file(const char *dir, int number, uint8_t *bytes, uint64_t count, const char *mode) {
    char name[4096];
    snprintf(name, sizeof name, "%s/%d", dir, number);
    FILE *f = fopen(name, mode);
    size_t done = !f ? 0 : *mode == 'r' ? fread(bytes, 1, count, f) : fwrite(bytes, 1, count, f);
    if (!f || done != count || fclose(f)) {
        fprintf(stderr, "cannot use %s\n", name);
        exit(2);
    }
}

int main(int argc, char **argv) {
    (void)argc;
    uint8_t *bases[TINYC_BASES];
    stacks = malloc((size_t)STACK * 1024);
    for (int n = 0; n < TINYC_BASES; n++) {
        bases[n] = aligned_alloc(256, (tinyc_bytes[n] + 511) / 256 * 256);
        memset(bases[n], 0xee, tinyc_bytes[n]);
        if (n > 0 && n < TINYC_FIRST_OUTPUT) file(argv[1], n, bases[n], tinyc_bytes[n], "rb");
    }
    for (int l = 0; l < TINYC_LAUNCHES; l++) {
        uint8_t *args[TINYC_MOST_ARGS];
        for (uint32_t n = 0; n < tinyc_launches[l].count; n++) {
            uint32_t buffer = tinyc_args[tinyc_launches[l].first + n];
            args[n] = bases[tinyc_places[buffer].base] + tinyc_places[buffer].offset;
        }
        uint32_t k = tinyc_launches[l].kernel;
        current = tinyc_calls[k];
        current_args = args;
        int groups = (int)tinyc_grids[k].groups;
        for (int n = 0; n < groups; n++) {
            tinyc_group = l & 1 ? groups - 1 - n : n;
            run_group((int)tinyc_grids[k].threads, tinyc_waits[k], l & 1);
        }
    }
    for (int n = TINYC_FIRST_OUTPUT; n < TINYC_BASES; n++) file(argv[1], n, bases[n], tinyc_bytes[n], "wb");
    return 0;
}
