/* Driver of SpAtten, a queue: what it is made of, opening and closing it, abort and resume.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Include spatten.h, which has all parts. docs/driver.md begins with an example.
 *
 * A struct spatten_rings is the caller's, and so is the memory of both rings: the driver uses both from
 * spatten_queue_open until spatten_queue_close. One thread at a time may use a queue; queues do not share anything but
 * what spatten_queue_open, _restart and _close write to the device. Counts are of commands, modulo 2^16.
 */
#ifndef SPATTEN_QUEUE_H
#define SPATTEN_QUEUE_H

#include "spatten_device.h"

/* Memory from `base` up to, but not with, `limit`; both multiples of 4096, equal if there is none. */
struct spatten_window {
    uint64_t base, limit;
};

/* What spatten_queue_open is told. Zeros are right for `coalesce_…` and `phase`. */
struct spatten_queue_setup {
    uint32_t index;               /* of the queue */
    void *commands;               /* ring of commands as the host reaches it: 64 bytes each */
    uint64_t commands_address;    /* as the device does; a multiple of 64 */
    uint32_t num_commands;        /* slots, a power of two from 1 to 32768; 2 at least for pairs */
    void *completions;            /* ring of completions: 32 bytes each */
    uint64_t completions_address; /* a multiple of 64 */
    uint32_t num_completions;     /* entries, a power of two from 1 to 32768 */
    struct spatten_window readable; /* where plans, tables and planes lie */
    struct spatten_window writable; /* where results go, and tables that are written back */
    uint32_t coalesce_count;      /* completions for an interrupt, 0…255; 0 counts as 1 */
    uint32_t coalesce_cycles;     /* or so many cycles after the first, 0…2^24 - 1; 0: never */
    /* Completions are found by their phase bit in memory, not by a register. Only where the 32 bytes of a completion
     * become visible at once, or in the order of their addresses from the highest: the bit is in the first word. */
    bool phase;
};

/* An open queue. Set by spatten_queue_open; the driver's, but for `field`. */
struct spatten_rings {
    struct spatten_device *device;
    struct spatten_queue_setup setup;
    const char *field;    /* the field that the last check refused; NULL if it refused none */
    uint32_t outstanding; /* commands put that have no completion yet */
    uint32_t resets;      /* of the device when it was opened */
    uint16_t put;         /* commands written to the ring */
    uint16_t announced;   /* of these, told by the doorbell */
    uint16_t fetched;     /* of these, fetched by the device when it was last asked */
    uint16_t taken;       /* completions read */
};

/* State of a queue, of spatten_queue_status. */
struct spatten_queue_state {
    bool running; /* enabled, and not halted */
    bool halted;  /* by a fault or an abort: spatten_queue_resume */
    bool busy;    /* a command is in flight */
    uint32_t code; /* why it is halted, as of spatten_fault_name */
};

static inline enum spatten_error spatten_refuse(struct spatten_rings *rings, enum spatten_error error,
                                                const char *field)
{
    rings->field = field;
    return error;
}

/* OK if the queue can be used. */
static inline enum spatten_error spatten_queue_usable(const struct spatten_rings *rings)
{
    if (rings == NULL || !spatten_found(rings->device))
        return SPATTEN_ERROR_ARGUMENT;
    return rings->resets == rings->device->resets ? SPATTEN_OK : SPATTEN_ERROR_STALE;
}

static inline uint32_t spatten_log2(uint32_t value)
{
    uint32_t log = 0;
    while (value > 1u) {
        value >>= 1;
        ++log;
    }
    return log;
}

/* Whether `bytes` bytes from an address on lie in a window. */
static inline bool spatten_inside(const struct spatten_window *window, uint64_t address, uint64_t bytes)
{
    return address >= window->base && address <= window->limit && bytes <= window->limit - address;
}

static inline enum spatten_error spatten_check_ring(struct spatten_rings *rings, const void *memory, uint64_t address,
                                                    uint32_t count, uint32_t bytes, const char *name)
{
    const uint64_t last = spatten_last_address(rings->device);
    if (memory == NULL)
        return spatten_refuse(rings, SPATTEN_ERROR_ARGUMENT, name);
    if (count == 0u || count > 32768u || (count & (count - 1u)) != 0u)
        return spatten_refuse(rings, SPATTEN_ERROR_SIZE, name);
    if (address % SPATTEN_ALIGNMENT != 0u)
        return spatten_refuse(rings, SPATTEN_ERROR_ALIGNMENT, name);
    if (address > last || (uint64_t)count * bytes - 1u > last - address)
        return spatten_refuse(rings, SPATTEN_ERROR_ADDRESS, name);
    return SPATTEN_OK;
}

static inline enum spatten_error spatten_check_window(struct spatten_rings *rings, const struct spatten_window *window,
                                                      const char *name)
{
    if (window->base % 4096u != 0u || window->limit % 4096u != 0u)
        return spatten_refuse(rings, SPATTEN_ERROR_ALIGNMENT, name);
    if (window->base > window->limit)
        return spatten_refuse(rings, SPATTEN_ERROR_WINDOW, name);
    if (window->base > spatten_last_address(rings->device) ||
        (window->limit != 0u && window->limit - 1u > spatten_last_address(rings->device)))
        return spatten_refuse(rings, SPATTEN_ERROR_ADDRESS, name);
    return SPATTEN_OK;
}

static inline enum spatten_error spatten_check_setup(struct spatten_rings *rings)
{
    const struct spatten_queue_setup *setup = &rings->setup;
    const uint64_t commands = (uint64_t)setup->num_commands * SPATTEN_COMMAND_BYTES;
    const uint64_t completions = (uint64_t)setup->num_completions * SPATTEN_COMPLETION_BYTES;
    enum spatten_error error;
    if (setup->index >= rings->device->capabilities.queues)
        return spatten_refuse(rings, SPATTEN_ERROR_RANGE, "index");
    error = spatten_check_ring(rings, setup->commands, setup->commands_address, setup->num_commands,
                               SPATTEN_COMMAND_BYTES, "commands");
    if (error == SPATTEN_OK)
        error = spatten_check_ring(rings, setup->completions, setup->completions_address, setup->num_completions,
                                   SPATTEN_COMPLETION_BYTES, "completions");
    if (error == SPATTEN_OK)
        error = spatten_check_window(rings, &setup->readable, "readable");
    if (error == SPATTEN_OK)
        error = spatten_check_window(rings, &setup->writable, "writable");
    if (error != SPATTEN_OK)
        return error;
    if (setup->commands_address - setup->completions_address < completions ||
        setup->completions_address - setup->commands_address < commands)
        return spatten_refuse(rings, SPATTEN_ERROR_ADDRESS, "completions");
    if (setup->coalesce_count > 255u)
        return spatten_refuse(rings, SPATTEN_ERROR_RANGE, "coalesce_count");
    if (setup->coalesce_cycles > 0xFFFFFFu)
        return spatten_refuse(rings, SPATTEN_ERROR_RANGE, "coalesce_cycles");
    return SPATTEN_OK;
}

static inline void spatten_write_window(const struct spatten_device *device, uint32_t base_offset,
                                        uint32_t limit_offset, const struct spatten_window *window)
{
    spatten_write64(device, base_offset, window->base);
    spatten_write64(device, limit_offset, window->limit);
}

/* Ends what the queue has in flight and disables it. OK when nothing is in flight any more, else TIMEOUT.
 *
 * Commands in flight are aborted, and their completions thrown away: a ring that is full would hold them for ever. The
 * queue is disabled last, for then the device forgets how far completions were read. */
static inline enum spatten_error spatten_queue_stop(struct spatten_rings *rings, uint32_t polls)
{
    const struct spatten_device *device = rings->device;
    const uint32_t i = rings->setup.index, busy = SPATTEN_DOORBELL_STATUS_BUSY_MASK;
    if ((spatten_read(device, SPATTEN_QUEUE_CTRL_OFFSET(i)) & SPATTEN_QUEUE_CTRL_ENABLE_MASK) != 0u) {
        spatten_write(device, SPATTEN_QUEUE_CTRL_OFFSET(i),
                      SPATTEN_QUEUE_CTRL_ENABLE_MASK | SPATTEN_QUEUE_CTRL_ABORT_MASK);
        while ((spatten_read(device, SPATTEN_DOORBELL_STATUS_OFFSET(i)) & busy) != 0u) {
            if (polls-- == 0u)
                return SPATTEN_ERROR_TIMEOUT;
            spatten_write(device, SPATTEN_DOORBELL_COMPLETION_HEAD_OFFSET(i),
                          spatten_read(device, SPATTEN_DOORBELL_COMPLETION_TAIL_OFFSET(i)));
            spatten_pause(device);
        }
        spatten_write(device, SPATTEN_QUEUE_CTRL_OFFSET(i), 0u);
    }
    return spatten_until(device, SPATTEN_DOORBELL_STATUS_OFFSET(i), busy, 0u, polls + 1u);
}

/* Disables the queue, sets it up, clears its rings and enables it. */
static inline enum spatten_error spatten_queue_start(struct spatten_rings *rings, uint32_t polls)
{
    struct spatten_device *device = rings->device;
    const struct spatten_queue_setup *setup = &rings->setup;
    const uint32_t i = setup->index;
    const size_t commands = (size_t)setup->num_commands * SPATTEN_COMMAND_BYTES;
    const size_t completions = (size_t)setup->num_completions * SPATTEN_COMPLETION_BYTES;
    const enum spatten_error error = spatten_queue_stop(rings, polls);
    if (error != SPATTEN_OK)
        return error;
    if (spatten_read(device, SPATTEN_DOORBELL_HEAD_OFFSET(i)) != 0u ||
        spatten_read(device, SPATTEN_DOORBELL_COMPLETION_TAIL_OFFSET(i)) != 0u)
        return SPATTEN_ERROR_PROTOCOL;
    spatten_write(device, SPATTEN_QUEUE_SIZE_OFFSET(i),
                  SPATTEN_SET(QUEUE_SIZE_COMMANDS, spatten_log2(setup->num_commands)) |
                      SPATTEN_SET(QUEUE_SIZE_COMPLETIONS, spatten_log2(setup->num_completions)));
    spatten_write64(device, SPATTEN_QUEUE_BASE_LO_OFFSET(i), setup->commands_address);
    spatten_write64(device, SPATTEN_QUEUE_COMPLETION_BASE_LO_OFFSET(i), setup->completions_address);
    spatten_write(device, SPATTEN_QUEUE_COALESCE_OFFSET(i),
                  SPATTEN_SET(QUEUE_COALESCE_COUNT, setup->coalesce_count) |
                      SPATTEN_SET(QUEUE_COALESCE_CYCLES, setup->coalesce_cycles));
    spatten_write_window(device, SPATTEN_QUEUE_READ_BASE_LO_OFFSET(i), SPATTEN_QUEUE_READ_LIMIT_LO_OFFSET(i),
                         &setup->readable);
    spatten_write_window(device, SPATTEN_QUEUE_WRITE_BASE_LO_OFFSET(i), SPATTEN_QUEUE_WRITE_LIMIT_LO_OFFSET(i),
                         &setup->writable);
    memset(setup->commands, 0, commands);
    memset(setup->completions, 0, completions); /* phase 0: the first round has 1 */
    spatten_clean(device, setup->commands, commands);
    spatten_clean(device, setup->completions, completions);
    spatten_write_barrier(device);
    spatten_write(device, SPATTEN_QUEUE_CTRL_OFFSET(i), SPATTEN_QUEUE_CTRL_ENABLE_MASK);
    rings->outstanding = 0u;
    rings->put = rings->announced = rings->fetched = rings->taken = 0u;
    rings->resets = device->resets;
    return SPATTEN_OK;
}

/* Opens a queue: checks `setup` (which is copied), clears both rings and enables the queue.
 *
 * ARGUMENT, RANGE, SIZE, ALIGNMENT, ADDRESS, WINDOW with rings->field; BUSY if it is open already; TIMEOUT if commands
 * that somebody left in flight are not done after `polls` reads. */
static inline enum spatten_error spatten_queue_open(struct spatten_rings *rings, struct spatten_device *device,
                                                    const struct spatten_queue_setup *setup, uint32_t polls)
{
    enum spatten_error error;
    if (rings == NULL || setup == NULL || !spatten_found(device))
        return SPATTEN_ERROR_ARGUMENT;
    memset(rings, 0, sizeof *rings);
    rings->device = device;
    rings->setup = *setup;
    error = spatten_check_setup(rings);
    if (error == SPATTEN_OK && (device->open >> setup->index & 1u) != 0u)
        error = SPATTEN_ERROR_BUSY;
    if (error == SPATTEN_OK)
        error = spatten_queue_start(rings, polls);
    if (error == SPATTEN_OK)
        device->open |= UINT32_C(1) << setup->index;
    else
        rings->device = NULL;
    return error;
}

/* Begins anew with empty rings, after a soft reset or a fault: commands in flight are aborted, and all without a
 * completion are forgotten. TIMEOUT: they do not end, and the queue is as spatten_queue_abort leaves it. */
static inline enum spatten_error spatten_queue_restart(struct spatten_rings *rings, uint32_t polls)
{
    if (rings == NULL || !spatten_found(rings->device))
        return SPATTEN_ERROR_ARGUMENT;
    return spatten_queue_start(rings, polls);
}

/* Aborts what is in flight and disables the queue; the memory of the rings is the caller's alone afterwards. Wait for
 * completions first if you want them. TIMEOUT: a command is still in flight, and the queue still open. */
static inline enum spatten_error spatten_queue_close(struct spatten_rings *rings, uint32_t polls)
{
    enum spatten_error error;
    if (rings == NULL || !spatten_found(rings->device))
        return SPATTEN_ERROR_ARGUMENT;
    error = spatten_queue_stop(rings, polls);
    if (error == SPATTEN_OK) {
        rings->device->open &= ~(UINT32_C(1) << rings->setup.index);
        rings->device = NULL;
    }
    return error;
}

static inline enum spatten_error spatten_queue_status(const struct spatten_rings *rings,
                                                      struct spatten_queue_state *state)
{
    const enum spatten_error error = spatten_queue_usable(rings);
    uint32_t word;
    if (error != SPATTEN_OK || state == NULL)
        return error != SPATTEN_OK ? error : SPATTEN_ERROR_ARGUMENT;
    word = spatten_read(rings->device, SPATTEN_DOORBELL_STATUS_OFFSET(rings->setup.index));
    state->running = SPATTEN_GET(word, DOORBELL_STATUS_RUNNING) != 0u;
    state->halted = SPATTEN_GET(word, DOORBELL_STATUS_HALTED) != 0u;
    state->busy = SPATTEN_GET(word, DOORBELL_STATUS_BUSY) != 0u;
    state->code = SPATTEN_GET(word, DOORBELL_STATUS_CODE);
    return SPATTEN_OK;
}

/* Commands in flight end with SPATTEN_CODE_ABORTED, each with its completion; the queue is halted. Commands that were
 * not fetched stay in the ring: spatten_queue_resume goes on with them, spatten_queue_restart forgets them. */
static inline enum spatten_error spatten_queue_abort(struct spatten_rings *rings)
{
    const enum spatten_error error = spatten_queue_usable(rings);
    if (error == SPATTEN_OK)
        spatten_write(rings->device, SPATTEN_QUEUE_CTRL_OFFSET(rings->setup.index),
                      SPATTEN_QUEUE_CTRL_ENABLE_MASK | SPATTEN_QUEUE_CTRL_ABORT_MASK);
    return error;
}

/* A halted queue goes on with the commands that were not fetched yet: OK when it does.
 *
 * Poll all completions first: the device refuses to go on while a command is in flight, or a fault is being dealt with
 * (after a read that ended early or late it listens until the bus was silent for the cycles of register TIMEOUT).
 * TIMEOUT: it still does after `polls` reads of its state. */
static inline enum spatten_error spatten_queue_resume(struct spatten_rings *rings, uint32_t polls)
{
    struct spatten_queue_state state = {false, false, false, 0u};
    enum spatten_error error;
    do {
        error = spatten_queue_status(rings, &state);
        if (error != SPATTEN_OK || !state.halted)
            return error;
        if (!state.busy)
            spatten_write(rings->device, SPATTEN_QUEUE_CTRL_OFFSET(rings->setup.index),
                          SPATTEN_QUEUE_CTRL_ENABLE_MASK | SPATTEN_QUEUE_CTRL_RESUME_MASK);
        spatten_pause(rings->device);
    } while (polls-- != 0u);
    return SPATTEN_ERROR_TIMEOUT;
}

#endif
