from collections.abc import Mapping

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

class ErrorInfo(Message):
    reason: str
    domain: str
    metadata: Mapping[str, str]
    def __init__(
        self, *, reason: str = ..., domain: str = ..., metadata: Mapping[str, str] = ...
    ) -> None: ...

class RetryInfo(Message):
    retry_delay: Duration
    def __init__(self, *, retry_delay: Duration = ...) -> None: ...
