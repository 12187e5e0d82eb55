"""Payload layouts of every stream between blocks, one line per field with unit and format."""

from __future__ import annotations

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl import numerics as N
from hdl.config import Config

S = data.StructLayout
A = data.ArrayLayout


def bits_for_count(limit: int) -> int:
    """Width of an unsigned count 0…limit."""
    return max(1, int(limit).bit_length())


def lane_count(config: Config) -> int:
    """Width of a number of lanes, 0…lanes."""
    return bits_for_count(config.lanes)


def signed(width: int):
    from amaranth.hdl import signed as amaranth_signed

    return amaranth_signed(width)


def row_tag(config: Config) -> S:
    return S(
        {
            "context": config.context_width,  # job in flight, index in the controller's context table
            "query": config.position_width,  # row of the job: query q of head g of the group is row g * num_queries + q
            "group": config.group_width,  # g
            "second": 1,  # 1: recomputed with the LSB plane
        }
    )


def line_shape(config: Config) -> dict:
    """Fields common to every line: lanes 0…a_count-1 belong to row A, the next b_count to row B.

    A line holds keys ``start``, ``start+1``, …; row B (the next in row order) begins with its key 0 at lane a_count.
    b_count > 0 only if a_last; row B never ends in the line in which it begins.
    """
    return {
        "start": config.count_width,  # key position of lane 0
        "a_count": lane_count(config),  # valid lanes of row A, 1…S
        "b_count": lane_count(config),  # valid lanes of row B behind them, 0…S-1
        "a_last": 1,  # row A ends in this line
    }


# Q×K -----------------------------------------------------------------------------------------------------------


def started_row(config: Config) -> S:
    """A row as QKMultiply took it."""
    return S({"tag": row_tag(config), "length": config.count_width})


def query_row(config: Config) -> S:
    """A query on its way to the Q×K array."""
    return S(
        {
            "tag": row_tag(config),
            "length": config.count_width,  # keys that this query attends, 1…max_tokens (causal: fewer than n)
            "log_slices": 3,  # log2 slices per key row
            "pack": 1,  # lines may hold the end of one row and the start of the next (same job)
            "slot": config.slot_width,  # first slot of the job's region of the K buffer, a multiple of lanes
            "seq": config.seq_width,  # sequence number of its first row
            "low": 1,  # use the lower 4 bits of the K words (else 0): static split, or second pass
            "elements": A(signed(config.operand_width), config.max_dim),  # zero beyond D
        }
    )


def score_line(config: Config) -> S:
    return S(
        {
            **line_shape(config),
            "scores": A(signed(config.score_width), config.lanes),  # exact dot products; lanes >= counts undefined
        }
    )


# Softmax -------------------------------------------------------------------------------------------------------


def softmax_row(config: Config) -> S:
    """Parameters of one row for softmax, in row order, at the latest with the row's first line."""
    return S(
        {
            "tag": row_tag(config),
            "scale": N.SCALE_WIDTH,  # mantissa of (max-score) -> log2 units (1/sqrt(D) and log2(e) folded in)
            "shift": N.SHIFT_WIDTH,  # right shift, 1…63
            "flat_limit": config.sum_width,  # 2**16 / threshold
            "check": 1,  # first pass of a progressive row: flat rows are dropped and recomputed
        }
    )


def exp_line(config: Config) -> S:
    return S(
        {
            **line_shape(config),
            "scores": A(signed(config.score_width), config.lanes),
            "exps": A(N.EXP_WIDTH, config.lanes),  # UQ1.16; 0 in lanes that are not valid
        }
    )


def row_sum(config: Config) -> S:
    """Facts of a row, given once per row in row order, after its last score."""
    return S(
        {
            "tag": row_tag(config),
            "exp_sum": config.sum_width,  # UQ.16
            "recip": N.RECIP_WIDTH,  # R of 1/sum = R * 2**-16 * 2**-pe, UQ1.16
            "pe": 4,  # its exponent
            "flat": 1,  # drop the row: it is recomputed with LSBs
        }
    )


# Top-k ---------------------------------------------------------------------------------------------------------


def lane_group(shape, lanes: int) -> S:
    """Items of one row, compact from lane 0. A row is a series of groups, the last of which has ``last``."""
    return S(
        {
            "items": A(shape, lanes),
            "count": bits_for_count(lanes),  # valid lanes
            "last": 1,  # row ends
        }
    )


def masked_group(shape, lanes: int) -> S:
    """Items of one row with a mask of those to keep."""
    return S({"items": A(shape, lanes), "keep": lanes, "last": 1})


def select_line(config: Config, score_width: int | None = None) -> S:
    """P scores of one row (Q×K, or of ``score_width`` bits) for a top-k engine; every line but the last is full."""
    return S(
        {
            "scores": A(signed(score_width or config.score_width), config.topk_parallelism),
            "count": bits_for_count(config.topk_parallelism),  # valid lanes 1…P, from lane 0
            "last": 1,  # row ends
            "k": config.count_width,  # 1…n; read with the row's first line
        }
    )


def selection(config: Config, score_width: int | None = None) -> S:
    """Result of quick-select for a row."""
    return S(
        {
            "threshold": signed(score_width or config.score_width),  # k-th largest score
            "ties": config.count_width,  # how many scores equal to it belong to the top k, 1…
        }
    )


# Prob×V --------------------------------------------------------------------------------------------------------


def value_line(config: Config) -> S:
    """Weights of V rows start, start+1, … of the job's region; pruned lanes have weight 0."""
    return S(
        {
            **line_shape(config),
            "exps": A(N.EXP_WIDTH, config.lanes),  # UQ1.16, lane i weighs V row start+i
        }
    )


def value_row(config: Config) -> S:
    """A row for prob×V, in row order, at the latest with the row's first line."""
    return S(
        {
            "tag": row_tag(config),
            "recip": N.RECIP_WIDTH,
            "pe": 4,
            "drop": 1,  # flat: no output
            "log_slices": 3,
            "dim": 8,  # D
        }
    )


def placed_row(config: Config) -> S:
    """A row for prob×V whose V rows have been asked for."""
    return S(
        {
            **value_row(config).members,
            "slot": config.slot_width,  # first slot of its region of the V buffer, a multiple of lanes
            "seq": config.seq_width,  # sequence number of its first V row
        }
    )


def output_beat(config: Config) -> S:
    """norm_lanes consecutive output elements of a row; elements beyond D are 0."""
    return S(
        {
            "tag": row_tag(config),
            "last": 1,  # last beat of the row
            "abs_sum": config.abs_sum_width,  # Σ|out| of the whole row, valid with last
            "values": A(signed(config.out_width), config.norm_lanes),  # Q(operand_width).8
        }
    )


def prob_line(config: Config) -> S:
    """Probabilities of a line (of every key, V kept or not); rows as in line_shape."""
    return S(
        {
            **line_shape(config),
            "a_drop": 1,  # row A is flat: ignore its lanes
            "b_drop": 1,
            "a_tag": row_tag(config),
            "b_tag": row_tag(config),  # valid if b_count > 0
            "probs": A(N.EXP_WIDTH, config.lanes),  # UQ1.16
        }
    )


def prune_row(config: Config) -> S:
    """Local value pruning of one row, in row order, at the latest with the row's first score line."""
    return S(
        {
            "tag": row_tag(config),
            "prune": 1,  # 0: keep all (k >= length)
            "k": config.count_width,  # V rows to keep, 1…length-1, if prune
            "gather": 1,  # generation: fetch the survivors' V rows; else V is on chip
            "log_slices": 3,
            "dim": 8,
        }
    )


# Memory and buffers --------------------------------------------------------------------------------------------


def MemoryPort(config: Config) -> wiring.Signature:
    """One read-only channel; responses come in the order of the requests."""
    return wiring.Signature(
        {
            "request": Out(stream.Signature(config.address_width)),  # word address
            "response": In(stream.Signature(config.channel_width)),  # the word, little endian
        }
    )


def BufferRead(config: Config) -> wiring.Signature:
    """Read of lanes consecutive slices, any alignment: bank b returns the slice s = b (mod lanes) of the window.

    data is valid ``KVBuffer.READ_LATENCY`` cycles after en, for one cycle.
    """
    return wiring.Signature(
        {
            "en": Out(1),
            "first": Out(config.slot_width),  # first slice of the window
            "data": In(A(A(signed(config.operand_width), config.lane_width), config.lanes)),  # by bank
        }
    )


def BufferWrite(config: Config) -> wiring.Signature:
    """Write of one slice into one bank."""
    return wiring.Signature(
        {
            "en": Out(1),
            "addr": Out(config.slot_width),  # slice // banks
            "high": Out(1),  # write the upper operand_width-4 bits of the words
            "low": Out(1),  # write the lower 4 bits
            "data": Out(A(signed(config.operand_width), config.lane_width)),
        }
    )


# Fetcher -------------------------------------------------------------------------------------------------------

KEY, KEY_LSB, VALUE, QUERY = 0, 1, 2, 3


def plane(config: Config) -> S:
    """Where the rows of a tensor plane lie: row r is in channel (r + skew) mod C, at bit (r // C) * D * width."""
    return S(
        {
            "base": config.address_width,  # word address of the plane in every channel
            "width": 5,  # bits of an element
            "dim": 8,  # D; 2·D of a pair
            "log_slices": 3,  # of D elements
            "skew": config.channel_bits,
        }
    )


def fetch_command(config: Config) -> S:
    """Load the rows of a plane into a region, at positions 0…n-1 (and repeat the first ``repeat`` behind them)."""
    return S(
        {
            "plane": plane(config),
            "slot": config.slot_width,  # first slot of the region, a multiple of lanes
            "seq": config.seq_width,  # sequence number of position 0; position p has seq + p (K and V each their own)
            "count": config.count_width,  # n rows, 1…max_tokens; of a gathered row: survivors
            "repeat": lane_count(config),  # keys repeated at positions n, n+1, … for packed lines
            "pair": 1,  # rows of 2·D elements: the last D go to a second region,
            "pair_offset": config.slot_width,  # which begins so many slots behind the first
            "listed": 1,  # row of position p: ids[p] of the list, else p itself
            "list": 1,  # which id list
            "shift": 4,  # K: LSB bits below an MSB word; V: left-justification
        }
    )


def gather_line(config: Config) -> S:
    """Keep mask of S consecutive key positions of one row; the V rows of the kept ones are fetched.

    The kept positions of a row get buffer positions 0, 1, 2, … in order.
    """
    return S(
        {
            "start": config.count_width,  # key position of lane 0, a multiple of S
            "keep": config.lanes,  # bit i: position start+i survives
            "last": 1,  # the row ends
        }
    )


def id_write(config: Config) -> S:
    """Entries of an id list: key position p holds row ``ids[p mod lanes]`` of the planes. Strictly ascending ids."""
    return S(
        {
            "list": 1,
            "first": 1,  # clears the list first
            "word": config.position_width,  # positions word * lanes … word * lanes + lanes - 1
            "mask": config.lanes,  # those of them that are written, one run
            "ids": A(config.position_width, config.lanes),
            "importance": A(N.IMPORTANCE_WIDTH, config.lanes),  # UQ16.16, kept in TokenImportance
        }
    )


def query_request(config: Config) -> S:
    """Fetch row ``row`` of a Q plane; rows come back in the order of the requests."""
    return S({"plane": plane(config), "row": config.position_width})


# Top -----------------------------------------------------------------------------------------------------------

LIST_DENSE, LIST_NEW, LIST_PREVIOUS = 0, 1, 2


def job_descriptor(config: Config) -> S:
    """One head of one layer. Counts are 16 bits wide so that any wrong value can be told and refused."""
    return S(
        {
            "job_id": 16,  # returned with every result
            "dim": 8,  # D
            "num_keys": 16,  # n, 1…max_tokens
            "num_queries": 16,  # of each query head, 1…max_tokens; 1 in generation; at most n if causal
            "group": 5,  # query heads of this K/V head, 1…max_group (1 in generation); at most max_tokens rows in all
            "head": 8,  # rank of the first of them among the layer's heads; rank + group <= max_heads
            "accumulate": 1,  # add to the importance of the keys' positions and of the heads
            "num_rows": 16,  # rows of the K and V planes, n…max_tokens
            "causal": 1,  # query q attends the first n - num_queries + q + 1 keys
            "generation": 1,  # one query; only the survivors' V rows are fetched
            "list": 2,  # 0: key p is row p; 1: ids follow on the ids stream; 2: those of the last job with 1
            "skew": 8,  # row r of each plane lies in channel (r + skew) mod C; below C. A layer adds its K/V head
            "pair": 2,  # generation: K rows of this job (1) and of the next (2) lie together, 2·D elements a row
            "value_keep": 16,  # V rows kept per query, 1…n
            "query_base": config.address_width,  # word address of the plane in every channel
            "key_base": config.address_width,
            "key_lsb_base": config.address_width,
            "value_base": config.address_width,
            "query_bits": 5,
            "key_bits": 5,  # of the MSB plane
            "key_lsb_bits": 3,  # 0: static, 4: progressive
            "value_bits": 5,
            "scale": N.SCALE_WIDTH,  # at least 1
            "shift": N.SHIFT_WIDTH,  # at least 1
            "flat_limit": config.sum_width,  # 2**16 / threshold; progressive jobs only
        }
    )


def job_id_entry(config: Config) -> S:
    """Ids of a job's list, strictly ascending, below num_rows, with their importance so far; lanes ids but the last."""
    return S(
        {
            "ids": A(16, config.lanes),
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
            "num_heads": 8,  # entries on the heads stream; 0: selection of tokens only
            "query_stride": stride,  # words from the planes of a K/V head to those of the next
            "key_stride": stride,
            "key_lsb_stride": stride,
            "value_stride": stride,
            "select": 1,  # select tokens and heads when all jobs are done
            "token_keep": 16,  # tokens that survive, 1…; n and more: all
            "head_keep": 8,  # heads that survive, 1…; num_heads and more: all
            "pin_first": 16,  # the first so many keys, and the last, survive before all others
            "pin_last": 16,
            "decay": 5,  # importance -= importance >> decay at the selection; 0: not
        }
    )


def head_entry(config: Config) -> S:
    """A surviving query head of a layer; K/V heads ascend. The Q plane of a K/V head has the survivors' rows only."""
    return S(
        {
            "head": 8,  # its number, returned with the survivors
            "kv_head": 8,
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
            "job_id": 16,  # of the layer
            "token": 1,  # 0: a head, 1: a token
            "id": 16,  # number of the head, id of the token
            "importance": N.IMPORTANCE_WIDTH,  # after this layer (and decay)
            "keep": 1,
            "last": 1,  # the selection ends
        }
    )


def select_command(config: Config) -> S:
    """From the layer walker to the cascade selection."""
    return S(
        {
            "job_id": 16,
            "num_tokens": config.count_width,  # n, 1…max_tokens
            "num_heads": bits_for_count(config.max_heads),
            "token_keep": config.count_width,  # 1…n
            "head_keep": bits_for_count(config.max_heads),  # 1…num_heads, 0 if there are none
            "pin_first": config.count_width,
            "pin_last": config.count_width,
            "decay": 5,
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
    11: "job is not the partner of the pair, or cannot be one",
}
"""Codes on the status stream: 0 when all results of a job are out, else the job was refused and left no trace."""

OK, BAD_DIM, BAD_COUNT, BAD_KEEP, BAD_WIDTH, BAD_WINDOW, BAD_IDS, BAD_CAPACITY, BAD_SCALE = range(9)
BAD_HEADS, BAD_SELECT, BAD_PAIR = range(9, 12)


def job_status(config: Config) -> S:
    return S({"job_id": 16, "code": 4})


def job_output(config: Config) -> S:
    """norm_lanes output elements of a query, in order; elements beyond D are 0."""
    return S(
        {
            "job_id": 16,
            "head": 8,  # of the job
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
            "job_id": 16,
            "head": 8,
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


# Controller ----------------------------------------------------------------------------------------------------


def job_record(config: Config) -> S:
    """A checked job with derived values, as the controller's context table keeps it."""
    return S(
        {
            "job_id": 16,
            "layer": 1,  # one of a layer's jobs: its completion is told to the layer walker, not to the host
            "head": 8,
            "accumulate": 1,
            "dim": 8,
            "log_slices": 3,
            "num_keys": config.count_width,
            "num_queries": config.count_width,  # of each query head
            "rows": config.count_width,  # group * num_queries
            "causal": 1,
            "generation": 1,
            "pack": 1,  # lines may cross from one query to the next
            "repeat": lane_count(config),  # keys stored again behind the last (pack)
            "listed": 1,
            "list": 1,  # which id list
            "skew": config.channel_bits,
            "pair": 2,
            "value_keep": config.count_width,
            "query_base": config.address_width,
            "key_base": config.address_width,
            "key_lsb_base": config.address_width,
            "value_base": config.address_width,
            "query_bits": 5,
            "key_bits": 5,
            "progressive": 1,  # K has an LSB plane
            "value_bits": 5,
            "scale": N.SCALE_WIDTH,
            "shift": N.SHIFT_WIDTH,
            "flat_limit": config.sum_width,
        }
    )
