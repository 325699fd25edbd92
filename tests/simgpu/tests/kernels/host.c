// The expressions of binary.h on the host: reads a, b, c and s of type T from a file, writes the results of each.
#define HOST
#include "prelude.h"
#include <stdio.h>
typedef T *P;
#define ID local_x()
#define N 64
#define BINARY(name, expr)                                                                                             \
  static void name##_of(P a, P b, P c, T s) {                                                                          \
    i32 i = ID;                                                                                                        \
    T x = a[i], y = b[i], z = c[i];                                                                                    \
    c[i] = (T)(expr);                                                                                                  \
  }
#include "binary.h"
#undef BINARY
#define BINARY(name, expr) {#name, name##_of},
static const struct {
  const char *name;
  void (*run)(P, P, P, T);
} all[] = {
#include "binary.h"
};
#define CONVERT(U)                                                                                                     \
  static void convert_##U(P a) {                                                                                       \
    U to[N];                                                                                                           \
    T from[N];                                                                                                         \
    for (i32 i = 0; i < N; i++) to[i] = (U)a[i], from[i] = (T)to[i];                                                   \
    printf("%s", "to_" #U), putchar(0), fwrite(to, sizeof(U), N, stdout);                                              \
    printf("%s", "from_" #U), putchar(0), fwrite(from, sizeof(T), N, stdout);                                          \
  }
#include "types.h"
#undef CONVERT
#define CONVERT(U) convert_##U(a);
int main(void) {
  static T a[N], b[N], c[N], d[N], s;
  if (fread(a, sizeof(T), N, stdin) + fread(b, sizeof(T), N, stdin) + fread(c, sizeof(T), N, stdin) != 3 * N) return 1;
  if (fread(&s, sizeof(T), 1, stdin) != 1) return 1;
  for (u64 k = 0; k < sizeof(all) / sizeof(*all); k++) {
    for (i32 i = 0; i < N; i++) d[i] = c[i];
    for (id = 0; id < N; id++) all[k].run(a, b, d, s);
    printf("%s", all[k].name), putchar(0), fwrite(d, sizeof(T), N, stdout);
  }
#include "types.h"
  return 0;
}
