"""Which of a session's turns a request repeats."""

from collections.abc import Sequence
from difflib import SequenceMatcher

from ailb_server.domain.turn import NewExchange, NewTurn

# Beyond it the work could grow with the square of the request.
_MAX_ALIGNED = 200


def aligned(stored: Sequence[int], sent: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of positions in `stored` and `sent` with equal fingerprints, both in rising order.

    The newest run that both end with is taken first: that is all, for a client that sends its
    whole history. Before it, longer runs win. Only the newest 200 of each are compared.
    """
    tail: list[tuple[int, int]] = []
    i, j = len(stored), len(sent)
    while i and j and stored[i - 1] == sent[j - 1]:
        i, j = i - 1, j - 1
        tail.append((i, j))
    tail.reverse()
    low_i, low_j = max(0, i - _MAX_ALIGNED), max(0, j - _MAX_ALIGNED)
    matcher = SequenceMatcher(None, stored[low_i:i], sent[low_j:j], autojunk=False)
    head = [
        (low_i + block.a + k, low_j + block.b + k)
        for block in matcher.get_matching_blocks()
        for k in range(block.size)
    ]
    return head + tail


def unknown(exchange: NewExchange, stored: Sequence[int]) -> Sequence[NewTurn]:
    """What of the exchange's history comes after all that is stored: all of it, if nothing is.

    `stored` are the fingerprints of the session's last turns. What was never stored and stands
    before something that was has no place any more, and is left out.
    """
    pairs = aligned(stored, [turn.fingerprint for turn in exchange.history])
    return exchange.history[pairs[-1][1] + 1 if pairs else 0 :]
