import re

from sim.reproduce import published


def test_quoted_numbers_name_their_place():
    values = [published.BERT_GFLOPS, published.GPT2_GFLOPS, published.BUFFER_KB]
    values += [*published.TOPK_GFLOPS.values(), *published.BREAKDOWN.values(), *published.TABLE3.values()]
    assert all(re.match(r"paper, (Fig\.|Table) ", quoted.source) for quoted in values)
