"""Calls of AILB's REST face beside what is measured."""

import http.client
import json
from typing import Any

from benchmarks.programs import RunError

_TIMEOUT_S = 30.0


def call(port: int, method: str, path: str, body: object = None, *, key: str = "") -> Any:
    """The answer's JSON. Raises RunError if it is no 200."""
    headers = {"content-type": "application/json"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        content = None if body is None else json.dumps(body).encode()
        connection.request(method, path, content, headers)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise RunError(f"{method} {path}: {answer.status}: {text[:300]!r}")
    return json.loads(text)
