/* Entry of a model that is loaded from a shared object, follows launch.c. */
TINYC_API int TINYC(load_run)(uint8_t *const *bases, struct tinyc_team *team)
{
    return TINYC(launch)(bases, team);
}
