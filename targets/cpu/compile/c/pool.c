/* Thread pool: the caller's thread is worker 0, n-1 threads are the others. Waiting spins for a
 * short while (a launch takes microseconds) and then sleeps in the kernel. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define SPINS 2000

struct TINYC(pool) {
    struct tinyc_team team; /* first: the run path sees only this */
    int64_t workers;
    void (*job)(void *, int64_t, int64_t);
    void *context;
    _Atomic uint32_t busy;
    _Atomic uint32_t stop;
    _Atomic uint32_t generation; /* one more for every job */
    _Atomic uint32_t idle;       /* threads asleep on generation */
    _Atomic uint32_t arrived;
    _Atomic uint32_t phase;      /* one more for every barrier passed */
    _Atomic uint32_t waiting;    /* threads asleep on phase */
    struct TINYC(member) {
        struct TINYC(pool) *pool;
        int64_t worker;
        pthread_t thread;
    } members[];
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Returns when *word is no longer `old`. */
static void await_change(_Atomic uint32_t *word, uint32_t old, _Atomic uint32_t *sleepers)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != old)
            return;
        relax();
    }
    atomic_fetch_add(sleepers, 1);
    while (atomic_load(word) == old) {
#if defined(__linux__)
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
#else
        sched_yield();
#endif
    }
    atomic_fetch_sub(sleepers, 1);
}

static void change(_Atomic uint32_t *word, _Atomic uint32_t *sleepers)
{
    atomic_fetch_add(word, 1);
#if defined(__linux__)
    if (atomic_load(sleepers) != 0)
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
#else
    (void)sleepers;
#endif
}

static void pool_barrier(void *team)
{
    struct TINYC(pool) *pool = team;
    uint32_t phase = atomic_load(&pool->phase);
    if (atomic_fetch_add(&pool->arrived, 1) + 1 == (uint32_t)pool->workers) {
        atomic_store(&pool->arrived, 0);
        change(&pool->phase, &pool->waiting);
    } else {
        await_change(&pool->phase, phase, &pool->waiting);
    }
}

static int pool_run(struct tinyc_team *team, void (*job)(void *, int64_t, int64_t), void *context)
{
    struct TINYC(pool) *pool = (struct TINYC(pool) *)team;
    if (atomic_exchange(&pool->busy, 1))
        return 1;
    pool->job = job;
    pool->context = context;
    change(&pool->generation, &pool->idle);
    job(context, 0, pool->workers);
    pool_barrier(pool);
    atomic_store(&pool->busy, 0);
    return 0;
}

static void *member_main(void *argument)
{
    struct TINYC(member) *self = argument;
    struct TINYC(pool) *pool = self->pool;
    uint32_t seen = 0;
    for (;;) {
        await_change(&pool->generation, seen, &pool->idle);
        seen++;
        if (atomic_load(&pool->stop))
            return NULL;
        pool->job(pool->context, self->worker, pool->workers);
        pool_barrier(pool);
    }
}

static void pool_stop(struct TINYC(pool) *pool, int64_t started)
{
    atomic_store(&pool->stop, 1);
    change(&pool->generation, &pool->idle);
    for (int64_t i = 1; i < started; i++)
        pthread_join(pool->members[i].thread, NULL);
    free(pool);
}

TINYC_API struct TINYC(pool) *TINYC(pool_create)(int threads)
{
    if (threads < 1 || threads > 1024)
        return NULL;
    struct TINYC(pool) *pool = calloc(1, sizeof *pool + (size_t)threads * sizeof pool->members[0]);
    if (pool == NULL)
        return NULL;
    pool->team.run = pool_run;
    pool->team.barrier = pool_barrier;
    pool->workers = threads;
    for (int64_t i = 1; i < threads; i++) {
        pool->members[i].pool = pool;
        pool->members[i].worker = i;
        if (pthread_create(&pool->members[i].thread, NULL, member_main, &pool->members[i]) != 0) {
            pool_stop(pool, i);
            return NULL;
        }
    }
    return pool;
}

TINYC_API void TINYC(pool_destroy)(struct TINYC(pool) *pool)
{
    if (pool != NULL)
        pool_stop(pool, pool->workers);
}
