"""Times as protobuf writes them."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(moment: datetime) -> Timestamp:
    """The moment, which has a time zone."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message
