/* Driver of SpAtten, the rings of a queue: submitting commands, and reading completions.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Include spatten.h, which has all parts. docs/driver.md begins with an example.
 */
#ifndef SPATTEN_RINGS_H
#define SPATTEN_RINGS_H

#include "spatten_queue.h"

/* Room for `count` more commands; asks the device only if it must. */
static inline enum spatten_error spatten_queue_room(struct spatten_rings *rings, uint32_t count)
{
    const uint32_t slots = rings->setup.num_commands;
    uint16_t head;
    if (count > slots)
        return SPATTEN_ERROR_SIZE;
    if ((uint16_t)(rings->put - rings->fetched) + count > slots) {
        head = (uint16_t)spatten_read(rings->device, SPATTEN_DOORBELL_HEAD_OFFSET(rings->setup.index));
        if ((uint16_t)(rings->announced - head) > (uint16_t)(rings->announced - rings->fetched))
            return SPATTEN_ERROR_PROTOCOL;
        rings->fetched = head;
        if ((uint16_t)(rings->put - head) + count > slots)
            return SPATTEN_ERROR_FULL;
    }
    return SPATTEN_OK;
}

/* Writes `count` commands into the ring, all or none; the device is not told yet. They are copied.
 *
 * Both jobs of a pair must be in one call. SIZE: more than the ring has slots; FULL: no room now, since the device has
 * not fetched so many: it does not if completions are not read. */
static inline enum spatten_error spatten_put(struct spatten_rings *rings, const struct spatten_command *commands,
                                             uint32_t count)
{
    enum spatten_error error = spatten_queue_usable(rings);
    uint32_t i;
    if (error == SPATTEN_OK && commands == NULL)
        error = SPATTEN_ERROR_ARGUMENT;
    for (i = 0; error == SPATTEN_OK && i < count; ++i)
        if (commands[i].opcode == SPATTEN_OPCODE_PAIR && (++i == count || commands[i].opcode != SPATTEN_OPCODE_PAIR))
            error = SPATTEN_ERROR_PAIR;
    if (error == SPATTEN_OK)
        error = spatten_queue_room(rings, count);
    if (error != SPATTEN_OK)
        return error;
    for (i = 0; i < count; ++i) {
        const size_t slot = (rings->put + i) & (rings->setup.num_commands - 1u);
        uint8_t *memory = (uint8_t *)rings->setup.commands + slot * SPATTEN_COMMAND_BYTES;
        spatten_pack_command(memory, &commands[i]);
        spatten_clean(rings->device, memory, SPATTEN_COMMAND_BYTES);
    }
    rings->put = (uint16_t)(rings->put + count);
    rings->outstanding += count;
    return SPATTEN_OK;
}

/* Tells the device of all commands that were put; what they point to must be in memory, too. */
static inline enum spatten_error spatten_ring_doorbell(struct spatten_rings *rings)
{
    const enum spatten_error error = spatten_queue_usable(rings);
    if (error == SPATTEN_OK && rings->announced != rings->put) {
        spatten_write_barrier(rings->device);
        spatten_write(rings->device, SPATTEN_DOORBELL_TAIL_OFFSET(rings->setup.index), rings->put);
        rings->announced = rings->put;
    }
    return error;
}

/* spatten_put and spatten_ring_doorbell. */
static inline enum spatten_error spatten_submit(struct spatten_rings *rings, const struct spatten_command *commands,
                                                uint32_t count)
{
    const enum spatten_error error = spatten_put(rings, commands, count);
    return error == SPATTEN_OK ? spatten_ring_doorbell(rings) : error;
}

/* The entry of the next completion. */
static inline const uint8_t *spatten_next_entry(const struct spatten_rings *rings)
{
    const size_t place = rings->taken & (rings->setup.num_completions - 1u);
    return (const uint8_t *)rings->setup.completions + place * SPATTEN_COMPLETION_BYTES;
}

/* Whether the next entry is of this round of the ring, by its phase bit. */
static inline bool spatten_entry_is_new(const struct spatten_rings *rings)
{
    const volatile uint8_t *entry = spatten_next_entry(rings);
    const uint32_t round = rings->taken / rings->setup.num_completions;
    spatten_invalidate(rings->device, spatten_next_entry(rings), SPATTEN_COMPLETION_BYTES);
    return SPATTEN_GET(entry[offsetof(struct spatten_completion, phase)], COMPLETION_PHASE) == ((round & 1u) ^ 1u);
}

/* Copies an entry that is there, and checks it. */
static inline enum spatten_error spatten_take_entry(struct spatten_rings *rings, struct spatten_completion *completion)
{
    const uint8_t *entry = spatten_next_entry(rings);
    spatten_read_barrier(rings->device);
    spatten_invalidate(rings->device, entry, SPATTEN_COMPLETION_BYTES);
    spatten_unpack_completion(completion, entry);
    if (rings->outstanding == 0u || completion->queue != rings->setup.index)
        return SPATTEN_ERROR_PROTOCOL;
    --rings->outstanding;
    rings->taken = (uint16_t)(rings->taken + 1u);
    return SPATTEN_OK;
}

/* Copies completions that are there, at most `most`; `count` becomes their number, 0 if there is none.
 *
 * Completions come in the order in which commands are done: know a command by its tag or number. All that it wrote
 * can be read (after the invalidation of caches, which is the caller's). */
static inline enum spatten_error spatten_poll_many(struct spatten_rings *rings, struct spatten_completion *completions,
                                                   uint32_t most, uint32_t *count)
{
    enum spatten_error error = spatten_queue_usable(rings);
    uint32_t there = most;
    if (error == SPATTEN_OK && (completions == NULL || count == NULL))
        error = SPATTEN_ERROR_ARGUMENT;
    if (error != SPATTEN_OK)
        return error;
    *count = 0u;
    if (!rings->setup.phase) {
        const uint32_t tail =
            spatten_read(rings->device, SPATTEN_DOORBELL_COMPLETION_TAIL_OFFSET(rings->setup.index));
        there = (uint16_t)(tail - rings->taken);
        if (there > rings->setup.num_completions)
            return SPATTEN_ERROR_PROTOCOL;
    }
    while (error == SPATTEN_OK && *count < most && *count < there &&
           (!rings->setup.phase || spatten_entry_is_new(rings))) {
        error = spatten_take_entry(rings, &completions[*count]);
        *count += error == SPATTEN_OK ? 1u : 0u;
    }
    if (*count != 0u) {
        spatten_write_barrier(rings->device); /* the copies are made before the entries may be written again */
        spatten_write(rings->device, SPATTEN_DOORBELL_COMPLETION_HEAD_OFFSET(rings->setup.index), rings->taken);
    }
    return error;
}

/* The next completion; EMPTY if there is none yet. */
static inline enum spatten_error spatten_poll(struct spatten_rings *rings, struct spatten_completion *completion)
{
    uint32_t count = 0u;
    const enum spatten_error error = spatten_poll_many(rings, completion, 1u, &count);
    return error == SPATTEN_OK && count == 0u ? SPATTEN_ERROR_EMPTY : error;
}

/* Polls until there is a completion, `polls` times at most.
 *
 * EMPTY: no command is outstanding. HALTED: the queue is halted, and has told all completions of commands that were in
 * flight. TIMEOUT: neither. The queue's state is read at every 64th poll, and at the last. */
static inline enum spatten_error spatten_wait(struct spatten_rings *rings, struct spatten_completion *completion,
                                              uint32_t polls)
{
    enum spatten_error error = spatten_queue_usable(rings);
    struct spatten_queue_state state = {false, false, false, 0u};
    if (error == SPATTEN_OK && rings->outstanding == 0u)
        error = SPATTEN_ERROR_EMPTY;
    if (error != SPATTEN_OK)
        return error;
    while (polls != 0u) {
        --polls;
        error = spatten_poll(rings, completion);
        if (error != SPATTEN_ERROR_EMPTY)
            return error;
        if (polls % 64u == 0u) {
            (void)spatten_queue_status(rings, &state);
            if (state.halted && !state.busy) {
                error = spatten_poll(rings, completion); /* one may have come before the queue halted */
                return error == SPATTEN_ERROR_EMPTY ? SPATTEN_ERROR_HALTED : error;
            }
        }
        spatten_pause(rings->device);
    }
    return SPATTEN_ERROR_TIMEOUT;
}

#endif
