/* Models on an AMD GPU, driven through the kernel alone: no ROCm, no HIP, no libdrm.
 *
 * Functions that return a number return 0 or a TINYC_AMD_ code; tinyc_amd_error() says more. One thread at a time uses a
 * context; several contexts may be open. After tinyc_amd_open() nothing is allocated, and a run that is done within the
 * polling time (some 50 ms) makes no system call.
 */
#ifndef TINYC_AMD_H
#define TINYC_AMD_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TINYC_AMD_ARGUMENT = 1,   /* the caller asked for what is not possible */
    TINYC_AMD_DAMAGED = 2,    /* the model is damaged */
    TINYC_AMD_NO_DEVICE = 3,  /* no driver, or no GPU */
    TINYC_AMD_PERMISSION = 4, /* this user may not open the device */
    TINYC_AMD_DRIVER = 5,     /* the driver is too old */
    TINYC_AMD_WRONG_GPU = 6,  /* not the GPU that the model was compiled for */
    TINYC_AMD_NO_MEMORY = 7,
    TINYC_AMD_FAULT = 8,      /* a kernel touched memory that is not there: close the context */
    TINYC_AMD_HANG = 9,       /* not done in time: wait again, or close the context */
    TINYC_AMD_LOST = 10,      /* the context is lost: close it */
    TINYC_AMD_REFUSED = 11    /* the driver refused something */
};

typedef struct tinyc_amd tinyc_amd;

/* Functions that stand for a kernel and its device, for tests. Errors are negative error numbers, as system calls return
 * them. The table and the words of the process outlive every context. */
typedef struct tinyc_io {
    void *context;     /* given to every function */
    uint64_t *process; /* 8 words, zero at first, the same for all contexts of a process */
    int32_t (*open)(void *, const char *path, int32_t flags);
    void (*close)(void *, int32_t fd);
    int64_t (*read)(void *, int32_t fd, void *out, uint64_t bytes); /* a whole file from its start */
    int32_t (*ioctl)(void *, int32_t fd, uint32_t request, void *argument);
    int64_t (*mmap)(void *, uint64_t address, uint64_t bytes, int32_t protection, int32_t flags, int32_t fd,
                    uint64_t offset);
    int32_t (*munmap)(void *, uint64_t address, uint64_t bytes);
    uint32_t (*load32)(void *, uint64_t address);
    uint64_t (*load64)(void *, uint64_t address);
    void (*store32)(void *, uint64_t address, uint32_t value);
    void (*store64)(void *, uint64_t address, uint64_t value);
    void (*fence)(void *); /* stores before are visible to the device before stores after */
    void (*relax)(void *); /* a rest in a polling loop */
    void (*copy_to)(void *, uint64_t address, const void *from, uint64_t bytes);
    void (*copy_from)(void *, uint64_t address, void *to, uint64_t bytes);
} tinyc_io;

/* Opens a model: a bundle, or an executable that holds one, in memory that stays as it is until the context is closed.
 * io is NULL for the real kernel. After an error *out still answers tinyc_amd_error() and has to be closed; it is NULL
 * when there was no memory for it. */
int32_t tinyc_amd_open(const void *bundle, uint64_t bytes, const tinyc_io *io, tinyc_amd **out);
/* Ends a run that is under way and gives everything back. NULL does nothing. */
void tinyc_amd_close(tinyc_amd *);

/* Starts a run, after the one before is done. Writes its number. */
int32_t tinyc_amd_submit(tinyc_amd *, uint64_t *ticket);
/* Waits for a run, at most so long beyond the polling time. */
int32_t tinyc_amd_wait(tinyc_amd *, uint64_t ticket, uint64_t milliseconds);
/* Both; at most a minute. */
int32_t tinyc_amd_run(tinyc_amd *);

/* The device's own buffers, to be written and read while nothing runs; NULL when there is none of this number. */
void *tinyc_amd_input(tinyc_amd *, uint32_t n, uint64_t *bytes);
void *tinyc_amd_output(tinyc_amd *, uint32_t n, uint64_t *bytes);

/* The caller's memory instead: register it, then bind tensors (inputs first, then outputs) to multiples of 16 bytes in it. NULL
 * binds a tensor to its own buffer again. What shares a page is registered together; 64 regions at most. */
int32_t tinyc_amd_register(tinyc_amd *, void *memory, uint64_t bytes);
int32_t tinyc_amd_unregister(tinyc_amd *, void *memory);
int32_t tinyc_amd_bind(tinyc_amd *, uint32_t tensor, void *memory);

/* Text of the last error, with the kernel's name where one is to blame; until the next call with this context. */
const char *tinyc_amd_error(tinyc_amd *);

#ifdef __cplusplus
}
#endif

#endif
