/* What software does with the driver, for test_on_the_top.py: a library that Python calls. Each part gives 0, or the
 * line of the check that failed. */
#include "spatten.h"

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition))                                                                                             \
            return __LINE__;                                                                                          \
    } while (0)
#define CHECK_OK(call) CHECK((call) == SPATTEN_OK)

enum { POLLS = 2000 };

struct client {
    uint8_t *memory;        /* of the host and of the device */
    uint64_t base, limit;   /* its addresses */
    uint64_t rings;         /* address of 8 KiB of it */
    uint64_t digest;        /* of the configuration */
    const uint64_t *channels;
    const uint8_t *commands; /* 64 bytes each: layers, selections and rows to append */
    uint32_t num_commands;
    uint8_t *completions; /* 32 bytes for each */
};

static struct spatten_device device;
static struct spatten_rings rings;

static struct spatten_queue_setup setup_of(const struct client *client, uint32_t index, bool phase)
{
    struct spatten_queue_setup setup;
    memset(&setup, 0, sizeof setup);
    setup.index = index;
    setup.commands_address = client->rings + 4096u * index;
    setup.commands = client->memory + (setup.commands_address - client->base);
    setup.num_commands = 4u;
    setup.completions_address = setup.commands_address + 2048u;
    setup.completions = client->memory + (setup.completions_address - client->base);
    setup.num_completions = 2u;
    setup.readable.base = setup.writable.base = client->base;
    setup.readable.limit = setup.writable.limit = client->limit;
    setup.phase = phase;
    return setup;
}

/* A command that the host has placed, through the driver's checks. */
static int checked(const struct client *client, const uint8_t *memory, struct spatten_command *command)
{
    struct spatten_plan plan;
    spatten_unpack_command(command, memory);
    spatten_unpack_plan(&plan, client->memory + (command->plan - client->base));
    if (command->opcode == SPATTEN_OPCODE_APPEND) {
        struct spatten_append append;
        spatten_unpack_append(&append, memory);
        CHECK_OK(spatten_append_rows(&rings, &plan, &append, command));
    } else if (command->opcode == SPATTEN_OPCODE_LAYER) {
        CHECK_OK(spatten_layer(&rings, &plan, command));
    } else {
        CHECK_OK(spatten_select(&rings, &plan, command));
    }
    return 0;
}

/* Commands as the host has placed them: the driver's checks accept each, and change nothing of it. */
static int run_layers(const struct client *client)
{
    struct spatten_queue_setup setup = setup_of(client, 0u, false);
    struct spatten_completion completion;
    uint32_t sent = 0, got = 0;
    CHECK_OK(spatten_queue_open(&rings, &device, &setup, POLLS));
    while (got < client->num_commands) {
        enum spatten_error error = SPATTEN_ERROR_FULL;
        if (sent < client->num_commands) {
            struct spatten_command command;
            uint8_t packed[64];
            CHECK(checked(client, client->commands + 64u * sent, &command) == 0);
            spatten_pack_command(packed, &command);
            CHECK(memcmp(packed, client->commands + 64u * sent, 64u) == 0);
            error = spatten_submit(&rings, &command, 1u);
            CHECK(error == SPATTEN_OK || error == SPATTEN_ERROR_FULL);
            sent += error == SPATTEN_OK ? 1u : 0u;
        }
        if (error == SPATTEN_ERROR_FULL) {
            CHECK_OK(spatten_wait(&rings, &completion, POLLS));
            spatten_pack_completion(client->completions + 32u * got++, &completion);
        }
    }
    CHECK(rings.outstanding == 0u);
    CHECK(spatten_irq_take(&device, SPATTEN_IRQ_QUEUE(0)) == SPATTEN_IRQ_QUEUE(0));
    return 0;
}

static int answer(uint16_t tag, uint8_t code)
{
    struct spatten_completion completion;
    CHECK_OK(spatten_wait(&rings, &completion, POLLS));
    CHECK(completion.tag == tag && completion.code == code);
    return 0;
}

static int submit_nops(uint16_t tag, uint32_t count)
{
    struct spatten_command commands[4];
    uint32_t i;
    for (i = 0; i < count; ++i)
        spatten_nop(&commands[i], (uint16_t)(tag + i), false);
    CHECK_OK(spatten_submit(&rings, commands, count));
    return 0;
}

/* Many rounds of both rings, and no completions for a while. */
static int run_rounds(const struct client *client)
{
    const struct spatten_queue_setup setup = setup_of(client, 1u, true);
    struct spatten_command command;
    uint16_t i;
    CHECK_OK(spatten_queue_open(&rings, &device, &setup, POLLS));
    for (i = 0; i < 12u; i = (uint16_t)(i + 2u)) {
        CHECK(submit_nops(i, 2u) == 0);
        CHECK(answer(i, SPATTEN_CODE_DONE) == 0 && answer((uint16_t)(i + 1u), SPATTEN_CODE_DONE) == 0);
    }
    spatten_fence(&command, 99u, true);
    CHECK_OK(spatten_submit(&rings, &command, 1u));
    CHECK(answer(99u, SPATTEN_CODE_DONE) == 0);
    CHECK(submit_nops(20u, 4u) == 0);
    for (i = 0; i < 20u; ++i)
        spatten_pause(&device);
    CHECK(submit_nops(24u, 2u) == 0); /* the ring of completions is full, and commands are read ahead */
    CHECK(answer(20u, SPATTEN_CODE_DONE) == 0 && answer(21u, SPATTEN_CODE_DONE) == 0);
    return 0;
}

static int run_stops(void)
{
    struct spatten_queue_state state;
    struct spatten_completion completion;
    uint32_t i;
    for (i = 0; i < 20u; ++i)
        spatten_pause(&device); /* until completions wait for room again */
    CHECK_OK(spatten_queue_restart(&rings, POLLS));
    CHECK(submit_nops(30u, 1u) == 0 && answer(30u, SPATTEN_CODE_DONE) == 0);
    CHECK_OK(spatten_queue_abort(&rings));
    CHECK_OK(spatten_queue_status(&rings, &state));
    CHECK(state.halted && state.code == SPATTEN_FAULT_CODE_ABORTED);
    CHECK(submit_nops(31u, 1u) == 0);
    CHECK(spatten_wait(&rings, &completion, 20u) == SPATTEN_ERROR_HALTED);
    CHECK_OK(spatten_queue_resume(&rings, POLLS));
    CHECK(answer(31u, SPATTEN_CODE_DONE) == 0);
    CHECK(submit_nops(32u, 2u) == 0);
    CHECK_OK(spatten_soft_reset(&device, POLLS));
    CHECK(spatten_poll(&rings, &completion) == SPATTEN_ERROR_STALE);
    CHECK_OK(spatten_queue_restart(&rings, POLLS));
    CHECK(submit_nops(40u, 1u) == 0 && answer(40u, SPATTEN_CODE_DONE) == 0);
    CHECK_OK(spatten_queue_close(&rings, POLLS));
    CHECK_OK(spatten_halt(&device, POLLS));
    return 0;
}

int client_run(const struct client *client, const struct spatten_hooks *hooks);

int client_run(const struct client *client, const struct spatten_hooks *hooks)
{
    struct spatten_fault fault;
    uint64_t layers;
    uint32_t i;
    int line;
    CHECK_OK(spatten_probe(&device, NULL, hooks, client->digest));
    for (i = 0; i < device.capabilities.channels; ++i)
        CHECK_OK(spatten_set_channel(&device, i, client->channels[i]));
    CHECK_OK(spatten_enable(&device));
    line = run_layers(client);
    if (line == 0)
        line = spatten_queue_close(&rings, POLLS) == SPATTEN_OK ? run_rounds(client) : __LINE__;
    if (line == 0)
        line = run_stops();
    if (line != 0)
        return line;
    CHECK_OK(spatten_snapshot(&device, POLLS));
    CHECK_OK(spatten_read_counter(&device, SPATTEN_COUNTER_LAYERS, &layers));
    CHECK(spatten_fault_read(&device, &fault) == SPATTEN_ERROR_EMPTY);
    return 0;
}

int client_fault(const struct client *client, const struct spatten_hooks *hooks);

/* The third command cannot be read: the queue halts, all is told, and it goes on. */
int client_fault(const struct client *client, const struct spatten_hooks *hooks)
{
    const struct spatten_queue_setup setup = setup_of(client, 0u, false);
    struct spatten_completion completion;
    struct spatten_fault fault;
    enum spatten_error error;
    uint32_t failed = 0;
    CHECK_OK(spatten_probe(&device, NULL, hooks, 0u));
    CHECK_OK(spatten_enable(&device));
    CHECK_OK(spatten_irq_enable(&device, SPATTEN_IRQ_ENABLE_FAULT_MASK));
    CHECK_OK(spatten_queue_open(&rings, &device, &setup, POLLS));
    CHECK(submit_nops(50u, 4u) == 0);
    while ((error = spatten_wait(&rings, &completion, POLLS)) == SPATTEN_OK)
        failed += completion.code == SPATTEN_CODE_READ_ERROR ? 1u : 0u;
    CHECK(failed != 0u && error == (rings.outstanding != 0u ? SPATTEN_ERROR_HALTED : SPATTEN_ERROR_EMPTY));
    CHECK_OK(spatten_fault_read(&device, &fault));
    CHECK(fault.code == SPATTEN_FAULT_CODE_BUS_READ && !fault.write && fault.queue == 0u);
    CHECK(fault.channel == device.capabilities.channels && fault.address >= setup.commands_address);
    CHECK(fault.address < setup.commands_address + 256u);
    CHECK(spatten_irq_take(&device, SPATTEN_IRQ_ENABLE_FAULT_MASK) == SPATTEN_IRQ_PENDING_FAULT_MASK);
    CHECK_OK(spatten_fault_clear(&device));
    CHECK(spatten_fault_read(&device, &fault) == SPATTEN_ERROR_EMPTY);
    CHECK_OK(spatten_queue_resume(&rings, POLLS));
    while (rings.outstanding != 0u)
        CHECK_OK(spatten_wait(&rings, &completion, POLLS));
    CHECK(submit_nops(60u, 2u) == 0);
    CHECK(answer(60u, SPATTEN_CODE_DONE) == 0 && answer(61u, SPATTEN_CODE_DONE) == 0);
    CHECK_OK(spatten_queue_close(&rings, POLLS));
    return 0;
}
