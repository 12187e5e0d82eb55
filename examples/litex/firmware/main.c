/* Runs layers of a model on SpAtten with the driver of driver/: each by interrupt, outputs and tables compared with
 * what golden says, word by word; then two faults, and after each of them the first layer once more.
 *
 * case.h, which case.py writes, has the layers: where their commands lie, and what they leave in memory. */
#include "board.h"
#include "case.h"
#include "spatten.h"

enum { POLLS = 100000, SPINS = 100000, SLOTS = 4, SILENCE = 10000 };
static const uint32_t INTERRUPTS = SPATTEN_IRQ_QUEUE(0) | SPATTEN_IRQ_PENDING_FAULT_MASK;

static struct spatten_device device;
static struct spatten_rings rings;
static volatile uint32_t interrupts; /* of the processor */
static uint32_t words, mismatches, faults, taken; /* taken: interrupts with something pending */

static void end(void)
{
    put_byte(END_OF_TEXT);
    for (;;) {
    }
}

static void fail(const char *what, uint32_t number)
{
    put_text("failed: ");
    put_text(what);
    put_text(" ");
    put_number(number);
    put_text("\n");
    end();
}

#define CHECK(condition)                     \
    do {                                     \
        if (!(condition))                    \
            fail("main.c, line", __LINE__);  \
    } while (0)

static void check(enum spatten_error error, uint32_t line)
{
    if (error != SPATTEN_OK) {
        put_text(spatten_error_name(error));
        put_text(" ");
        put_text(rings.field != NULL ? rings.field : "");
        put_text("\n");
        fail("main.c, line", line);
    }
}

#define CHECK_OK(call) check((call), __LINE__)

/* Interrupts ------------------------------------------------------------------------------------------------------ */

void trap(uint32_t cause, uint32_t address);

/* The interrupt is masked until take_interrupt has acknowledged it; any other trap is an error. */
void trap(uint32_t cause, uint32_t address)
{
    if (cause != (UINT32_C(1) << 31 | EXTERNAL_INTERRUPT)) {
        put_text("trap ");
        put_number(cause);
        fail(" at", address);
    }
    set_interrupt_mask(0u);
    ++interrupts;
}

/* Waits for an interrupt, and gives what was pending, which is acknowledged.
 *
 * LiteX's bridges answer a write before it is done: the line may still be 1 when the mask is lifted, and the processor
 * be interrupted once more, with nothing pending. */
static uint32_t take_interrupt(void)
{
    static uint32_t seen;
    uint32_t spins = 0, pending = 0;
    while (pending == 0u) {
        while (interrupts == seen)
            CHECK(++spins != SPINS);
        seen = interrupts;
        pending = spatten_irq_take(&device, INTERRUPTS);
        set_interrupt_mask(1u << SPATTEN_INTERRUPT);
    }
    ++taken;
    return pending;
}

static void invalidate(void *context, const void *memory, size_t bytes)
{
    (void)context, (void)memory, (void)bytes;
    invalidate_data_cache();
}

/* The queue ------------------------------------------------------------------------------------------------------- */

/* The device, as host and bus know its memory: at the same addresses. */
static void *at(uint32_t address)
{
    return (void *)(uintptr_t)address;
}

/* Reads up to `limit`, writes in the memory of the case only. */
static void open_queue(uint64_t limit)
{
    struct spatten_queue_setup setup;
    memset(&setup, 0, sizeof setup);
    setup.commands = at(CASE_COMMANDS);
    setup.commands_address = CASE_COMMANDS;
    setup.completions = at(CASE_COMPLETIONS);
    setup.completions_address = CASE_COMPLETIONS;
    setup.num_commands = setup.num_completions = SLOTS;
    setup.readable.base = setup.writable.base = CASE_BASE;
    setup.writable.limit = CASE_LIMIT;
    setup.readable.limit = limit;
    CHECK_OK(spatten_queue_open(&rings, &device, &setup, POLLS));
}

static void start(void)
{
    const struct spatten_hooks hooks = {.invalidate = invalidate};
    uint32_t i;
    CHECK_OK(spatten_probe(&device, at(SPATTEN_BASE), &hooks, CASE_DIGEST));
    CHECK(device.capabilities.channels == sizeof case_channels / sizeof *case_channels);
    for (i = 0; i < device.capabilities.channels; ++i)
        CHECK_OK(spatten_set_channel(&device, i, case_channels[i]));
    /* LiteX's bus serves one burst at a time; of several that nobody answers it answers one, and hangs. */
    spatten_write(&device, SPATTEN_MAX_OUTSTANDING_OFFSET,
                  SPATTEN_SET(MAX_OUTSTANDING_READ, 1u) | SPATTEN_SET(MAX_OUTSTANDING_WRITE, 1u));
    /* Longer than LiteX takes to answer for nobody; after a burst that ends early SpAtten listens so long. */
    spatten_write(&device, SPATTEN_TIMEOUT_OFFSET, SILENCE);
    CHECK_OK(spatten_irq_enable(&device, INTERRUPTS));
    CHECK_OK(spatten_enable(&device));
    set_interrupt_mask(1u << SPATTEN_INTERRUPT);
    enable_interrupts();
}

/* Layers ---------------------------------------------------------------------------------------------------------- */

/* The command of a layer, checked by the driver. */
static enum spatten_error build(const struct case_layer *layer, struct spatten_command *command)
{
    struct spatten_plan fields;
    spatten_unpack_command(command, at(layer->command));
    spatten_unpack_plan(&fields, at((uint32_t)command->plan));
    return spatten_layer(&rings, &fields, command);
}

static void copy(uint32_t *to, const uint32_t *from, uint32_t count)
{
    while (count-- != 0u)
        *to++ = *from++;
}

/* What the layer writes is as before it, in the data cache too, which must forget it; then its command. */
static void submit(const struct case_layer *layer, const struct spatten_command *command)
{
    size_t i;
    for (i = 0; i < CASE_AREAS; ++i)
        copy(at(layer->areas[i].address), at(layer->areas[i].before), layer->areas[i].bytes / 4u);
    for (i = 0; i < CASE_AREAS; ++i)
        CHECK(WORD(layer->areas[i].before) == WORD(layer->areas[i].address));
    CHECK_OK(spatten_submit(&rings, command, 1u));
}

/* Words that are not golden's. */
static uint32_t compare(const struct case_area *area)
{
    const uint32_t *found = at(area->address), *golden = at(area->after);
    uint32_t i, wrong = 0;
    for (i = 0; i < area->bytes / 4u; ++i)
        wrong += found[i] != golden[i] ? 1u : 0u;
    words += i;
    return wrong;
}

static void run(const struct case_layer *layer)
{
    struct spatten_completion completion;
    struct spatten_command command;
    uint32_t wrong = 0;
    size_t i;
    CHECK_OK(build(layer, &command));
    submit(layer, &command);
    CHECK(take_interrupt() == SPATTEN_IRQ_QUEUE(0));
    CHECK_OK(spatten_poll(&rings, &completion));
    if (completion.code != SPATTEN_CODE_DONE)
        fail(spatten_code_text(completion.code), completion.tag);
    CHECK(completion.tokens == layer->tokens && completion.heads == layer->heads && rings.outstanding == 0u);
    invalidate_data_cache();
    for (i = 0; i < CASE_AREAS; ++i)
        wrong += compare(&layer->areas[i]);
    mismatches += wrong;
    put_text("layer ");
    put_number(completion.tag);
    put_text(": ");
    put_number(completion.tokens);
    put_text(" tokens and ");
    put_number(completion.heads);
    put_text(" heads survive, ");
    put_number(wrong);
    put_text(" mismatches\n");
}

/* Faults ---------------------------------------------------------------------------------------------------------- */

static void told(const char *what)
{
    ++faults;
    put_text(what);
    put_text(", then ");
    run(case_layers);
}

/* A plan outside of the window, which the driver would not let pass: nothing is read, and the queue goes on. */
static void refused(void)
{
    struct spatten_completion completion;
    struct spatten_command command;
    CHECK_OK(build(case_layers, &command));
    command.plan = CASE_LIMIT;
    CHECK_OK(spatten_submit(&rings, &command, 1u));
    CHECK(take_interrupt() == SPATTEN_IRQ_QUEUE(0));
    CHECK_OK(spatten_poll(&rings, &completion));
    CHECK(completion.code == SPATTEN_CODE_OUTSIDE);
    told(spatten_code_name(completion.code));
}

/* A plane where the bus has nothing: the layer fails, the queue halts, and goes on when it is told to. */
static void fault(void)
{
    const uint32_t size = CASE_LIMIT - CASE_BASE;
    struct spatten_completion completion;
    struct spatten_command command;
    struct spatten_queue_state state;
    struct spatten_fault found;
    uint32_t pending = 0;
    CHECK_OK(spatten_queue_close(&rings, POLLS));
    open_queue(CASE_NOWHERE + size);
    CHECK_OK(build(case_layers, &command));
    command.query = CASE_NOWHERE - case_channels[0]; /* an offset from the first byte of each channel */
    submit(case_layers, &command);
    while (pending != INTERRUPTS) /* the fault's, and the completion's */
        pending |= take_interrupt();
    CHECK_OK(spatten_poll(&rings, &completion));
    CHECK(completion.code == SPATTEN_CODE_READ_ERROR);
    CHECK_OK(spatten_fault_read(&device, &found));
    CHECK(found.code == SPATTEN_FAULT_CODE_BUS_READ && found.channel < device.capabilities.channels && !found.write);
    CHECK(found.address >= CASE_NOWHERE && found.address - CASE_NOWHERE < size);
    CHECK_OK(spatten_queue_status(&rings, &state));
    CHECK(state.halted && !state.running);
    CHECK_OK(spatten_fault_clear(&device));
    CHECK_OK(spatten_queue_resume(&rings, POLLS));
    told(spatten_fault_name(found.code));
}

int main(void)
{
    size_t i;
    start();
    open_queue(CASE_LIMIT);
    for (i = 0; i < sizeof case_layers / sizeof *case_layers; ++i)
        run(&case_layers[i]);
    refused();
    if (CASE_BUS_HAS_ERRORS)
        fault();
    CHECK_OK(spatten_queue_close(&rings, POLLS));
    put_number(mismatches);
    put_text(" mismatches in ");
    put_number(words);
    put_text(" words, ");
    put_number(faults);
    put_text(" faults, ");
    put_number(taken);
    put_text(" interrupts\n");
    end();
    return 0;
}
