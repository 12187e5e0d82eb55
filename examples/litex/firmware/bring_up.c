/* First steps on a board (docs/integration.md, "Bring-up"): sets the SDRAM going and tries it, finds SpAtten, and gives
 * it a command that does nothing. bring_up.h, which ulx3s.py writes, has the steps of the SDRAM. */
#include "board.h"
#include "bring_up.h"
#include "spatten.h"

enum { POLLS = 100000, TRIED = 1 << 16, SPREAD = 509 };

void trap(uint32_t cause, uint32_t address);

static void end(const char *how)
{
    put_text(how);
    put_byte('\n');
    put_byte(END_OF_TEXT);
    for (;;) {
    }
}

void trap(uint32_t cause, uint32_t address)
{
    put_number(cause);
    put_text(" at ");
    put_number(address);
    end(": trap");
}

/* `times` cycles at the least. */
static void spin(uint32_t times)
{
    while (times-- != 0u)
        __asm__ volatile("nop");
}

static void start_sdram(void)
{
    size_t i;
    WORD(CSR_SDRAM_DFII_CONTROL_ADDR) = DFII_CONTROL_CKE | DFII_CONTROL_ODT | DFII_CONTROL_RESET_N;
    for (i = 0; i < sizeof sdram_steps / sizeof *sdram_steps; ++i) {
        WORD(CSR_SDRAM_DFII_PI0_ADDRESS_ADDR) = sdram_steps[i].address;
        WORD(CSR_SDRAM_DFII_PI0_BADDRESS_ADDR) = sdram_steps[i].bank;
        if (i == 0) { /* CKE is not a command */
            WORD(CSR_SDRAM_DFII_CONTROL_ADDR) = sdram_steps[i].command;
        } else {
            WORD(CSR_SDRAM_DFII_PI0_COMMAND_ADDR) = sdram_steps[i].command;
            WORD(CSR_SDRAM_DFII_PI0_COMMAND_ISSUE_ADDR) = 1u;
        }
        spin(sdram_steps[i].spins);
    }
    WORD(CSR_SDRAM_DFII_CONTROL_ADDR) = DFII_CONTROL_SEL;
}

/* Words all over the SDRAM that are not as they were written. */
static uint32_t try_sdram(void)
{
    const uint32_t step = MAIN_RAM_SIZE / TRIED;
    uint32_t i, wrong = 0;
    for (i = 0; i < TRIED; ++i)
        WORD(MAIN_RAM_BASE + i * step) = ~(i * SPREAD);
    for (i = 0; i < TRIED; ++i)
        wrong += WORD(MAIN_RAM_BASE + i * step) != ~(i * SPREAD) ? 1u : 0u;
    return wrong;
}

/* A NOP through the rings, which lie at the beginning of the SDRAM. */
static enum spatten_error try_spatten(struct spatten_completion *completion)
{
    static struct spatten_device device;
    static struct spatten_rings rings;
    struct spatten_queue_setup setup;
    struct spatten_command command;
    enum spatten_error error = spatten_probe(&device, (volatile uint32_t *)(uintptr_t)SPATTEN_BASE, NULL, DIGEST);
    memset(&setup, 0, sizeof setup);
    memset(&command, 0, sizeof command);
    setup.commands = (void *)(uintptr_t)MAIN_RAM_BASE;
    setup.commands_address = MAIN_RAM_BASE;
    setup.completions = (void *)(uintptr_t)(MAIN_RAM_BASE + 0x800u);
    setup.completions_address = MAIN_RAM_BASE + 0x800u;
    setup.num_commands = setup.num_completions = 4;
    setup.readable.base = setup.writable.base = MAIN_RAM_BASE;
    setup.readable.limit = setup.writable.limit = (uint64_t)MAIN_RAM_BASE + MAIN_RAM_SIZE;
    command.opcode = SPATTEN_OPCODE_NOP;
    command.tag = 7;
    if (error == SPATTEN_OK)
        error = spatten_set_channel(&device, 0, MAIN_RAM_BASE + 0x1000u);
    if (error == SPATTEN_OK)
        error = spatten_enable(&device);
    if (error == SPATTEN_OK)
        error = spatten_queue_open(&rings, &device, &setup, POLLS);
    if (error == SPATTEN_OK)
        error = spatten_submit(&rings, &command, 1u);
    return error == SPATTEN_OK ? spatten_wait(&rings, completion, POLLS) : error;
}

int main(void)
{
    struct spatten_completion completion;
    enum spatten_error error;
    uint32_t wrong;
    start_sdram();
    wrong = try_sdram();
    put_number(wrong);
    put_text(" words of the SDRAM are wrong\n");
    if (wrong != 0u)
        end("failed");
    error = try_spatten(&completion);
    if (error != SPATTEN_OK)
        end(spatten_error_name(error));
    put_text("command ");
    put_number(completion.tag);
    put_text(": ");
    end(spatten_code_text(completion.code));
    return 0;
}
