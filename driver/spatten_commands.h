/* Driver of SpAtten, commands: what they, their plans and tables must be, and writing plans and tables.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Include spatten.h, which has all parts. docs/driver.md begins with an example; docs/commands.md has the fields.
 *
 * The checks find what the device would refuse with a code, and what needs no look at the data. They are not all: how
 * many tokens fit the buffers, whether planes lie in memory, and where the results end is for the device to find.
 * A refused field is in rings->field. Structures are read only, but for the opcode of a command.
 */
#ifndef SPATTEN_COMMANDS_H
#define SPATTEN_COMMANDS_H

#include "spatten_queue.h"

#define SPATTEN_FLAGS_ALL_MASK                                                                                        \
    (SPATTEN_FLAGS_CAUSAL_MASK | SPATTEN_FLAGS_GENERATION_MASK | SPATTEN_FLAGS_ACCUMULATE_MASK |                      \
     SPATTEN_FLAGS_SELECT_MASK | SPATTEN_FLAGS_LIST_MASK | SPATTEN_FLAGS_BIT_PLANE_MASK |                             \
     SPATTEN_FLAGS_WRITE_STATE_MASK | SPATTEN_FLAGS_ADD_TOKEN_MASK | SPATTEN_FLAGS_PROBABILITIES_MASK |               \
     SPATTEN_FLAGS_ZERO_PRUNED_MASK)

/* A number that must lie in a range, for a table of checks. */
struct spatten_bound {
    uint64_t value, least, most;
    const char *field;
};

static inline enum spatten_error spatten_check_bounds(struct spatten_rings *rings, const struct spatten_bound *bounds,
                                                      size_t count)
{
    size_t i;
    for (i = 0; i < count; ++i)
        if (bounds[i].value < bounds[i].least || bounds[i].value > bounds[i].most)
            return spatten_refuse(rings, SPATTEN_ERROR_RANGE, bounds[i].field);
    return SPATTEN_OK;
}

/* A number that must be a multiple of `unit`, for a table of checks. */
struct spatten_multiple {
    uint64_t value, unit;
    const char *field;
};

static inline enum spatten_error spatten_check_multiples(struct spatten_rings *rings,
                                                         const struct spatten_multiple *multiples, size_t count)
{
    size_t i;
    for (i = 0; i < count; ++i)
        if (multiples[i].value % multiples[i].unit != 0u)
            return spatten_refuse(rings, SPATTEN_ERROR_ALIGNMENT, multiples[i].field);
    return SPATTEN_OK;
}

/* Bytes of a row of outputs. */
static inline uint64_t spatten_out_bytes(const struct spatten_plan *plan)
{
    return (uint64_t)plan->dim * (plan->out_format == SPATTEN_OUT_FORMAT_BF16 ? 2u : 4u);
}

/* Widths of a plan, which only attention needs: RANGE. */
static inline enum spatten_error spatten_check_widths(struct spatten_rings *rings, const struct spatten_plan *plan)
{
    const uint64_t width = rings->device->capabilities.operand_width;
    const struct spatten_bound bounds[] = {
        {plan->query_bits, 1u, width, "query_bits"},
        {plan->key_bits, 1u, width, "key_bits"},
        {(uint64_t)plan->key_bits + plan->key_lsb_bits, 1u, width, "key_lsb_bits"},
        {plan->value_bits, 1u, width, "value_bits"},
    };
    if (plan->key_lsb_bits != 0u && plan->key_lsb_bits != 4u)
        return spatten_refuse(rings, SPATTEN_ERROR_RANGE, "key_lsb_bits");
    return spatten_check_bounds(rings, bounds, sizeof bounds / sizeof *bounds);
}

/* What every plan must be: RANGE, ALIGNMENT, UNSUPPORTED. */
static inline enum spatten_error spatten_check_plan(struct spatten_rings *rings, const struct spatten_plan *plan)
{
    enum spatten_error error = spatten_queue_usable(rings);
    size_t i;
    if (error == SPATTEN_OK && plan == NULL)
        error = SPATTEN_ERROR_ARGUMENT;
    if (error != SPATTEN_OK)
        return error;
    {
        const struct spatten_capabilities *has = &rings->device->capabilities;
        const uint64_t word = has->word_bytes;
        const struct spatten_bound bounds[] = {
            {plan->dim, 16u, has->max_dim, "dim"},
            {plan->group, 0u, has->max_group, "group"},
            {plan->skew, 0u, has->channels - 1u, "skew"},
            {plan->decay, 0u, 31u, "decay"},
            {plan->out_format, 0u, SPATTEN_OUT_FORMAT_BF16, "out_format"},
        };
        const struct spatten_multiple multiples[] = {
            {plan->key, word, "key"},
            {plan->key_lsb, word, "key_lsb"},
            {plan->value, word, "value"},
            {plan->query_stride, word, "query_stride"},
            {plan->key_stride, word, "key_stride"},
            {plan->key_lsb_stride, word, "key_lsb_stride"},
            {plan->value_stride, word, "value_stride"},
            {plan->heads, SPATTEN_ALIGNMENT, "heads"},
            {plan->out_position_stride, SPATTEN_ROW_ALIGNMENT, "out_position_stride"},
            {plan->out_head_stride, SPATTEN_ROW_ALIGNMENT, "out_head_stride"},
        };
        error = spatten_check_bounds(rings, bounds, sizeof bounds / sizeof *bounds);
        if (error == SPATTEN_OK)
            error = spatten_check_multiples(rings, multiples, sizeof multiples / sizeof *multiples);
        if (error != SPATTEN_OK)
            return error;
        if (plan->dim % 16u != 0u || plan->dim > 512u || (has->dims >> (plan->dim / 16u - 1u) & 1u) == 0u)
            return spatten_refuse(rings, SPATTEN_ERROR_RANGE, "dim");
        if (plan->out_format != SPATTEN_OUT_FORMAT_INT32 && !has->float_results)
            return spatten_refuse(rings, SPATTEN_ERROR_UNSUPPORTED, "out_format");
    }
    for (i = 0; i < sizeof plan->reserved0; ++i)
        if (plan->reserved0[i] != 0u)
            return spatten_refuse(rings, SPATTEN_ERROR_RANGE, "reserved0");
    rings->field = NULL;
    return SPATTEN_OK;
}

/* Flags: RANGE, UNSUPPORTED. */
static inline enum spatten_error spatten_check_flags(struct spatten_rings *rings,
                                                     const struct spatten_command *command)
{
    const struct spatten_capabilities *has = &rings->device->capabilities;
    const uint32_t flags = command->flags;
    if ((command->irq & ~SPATTEN_COMMAND_IRQ_MASK) != 0u)
        return spatten_refuse(rings, SPATTEN_ERROR_RANGE, "irq");
    if ((flags & ~SPATTEN_FLAGS_ALL_MASK) != 0u)
        return spatten_refuse(rings, SPATTEN_ERROR_RANGE, "flags");
    if (SPATTEN_GET(flags, FLAGS_LIST) > SPATTEN_LIST_PREVIOUS)
        return spatten_refuse(rings, SPATTEN_ERROR_RANGE, "list");
    if ((flags & SPATTEN_FLAGS_BIT_PLANE_MASK) != 0u)
        return spatten_refuse(rings, SPATTEN_ERROR_UNSUPPORTED, "bit_plane");
    if ((flags & SPATTEN_FLAGS_PROBABILITIES_MASK) != 0u && !has->probabilities)
        return spatten_refuse(rings, SPATTEN_ERROR_UNSUPPORTED, "probabilities");
    if ((flags & SPATTEN_FLAGS_WRITE_STATE_MASK) != 0u && !has->write_back)
        return spatten_refuse(rings, SPATTEN_ERROR_UNSUPPORTED, "write_state");
    if ((flags & SPATTEN_FLAGS_PROBABILITIES_MASK) != 0u && command->opcode == SPATTEN_OPCODE_SELECT)
        return spatten_refuse(rings, SPATTEN_ERROR_RANGE, "probabilities");
    if ((flags & SPATTEN_FLAGS_ZERO_PRUNED_MASK) != 0u && command->opcode != SPATTEN_OPCODE_LAYER)
        return spatten_refuse(rings, SPATTEN_ERROR_RANGE, "zero_pruned");
    return SPATTEN_OK;
}

/* Where what the flags ask for lies: ALIGNMENT, WINDOW; RANGE of the heads of zero_pruned. */
static inline enum spatten_error spatten_check_extras(struct spatten_rings *rings, const struct spatten_plan *plan,
                                                      const struct spatten_command *command)
{
    const struct spatten_multiple multiples[] = {
        {plan->probabilities, SPATTEN_ROW_ALIGNMENT, "probabilities"},
        {plan->probability_query_stride, SPATTEN_ROW_ALIGNMENT, "probability_query_stride"},
        {plan->probability_head_stride, SPATTEN_ROW_ALIGNMENT, "probability_head_stride"},
    };
    const uint64_t row = (uint64_t)command->num_keys * SPATTEN_PROBABILITY_BYTES;
    enum spatten_error error = SPATTEN_OK;
    if ((command->flags & SPATTEN_FLAGS_ZERO_PRUNED_MASK) != 0u &&
        (uint32_t)plan->num_kv_heads * plan->group > rings->device->capabilities.max_heads)
        return spatten_refuse(rings, SPATTEN_ERROR_RANGE, "num_kv_heads");
    if ((command->flags & SPATTEN_FLAGS_PROBABILITIES_MASK) == 0u)
        return SPATTEN_OK;
    error = spatten_check_multiples(rings, multiples, sizeof multiples / sizeof *multiples);
    if (error == SPATTEN_OK && !spatten_inside(&rings->setup.writable, plan->probabilities, row))
        error = spatten_refuse(rings, SPATTEN_ERROR_WINDOW, "probabilities");
    return error;
}

/* Addresses of a command that has a plan: ALIGNMENT, WINDOW. Of the table of tokens its rows up to num_keys. */
static inline enum spatten_error spatten_check_addresses(struct spatten_rings *rings, const struct spatten_plan *plan,
                                                         const struct spatten_command *command)
{
    const struct spatten_window *readable = &rings->setup.readable, *writable = &rings->setup.writable;
    const bool table = SPATTEN_GET(command->flags, FLAGS_LIST) == SPATTEN_LIST_TABLE;
    const bool writes = (command->flags & SPATTEN_FLAGS_WRITE_STATE_MASK) != 0u;
    const uint32_t before = command->opcode == SPATTEN_OPCODE_LAYER ? 0u : command->head_keep;
    const uint64_t heads = ((uint64_t)command->num_heads + before) * SPATTEN_HEAD_BYTES;
    const uint64_t tokens = SPATTEN_TABLE_HEADER_BYTES + (uint64_t)command->num_keys * SPATTEN_TOKEN_BYTES;
    const struct spatten_multiple multiples[] = {
        {command->plan, SPATTEN_ALIGNMENT, "plan"},
        {table || writes ? command->state : 0u, SPATTEN_ALIGNMENT, "state"},
        {command->query, rings->device->capabilities.word_bytes, "query"},
        {command->num_heads != 0u ? command->out : 0u, SPATTEN_ROW_ALIGNMENT, "out"},
    };
    const enum spatten_error error = spatten_check_multiples(rings, multiples, sizeof multiples / sizeof *multiples);
    if (error != SPATTEN_OK)
        return error;
    if (!spatten_inside(readable, command->plan, SPATTEN_PLAN_BYTES))
        return spatten_refuse(rings, SPATTEN_ERROR_WINDOW, "plan");
    if (command->num_heads != 0u && !spatten_inside(readable, plan->heads, heads))
        return spatten_refuse(rings, SPATTEN_ERROR_WINDOW, "heads");
    if (table && !spatten_inside(readable, command->state, tokens))
        return spatten_refuse(rings, SPATTEN_ERROR_WINDOW, "state");
    if (writes && !spatten_inside(writable, command->state, SPATTEN_TABLE_HEADER_BYTES))
        return spatten_refuse(rings, SPATTEN_ERROR_WINDOW, "state");
    if (writes && command->num_heads != 0u && !spatten_inside(writable, plan->heads, heads))
        return spatten_refuse(rings, SPATTEN_ERROR_WINDOW, "heads");
    if (command->num_heads != 0u &&
        (command->out > writable->limit || spatten_out_bytes(plan) > writable->limit - command->out))
        return spatten_refuse(rings, SPATTEN_ERROR_WINDOW, "out");
    return SPATTEN_OK;
}

/* Counts of LAYER, JOB, PAIR and SELECT: RANGE. */
static inline enum spatten_error spatten_check_counts(struct spatten_rings *rings,
                                                      const struct spatten_command *command)
{
    const struct spatten_capabilities *has = &rings->device->capabilities;
    const bool causal = (command->flags & SPATTEN_FLAGS_CAUSAL_MASK) != 0u;
    const bool generation = (command->flags & SPATTEN_FLAGS_GENERATION_MASK) != 0u;
    const bool select = (command->flags & SPATTEN_FLAGS_SELECT_MASK) != 0u;
    const bool layer = command->opcode == SPATTEN_OPCODE_LAYER;
    const bool job = command->opcode == SPATTEN_OPCODE_JOB || command->opcode == SPATTEN_OPCODE_PAIR;
    const uint64_t queries = generation ? 1u : causal ? command->num_keys : has->max_tokens;
    const uint64_t heads = layer ? has->max_heads : !job ? 0u : generation ? 1u : has->max_group;
    const struct spatten_bound bounds[] = {
        {command->num_rows, 1u, has->max_tokens, "num_rows"},
        {command->num_keys, 1u, command->num_rows, "num_keys"},
        {command->num_heads, job ? 1u : 0u, heads, "num_heads"},
    };
    const struct spatten_bound attention[] = {
        {command->num_queries, 1u, queries < has->max_tokens ? queries : has->max_tokens, "num_queries"},
        {(uint64_t)command->num_queries * (job ? command->num_heads : 1u), 1u, has->max_tokens, "num_queries"},
        {command->value_keep, 1u, command->num_keys, "value_keep"},
        {job ? (uint64_t)command->head_keep + command->num_heads : 0u, 0u, has->max_heads, "head_keep"},
    };
    const struct spatten_bound selection[] = {
        {command->token_keep, 1u, UINT32_MAX, "token_keep"},
        {command->head_keep, command->num_heads != 0u ? 1u : 0u, UINT32_MAX, "head_keep"},
    };
    enum spatten_error error = spatten_check_bounds(rings, bounds, sizeof bounds / sizeof *bounds);
    if (error == SPATTEN_OK && command->num_heads != 0u)
        error = spatten_check_bounds(rings, attention, sizeof attention / sizeof *attention);
    if (error == SPATTEN_OK && select && !job)
        error = spatten_check_bounds(rings, selection, sizeof selection / sizeof *selection);
    return error;
}

static inline enum spatten_error spatten_build(struct spatten_rings *rings, const struct spatten_plan *plan,
                                               struct spatten_command *command, enum spatten_opcode opcode)
{
    enum spatten_error error = spatten_queue_usable(rings);
    if (error == SPATTEN_OK && command == NULL)
        error = SPATTEN_ERROR_ARGUMENT;
    if (error == SPATTEN_OK)
        error = spatten_check_plan(rings, plan);
    if (error != SPATTEN_OK)
        return error;
    command->opcode = (uint8_t)opcode;
    error = spatten_check_flags(rings, command);
    if (error == SPATTEN_OK && command->num_heads != 0u)
        error = spatten_check_widths(rings, plan);
    if (error == SPATTEN_OK)
        error = spatten_check_counts(rings, command);
    if (error == SPATTEN_OK)
        error = spatten_check_addresses(rings, plan, command);
    if (error == SPATTEN_OK)
        error = spatten_check_extras(rings, plan, command);
    return error;
}

/* Makes `command`, whose other fields the caller has set, a LAYER, and checks it with its plan: RANGE, ALIGNMENT,
 * WINDOW, UNSUPPORTED with rings->field. `plan` is what lies, or will lie, at command->plan. */
static inline enum spatten_error spatten_layer(struct spatten_rings *rings, const struct spatten_plan *plan,
                                               struct spatten_command *command)
{
    return spatten_build(rings, plan, command, SPATTEN_OPCODE_LAYER);
}

/* Likewise a JOB: num_heads query heads of one K/V head, from entry head_keep of the table of heads. */
static inline enum spatten_error spatten_job(struct spatten_rings *rings, const struct spatten_plan *plan,
                                             struct spatten_command *command)
{
    return spatten_build(rings, plan, command, SPATTEN_OPCODE_JOB);
}

/* Likewise a SELECT: no heads. */
static inline enum spatten_error spatten_select(struct spatten_rings *rings, const struct spatten_plan *plan,
                                                struct spatten_command *command)
{
    return spatten_build(rings, plan, command, SPATTEN_OPCODE_SELECT);
}

/* Likewise two commands, `pair[0]` and `pair[1]`, with a plan each: jobs of one query whose K rows lie together.
 *
 * PAIR with rings->field: they differ in what they must share, or the second's list is not the first's. SIZE: the ring
 * has one slot. Submit both by one call. */
static inline enum spatten_error spatten_pair(struct spatten_rings *rings, const struct spatten_plan *first,
                                              const struct spatten_plan *second, struct spatten_command *pair)
{
    enum spatten_error error = spatten_build(rings, first, pair, SPATTEN_OPCODE_PAIR);
    uint32_t list;
    if (error == SPATTEN_OK)
        error = spatten_build(rings, second, pair + 1, SPATTEN_OPCODE_PAIR);
    if (error != SPATTEN_OK)
        return error;
    if (rings->setup.num_commands < 2u)
        return spatten_refuse(rings, SPATTEN_ERROR_SIZE, "num_commands");
    if ((pair[0].flags & pair[1].flags & SPATTEN_FLAGS_GENERATION_MASK) == 0u)
        return spatten_refuse(rings, SPATTEN_ERROR_PAIR, "generation");
    if (first->dim != second->dim || 2u * first->dim > rings->device->capabilities.max_dim)
        return spatten_refuse(rings, SPATTEN_ERROR_PAIR, "dim");
    if (first->key != second->key)
        return spatten_refuse(rings, SPATTEN_ERROR_PAIR, "key");
    if (first->key_bits != second->key_bits || first->key_lsb_bits != second->key_lsb_bits)
        return spatten_refuse(rings, SPATTEN_ERROR_PAIR, "key_bits");
    if (first->skew != second->skew)
        return spatten_refuse(rings, SPATTEN_ERROR_PAIR, "skew");
    if (pair[0].num_keys != pair[1].num_keys || pair[0].num_rows != pair[1].num_rows)
        return spatten_refuse(rings, SPATTEN_ERROR_PAIR, "num_keys");
    list = SPATTEN_GET(pair[0].flags, FLAGS_LIST) == SPATTEN_LIST_DENSE ? SPATTEN_LIST_DENSE : SPATTEN_LIST_PREVIOUS;
    if (SPATTEN_GET(pair[1].flags, FLAGS_LIST) != list)
        return spatten_refuse(rings, SPATTEN_ERROR_PAIR, "list");
    return SPATTEN_OK;
}

/* Bytes from an APPEND's first row of a tensor to the end of its last one. */
static inline uint64_t spatten_append_bytes(const struct spatten_plan *plan, const struct spatten_append *append)
{
    const bool query = (append->flags & SPATTEN_APPEND_FLAGS_QUERY_MASK) != 0u;
    const uint64_t heads = (uint64_t)append->num_heads * (query ? plan->group : 1u);
    return (uint64_t)(append->num_rows - 1u) * append->position_stride + (heads - 1u) * append->head_stride +
           2u * (uint64_t)plan->dim;
}

/* Numbers of an APPEND: RANGE, ALIGNMENT, UNSUPPORTED. */
static inline enum spatten_error spatten_check_append(struct spatten_rings *rings, const struct spatten_plan *plan,
                                                      const struct spatten_append *append)
{
    const uint32_t both = SPATTEN_APPEND_FLAGS_KEY_MASK | SPATTEN_APPEND_FLAGS_VALUE_MASK;
    const uint32_t all = both | SPATTEN_APPEND_FLAGS_QUERY_MASK | SPATTEN_APPEND_FLAGS_HALF_MASK |
                         SPATTEN_APPEND_FLAGS_PAIRED_MASK;
    const bool query = (append->flags & SPATTEN_APPEND_FLAGS_QUERY_MASK) != 0u;
    const bool value = (append->flags & SPATTEN_APPEND_FLAGS_VALUE_MASK) != 0u;
    const bool other = query || (append->flags & SPATTEN_APPEND_FLAGS_KEY_MASK) != 0u;
    const bool paired = (append->flags & SPATTEN_APPEND_FLAGS_PAIRED_MASK) != 0u;
    const struct spatten_capabilities *has = &rings->device->capabilities;
    const uint64_t rows = (uint64_t)append->num_rows * (query ? plan->group : 1u);
    const struct spatten_bound bounds[] = {
        {append->irq, 0u, 1u, "irq"},
        {append->flags & ~all, 0u, 0u, "flags"},
        {append->flags & both, query ? 0u : 1u, query ? 0u : both, "flags"},
        {query ? plan->group : 1u, 1u, has->max_group, "group"},
        {append->num_rows, 1u, has->max_tokens, "num_rows"},
        {append->first_row + rows, 1u, has->max_tokens, "first_row"},
        {append->num_heads, 1u, has->max_heads, "num_heads"},
        {paired ? append->num_heads % 2u : 0u, 0u, 0u, "num_heads"},
    };
    const struct spatten_multiple multiples[] = {
        {append->plan, SPATTEN_ALIGNMENT, "plan"},
        {append->constants, SPATTEN_ALIGNMENT, "constants"},
        {other ? append->rows : 0u, SPATTEN_ROW_ALIGNMENT, "rows"},
        {value ? append->value_rows : 0u, SPATTEN_ROW_ALIGNMENT, "value_rows"},
        {append->position_stride, SPATTEN_ROW_ALIGNMENT, "position_stride"},
        {append->head_stride, SPATTEN_ROW_ALIGNMENT, "head_stride"},
        {append->query, has->word_bytes, "query"},
    };
    enum spatten_error error;
    if (query ? !has->quantize_query : !has->append)
        return spatten_refuse(rings, SPATTEN_ERROR_UNSUPPORTED, query ? "query" : "opcode");
    error = spatten_check_bounds(rings, bounds, sizeof bounds / sizeof *bounds);
    if (error == SPATTEN_OK)
        error = spatten_check_widths(rings, plan);
    if (error == SPATTEN_OK)
        error = spatten_check_multiples(rings, multiples, sizeof multiples / sizeof *multiples);
    return error;
}

/* Makes `command` of an APPEND, whose opcode the caller need not set, and checks it with its plan: as spatten_layer. Of
 * its completion, `tokens` is the number of elements that were beyond their range. */
static inline enum spatten_error spatten_append_rows(struct spatten_rings *rings, const struct spatten_plan *plan,
                                                     const struct spatten_append *append,
                                                     struct spatten_command *command)
{
    const struct spatten_window *readable = &rings->setup.readable;
    struct spatten_append checked;
    uint8_t memory[SPATTEN_COMMAND_BYTES];
    enum spatten_error error = spatten_check_plan(rings, plan);
    if (error == SPATTEN_OK && (append == NULL || command == NULL))
        error = SPATTEN_ERROR_ARGUMENT;
    if (error != SPATTEN_OK)
        return error;
    checked = *append;
    checked.opcode = SPATTEN_OPCODE_APPEND;
    error = spatten_check_append(rings, plan, &checked);
    if (error != SPATTEN_OK)
        return error;
    {
        const bool value = (checked.flags & SPATTEN_APPEND_FLAGS_VALUE_MASK) != 0u;
        const bool other = (checked.flags & (SPATTEN_APPEND_FLAGS_KEY_MASK | SPATTEN_APPEND_FLAGS_QUERY_MASK)) != 0u;
        const uint64_t bytes = spatten_append_bytes(plan, &checked);
        const uint64_t constants = (uint64_t)checked.num_heads * plan->dim * SPATTEN_CONSTANT_BYTES;
        if (!spatten_inside(readable, checked.plan, SPATTEN_PLAN_BYTES))
            return spatten_refuse(rings, SPATTEN_ERROR_WINDOW, "plan");
        if (!spatten_inside(readable, checked.constants, value && other ? 2u * constants : constants))
            return spatten_refuse(rings, SPATTEN_ERROR_WINDOW, "constants");
        if (other && !spatten_inside(readable, checked.rows, bytes))
            return spatten_refuse(rings, SPATTEN_ERROR_WINDOW, "rows");
        if (value && !spatten_inside(readable, checked.value_rows, bytes))
            return spatten_refuse(rings, SPATTEN_ERROR_WINDOW, "value_rows");
    }
    spatten_pack_append(memory, &checked);
    spatten_unpack_command(command, memory); /* the same 64 bytes */
    return SPATTEN_OK;
}

/* A command that does nothing and is answered; `irq`: by an interrupt, too. */
static inline void spatten_nop(struct spatten_command *command, uint16_t tag, bool irq)
{
    memset(command, 0, sizeof *command);
    command->opcode = SPATTEN_OPCODE_NOP;
    command->tag = tag;
    command->irq = irq ? 1u : 0u;
}

/* A command that is answered when all commands of its queue in front of it are. */
static inline void spatten_fence(struct spatten_command *command, uint16_t tag, bool irq)
{
    spatten_nop(command, tag, irq);
    command->opcode = SPATTEN_OPCODE_FENCE;
}

/* Checks a plan and writes it to memory, 128 bytes. */
static inline enum spatten_error spatten_write_plan(struct spatten_rings *rings, void *memory,
                                                    const struct spatten_plan *plan)
{
    const enum spatten_error error = spatten_check_plan(rings, plan);
    if (error != SPATTEN_OK || memory == NULL)
        return error != SPATTEN_OK ? error : SPATTEN_ERROR_ARGUMENT;
    spatten_pack_plan(memory, plan);
    spatten_clean(rings->device, memory, SPATTEN_PLAN_BYTES);
    return SPATTEN_OK;
}

/* Checks a table of heads and writes it to memory, 16 bytes an entry; rings->field is the field of a refused entry. */
static inline enum spatten_error spatten_write_heads(struct spatten_rings *rings, void *memory,
                                                     const struct spatten_head_row *rows, uint32_t count)
{
    enum spatten_error error = spatten_queue_usable(rings);
    uint32_t i;
    if (error == SPATTEN_OK && (memory == NULL || rows == NULL))
        error = SPATTEN_ERROR_ARGUMENT;
    for (i = 0; error == SPATTEN_OK && i < count; ++i) {
        const struct spatten_bound bounds[] = {
            {rows[i].head, 0u, rings->device->capabilities.max_heads - 1u, "head"},
            {rows[i].kv_head, i != 0u ? rows[i - 1u].kv_head : 0u, UINT16_MAX, "kv_head"},
            {rows[i].scale, 1u, UINT16_MAX, "scale"},
            {rows[i].shift, 1u, 63u, "shift"},
            {rows[i].reserved1, 0u, 0u, "reserved1"},
        };
        error = spatten_check_bounds(rings, bounds, sizeof bounds / sizeof *bounds);
    }
    if (error != SPATTEN_OK)
        return error;
    for (i = 0; i < count; ++i)
        spatten_pack_head_row((uint8_t *)memory + (size_t)i * SPATTEN_HEAD_BYTES, &rows[i]);
    spatten_clean(rings->device, memory, (size_t)count * SPATTEN_HEAD_BYTES);
    return SPATTEN_OK;
}

/* Reads a table of heads, as when the device has written it back: the completion tells how many. */
static inline enum spatten_error spatten_read_heads(struct spatten_rings *rings, const void *memory,
                                                    struct spatten_head_row *rows, uint32_t count)
{
    const enum spatten_error error = spatten_queue_usable(rings);
    uint32_t i;
    if (error != SPATTEN_OK || memory == NULL || rows == NULL)
        return error != SPATTEN_OK ? error : SPATTEN_ERROR_ARGUMENT;
    spatten_invalidate(rings->device, memory, (size_t)count * SPATTEN_HEAD_BYTES);
    for (i = 0; i < count; ++i)
        spatten_unpack_head_row(&rows[i], (const uint8_t *)memory + (size_t)i * SPATTEN_HEAD_BYTES);
    return SPATTEN_OK;
}

/* Checks a table of tokens and writes it to memory: 64 bytes, and 8 for each of `count` rows. Ids ascend strictly.
 * `capacity`: rows for which there is room. The device reads on to the end of a group of its lanes. */
static inline enum spatten_error spatten_write_tokens(struct spatten_rings *rings, void *memory,
                                                      const struct spatten_token_row *rows, uint32_t count,
                                                      uint32_t capacity)
{
    enum spatten_error error = spatten_queue_usable(rings);
    struct spatten_token_header header;
    uint8_t *row;
    uint32_t i;
    if (error == SPATTEN_OK && (memory == NULL || rows == NULL))
        error = SPATTEN_ERROR_ARGUMENT;
    if (error == SPATTEN_OK && count > capacity)
        error = spatten_refuse(rings, SPATTEN_ERROR_RANGE, "count");
    for (i = 0; error == SPATTEN_OK && i < count; ++i)
        if (rows[i].id > SPATTEN_TOKEN_ROW_ID_MASK || (i != 0u && rows[i].id <= rows[i - 1u].id))
            error = spatten_refuse(rings, SPATTEN_ERROR_RANGE, "id");
    if (error != SPATTEN_OK)
        return error;
    memset(&header, 0, sizeof header);
    header.count = count;
    header.capacity = capacity;
    spatten_pack_token_header(memory, &header);
    row = (uint8_t *)memory + SPATTEN_TABLE_HEADER_BYTES;
    for (i = 0; i < count; ++i)
        spatten_pack_token_row(row + (size_t)i * SPATTEN_TOKEN_BYTES, &rows[i]);
    spatten_clean(rings->device, memory, SPATTEN_TABLE_HEADER_BYTES + (size_t)count * SPATTEN_TOKEN_BYTES);
    return SPATTEN_OK;
}

/* Reads a table of tokens: at most `most` rows; `count` becomes their number. SIZE: there are more, none is read. */
static inline enum spatten_error spatten_read_tokens(struct spatten_rings *rings, const void *memory,
                                                     struct spatten_token_row *rows, uint32_t most, uint32_t *count)
{
    const enum spatten_error error = spatten_queue_usable(rings);
    struct spatten_token_header header;
    const uint8_t *row;
    uint32_t i;
    if (error != SPATTEN_OK || memory == NULL || rows == NULL || count == NULL)
        return error != SPATTEN_OK ? error : SPATTEN_ERROR_ARGUMENT;
    spatten_invalidate(rings->device, memory, SPATTEN_TABLE_HEADER_BYTES);
    spatten_unpack_token_header(&header, memory);
    *count = header.count;
    if (header.count > most)
        return SPATTEN_ERROR_SIZE;
    row = (const uint8_t *)memory + SPATTEN_TABLE_HEADER_BYTES;
    spatten_invalidate(rings->device, row, (size_t)header.count * SPATTEN_TOKEN_BYTES);
    for (i = 0; i < header.count; ++i)
        spatten_unpack_token_row(&rows[i], row + (size_t)i * SPATTEN_TOKEN_BYTES);
    return SPATTEN_OK;
}

#endif
