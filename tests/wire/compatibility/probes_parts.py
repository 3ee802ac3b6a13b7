"""Probes of the parts of a message's content."""

from ailb_server.domain.chat import JsonObject
from tests.wire.compatibility.probe import Expected, Probe, Refused, Sent, ignored
from tests.wire.compatibility.probes_messages import said

_PNG = "data:image/png;base64,iVBORw0KGgo="
_DATA = {"type": "image_url", "image_url": {"url": _PNG}}
_SOURCE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
_PDF = "data:application/pdf;base64,JVBERi0="
_DOCUMENT = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
_AUDIO = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
_TEXT = {"type": "text", "text": "hi"}
_FILE_REFUSED = Refused("messages[0].content[0].file")


def _user(*parts: JsonObject) -> JsonObject:
    return said({"role": "user", "content": list(parts)})


def _image(url: str) -> JsonObject:
    return {"type": "image_url", "image_url": {"url": url}}


def _file(**file: str) -> JsonObject:
    return {"type": "file", "file": file}


def _part(kind: str, value: str, part: JsonObject, *cells: Expected) -> Probe:
    anthropic, ollama = cells
    return Probe(f"part `{kind}`", value, _user(part), anthropic, ollama)


_NOT_JPEG = Refused("messages[0].content[0].image_url.url")
_NOT_FETCHED = Refused("messages[0].content[0].image_url", note="it fetches no images")

PARTS = (
    _part(
        "text",
        "one",
        {"type": "text", "text": "on"},
        Sent({"messages.0.content": "on"}),
        Sent({"messages.0.content": "on"}),
    ),
    Probe(
        "part `text`",
        "several",
        _user(_TEXT, {"type": "text", "text": "on"}),
        anthropic=Sent({"messages.0.content": [_TEXT, {"type": "text", "text": "on"}]}),
        ollama=Sent({"messages.0.content": "hi\non"}),
    ),
    _part(
        "image_url",
        "a data URL: PNG, JPEG, GIF, WebP",
        _DATA,
        Sent({"messages.0.content.0": {"type": "image", "source": _SOURCE}}),
        Sent({"messages.0.images": ["iVBORw0KGgo="]}),
    ),
    _part(
        "image_url",
        "a data URL of another type",
        _image("data:image/tiff;base64,SUkqAA=="),
        _NOT_JPEG,
        Sent({"messages.0.images": ["SUkqAA=="]}),
    ),
    _part(
        "image_url",
        "an http(s) URL",
        _image("https://example.com/a.png"),
        Sent({"messages.0.content.0.source": {"type": "url", "url": "https://example.com/a.png"}}),
        _NOT_FETCHED,
    ),
    *(
        Probe(
            "part `image_url`",
            f"`detail`: `{detail}`",
            _user({"type": "image_url", "image_url": {"url": _PNG, "detail": detail}}),
            anthropic=ignored("messages.content.image_url.detail"),
            ollama=ignored("messages.content.image_url.detail"),
            beside=_user(_DATA),
        )
        for detail in ("low", "high", "original")
    ),
    _part(
        "input_audio",
        "WAV, MP3",
        _AUDIO,
        Refused("messages[0].content[0].type"),
        Refused("messages[0].content[0].input_audio"),
    ),
    _part(
        "file",
        "a PDF as a data URL, with a name",
        _file(file_data=_PDF, filename="a.pdf"),
        Sent({"messages.0.content.0": {"type": "document", "source": _DOCUMENT, "title": "a.pdf"}}),
        _FILE_REFUSED,
    ),
    _part(
        "file",
        "another type as a data URL",
        _file(file_data="data:text/csv;base64,YSxi", filename="a.csv"),
        Refused("messages[0].content[0].file.file_data"),
        _FILE_REFUSED,
    ),
    _part(
        "file",
        "`file_id`",
        _file(file_id="file_1"),
        Sent(
            {"messages.0.content.0.source": {"type": "file", "file_id": "file_1"}},
            note="the provider's own id",
        ),
        _FILE_REFUSED,
    ),
    Probe(
        "part `refusal`",
        "of an assistant's message",
        said(
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": "on"},
        ),
        anthropic=Sent({"messages.1.content": "No."}),
        ollama=Sent({"messages.1.content": "No."}),
    ),
    _part(
        "video",
        "and any other type",
        {"type": "video", "video": {}},
        Refused("messages[0].content[0].type"),
        Refused("messages[0].content[0].type"),
    ),
)

_MARK = {"mode": "explicit", "ttl": "30m"}


def _marked(part: JsonObject) -> Probe:
    return Probe(
        "`prompt_cache_breakpoint`",
        f"of a part `{part['type']}`",
        _user({**part, "prompt_cache_breakpoint": _MARK}),
        anthropic=ignored("messages.content.prompt_cache_breakpoint"),
        ollama=ignored("messages.content.prompt_cache_breakpoint"),
        beside=_user(part),
    )


def _marked_and_refused(part: JsonObject, anthropic: Expected, ollama: Refused) -> Probe:
    marked = {**part, "prompt_cache_breakpoint": _MARK}
    return Probe(
        "`prompt_cache_breakpoint`",
        f"of a part `{part['type']}`",
        _user(marked),
        anthropic,
        ollama,
    )


CACHE_MARKS = (
    _marked(_TEXT),
    _marked(_DATA),
    _marked_and_refused(
        _file(file_data=_PDF),
        Sent(
            {"messages.0.content.0.source": _DOCUMENT},
            ("messages.content.prompt_cache_breakpoint",),
        ),
        _FILE_REFUSED,
    ),
    _marked_and_refused(
        _AUDIO,
        Refused("messages[0].content[0].type"),
        Refused("messages[0].content[0].input_audio"),
    ),
    Probe(
        "`cache_control` of a part",
        "Anthropic's",
        _user({**_TEXT, "cache_control": {"type": "ephemeral"}}),
        anthropic=Sent({"messages.0.content.0.cache_control": {"type": "ephemeral"}}),
        ollama=ignored("messages.content.cache_control"),
        beside=_user(_TEXT),
    ),
)
