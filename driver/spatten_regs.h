/* SpAtten registers: offsets, masks, shifts, reset values, and a structure of each group.
 *
 * Generated from hdl/spec/registers.rdl by `make registers`; do not edit.
 * SPDX-License-Identifier: Apache-2.0
 *
 * _OFFSET: bytes from the beginning of the map, of an array by the index of an element. _MASK: in the register.
 * SPATTEN_GET(word, FIELD) takes a field out of a word, SPATTEN_SET(FIELD, value) puts one into a word of 0.
 */
#ifndef SPATTEN_REGS_H
#define SPATTEN_REGS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define SPATTEN_ASSERT(name, condition) static_assert(condition, #name)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define SPATTEN_ASSERT(name, condition) _Static_assert(condition, #name)
#else
#define SPATTEN_ASSERT(name, condition) typedef char spatten_assert_##name[(condition) ? 1 : -1]
#endif

#define SPATTEN_GET(word, field) (((uint32_t)(word) & SPATTEN_##field##_MASK) >> SPATTEN_##field##_SHIFT)
#define SPATTEN_SET(field, value) (((uint32_t)(value) << SPATTEN_##field##_SHIFT) & SPATTEN_##field##_MASK)

/* Identification */
#define SPATTEN_ID_OFFSET UINT32_C(0x0)
#define SPATTEN_ID_RESET UINT32_C(0x5350544E)
#define SPATTEN_ID_ID_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_ID_ID_SHIFT 0

/* Version */
#define SPATTEN_VERSION_OFFSET UINT32_C(0x4)
#define SPATTEN_VERSION_RESET UINT32_C(0x1000000)
#define SPATTEN_VERSION_PATCH_MASK UINT32_C(0xFF)
#define SPATTEN_VERSION_PATCH_SHIFT 0
#define SPATTEN_VERSION_MINOR_MASK UINT32_C(0xFF00)
#define SPATTEN_VERSION_MINOR_SHIFT 8
#define SPATTEN_VERSION_MAJOR_MASK UINT32_C(0xFF0000)
#define SPATTEN_VERSION_MAJOR_SHIFT 16
#define SPATTEN_VERSION_MAP_MASK UINT32_C(0xFF000000)
#define SPATTEN_VERSION_MAP_SHIFT 24

/* Digest of the configuration, bits 31…0 */
#define SPATTEN_CONFIG_DIGEST_LO_OFFSET UINT32_C(0x8)
#define SPATTEN_CONFIG_DIGEST_LO_DIGEST_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_CONFIG_DIGEST_LO_DIGEST_SHIFT 0

/* Digest of the configuration, bits 63…32 */
#define SPATTEN_CONFIG_DIGEST_HI_OFFSET UINT32_C(0xC)
#define SPATTEN_CONFIG_DIGEST_HI_DIGEST_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_CONFIG_DIGEST_HI_DIGEST_SHIFT 0

/* Capabilities: ports */
#define SPATTEN_CAP0_OFFSET UINT32_C(0x10)
#define SPATTEN_CAP0_CHANNELS_MASK UINT32_C(0xFF)
#define SPATTEN_CAP0_CHANNELS_SHIFT 0
#define SPATTEN_CAP0_QUEUES_MASK UINT32_C(0xFF00)
#define SPATTEN_CAP0_QUEUES_SHIFT 8
#define SPATTEN_CAP0_LOG_WORD_BYTES_MASK UINT32_C(0xF0000)
#define SPATTEN_CAP0_LOG_WORD_BYTES_SHIFT 16
#define SPATTEN_CAP0_ADDRESS_BITS_MASK UINT32_C(0x7F000000)
#define SPATTEN_CAP0_ADDRESS_BITS_SHIFT 24

/* Capabilities: jobs */
#define SPATTEN_CAP1_OFFSET UINT32_C(0x14)
#define SPATTEN_CAP1_MAX_TOKENS_MASK UINT32_C(0xFFFFFF)
#define SPATTEN_CAP1_MAX_TOKENS_SHIFT 0
#define SPATTEN_CAP1_CONTEXTS_MASK UINT32_C(0xFF000000)
#define SPATTEN_CAP1_CONTEXTS_SHIFT 24

/* Capabilities: heads */
#define SPATTEN_CAP2_OFFSET UINT32_C(0x18)
#define SPATTEN_CAP2_MAX_HEADS_MASK UINT32_C(0xFF)
#define SPATTEN_CAP2_MAX_HEADS_SHIFT 0
#define SPATTEN_CAP2_MAX_GROUP_MASK UINT32_C(0xFF00)
#define SPATTEN_CAP2_MAX_GROUP_SHIFT 8
#define SPATTEN_CAP2_MAX_DIM_MASK UINT32_C(0xFFFF0000)
#define SPATTEN_CAP2_MAX_DIM_SHIFT 16

/* Capabilities: head dimensions */
#define SPATTEN_CAP3_OFFSET UINT32_C(0x1C)
#define SPATTEN_CAP3_DIMS_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_CAP3_DIMS_SHIFT 0

/* Capabilities: arithmetic and features */
#define SPATTEN_CAP4_OFFSET UINT32_C(0x20)
#define SPATTEN_CAP4_OPERAND_WIDTH_MASK UINT32_C(0xFF)
#define SPATTEN_CAP4_OPERAND_WIDTH_SHIFT 0
#define SPATTEN_CAP4_APPEND_MASK UINT32_C(0x10000)
#define SPATTEN_CAP4_APPEND_SHIFT 16
#define SPATTEN_CAP4_QUANTIZE_QUERY_MASK UINT32_C(0x20000)
#define SPATTEN_CAP4_QUANTIZE_QUERY_SHIFT 17
#define SPATTEN_CAP4_FLOAT_RESULTS_MASK UINT32_C(0x40000)
#define SPATTEN_CAP4_FLOAT_RESULTS_SHIFT 18
#define SPATTEN_CAP4_PROBABILITIES_MASK UINT32_C(0x80000)
#define SPATTEN_CAP4_PROBABILITIES_SHIFT 19
#define SPATTEN_CAP4_WRITE_BACK_MASK UINT32_C(0x100000)
#define SPATTEN_CAP4_WRITE_BACK_SHIFT 20

/* Control */
#define SPATTEN_CTRL_OFFSET UINT32_C(0x40)
#define SPATTEN_CTRL_RESET UINT32_C(0x0)
#define SPATTEN_CTRL_ENABLE_MASK UINT32_C(0x1)
#define SPATTEN_CTRL_ENABLE_SHIFT 0
#define SPATTEN_CTRL_HALT_MASK UINT32_C(0x2)
#define SPATTEN_CTRL_HALT_SHIFT 1
#define SPATTEN_CTRL_SOFT_RESET_MASK UINT32_C(0x100)
#define SPATTEN_CTRL_SOFT_RESET_SHIFT 8
#define SPATTEN_CTRL_SNAPSHOT_MASK UINT32_C(0x200)
#define SPATTEN_CTRL_SNAPSHOT_SHIFT 9
#define SPATTEN_CTRL_CLEAR_MASK UINT32_C(0x400)
#define SPATTEN_CTRL_CLEAR_SHIFT 10

/* Status */
#define SPATTEN_STATUS_OFFSET UINT32_C(0x44)
#define SPATTEN_STATUS_BUSY_MASK UINT32_C(0x1)
#define SPATTEN_STATUS_BUSY_SHIFT 0
#define SPATTEN_STATUS_HALTED_MASK UINT32_C(0x2)
#define SPATTEN_STATUS_HALTED_SHIFT 1
#define SPATTEN_STATUS_DRAINING_MASK UINT32_C(0x4)
#define SPATTEN_STATUS_DRAINING_SHIFT 2
#define SPATTEN_STATUS_DRAIN_FAILED_MASK UINT32_C(0x8)
#define SPATTEN_STATUS_DRAIN_FAILED_SHIFT 3
#define SPATTEN_STATUS_PAIR_OPEN_MASK UINT32_C(0x10)
#define SPATTEN_STATUS_PAIR_OPEN_SHIFT 4
#define SPATTEN_STATUS_SNAPSHOT_BUSY_MASK UINT32_C(0x100)
#define SPATTEN_STATUS_SNAPSHOT_BUSY_SHIFT 8

/* Interrupts pending */
#define SPATTEN_IRQ_PENDING_OFFSET UINT32_C(0x48)
#define SPATTEN_IRQ_PENDING_FAULT_MASK UINT32_C(0x1)
#define SPATTEN_IRQ_PENDING_FAULT_SHIFT 0
#define SPATTEN_IRQ_PENDING_DRAINED_MASK UINT32_C(0x2)
#define SPATTEN_IRQ_PENDING_DRAINED_SHIFT 1
#define SPATTEN_IRQ_PENDING_SNAPSHOT_MASK UINT32_C(0x4)
#define SPATTEN_IRQ_PENDING_SNAPSHOT_SHIFT 2
#define SPATTEN_IRQ_PENDING_QUEUE_MASK UINT32_C(0xFF0000)
#define SPATTEN_IRQ_PENDING_QUEUE_SHIFT 16

/* Interrupts enabled */
#define SPATTEN_IRQ_ENABLE_OFFSET UINT32_C(0x4C)
#define SPATTEN_IRQ_ENABLE_RESET UINT32_C(0x0)
#define SPATTEN_IRQ_ENABLE_FAULT_MASK UINT32_C(0x1)
#define SPATTEN_IRQ_ENABLE_FAULT_SHIFT 0
#define SPATTEN_IRQ_ENABLE_DRAINED_MASK UINT32_C(0x2)
#define SPATTEN_IRQ_ENABLE_DRAINED_SHIFT 1
#define SPATTEN_IRQ_ENABLE_SNAPSHOT_MASK UINT32_C(0x4)
#define SPATTEN_IRQ_ENABLE_SNAPSHOT_SHIFT 2
#define SPATTEN_IRQ_ENABLE_QUEUE_MASK UINT32_C(0xFF0000)
#define SPATTEN_IRQ_ENABLE_QUEUE_SHIFT 16

/* Interrupt test */
#define SPATTEN_IRQ_TEST_OFFSET UINT32_C(0x50)
#define SPATTEN_IRQ_TEST_FAULT_MASK UINT32_C(0x1)
#define SPATTEN_IRQ_TEST_FAULT_SHIFT 0
#define SPATTEN_IRQ_TEST_DRAINED_MASK UINT32_C(0x2)
#define SPATTEN_IRQ_TEST_DRAINED_SHIFT 1
#define SPATTEN_IRQ_TEST_SNAPSHOT_MASK UINT32_C(0x4)
#define SPATTEN_IRQ_TEST_SNAPSHOT_SHIFT 2
#define SPATTEN_IRQ_TEST_QUEUE_MASK UINT32_C(0xFF0000)
#define SPATTEN_IRQ_TEST_QUEUE_SHIFT 16

/* First fault */
#define SPATTEN_FAULT_OFFSET UINT32_C(0x60)
#define SPATTEN_FAULT_CODE_MASK UINT32_C(0xFF)
#define SPATTEN_FAULT_CODE_SHIFT 0
#define SPATTEN_FAULT_CODE_BUS_READ UINT32_C(0xC)
#define SPATTEN_FAULT_CODE_BUS_WRITE UINT32_C(0xD)
#define SPATTEN_FAULT_CODE_SLOT UINT32_C(0xE)
#define SPATTEN_FAULT_CODE_ABORTED UINT32_C(0xF)
#define SPATTEN_FAULT_CODE_TIMEOUT UINT32_C(0x10)
#define SPATTEN_FAULT_CODE_WINDOW UINT32_C(0x11)
#define SPATTEN_FAULT_CODE_DRAIN UINT32_C(0x12)
#define SPATTEN_FAULT_QUEUE_MASK UINT32_C(0xF00)
#define SPATTEN_FAULT_QUEUE_SHIFT 8
#define SPATTEN_FAULT_CHANNEL_MASK UINT32_C(0x7F0000)
#define SPATTEN_FAULT_CHANNEL_SHIFT 16
#define SPATTEN_FAULT_WRITE_MASK UINT32_C(0x1000000)
#define SPATTEN_FAULT_WRITE_SHIFT 24
#define SPATTEN_FAULT_VALID_MASK UINT32_C(0x80000000)
#define SPATTEN_FAULT_VALID_SHIFT 31

/* Address of the first fault, bits 31…0 */
#define SPATTEN_FAULT_ADDRESS_LO_OFFSET UINT32_C(0x64)
#define SPATTEN_FAULT_ADDRESS_LO_ADDRESS_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_FAULT_ADDRESS_LO_ADDRESS_SHIFT 0

/* Address of the first fault, bits 63…32 */
#define SPATTEN_FAULT_ADDRESS_HI_OFFSET UINT32_C(0x68)
#define SPATTEN_FAULT_ADDRESS_HI_ADDRESS_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_FAULT_ADDRESS_HI_ADDRESS_SHIFT 0

/* Time-out */
#define SPATTEN_TIMEOUT_OFFSET UINT32_C(0x70)
#define SPATTEN_TIMEOUT_RESET UINT32_C(0x100000)
#define SPATTEN_TIMEOUT_CYCLES_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_TIMEOUT_CYCLES_SHIFT 0

/* AxCACHE and AxPROT */
#define SPATTEN_AXCACHE_OFFSET UINT32_C(0x74)
#define SPATTEN_AXCACHE_RESET UINT32_C(0x33)
#define SPATTEN_AXCACHE_ARCACHE_MASK UINT32_C(0xF)
#define SPATTEN_AXCACHE_ARCACHE_SHIFT 0
#define SPATTEN_AXCACHE_AWCACHE_MASK UINT32_C(0xF0)
#define SPATTEN_AXCACHE_AWCACHE_SHIFT 4
#define SPATTEN_AXCACHE_ARPROT_MASK UINT32_C(0x700)
#define SPATTEN_AXCACHE_ARPROT_SHIFT 8
#define SPATTEN_AXCACHE_AWPROT_MASK UINT32_C(0x7000)
#define SPATTEN_AXCACHE_AWPROT_SHIFT 12

/* Longest bursts */
#define SPATTEN_MAX_BURST_OFFSET UINT32_C(0x78)
#define SPATTEN_MAX_BURST_RESET UINT32_C(0x100010)
#define SPATTEN_MAX_BURST_READ_MASK UINT32_C(0x1FF)
#define SPATTEN_MAX_BURST_READ_SHIFT 0
#define SPATTEN_MAX_BURST_WRITE_MASK UINT32_C(0x1FF0000)
#define SPATTEN_MAX_BURST_WRITE_SHIFT 16

/* Most requests outstanding */
#define SPATTEN_MAX_OUTSTANDING_OFFSET UINT32_C(0x7C)
#define SPATTEN_MAX_OUTSTANDING_RESET UINT32_C(0x100010)
#define SPATTEN_MAX_OUTSTANDING_READ_MASK UINT32_C(0x1FF)
#define SPATTEN_MAX_OUTSTANDING_READ_SHIFT 0
#define SPATTEN_MAX_OUTSTANDING_WRITE_MASK UINT32_C(0x1FF0000)
#define SPATTEN_MAX_OUTSTANDING_WRITE_SHIFT 16

/* Queue: element i of at most SPATTEN_QUEUE_MOST */
#define SPATTEN_QUEUE_MOST 8
#define SPATTEN_QUEUE_CTRL_OFFSET(i) (UINT32_C(0x400) + UINT32_C(0x40) * (uint32_t)(i))
#define SPATTEN_QUEUE_SIZE_OFFSET(i) (UINT32_C(0x404) + UINT32_C(0x40) * (uint32_t)(i))
#define SPATTEN_QUEUE_BASE_LO_OFFSET(i) (UINT32_C(0x408) + UINT32_C(0x40) * (uint32_t)(i))
#define SPATTEN_QUEUE_BASE_HI_OFFSET(i) (UINT32_C(0x40C) + UINT32_C(0x40) * (uint32_t)(i))
#define SPATTEN_QUEUE_COMPLETION_BASE_LO_OFFSET(i) (UINT32_C(0x410) + UINT32_C(0x40) * (uint32_t)(i))
#define SPATTEN_QUEUE_COMPLETION_BASE_HI_OFFSET(i) (UINT32_C(0x414) + UINT32_C(0x40) * (uint32_t)(i))
#define SPATTEN_QUEUE_COALESCE_OFFSET(i) (UINT32_C(0x418) + UINT32_C(0x40) * (uint32_t)(i))
#define SPATTEN_QUEUE_READ_BASE_LO_OFFSET(i) (UINT32_C(0x420) + UINT32_C(0x40) * (uint32_t)(i))
#define SPATTEN_QUEUE_READ_BASE_HI_OFFSET(i) (UINT32_C(0x424) + UINT32_C(0x40) * (uint32_t)(i))
#define SPATTEN_QUEUE_READ_LIMIT_LO_OFFSET(i) (UINT32_C(0x428) + UINT32_C(0x40) * (uint32_t)(i))
#define SPATTEN_QUEUE_READ_LIMIT_HI_OFFSET(i) (UINT32_C(0x42C) + UINT32_C(0x40) * (uint32_t)(i))
#define SPATTEN_QUEUE_WRITE_BASE_LO_OFFSET(i) (UINT32_C(0x430) + UINT32_C(0x40) * (uint32_t)(i))
#define SPATTEN_QUEUE_WRITE_BASE_HI_OFFSET(i) (UINT32_C(0x434) + UINT32_C(0x40) * (uint32_t)(i))
#define SPATTEN_QUEUE_WRITE_LIMIT_LO_OFFSET(i) (UINT32_C(0x438) + UINT32_C(0x40) * (uint32_t)(i))
#define SPATTEN_QUEUE_WRITE_LIMIT_HI_OFFSET(i) (UINT32_C(0x43C) + UINT32_C(0x40) * (uint32_t)(i))
/* Control of the queue */
#define SPATTEN_QUEUE_CTRL_RESET UINT32_C(0x0)
#define SPATTEN_QUEUE_CTRL_ENABLE_MASK UINT32_C(0x1)
#define SPATTEN_QUEUE_CTRL_ENABLE_SHIFT 0
#define SPATTEN_QUEUE_CTRL_ABORT_MASK UINT32_C(0x100)
#define SPATTEN_QUEUE_CTRL_ABORT_SHIFT 8
#define SPATTEN_QUEUE_CTRL_RESUME_MASK UINT32_C(0x200)
#define SPATTEN_QUEUE_CTRL_RESUME_SHIFT 9
/* Sizes of the rings */
#define SPATTEN_QUEUE_SIZE_RESET UINT32_C(0x0)
#define SPATTEN_QUEUE_SIZE_COMMANDS_MASK UINT32_C(0xF)
#define SPATTEN_QUEUE_SIZE_COMMANDS_SHIFT 0
#define SPATTEN_QUEUE_SIZE_COMPLETIONS_MASK UINT32_C(0xF00)
#define SPATTEN_QUEUE_SIZE_COMPLETIONS_SHIFT 8
/* Command ring, address bits 31…0 */
#define SPATTEN_QUEUE_BASE_LO_RESET UINT32_C(0x0)
#define SPATTEN_QUEUE_BASE_LO_ADDRESS_MASK UINT32_C(0xFFFFFFC0)
#define SPATTEN_QUEUE_BASE_LO_ADDRESS_SHIFT 6
/* Command ring, address bits 63…32 */
#define SPATTEN_QUEUE_BASE_HI_RESET UINT32_C(0x0)
#define SPATTEN_QUEUE_BASE_HI_ADDRESS_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_QUEUE_BASE_HI_ADDRESS_SHIFT 0
/* Completion ring, address bits 31…0 */
#define SPATTEN_QUEUE_COMPLETION_BASE_LO_RESET UINT32_C(0x0)
#define SPATTEN_QUEUE_COMPLETION_BASE_LO_ADDRESS_MASK UINT32_C(0xFFFFFFC0)
#define SPATTEN_QUEUE_COMPLETION_BASE_LO_ADDRESS_SHIFT 6
/* Completion ring, address bits 63…32 */
#define SPATTEN_QUEUE_COMPLETION_BASE_HI_RESET UINT32_C(0x0)
#define SPATTEN_QUEUE_COMPLETION_BASE_HI_ADDRESS_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_QUEUE_COMPLETION_BASE_HI_ADDRESS_SHIFT 0
/* Coalescing of the queue's interrupt */
#define SPATTEN_QUEUE_COALESCE_RESET UINT32_C(0x1)
#define SPATTEN_QUEUE_COALESCE_COUNT_MASK UINT32_C(0xFF)
#define SPATTEN_QUEUE_COALESCE_COUNT_SHIFT 0
#define SPATTEN_QUEUE_COALESCE_CYCLES_MASK UINT32_C(0xFFFFFF00)
#define SPATTEN_QUEUE_COALESCE_CYCLES_SHIFT 8
/* Read window, first address, bits 31…0 */
#define SPATTEN_QUEUE_READ_BASE_LO_RESET UINT32_C(0x0)
#define SPATTEN_QUEUE_READ_BASE_LO_ADDRESS_MASK UINT32_C(0xFFFFF000)
#define SPATTEN_QUEUE_READ_BASE_LO_ADDRESS_SHIFT 12
/* Read window, first address, bits 63…32 */
#define SPATTEN_QUEUE_READ_BASE_HI_RESET UINT32_C(0x0)
#define SPATTEN_QUEUE_READ_BASE_HI_ADDRESS_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_QUEUE_READ_BASE_HI_ADDRESS_SHIFT 0
/* Read window, limit, bits 31…0 */
#define SPATTEN_QUEUE_READ_LIMIT_LO_RESET UINT32_C(0x0)
#define SPATTEN_QUEUE_READ_LIMIT_LO_ADDRESS_MASK UINT32_C(0xFFFFF000)
#define SPATTEN_QUEUE_READ_LIMIT_LO_ADDRESS_SHIFT 12
/* Read window, limit, bits 63…32 */
#define SPATTEN_QUEUE_READ_LIMIT_HI_RESET UINT32_C(0x0)
#define SPATTEN_QUEUE_READ_LIMIT_HI_ADDRESS_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_QUEUE_READ_LIMIT_HI_ADDRESS_SHIFT 0
/* Write window, first address, bits 31…0 */
#define SPATTEN_QUEUE_WRITE_BASE_LO_RESET UINT32_C(0x0)
#define SPATTEN_QUEUE_WRITE_BASE_LO_ADDRESS_MASK UINT32_C(0xFFFFF000)
#define SPATTEN_QUEUE_WRITE_BASE_LO_ADDRESS_SHIFT 12
/* Write window, first address, bits 63…32 */
#define SPATTEN_QUEUE_WRITE_BASE_HI_RESET UINT32_C(0x0)
#define SPATTEN_QUEUE_WRITE_BASE_HI_ADDRESS_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_QUEUE_WRITE_BASE_HI_ADDRESS_SHIFT 0
/* Write window, limit, bits 31…0 */
#define SPATTEN_QUEUE_WRITE_LIMIT_LO_RESET UINT32_C(0x0)
#define SPATTEN_QUEUE_WRITE_LIMIT_LO_ADDRESS_MASK UINT32_C(0xFFFFF000)
#define SPATTEN_QUEUE_WRITE_LIMIT_LO_ADDRESS_SHIFT 12
/* Write window, limit, bits 63…32 */
#define SPATTEN_QUEUE_WRITE_LIMIT_HI_RESET UINT32_C(0x0)
#define SPATTEN_QUEUE_WRITE_LIMIT_HI_ADDRESS_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_QUEUE_WRITE_LIMIT_HI_ADDRESS_SHIFT 0

/* Memory channel: element i of at most SPATTEN_CHANNEL_MOST */
#define SPATTEN_CHANNEL_MOST 128
#define SPATTEN_CHANNEL_BASE_LO_OFFSET(i) (UINT32_C(0x800) + UINT32_C(0x8) * (uint32_t)(i))
#define SPATTEN_CHANNEL_BASE_HI_OFFSET(i) (UINT32_C(0x804) + UINT32_C(0x8) * (uint32_t)(i))
/* First address of the channel, bits 31…0 */
#define SPATTEN_CHANNEL_BASE_LO_RESET UINT32_C(0x0)
#define SPATTEN_CHANNEL_BASE_LO_ADDRESS_MASK UINT32_C(0xFFFFF000)
#define SPATTEN_CHANNEL_BASE_LO_ADDRESS_SHIFT 12
/* First address of the channel, bits 63…32 */
#define SPATTEN_CHANNEL_BASE_HI_RESET UINT32_C(0x0)
#define SPATTEN_CHANNEL_BASE_HI_ADDRESS_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_CHANNEL_BASE_HI_ADDRESS_SHIFT 0

/* Counter: element i of at most SPATTEN_COUNTER_MOST */
#define SPATTEN_COUNTER_MOST 320
#define SPATTEN_COUNTER_LO_OFFSET(i) (UINT32_C(0x1000) + UINT32_C(0x8) * (uint32_t)(i))
#define SPATTEN_COUNTER_HI_OFFSET(i) (UINT32_C(0x1004) + UINT32_C(0x8) * (uint32_t)(i))
#define SPATTEN_COUNTER_CYCLES 0
#define SPATTEN_COUNTER_JOBS 1
#define SPATTEN_COUNTER_JOBS_REFUSED 2
#define SPATTEN_COUNTER_LAYERS 3
#define SPATTEN_COUNTER_SELECT_CYCLES 4
#define SPATTEN_COUNTER_ROWS 5
#define SPATTEN_COUNTER_FLAT_ROWS 6
#define SPATTEN_COUNTER_QK_BEATS 7
#define SPATTEN_COUNTER_QK_USEFUL 8
#define SPATTEN_COUNTER_QK_STALL_QUERY 9
#define SPATTEN_COUNTER_QK_STALL_KEY 10
#define SPATTEN_COUNTER_QK_STALL_OUT 11
#define SPATTEN_COUNTER_TOPK_ROWS 12
#define SPATTEN_COUNTER_TOPK_BUSY 13
#define SPATTEN_COUNTER_PRUNE_STALL_TOPK 14
#define SPATTEN_COUNTER_PV_BEATS 15
#define SPATTEN_COUNTER_PV_STALL_LINE 16
#define SPATTEN_COUNTER_PV_STALL_VALUE 17
#define SPATTEN_COUNTER_PV_STALL_OUT 18
#define SPATTEN_COUNTER_QUERY_WORDS 19
#define SPATTEN_COUNTER_KEY_WORDS 20
#define SPATTEN_COUNTER_KEY_LSB_WORDS 21
#define SPATTEN_COUNTER_VALUE_WORDS 22
/* Counter, bits 31…0 */
#define SPATTEN_COUNTER_LO_VALUE_MASK UINT32_C(0xFFFFFFFF)
#define SPATTEN_COUNTER_LO_VALUE_SHIFT 0
/* Counter, bits 47…32 */
#define SPATTEN_COUNTER_HI_VALUE_MASK UINT32_C(0xFFFF)
#define SPATTEN_COUNTER_HI_VALUE_SHIFT 0

/* Doorbell of a queue: element i of at most SPATTEN_DOORBELL_MOST */
#define SPATTEN_DOORBELL_MOST 8
#define SPATTEN_DOORBELL_TAIL_OFFSET(i) (UINT32_C(0x2000) + UINT32_C(0x1000) * (uint32_t)(i))
#define SPATTEN_DOORBELL_HEAD_OFFSET(i) (UINT32_C(0x2004) + UINT32_C(0x1000) * (uint32_t)(i))
#define SPATTEN_DOORBELL_COMPLETION_HEAD_OFFSET(i) (UINT32_C(0x2008) + UINT32_C(0x1000) * (uint32_t)(i))
#define SPATTEN_DOORBELL_COMPLETION_TAIL_OFFSET(i) (UINT32_C(0x200C) + UINT32_C(0x1000) * (uint32_t)(i))
#define SPATTEN_DOORBELL_STATUS_OFFSET(i) (UINT32_C(0x2010) + UINT32_C(0x1000) * (uint32_t)(i))
/* Commands written */
#define SPATTEN_DOORBELL_TAIL_RESET UINT32_C(0x0)
#define SPATTEN_DOORBELL_TAIL_COUNT_MASK UINT32_C(0xFFFF)
#define SPATTEN_DOORBELL_TAIL_COUNT_SHIFT 0
/* Commands fetched */
#define SPATTEN_DOORBELL_HEAD_COUNT_MASK UINT32_C(0xFFFF)
#define SPATTEN_DOORBELL_HEAD_COUNT_SHIFT 0
/* Completions read */
#define SPATTEN_DOORBELL_COMPLETION_HEAD_RESET UINT32_C(0x0)
#define SPATTEN_DOORBELL_COMPLETION_HEAD_COUNT_MASK UINT32_C(0xFFFF)
#define SPATTEN_DOORBELL_COMPLETION_HEAD_COUNT_SHIFT 0
/* Completions written */
#define SPATTEN_DOORBELL_COMPLETION_TAIL_COUNT_MASK UINT32_C(0xFFFF)
#define SPATTEN_DOORBELL_COMPLETION_TAIL_COUNT_SHIFT 0
/* Status of the queue */
#define SPATTEN_DOORBELL_STATUS_RUNNING_MASK UINT32_C(0x1)
#define SPATTEN_DOORBELL_STATUS_RUNNING_SHIFT 0
#define SPATTEN_DOORBELL_STATUS_HALTED_MASK UINT32_C(0x2)
#define SPATTEN_DOORBELL_STATUS_HALTED_SHIFT 1
#define SPATTEN_DOORBELL_STATUS_BUSY_MASK UINT32_C(0x4)
#define SPATTEN_DOORBELL_STATUS_BUSY_SHIFT 2
#define SPATTEN_DOORBELL_STATUS_CODE_MASK UINT32_C(0xFF00)
#define SPATTEN_DOORBELL_STATUS_CODE_SHIFT 8
#define SPATTEN_DOORBELL_STATUS_CODE_BUS_READ UINT32_C(0xC)
#define SPATTEN_DOORBELL_STATUS_CODE_BUS_WRITE UINT32_C(0xD)
#define SPATTEN_DOORBELL_STATUS_CODE_SLOT UINT32_C(0xE)
#define SPATTEN_DOORBELL_STATUS_CODE_ABORTED UINT32_C(0xF)
#define SPATTEN_DOORBELL_STATUS_CODE_TIMEOUT UINT32_C(0x10)
#define SPATTEN_DOORBELL_STATUS_CODE_WINDOW UINT32_C(0x11)
#define SPATTEN_DOORBELL_STATUS_CODE_DRAIN UINT32_C(0x12)

struct spatten_global {
    volatile const uint32_t id;
    volatile const uint32_t version;
    volatile const uint32_t config_digest_lo;
    volatile const uint32_t config_digest_hi;
    volatile const uint32_t cap0;
    volatile const uint32_t cap1;
    volatile const uint32_t cap2;
    volatile const uint32_t cap3;
    volatile const uint32_t cap4;
    uint32_t reserved0[7];
    volatile uint32_t ctrl;
    volatile const uint32_t status;
    volatile uint32_t irq_pending;
    volatile uint32_t irq_enable;
    volatile uint32_t irq_test;
    uint32_t reserved1[3];
    volatile uint32_t fault;
    volatile const uint32_t fault_address_lo;
    volatile const uint32_t fault_address_hi;
    uint32_t reserved2[1];
    volatile uint32_t timeout;
    volatile uint32_t axcache;
    volatile uint32_t max_burst;
    volatile uint32_t max_outstanding;
};
SPATTEN_ASSERT(at_global_id, offsetof(struct spatten_global, id) == 0);
SPATTEN_ASSERT(at_global_version, offsetof(struct spatten_global, version) == 4);
SPATTEN_ASSERT(at_global_config_digest_lo, offsetof(struct spatten_global, config_digest_lo) == 8);
SPATTEN_ASSERT(at_global_config_digest_hi, offsetof(struct spatten_global, config_digest_hi) == 12);
SPATTEN_ASSERT(at_global_cap0, offsetof(struct spatten_global, cap0) == 16);
SPATTEN_ASSERT(at_global_cap1, offsetof(struct spatten_global, cap1) == 20);
SPATTEN_ASSERT(at_global_cap2, offsetof(struct spatten_global, cap2) == 24);
SPATTEN_ASSERT(at_global_cap3, offsetof(struct spatten_global, cap3) == 28);
SPATTEN_ASSERT(at_global_cap4, offsetof(struct spatten_global, cap4) == 32);
SPATTEN_ASSERT(at_global_ctrl, offsetof(struct spatten_global, ctrl) == 64);
SPATTEN_ASSERT(at_global_status, offsetof(struct spatten_global, status) == 68);
SPATTEN_ASSERT(at_global_irq_pending, offsetof(struct spatten_global, irq_pending) == 72);
SPATTEN_ASSERT(at_global_irq_enable, offsetof(struct spatten_global, irq_enable) == 76);
SPATTEN_ASSERT(at_global_irq_test, offsetof(struct spatten_global, irq_test) == 80);
SPATTEN_ASSERT(at_global_fault, offsetof(struct spatten_global, fault) == 96);
SPATTEN_ASSERT(at_global_fault_address_lo, offsetof(struct spatten_global, fault_address_lo) == 100);
SPATTEN_ASSERT(at_global_fault_address_hi, offsetof(struct spatten_global, fault_address_hi) == 104);
SPATTEN_ASSERT(at_global_timeout, offsetof(struct spatten_global, timeout) == 112);
SPATTEN_ASSERT(at_global_axcache, offsetof(struct spatten_global, axcache) == 116);
SPATTEN_ASSERT(at_global_max_burst, offsetof(struct spatten_global, max_burst) == 120);
SPATTEN_ASSERT(at_global_max_outstanding, offsetof(struct spatten_global, max_outstanding) == 124);
SPATTEN_ASSERT(sizeof_global, sizeof(struct spatten_global) == 128);

struct spatten_queue {
    volatile uint32_t ctrl;
    volatile uint32_t size;
    volatile uint32_t base_lo;
    volatile uint32_t base_hi;
    volatile uint32_t completion_base_lo;
    volatile uint32_t completion_base_hi;
    volatile uint32_t coalesce;
    uint32_t reserved0[1];
    volatile uint32_t read_base_lo;
    volatile uint32_t read_base_hi;
    volatile uint32_t read_limit_lo;
    volatile uint32_t read_limit_hi;
    volatile uint32_t write_base_lo;
    volatile uint32_t write_base_hi;
    volatile uint32_t write_limit_lo;
    volatile uint32_t write_limit_hi;
};
SPATTEN_ASSERT(at_queue_ctrl, offsetof(struct spatten_queue, ctrl) == 0);
SPATTEN_ASSERT(at_queue_size, offsetof(struct spatten_queue, size) == 4);
SPATTEN_ASSERT(at_queue_base_lo, offsetof(struct spatten_queue, base_lo) == 8);
SPATTEN_ASSERT(at_queue_base_hi, offsetof(struct spatten_queue, base_hi) == 12);
SPATTEN_ASSERT(at_queue_completion_base_lo, offsetof(struct spatten_queue, completion_base_lo) == 16);
SPATTEN_ASSERT(at_queue_completion_base_hi, offsetof(struct spatten_queue, completion_base_hi) == 20);
SPATTEN_ASSERT(at_queue_coalesce, offsetof(struct spatten_queue, coalesce) == 24);
SPATTEN_ASSERT(at_queue_read_base_lo, offsetof(struct spatten_queue, read_base_lo) == 32);
SPATTEN_ASSERT(at_queue_read_base_hi, offsetof(struct spatten_queue, read_base_hi) == 36);
SPATTEN_ASSERT(at_queue_read_limit_lo, offsetof(struct spatten_queue, read_limit_lo) == 40);
SPATTEN_ASSERT(at_queue_read_limit_hi, offsetof(struct spatten_queue, read_limit_hi) == 44);
SPATTEN_ASSERT(at_queue_write_base_lo, offsetof(struct spatten_queue, write_base_lo) == 48);
SPATTEN_ASSERT(at_queue_write_base_hi, offsetof(struct spatten_queue, write_base_hi) == 52);
SPATTEN_ASSERT(at_queue_write_limit_lo, offsetof(struct spatten_queue, write_limit_lo) == 56);
SPATTEN_ASSERT(at_queue_write_limit_hi, offsetof(struct spatten_queue, write_limit_hi) == 60);
SPATTEN_ASSERT(sizeof_queue, sizeof(struct spatten_queue) == 64);
SPATTEN_ASSERT(stride_of_queue, sizeof(struct spatten_queue) <= 64);

struct spatten_channel {
    volatile uint32_t base_lo;
    volatile uint32_t base_hi;
};
SPATTEN_ASSERT(at_channel_base_lo, offsetof(struct spatten_channel, base_lo) == 0);
SPATTEN_ASSERT(at_channel_base_hi, offsetof(struct spatten_channel, base_hi) == 4);
SPATTEN_ASSERT(sizeof_channel, sizeof(struct spatten_channel) == 8);
SPATTEN_ASSERT(stride_of_channel, sizeof(struct spatten_channel) <= 8);

struct spatten_counter {
    volatile const uint32_t lo;
    volatile const uint32_t hi;
};
SPATTEN_ASSERT(at_counter_lo, offsetof(struct spatten_counter, lo) == 0);
SPATTEN_ASSERT(at_counter_hi, offsetof(struct spatten_counter, hi) == 4);
SPATTEN_ASSERT(sizeof_counter, sizeof(struct spatten_counter) == 8);
SPATTEN_ASSERT(stride_of_counter, sizeof(struct spatten_counter) <= 8);

struct spatten_doorbell {
    volatile uint32_t tail;
    volatile const uint32_t head;
    volatile uint32_t completion_head;
    volatile const uint32_t completion_tail;
    volatile const uint32_t status;
};
SPATTEN_ASSERT(at_doorbell_tail, offsetof(struct spatten_doorbell, tail) == 0);
SPATTEN_ASSERT(at_doorbell_head, offsetof(struct spatten_doorbell, head) == 4);
SPATTEN_ASSERT(at_doorbell_completion_head, offsetof(struct spatten_doorbell, completion_head) == 8);
SPATTEN_ASSERT(at_doorbell_completion_tail, offsetof(struct spatten_doorbell, completion_tail) == 12);
SPATTEN_ASSERT(at_doorbell_status, offsetof(struct spatten_doorbell, status) == 16);
SPATTEN_ASSERT(sizeof_doorbell, sizeof(struct spatten_doorbell) == 20);
SPATTEN_ASSERT(stride_of_doorbell, sizeof(struct spatten_doorbell) <= 4096);

#endif
