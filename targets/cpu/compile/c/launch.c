/* Runs the program once on `team`, or on the calling thread alone. Follows replay.c. */

struct tinyc_run {
    uint8_t *const *bases;
    struct tinyc_team *team;
};

static void worker_main(void *context, int64_t worker, int64_t workers)
{
    const struct tinyc_run *run = context;
    TINYC(replay)(run->bases, worker, workers, run->team->barrier, run->team);
}

int TINYC(launch)(uint8_t *const *bases, struct tinyc_team *team)
{
    if (team == NULL) {
        TINYC(replay)(bases, 0, 1, NULL, NULL);
        return 0;
    }
    struct tinyc_run run = { bases, team };
    return team->run(team, worker_main, &run);
}
