/* Runs the hand-made model m and prints its outputs; also checks every error code. */
#include "m.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef THREADS
#define THREADS 0
#endif

static _Alignas(M_ARENA_ALIGN) unsigned char arena[M_IO_ARENA_BYTES];

int main(int argc, char **argv)
{
    float x[M_INPUT_X_0_ELEMENTS], y[M_OUTPUT_Y_ELEMENTS], sum[1];
    for (int i = 0; i < M_INPUT_X_0_ELEMENTS; i++)
        x[i] = (float)(i % 7) * 0.5f - 1.0f;
    m_inputs in = { x };
    m_outputs out = { y, sum };
    m_pool *pool = NULL;
#if THREADS
    pool = m_pool_create(THREADS);
    if (pool == NULL)
        return 2;
#endif
    memset(arena, 0xff, sizeof arena);
    if (m_check_cpu() == M_ERROR_CPU)
        return m_run(&in, &out, arena, pool) == M_ERROR_CPU ? 40 : 3;
    if (m_abi_version() != M_ABI_VERSION || m_check_cpu() != M_OK)
        return 3;
    int code = M_OK;
    for (int n = argc > 1 ? atoi(argv[1]) : 1; n > 0 && code == M_OK; n--)
        code = m_run(&in, &out, arena, pool);
    if (code != M_OK) {
        printf("%s\n", m_error(code));
        return 1;
    }
    for (int i = 0; i < M_OUTPUT_Y_ELEMENTS; i++)
        printf("%a\n", (double)y[i]);
    printf("%a\n", (double)sum[0]);
    if (m_run(NULL, &out, arena, pool) != M_ERROR_NULL) return 4;
    if (m_run(&in, &out, NULL, pool) != M_ERROR_NULL) return 5;
    if (m_run(&in, &out, arena + 4, pool) != M_ERROR_ALIGN) return 6;
    m_outputs holes = { y, NULL };
    if (m_run(&in, &holes, arena, pool) != M_ERROR_NULL) return 7;
    memcpy(arena + M_INPUT_X_0_OFFSET, x, sizeof x);
    if (m_run_in_arena(arena, pool) != M_OK) return 8;
    if (memcmp(arena + M_OUTPUT_Y_OFFSET, y, sizeof y) != 0) return 9;
    const m_info *info = m_model_info();
    if (info->input_count != 1 || strcmp(info->inputs[0].name, "x:0") != 0) return 10;
    if (info->outputs[0].dims[1] != M_OUTPUT_Y_DIM1 || info->outputs[1].rank != 0) return 11;
#if THREADS
    m_pool_destroy(pool);
#endif
    return 0;
}
