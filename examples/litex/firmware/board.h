/* What main.c needs of the SoC: its UART, its interrupts, its cache. Addresses are in the headers that LiteX writes. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

#include "csr.h"
#include "mem.h"
#include "soc.h"

enum { EXTERNAL_INTERRUPT = 11, END_OF_TEXT = 4 };

/* A word of the bus. */
#define WORD(address) (*(volatile uint32_t *)(uintptr_t)(address))

static inline void put_byte(char byte)
{
    while (WORD(CSR_UART_TXFULL_ADDR) != 0u) {
    }
    WORD(CSR_UART_RXTX_ADDR) = (uint8_t)byte;
}

static inline void put_text(const char *text)
{
    while (*text != '\0')
        put_byte(*text++);
}

static inline void put_number(uint32_t number)
{
    char digits[11];
    char *first = digits + sizeof digits - 1;
    *first = '\0';
    do {
        *--first = (char)('0' + number % 10u);
        number /= 10u;
    } while (number != 0u);
    put_text(first);
}

/* Interrupts that reach the processor, a bit each (VexRiscv's own register). */
static inline void set_interrupt_mask(uint32_t mask)
{
    __asm__ volatile("csrw 0xBC0, %0" : : "r"(mask) : "memory");
}

static inline void enable_interrupts(void)
{
    __asm__ volatile("csrw mie, %0" : : "r"(1u << EXTERNAL_INTERRUPT));
    __asm__ volatile("csrsi mstatus, 8" : : : "memory");
}

/* The data cache forgets all: it writes through, so nothing is lost. */
static inline void invalidate_data_cache(void)
{
    __asm__ volatile(".word 0x500F" : : : "memory");
}

#endif
