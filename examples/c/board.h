/* What head.c needs of the machine that it runs on. simulator.c has it of the simulated SpAtten; write yours. */
#ifndef BOARD_H
#define BOARD_H

#include "spatten.h"

struct board {
    volatile uint32_t *registers; /* of the device; NULL if `hooks` has read and write */
    struct spatten_hooks hooks;   /* zeros: registers are mapped, and memory is coherent */
    uint8_t *memory;              /* 16 KiB that the device reaches, too, as the program does */
    uint64_t address;             /* as the device does; a multiple of 4096 */
};

/* 0, or the program ends with it. */
int board_open(struct board *board);

/* Sleeps until the interrupt line is 1; false: it did not become so for too long. */
bool board_wait(struct board *board);

#endif
