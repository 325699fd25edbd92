// Two models in one C++ program, both run from two threads on arenas of their own.
#include "a.h"
#include "b.h"
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>

struct Buffers {
    alignas(A_ARENA_ALIGN) unsigned char arena[A_ARENA_BYTES];
    float x[A_INPUT_X_0_ELEMENTS], y[A_OUTPUT_Y_ELEMENTS], sum;
};

static int work(int seed)
{
    auto a = std::make_unique<Buffers>(), b = std::make_unique<Buffers>();
    for (int i = 0; i < A_INPUT_X_0_ELEMENTS; i++)
        a->x[i] = b->x[i] = float((i + seed) % 7);
    for (int n = 0; n < 2000; n++) {
        a_inputs ai = { a->x };
        a_outputs ao = { a->y, &a->sum };
        b_inputs bi = { b->x };
        b_outputs bo = { b->y, &b->sum };
        if (a_run(&ai, &ao, a->arena, nullptr) != A_OK || b_run(&bi, &bo, b->arena, nullptr) != B_OK)
            return 1;
        if (std::memcmp(a->y, b->y, sizeof a->y) != 0 || a->sum != b->sum)
            return 2;
    }
    return 0;
}

int main()
{
    int r1 = -1, r2 = -1;
    std::thread t1([&] { r1 = work(1); }), t2([&] { r2 = work(2); });
    t1.join();
    t2.join();
    std::printf("%d %d\n", r1, r2);
    return r1 | r2;
}
