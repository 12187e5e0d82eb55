/* One head of attention with the driver: planes, plan, table of heads and a command are written into memory, the
 * doorbell is rung, and after the interrupt the outputs are compared with those of the golden model.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * make_case.py writes case.h: Q, K and V as 8-bit integers, and what golden makes of them.
 */
#include <inttypes.h>
#include <stdio.h>

#include "board.h"
#include "case.h"

#define CHECK(call)                                                     \
    do {                                                                \
        const enum spatten_error error = (call);                        \
        if (error != SPATTEN_OK) {                                      \
            printf("FAILED: %s: %s\n", #call, spatten_error_name(error)); \
            return 1;                                                   \
        }                                                               \
    } while (0)

enum {
    POLLS = 10000,
    /* What lies where in the memory of the board. */
    COMMANDS = 0x0,
    COMPLETIONS = 0x100,
    PLAN = 0x200,
    HEADS = 0x280,
    CHANNELS = 0x1000,
    CHANNEL = 0x1000, /* bytes of each memory channel, of which there are two at most */
    OUT = 0x3000,
    END = 0x4000,
    /* Where the planes begin in every channel. */
    QUERY = 0x0,
    KEY = 0x400,
    VALUE = 0x800
};

/* Rows of 8-bit elements as the device wants them: row r lies in channel r modulo the number of channels. */
static void write_plane(const struct board *board, uint32_t channels, uint32_t offset, const int8_t *rows,
                        uint32_t count)
{
    uint32_t row;
    for (row = 0; row < count; ++row) {
        const uint32_t place = CHANNELS + row % channels * CHANNEL + offset + row / channels * CASE_DIM;
        memcpy(board->memory + place, rows + row * CASE_DIM, CASE_DIM);
    }
}

/* Registers and a queue: once after reset. */
static int start(const struct board *board, struct spatten_device *device, struct spatten_rings *rings)
{
    struct spatten_queue_setup setup;
    uint32_t channel;
    CHECK(spatten_probe(device, board->registers, &board->hooks, CASE_DIGEST));
    for (channel = 0; channel < device->capabilities.channels; ++channel)
        CHECK(spatten_set_channel(device, channel, board->address + CHANNELS + channel * (uint64_t)CHANNEL));
    CHECK(spatten_enable(device));
    CHECK(spatten_irq_enable(device, SPATTEN_IRQ_QUEUE(0) | SPATTEN_IRQ_ENABLE_FAULT_MASK));

    memset(&setup, 0, sizeof setup);
    setup.commands = board->memory + COMMANDS;
    setup.commands_address = board->address + COMMANDS;
    setup.num_commands = 4u;
    setup.completions = board->memory + COMPLETIONS;
    setup.completions_address = board->address + COMPLETIONS;
    setup.num_completions = 4u;
    setup.readable.base = board->address; /* plan, table of heads, planes */
    setup.readable.limit = setup.writable.base = board->address + OUT;
    setup.writable.limit = board->address + END;
    CHECK(spatten_queue_open(rings, device, &setup, POLLS));
    return 0;
}

/* The planes, and the command with its plan and its table of heads. */
static int prepare(const struct board *board, struct spatten_rings *rings, struct spatten_command *command)
{
    const uint32_t channels = rings->device->capabilities.channels;
    struct spatten_plan plan;
    struct spatten_head_row head;
    write_plane(board, channels, QUERY, case_query[0], CASE_QUERIES);
    write_plane(board, channels, KEY, case_key[0], CASE_TOKENS);
    write_plane(board, channels, VALUE, case_value[0], CASE_TOKENS);
    spatten_clean(rings->device, board->memory + CHANNELS, (size_t)channels * CHANNEL);

    memset(&plan, 0, sizeof plan);
    plan.dim = CASE_DIM;
    plan.group = plan.num_kv_heads = 1;
    plan.query_bits = plan.key_bits = plan.value_bits = 8;
    plan.key = KEY;
    plan.value = VALUE;
    plan.heads = board->address + HEADS;
    plan.out_position_stride = plan.out_head_stride = 4 * CASE_DIM; /* int32 */
    CHECK(spatten_write_plan(rings, board->memory + PLAN, &plan));

    memset(&head, 0, sizeof head);
    head.scale = CASE_SCALE;
    head.shift = CASE_SHIFT;
    CHECK(spatten_write_heads(rings, board->memory + HEADS, &head, 1u));

    memset(command, 0, sizeof *command);
    command->tag = 7;
    command->irq = 1;
    command->num_keys = command->num_rows = command->value_keep = CASE_TOKENS;
    command->num_queries = CASE_QUERIES;
    command->num_heads = 1;
    command->plan = board->address + PLAN;
    command->query = QUERY;
    command->out = board->address + OUT;
    CHECK(spatten_layer(rings, &plan, command));
    return 0;
}

/* Prints the first outputs of each query; how many are not golden's. */
static uint32_t compare(const struct board *board, const struct spatten_device *device)
{
    uint32_t query, i, wrong = 0;
    spatten_invalidate(device, board->memory + OUT, sizeof case_out);
    for (query = 0; query < CASE_QUERIES; ++query) {
        printf("query %" PRIu32 ":", query);
        for (i = 0; i < CASE_DIM; ++i) {
            const uint8_t *place = board->memory + OUT + 4u * (query * CASE_DIM + i);
            const int32_t out = (int32_t)(uint32_t)spatten_load(place, 4u);
            if (i < 6u)
                printf(" %" PRId32, out);
            wrong += out != case_out[query][i] ? 1u : 0u;
        }
        printf(" ...\n");
    }
    return wrong;
}

int main(void)
{
    struct board board;
    struct spatten_device device;
    struct spatten_rings rings;
    struct spatten_command command;
    struct spatten_completion completion;
    uint32_t wrong;
    if (board_open(&board) != 0 || start(&board, &device, &rings) != 0 || prepare(&board, &rings, &command) != 0)
        return 1;

    CHECK(spatten_submit(&rings, &command, 1u)); /* into the ring, and the doorbell */
    if (!board_wait(&board)) {
        printf("FAILED: no interrupt\n");
        return 1;
    }
    (void)spatten_irq_take(&device, SPATTEN_IRQ_QUEUE(0)); /* acknowledge, then poll */
    CHECK(spatten_poll(&rings, &completion));
    printf("command %u: %s\n", completion.tag, spatten_code_text(completion.code));
    wrong = compare(&board, &device);
    CHECK(spatten_queue_close(&rings, POLLS));
    if (completion.code != SPATTEN_CODE_DONE || wrong != 0u) {
        printf("FAILED: %" PRIu32 " outputs differ from golden\n", wrong);
        return 1;
    }
    printf("PASSED: %d outputs, equal to golden\n", CASE_QUERIES * CASE_DIM);
    return 0;
}
