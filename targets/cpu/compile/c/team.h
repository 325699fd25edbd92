/* What the run path knows of a pool: two functions behind pointers, so that a program that never
 * creates a pool links no thread code. */
struct tinyc_team {
    /* Calls job(context, worker, workers) on every worker and returns when all are done;
     * nonzero when the pool is already running something. */
    int (*run)(struct tinyc_team *team, void (*job)(void *, int64_t, int64_t), void *context);
    /* Waits until every worker of the running job is here. */
    void (*barrier)(void *team);
};
