#include "mock.h"

static void wrong(struct mock *mock, const char *what)
{
    if (mock->errors++ == 0u)
        mock->error = what;
}

uint32_t mock_random(struct mock *mock, uint32_t below)
{
    mock->random = mock->random * 1664525u + 1013904223u;
    return (mock->random >> 8) % below;
}

static uint64_t get(const uint8_t *memory, unsigned at, unsigned bytes)
{
    uint64_t value = 0;
    while (bytes-- != 0u)
        value = value << 8 | memory[at + bytes];
    return value;
}

static void put(uint8_t *memory, unsigned at, unsigned bytes, uint64_t value)
{
    unsigned i;
    for (i = 0; i < bytes; ++i)
        memory[at + i] = (uint8_t)(value >> 8 * i & 0xFFu);
}

static uint8_t *device_memory(struct mock *mock, uint64_t address, uint64_t bytes)
{
    if (address < MOCK_ADDRESS || bytes > MOCK_BYTES || address - MOCK_ADDRESS > MOCK_BYTES - bytes) {
        wrong(mock, "an address outside of memory");
        return mock->memory;
    }
    return mock->memory + (address - MOCK_ADDRESS);
}

uint8_t *mock_host(struct mock *mock, uint64_t address)
{
    return mock->host + (address - MOCK_ADDRESS);
}

void mock_start(struct mock *mock, uint8_t *host, uint8_t *memory, bool coherent)
{
    memset(mock, 0, sizeof *mock);
    mock->host = host;
    mock->memory = coherent ? host : memory;
    mock->coherent = coherent;
    mock->running = true;
    mock->random = 1u;
    mock->id = 0x5350544Eu;
    mock->version = 0x01000203u;                                 /* map 1, 0.2.3 */
    mock->cap0 = 40u << 24 | 4u << 16 | MOCK_QUEUES << 8 | 2u;   /* 40 bits, words of 16 bytes, 2 channels */
    mock->cap4 = 1u << 20 | 1u << 18 | 12u;                      /* write back, floats, operands of 12 bits */
    mock->timeout = 0x100000u;
    memset(mock->host, 0xA5, MOCK_BYTES);
    memset(mock->memory, 0xA5, MOCK_BYTES);
}

static uint32_t open_of(const struct mock *mock, uint32_t queue)
{
    uint32_t i, count = 0;
    for (i = 0; i < MOCK_OPEN; ++i)
        count += mock->commands[i].open && mock->commands[i].queue == queue ? 1u : 0u;
    return count;
}

static uint32_t open_of_all(const struct mock *mock)
{
    uint32_t i, count = 0;
    for (i = 0; i < MOCK_QUEUES; ++i)
        count += open_of(mock, i);
    return count;
}

static void clear_counts(struct mock *mock, uint32_t index)
{
    struct mock_queue *queue = &mock->queues[index];
    if (!queue->enabled && open_of(mock, index) == 0u)
        queue->halted = false;
    if (!(queue->enabled && queue->alive) && open_of(mock, index) == 0u && !mock->stuck)
        queue->tail = queue->head = queue->completion_head = queue->completion_tail = 0;
}

/* Made-up results: element e of query q of query head h is 1000 * q + 10 * h + e. */
static void write_results(struct mock *mock, const struct mock_command *command)
{
    const struct mock_queue *queue = &mock->queues[command->queue];
    const uint8_t *plan = device_memory(mock, get(command->slot, 32, 8), 128);
    const uint32_t queries = (uint32_t)get(command->slot, 12, 4), heads = (uint32_t)get(command->slot, 28, 2);
    const uint32_t dim = (uint32_t)get(plan, 0, 2);
    uint32_t q, h, e;
    for (h = 0; h < heads; ++h) {
        const uint64_t head = get(device_memory(mock, get(plan, 64, 8) + 16u * h, 16), 0, 2);
        for (q = 0; q < queries; ++q) {
            const uint64_t address = get(command->slot, 48, 8) + q * get(plan, 80, 4) + head * get(plan, 84, 4);
            if (address < queue->write_base || address + 4u * dim > queue->write_limit)
                wrong(mock, "results outside of the window");
            for (e = 0; e < dim; ++e)
                put(device_memory(mock, address, 4u * dim), 4u * e, 4, 1000u * q + 10u * (uint32_t)head + e);
        }
    }
}

static void complete(struct mock *mock, struct mock_command *command)
{
    struct mock_queue *queue = &mock->queues[command->queue];
    const uint32_t entries = 1u << (queue->size >> 8 & 15u), opcode = command->slot[0];
    const uint32_t flags = (uint32_t)get(command->slot, 4, 4), round = queue->completion_tail / entries;
    uint8_t *entry = device_memory(mock, queue->completion_base + 32u * (queue->completion_tail % entries), 32);
    const bool selected = command->code == 0u && (opcode == 1u || opcode == 4u) && (flags & 8u) != 0u;
    const uint64_t keys = get(command->slot, 8, 4), keep = get(command->slot, 24, 4);
    if (command->code == 0u && opcode == 1u)
        write_results(mock, command);
    put(entry, 0, 8, command->code >= 12u ? mock->fault_address : 0u);
    put(entry, 8, 8, mock->cycle);
    put(entry, 16, 4, selected ? (keep < keys ? keep : keys) : 0u);
    put(entry, 20, 4, selected ? get(command->slot, 30, 2) : 0u);
    put(entry, 24, 2, get(command->slot, 2, 2));
    put(entry, 26, 1, command->code);
    put(entry, 27, 1, (round & 1u) ^ 1u);
    put(entry, 28, 2, command->number);
    put(entry, 30, 1, command->queue);
    put(entry, 31, 1, opcode);
    ++queue->completion_tail;
    command->open = false;
    if ((uint16_t)(queue->completion_tail - queue->completion_head) >= queue->coalesce || (command->slot[1] & 1u) != 0u)
        mock->irq_pending |= 0x10000u << command->queue;
    clear_counts(mock, command->queue);
}

static uint32_t code_of(struct mock *mock, const struct mock_command *command, bool partner)
{
    const uint32_t opcode = command->slot[0];
    if (opcode > 5u || (command->slot[1] & 0xFEu) != 0u || (opcode == 3u && !partner))
        return 14u;
    if (opcode >= 1u && opcode <= 4u) {
        const uint64_t plan = get(command->slot, 32, 8);
        if ((get(command->slot, 4, 4) >> 11) != 0u || plan % 64u != 0u)
            return 14u;
        if (plan < mock->queues[command->queue].read_base || plan + 128u > mock->queues[command->queue].read_limit)
            return 17u;
    }
    return 0u;
}

/* Whether there is room for a completion of a queue. */
static bool has_room(const struct mock *mock, uint32_t index)
{
    const struct mock_queue *queue = &mock->queues[index];
    return (uint16_t)(queue->completion_tail - queue->completion_head) < 1u << (queue->size >> 8 & 15u);
}

/* The next command of a queue: three at most without room for their completions. */
static bool fetch(struct mock *mock, uint32_t index)
{
    struct mock_queue *queue = &mock->queues[index];
    const uint32_t slots = 1u << (queue->size & 15u);
    struct mock_command *command = NULL;
    uint32_t i;
    if (!queue->enabled || !queue->alive || queue->halted || mock->control != 1u || queue->head == queue->tail)
        return false;
    if ((!has_room(mock, index) && open_of(mock, index) >= 3u) || open_of(mock, index) != open_of_all(mock))
        return false;
    for (i = 0; i < MOCK_OPEN; ++i)
        if (!mock->commands[i].open)
            command = &mock->commands[i];
    if (command == NULL)
        return false;
    memcpy(command->slot, device_memory(mock, queue->base + 64u * (queue->head % slots), 64), 64);
    command->open = true;
    command->queue = index;
    command->number = queue->head;
    command->age = mock->ages++;
    ++queue->head;
    command->code = code_of(mock, command, queue->paired || queue->head != queue->tail);
    queue->paired = command->slot[0] == 3u && command->code == 0u && !queue->paired;
    return true;
}

static bool finish(struct mock *mock)
{
    const uint32_t start = mock_random(mock, MOCK_OPEN);
    uint32_t i, j;
    for (i = 0; i < MOCK_OPEN; ++i) {
        struct mock_command *command = &mock->commands[(start + i) % MOCK_OPEN];
        bool waits = !command->open || !has_room(mock, command->queue);
        for (j = 0; j < MOCK_OPEN; ++j)
            waits = waits || (command->slot[0] == 5u && mock->commands[j].open && mock->commands[j].age < command->age);
        if (!waits) {
            complete(mock, command);
            return true;
        }
    }
    return false;
}

void mock_step(struct mock *mock)
{
    const uint32_t first = mock_random(mock, MOCK_QUEUES + 1u);
    uint32_t i;
    ++mock->cycle;
    for (i = 0; mock->running && i <= MOCK_QUEUES; ++i) {
        const uint32_t which = (first + i) % (MOCK_QUEUES + 1u);
        if (which < MOCK_QUEUES ? fetch(mock, which) : finish(mock))
            return;
    }
}

/* Commands of some queues that are open will end with a code, and these queues halt. */
static void stop(struct mock *mock, uint32_t queues, uint32_t code)
{
    uint32_t i;
    for (i = 0; i < MOCK_OPEN; ++i)
        if ((queues >> mock->commands[i].queue & 1u) != 0u)
            mock->commands[i].code = code;
    for (i = 0; i < MOCK_QUEUES; ++i)
        if ((queues >> i & 1u) != 0u && mock->queues[i].enabled) {
            mock->queues[i].halted = true;
            mock->queues[i].code = code;
        }
}

void mock_fault(struct mock *mock, uint32_t code, uint32_t queue, uint32_t channel, bool write, uint64_t address)
{
    if (mock->fault >> 31 == 0u) {
        mock->fault = UINT32_C(1) << 31 | (write ? 1u << 24 : 0u) | channel << 16 | queue << 8 | code;
        mock->fault_address = address;
    }
    mock->irq_pending |= 1u;
    mock->recovery = 3u;
    stop(mock, ~0u, code);
    while (finish(mock)) {
    }
}

static void soft_reset(struct mock *mock)
{
    uint32_t i;
    memset(mock->commands, 0, sizeof mock->commands);
    for (i = 0; i < MOCK_QUEUES; ++i) {
        mock->queues[i].alive = mock->queues[i].halted = false;
        clear_counts(mock, i);
    }
    mock->drain = 5u;
    mock->late = true;
}

static uint32_t read_status(struct mock *mock)
{
    bool halted = (mock->control & 2u) != 0u && open_of_all(mock) == 0u;
    const bool draining = mock->drain != 0u && !mock->late, copying = mock->snapshot != 0u;
    uint32_t i;
    mock->late = false;
    for (i = 0; i < MOCK_QUEUES; ++i)
        halted = halted || mock->queues[i].halted;
    if (mock->drain != 0u && !mock->drain_failed && --mock->drain == 0u)
        mock->irq_pending |= 2u;
    if (mock->snapshot != 0u && --mock->snapshot == 0u)
        mock->irq_pending |= 4u;
    return (open_of_all(mock) != 0u ? 1u : 0u) | (halted ? 2u : 0u) | (draining ? 4u : 0u) |
           (mock->drain_failed && draining ? 8u : 0u) | (copying ? 0x100u : 0u);
}

static uint32_t read_doorbell(struct mock *mock, uint32_t index, uint32_t offset)
{
    const struct mock_queue *queue = &mock->queues[index];
    clear_counts(mock, index);
    switch (offset) {
    case 0x00: return queue->tail;
    case 0x04: return queue->head;
    case 0x08: return queue->completion_head;
    case 0x0C: mock->unread = queue->completion_tail != queue->completion_head; return queue->completion_tail;
    case 0x10:
        if (mock->fault_at_status)
            mock_fault(mock, 16u, index, 0u, false, 0u);
        mock->fault_at_status = false;
        return (queue->enabled && queue->alive && !queue->halted ? 1u : 0u) | (queue->halted ? 2u : 0u) |
               (open_of(mock, index) != 0u ? 4u : 0u) | (queue->halted ? queue->code << 8 : 0u);
    default: wrong(mock, "a read where no register is"); return 0u;
    }
}

static uint32_t read_register(void *context, uint32_t offset)
{
    struct mock *mock = (struct mock *)context;
    ++mock->reads;
    if (offset >= 0x2000u && offset < 0x2000u + 0x1000u * MOCK_QUEUES)
        return read_doorbell(mock, (offset - 0x2000u) / 0x1000u, offset % 0x1000u);
    if (offset >= 0x1000u && offset < 0x1000u + 8u * 68u) /* 64 counters, 2 of each channel */
        return offset % 8u == 0u ? (offset - 0x1000u) / 8u + 7u : 0xABCDu;
    if (offset >= 0x400u && offset < 0x400u + 0x40u * MOCK_QUEUES && offset % 0x40u == 0u)
        return mock->queues[(offset - 0x400u) / 0x40u].enabled ? 1u : 0u;
    switch (offset) {
    case 0x00: return mock->id;
    case 0x04: return mock->version;
    case 0x08: return (uint32_t)(MOCK_DIGEST & 0xFFFFFFFFu);
    case 0x0C: return (uint32_t)(MOCK_DIGEST >> 32);
    case 0x10: return mock->cap0;
    case 0x14: return 8u << 24 | 1024u;          /* 8 contexts, 1,024 tokens */
    case 0x18: return 64u << 16 | 4u << 8 | 12u; /* D to 64, groups of 4, 12 heads */
    case 0x1C: return 0xBu;                      /* D = 16, 32, 64 */
    case 0x20: return mock->cap4;
    case 0x40: return mock->control;
    case 0x44: return read_status(mock);
    case 0x48: return mock->irq_pending;
    case 0x4C: return mock->irq_enable;
    case 0x60: return mock->fault;
    case 0x64: return (uint32_t)(mock->fault_address & 0xFFFFFFFFu);
    case 0x68: return (uint32_t)(mock->fault_address >> 32);
    case 0x70: return mock->timeout;
    default: wrong(mock, "a read where no register is"); return 0u;
    }
}

/* A half of an address: `unit` bytes, `bits` bits. */
static void write_address(struct mock *mock, uint64_t *address, bool upper, uint32_t value, uint32_t unit,
                          uint32_t bits)
{
    const uint64_t half = upper ? (uint64_t)value << 32 : value;
    if (!upper && value % unit != 0u)
        wrong(mock, "an address that is no multiple");
    if (half >> bits != 0u)
        wrong(mock, "an address of too many bits");
    *address = (*address & (upper ? UINT64_C(0xFFFFFFFF) : ~UINT64_C(0xFFFFFFFF))) | half;
}

static void write_queue(struct mock *mock, uint32_t index, uint32_t offset, uint32_t value)
{
    struct mock_queue *queue = &mock->queues[index];
    const bool upper = (offset & 4u) != 0u;
    if (offset != 0u && queue->enabled)
        wrong(mock, "a change of an enabled queue");
    switch (offset) {
    case 0x00:
        if ((value & 1u) != 0u && !queue->enabled)
            queue->alive = true;
        if ((value & 1u) == 0u && queue->enabled && open_of(mock, index) != 0u)
            wrong(mock, "a queue is disabled while a command is in flight");
        queue->enabled = (value & 1u) != 0u;
        if ((value & 0x200u) != 0u && open_of(mock, index) == 0u && mock->recovery == 0u)
            queue->halted = false;
        if ((value & 0x200u) != 0u && mock->recovery != 0u)
            --mock->recovery;
        clear_counts(mock, index);
        if ((value & 0x100u) != 0u)
            stop(mock, 1u << index, 15u);
        if (queue->enabled && mock->unfenced)
            wrong(mock, "no barrier before the queue is enabled");
        break;
    case 0x04: queue->size = value; break;
    case 0x08: case 0x0C: write_address(mock, &queue->base, upper, value, 64, 40); break;
    case 0x10: case 0x14: write_address(mock, &queue->completion_base, upper, value, 64, 40); break;
    case 0x18: queue->coalesce = (value & 0xFFu) != 0u ? value & 0xFFu : 1u; break;
    case 0x20: case 0x24: write_address(mock, &queue->read_base, upper, value, 4096, 40); break;
    case 0x28: case 0x2C: write_address(mock, &queue->read_limit, upper, value, 4096, 41); break;
    case 0x30: case 0x34: write_address(mock, &queue->write_base, upper, value, 4096, 40); break;
    case 0x38: case 0x3C: write_address(mock, &queue->write_limit, upper, value, 4096, 41); break;
    default: wrong(mock, "a write where no register is");
    }
}

static void write_doorbell(struct mock *mock, uint32_t index, uint32_t offset, uint32_t value)
{
    struct mock_queue *queue = &mock->queues[index];
    if (!queue->enabled || !queue->alive || value > 0xFFFFu)
        wrong(mock, "a doorbell of a queue that is not enabled");
    if (offset == 0x00u) {
        if ((uint16_t)(value - queue->head) > 1u << (queue->size & 15u))
            wrong(mock, "more commands than slots");
        if (mock->unfenced)
            wrong(mock, "no barrier before the doorbell");
        queue->tail = (uint16_t)value;
        ++queue->announcements;
    } else if (offset == 0x08u) {
        if ((uint16_t)(value - queue->completion_head) > (uint16_t)(queue->completion_tail - queue->completion_head))
            wrong(mock, "completions read that were not written");
        queue->completion_head = (uint16_t)value;
    } else {
        wrong(mock, "a write of a register that cannot be written");
    }
}

static void write_register(void *context, uint32_t offset, uint32_t value)
{
    struct mock *mock = (struct mock *)context;
    const bool upper = (offset & 4u) != 0u;
    if (offset >= 0x2000u && offset < 0x2000u + 0x1000u * MOCK_QUEUES)
        write_doorbell(mock, (offset - 0x2000u) / 0x1000u, offset % 0x1000u, value);
    else if (offset >= 0x400u && offset < 0x400u + 0x40u * MOCK_QUEUES)
        write_queue(mock, (offset - 0x400u) / 0x40u, offset % 0x40u, value);
    else if (offset >= 0x800u && offset < 0x810u)
        write_address(mock, &mock->channels[(offset - 0x800u) / 8u], upper, value, 4096, 40);
    else if (offset == 0x40u) {
        mock->control = value & 3u;
        if ((value & 0x100u) != 0u)
            soft_reset(mock);
        if ((value & 0x200u) != 0u)
            mock->snapshot = 3u;
        if ((value & 0x400u) != 0u)
            mock->cycle = 0u;
    } else if (offset == 0x48u)
        mock->irq_pending &= ~value;
    else if (offset == 0x4Cu)
        mock->irq_enable = value;
    else if (offset == 0x60u)
        mock->fault &= ~(value & UINT32_C(1) << 31);
    else if (offset == 0x70u)
        mock->timeout = value;
    else
        wrong(mock, "a write where no register is");
}

static void write_barrier(void *context)
{
    ((struct mock *)context)->unfenced = false;
}

static void read_barrier(void *context)
{
    ((struct mock *)context)->unread = false;
}

static void clean(void *context, const void *memory, size_t bytes)
{
    struct mock *mock = (struct mock *)context;
    const size_t at = (size_t)((const uint8_t *)memory - mock->host);
    mock->unfenced = true;
    if (at + bytes > MOCK_BYTES)
        wrong(mock, "a cache is cleaned outside of memory");
    else if (!mock->coherent)
        memcpy(mock->memory + at, mock->host + at, bytes);
}

static void invalidate(void *context, const void *memory, size_t bytes)
{
    struct mock *mock = (struct mock *)context;
    const size_t at = (size_t)((const uint8_t *)memory - mock->host);
    if (mock->unread)
        wrong(mock, "no barrier between the tail and the completion");
    if (at + bytes > MOCK_BYTES)
        wrong(mock, "a cache is invalidated outside of memory");
    else if (!mock->coherent)
        memcpy(mock->host + at, mock->memory + at, bytes);
}

static void pause_device(void *context)
{
    mock_step((struct mock *)context);
}

struct spatten_hooks mock_hooks(struct mock *mock)
{
    struct spatten_hooks hooks;
    hooks.context = mock;
    hooks.read = read_register;
    hooks.write = write_register;
    hooks.write_barrier = write_barrier;
    hooks.read_barrier = read_barrier;
    hooks.clean = clean;
    hooks.invalidate = invalidate;
    hooks.pause = pause_device;
    return hooks;
}
