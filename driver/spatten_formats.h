/* SpAtten in memory: commands, plans, tables and completions.
 *
 * Generated from hdl/spec/formats.py by `make registers`; do not edit. docs/commands.md explains the fields.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A structure holds numbers as the host has them. spatten_pack_NAME(memory, &structure) writes it as the accelerator
 * reads it, little endian, and spatten_unpack_NAME(&structure, memory) reads what the accelerator wrote; memory needs
 * no alignment. On a little endian host both are a copy, for the structure has the layout of memory.
 * Begin with a structure of zeros: what is reserved must be 0.
 *
 * What shares a member has a _MASK and a _SHIFT, for SPATTEN_GET(member, FIELD) and SPATTEN_SET(FIELD, value) of
 * spatten_regs.h, as in flags = SPATTEN_SET(FLAGS_CAUSAL, 1) and SPATTEN_GET(completion.phase, COMPLETION_PHASE).
 *
 * spatten_code_name(code) gives the name of a code, spatten_code_text(code) what it means, spatten_opcode_name(opcode)
 * the name of an opcode; "unknown" of others.
 */
#ifndef SPATTEN_FORMATS_H
#define SPATTEN_FORMATS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "spatten_regs.h"

/* 0 is right on every host, 1 on little endian ones only. */
#ifndef SPATTEN_LITTLE_ENDIAN
#if defined(__BYTE_ORDER__) && defined(__ORDER_LITTLE_ENDIAN__)
#define SPATTEN_LITTLE_ENDIAN (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
#else
#define SPATTEN_LITTLE_ENDIAN 0
#endif
#endif

/* The lowest `bytes` bytes (1...8) of a number into memory, little endian. */
static inline void spatten_store(void *memory, unsigned bytes, uint64_t value)
{
    uint8_t *byte = (uint8_t *)memory;
    unsigned i;
    for (i = 0; i < bytes; ++i)
        byte[i] = (uint8_t)(value >> 8 * i);
}

/* A number of `bytes` bytes (1...8) out of memory, little endian. */
static inline uint64_t spatten_load(const void *memory, unsigned bytes)
{
    const uint8_t *byte = (const uint8_t *)memory;
    uint64_t value = 0;
    unsigned i;
    for (i = 0; i < bytes; ++i)
        value |= (uint64_t)byte[i] << 8 * i;
    return value;
}

#define SPATTEN_ALIGNMENT 64u
#define SPATTEN_APPEND_OFFSET_FRAC 4u
#define SPATTEN_APPEND_SHIFT_BIAS 15u
#define SPATTEN_COMMAND_BYTES 64u
#define SPATTEN_COMPLETION_BYTES 32u
#define SPATTEN_CONSTANT_BYTES 4u
#define SPATTEN_HEAD_BYTES 16u
#define SPATTEN_PLAN_BYTES 128u
#define SPATTEN_PROBABILITY_BYTES 2u
#define SPATTEN_ROW_ALIGNMENT 32u
#define SPATTEN_TABLE_HEADER_BYTES 64u
#define SPATTEN_TOKEN_BYTES 8u

enum spatten_opcode {
    SPATTEN_OPCODE_NOP = 0, /* nothing; it is answered */
    SPATTEN_OPCODE_LAYER = 1, /* attention of the heads of a layer, then its selection */
    SPATTEN_OPCODE_JOB = 2, /* attention of the query heads of one K/V head */
    SPATTEN_OPCODE_PAIR = 3, /* two jobs whose K rows lie together, in two slots one after the other */
    SPATTEN_OPCODE_SELECT = 4, /* a list of tokens, a selection, or both; no attention */
    SPATTEN_OPCODE_FENCE = 5, /* answered when all commands in front of it are */
    SPATTEN_OPCODE_APPEND = 6 /* rows of K, V or Q are quantized and stored into their planes */
};

enum spatten_out_format {
    SPATTEN_OUT_FORMAT_INT32 = 0, /* Q(operand_width).8, as the core gives them */
    SPATTEN_OUT_FORMAT_FP32 = 1, /* the integer times 2**exponent of its head, which is exact */
    SPATTEN_OUT_FORMAT_BF16 = 2 /* the same, rounded to the nearest, of two the even one */
};

enum spatten_list {
    SPATTEN_LIST_DENSE = 0,
    SPATTEN_LIST_TABLE = 1,
    SPATTEN_LIST_PREVIOUS = 2
};

enum spatten_code {
    SPATTEN_CODE_DONE = 0, /* done */
    SPATTEN_CODE_BAD_DIM = 1, /* dimension is not served */
    SPATTEN_CODE_BAD_COUNT = 2, /* number of keys, queries or rows is out of range */
    SPATTEN_CODE_BAD_KEEP = 3, /* number of values to keep is out of range */
    SPATTEN_CODE_BAD_WIDTH = 4, /* operand width or MSB+LSB split is unknown */
    SPATTEN_CODE_BAD_WINDOW = 5, /* plane lies outside the permitted window */
    SPATTEN_CODE_BAD_IDS = 6, /* key ids are not strictly ascending, out of range, or not as many as keys */
    SPATTEN_CODE_BAD_CAPACITY = 7, /* keys do not fit the K buffer at this dimension */
    SPATTEN_CODE_BAD_SCALE = 8, /* scale or shift is zero */
    SPATTEN_CODE_BAD_HEADS = 9, /* heads or group are out of range, or not as many as announced */
    SPATTEN_CODE_BAD_SELECT = 10, /* number of tokens or heads to keep is zero */
    SPATTEN_CODE_BAD_PAIR = 11, /* job is not the next of the pair or chain, or cannot be part of one */
    SPATTEN_CODE_READ_ERROR = 12, /* the bus answered a read with an error or with a wrong number of beats */
    SPATTEN_CODE_WRITE_ERROR = 13, /* the bus answered a write with an error */
    /* the command, its plan or a table has a value that is not allowed; nothing was touched */
    SPATTEN_CODE_MALFORMED = 14,
    SPATTEN_CODE_ABORTED = 15, /* its queue was aborted; what it wrote is of no use */
    SPATTEN_CODE_TIMEOUT = 16, /* the bus did not answer */
    SPATTEN_CODE_OUTSIDE = 17 /* an address outside the queue's window was asked for, and neither read nor written */
};

static inline const char *spatten_code_name(unsigned value)
{
    switch (value) {
    case 0: return "DONE";
    case 1: return "BAD_DIM";
    case 2: return "BAD_COUNT";
    case 3: return "BAD_KEEP";
    case 4: return "BAD_WIDTH";
    case 5: return "BAD_WINDOW";
    case 6: return "BAD_IDS";
    case 7: return "BAD_CAPACITY";
    case 8: return "BAD_SCALE";
    case 9: return "BAD_HEADS";
    case 10: return "BAD_SELECT";
    case 11: return "BAD_PAIR";
    case 12: return "READ_ERROR";
    case 13: return "WRITE_ERROR";
    case 14: return "MALFORMED";
    case 15: return "ABORTED";
    case 16: return "TIMEOUT";
    case 17: return "OUTSIDE";
    default: return "unknown";
    }
}

static inline const char *spatten_code_text(unsigned value)
{
    switch (value) {
    case 0: return "done";
    case 1: return "dimension is not served";
    case 2: return "number of keys, queries or rows is out of range";
    case 3: return "number of values to keep is out of range";
    case 4: return "operand width or MSB+LSB split is unknown";
    case 5: return "plane lies outside the permitted window";
    case 6: return "key ids are not strictly ascending, out of range, or not as many as keys";
    case 7: return "keys do not fit the K buffer at this dimension";
    case 8: return "scale or shift is zero";
    case 9: return "heads or group are out of range, or not as many as announced";
    case 10: return "number of tokens or heads to keep is zero";
    case 11: return "job is not the next of the pair or chain, or cannot be part of one";
    case 12: return "the bus answered a read with an error or with a wrong number of beats";
    case 13: return "the bus answered a write with an error";
    case 14: return "the command, its plan or a table has a value that is not allowed; nothing was touched";
    case 15: return "its queue was aborted; what it wrote is of no use";
    case 16: return "the bus did not answer";
    case 17: return "an address outside the queue's window was asked for, and neither read nor written";
    default: return "unknown";
    }
}

static inline const char *spatten_opcode_name(unsigned value)
{
    switch (value) {
    case 0: return "NOP";
    case 1: return "LAYER";
    case 2: return "JOB";
    case 3: return "PAIR";
    case 4: return "SELECT";
    case 5: return "FENCE";
    case 6: return "APPEND";
    default: return "unknown";
    }
}

struct spatten_command {
    uint8_t opcode;
    uint8_t irq;
    uint16_t tag;
    uint32_t flags;
    uint32_t num_keys;
    uint32_t num_queries; /* of each query head */
    uint32_t num_rows; /* of the planes of K and V */
    uint32_t value_keep; /* V rows kept for each query */
    uint32_t token_keep; /* tokens that survive the selection */
    uint16_t num_heads; /* entries of the table of heads; JOB, PAIR: query heads of the K/V head */
    uint16_t head_keep; /* heads that survive; JOB, PAIR: first entry of the table of heads */
    uint64_t plan; /* address of the plan */
    uint64_t query; /* offset of the Q plane of the first K/V head */
    uint64_t out; /* address of the output of position 0, head 0 */
    uint64_t state; /* address of the table of tokens */
};
#define SPATTEN_COMMAND_IRQ_MASK UINT32_C(0x1)
#define SPATTEN_COMMAND_IRQ_SHIFT 0
#define SPATTEN_FLAGS_CAUSAL_MASK UINT32_C(0x1) /* query q attends the first num_keys - num_queries + q + 1 keys */
#define SPATTEN_FLAGS_CAUSAL_SHIFT 0
#define SPATTEN_FLAGS_GENERATION_MASK UINT32_C(0x2) /* one query; only the V rows that survive local pruning are read */
#define SPATTEN_FLAGS_GENERATION_SHIFT 1
#define SPATTEN_FLAGS_ACCUMULATE_MASK UINT32_C(0x4) /* importance of tokens and heads is summed up */
#define SPATTEN_FLAGS_ACCUMULATE_SHIFT 2
#define SPATTEN_FLAGS_SELECT_MASK UINT32_C(0x8) /* tokens and heads are selected in the end */
#define SPATTEN_FLAGS_SELECT_SHIFT 3
#define SPATTEN_FLAGS_LIST_MASK UINT32_C(0x30) /* enum spatten_list */
#define SPATTEN_FLAGS_LIST_SHIFT 4
/* the list is a bit for each row, not a table of tokens; for long contexts, else 0 */
#define SPATTEN_FLAGS_BIT_PLANE_MASK UINT32_C(0x40)
#define SPATTEN_FLAGS_BIT_PLANE_SHIFT 6
/* the survivors of the selection replace the tables of tokens and heads */
#define SPATTEN_FLAGS_WRITE_STATE_MASK UINT32_C(0x80)
#define SPATTEN_FLAGS_WRITE_STATE_SHIFT 7
/* row num_rows, of the next step, is added to the table with importance 0 */
#define SPATTEN_FLAGS_ADD_TOKEN_MASK UINT32_C(0x100)
#define SPATTEN_FLAGS_ADD_TOKEN_SHIFT 8
#define SPATTEN_FLAGS_PROBABILITIES_MASK UINT32_C(0x200) /* they are written, too */
#define SPATTEN_FLAGS_PROBABILITIES_SHIFT 9
/* outputs of the heads that are not in the table are written as 0 */
#define SPATTEN_FLAGS_ZERO_PRUNED_MASK UINT32_C(0x400)
#define SPATTEN_FLAGS_ZERO_PRUNED_SHIFT 10
SPATTEN_ASSERT(at_command_opcode, offsetof(struct spatten_command, opcode) == 0);
SPATTEN_ASSERT(at_command_irq, offsetof(struct spatten_command, irq) == 1);
SPATTEN_ASSERT(at_command_tag, offsetof(struct spatten_command, tag) == 2);
SPATTEN_ASSERT(at_command_flags, offsetof(struct spatten_command, flags) == 4);
SPATTEN_ASSERT(at_command_num_keys, offsetof(struct spatten_command, num_keys) == 8);
SPATTEN_ASSERT(at_command_num_queries, offsetof(struct spatten_command, num_queries) == 12);
SPATTEN_ASSERT(at_command_num_rows, offsetof(struct spatten_command, num_rows) == 16);
SPATTEN_ASSERT(at_command_value_keep, offsetof(struct spatten_command, value_keep) == 20);
SPATTEN_ASSERT(at_command_token_keep, offsetof(struct spatten_command, token_keep) == 24);
SPATTEN_ASSERT(at_command_num_heads, offsetof(struct spatten_command, num_heads) == 28);
SPATTEN_ASSERT(at_command_head_keep, offsetof(struct spatten_command, head_keep) == 30);
SPATTEN_ASSERT(at_command_plan, offsetof(struct spatten_command, plan) == 32);
SPATTEN_ASSERT(at_command_query, offsetof(struct spatten_command, query) == 40);
SPATTEN_ASSERT(at_command_out, offsetof(struct spatten_command, out) == 48);
SPATTEN_ASSERT(at_command_state, offsetof(struct spatten_command, state) == 56);
SPATTEN_ASSERT(sizeof_command, sizeof(struct spatten_command) == 64);

static inline void spatten_pack_command(void *memory, const struct spatten_command *from)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(memory, from, sizeof *from);
#else
    uint8_t *to = (uint8_t *)memory;
    spatten_store(to + 0, 1, from->opcode);
    spatten_store(to + 1, 1, from->irq);
    spatten_store(to + 2, 2, from->tag);
    spatten_store(to + 4, 4, from->flags);
    spatten_store(to + 8, 4, from->num_keys);
    spatten_store(to + 12, 4, from->num_queries);
    spatten_store(to + 16, 4, from->num_rows);
    spatten_store(to + 20, 4, from->value_keep);
    spatten_store(to + 24, 4, from->token_keep);
    spatten_store(to + 28, 2, from->num_heads);
    spatten_store(to + 30, 2, from->head_keep);
    spatten_store(to + 32, 8, from->plan);
    spatten_store(to + 40, 8, from->query);
    spatten_store(to + 48, 8, from->out);
    spatten_store(to + 56, 8, from->state);
#endif
}

static inline void spatten_unpack_command(struct spatten_command *to, const void *memory)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(to, memory, sizeof *to);
#else
    const uint8_t *from = (const uint8_t *)memory;
    to->opcode = (uint8_t)spatten_load(from + 0, 1);
    to->irq = (uint8_t)spatten_load(from + 1, 1);
    to->tag = (uint16_t)spatten_load(from + 2, 2);
    to->flags = (uint32_t)spatten_load(from + 4, 4);
    to->num_keys = (uint32_t)spatten_load(from + 8, 4);
    to->num_queries = (uint32_t)spatten_load(from + 12, 4);
    to->num_rows = (uint32_t)spatten_load(from + 16, 4);
    to->value_keep = (uint32_t)spatten_load(from + 20, 4);
    to->token_keep = (uint32_t)spatten_load(from + 24, 4);
    to->num_heads = (uint16_t)spatten_load(from + 28, 2);
    to->head_keep = (uint16_t)spatten_load(from + 30, 2);
    to->plan = (uint64_t)spatten_load(from + 32, 8);
    to->query = (uint64_t)spatten_load(from + 40, 8);
    to->out = (uint64_t)spatten_load(from + 48, 8);
    to->state = (uint64_t)spatten_load(from + 56, 8);
#endif
}

struct spatten_append {
    uint8_t opcode;
    uint8_t irq;
    uint16_t tag;
    uint32_t flags;
    uint32_t first_row; /* of the planes; the others follow it. Of Q the rows of a group's heads follow each other */
    uint16_t num_rows; /* of each head, at least 1 */
    uint16_t num_heads; /* K/V heads from head 0 of the plan on, at least 1 */
    uint32_t position_stride; /* bytes from row to row of the source */
    uint32_t head_stride; /* from head to head */
    uint64_t constants; /* address of the constants: those of K's heads, then of V's, dim of each head */
    uint64_t plan; /* address of the plan */
    uint64_t query; /* offset of the Q plane of the first K/V head */
    uint64_t rows; /* address of the first row of K or Q */
    uint64_t value_rows; /* of V */
};
#define SPATTEN_APPEND_IRQ_MASK UINT32_C(0x1)
#define SPATTEN_APPEND_IRQ_SHIFT 0
#define SPATTEN_APPEND_FLAGS_KEY_MASK UINT32_C(0x1) /* rows of K are appended */
#define SPATTEN_APPEND_FLAGS_KEY_SHIFT 0
#define SPATTEN_APPEND_FLAGS_VALUE_MASK UINT32_C(0x2) /* rows of V are */
#define SPATTEN_APPEND_FLAGS_VALUE_SHIFT 1
#define SPATTEN_APPEND_FLAGS_QUERY_MASK UINT32_C(0x4) /* rows of Q are, and nothing else */
#define SPATTEN_APPEND_FLAGS_QUERY_SHIFT 2
#define SPATTEN_APPEND_FLAGS_HALF_MASK UINT32_C(0x8) /* elements are fp16; else bf16 */
#define SPATTEN_APPEND_FLAGS_HALF_SHIFT 3
/* K rows (MSB plane) of heads 2j and 2j + 1 lie side by side, and the two have one skew */
#define SPATTEN_APPEND_FLAGS_PAIRED_MASK UINT32_C(0x10)
#define SPATTEN_APPEND_FLAGS_PAIRED_SHIFT 4
SPATTEN_ASSERT(at_append_opcode, offsetof(struct spatten_append, opcode) == 0);
SPATTEN_ASSERT(at_append_irq, offsetof(struct spatten_append, irq) == 1);
SPATTEN_ASSERT(at_append_tag, offsetof(struct spatten_append, tag) == 2);
SPATTEN_ASSERT(at_append_flags, offsetof(struct spatten_append, flags) == 4);
SPATTEN_ASSERT(at_append_first_row, offsetof(struct spatten_append, first_row) == 8);
SPATTEN_ASSERT(at_append_num_rows, offsetof(struct spatten_append, num_rows) == 12);
SPATTEN_ASSERT(at_append_num_heads, offsetof(struct spatten_append, num_heads) == 14);
SPATTEN_ASSERT(at_append_position_stride, offsetof(struct spatten_append, position_stride) == 16);
SPATTEN_ASSERT(at_append_head_stride, offsetof(struct spatten_append, head_stride) == 20);
SPATTEN_ASSERT(at_append_constants, offsetof(struct spatten_append, constants) == 24);
SPATTEN_ASSERT(at_append_plan, offsetof(struct spatten_append, plan) == 32);
SPATTEN_ASSERT(at_append_query, offsetof(struct spatten_append, query) == 40);
SPATTEN_ASSERT(at_append_rows, offsetof(struct spatten_append, rows) == 48);
SPATTEN_ASSERT(at_append_value_rows, offsetof(struct spatten_append, value_rows) == 56);
SPATTEN_ASSERT(sizeof_append, sizeof(struct spatten_append) == 64);

static inline void spatten_pack_append(void *memory, const struct spatten_append *from)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(memory, from, sizeof *from);
#else
    uint8_t *to = (uint8_t *)memory;
    spatten_store(to + 0, 1, from->opcode);
    spatten_store(to + 1, 1, from->irq);
    spatten_store(to + 2, 2, from->tag);
    spatten_store(to + 4, 4, from->flags);
    spatten_store(to + 8, 4, from->first_row);
    spatten_store(to + 12, 2, from->num_rows);
    spatten_store(to + 14, 2, from->num_heads);
    spatten_store(to + 16, 4, from->position_stride);
    spatten_store(to + 20, 4, from->head_stride);
    spatten_store(to + 24, 8, from->constants);
    spatten_store(to + 32, 8, from->plan);
    spatten_store(to + 40, 8, from->query);
    spatten_store(to + 48, 8, from->rows);
    spatten_store(to + 56, 8, from->value_rows);
#endif
}

static inline void spatten_unpack_append(struct spatten_append *to, const void *memory)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(to, memory, sizeof *to);
#else
    const uint8_t *from = (const uint8_t *)memory;
    to->opcode = (uint8_t)spatten_load(from + 0, 1);
    to->irq = (uint8_t)spatten_load(from + 1, 1);
    to->tag = (uint16_t)spatten_load(from + 2, 2);
    to->flags = (uint32_t)spatten_load(from + 4, 4);
    to->first_row = (uint32_t)spatten_load(from + 8, 4);
    to->num_rows = (uint16_t)spatten_load(from + 12, 2);
    to->num_heads = (uint16_t)spatten_load(from + 14, 2);
    to->position_stride = (uint32_t)spatten_load(from + 16, 4);
    to->head_stride = (uint32_t)spatten_load(from + 20, 4);
    to->constants = (uint64_t)spatten_load(from + 24, 8);
    to->plan = (uint64_t)spatten_load(from + 32, 8);
    to->query = (uint64_t)spatten_load(from + 40, 8);
    to->rows = (uint64_t)spatten_load(from + 48, 8);
    to->value_rows = (uint64_t)spatten_load(from + 56, 8);
#endif
}

struct spatten_append_constant {
    uint16_t mantissa;
    int16_t offset; /* signed */
};
#define SPATTEN_APPEND_CONSTANT_MANTISSA_MASK UINT32_C(0x3FF)
#define SPATTEN_APPEND_CONSTANT_MANTISSA_SHIFT 0
#define SPATTEN_APPEND_CONSTANT_SHIFT_MASK UINT32_C(0xFC00)
#define SPATTEN_APPEND_CONSTANT_SHIFT_SHIFT 10
SPATTEN_ASSERT(at_append_constant_mantissa, offsetof(struct spatten_append_constant, mantissa) == 0);
SPATTEN_ASSERT(at_append_constant_offset, offsetof(struct spatten_append_constant, offset) == 2);
SPATTEN_ASSERT(sizeof_append_constant, sizeof(struct spatten_append_constant) == 4);

static inline void spatten_pack_append_constant(void *memory, const struct spatten_append_constant *from)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(memory, from, sizeof *from);
#else
    uint8_t *to = (uint8_t *)memory;
    spatten_store(to + 0, 2, from->mantissa);
    spatten_store(to + 2, 2, (uint16_t)from->offset);
#endif
}

static inline void spatten_unpack_append_constant(struct spatten_append_constant *to, const void *memory)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(to, memory, sizeof *to);
#else
    const uint8_t *from = (const uint8_t *)memory;
    to->mantissa = (uint16_t)spatten_load(from + 0, 2);
    to->offset = (int16_t)spatten_load(from + 2, 2);
#endif
}

struct spatten_plan {
    uint16_t dim; /* D */
    uint8_t group; /* query heads of a K/V head */
    uint8_t num_kv_heads;
    uint8_t query_bits;
    uint8_t key_bits; /* of the MSB plane */
    uint8_t key_lsb_bits; /* 0: static, 4: progressive */
    uint8_t value_bits;
    uint16_t skew; /* channel of row 0 of K/V head 0 */
    uint8_t decay; /* importance -= importance >> decay at the selection; 0: not */
    uint8_t out_format; /* enum spatten_out_format */
    uint32_t pin_first; /* the first so many keys, and the last, survive before all others */
    uint32_t pin_last;
    uint32_t flat_limit; /* 2**16 / threshold; progressive only */
    uint64_t key; /* offsets of the planes of K/V head 0 */
    uint64_t key_lsb;
    uint64_t value;
    uint32_t query_stride; /* bytes of a channel from the planes of a K/V head to those of the next */
    uint32_t key_stride;
    uint32_t key_lsb_stride;
    uint32_t value_stride;
    uint64_t heads; /* address of the table of heads */
    uint64_t probabilities; /* address of those of query 0, head 0 */
    uint32_t out_position_stride; /* bytes from position to position of the outputs */
    uint32_t out_head_stride;
    uint32_t probability_query_stride;
    uint32_t probability_head_stride;
    uint8_t reserved0[32];
};
SPATTEN_ASSERT(at_plan_dim, offsetof(struct spatten_plan, dim) == 0);
SPATTEN_ASSERT(at_plan_group, offsetof(struct spatten_plan, group) == 2);
SPATTEN_ASSERT(at_plan_num_kv_heads, offsetof(struct spatten_plan, num_kv_heads) == 3);
SPATTEN_ASSERT(at_plan_query_bits, offsetof(struct spatten_plan, query_bits) == 4);
SPATTEN_ASSERT(at_plan_key_bits, offsetof(struct spatten_plan, key_bits) == 5);
SPATTEN_ASSERT(at_plan_key_lsb_bits, offsetof(struct spatten_plan, key_lsb_bits) == 6);
SPATTEN_ASSERT(at_plan_value_bits, offsetof(struct spatten_plan, value_bits) == 7);
SPATTEN_ASSERT(at_plan_skew, offsetof(struct spatten_plan, skew) == 8);
SPATTEN_ASSERT(at_plan_decay, offsetof(struct spatten_plan, decay) == 10);
SPATTEN_ASSERT(at_plan_out_format, offsetof(struct spatten_plan, out_format) == 11);
SPATTEN_ASSERT(at_plan_pin_first, offsetof(struct spatten_plan, pin_first) == 12);
SPATTEN_ASSERT(at_plan_pin_last, offsetof(struct spatten_plan, pin_last) == 16);
SPATTEN_ASSERT(at_plan_flat_limit, offsetof(struct spatten_plan, flat_limit) == 20);
SPATTEN_ASSERT(at_plan_key, offsetof(struct spatten_plan, key) == 24);
SPATTEN_ASSERT(at_plan_key_lsb, offsetof(struct spatten_plan, key_lsb) == 32);
SPATTEN_ASSERT(at_plan_value, offsetof(struct spatten_plan, value) == 40);
SPATTEN_ASSERT(at_plan_query_stride, offsetof(struct spatten_plan, query_stride) == 48);
SPATTEN_ASSERT(at_plan_key_stride, offsetof(struct spatten_plan, key_stride) == 52);
SPATTEN_ASSERT(at_plan_key_lsb_stride, offsetof(struct spatten_plan, key_lsb_stride) == 56);
SPATTEN_ASSERT(at_plan_value_stride, offsetof(struct spatten_plan, value_stride) == 60);
SPATTEN_ASSERT(at_plan_heads, offsetof(struct spatten_plan, heads) == 64);
SPATTEN_ASSERT(at_plan_probabilities, offsetof(struct spatten_plan, probabilities) == 72);
SPATTEN_ASSERT(at_plan_out_position_stride, offsetof(struct spatten_plan, out_position_stride) == 80);
SPATTEN_ASSERT(at_plan_out_head_stride, offsetof(struct spatten_plan, out_head_stride) == 84);
SPATTEN_ASSERT(at_plan_probability_query_stride, offsetof(struct spatten_plan, probability_query_stride) == 88);
SPATTEN_ASSERT(at_plan_probability_head_stride, offsetof(struct spatten_plan, probability_head_stride) == 92);
SPATTEN_ASSERT(at_plan_reserved0, offsetof(struct spatten_plan, reserved0) == 96);
SPATTEN_ASSERT(sizeof_plan, sizeof(struct spatten_plan) == 128);

static inline void spatten_pack_plan(void *memory, const struct spatten_plan *from)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(memory, from, sizeof *from);
#else
    uint8_t *to = (uint8_t *)memory;
    spatten_store(to + 0, 2, from->dim);
    spatten_store(to + 2, 1, from->group);
    spatten_store(to + 3, 1, from->num_kv_heads);
    spatten_store(to + 4, 1, from->query_bits);
    spatten_store(to + 5, 1, from->key_bits);
    spatten_store(to + 6, 1, from->key_lsb_bits);
    spatten_store(to + 7, 1, from->value_bits);
    spatten_store(to + 8, 2, from->skew);
    spatten_store(to + 10, 1, from->decay);
    spatten_store(to + 11, 1, from->out_format);
    spatten_store(to + 12, 4, from->pin_first);
    spatten_store(to + 16, 4, from->pin_last);
    spatten_store(to + 20, 4, from->flat_limit);
    spatten_store(to + 24, 8, from->key);
    spatten_store(to + 32, 8, from->key_lsb);
    spatten_store(to + 40, 8, from->value);
    spatten_store(to + 48, 4, from->query_stride);
    spatten_store(to + 52, 4, from->key_stride);
    spatten_store(to + 56, 4, from->key_lsb_stride);
    spatten_store(to + 60, 4, from->value_stride);
    spatten_store(to + 64, 8, from->heads);
    spatten_store(to + 72, 8, from->probabilities);
    spatten_store(to + 80, 4, from->out_position_stride);
    spatten_store(to + 84, 4, from->out_head_stride);
    spatten_store(to + 88, 4, from->probability_query_stride);
    spatten_store(to + 92, 4, from->probability_head_stride);
    memcpy(to + 96, from->reserved0, 32);
#endif
}

static inline void spatten_unpack_plan(struct spatten_plan *to, const void *memory)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(to, memory, sizeof *to);
#else
    const uint8_t *from = (const uint8_t *)memory;
    to->dim = (uint16_t)spatten_load(from + 0, 2);
    to->group = (uint8_t)spatten_load(from + 2, 1);
    to->num_kv_heads = (uint8_t)spatten_load(from + 3, 1);
    to->query_bits = (uint8_t)spatten_load(from + 4, 1);
    to->key_bits = (uint8_t)spatten_load(from + 5, 1);
    to->key_lsb_bits = (uint8_t)spatten_load(from + 6, 1);
    to->value_bits = (uint8_t)spatten_load(from + 7, 1);
    to->skew = (uint16_t)spatten_load(from + 8, 2);
    to->decay = (uint8_t)spatten_load(from + 10, 1);
    to->out_format = (uint8_t)spatten_load(from + 11, 1);
    to->pin_first = (uint32_t)spatten_load(from + 12, 4);
    to->pin_last = (uint32_t)spatten_load(from + 16, 4);
    to->flat_limit = (uint32_t)spatten_load(from + 20, 4);
    to->key = (uint64_t)spatten_load(from + 24, 8);
    to->key_lsb = (uint64_t)spatten_load(from + 32, 8);
    to->value = (uint64_t)spatten_load(from + 40, 8);
    to->query_stride = (uint32_t)spatten_load(from + 48, 4);
    to->key_stride = (uint32_t)spatten_load(from + 52, 4);
    to->key_lsb_stride = (uint32_t)spatten_load(from + 56, 4);
    to->value_stride = (uint32_t)spatten_load(from + 60, 4);
    to->heads = (uint64_t)spatten_load(from + 64, 8);
    to->probabilities = (uint64_t)spatten_load(from + 72, 8);
    to->out_position_stride = (uint32_t)spatten_load(from + 80, 4);
    to->out_head_stride = (uint32_t)spatten_load(from + 84, 4);
    to->probability_query_stride = (uint32_t)spatten_load(from + 88, 4);
    to->probability_head_stride = (uint32_t)spatten_load(from + 92, 4);
    memcpy(to->reserved0, from + 96, 32);
#endif
}

struct spatten_head_row {
    uint16_t head; /* its number */
    uint16_t kv_head;
    uint16_t scale; /* of the dot products of its K/V head, with shift */
    uint8_t shift;
    int8_t exponent; /* signed: outputs in floating point are the core's integers times 2**exponent */
    uint16_t weight; /* unit of its outputs, for its importance */
    uint16_t reserved1;
    uint32_t importance;
};
SPATTEN_ASSERT(at_head_row_head, offsetof(struct spatten_head_row, head) == 0);
SPATTEN_ASSERT(at_head_row_kv_head, offsetof(struct spatten_head_row, kv_head) == 2);
SPATTEN_ASSERT(at_head_row_scale, offsetof(struct spatten_head_row, scale) == 4);
SPATTEN_ASSERT(at_head_row_shift, offsetof(struct spatten_head_row, shift) == 6);
SPATTEN_ASSERT(at_head_row_exponent, offsetof(struct spatten_head_row, exponent) == 7);
SPATTEN_ASSERT(at_head_row_weight, offsetof(struct spatten_head_row, weight) == 8);
SPATTEN_ASSERT(at_head_row_reserved1, offsetof(struct spatten_head_row, reserved1) == 10);
SPATTEN_ASSERT(at_head_row_importance, offsetof(struct spatten_head_row, importance) == 12);
SPATTEN_ASSERT(sizeof_head_row, sizeof(struct spatten_head_row) == 16);

static inline void spatten_pack_head_row(void *memory, const struct spatten_head_row *from)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(memory, from, sizeof *from);
#else
    uint8_t *to = (uint8_t *)memory;
    spatten_store(to + 0, 2, from->head);
    spatten_store(to + 2, 2, from->kv_head);
    spatten_store(to + 4, 2, from->scale);
    spatten_store(to + 6, 1, from->shift);
    spatten_store(to + 7, 1, (uint8_t)from->exponent);
    spatten_store(to + 8, 2, from->weight);
    spatten_store(to + 10, 2, from->reserved1);
    spatten_store(to + 12, 4, from->importance);
#endif
}

static inline void spatten_unpack_head_row(struct spatten_head_row *to, const void *memory)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(to, memory, sizeof *to);
#else
    const uint8_t *from = (const uint8_t *)memory;
    to->head = (uint16_t)spatten_load(from + 0, 2);
    to->kv_head = (uint16_t)spatten_load(from + 2, 2);
    to->scale = (uint16_t)spatten_load(from + 4, 2);
    to->shift = (uint8_t)spatten_load(from + 6, 1);
    to->exponent = (int8_t)spatten_load(from + 7, 1);
    to->weight = (uint16_t)spatten_load(from + 8, 2);
    to->reserved1 = (uint16_t)spatten_load(from + 10, 2);
    to->importance = (uint32_t)spatten_load(from + 12, 4);
#endif
}

struct spatten_token_header {
    uint32_t count;
    uint32_t capacity;
    uint8_t reserved0[56];
};
SPATTEN_ASSERT(at_token_header_count, offsetof(struct spatten_token_header, count) == 0);
SPATTEN_ASSERT(at_token_header_capacity, offsetof(struct spatten_token_header, capacity) == 4);
SPATTEN_ASSERT(at_token_header_reserved0, offsetof(struct spatten_token_header, reserved0) == 8);
SPATTEN_ASSERT(sizeof_token_header, sizeof(struct spatten_token_header) == 64);

static inline void spatten_pack_token_header(void *memory, const struct spatten_token_header *from)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(memory, from, sizeof *from);
#else
    uint8_t *to = (uint8_t *)memory;
    spatten_store(to + 0, 4, from->count);
    spatten_store(to + 4, 4, from->capacity);
    memcpy(to + 8, from->reserved0, 56);
#endif
}

static inline void spatten_unpack_token_header(struct spatten_token_header *to, const void *memory)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(to, memory, sizeof *to);
#else
    const uint8_t *from = (const uint8_t *)memory;
    to->count = (uint32_t)spatten_load(from + 0, 4);
    to->capacity = (uint32_t)spatten_load(from + 4, 4);
    memcpy(to->reserved0, from + 8, 56);
#endif
}

struct spatten_token_row {
    uint32_t id;
    uint32_t importance;
};
#define SPATTEN_TOKEN_ROW_ID_MASK UINT32_C(0xFFFFFF)
#define SPATTEN_TOKEN_ROW_ID_SHIFT 0
SPATTEN_ASSERT(at_token_row_id, offsetof(struct spatten_token_row, id) == 0);
SPATTEN_ASSERT(at_token_row_importance, offsetof(struct spatten_token_row, importance) == 4);
SPATTEN_ASSERT(sizeof_token_row, sizeof(struct spatten_token_row) == 8);

static inline void spatten_pack_token_row(void *memory, const struct spatten_token_row *from)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(memory, from, sizeof *from);
#else
    uint8_t *to = (uint8_t *)memory;
    spatten_store(to + 0, 4, from->id);
    spatten_store(to + 4, 4, from->importance);
#endif
}

static inline void spatten_unpack_token_row(struct spatten_token_row *to, const void *memory)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(to, memory, sizeof *to);
#else
    const uint8_t *from = (const uint8_t *)memory;
    to->id = (uint32_t)spatten_load(from + 0, 4);
    to->importance = (uint32_t)spatten_load(from + 4, 4);
#endif
}

struct spatten_completion {
    uint64_t address; /* of the fault, byte; 0 if there was none */
    uint64_t cycle; /* of the clock since reset, when it was written */
    uint32_t tokens; /* that survived its selection; of an APPEND elements that saturated; else 0 */
    uint32_t heads; /* that survived its selection; else 0 */
    uint16_t tag; /* of the command */
    uint8_t code; /* 0 done, 1…11 refused by the core, or spatten_code */
    uint8_t phase; /* 1 in the first round of the ring, 0 in the second, …; in the word that is written last */
    uint16_t number; /* of the command in its queue, modulo 2^16 */
    uint8_t queue;
    uint8_t opcode;
};
#define SPATTEN_COMPLETION_PHASE_MASK UINT32_C(0x1)
#define SPATTEN_COMPLETION_PHASE_SHIFT 0
SPATTEN_ASSERT(at_completion_address, offsetof(struct spatten_completion, address) == 0);
SPATTEN_ASSERT(at_completion_cycle, offsetof(struct spatten_completion, cycle) == 8);
SPATTEN_ASSERT(at_completion_tokens, offsetof(struct spatten_completion, tokens) == 16);
SPATTEN_ASSERT(at_completion_heads, offsetof(struct spatten_completion, heads) == 20);
SPATTEN_ASSERT(at_completion_tag, offsetof(struct spatten_completion, tag) == 24);
SPATTEN_ASSERT(at_completion_code, offsetof(struct spatten_completion, code) == 26);
SPATTEN_ASSERT(at_completion_phase, offsetof(struct spatten_completion, phase) == 27);
SPATTEN_ASSERT(at_completion_number, offsetof(struct spatten_completion, number) == 28);
SPATTEN_ASSERT(at_completion_queue, offsetof(struct spatten_completion, queue) == 30);
SPATTEN_ASSERT(at_completion_opcode, offsetof(struct spatten_completion, opcode) == 31);
SPATTEN_ASSERT(sizeof_completion, sizeof(struct spatten_completion) == 32);

static inline void spatten_pack_completion(void *memory, const struct spatten_completion *from)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(memory, from, sizeof *from);
#else
    uint8_t *to = (uint8_t *)memory;
    spatten_store(to + 0, 8, from->address);
    spatten_store(to + 8, 8, from->cycle);
    spatten_store(to + 16, 4, from->tokens);
    spatten_store(to + 20, 4, from->heads);
    spatten_store(to + 24, 2, from->tag);
    spatten_store(to + 26, 1, from->code);
    spatten_store(to + 27, 1, from->phase);
    spatten_store(to + 28, 2, from->number);
    spatten_store(to + 30, 1, from->queue);
    spatten_store(to + 31, 1, from->opcode);
#endif
}

static inline void spatten_unpack_completion(struct spatten_completion *to, const void *memory)
{
#if SPATTEN_LITTLE_ENDIAN
    memcpy(to, memory, sizeof *to);
#else
    const uint8_t *from = (const uint8_t *)memory;
    to->address = (uint64_t)spatten_load(from + 0, 8);
    to->cycle = (uint64_t)spatten_load(from + 8, 8);
    to->tokens = (uint32_t)spatten_load(from + 16, 4);
    to->heads = (uint32_t)spatten_load(from + 20, 4);
    to->tag = (uint16_t)spatten_load(from + 24, 2);
    to->code = (uint8_t)spatten_load(from + 26, 1);
    to->phase = (uint8_t)spatten_load(from + 27, 1);
    to->number = (uint16_t)spatten_load(from + 28, 2);
    to->queue = (uint8_t)spatten_load(from + 30, 1);
    to->opcode = (uint8_t)spatten_load(from + 31, 1);
#endif
}

#endif
