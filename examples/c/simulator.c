/* A board that is the Verilated spatten_axi of libspatten.so (sim/engine/axi/harness.cpp) with a memory on AXI4. */
#include <stdio.h>

#include "board.h"

/* Of the library. A channel that follows the last one is the bus of commands and results. */
void *axi_new(const char *trace, int seed);
void axi_set_ideal(void *model, uint32_t channel, uint32_t latency, uint32_t depth, uint64_t threshold, uint64_t seed,
                   uint32_t outstanding);
void axi_set_host(void *model, uint64_t threshold, uint64_t seed, uint64_t watchdog);
void axi_set_memory(void *model, uint8_t *bytes, uint64_t base, uint64_t size, const uint64_t *origins, int record);
void axi_reset(void *model);
int axi_run(void *model, uint64_t cycles); /* until the interrupt */
int axi_write(void *model, uint32_t address, uint32_t word);
int axi_read(void *model, uint32_t address, uint32_t *word);
uint64_t axi_cycle(void *model);
const char *axi_breach(void *model);

enum {
    CHANNELS = 2, /* of preset tiny */
    LATENCY = 20,
    DEPTH = 64,
    OUTSTANDING = 16,
    WATCHDOG = 20000,
    PATIENCE = 200000, /* cycles */
    INTERRUPT = 1      /* what axi_run gives; 0: time is over, else the device is stuck or breaks a bus's rules */
};

static const uint64_t ADDRESS = 0x1200000000u;
static uint8_t memory[1 << 16];

static uint32_t read_register(void *model, uint32_t offset)
{
    uint32_t word = 0;
    if (axi_read(model, offset, &word) != 0)
        printf("read of register 0x%x failed\n", (unsigned)offset);
    return word;
}

static void write_register(void *model, uint32_t offset, uint32_t value)
{
    if (axi_write(model, offset, value) != 0)
        printf("write of register 0x%x failed\n", (unsigned)offset);
}

int board_open(struct board *board)
{
    const uint64_t origins[CHANNELS] = {ADDRESS, ADDRESS};
    void *model = axi_new(NULL, 1);
    uint32_t channel;
    for (channel = 0; channel <= CHANNELS; ++channel)
        axi_set_ideal(model, channel, LATENCY, DEPTH, 0u, 1u, OUTSTANDING);
    axi_set_host(model, 0u, 1u, WATCHDOG);
    axi_set_memory(model, memory, ADDRESS, sizeof memory, origins, 0);
    axi_reset(model);
    memset(board, 0, sizeof *board);
    board->hooks.context = model;
    board->hooks.read = read_register;
    board->hooks.write = write_register;
    board->memory = memory;
    board->address = ADDRESS;
    return 0;
}

bool board_wait(struct board *board)
{
    const uint64_t begin = axi_cycle(board->hooks.context);
    if (axi_run(board->hooks.context, PATIENCE) != INTERRUPT) {
        printf("%s\n", axi_breach(board->hooks.context));
        return false;
    }
    printf("interrupt after %u cycles\n", (unsigned)(axi_cycle(board->hooks.context) - begin));
    return true;
}
