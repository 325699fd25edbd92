/* Walks the launch table. The generated tables come before this text: TINYC(x) prefixes a symbol
 * with the model's name, and kernels, steps, args and places describe the program. */

/* True for a launch of a branch that this run does not take. */
static int is_left_out(const struct tinyc_step *step, uint8_t *const *bases)
{
    if (!(step->flags & TINYC_CONDITIONAL))
        return 0;
    const struct tinyc_place *choice = &places[step->flags >> TINYC_CHOICE_SHIFT];
    return (bases[choice->base][choice->offset] != 0) != ((step->flags & TINYC_WANTED) != 0);
}

void TINYC(replay)(uint8_t *const *bases, int64_t worker, int64_t workers,
                   void (*barrier)(void *), void *team)
{
    uint8_t *args[TINYC_MAX_ARGS];
    for (uint32_t s = 0; s < TINYC_STEPS; s++) {
        const struct tinyc_step *step = &steps[s];
        if ((worker == 0 || (step->flags & TINYC_PARALLEL)) && !is_left_out(step, bases)) {
            for (uint32_t a = 0; a < step->count; a++) {
                const struct tinyc_place *place = &places[arguments[step->first + a]];
                args[a] = bases[place->base] + place->offset;
            }
            kernels[step->kernel](args, worker, workers);
        }
        if (workers > 1 && (step->flags & TINYC_BARRIER))
            barrier(team);
    }
}
