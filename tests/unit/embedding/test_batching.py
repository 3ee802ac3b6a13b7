"""Batches are bounded, keep the order, let queries go first and do not let bulk starve."""

from hypothesis import given
from hypothesis import strategies as st

from ailb_server.embedding.batching import BatchQueue, BatchRules, Waiting
from ailb_server.embedding.frames import Ask

RULES = BatchRules()


def queue(queries: list[int], bulk: list[int]) -> BatchQueue:
    """With texts of so many tokens; bulk's ids begin at 1,000."""
    made = BatchQueue()
    for first, lane, sizes in ((0, Ask.QUERY, queries), (1000, Ask.BULK, bulk)):
        for index, tokens in enumerate(sizes):
            made.add(Waiting(first + index, "t", tokens), lane)
    return made


def taken(made: BatchQueue) -> list[list[Waiting]]:
    batches = []
    while made:
        batches.append(made.take())
    return batches


SIZES = st.lists(st.integers(min_value=1, max_value=600), max_size=60)


@given(queries=SIZES, bulk=SIZES)
def test_every_text_comes_once_in_bounded_batches_in_order(
    queries: list[int], bulk: list[int]
) -> None:
    batches = taken(queue(queries, bulk))
    ids = [item.id for batch in batches for item in batch]
    assert sorted(ids) == [*range(len(queries)), *range(1000, 1000 + len(bulk))]
    for lane in (range(1000), range(1000, 2000)):
        mine = [i for i in ids if i in lane]
        assert mine == sorted(mine)
    for batch in batches:
        assert 1 <= len(batch) <= RULES.texts
        assert len({item.id >= 1000 for item in batch}) == 1
        cost = len(batch) * max(item.tokens for item in batch)
        limit = RULES.bulk_tokens if batch[0].id >= 1000 else RULES.query_tokens
        assert len(batch) == 1 or cost <= limit


def test_a_batch_takes_all_that_fits() -> None:
    assert [len(b) for b in taken(queue([8] * 20, []))] == [16, 4]
    assert [len(b) for b in taken(queue([256] * 9, []))] == [8, 1]
    assert [len(b) for b in taken(queue([], [200] * 5))] == [2, 2, 1]


def test_a_text_larger_than_a_batch_comes_alone() -> None:
    assert [len(b) for b in taken(queue([5000, 8, 8], []))] == [1, 2]


def test_queries_go_before_bulk() -> None:
    made = queue([8, 8], [8] * 40)
    assert [item.id for item in made.take()] == [0, 1]


def test_bulk_gets_its_share_while_queries_keep_coming() -> None:
    made = queue([], [8] * 64)
    lanes = []
    for number in range(32):
        made.add(Waiting(number, "t", 8), Ask.QUERY)
        lanes.append("bulk" if made.take()[0].id >= 1000 else "query")
    assert lanes.count("bulk") == 32 // RULES.bulk_every


def test_what_is_dropped_never_comes() -> None:
    made = queue([8, 8], [8])
    assert made.drop(0)
    assert made.drop(1000)
    assert not made.drop(1000)
    assert [item.id for batch in taken(made) for item in batch] == [1]
    assert made.take() == []
