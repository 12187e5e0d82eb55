/* Tests of the driver on the mock device. Prints "ok NAME" for each; ends with 1 at the first check that fails. */
#include "mock.h"

#include <stdio.h>
#include <stdlib.h>

static const char *running = "";

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            printf("%s: line %d: %s\n", running, __LINE__, #condition);                                               \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)
#define CHECK_ERROR(call, expected)                                                                                   \
    do {                                                                                                              \
        const enum spatten_error found_ = (call);                                                                     \
        if (found_ != (expected)) {                                                                                   \
            printf("%s: line %d: %s gives %s\n", running, __LINE__, #call, spatten_error_name(found_));               \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)
#define CHECK_OK(call) CHECK_ERROR(call, SPATTEN_OK)
#define CHECK_FIELD(call, expected, name)                                                                             \
    do {                                                                                                              \
        rings.field = NULL;                                                                                           \
        CHECK_ERROR(call, expected);                                                                                  \
        if (rings.field == NULL || strcmp(rings.field, name) != 0) {                                                  \
            printf("%s: line %d: %s refuses %s\n", running, __LINE__, #call, rings.field ? rings.field : "no field"); \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

enum { POLLS = 1000 };

/* Where things lie. */
#define COMMANDS MOCK_ADDRESS
#define COMPLETIONS (MOCK_ADDRESS + (UINT64_C(2) << 20))
#define OTHER (MOCK_ADDRESS + (UINT64_C(3) << 20))
#define TABLES (MOCK_ADDRESS + (UINT64_C(4) << 20))
#define OUT (TABLES + 0x40000u)
#define END (MOCK_ADDRESS + MOCK_BYTES)
#define PLAN TABLES
#define HEADS (TABLES + 0x1000u)
#define STATE (TABLES + 0x2000u)

static uint8_t host[MOCK_BYTES], memory[MOCK_BYTES];
static bool coherent, phase;

static struct mock mock;
static struct spatten_device device;
static struct spatten_rings rings;

static void power_on(void)
{
    struct spatten_hooks hooks;
    mock_start(&mock, host, memory, coherent);
    hooks = mock_hooks(&mock);
    CHECK_OK(spatten_probe(&device, NULL, &hooks, 0u));
    CHECK_OK(spatten_enable(&device));
}

static struct spatten_queue_setup setup_of(uint32_t num_commands, uint32_t num_completions)
{
    struct spatten_queue_setup setup;
    memset(&setup, 0, sizeof setup);
    setup.commands = mock_host(&mock, COMMANDS);
    setup.commands_address = COMMANDS;
    setup.num_commands = num_commands;
    setup.completions = mock_host(&mock, COMPLETIONS);
    setup.completions_address = COMPLETIONS;
    setup.num_completions = num_completions;
    setup.readable.base = TABLES;
    setup.readable.limit = END;
    setup.writable.base = TABLES;
    setup.writable.limit = END;
    setup.phase = phase;
    return setup;
}

static void open_queue(uint32_t num_commands, uint32_t num_completions)
{
    const struct spatten_queue_setup setup = setup_of(num_commands, num_completions);
    power_on();
    CHECK_OK(spatten_queue_open(&rings, &device, &setup, POLLS));
}

static void nothing_was_wrong(void)
{
    if (mock.errors != 0u)
        printf("%s: the device saw %u errors, first %s\n", running, (unsigned)mock.errors, mock.error);
    CHECK(mock.errors == 0u);
}

static void submit_nop(uint32_t tag)
{
    struct spatten_command command;
    spatten_nop(&command, (uint16_t)tag, false);
    CHECK_OK(spatten_submit(&rings, &command, 1u));
}

static void steps(uint32_t count)
{
    while (count-- != 0u)
        mock_step(&mock);
}

static void test_probe(void)
{
    struct spatten_hooks hooks;
    mock_start(&mock, host, memory, coherent);
    hooks = mock_hooks(&mock);
    CHECK_OK(spatten_probe(&device, NULL, &hooks, MOCK_DIGEST));
    CHECK(device.capabilities.version_major == 0u && device.capabilities.version_minor == 2u);
    CHECK(device.capabilities.version_patch == 3u && device.capabilities.digest == MOCK_DIGEST);
    CHECK(device.capabilities.channels == 2u && device.capabilities.queues == 2u);
    CHECK(device.capabilities.word_bytes == 16u && device.capabilities.address_bits == 40u);
    CHECK(device.capabilities.max_tokens == 1024u && device.capabilities.contexts == 8u);
    CHECK(device.capabilities.max_heads == 12u && device.capabilities.max_group == 4u);
    CHECK(device.capabilities.max_dim == 64u && device.capabilities.dims == 0xBu);
    CHECK(device.capabilities.operand_width == 12u && device.capabilities.write_back);
    CHECK(device.capabilities.float_results && !device.capabilities.probabilities);
    CHECK(!device.capabilities.append && !device.capabilities.quantize_query);
    CHECK_ERROR(spatten_probe(&device, NULL, &hooks, MOCK_DIGEST + 1u), SPATTEN_ERROR_DIGEST);
    CHECK_ERROR(spatten_enable(&device), SPATTEN_ERROR_ARGUMENT);
    mock.cap0 = 1u << 16 | 1u << 8 | 1u; /* addresses of 0 bits */
    CHECK_ERROR(spatten_probe(&device, NULL, &hooks, 0u), SPATTEN_ERROR_CAPABILITIES);
    mock.cap0 = 40u << 24 | 9u << 8 | 1u; /* 9 queues */
    CHECK_ERROR(spatten_probe(&device, NULL, &hooks, 0u), SPATTEN_ERROR_CAPABILITIES);
    mock.version = 0x02000203u;
    CHECK_ERROR(spatten_probe(&device, NULL, &hooks, 0u), SPATTEN_ERROR_VERSION);
    mock.id = 0xFFFFFFFFu;
    mock.reads = 0u;
    CHECK_ERROR(spatten_probe(&device, NULL, &hooks, 0u), SPATTEN_ERROR_NOT_FOUND);
    CHECK(mock.reads == 1u);
    hooks.write = NULL;
    CHECK_ERROR(spatten_probe(&device, NULL, &hooks, 0u), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_probe(&device, NULL, NULL, 0u), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_probe(NULL, NULL, &hooks, 0u), SPATTEN_ERROR_ARGUMENT);
    nothing_was_wrong();
}

/* Without hooks: registers are memory. */
static void test_default_access(void)
{
    static uint32_t registers[0x3000 / 4];
    memset(registers, 0, sizeof registers);
    CHECK_ERROR(spatten_probe(&device, registers, NULL, 0u), SPATTEN_ERROR_NOT_FOUND);
    registers[SPATTEN_ID_OFFSET / 4] = SPATTEN_ID_RESET;
    registers[SPATTEN_VERSION_OFFSET / 4] = 0x01000000u;
    registers[SPATTEN_CAP0_OFFSET / 4] = 64u << 24 | 1u << 8 | 1u;
    CHECK_OK(spatten_probe(&device, registers, NULL, 0u));
    CHECK(spatten_last_address(&device) == UINT64_MAX);
    CHECK_OK(spatten_enable(&device));
    CHECK(registers[SPATTEN_CTRL_OFFSET / 4] == 1u);
    CHECK_OK(spatten_set_channel(&device, 0u, UINT64_C(0x1234567890ABC000)));
    CHECK(registers[0x800 / 4] == 0x90ABC000u && registers[0x804 / 4] == 0x12345678u);
    {
        struct spatten_queue_setup setup;
        struct spatten_completion completion;
        mock_start(&mock, host, memory, true);
        setup = setup_of(4u, 4u);
        CHECK_OK(spatten_queue_open(&rings, &device, &setup, POLLS));
        CHECK(registers[SPATTEN_QUEUE_READ_BASE_LO_OFFSET(0) / 4] == (TABLES & 0xFFFFFFFFu));
        submit_nop(0x1234u);
        CHECK(registers[SPATTEN_DOORBELL_TAIL_OFFSET(0) / 4] == 1u && host[2] == 0x34u && host[3] == 0x12u);
        CHECK_ERROR(spatten_wait(&rings, &completion, 10u), SPATTEN_ERROR_TIMEOUT);
    }
}

static void test_open(void)
{
    struct spatten_queue_setup setup;
    struct mock_queue *queue = &mock.queues[1];
    power_on();
    setup = setup_of(8u, 16u);
    setup.index = 1u;
    setup.coalesce_count = 3u;
    setup.coalesce_cycles = 1000u;
    CHECK_OK(spatten_queue_open(&rings, &device, &setup, POLLS));
    CHECK(queue->enabled && queue->size == (4u << 8 | 3u) && queue->coalesce == 3u);
    CHECK(queue->base == COMMANDS && queue->completion_base == COMPLETIONS);
    CHECK(queue->read_base == TABLES && queue->read_limit == END);
    CHECK(queue->write_base == TABLES && queue->write_limit == END);
    CHECK_ERROR(spatten_queue_open(&rings, &device, &setup, POLLS), SPATTEN_ERROR_BUSY);
    nothing_was_wrong();
}

static void test_open_refuses(void)
{
    static const uint32_t sizes[] = {0u, 3u, 5u, 12u, 32769u, 65536u, 0xFFFFFFFFu};
    struct spatten_queue_setup setup, good;
    struct spatten_completion completion;
    size_t i;
    power_on();
    good = setup_of(8u, 16u);
#define REFUSES(change, error, name)                                                                                  \
    setup = good;                                                                                                     \
    change;                                                                                                           \
    CHECK_FIELD(spatten_queue_open(&rings, &device, &setup, POLLS), error, name)
    for (i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
        REFUSES(setup.num_commands = sizes[i], SPATTEN_ERROR_SIZE, "commands");
        REFUSES(setup.num_completions = sizes[i], SPATTEN_ERROR_SIZE, "completions");
    }
    REFUSES(setup.index = 2u, SPATTEN_ERROR_RANGE, "index");
    REFUSES(setup.commands = NULL, SPATTEN_ERROR_ARGUMENT, "commands");
    REFUSES(setup.completions = NULL, SPATTEN_ERROR_ARGUMENT, "completions");
    REFUSES(setup.commands_address += 32u, SPATTEN_ERROR_ALIGNMENT, "commands");
    REFUSES(setup.completions_address += 32u, SPATTEN_ERROR_ALIGNMENT, "completions");
    REFUSES(setup.commands_address = UINT64_C(1) << 40, SPATTEN_ERROR_ADDRESS, "commands");
    REFUSES(setup.commands_address = (UINT64_C(1) << 40) - 64u, SPATTEN_ERROR_ADDRESS, "commands");
    REFUSES(setup.completions_address = ~UINT64_C(63), SPATTEN_ERROR_ADDRESS, "completions");
    REFUSES(setup.completions_address = COMMANDS + 448u, SPATTEN_ERROR_ADDRESS, "completions");
    REFUSES(setup.completions_address = COMMANDS - 448u, SPATTEN_ERROR_ADDRESS, "completions");
    REFUSES(setup.readable.base += 64u, SPATTEN_ERROR_ALIGNMENT, "readable");
    REFUSES(setup.readable.limit += 64u, SPATTEN_ERROR_ALIGNMENT, "readable");
    REFUSES(setup.readable.base = END + 4096u, SPATTEN_ERROR_WINDOW, "readable");
    REFUSES(setup.writable.limit = (UINT64_C(1) << 40) + 4096u, SPATTEN_ERROR_ADDRESS, "writable");
    REFUSES(setup.writable.base = setup.writable.limit = UINT64_C(1) << 40, SPATTEN_ERROR_ADDRESS, "writable");
    REFUSES(setup.coalesce_count = 256u, SPATTEN_ERROR_RANGE, "coalesce_count");
    REFUSES(setup.coalesce_cycles = 1u << 24, SPATTEN_ERROR_RANGE, "coalesce_cycles");
#undef REFUSES
    CHECK(!mock.queues[0].enabled && mock.queues[0].base == 0u);
    CHECK_ERROR(spatten_poll(&rings, &completion), SPATTEN_ERROR_ARGUMENT); /* it is not open */
    setup = good;
    setup.readable.limit = UINT64_C(1) << 40; /* all of memory */
    setup.readable.base = 0u;
    setup.writable.base = setup.writable.limit = 0u; /* nothing */
    setup.completions_address = COMMANDS + 512u; /* next to each other */
    setup.completions = mock_host(&mock, COMMANDS + 512u);
    CHECK_OK(spatten_queue_open(&rings, &device, &setup, POLLS));
    CHECK_ERROR(spatten_queue_open(NULL, &device, &setup, POLLS), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_queue_open(&rings, NULL, &setup, POLLS), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_queue_open(&rings, &device, NULL, POLLS), SPATTEN_ERROR_ARGUMENT);
    nothing_was_wrong();
}

/* What is left of somebody else's commands is awaited; so is the end of one's own. */
static void test_close(void)
{
    struct spatten_queue_setup setup;
    struct spatten_completion completion;
    struct spatten_rings again;
    open_queue(8u, 8u);
    setup = rings.setup;
    submit_nop(1u);
    while (mock.queues[0].head == 0u)
        mock_step(&mock);
    mock.running = false;
    CHECK_ERROR(spatten_queue_close(&rings, 10u), SPATTEN_ERROR_TIMEOUT);
    CHECK_ERROR(spatten_queue_open(&again, &device, &setup, POLLS), SPATTEN_ERROR_BUSY);
    device.open = 0u; /* another program */
    CHECK_ERROR(spatten_queue_open(&again, &device, &setup, 10u), SPATTEN_ERROR_TIMEOUT);
    mock.queues[0].enabled = false; /* which has disabled it already */
    CHECK_ERROR(spatten_queue_open(&again, &device, &setup, 10u), SPATTEN_ERROR_TIMEOUT);
    mock.queues[0].enabled = true;
    device.open = 3u;
    mock.running = true;
    CHECK_OK(spatten_queue_close(&rings, POLLS));
    CHECK(!mock.queues[0].enabled && device.open == 2u && mock.queues[0].code == SPATTEN_CODE_ABORTED);
    CHECK_ERROR(spatten_poll(&rings, &completion), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_queue_close(&rings, POLLS), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_queue_restart(&rings, POLLS), SPATTEN_ERROR_ARGUMENT);
    CHECK_OK(spatten_queue_open(&rings, &device, &setup, POLLS));
    submit_nop(2u);
    CHECK_OK(spatten_wait(&rings, &completion, POLLS));
    CHECK(completion.tag == 2u && completion.number == 0u);
    nothing_was_wrong();
}

static void test_one_command(void)
{
    struct spatten_completion completion;
    open_queue(4u, 4u);
    CHECK_ERROR(spatten_poll(&rings, &completion), SPATTEN_ERROR_EMPTY);
    CHECK_ERROR(spatten_wait(&rings, &completion, POLLS), SPATTEN_ERROR_EMPTY);
    submit_nop(0xBEEFu);
    CHECK(rings.outstanding == 1u);
    CHECK_OK(spatten_wait(&rings, &completion, POLLS));
    CHECK(completion.tag == 0xBEEFu && completion.code == SPATTEN_CODE_DONE && completion.number == 0u);
    CHECK(completion.queue == 0u && completion.opcode == SPATTEN_OPCODE_NOP && completion.cycle != 0u);
    CHECK(SPATTEN_GET(completion.phase, COMPLETION_PHASE) == 1u && rings.outstanding == 0u);
    CHECK(mock.queues[0].completion_head == 1u && mock.queues[0].announcements == 1u);
    CHECK_ERROR(spatten_poll(&rings, &completion), SPATTEN_ERROR_EMPTY);
    nothing_was_wrong();
}

/* More commands than the counts have numbers, in bursts of all sizes; each is answered once. */
static void run_many(uint32_t num_commands, uint32_t num_completions, uint32_t total)
{
    static uint8_t answered[0x20000];
    struct spatten_command commands[16];
    struct spatten_completion completions[16];
    uint32_t sent = 0, got = 0, i, count, idle = 0;
    enum spatten_error error;
    open_queue(num_commands, num_completions);
    memset(answered, 0, sizeof answered);
    while (got < total) {
        count = mock_random(&mock, num_commands < 16u ? num_commands : 16u) + 1u;
        if (count > total - sent)
            count = total - sent;
        for (i = 0; i < count; ++i)
            spatten_nop(&commands[i], (uint16_t)(sent + i), false);
        error = spatten_submit(&rings, commands, count);
        CHECK(error == SPATTEN_OK || error == SPATTEN_ERROR_FULL);
        sent += error == SPATTEN_OK ? count : 0u;
        steps(mock_random(&mock, 24u));
        CHECK_OK(spatten_poll_many(&rings, completions, mock_random(&mock, 16u) + 1u, &count));
        for (i = 0; i < count; ++i, ++got) {
            const uint32_t full = sent - 1u - ((sent - 1u - completions[i].tag) & 0xFFFFu); /* of the last 65,536 */
            CHECK(completions[i].code == SPATTEN_CODE_DONE && completions[i].number == completions[i].tag);
            CHECK(full < sent && answered[full]++ == 0u);
        }
        CHECK(rings.outstanding == sent - got);
        idle = count == 0u ? idle + 1u : 0u;
        CHECK(idle < 10000u);
    }
    CHECK(sent == total && rings.taken == (uint16_t)total && mock.queues[0].completion_head == (uint16_t)total);
    nothing_was_wrong();
}

static void test_wrap(void)
{
    run_many(4u, 8u, 70000u);
}

static void test_wrap_of_small_rings(void)
{
    run_many(1u, 1u, 300u);
    run_many(2u, 1u, 300u);
    run_many(1u, 4u, 300u);
    run_many(64u, 2u, 3000u);
}

/* Rings of the largest size: all slots in use, counts go around 0 with them. */
static void test_largest_rings(void)
{
    static struct spatten_command commands[32768];
    static struct spatten_completion completions[32768];
    uint32_t round, i, count;
    open_queue(32768u, 32768u);
    for (round = 0; round < 3u; ++round) {
        for (i = 0; i < 32768u; ++i)
            spatten_nop(&commands[i], (uint16_t)i, false);
        CHECK_OK(spatten_submit(&rings, commands, 32768u));
        CHECK_ERROR(spatten_submit(&rings, commands, 1u), SPATTEN_ERROR_FULL);
        while ((uint16_t)(mock.queues[0].completion_tail - mock.queues[0].completion_head) != 32768u)
            mock_step(&mock);
        CHECK_OK(spatten_submit(&rings, commands, 32768u)); /* fetched are all, and none read */
        steps(100u);
        CHECK(mock.queues[0].head == (uint16_t)(65536u * round + 32768u + 3u));
        CHECK(rings.outstanding == 65536u);
        CHECK_OK(spatten_poll_many(&rings, completions, 32768u, &count));
        CHECK(count == 32768u && rings.outstanding == 32768u);
        for (i = 0; i < 70000u && mock.queues[0].completion_tail != (uint16_t)(65536u * (round + 1u)); ++i)
            mock_step(&mock);
        CHECK_OK(spatten_poll_many(&rings, completions, 32768u, &count));
        CHECK(count == 32768u && rings.outstanding == 0u);
    }
    nothing_was_wrong();
}

/* Completions that nobody reads stop the queue; then the ring is full, and nothing is lost. */
static void test_back_pressure(void)
{
    struct spatten_command commands[5];
    struct spatten_completion completion;
    uint32_t i, sent = 0, got = 0;
    open_queue(4u, 2u);
    for (i = 0; i < 5u; ++i)
        spatten_nop(&commands[i], (uint16_t)i, false);
    CHECK_ERROR(spatten_submit(&rings, commands, 5u), SPATTEN_ERROR_SIZE);
    while (spatten_submit(&rings, commands, 1u) == SPATTEN_OK) {
        ++sent;
        steps(20u);
    }
    CHECK(sent == 9u); /* two answered, three read ahead, four in the ring */
    CHECK_ERROR(spatten_submit(&rings, commands, 1u), SPATTEN_ERROR_FULL);
    CHECK(rings.outstanding == 9u && mock.queues[0].completion_tail == 2u && mock.queues[0].head == 5u);
    CHECK_OK(spatten_poll(&rings, &completion));
    ++got;
    steps(20u);
    CHECK_ERROR(spatten_submit(&rings, commands, 2u), SPATTEN_ERROR_FULL); /* all or none */
    CHECK(rings.outstanding == 8u);
    CHECK_OK(spatten_submit(&rings, commands, 1u));
    while (rings.outstanding != 0u) {
        CHECK_OK(spatten_wait(&rings, &completion, POLLS));
        ++got;
    }
    CHECK(got == 10u);
    mock.running = false;
    mock.reads = 0u;
    for (i = 0; i < 4u; ++i)
        submit_nop(i);
    CHECK(mock.reads == 1u); /* the device is asked only when its last answer does not do */
    nothing_was_wrong();
}

/* What lies in an entry from the round before is no completion. */
static void test_phase(void)
{
    struct spatten_completion completion;
    uint32_t size, i;
    for (size = 1; size <= 4u; size *= 2u) {
        open_queue(4u, size);
        for (i = 0; i < 20u; ++i) {
            CHECK_ERROR(spatten_poll(&rings, &completion), SPATTEN_ERROR_EMPTY);
            submit_nop(i);
            CHECK_ERROR(spatten_poll(&rings, &completion), SPATTEN_ERROR_EMPTY);
            steps(20u);
            mock.reads = 0u;
            CHECK_OK(spatten_poll(&rings, &completion));
            CHECK(completion.tag == i && completion.number == i);
            CHECK(completion.phase == (i / size % 2u ^ 1u));
            CHECK(mock.reads == (phase ? 0u : 1u)); /* the phase needs no register */
        }
    }
    nothing_was_wrong();
}

static void test_put_and_doorbell(void)
{
    struct spatten_command command;
    struct spatten_completion completion;
    uint32_t i;
    open_queue(8u, 8u);
    for (i = 0; i < 5u; ++i) {
        spatten_fence(&command, (uint16_t)(100u + i), i == 4u);
        CHECK_OK(spatten_put(&rings, &command, 1u));
    }
    steps(50u);
    CHECK(mock.queues[0].tail == 0u && mock.queues[0].head == 0u && rings.outstanding == 5u);
    CHECK_OK(spatten_ring_doorbell(&rings));
    CHECK(mock.queues[0].tail == 5u && mock.queues[0].announcements == 1u);
    CHECK_OK(spatten_ring_doorbell(&rings));
    CHECK_OK(spatten_submit(&rings, &command, 0u));
    CHECK(mock.queues[0].announcements == 1u); /* there was nothing new */
    for (i = 0; i < 5u; ++i) {
        CHECK_OK(spatten_wait(&rings, &completion, POLLS));
        CHECK(completion.tag == 100u + i && completion.opcode == SPATTEN_OPCODE_FENCE); /* fences keep order */
    }
    nothing_was_wrong();
}

static void test_wait(void)
{
    struct spatten_completion completion;
    uint32_t polls;
    open_queue(4u, 4u);
    mock.running = false;
    submit_nop(1u);
    for (polls = 0; polls < 200u; polls += 40u) {
        mock.reads = 0u;
        CHECK_ERROR(spatten_wait(&rings, &completion, polls), SPATTEN_ERROR_TIMEOUT);
        CHECK(mock.reads <= polls + polls / 64u + 1u); /* it has a bound */
    }
    mock.running = true;
    CHECK_OK(spatten_wait(&rings, &completion, POLLS));
    nothing_was_wrong();
}

static void test_fault(void)
{
    struct spatten_completion completion;
    struct spatten_queue_state state;
    struct spatten_fault fault;
    uint32_t i, failed = 0;
    open_queue(16u, 16u);
    CHECK_ERROR(spatten_fault_read(&device, &fault), SPATTEN_ERROR_EMPTY);
    for (i = 0; i < 14u; ++i)
        submit_nop(i);
    while (mock.queues[0].head < 4u)
        mock_step(&mock);
    mock_fault(&mock, 13u, 0u, 1u, true, UINT64_C(0x8765432100));
    mock_fault(&mock, 12u, 1u, 0u, false, 4u); /* the first stands */
    CHECK_OK(spatten_fault_read(&device, &fault));
    CHECK(fault.code == SPATTEN_FAULT_CODE_BUS_WRITE && fault.queue == 0u && fault.channel == 1u && fault.write);
    CHECK(fault.address == UINT64_C(0x8765432100) && strcmp(spatten_fault_name(fault.code), "WRITE_ERROR") == 0);
    CHECK_OK(spatten_queue_status(&rings, &state));
    CHECK(state.halted && !state.running && !state.busy);
    for (i = 0; i < mock.queues[0].completion_tail; ++i) {
        CHECK_OK(spatten_wait(&rings, &completion, POLLS));
        failed += completion.code == SPATTEN_CODE_WRITE_ERROR ? 1u : 0u;
        CHECK(completion.code == 0u || completion.address == UINT64_C(0x8765432100));
    }
    CHECK(failed > 0u);
    CHECK_ERROR(spatten_wait(&rings, &completion, POLLS), SPATTEN_ERROR_HALTED);
    CHECK(rings.outstanding > 0u);
    CHECK_OK(spatten_fault_clear(&device));
    CHECK_ERROR(spatten_fault_read(&device, &fault), SPATTEN_ERROR_EMPTY);
    CHECK(mock.irq_pending == 0x10000u);
    CHECK_OK(spatten_queue_resume(&rings, POLLS));
    while (rings.outstanding != 0u) {
        CHECK_OK(spatten_wait(&rings, &completion, POLLS));
        CHECK(completion.code == SPATTEN_CODE_DONE);
    }
    CHECK_OK(spatten_queue_status(&rings, &state));
    CHECK(state.running && !state.halted && state.code == 0u);
    submit_nop(99u);
    while (mock.queues[0].head != 15u)
        mock_step(&mock);
    mock.running = false;
    mock.fault_at_status = true; /* between the last poll and the look at the state */
    CHECK_OK(spatten_wait(&rings, &completion, 1u));
    CHECK(completion.tag == 99u && completion.code == SPATTEN_CODE_TIMEOUT);
    nothing_was_wrong();
}

static void test_abort(void)
{
    struct spatten_completion completion;
    struct spatten_queue_state state;
    uint32_t i, aborted = 0;
    for (i = 0; i < 2u; ++i) {
        open_queue(16u, 16u);
        mock.running = false;
        submit_nop(7u);
        submit_nop(8u);
        submit_nop(9u);
        CHECK_OK(spatten_queue_abort(&rings)); /* nothing is in flight: it halts */
        CHECK_OK(spatten_queue_status(&rings, &state));
        CHECK(state.halted && !state.busy && state.code == SPATTEN_FAULT_CODE_ABORTED && mock.queues[0].enabled);
        mock.running = true;
        CHECK_ERROR(spatten_wait(&rings, &completion, POLLS), SPATTEN_ERROR_HALTED);
        CHECK(rings.outstanding == 3u);
        if (i == 0u) {
            CHECK_OK(spatten_queue_resume(&rings, POLLS));
            while (mock.queues[0].head != 3u)
                mock_step(&mock);
            mock.running = false;
            CHECK_OK(spatten_queue_abort(&rings)); /* the third at least is in flight */
            CHECK_ERROR(spatten_queue_resume(&rings, 10u), SPATTEN_ERROR_TIMEOUT);
            CHECK(mock.queues[0].halted);
            mock.running = true;
            while (rings.outstanding != 0u) {
                CHECK_OK(spatten_wait(&rings, &completion, POLLS));
                aborted += completion.code == SPATTEN_CODE_ABORTED ? 1u : 0u;
            }
            CHECK(aborted > 0u);
            CHECK_OK(spatten_queue_resume(&rings, POLLS));
        } else {
            CHECK_OK(spatten_queue_restart(&rings, POLLS));
            CHECK(rings.outstanding == 0u);
        }
        submit_nop(10u);
        CHECK_OK(spatten_wait(&rings, &completion, POLLS));
        CHECK(completion.tag == 10u && completion.code == SPATTEN_CODE_DONE);
    }
    nothing_was_wrong();
}

/* What nobody reads does not keep a queue from its end. */
static void test_restart_of_a_full_ring(void)
{
    struct spatten_completion completion;
    uint32_t i;
    open_queue(8u, 2u);
    for (i = 0; i < 8u; ++i)
        submit_nop(i);
    steps(50u);
    CHECK(mock.queues[0].completion_tail == 2u && mock.queues[0].head == 5u);
    CHECK_OK(spatten_queue_restart(&rings, POLLS));
    CHECK(rings.outstanding == 0u);
    CHECK_ERROR(spatten_poll(&rings, &completion), SPATTEN_ERROR_EMPTY);
    submit_nop(20u);
    CHECK_OK(spatten_wait(&rings, &completion, POLLS));
    CHECK(completion.tag == 20u && completion.number == 0u && completion.code == SPATTEN_CODE_DONE);
    nothing_was_wrong();
}

static void test_soft_reset(void)
{
    struct spatten_command command;
    struct spatten_completion completion;
    struct spatten_queue_state state;
    uint32_t count;
    open_queue(4u, 4u);
    submit_nop(1u);
    steps(1u);
    CHECK_OK(spatten_soft_reset(&device, POLLS));
    CHECK(mock.control == 1u && mock.irq_pending == 2u); /* still enabled, and drained */
    spatten_nop(&command, 2u, false);
    CHECK_ERROR(spatten_submit(&rings, &command, 1u), SPATTEN_ERROR_STALE);
    CHECK_ERROR(spatten_put(&rings, &command, 1u), SPATTEN_ERROR_STALE);
    CHECK_ERROR(spatten_ring_doorbell(&rings), SPATTEN_ERROR_STALE);
    CHECK_ERROR(spatten_poll(&rings, &completion), SPATTEN_ERROR_STALE);
    CHECK_ERROR(spatten_poll_many(&rings, &completion, 1u, &count), SPATTEN_ERROR_STALE);
    CHECK_ERROR(spatten_wait(&rings, &completion, POLLS), SPATTEN_ERROR_STALE);
    CHECK_ERROR(spatten_queue_status(&rings, &state), SPATTEN_ERROR_STALE);
    CHECK_ERROR(spatten_queue_abort(&rings), SPATTEN_ERROR_STALE);
    CHECK_ERROR(spatten_queue_resume(&rings, POLLS), SPATTEN_ERROR_STALE);
    CHECK_OK(spatten_queue_restart(&rings, POLLS));
    CHECK_ERROR(spatten_poll(&rings, &completion), SPATTEN_ERROR_EMPTY);
    submit_nop(3u);
    CHECK_OK(spatten_wait(&rings, &completion, POLLS));
    CHECK(completion.tag == 3u && completion.number == 0u);
    CHECK_ERROR(spatten_soft_reset(&device, 3u), SPATTEN_ERROR_TIMEOUT);
    CHECK_OK(spatten_until(&device, SPATTEN_STATUS_OFFSET, SPATTEN_STATUS_DRAINING_MASK, 0u, POLLS));
    mock.drain_failed = true;
    CHECK_ERROR(spatten_soft_reset(&device, POLLS), SPATTEN_ERROR_DRAIN);
    CHECK_OK(spatten_queue_close(&rings, POLLS));
    nothing_was_wrong();
}

static void test_halt(void)
{
    struct spatten_completion completion;
    open_queue(4u, 4u);
    submit_nop(1u);
    while (mock.queues[0].head == 0u)
        mock_step(&mock);
    mock.running = false;
    CHECK_ERROR(spatten_halt(&device, 5u), SPATTEN_ERROR_TIMEOUT); /* one is in flight */
    mock.running = true;
    CHECK_OK(spatten_halt(&device, POLLS));
    CHECK(mock.control == 3u && mock.queues[0].completion_tail == 1u);
    submit_nop(2u);
    steps(50u);
    CHECK(mock.queues[0].head == 1u);
    CHECK_OK(spatten_enable(&device));
    CHECK(mock.control == 1u);
    CHECK_OK(spatten_wait(&rings, &completion, POLLS));
    CHECK_OK(spatten_wait(&rings, &completion, POLLS));
    CHECK(completion.tag == 2u);
    nothing_was_wrong();
}

static void test_interrupts(void)
{
    const uint32_t mask = SPATTEN_IRQ_QUEUE(0) | SPATTEN_IRQ_ENABLE_FAULT_MASK;
    open_queue(4u, 4u);
    CHECK_OK(spatten_irq_enable(&device, mask));
    CHECK(mock.irq_enable == 0x10001u && SPATTEN_IRQ_QUEUE(1) == 0x20000u);
    CHECK(spatten_irq_take(&device, mask) == 0u);
    submit_nop(1u);
    steps(20u);
    mock.irq_pending |= 6u;
    CHECK(spatten_irq_take(&device, mask) == 0x10000u);
    CHECK(mock.irq_pending == 6u); /* only what was asked for is acknowledged */
    CHECK(spatten_irq_take(&device, ~0u) == 6u && mock.irq_pending == 0u);
    CHECK(spatten_irq_take(NULL, ~0u) == 0u);
    nothing_was_wrong();
}

static void test_counters(void)
{
    uint64_t value = 0;
    power_on();
    CHECK_ERROR(spatten_snapshot(&device, 2u), SPATTEN_ERROR_TIMEOUT);
    CHECK_OK(spatten_snapshot(&device, POLLS));
    CHECK_OK(spatten_read_counter(&device, SPATTEN_COUNTER_CYCLES, &value));
    CHECK(value == (UINT64_C(0xABCD) << 32 | 7u));
    CHECK_OK(spatten_read_counter(&device, SPATTEN_COUNTER_SURPLUS(1), &value));
    CHECK(value == (UINT64_C(0xABCD) << 32 | (67u + 7u)));
    CHECK_ERROR(spatten_read_counter(&device, SPATTEN_COUNTER_WORDS(2), &value), SPATTEN_ERROR_RANGE);
    CHECK_ERROR(spatten_read_counter(&device, 0u, NULL), SPATTEN_ERROR_ARGUMENT);
    mock.cycle = 5u;
    CHECK_OK(spatten_counters_clear(&device));
    CHECK(mock.cycle == 0u && mock.control == 1u);
    nothing_was_wrong();
}

static void test_channels(void)
{
    open_queue(4u, 4u);
    CHECK_ERROR(spatten_set_channel(&device, 1u, 4096u), SPATTEN_ERROR_BUSY); /* the queue's windows depend on it */
    CHECK(mock.channels[1] == 0u);
    device.open = 0u;
    CHECK_OK(spatten_set_channel(&device, 1u, UINT64_C(0xFF12345000)));
    CHECK(mock.channels[1] == UINT64_C(0xFF12345000) && mock.channels[0] == 0u);
    CHECK_ERROR(spatten_set_channel(&device, 2u, 0u), SPATTEN_ERROR_RANGE);
    CHECK_ERROR(spatten_set_channel(&device, 0u, 2048u), SPATTEN_ERROR_ALIGNMENT);
    CHECK_ERROR(spatten_set_channel(&device, 0u, UINT64_C(1) << 40), SPATTEN_ERROR_ADDRESS);
    submit_nop(1u);
    while (mock.queues[0].head == 0u)
        mock_step(&mock);
    CHECK_ERROR(spatten_set_channel(&device, 0u, 4096u), SPATTEN_ERROR_BUSY);
    CHECK(mock.channels[0] == 0u);
    nothing_was_wrong();
}

/* A plan and a command that are right. */
static struct spatten_plan good_plan(void)
{
    struct spatten_plan plan;
    memset(&plan, 0, sizeof plan);
    plan.dim = 32;
    plan.group = 2;
    plan.num_kv_heads = 2;
    plan.query_bits = 12;
    plan.key_bits = 8;
    plan.key_lsb_bits = 4;
    plan.value_bits = 12;
    plan.flat_limit = 1u << 16;
    plan.key = 0x10000;
    plan.key_lsb = 0x20000;
    plan.value = 0x30000;
    plan.query_stride = plan.key_stride = plan.key_lsb_stride = plan.value_stride = 0x100;
    plan.heads = HEADS;
    plan.out_position_stride = 1024;
    plan.out_head_stride = 128;
    return plan;
}

static struct spatten_command good_command(void)
{
    struct spatten_command command;
    memset(&command, 0, sizeof command);
    command.tag = 0x77;
    command.flags = SPATTEN_SET(FLAGS_CAUSAL, 1);
    command.num_keys = 20;
    command.num_queries = 4;
    command.num_rows = 24;
    command.value_keep = 10;
    command.num_heads = 3;
    command.plan = PLAN;
    command.query = 0x40;
    command.out = OUT;
    command.state = STATE;
    return command;
}

static void test_plans(void)
{
    struct spatten_plan plan;
    open_queue(4u, 4u);
    plan = good_plan();
    CHECK_OK(spatten_check_plan(&rings, &plan));
#define REFUSES(change, error, name)                                                                                  \
    plan = good_plan();                                                                                               \
    change;                                                                                                           \
    CHECK_FIELD(spatten_check_plan(&rings, &plan), error, name)
    REFUSES(plan.dim = 0, SPATTEN_ERROR_RANGE, "dim");
    REFUSES(plan.dim = 24, SPATTEN_ERROR_RANGE, "dim");
    REFUSES(plan.dim = 48, SPATTEN_ERROR_RANGE, "dim"); /* it is not in CAP3 */
    REFUSES(plan.dim = 80, SPATTEN_ERROR_RANGE, "dim");
    REFUSES(plan.group = 5, SPATTEN_ERROR_RANGE, "group");
    REFUSES(plan.skew = 2, SPATTEN_ERROR_RANGE, "skew");
    REFUSES(plan.decay = 32, SPATTEN_ERROR_RANGE, "decay");
    REFUSES(plan.out_format = 3, SPATTEN_ERROR_RANGE, "out_format");
    REFUSES(plan.key += 8, SPATTEN_ERROR_ALIGNMENT, "key");
    REFUSES(plan.key_lsb += 8, SPATTEN_ERROR_ALIGNMENT, "key_lsb");
    REFUSES(plan.value += 1, SPATTEN_ERROR_ALIGNMENT, "value");
    REFUSES(plan.query_stride += 8, SPATTEN_ERROR_ALIGNMENT, "query_stride");
    REFUSES(plan.key_stride += 8, SPATTEN_ERROR_ALIGNMENT, "key_stride");
    REFUSES(plan.key_lsb_stride += 8, SPATTEN_ERROR_ALIGNMENT, "key_lsb_stride");
    REFUSES(plan.value_stride += 8, SPATTEN_ERROR_ALIGNMENT, "value_stride");
    REFUSES(plan.heads += 16, SPATTEN_ERROR_ALIGNMENT, "heads");
    REFUSES(plan.out_position_stride += 16, SPATTEN_ERROR_ALIGNMENT, "out_position_stride");
    REFUSES(plan.out_head_stride += 16, SPATTEN_ERROR_ALIGNMENT, "out_head_stride");
    REFUSES(plan.reserved0[31] = 1, SPATTEN_ERROR_RANGE, "reserved0");
    plan.reserved0[31] = 0;
    plan.out_format = SPATTEN_OUT_FORMAT_BF16;
    CHECK_OK(spatten_check_plan(&rings, &plan));
    device.capabilities.max_dim = 0xFFFFu; /* more than CAP3 has bits for */
    plan.dim = 528;
    CHECK_FIELD(spatten_check_plan(&rings, &plan), SPATTEN_ERROR_RANGE, "dim");
    plan.dim = 32;
    device.capabilities.float_results = false;
    CHECK_FIELD(spatten_check_plan(&rings, &plan), SPATTEN_ERROR_UNSUPPORTED, "out_format");
#undef REFUSES
    CHECK_ERROR(spatten_check_plan(&rings, NULL), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_write_plan(&rings, NULL, &plan), SPATTEN_ERROR_UNSUPPORTED);
    plan.out_format = 0;
    CHECK_ERROR(spatten_write_plan(&rings, NULL, &plan), SPATTEN_ERROR_ARGUMENT);
    nothing_was_wrong();
}

static void test_commands(void)
{
    struct spatten_plan plan;
    struct spatten_command command;
    open_queue(4u, 4u);
#define MAKES(function, change)                                                                                       \
    plan = good_plan();                                                                                               \
    command = good_command();                                                                                         \
    change;                                                                                                           \
    CHECK_OK(function(&rings, &plan, &command))
#define REFUSES(function, change, error, name)                                                                        \
    plan = good_plan();                                                                                               \
    command = good_command();                                                                                         \
    change;                                                                                                           \
    CHECK_FIELD(function(&rings, &plan, &command), error, name)
    MAKES(spatten_layer, (void)0);
    CHECK(command.opcode == SPATTEN_OPCODE_LAYER);
    MAKES(spatten_job, command.num_heads = 4);
    CHECK(command.opcode == SPATTEN_OPCODE_JOB);
    MAKES(spatten_select, command.num_heads = 0);
    CHECK(command.opcode == SPATTEN_OPCODE_SELECT);
    REFUSES(spatten_layer, plan.dim = 0, SPATTEN_ERROR_RANGE, "dim");
    REFUSES(spatten_layer, plan.query_bits = 13, SPATTEN_ERROR_RANGE, "query_bits");
    REFUSES(spatten_layer, plan.query_bits = 0, SPATTEN_ERROR_RANGE, "query_bits");
    REFUSES(spatten_layer, plan.key_bits = 0, SPATTEN_ERROR_RANGE, "key_bits");
    REFUSES(spatten_layer, plan.key_bits = 10, SPATTEN_ERROR_RANGE, "key_lsb_bits"); /* 14 bits together */
    REFUSES(spatten_layer, plan.key_lsb_bits = 2, SPATTEN_ERROR_RANGE, "key_lsb_bits");
    REFUSES(spatten_layer, plan.value_bits = 16, SPATTEN_ERROR_RANGE, "value_bits");
    MAKES(spatten_select, (command.num_heads = 0, plan.key_bits = 0)); /* it needs no widths */
    REFUSES(spatten_layer, command.irq = 2, SPATTEN_ERROR_RANGE, "irq");
    REFUSES(spatten_layer, command.flags |= 1u << 11, SPATTEN_ERROR_RANGE, "flags");
    REFUSES(spatten_layer, command.flags |= SPATTEN_SET(FLAGS_LIST, 3), SPATTEN_ERROR_RANGE, "list");
    REFUSES(spatten_layer, command.flags |= SPATTEN_SET(FLAGS_BIT_PLANE, 1), SPATTEN_ERROR_UNSUPPORTED, "bit_plane");
    REFUSES(spatten_layer, command.flags |= SPATTEN_SET(FLAGS_PROBABILITIES, 1), SPATTEN_ERROR_UNSUPPORTED,
            "probabilities");
    REFUSES(spatten_layer, command.num_rows = 1025, SPATTEN_ERROR_RANGE, "num_rows");
    REFUSES(spatten_layer, command.num_keys = 0, SPATTEN_ERROR_RANGE, "num_keys");
    REFUSES(spatten_layer, command.num_keys = 25, SPATTEN_ERROR_RANGE, "num_keys");
    REFUSES(spatten_layer, command.num_queries = 21, SPATTEN_ERROR_RANGE, "num_queries"); /* causal */
    MAKES(spatten_layer, (command.flags = 0, command.num_queries = 21));
    REFUSES(spatten_layer, (command.flags = 0, command.num_queries = 1025), SPATTEN_ERROR_RANGE, "num_queries");
    REFUSES(spatten_layer, command.num_queries = 0, SPATTEN_ERROR_RANGE, "num_queries");
    REFUSES(spatten_layer, command.flags |= SPATTEN_SET(FLAGS_GENERATION, 1), SPATTEN_ERROR_RANGE, "num_queries");
    REFUSES(spatten_layer, command.value_keep = 0, SPATTEN_ERROR_RANGE, "value_keep");
    REFUSES(spatten_layer, command.value_keep = 21, SPATTEN_ERROR_RANGE, "value_keep");
    MAKES(spatten_layer, command.num_heads = 12);
    REFUSES(spatten_layer, command.num_heads = 13, SPATTEN_ERROR_RANGE, "num_heads");
    REFUSES(spatten_job, command.num_heads = 5, SPATTEN_ERROR_RANGE, "num_heads");
    REFUSES(spatten_job, command.num_heads = 0, SPATTEN_ERROR_RANGE, "num_heads");
    REFUSES(spatten_job, command.head_keep = 10, SPATTEN_ERROR_RANGE, "head_keep");
    REFUSES(spatten_job, (command.flags = 0, command.num_queries = 400), SPATTEN_ERROR_RANGE, "num_queries");
    REFUSES(spatten_job,
            (command.flags = SPATTEN_SET(FLAGS_GENERATION, 1), command.num_queries = 1, command.num_heads = 2),
            SPATTEN_ERROR_RANGE, "num_heads");
    MAKES(spatten_job, command.flags |= SPATTEN_SET(FLAGS_SELECT, 1)); /* means nothing to a job */
    REFUSES(spatten_select, command.num_heads = 1, SPATTEN_ERROR_RANGE, "num_heads");
    REFUSES(spatten_layer, command.flags |= SPATTEN_SET(FLAGS_SELECT, 1), SPATTEN_ERROR_RANGE, "token_keep");
    REFUSES(spatten_layer, (command.flags |= SPATTEN_SET(FLAGS_SELECT, 1), command.token_keep = 1),
            SPATTEN_ERROR_RANGE, "head_keep");
    MAKES(spatten_layer, (command.flags |= SPATTEN_SET(FLAGS_SELECT, 1), command.token_keep = command.head_keep = 1));
    REFUSES(spatten_layer, command.plan += 32, SPATTEN_ERROR_ALIGNMENT, "plan");
    REFUSES(spatten_layer, command.query += 8, SPATTEN_ERROR_ALIGNMENT, "query");
    REFUSES(spatten_layer, command.out += 16, SPATTEN_ERROR_ALIGNMENT, "out");
    MAKES(spatten_select, (command.num_heads = 0, command.out += 16));
    MAKES(spatten_layer, command.state += 8); /* it is not read */
    REFUSES(spatten_layer, (command.flags |= SPATTEN_SET(FLAGS_LIST, 1), command.state += 8), SPATTEN_ERROR_ALIGNMENT,
            "state");
    REFUSES(spatten_layer, command.plan = TABLES - 64, SPATTEN_ERROR_WINDOW, "plan");
    REFUSES(spatten_layer, command.plan = END - 64, SPATTEN_ERROR_WINDOW, "plan");
    REFUSES(spatten_layer, command.plan = ~UINT64_C(63), SPATTEN_ERROR_WINDOW, "plan");
    MAKES(spatten_layer, command.plan = END - 128);
    REFUSES(spatten_layer, (plan.heads = END - 64, command.num_heads = 5), SPATTEN_ERROR_WINDOW, "heads");
    MAKES(spatten_layer, (plan.heads = END - 64, command.num_heads = 4));
    REFUSES(spatten_job, (plan.heads = END - 64, command.head_keep = 2), SPATTEN_ERROR_WINDOW, "heads");
    MAKES(spatten_layer, (command.flags |= SPATTEN_SET(FLAGS_LIST, 1), command.state = END - 64 - 192));
    REFUSES(spatten_layer,
            (command.flags |= SPATTEN_SET(FLAGS_LIST, 1), command.num_keys = 25, command.num_rows = 25,
             command.state = END - 64 - 192),
            SPATTEN_ERROR_WINDOW, "state");
    REFUSES(spatten_layer, command.out = END - 96, SPATTEN_ERROR_WINDOW, "out");
    REFUSES(spatten_layer, command.out = END + 32, SPATTEN_ERROR_WINDOW, "out");
    MAKES(spatten_layer, (plan.out_format = SPATTEN_OUT_FORMAT_BF16, command.out = END - 64));
    device.capabilities.probabilities = true;
#define PROBABILITIES(at) (command.flags |= SPATTEN_FLAGS_PROBABILITIES_MASK, plan.probabilities = (at))
    MAKES(spatten_layer, PROBABILITIES(END - 64));
    MAKES(spatten_job, PROBABILITIES(END - 64));
    MAKES(spatten_layer, plan.probability_head_stride = 2); /* nobody asks for them */
    REFUSES(spatten_layer, PROBABILITIES(END - 32), SPATTEN_ERROR_WINDOW, "probabilities");
    REFUSES(spatten_layer, PROBABILITIES(END - 80), SPATTEN_ERROR_ALIGNMENT, "probabilities");
    REFUSES(spatten_layer, (PROBABILITIES(END - 64), plan.probability_query_stride = 16), SPATTEN_ERROR_ALIGNMENT,
            "probability_query_stride");
    REFUSES(spatten_layer, (PROBABILITIES(END - 64), plan.probability_head_stride = 2), SPATTEN_ERROR_ALIGNMENT,
            "probability_head_stride");
    REFUSES(spatten_select, (PROBABILITIES(END - 64), command.num_heads = 0), SPATTEN_ERROR_RANGE, "probabilities");
#undef PROBABILITIES
    MAKES(spatten_layer, (command.flags |= SPATTEN_FLAGS_ZERO_PRUNED_MASK, plan.num_kv_heads = 6));
    REFUSES(spatten_layer, (command.flags |= SPATTEN_FLAGS_ZERO_PRUNED_MASK, plan.num_kv_heads = 7),
            SPATTEN_ERROR_RANGE, "num_kv_heads");
    REFUSES(spatten_job, command.flags |= SPATTEN_FLAGS_ZERO_PRUNED_MASK, SPATTEN_ERROR_RANGE, "zero_pruned");
    MAKES(spatten_layer, command.flags |= SPATTEN_SET(FLAGS_WRITE_STATE, 1));
    rings.setup.writable.base = STATE + 64;
    REFUSES(spatten_layer, command.flags |= SPATTEN_SET(FLAGS_WRITE_STATE, 1), SPATTEN_ERROR_WINDOW, "state");
    rings.setup.writable.base = HEADS + 4096;
    REFUSES(spatten_layer, command.flags |= SPATTEN_SET(FLAGS_WRITE_STATE, 1), SPATTEN_ERROR_WINDOW, "heads");
    device.capabilities.write_back = false;
    REFUSES(spatten_layer, command.flags |= SPATTEN_SET(FLAGS_WRITE_STATE, 1), SPATTEN_ERROR_UNSUPPORTED,
            "write_state");
#undef MAKES
#undef REFUSES
    CHECK_ERROR(spatten_layer(&rings, NULL, &command), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_layer(&rings, &plan, NULL), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_layer(NULL, &plan, &command), SPATTEN_ERROR_ARGUMENT);
    nothing_was_wrong();
}

static void make_pair(struct spatten_plan *plans, struct spatten_command *pair)
{
    plans[0] = plans[1] = good_plan();
    plans[1].value += 0x1000;
    pair[0] = pair[1] = good_command();
    pair[0].flags = SPATTEN_SET(FLAGS_GENERATION, 1) | SPATTEN_SET(FLAGS_LIST, SPATTEN_LIST_TABLE);
    pair[1].flags = SPATTEN_SET(FLAGS_GENERATION, 1) | SPATTEN_SET(FLAGS_LIST, SPATTEN_LIST_PREVIOUS);
    pair[0].num_queries = pair[1].num_queries = pair[0].num_heads = pair[1].num_heads = 1;
    pair[1].head_keep = 1;
    pair[1].tag = 0x78;
}

static void test_pairs(void)
{
    struct spatten_plan plans[2];
    struct spatten_command commands[4];
    struct spatten_completion completion;
    uint32_t i;
    open_queue(4u, 4u);
#define REFUSES(change, error, name)                                                                                  \
    make_pair(plans, commands);                                                                                       \
    change;                                                                                                           \
    CHECK_FIELD(spatten_pair(&rings, &plans[0], &plans[1], commands), error, name)
    REFUSES(commands[1].flags = SPATTEN_SET(FLAGS_LIST, 2), SPATTEN_ERROR_PAIR, "generation");
    REFUSES(plans[1].dim = 16, SPATTEN_ERROR_PAIR, "dim");
    REFUSES(plans[0].dim = plans[1].dim = 64, SPATTEN_ERROR_PAIR, "dim"); /* 128 together */
    REFUSES(plans[1].key = 0, SPATTEN_ERROR_PAIR, "key");
    REFUSES(plans[1].key_bits = 6, SPATTEN_ERROR_PAIR, "key_bits");
    REFUSES(plans[1].key_lsb_bits = 0, SPATTEN_ERROR_PAIR, "key_bits");
    REFUSES(plans[1].skew = 1, SPATTEN_ERROR_PAIR, "skew");
    REFUSES(commands[1].num_keys = 19, SPATTEN_ERROR_PAIR, "num_keys");
    REFUSES(commands[1].num_rows = 23, SPATTEN_ERROR_PAIR, "num_keys");
    REFUSES(commands[1].flags = commands[0].flags, SPATTEN_ERROR_PAIR, "list");
    REFUSES(commands[0].flags = SPATTEN_SET(FLAGS_GENERATION, 1), SPATTEN_ERROR_PAIR, "list");
    REFUSES(plans[1].dim = 0, SPATTEN_ERROR_RANGE, "dim");
#undef REFUSES
    make_pair(plans, commands);
    CHECK_OK(spatten_pair(&rings, &plans[0], &plans[1], commands));
    CHECK(commands[0].opcode == SPATTEN_OPCODE_PAIR && commands[1].opcode == SPATTEN_OPCODE_PAIR);
    spatten_nop(&commands[2], 0x79u, false);
    CHECK_ERROR(spatten_submit(&rings, commands, 1u), SPATTEN_ERROR_PAIR);
    CHECK_ERROR(spatten_submit(&rings, &commands[1], 2u), SPATTEN_ERROR_PAIR);
    commands[3] = commands[0];
    CHECK_ERROR(spatten_submit(&rings, commands, 4u), SPATTEN_ERROR_PAIR);
    CHECK(rings.put == 0u && rings.outstanding == 0u);
    CHECK_OK(spatten_submit(&rings, commands, 3u));
    CHECK(mock.queues[0].announcements == 1u);
    for (i = 0; i < 3u; ++i) {
        CHECK_OK(spatten_wait(&rings, &completion, POLLS));
        CHECK(completion.code == SPATTEN_CODE_DONE);
    }
    open_queue(1u, 4u);
    CHECK_FIELD(spatten_pair(&rings, &plans[0], &plans[1], commands), SPATTEN_ERROR_SIZE, "num_commands");
    CHECK_ERROR(spatten_submit(&rings, commands, 2u), SPATTEN_ERROR_SIZE);
    nothing_was_wrong();
}

static void test_append(void)
{
    struct spatten_plan plan;
    struct spatten_append good, append;
    struct spatten_command command;
    open_queue(4u, 4u);
    plan = good_plan();
    memset(&good, 0, sizeof good);
    good.tag = 0x1234;
    good.flags = SPATTEN_SET(APPEND_FLAGS_KEY, 1) | SPATTEN_SET(APPEND_FLAGS_VALUE, 1);
    good.first_row = 1020;
    good.num_rows = 4;
    good.num_heads = 3;
    good.position_stride = good.head_stride = 64;
    good.plan = PLAN;
    good.constants = HEADS;
    good.rows = STATE;
    good.value_rows = STATE + 4096;
    append = good;
    CHECK_FIELD(spatten_append_rows(&rings, &plan, &append, &command), SPATTEN_ERROR_UNSUPPORTED, "opcode");
    append.flags = SPATTEN_SET(APPEND_FLAGS_QUERY, 1);
    CHECK_FIELD(spatten_append_rows(&rings, &plan, &append, &command), SPATTEN_ERROR_UNSUPPORTED, "query");
    device.capabilities.append = device.capabilities.quantize_query = true;
    CHECK_FIELD(spatten_append_rows(&rings, &plan, &append, &command), SPATTEN_ERROR_RANGE, "first_row");
    append.first_row = 1016; /* four rows of each head of a group of two */
    CHECK_OK(spatten_append_rows(&rings, &plan, &append, &command));
    CHECK_OK(spatten_append_rows(&rings, &plan, &good, &command));
    CHECK_OK(spatten_put(&rings, &command, 1u));
    CHECK(mock.memory[0] == 6 && mock.memory[2] == 0x34 && mock.memory[4] == 3 && mock.memory[9] == 3);
    CHECK(mock.memory[12] == 4 && mock.memory[14] == 3 && mock.memory[16] == 64 && mock.memory[20] == 64);
    CHECK(mock.memory[25] == 0x10 && mock.memory[35] == 0x80 && mock.memory[49] == 0x20 && mock.memory[57] == 0x30);
#define REFUSES(change, error, name)                                                                                  \
    append = good;                                                                                                    \
    change;                                                                                                           \
    CHECK_FIELD(spatten_append_rows(&rings, &plan, &append, &command), error, name)
    REFUSES(append.irq = 2, SPATTEN_ERROR_RANGE, "irq");
    REFUSES(append.flags |= 32, SPATTEN_ERROR_RANGE, "flags");
    REFUSES(append.flags = 0, SPATTEN_ERROR_RANGE, "flags");
    REFUSES(append.flags |= SPATTEN_SET(APPEND_FLAGS_QUERY, 1), SPATTEN_ERROR_RANGE, "flags");
    REFUSES(append.num_rows = 0, SPATTEN_ERROR_RANGE, "num_rows");
    REFUSES(append.first_row = 1021, SPATTEN_ERROR_RANGE, "first_row");
    REFUSES(append.num_heads = 0, SPATTEN_ERROR_RANGE, "num_heads");
    REFUSES(append.flags |= SPATTEN_SET(APPEND_FLAGS_PAIRED, 1), SPATTEN_ERROR_RANGE, "num_heads");
    REFUSES(append.plan += 32, SPATTEN_ERROR_ALIGNMENT, "plan");
    REFUSES(append.constants += 32, SPATTEN_ERROR_ALIGNMENT, "constants");
    REFUSES(append.rows += 16, SPATTEN_ERROR_ALIGNMENT, "rows");
    REFUSES(append.value_rows += 16, SPATTEN_ERROR_ALIGNMENT, "value_rows");
    REFUSES(append.position_stride += 16, SPATTEN_ERROR_ALIGNMENT, "position_stride");
    REFUSES(append.head_stride += 16, SPATTEN_ERROR_ALIGNMENT, "head_stride");
    REFUSES(append.query = 8, SPATTEN_ERROR_ALIGNMENT, "query");
    REFUSES(append.plan = END - 64, SPATTEN_ERROR_WINDOW, "plan");
    REFUSES(append.constants = END - 2 * 3 * 32 * 4 + 64, SPATTEN_ERROR_WINDOW, "constants");
    REFUSES(append.rows = TABLES - 32, SPATTEN_ERROR_WINDOW, "rows");
    REFUSES(append.rows = END - 5 * 64 - 32, SPATTEN_ERROR_WINDOW, "rows");
    REFUSES(append.value_rows = END - 5 * 64 - 32, SPATTEN_ERROR_WINDOW, "value_rows");
    REFUSES(append.position_stride = 0xFFFFFFE0u, SPATTEN_ERROR_WINDOW, "rows");
    REFUSES(append.head_stride = 0xFFFFFFE0u, SPATTEN_ERROR_WINDOW, "rows");
#undef REFUSES
    append = good;
    append.constants = END - 2 * 3 * 32 * 4;
    append.rows = append.value_rows = END - 6 * 64; /* the last of 4 rows of the last of 3 heads ends there */
    CHECK_OK(spatten_append_rows(&rings, &plan, &append, &command));
    append = good;
    append.flags = SPATTEN_SET(APPEND_FLAGS_VALUE, 1);
    append.rows = 1; /* not used */
    append.constants = END - 3 * 32 * 4;
    CHECK_OK(spatten_append_rows(&rings, &plan, &append, &command));
    append.flags = SPATTEN_SET(APPEND_FLAGS_QUERY, 1);
    append.first_row = 0;
    append.value_rows = 1;
    append.rows = END - 3 * 64 - 5 * 64 - 64;
    CHECK_OK(spatten_append_rows(&rings, &plan, &append, &command));
    append.rows += 32;
    CHECK_FIELD(spatten_append_rows(&rings, &plan, &append, &command), SPATTEN_ERROR_WINDOW, "rows");
    plan.group = 0;
    CHECK_FIELD(spatten_append_rows(&rings, &plan, &append, &command), SPATTEN_ERROR_RANGE, "group");
    plan = good_plan();
    plan.value_bits = 13;
    CHECK_FIELD(spatten_append_rows(&rings, &plan, &append, &command), SPATTEN_ERROR_RANGE, "value_bits");
    plan = good_plan();
    CHECK_ERROR(spatten_append_rows(&rings, &plan, NULL, &command), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_append_rows(&rings, &plan, &good, NULL), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_append_rows(&rings, NULL, &good, &command), SPATTEN_ERROR_ARGUMENT);
    nothing_was_wrong();
}

/* Bytes of memory, as docs/commands.md has them. */
static void test_bytes(void)
{
    static const uint8_t row[16] = {3, 0, 1, 0, 0x34, 0x12, 9, 0xF8, 0x78, 0x56, 0, 0, 0xEF, 0xBE, 0xAD, 0xDE};
    static const uint8_t token[8] = {0x56, 0x34, 0x12, 0, 4, 3, 2, 1};
    struct spatten_head_row head, heads[2];
    struct spatten_token_row rows[3], found[3];
    struct spatten_plan plan;
    struct spatten_command command;
    uint8_t *place;
    uint32_t count = 0, i;
    open_queue(4u, 4u);
    memset(heads, 0, sizeof heads);
    heads[0].scale = heads[1].scale = 0x1234;
    heads[0].shift = heads[1].shift = 9;
    heads[1].head = 3;
    heads[1].kv_head = 1;
    heads[1].exponent = -8;
    heads[1].weight = 0x5678;
    heads[1].importance = 0xDEADBEEFu;
    place = mock_host(&mock, HEADS);
    CHECK_OK(spatten_write_heads(&rings, place, heads, 2u));
    CHECK(memcmp(mock.memory + (HEADS - MOCK_ADDRESS) + 16, row, 16) == 0 && place[32] == 0xA5);
    CHECK_OK(spatten_read_heads(&rings, place + 16, &head, 1u));
    CHECK(head.head == 3 && head.exponent == -8 && head.importance == 0xDEADBEEFu);
    mock.memory[HEADS - MOCK_ADDRESS + 16] = 5; /* the device writes another */
    CHECK_OK(spatten_read_heads(&rings, place + 16, &head, 1u));
    CHECK(head.head == 5);
#define REFUSES(change, name)                                                                                         \
    head = heads[1];                                                                                                  \
    change;                                                                                                           \
    heads[1] = head;                                                                                                  \
    CHECK_FIELD(spatten_write_heads(&rings, place, heads, 2u), SPATTEN_ERROR_RANGE, name)
    REFUSES(head.head = 12, "head");
    REFUSES((head.head = 3, head.scale = 0), "scale");
    REFUSES((head.scale = 1, head.shift = 0), "shift");
    REFUSES(head.shift = 64, "shift");
    REFUSES((head.shift = 1, head.reserved1 = 1), "reserved1");
    REFUSES((head.reserved1 = 0, head.kv_head = 0, heads[0].kv_head = 1), "kv_head");
#undef REFUSES
    CHECK_ERROR(spatten_write_heads(&rings, NULL, heads, 2u), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_read_heads(&rings, NULL, heads, 2u), SPATTEN_ERROR_ARGUMENT);

    for (i = 0; i < 3u; ++i) {
        rows[i].id = 0x123456u + i;
        rows[i].importance = 0x01020304u + i;
    }
    place = mock_host(&mock, STATE);
    CHECK_OK(spatten_write_tokens(&rings, place, rows, 3u, 0x200u));
    CHECK(memcmp(mock.memory + (STATE - MOCK_ADDRESS) + 64, token, 8) == 0 && place[64 + 24] == 0xA5);
    CHECK(mock.memory[STATE - MOCK_ADDRESS] == 3 && mock.memory[STATE - MOCK_ADDRESS + 5] == 2);
    for (i = 8; i < 64u; ++i)
        CHECK(mock.memory[STATE - MOCK_ADDRESS + i] == 0);
    mock.memory[STATE - MOCK_ADDRESS] = 2; /* the device keeps two */
    mock.memory[STATE - MOCK_ADDRESS + 64] = 0;
    CHECK_OK(spatten_read_tokens(&rings, place, found, 3u, &count));
    CHECK(count == 2u && found[0].id == 0x123400u && found[1].id == 0x123457u && found[1].importance == 0x01020305u);
    CHECK_ERROR(spatten_read_tokens(&rings, place, found, 1u, &count), SPATTEN_ERROR_SIZE);
    CHECK(count == 2u);
    CHECK_ERROR(spatten_read_tokens(&rings, place, found, 1u, NULL), SPATTEN_ERROR_ARGUMENT);
    CHECK_FIELD(spatten_write_tokens(&rings, place, rows, 3u, 2u), SPATTEN_ERROR_RANGE, "count");
    rows[2].id = rows[1].id;
    CHECK_FIELD(spatten_write_tokens(&rings, place, rows, 3u, 3u), SPATTEN_ERROR_RANGE, "id");
    rows[2].id = 1u << 24;
    CHECK_FIELD(spatten_write_tokens(&rings, place, rows, 3u, 3u), SPATTEN_ERROR_RANGE, "id");
    CHECK_ERROR(spatten_write_tokens(&rings, NULL, rows, 3u, 3u), SPATTEN_ERROR_ARGUMENT);

    plan = good_plan();
    plan.value = UINT64_C(0x0102030405060710);
    CHECK_OK(spatten_write_plan(&rings, mock_host(&mock, PLAN), &plan));
    place = mock.memory + (PLAN - MOCK_ADDRESS);
    CHECK(place[0] == 32 && place[1] == 0 && place[5] == 8 && place[40] == 0x10 && place[41] == 7 && place[47] == 1);
    CHECK(place[81] == 4 && place[84] == 128 && place[127] == 0 && place[128] == 0xA5);
    command = good_command();
    CHECK_OK(spatten_layer(&rings, &plan, &command));
    CHECK_OK(spatten_put(&rings, &command, 1u));
    place = mock.memory;
    CHECK(place[0] == 1 && place[2] == 0x77 && place[4] == 1 && place[8] == 20 && place[28] == 3 && place[35] == 0x80);
    nothing_was_wrong();
}

/* Layers with plans, heads and results, of two queues at once. */
static void test_layers(void)
{
    struct spatten_queue_setup setup;
    struct spatten_rings second;
    struct spatten_head_row heads[3];
    struct spatten_plan plan;
    struct spatten_command command, other;
    struct spatten_completion completion;
    uint32_t i, round;
    open_queue(4u, 4u);
    setup = rings.setup;
    setup.index = 1u;
    setup.commands = mock_host(&mock, OTHER);
    setup.commands_address = OTHER;
    setup.completions = mock_host(&mock, OTHER + 4096u);
    setup.completions_address = OTHER + 4096u;
    CHECK_OK(spatten_queue_open(&second, &device, &setup, POLLS));
    memset(heads, 0, sizeof heads);
    for (i = 0; i < 3u; ++i) {
        heads[i].head = (uint16_t)(2u * i); /* heads 1 and 3 are pruned */
        heads[i].kv_head = (uint16_t)(i / 2u);
        heads[i].scale = heads[i].shift = 1;
    }
    plan = good_plan();
    CHECK_OK(spatten_write_plan(&rings, mock_host(&mock, PLAN), &plan));
    CHECK_OK(spatten_write_heads(&rings, mock_host(&mock, HEADS), heads, 3u));
    for (round = 0; round < 6u; ++round) {
        command = good_command();
        command.tag = (uint16_t)round;
        command.flags |= SPATTEN_SET(FLAGS_SELECT, 1);
        command.token_keep = 15;
        command.head_keep = 2;
        CHECK_OK(spatten_layer(&rings, &plan, &command));
        other = good_command();
        other.out += 0x10000;
        other.tag = (uint16_t)(100u + round);
        CHECK_OK(spatten_layer(&second, &plan, &other));
        CHECK_OK(spatten_submit(&rings, &command, 1u));
        CHECK_OK(spatten_submit(&second, &other, 1u));
        CHECK_OK(spatten_wait(&second, &completion, POLLS));
        CHECK(completion.tag == 100u + round && completion.queue == 1u && completion.tokens == 0u);
        CHECK_OK(spatten_wait(&rings, &completion, POLLS));
        CHECK(completion.tag == round && completion.tokens == 15u && completion.heads == 2u);
        for (i = 0; i < 2u; ++i) {
            const uint64_t row = OUT + i * 0x10000u + 3u * 1024u + 2u * 128u; /* query 3, head 2 */
            spatten_invalidate(&device, mock_host(&mock, row), 128u);
            CHECK(spatten_load(mock_host(&mock, row), 4u) == 3020u);
            CHECK(spatten_load(mock_host(&mock, row + 31u * 4u), 4u) == 3051u);
        }
    }
    CHECK_OK(spatten_queue_close(&second, POLLS));
    CHECK_OK(spatten_queue_close(&rings, POLLS));
    nothing_was_wrong();
}

/* A device that tells what cannot be: errors, and no access outside of the rings. */
static void test_protocol(void)
{
    struct spatten_command command;
    struct spatten_completion completion;
    uint32_t i;
    const uint32_t expected = phase ? SPATTEN_ERROR_EMPTY : SPATTEN_ERROR_PROTOCOL;
    open_queue(4u, 4u);
    mock.running = false;
    mock.queues[0].completion_tail = 5u; /* of 4 entries */
    CHECK(spatten_poll(&rings, &completion) == expected);
    mock.queues[0].completion_tail = 0xFFFFu;
    CHECK(spatten_poll(&rings, &completion) == expected);
    for (i = 0; i < 4u; ++i)
        submit_nop(i);
    mock.queues[0].completion_tail = 5u;
    CHECK(spatten_poll(&rings, &completion) == expected);

    open_queue(4u, 4u);
    submit_nop(1u);
    steps(30u);
    mock.memory[COMPLETIONS - MOCK_ADDRESS + 30] = 1; /* of the other queue */
    CHECK_ERROR(spatten_poll(&rings, &completion), SPATTEN_ERROR_PROTOCOL);
    mock.memory[COMPLETIONS - MOCK_ADDRESS + 30] = 0;
    CHECK_OK(spatten_poll(&rings, &completion));
    mock.memory[COMPLETIONS - MOCK_ADDRESS + 32 + 27] = 1; /* of no command */
    mock.memory[COMPLETIONS - MOCK_ADDRESS + 32 + 30] = 0;
    mock.queues[0].completion_tail = 2u;
    CHECK_ERROR(spatten_poll(&rings, &completion), SPATTEN_ERROR_PROTOCOL);

    open_queue(2u, 4u);
    mock.running = false;
    submit_nop(1u);
    submit_nop(2u);
    mock.queues[0].head = 3u; /* beyond what was announced */
    spatten_nop(&command, 3u, false);
    CHECK_ERROR(spatten_submit(&rings, &command, 1u), SPATTEN_ERROR_PROTOCOL);
    mock.queues[0].head = 2u;
    CHECK_OK(spatten_submit(&rings, &command, 1u));

    submit_nop(4u);
    mock.stuck = true;
    CHECK_ERROR(spatten_queue_restart(&rings, POLLS), SPATTEN_ERROR_PROTOCOL);
}

static void test_misuse(void)
{
    struct spatten_command command;
    struct spatten_completion completion;
    struct spatten_queue_state state;
    struct spatten_fault fault;
    uint32_t count;
    uint64_t value;
    memset(&rings, 0, sizeof rings);
    memset(&device, 0, sizeof device);
    spatten_nop(&command, 1u, true);
    CHECK(command.irq == 1u && command.opcode == 0u && command.tag == 1u);
    CHECK_ERROR(spatten_submit(&rings, &command, 1u), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_submit(NULL, &command, 1u), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_ring_doorbell(&rings), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_wait(&rings, &completion, 1u), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_queue_status(&rings, &state), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_queue_abort(&rings), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_queue_resume(NULL, POLLS), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_queue_close(&rings, 1u), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_halt(&device, 1u), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_soft_reset(&device, 1u), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_snapshot(&device, 1u), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_counters_clear(&device), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_read_counter(&device, 0u, &value), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_irq_enable(&device, 1u), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_fault_read(&device, &fault), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_fault_clear(&device), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_set_channel(&device, 0u, 0u), SPATTEN_ERROR_ARGUMENT);
    open_queue(4u, 4u);
    CHECK_ERROR(spatten_submit(&rings, NULL, 1u), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_poll(&rings, NULL), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_poll_many(&rings, &completion, 1u, NULL), SPATTEN_ERROR_ARGUMENT);
    CHECK_OK(spatten_poll_many(&rings, &completion, 0u, &count));
    CHECK(count == 0u);
    CHECK_ERROR(spatten_queue_status(&rings, NULL), SPATTEN_ERROR_ARGUMENT);
    CHECK_ERROR(spatten_fault_read(&device, NULL), SPATTEN_ERROR_ARGUMENT);
    nothing_was_wrong();
}

static void test_names(void)
{
    uint32_t i;
    CHECK(strcmp(spatten_error_name(SPATTEN_OK), "OK") == 0);
    for (i = 1; i <= SPATTEN_ERROR_PROTOCOL; ++i)
        CHECK(strcmp(spatten_error_name((enum spatten_error)i), "unknown") != 0);
    CHECK(strcmp(spatten_code_name(SPATTEN_CODE_MALFORMED), "MALFORMED") == 0);
    CHECK(strcmp(spatten_code_text(SPATTEN_CODE_TIMEOUT), "the bus did not answer") == 0);
    CHECK(strcmp(spatten_code_name(99u), "unknown") == 0 && strcmp(spatten_code_text(99u), "unknown") == 0);
    CHECK(strcmp(spatten_opcode_name(SPATTEN_OPCODE_FENCE), "FENCE") == 0);
    CHECK(strcmp(spatten_opcode_name(200u), "unknown") == 0);
    CHECK(strcmp(spatten_fault_name(SPATTEN_FAULT_CODE_DRAIN), "DRAIN") == 0);
    CHECK(strcmp(spatten_fault_name(SPATTEN_FAULT_CODE_WINDOW), "OUTSIDE") == 0);
}

#define TEST(name) {#name, test_##name}
static const struct {
    const char *name;
    void (*run)(void);
} TESTS[] = {
    TEST(probe), TEST(default_access), TEST(open), TEST(open_refuses), TEST(close), TEST(one_command), TEST(wrap),
    TEST(wrap_of_small_rings), TEST(largest_rings), TEST(back_pressure), TEST(phase), TEST(put_and_doorbell),
    TEST(wait), TEST(fault), TEST(abort), TEST(restart_of_a_full_ring), TEST(soft_reset), TEST(halt),
    TEST(interrupts), TEST(counters), TEST(channels), TEST(append), TEST(plans), TEST(commands), TEST(pairs),
    TEST(bytes), TEST(layers), TEST(protocol), TEST(misuse), TEST(names),
};

/* Every test with memory that is coherent and that is not, and with completions found by register and by phase. */
int main(void)
{
    char name[64];
    uint32_t mode;
    size_t i;
    for (mode = 0; mode < 4u; ++mode) {
        coherent = (mode & 1u) != 0u;
        phase = (mode & 2u) != 0u;
        for (i = 0; i < sizeof TESTS / sizeof *TESTS; ++i) {
            snprintf(name, sizeof name, "%s, %s, %s", TESTS[i].name, coherent ? "coherent" : "caches",
                     phase ? "phase" : "register");
            running = name;
            TESTS[i].run();
            printf("ok %s\n", name);
        }
    }
    return 0;
}
