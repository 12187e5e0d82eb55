/* Driver of SpAtten, access: errors, the caller's hooks, registers, barriers and caches.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Include spatten.h, which has all parts. docs/driver.md begins with an example.
 */
#ifndef SPATTEN_ACCESS_H
#define SPATTEN_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "spatten_formats.h"
#include "spatten_regs.h"

/* A full fence, for the compiler and for the processor: between accesses to memory and to registers. Define it before
 * the include where accesses to registers need another one, as a `dsb` on some ARM systems. */
#ifndef SPATTEN_FENCE
#if defined(__GNUC__)
#define SPATTEN_FENCE() __sync_synchronize()
#else
#error "define SPATTEN_FENCE() as a full fence of this compiler"
#endif
#endif

/* What a function returns. Nothing was changed but by TIMEOUT, DRAIN and PROTOCOL. */
enum spatten_error {
    SPATTEN_OK = 0,
    SPATTEN_ERROR_ARGUMENT = 1,     /* a pointer is NULL, or the device or queue is not open */
    SPATTEN_ERROR_NOT_FOUND = 2,    /* ID: there is no SpAtten at this address */
    SPATTEN_ERROR_VERSION = 3,      /* VERSION.MAP: registers of another version */
    SPATTEN_ERROR_DIGEST = 4,       /* CONFIG_DIGEST: another configuration than the one asked for */
    SPATTEN_ERROR_CAPABILITIES = 5, /* CAP0: numbers that no SpAtten has */
    SPATTEN_ERROR_SIZE = 6,         /* a ring is no power of two from 1 to 32768, or too small for the commands */
    SPATTEN_ERROR_ALIGNMENT = 7,    /* an address, offset or stride is no multiple of what it must be */
    SPATTEN_ERROR_ADDRESS = 8,      /* memory beyond the device's addresses, or rings that overlap */
    SPATTEN_ERROR_WINDOW = 9,       /* memory outside the queue's window, or a window that ends before it begins */
    SPATTEN_ERROR_RANGE = 10,       /* a number is out of the range that the device serves */
    SPATTEN_ERROR_UNSUPPORTED = 11, /* the device was built without it */
    SPATTEN_ERROR_PAIR = 12,        /* jobs of a pair are not two, one after the other, or do not fit each other */
    SPATTEN_ERROR_FULL = 13,        /* the ring has no room: poll, and try again */
    SPATTEN_ERROR_EMPTY = 14,       /* there is nothing to read */
    SPATTEN_ERROR_TIMEOUT = 15,     /* the bound was reached */
    SPATTEN_ERROR_HALTED = 16,      /* a fault or an abort has halted the queue: resume or restart it */
    SPATTEN_ERROR_BUSY = 17,        /* commands are in flight, or the queue is open already */
    SPATTEN_ERROR_STALE = 18,       /* a soft reset came between: restart the queue */
    SPATTEN_ERROR_DRAIN = 19,       /* the bus did not give all answers: only aresetn helps */
    SPATTEN_ERROR_PROTOCOL = 20     /* the device tells what cannot be: it was reset, or its memory was written */
};

static inline const char *spatten_error_name(enum spatten_error error)
{
    switch (error) {
    case SPATTEN_OK: return "OK";
    case SPATTEN_ERROR_ARGUMENT: return "ARGUMENT";
    case SPATTEN_ERROR_NOT_FOUND: return "NOT_FOUND";
    case SPATTEN_ERROR_VERSION: return "VERSION";
    case SPATTEN_ERROR_DIGEST: return "DIGEST";
    case SPATTEN_ERROR_CAPABILITIES: return "CAPABILITIES";
    case SPATTEN_ERROR_SIZE: return "SIZE";
    case SPATTEN_ERROR_ALIGNMENT: return "ALIGNMENT";
    case SPATTEN_ERROR_ADDRESS: return "ADDRESS";
    case SPATTEN_ERROR_WINDOW: return "WINDOW";
    case SPATTEN_ERROR_RANGE: return "RANGE";
    case SPATTEN_ERROR_UNSUPPORTED: return "UNSUPPORTED";
    case SPATTEN_ERROR_PAIR: return "PAIR";
    case SPATTEN_ERROR_FULL: return "FULL";
    case SPATTEN_ERROR_EMPTY: return "EMPTY";
    case SPATTEN_ERROR_TIMEOUT: return "TIMEOUT";
    case SPATTEN_ERROR_HALTED: return "HALTED";
    case SPATTEN_ERROR_BUSY: return "BUSY";
    case SPATTEN_ERROR_STALE: return "STALE";
    case SPATTEN_ERROR_DRAIN: return "DRAIN";
    case SPATTEN_ERROR_PROTOCOL: return "PROTOCOL";
    }
    return "unknown";
}

/* How the driver reaches the device; what is NULL is as the comment says. `context` is passed to each. */
struct spatten_hooks {
    void *context;
    /* A register of 32 bits, at a byte offset from the beginning of the map. Both or none; NULL: volatile access. */
    uint32_t (*read)(void *context, uint32_t offset);
    void (*write)(void *context, uint32_t offset, uint32_t value);
    /* All accesses to memory before it are done before all writes of registers after it. NULL: SPATTEN_FENCE(). */
    void (*write_barrier)(void *context);
    /* All reads before it, of registers too, are done before all reads of memory after it. NULL: SPATTEN_FENCE(). */
    void (*read_barrier)(void *context);
    /* Memory that the driver has written goes from caches to memory; caches forget memory that the device writes.
     * NULL: memory is coherent. */
    void (*clean)(void *context, const void *memory, size_t bytes);
    void (*invalidate)(void *context, const void *memory, size_t bytes);
    /* Between two polls: sleep, yield, or let a simulation go on. NULL: nothing. */
    void (*pause)(void *context);
};

/* What CAP0…4, VERSION and CONFIG_DIGEST tell. */
struct spatten_capabilities {
    uint32_t version_major, version_minor, version_patch; /* of the generator */
    uint64_t digest;              /* of the configuration */
    uint32_t channels;            /* memory channels */
    uint32_t queues;              /* queues of commands */
    uint32_t word_bytes;          /* bytes of a word of a channel: offsets and strides of planes are multiples */
    uint32_t address_bits;        /* of an address of memory, 32…64 */
    uint32_t max_tokens;          /* keys, and queries, of a job */
    uint32_t contexts;            /* jobs in flight */
    uint32_t max_heads;           /* query heads of a layer */
    uint32_t max_group;           /* query heads of a K/V head */
    uint32_t max_dim;             /* head dimension */
    uint32_t dims;                /* bit i: head dimension 16 * (i + 1) is served */
    uint32_t operand_width;       /* bits of an operand */
    bool append, quantize_query, float_results, probabilities, write_back;
};

/* A device. Set by spatten_probe; read what you like, write nothing. */
struct spatten_device {
    volatile uint32_t *base;
    struct spatten_hooks hooks;
    struct spatten_capabilities capabilities;
    uint32_t open;   /* bit q: queue q is open */
    uint32_t resets; /* soft resets so far */
    bool found;
};

/* Access to a register by its offset, as SPATTEN_TIMEOUT_OFFSET; for registers that have no function here. */
static inline uint32_t spatten_read(const struct spatten_device *device, uint32_t offset)
{
    if (device->hooks.read != NULL)
        return device->hooks.read(device->hooks.context, offset);
    return device->base[offset / 4u];
}

static inline void spatten_write(const struct spatten_device *device, uint32_t offset, uint32_t value)
{
    if (device->hooks.write != NULL)
        device->hooks.write(device->hooks.context, offset, value);
    else
        device->base[offset / 4u] = value;
}

/* Two registers, the lower one first, that are an address. */
static inline void spatten_write64(const struct spatten_device *device, uint32_t offset, uint64_t value)
{
    spatten_write(device, offset, (uint32_t)(value & UINT32_MAX));
    spatten_write(device, offset + 4u, (uint32_t)(value >> 32));
}

static inline uint64_t spatten_read64(const struct spatten_device *device, uint32_t offset)
{
    const uint64_t low = spatten_read(device, offset);
    return low | (uint64_t)spatten_read(device, offset + 4u) << 32;
}

static inline void spatten_write_barrier(const struct spatten_device *device)
{
    if (device->hooks.write_barrier != NULL)
        device->hooks.write_barrier(device->hooks.context);
    else
        SPATTEN_FENCE();
}

static inline void spatten_read_barrier(const struct spatten_device *device)
{
    if (device->hooks.read_barrier != NULL)
        device->hooks.read_barrier(device->hooks.context);
    else
        SPATTEN_FENCE();
}

static inline void spatten_clean(const struct spatten_device *device, const void *memory, size_t bytes)
{
    if (device->hooks.clean != NULL)
        device->hooks.clean(device->hooks.context, memory, bytes);
}

static inline void spatten_invalidate(const struct spatten_device *device, const void *memory, size_t bytes)
{
    if (device->hooks.invalidate != NULL)
        device->hooks.invalidate(device->hooks.context, memory, bytes);
}

static inline void spatten_pause(const struct spatten_device *device)
{
    if (device->hooks.pause != NULL)
        device->hooks.pause(device->hooks.context);
}

/* Until the bits of `mask` of a register are `value`: OK, or TIMEOUT after `polls` reads. */
static inline enum spatten_error spatten_until(const struct spatten_device *device, uint32_t offset, uint32_t mask,
                                               uint32_t value, uint32_t polls)
{
    while (polls-- != 0u) {
        if ((spatten_read(device, offset) & mask) == value)
            return SPATTEN_OK;
        spatten_pause(device);
    }
    return SPATTEN_ERROR_TIMEOUT;
}

#endif
