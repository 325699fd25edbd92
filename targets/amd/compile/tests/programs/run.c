/* Opens, runs and closes a model on whatever GPU there is; prints the code and what it means. */
#include "digits.h"
#include "tinyc_amd.h"
#include <stdio.h>
#include <string.h>

int main(void)
{
    digits_context *context = NULL;
    if (digits_abi_version() != DIGITS_ABI_VERSION)
        return 1;
    int code = digits_open(&context);
    printf("%d %s\n", code, digits_error(context));
    if (code == DIGITS_OK) {
        uint64_t ticket;
        memset(digits_input_image(context), 0, DIGITS_INPUT_IMAGE_BYTES);
        code = digits_submit(context, &ticket);
        if (code == DIGITS_OK)
            code = digits_wait(context, ticket, 10000);
        printf("%d %f\n", code, (double)digits_output_scores(context)[0]);
    }
    digits_close(context);
    return 0;
}
