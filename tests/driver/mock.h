/* A SpAtten that is not one, for tests of the driver: registers, rings, faults and resets as docs/registers.md and
 * docs/commands.md have them, and results that are made up. It counts in `errors` whatever software must not do.
 *
 * Time goes on with each call of mock_step; mock_pause, a hook, calls it. It decodes memory byte by byte, by numbers of
 * its own. Host and device see different memory unless it is coherent: the hooks copy. */
#ifndef MOCK_H
#define MOCK_H

#include "spatten.h"

#define MOCK_ADDRESS UINT64_C(0x80000000)
#define MOCK_BYTES (UINT32_C(5) << 20)
#define MOCK_DIGEST UINT64_C(0xFEEDFACE12345678)
#define MOCK_QUEUES 2u
#define MOCK_OPEN 8u

struct mock_queue {
    bool enabled, alive, halted; /* alive: enabled since the last soft reset */
    bool paired;                 /* the next command is the second of a pair */
    uint32_t code, size, coalesce;
    uint64_t base, completion_base, read_base, read_limit, write_base, write_limit;
    uint16_t tail, head, completion_head, completion_tail;
    uint32_t announcements; /* writes of TAIL */
};

struct mock_command {
    bool open;
    uint32_t queue, code, age;
    uint16_t number;
    uint8_t slot[64];
};

struct mock {
    uint8_t *host, *memory; /* as the host sees it, as the device does */
    bool coherent, running; /* running: mock_step does something */
    uint32_t id, version, cap0, cap4;
    uint32_t control, irq_pending, irq_enable, fault, timeout;
    uint64_t fault_address, channels[2], cycle;
    bool late; /* the next read of STATUS does not see the reset yet */
    bool drain_failed, stuck; /* stuck: counts of a queue that is disabled stay */
    bool fault_at_status;     /* a time-out comes when the state of a queue is read next */
    uint32_t drain, snapshot; /* reads of STATUS until it is done */
    uint32_t recovery;        /* so many RESUMEs are ignored, since a fault is being dealt with */
    struct mock_queue queues[MOCK_QUEUES];
    struct mock_command commands[MOCK_OPEN];
    uint32_t random, ages, reads, errors;
    bool unfenced, unread; /* memory was cleaned, the tail read, and no barrier came since */
    const char *error;     /* the first */
};

/* Power on; memory is 0xA5 everywhere. */
void mock_start(struct mock *mock, uint8_t *host, uint8_t *memory, bool coherent);
/* One thing happens: a command is fetched, or one is done. */
void mock_step(struct mock *mock);
/* The bus fails: all open commands end with `code`, queues halt. */
void mock_fault(struct mock *mock, uint32_t code, uint32_t queue, uint32_t channel, bool write, uint64_t address);
struct spatten_hooks mock_hooks(struct mock *mock);
/* Host's pointer to a device's address. */
uint8_t *mock_host(struct mock *mock, uint64_t address);
uint32_t mock_random(struct mock *mock, uint32_t below);

#endif
