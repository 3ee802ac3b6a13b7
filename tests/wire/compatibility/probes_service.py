"""Probes of what is asked of the service rather than of the model, and of unknown parameters."""

from ailb_server.domain.chat import Json
from tests.wire.compatibility.probe import Expected, Meant, Own, Probe, Refused, Sent, ignored


def _nowhere(name: str, value: str, sample: Json) -> Probe:
    """Without a counterpart but with OpenAI."""
    return Probe(f"`{name}`", value, {name: sample}, anthropic=ignored(name), ollama=ignored(name))


def _refused(name: str, value: str, sample: Json) -> Probe:
    """Without it the answer would be another one."""
    return Probe(f"`{name}`", value, {name: sample}, anthropic=Refused(name), ollama=Refused(name))


def _tier(tier: str, anthropic: Expected) -> Probe:
    return Probe(
        "`service_tier`",
        f"`{tier}`",
        {"service_tier": tier},
        anthropic,
        ollama=ignored("service_tier"),
    )


_UNTIERED = ignored("service_tier")
_PLACE = {
    "type": "approximate",
    "approximate": {
        "city": "Berlin",
        "country": "DE",
        "region": "Berlin",
        "timezone": "Europe/Berlin",
    },
}
_POLICY = {"input": {"mode": "block"}, "output": {"mode": "score"}}
_CUSTOM_VOICE = {"modalities": ["text"], "audio": {"voice": {"id": "voice_1"}, "format": "wav"}}

SERVICE = (
    Probe(
        "`user`",
        "a string",
        {"user": "ann"},
        anthropic=Sent({"metadata.user_id": "ann"}),
        ollama=ignored("user"),
    ),
    Probe(
        "`safety_identifier`",
        "a string",
        {"safety_identifier": "a1"},
        anthropic=Sent({"metadata.user_id": "a1"}),
        ollama=ignored("safety_identifier"),
    ),
    Probe(
        "`safety_identifier`",
        "beside `user`",
        {"safety_identifier": "a1"},
        anthropic=ignored("safety_identifier", note="`user` is what is sent"),
        ollama=ignored("safety_identifier"),
        beside={"user": "ann"},
    ),
    _nowhere("metadata", "a map", {"team": "search"}),
    _nowhere("store", "true", sample=True),
    Probe("`store`", "false", {"store": False}, anthropic=Meant(), ollama=Meant()),
    _tier("auto", Sent({"service_tier": "auto"})),
    _tier("default", Sent({"service_tier": "standard_only"}, note="`standard_only`")),
    _tier("priority", Sent({"service_tier": "auto"}, note="`auto`")),
    _tier("flex", _UNTIERED),
    _tier("scale", _UNTIERED),
    _tier("fast", _UNTIERED),
    _nowhere("prompt_cache_key", "a string", "k"),
    _nowhere("prompt_cache_options", "an object", {"mode": "explicit", "ttl": "30m"}),
    _nowhere("prompt_cache_retention", "`in_memory`", "in_memory"),
    _nowhere("prompt_cache_retention", "`24h`", "24h"),
    _nowhere("prediction", "a string", {"type": "content", "content": "x = 1"}),
    _nowhere(
        "prediction",
        "parts",
        {"type": "content", "content": [{"type": "text", "text": "x = 1"}]},
    ),
    _refused("moderation", "an object", {"model": "omni", "policy": _POLICY}),
    _refused(
        "web_search_options",
        "an object",
        {"search_context_size": "low", "user_location": _PLACE},
    ),
)

MODALITIES = (
    Probe("`modalities`", '`["text"]`', {"modalities": ["text"]}, Meant(), Meant()),
    Probe(
        "`modalities`",
        "with `audio`",
        {"modalities": ["text", "audio"]},
        anthropic=Refused("modalities"),
        ollama=Refused("modalities"),
        beside={"modalities": ["text"]},
    ),
    _refused("audio", "an object", {"voice": "alloy", "format": "wav"}),
    Probe(
        "`audio`",
        "a voice of one's own",
        _CUSTOM_VOICE,
        anthropic=Refused("audio"),
        ollama=Refused("audio"),
    ),
)


def _native(name: str, sample: Json, anthropic: Expected, ollama: Expected) -> Probe:
    return Probe(f"`{name}`", "the provider's own", {name: sample}, anthropic, ollama)


def _of_anthropic(name: str, sample: Json) -> Probe:
    return _native(name, sample, Sent({name: sample}), ignored(name))


def _of_ollama(name: str, sample: Json, at: str) -> Probe:
    return _native(name, sample, ignored(name), Sent({at: sample}))


NATIVE = (
    _of_anthropic("thinking", {"type": "enabled", "budget_tokens": 2048}),
    _of_anthropic("cache_control", {"type": "ephemeral"}),
    _of_anthropic("inference_geo", "eu"),
    _of_anthropic("speed", "fast"),
    _of_ollama("num_ctx", 4096, "options.num_ctx"),
    _of_ollama("keep_alive", "10m", "keep_alive"),
    _of_ollama("top_k", 40, "options.top_k"),
    _of_ollama("min_p", 0.1, "options.min_p"),
    _of_ollama("repeat_penalty", 1.1, "options.repeat_penalty"),
)


def _own(name: str, sample: Json) -> Probe:
    return Probe(f"`{name}`", "AILB's own", {name: sample}, Own(), Own(), openai=Own())


OURS = (
    _own("session_id", "s1"),
    _own("rag_collection", "handbook"),
    _own("rag_top_k", 3),
    _own("rag_filter", {"year": 2026}),
    _own("rag_min_score", 0.5),
)

UNKNOWN = (
    _nowhere("x_unknown", "any other parameter", {"a": [1, None]}),
    _nowhere("x_unknown", "zero", 0),
    _nowhere("x_unknown", "false, which may turn something off", sample=False),
    Probe(
        "`x_unknown`",
        "null",
        {"x_unknown": None},
        Meant("asks for nothing"),
        Meant("asks for nothing"),
    ),
)
