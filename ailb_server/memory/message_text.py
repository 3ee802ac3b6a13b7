"""What a message of OpenAI's shape says, as text that Postgres takes."""

import re
from collections.abc import Mapping

from ailb_server.domain.chat import Json, JsonObject

MAX_TEXT_BYTES = 256 * 1024
_MAX_ARGUMENTS = 64 * 1024
_MAX_CALLS = 64
_MAX_NAME = 256
# Valid JSON, because a provider parses it when the call is recalled.
_TOO_LONG = '{"ailb": "arguments too long to be kept"}'
_PART_TYPE = re.compile(r"[a-z_]{1,32}")
_MEDIA = {
    "image_url": "[image]",
    "input_image": "[image]",
    "image": "[image]",
    "input_audio": "[audio]",
}


def clean(text: str) -> str:
    """Without NUL, which Postgres refuses, and without lone surrogates, which no encoding has."""
    if text.isascii():
        return text.replace("\0", "")
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.replace("\0", "")


def kept(text: str) -> str:
    """As much of a clean text as is stored; what is cut is said."""
    # No character takes more than four bytes.
    if len(text) * 4 <= MAX_TEXT_BYTES:
        return text
    data = text.encode()
    if len(data) <= MAX_TEXT_BYTES:
        return text
    cut = len(data) - MAX_TEXT_BYTES
    begin = data[:MAX_TEXT_BYTES].decode(errors="ignore")
    return f"{begin}\n[cut here: {cut} bytes more]"


def text_of(message: JsonObject) -> str:
    """Its words, clean: text parts joined by newlines, other parts as placeholders."""
    content = message.get("content")
    if isinstance(content, str):
        said = content
    elif isinstance(content, list):
        said = "\n".join(_part(part) for part in content)
    else:
        said = _instead(message)
    return clean(said)


def _instead(message: JsonObject) -> str:
    """What a message without content says: a refusal, or what an audio answer's words are."""
    refusal, audio = message.get("refusal"), message.get("audio")
    if isinstance(refusal, str):
        return refusal
    transcript = audio.get("transcript") if isinstance(audio, Mapping) else None
    return transcript if isinstance(transcript, str) else ""


def _part(part: Json) -> str:
    if not isinstance(part, dict):
        return ""
    kind = part.get("type")
    for name in ("text", "refusal"):
        if kind == name and isinstance(part.get(name), str):
            return str(part[name])
    if not isinstance(kind, str):
        return "[part]"
    if kind == "file":
        return _file(part.get("file"))
    return _MEDIA.get(kind) or (f"[{kind}]" if _PART_TYPE.fullmatch(kind) else "[part]")


def _file(file: Json) -> str:
    name = file.get("filename") if isinstance(file, dict) else None
    return f"[file: {name[:_MAX_NAME]}]" if isinstance(name, str) and name else "[file]"


def beside_text(message: JsonObject) -> JsonObject | None:
    """What a recall needs to write the message again: tool calls, a call's id, a name."""
    told: JsonObject = {}
    for name in ("name", "tool_call_id"):
        value = message.get(name)
        if isinstance(value, str) and value:
            told[name] = clean(value)[:_MAX_NAME]
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        written = [_call(call) for call in calls[:_MAX_CALLS] if isinstance(call, dict)]
        if written:
            told["tool_calls"] = written
    return told or None


def _call(call: JsonObject) -> JsonObject:
    """A function's call or a custom tool's; of any other kind, its id and type."""
    written: JsonObject = {"id": _name(call.get("id")), "type": _name(call.get("type", "function"))}
    for kind, argument in (("function", "arguments"), ("custom", "input")):
        told = call.get(kind)
        if isinstance(told, dict):
            written[kind] = {
                "name": _name(told.get("name")),
                argument: _arguments(told.get(argument)),
            }
    return written


def _name(value: Json) -> str:
    return clean(value)[:_MAX_NAME] if isinstance(value, str) else ""


def _arguments(value: Json) -> str:
    text = clean(value) if isinstance(value, str) else "{}"
    return text if len(text) <= _MAX_ARGUMENTS else _TOO_LONG
