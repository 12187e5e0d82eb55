/* Driver of SpAtten, the device: access to its registers, and what concerns all queues.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Include spatten.h, which has all parts. docs/driver.md begins with an example.
 *
 * Nothing here allocates memory, keeps what it is not told to keep, or waits without a bound. A struct spatten_device
 * is the caller's and must live as long as its queues; one thread at a time may call a function of this file with it.
 * A bound `polls` counts reads of a register, not time; hooks.pause is called between two of them.
 */
#ifndef SPATTEN_DEVICE_H
#define SPATTEN_DEVICE_H

#include "spatten_access.h"

/* Last address of memory. */
static inline uint64_t spatten_last_address(const struct spatten_device *device)
{
    return UINT64_MAX >> (64u - device->capabilities.address_bits);
}

static inline void spatten_read_capabilities(const struct spatten_device *device, struct spatten_capabilities *found)
{
    const uint32_t version = spatten_read(device, SPATTEN_VERSION_OFFSET);
    const uint32_t cap0 = spatten_read(device, SPATTEN_CAP0_OFFSET);
    const uint32_t cap1 = spatten_read(device, SPATTEN_CAP1_OFFSET);
    const uint32_t cap2 = spatten_read(device, SPATTEN_CAP2_OFFSET);
    const uint32_t cap4 = spatten_read(device, SPATTEN_CAP4_OFFSET);
    found->version_major = SPATTEN_GET(version, VERSION_MAJOR);
    found->version_minor = SPATTEN_GET(version, VERSION_MINOR);
    found->version_patch = SPATTEN_GET(version, VERSION_PATCH);
    found->digest = spatten_read64(device, SPATTEN_CONFIG_DIGEST_LO_OFFSET);
    found->channels = SPATTEN_GET(cap0, CAP0_CHANNELS);
    found->queues = SPATTEN_GET(cap0, CAP0_QUEUES);
    found->word_bytes = UINT32_C(1) << SPATTEN_GET(cap0, CAP0_LOG_WORD_BYTES);
    found->address_bits = SPATTEN_GET(cap0, CAP0_ADDRESS_BITS);
    found->max_tokens = SPATTEN_GET(cap1, CAP1_MAX_TOKENS);
    found->contexts = SPATTEN_GET(cap1, CAP1_CONTEXTS);
    found->max_heads = SPATTEN_GET(cap2, CAP2_MAX_HEADS);
    found->max_group = SPATTEN_GET(cap2, CAP2_MAX_GROUP);
    found->max_dim = SPATTEN_GET(cap2, CAP2_MAX_DIM);
    found->dims = SPATTEN_GET(spatten_read(device, SPATTEN_CAP3_OFFSET), CAP3_DIMS);
    found->operand_width = SPATTEN_GET(cap4, CAP4_OPERAND_WIDTH);
    found->append = SPATTEN_GET(cap4, CAP4_APPEND) != 0u;
    found->quantize_query = SPATTEN_GET(cap4, CAP4_QUANTIZE_QUERY) != 0u;
    found->float_results = SPATTEN_GET(cap4, CAP4_FLOAT_RESULTS) != 0u;
    found->probabilities = SPATTEN_GET(cap4, CAP4_PROBABILITIES) != 0u;
    found->write_back = SPATTEN_GET(cap4, CAP4_WRITE_BACK) != 0u;
}

/* Looks for a device at `base`, or with `hooks` (which are copied; NULL: all defaults), and fills `device`.
 *
 * `digest`: of the configuration that the caller was made for; 0: any. Only reads registers. NOT_FOUND, VERSION,
 * DIGEST, CAPABILITIES; of what is no SpAtten only ID is read. */
static inline enum spatten_error spatten_probe(struct spatten_device *device, volatile uint32_t *base,
                                               const struct spatten_hooks *hooks, uint64_t digest)
{
    struct spatten_capabilities *found;
    if (device == NULL)
        return SPATTEN_ERROR_ARGUMENT;
    memset(device, 0, sizeof *device);
    if (hooks != NULL)
        device->hooks = *hooks;
    device->base = base;
    if ((device->hooks.read == NULL) != (device->hooks.write == NULL) || (device->hooks.read == NULL && base == NULL))
        return SPATTEN_ERROR_ARGUMENT;
    if (spatten_read(device, SPATTEN_ID_OFFSET) != SPATTEN_ID_RESET)
        return SPATTEN_ERROR_NOT_FOUND;
    if (SPATTEN_GET(spatten_read(device, SPATTEN_VERSION_OFFSET), VERSION_MAP) !=
        SPATTEN_GET(SPATTEN_VERSION_RESET, VERSION_MAP))
        return SPATTEN_ERROR_VERSION;
    found = &device->capabilities;
    spatten_read_capabilities(device, found);
    if (digest != 0u && digest != found->digest)
        return SPATTEN_ERROR_DIGEST;
    if (found->channels < 1u || found->channels > SPATTEN_CHANNEL_MOST || found->queues < 1u ||
        found->queues > SPATTEN_QUEUE_MOST || found->address_bits < 32u || found->address_bits > 64u)
        return SPATTEN_ERROR_CAPABILITIES;
    device->found = true;
    return SPATTEN_OK;
}

static inline bool spatten_found(const struct spatten_device *device)
{
    return device != NULL && device->found;
}

/* First byte of a memory channel: word w lies at address + w * word_bytes. A multiple of 4096. BUSY while a queue is
 * open: what its windows hold of the channel is worked out when it opens. */
static inline enum spatten_error spatten_set_channel(const struct spatten_device *device, uint32_t channel,
                                                     uint64_t address)
{
    if (!spatten_found(device))
        return SPATTEN_ERROR_ARGUMENT;
    if (channel >= device->capabilities.channels)
        return SPATTEN_ERROR_RANGE;
    if (address % 4096u != 0u)
        return SPATTEN_ERROR_ALIGNMENT;
    if (address > spatten_last_address(device))
        return SPATTEN_ERROR_ADDRESS;
    if (device->open != 0u || (spatten_read(device, SPATTEN_STATUS_OFFSET) & SPATTEN_STATUS_BUSY_MASK) != 0u)
        return SPATTEN_ERROR_BUSY;
    spatten_write64(device, SPATTEN_CHANNEL_BASE_LO_OFFSET(channel), address);
    return SPATTEN_OK;
}

/* Queues are served from now on. Ends spatten_halt. */
static inline enum spatten_error spatten_enable(const struct spatten_device *device)
{
    if (!spatten_found(device))
        return SPATTEN_ERROR_ARGUMENT;
    spatten_write(device, SPATTEN_CTRL_OFFSET, SPATTEN_CTRL_ENABLE_MASK);
    return SPATTEN_OK;
}

/* No queue begins another command, and those in flight are completed: OK when nothing is in flight, else TIMEOUT.
 * Commands that were fetched and have not begun count as in flight. */
static inline enum spatten_error spatten_halt(const struct spatten_device *device, uint32_t polls)
{
    uint32_t control;
    if (!spatten_found(device))
        return SPATTEN_ERROR_ARGUMENT;
    control = spatten_read(device, SPATTEN_CTRL_OFFSET) & SPATTEN_CTRL_ENABLE_MASK;
    spatten_write(device, SPATTEN_CTRL_OFFSET, control | SPATTEN_CTRL_HALT_MASK);
    return spatten_until(device, SPATTEN_STATUS_OFFSET, SPATTEN_STATUS_HALTED_MASK | SPATTEN_STATUS_BUSY_MASK,
                         SPATTEN_STATUS_HALTED_MASK, polls);
}

/* The core and all queues begin anew; commands in flight have no completion. OK when the bus owes no answer any more;
 * TIMEOUT: it still does after `polls` reads; DRAIN: it never gave all. Every queue is then stale: restart it. */
static inline enum spatten_error spatten_soft_reset(struct spatten_device *device, uint32_t polls)
{
    uint32_t control, status;
    if (!spatten_found(device))
        return SPATTEN_ERROR_ARGUMENT;
    control = spatten_read(device, SPATTEN_CTRL_OFFSET) & (SPATTEN_CTRL_ENABLE_MASK | SPATTEN_CTRL_HALT_MASK);
    spatten_write(device, SPATTEN_CTRL_OFFSET, control | SPATTEN_CTRL_SOFT_RESET_MASK);
    ++device->resets;
    (void)spatten_read(device, SPATTEN_STATUS_OFFSET); /* which may overtake the beginning of the reset */
    while (polls-- != 0u) {
        status = spatten_read(device, SPATTEN_STATUS_OFFSET);
        if ((status & SPATTEN_STATUS_DRAIN_FAILED_MASK) != 0u)
            return SPATTEN_ERROR_DRAIN;
        if ((status & SPATTEN_STATUS_DRAINING_MASK) == 0u)
            return SPATTEN_OK;
        spatten_pause(device);
    }
    return SPATTEN_ERROR_TIMEOUT;
}

/* Bit of a queue in the registers IRQ_…; the others are SPATTEN_IRQ_PENDING_FAULT_MASK, …_DRAINED…, …_SNAPSHOT…. */
#define SPATTEN_IRQ_QUEUE(queue) (UINT32_C(1) << (SPATTEN_IRQ_PENDING_QUEUE_SHIFT + (uint32_t)(queue)))

/* The output irq is 1 while one of these bits is pending. Replaces what was enabled before. */
static inline enum spatten_error spatten_irq_enable(const struct spatten_device *device, uint32_t mask)
{
    if (!spatten_found(device))
        return SPATTEN_ERROR_ARGUMENT;
    spatten_write(device, SPATTEN_IRQ_ENABLE_OFFSET, mask);
    return SPATTEN_OK;
}

/* Which of these are pending; they are acknowledged. Poll the queues after it, not before: nothing is lost then. */
static inline uint32_t spatten_irq_take(const struct spatten_device *device, uint32_t mask)
{
    uint32_t pending;
    if (!spatten_found(device))
        return 0u;
    pending = spatten_read(device, SPATTEN_IRQ_PENDING_OFFSET) & mask;
    if (pending != 0u)
        spatten_write(device, SPATTEN_IRQ_PENDING_OFFSET, pending);
    return pending;
}

/* The first fault since the last spatten_fault_clear. */
struct spatten_fault {
    uint32_t code; /* SPATTEN_FAULT_CODE_… */
    uint32_t queue;   /* whose commands were at work */
    uint32_t channel; /* memory channel; of commands and tables the number after the last, of writes the one after it */
    bool write;
    uint64_t address; /* byte */
};

/* EMPTY: there was none. */
static inline enum spatten_error spatten_fault_read(const struct spatten_device *device, struct spatten_fault *fault)
{
    uint32_t word;
    if (!spatten_found(device) || fault == NULL)
        return SPATTEN_ERROR_ARGUMENT;
    word = spatten_read(device, SPATTEN_FAULT_OFFSET);
    if (SPATTEN_GET(word, FAULT_VALID) == 0u)
        return SPATTEN_ERROR_EMPTY;
    fault->code = SPATTEN_GET(word, FAULT_CODE);
    fault->queue = SPATTEN_GET(word, FAULT_QUEUE);
    fault->channel = SPATTEN_GET(word, FAULT_CHANNEL);
    fault->write = SPATTEN_GET(word, FAULT_WRITE) != 0u;
    fault->address = spatten_read64(device, SPATTEN_FAULT_ADDRESS_LO_OFFSET);
    return SPATTEN_OK;
}

/* The next fault is recorded; its interrupt is acknowledged. Queues stay halted. */
static inline enum spatten_error spatten_fault_clear(const struct spatten_device *device)
{
    if (!spatten_found(device))
        return SPATTEN_ERROR_ARGUMENT;
    spatten_write(device, SPATTEN_IRQ_PENDING_OFFSET, SPATTEN_IRQ_PENDING_FAULT_MASK);
    spatten_write(device, SPATTEN_FAULT_OFFSET, SPATTEN_FAULT_VALID_MASK);
    return SPATTEN_OK;
}

/* Name of a code of a fault, or of a completion. */
static inline const char *spatten_fault_name(uint32_t code)
{
    return code == SPATTEN_FAULT_CODE_DRAIN ? "DRAIN" : spatten_code_name(code);
}

/* Counters 0…63 are the core's (SPATTEN_COUNTER_CYCLES, …); then two of each channel, the words and the surplus or late
 * beats that it gave. */
#define SPATTEN_CORE_COUNTERS 64u
#define SPATTEN_COUNTER_WORDS(channel) (SPATTEN_CORE_COUNTERS + 2u * (uint32_t)(channel))
#define SPATTEN_COUNTER_SURPLUS(channel) (SPATTEN_COUNTER_WORDS(channel) + 1u)

/* Copies the counters for spatten_read_counter: OK, or TIMEOUT. */
static inline enum spatten_error spatten_snapshot(const struct spatten_device *device, uint32_t polls)
{
    uint32_t control;
    if (!spatten_found(device))
        return SPATTEN_ERROR_ARGUMENT;
    control = spatten_read(device, SPATTEN_CTRL_OFFSET) & (SPATTEN_CTRL_ENABLE_MASK | SPATTEN_CTRL_HALT_MASK);
    spatten_write(device, SPATTEN_CTRL_OFFSET, control | SPATTEN_CTRL_SNAPSHOT_MASK);
    return spatten_until(device, SPATTEN_STATUS_OFFSET, SPATTEN_STATUS_SNAPSHOT_BUSY_MASK, 0u, polls);
}

/* A counter as of the last snapshot, modulo 2^48. */
static inline enum spatten_error spatten_read_counter(const struct spatten_device *device, uint32_t index,
                                                      uint64_t *value)
{
    if (!spatten_found(device) || value == NULL)
        return SPATTEN_ERROR_ARGUMENT;
    if (index >= SPATTEN_COUNTER_WORDS(device->capabilities.channels))
        return SPATTEN_ERROR_RANGE;
    *value = spatten_read64(device, SPATTEN_COUNTER_LO_OFFSET(index));
    return SPATTEN_OK;
}

/* Sets the counters to 0; the last snapshot stays. */
static inline enum spatten_error spatten_counters_clear(const struct spatten_device *device)
{
    uint32_t control;
    if (!spatten_found(device))
        return SPATTEN_ERROR_ARGUMENT;
    control = spatten_read(device, SPATTEN_CTRL_OFFSET) & (SPATTEN_CTRL_ENABLE_MASK | SPATTEN_CTRL_HALT_MASK);
    spatten_write(device, SPATTEN_CTRL_OFFSET, control | SPATTEN_CTRL_CLEAR_MASK);
    return SPATTEN_OK;
}

#endif
