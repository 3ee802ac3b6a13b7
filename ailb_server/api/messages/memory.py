"""Sessions and turns as `ailb.v1` messages."""

from datetime import timedelta

from ailb.v1 import memory_pb2 as pb
from ailb_server.api.messages.names import ROLES_BY_NAME
from ailb_server.api.messages.structs import struct_of
from ailb_server.api.messages.times import timestamp
from ailb_server.domain.memory_queries import Embedded, SessionRecord
from ailb_server.domain.turn import TurnRecord


def session_message(session: SessionRecord, ttl: timedelta) -> pb.Session:
    """A session; `ttl` is how long it stays after its last turn."""
    return pb.Session(
        id=session.session_id,
        user=session.end_user,
        turn_count=session.turn_count,
        created_at=timestamp(session.created_at),
        last_turn_at=timestamp(session.last_turn_at),
        expires_at=timestamp(session.last_turn_at + ttl),
    )


def turn_message(turn: TurnRecord) -> pb.Turn:
    """A turn, with the whole message if it is more than text."""
    message = None
    if turn.message:
        whole = {"role": turn.role.word, "content": turn.text or None, **turn.message}
        message = struct_of(whole)
    return pb.Turn(
        index=turn.turn,
        role=ROLES_BY_NAME[turn.role.word],
        text=turn.text,
        message=message,
        model=turn.model,
        provider=turn.provider,
        tokens=turn.tokens,
        finish_reason=turn.finish_reason,
        request_id=turn.request_id,
        created_at=timestamp(turn.created_at),
    )


def match_message(turn: TurnRecord, score: float) -> pb.TurnMatch:
    """A turn that a search found."""
    return pb.TurnMatch(session_id=turn.session_id, turn=turn_message(turn), score=score)


def progress_message(progress: Embedded) -> pb.ReindexProgress:
    """How far a re-embedding is."""
    return pb.ReindexProgress(done=progress.done, total=progress.total)
