/* Opens the model of the file named by the first argument, on the real kernel, twice; prints code and text of each. */
#include "tinyc_amd.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    static unsigned char bytes[1 << 20];
    uint64_t size = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    tinyc_amd *contexts[2];
    for (int i = 0; i < 2; i++) {
        int32_t code = tinyc_amd_open(bytes, size, NULL, &contexts[i]);
        uint64_t ticket = 0, length = 0;
        printf("%d %s\n", (int)code, tinyc_amd_error(contexts[i]));
        if (code == 0) {
            tinyc_amd_register(contexts[i], bytes, 4096);
            tinyc_amd_bind(contexts[i], 0, NULL);
            tinyc_amd_unregister(contexts[i], bytes);
            tinyc_amd_input(contexts[i], 0, &length);
            tinyc_amd_output(contexts[i], 0, &length);
        } else if (tinyc_amd_submit(contexts[i], &ticket) == 0 || tinyc_amd_wait(contexts[i], ticket, 1) == 0 ||
                   tinyc_amd_run(contexts[i]) == 0) {
            return 1;
        }
    }
    for (int i = 0; i < 2; i++)
        tinyc_amd_close(contexts[i]);
    printf("%zu\n", sizeof(tinyc_io));
    return 0;
}
