"""Several rankings made one."""

from collections.abc import Iterable, Sequence

# Source: Cormack, Clarke, Büttcher, Reciprocal Rank Fusion outperforms Condorcet and individual
# Rank Learning Methods (SIGIR 2009): score(d) = Σ 1 / (k + rank of d), with k = 60.
K = 60


def fuse(rankings: Iterable[Sequence[int]]) -> dict[int, float]:
    """The score of each id that is in a ranking, the best first; equals by id.

    Each ranking has the best first, and no id twice.
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, id_ in enumerate(ranking, start=1):
            scores[id_] = scores.get(id_, 0.0) + 1.0 / (K + rank)
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0])))
