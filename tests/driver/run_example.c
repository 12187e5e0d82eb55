/* The example of docs/driver.md, which the test extracts as example.h, on the mock device. */
#include "mock.h"

#include "example.h"

int main(void)
{
    static uint8_t host[MOCK_BYTES], memory[MOCK_BYTES];
    struct mock mock;
    struct spatten_hooks hooks;
    struct board board;
    mock_start(&mock, host, memory, false);
    hooks = mock_hooks(&mock);
    board.registers = NULL;
    board.hooks = &hooks;
    board.memory = host;
    board.address = MOCK_ADDRESS;
    if (attend(&board) != 0)
        return 1;
    if (mock.errors != 0u)
        printf("the device saw %u errors, first %s\n", (unsigned)mock.errors, mock.error);
    return mock.errors != 0u;
}
