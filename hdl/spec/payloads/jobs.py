"""Ports of the top: jobs, layers, ids, heads, results; and the record of a job in flight."""

from __future__ import annotations

from amaranth.lib import data

from hdl.spec import numerics as N
from hdl.spec.config import Config
from hdl.spec.payloads.rows import chain_place
from hdl.spec.widths import (
    CODE_WIDTH,
    DECAY_WIDTH,
    DIM_WIDTH,
    ELEMENT_BITS_WIDTH,
    FIELD_WIDTH,
    GROUP_FIELD_WIDTH,
    HEAD_FIELD_WIDTH,
    ID_WIDTH,
    JOB_ID_WIDTH,
    LIST_WIDTH,
    LOG_SLICES_WIDTH,
    LSB_FIELD_WIDTH,
    PAIR_WIDTH,
    SKEW_FIELD_WIDTH,
    bits_for_count,
    lane_count,
    signed,
)

__all__ = [
    "BAD_CAPACITY",
    "BAD_COUNT",
    "BAD_DIM",
    "BAD_HEADS",
    "BAD_IDS",
    "BAD_KEEP",
    "BAD_PAIR",
    "BAD_SCALE",
    "BAD_SELECT",
    "BAD_WIDTH",
    "BAD_WINDOW",
    "LIST_DENSE",
    "LIST_NEW",
    "LIST_PREVIOUS",
    "OK",
    "STATUS",
    "head_entry",
    "job_descriptor",
    "job_id_entry",
    "job_output",
    "job_probs",
    "job_record",
    "job_request",
    "job_status",
    "layer_descriptor",
    "select_command",
    "survivor",
]

S = data.StructLayout
A = data.ArrayLayout


LIST_DENSE, LIST_NEW, LIST_PREVIOUS = 0, 1, 2


def job_descriptor(config: Config) -> S:
    """One head of one layer. Counts are 16 bits wide so that any wrong value can be told and refused."""
    return S(
        {
            "job_id": JOB_ID_WIDTH,  # returned with every result
            "dim": DIM_WIDTH,  # D
            "num_keys": FIELD_WIDTH,  # n, 1…max_tokens
            "num_queries": FIELD_WIDTH,  # of each query head, 1…max_tokens; 1 in generation; at most n if causal
            "group": GROUP_FIELD_WIDTH,  # query heads of this K/V head, 1…max_group (1 in generation); rows: max_tokens
            "head": HEAD_FIELD_WIDTH,  # rank of the first of them among the layer's heads; rank + group <= max_heads
            "accumulate": 1,  # add to the importance of the keys' positions and of the heads
            "num_rows": FIELD_WIDTH,  # rows of the K and V planes, n…max_tokens
            "causal": 1,  # query q attends the first n - num_queries + q + 1 keys
            "generation": 1,  # one query; only the survivors' V rows are fetched
            "list": LIST_WIDTH,  # 0: key p is row p; 1: ids follow on the ids stream; 2: those of the last job with 1
            "skew": SKEW_FIELD_WIDTH,  # row r of each plane lies in channel (r + skew) mod C; a layer adds its K/V head
            "pair": PAIR_WIDTH,  # generation: K rows of this job (1) and the next (2) lie together, 2·D elements
            "value_keep": FIELD_WIDTH,  # V rows kept per query, 1…n
            "query_base": config.address_width,  # word address of the plane in every channel
            "key_base": config.address_width,
            "key_lsb_base": config.address_width,
            "value_base": config.address_width,
            "query_bits": ELEMENT_BITS_WIDTH,
            "key_bits": ELEMENT_BITS_WIDTH,  # of the MSB plane
            "key_lsb_bits": LSB_FIELD_WIDTH,  # 0: static, 4: progressive
            "value_bits": ELEMENT_BITS_WIDTH,
            "scale": N.SCALE_WIDTH,  # at least 1
            "shift": N.SHIFT_WIDTH,  # at least 1
            "flat_limit": config.sum_width,  # 2**16 / threshold; progressive jobs only
            **chain_place(config),
        }
    )


def job_id_entry(config: Config) -> S:
    """Ids of a job's list, strictly ascending, below num_rows, with their importance so far; lanes ids but the last."""
    return S(
        {
            "ids": A(ID_WIDTH, config.lanes),
            "importance": A(N.IMPORTANCE_WIDTH, config.lanes),
            "count": lane_count(config),  # 1…lanes; lanes unless last
            "last": 1,
        }
    )


def job_request(config: Config) -> S:
    """A job for the checker, from the host or from the layer walker."""
    return S(
        {
            "job": job_descriptor(config),
            "layer": 1,  # of the layer walker
            "list_only": 1,  # take the id list and answer: no head is computed
            "match": 1,  # list_only: the current list must have num_keys entries, whatever ``list`` is
        }
    )


def layer_descriptor(config: Config) -> S:
    """A layer: one job for each K/V head that a surviving query head uses, then the cascade selection."""
    stride = config.address_width
    return S(
        {
            "job": job_descriptor(config),  # of K/V head 0; group, head, scale and shift are not read
            "num_heads": HEAD_FIELD_WIDTH,  # entries on the heads stream; 0: selection of tokens only
            "query_stride": stride,  # words from the planes of a K/V head to those of the next
            "key_stride": stride,
            "key_lsb_stride": stride,
            "value_stride": stride,
            "select": 1,  # select tokens and heads when all jobs are done
            "token_keep": FIELD_WIDTH,  # tokens that survive, 1…; n and more: all
            "head_keep": HEAD_FIELD_WIDTH,  # heads that survive, 1…; num_heads and more: all
            "pin_first": FIELD_WIDTH,  # the first so many keys, and the last, survive before all others
            "pin_last": FIELD_WIDTH,
            "decay": DECAY_WIDTH,  # importance -= importance >> decay at the selection; 0: not
        }
    )


def head_entry(config: Config) -> S:
    """A surviving query head of a layer; K/V heads ascend. The Q plane of a K/V head has the survivors' rows only."""
    return S(
        {
            "head": HEAD_FIELD_WIDTH,  # its number, returned with the survivors
            "kv_head": HEAD_FIELD_WIDTH,
            "scale": N.SCALE_WIDTH,  # of the K/V head, read with the first query head of the group
            "shift": N.SHIFT_WIDTH,
            "weight": N.WEIGHT_WIDTH,  # unit of its outputs, for head importance
            "importance": N.IMPORTANCE_WIDTH,  # so far
            "last": 1,
        }
    )


def survivor(config: Config) -> S:
    """Answer of a selection: every head of the layer in order, then every token, kept or not."""
    return S(
        {
            "job_id": JOB_ID_WIDTH,  # of the layer
            "token": 1,  # 0: a head, 1: a token
            "id": ID_WIDTH,  # number of the head, id of the token
            "importance": N.IMPORTANCE_WIDTH,  # after this layer (and decay)
            "keep": 1,
            "last": 1,  # the selection ends
        }
    )


def select_command(config: Config) -> S:
    """From the layer walker to the cascade selection."""
    return S(
        {
            "job_id": JOB_ID_WIDTH,
            "num_tokens": config.count_width,  # n, 1…max_tokens
            "num_heads": bits_for_count(config.max_heads),
            "token_keep": config.count_width,  # 1…n
            "head_keep": bits_for_count(config.max_heads),  # 1…num_heads, 0 if there are none
            "pin_first": config.count_width,
            "pin_last": config.count_width,
            "decay": DECAY_WIDTH,
            "list": 1,  # id list to write
        }
    )


STATUS = {
    0: "done",
    1: "dimension is not served",
    2: "number of keys, queries or rows is out of range",
    3: "number of values to keep is out of range",
    4: "operand width or MSB+LSB split is unknown",
    5: "plane lies outside the permitted window",
    6: "key ids are not strictly ascending, out of range, or not as many as keys",
    7: "keys do not fit the K buffer at this dimension",
    8: "scale or shift is zero",
    9: "heads or group are out of range, or not as many as announced",
    10: "number of tokens or heads to keep is zero",
    11: "job is not the next of the pair or chain, or cannot be part of one",
}
"""Codes on the status stream: 0 when all results of a job are out, else the job was refused and left no trace."""


OK, BAD_DIM, BAD_COUNT, BAD_KEEP, BAD_WIDTH, BAD_WINDOW, BAD_IDS, BAD_CAPACITY, BAD_SCALE = range(9)


BAD_HEADS, BAD_SELECT, BAD_PAIR = range(9, 12)


def job_status(config: Config) -> S:
    return S({"job_id": JOB_ID_WIDTH, "code": CODE_WIDTH})


def job_output(config: Config) -> S:
    """norm_lanes output elements of a query, in order; elements beyond D are 0."""
    return S(
        {
            "job_id": JOB_ID_WIDTH,
            "head": HEAD_FIELD_WIDTH,  # of the job
            "query": config.position_width,  # row of the job
            "last": 1,  # last beat of the row
            "second": 1,  # computed with the LSB plane
            "abs_sum": config.abs_sum_width,  # Σ|out| of the row, valid with last
            "values": A(signed(config.out_width), config.norm_lanes),  # Q(operand_width).8
        }
    )


def job_probs(config: Config) -> S:
    """Probabilities of a line of keys: lanes 0…a_count-1 of query a_query, the next b_count of b_query."""
    return S(
        {
            "job_id": JOB_ID_WIDTH,
            "head": HEAD_FIELD_WIDTH,
            "start": config.count_width,  # key position of lane 0; row B begins with its key 0
            "a_count": lane_count(config),
            "b_count": lane_count(config),
            "a_query": config.position_width,
            "b_query": config.position_width,
            "a_drop": 1,  # query A was flat: these are not final
            "b_drop": 1,
            "probs": A(N.EXP_WIDTH, config.lanes),  # UQ1.16
        }
    )


def job_record(config: Config) -> S:
    """A checked job with derived values, as the controller's context table keeps it."""
    return S(
        {
            "job_id": JOB_ID_WIDTH,
            "layer": 1,  # one of a layer's jobs: its completion is told to the layer walker, not to the host
            "head": HEAD_FIELD_WIDTH,
            "accumulate": 1,
            "dim": DIM_WIDTH,
            "log_slices": LOG_SLICES_WIDTH,
            "num_keys": config.count_width,
            "num_queries": config.count_width,  # of each query head
            "rows": config.count_width,  # group * num_queries
            "causal": 1,
            "generation": 1,
            "pack": 1,  # lines may cross from one query to the next
            "repeat": lane_count(config),  # keys stored again after the last (pack)
            "listed": 1,
            "list": 1,  # which id list
            "skew": config.channel_bits,
            "pair": PAIR_WIDTH,
            "value_keep": config.count_width,
            "query_base": config.address_width,
            "key_base": config.address_width,
            "key_lsb_base": config.address_width,
            "value_base": config.address_width,
            "query_bits": ELEMENT_BITS_WIDTH,
            "key_bits": ELEMENT_BITS_WIDTH,
            "progressive": 1,  # K has an LSB plane
            "value_bits": ELEMENT_BITS_WIDTH,
            "scale": N.SCALE_WIDTH,
            "shift": N.SHIFT_WIDTH,
            "flat_limit": config.sum_width,
            **chain_place(config),
        }
    )
