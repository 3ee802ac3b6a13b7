"""Probes of sampling, limits, reasoning and what is told besides the text."""

from ailb_server.domain.chat import Json
from ailb_server.providers.anthropic_wire_models import ModelFacts
from tests.wire.compatibility.probe import Meant, Probe, Refused, Sent, ignored

_NO_SAMPLING = "the Messages API takes no sampling parameters"


def _option(name: str, value: str, sample: Json) -> Probe:
    return Probe(
        f"`{name}`",
        value,
        {name: sample},
        anthropic=ignored(name, note=_NO_SAMPLING if name in ("temperature", "top_p") else ""),
        ollama=Sent({f"options.{name}": sample}),
    )


SAMPLING = (
    _option("temperature", "0 to 2", 0.5),
    _option("top_p", "0 to 1", 0.9),
    _option("presence_penalty", "-2 to 2", -0.5),
    _option("frequency_penalty", "-2 to 2", 1.5),
    _option("seed", "an integer", 7),
    Probe(
        "`logit_bias`",
        "a map",
        {"logit_bias": {"50256": -100}},
        anthropic=ignored("logit_bias"),
        ollama=ignored("logit_bias"),
    ),
    Probe("`n`", "1", {"n": 1}, anthropic=Meant(), ollama=Meant()),
    Probe("`n`", "more than 1", {"n": 2}, anthropic=Refused("n"), ollama=Refused("n")),
)

_OTHER_WINS = "the value of `max_completion_tokens`"
_BOTH = {"max_tokens": 5, "max_completion_tokens": 9}

LIMITS = (
    Probe(
        "`max_completion_tokens`",
        "an integer",
        {"max_completion_tokens": 9},
        anthropic=Sent({"max_tokens": 9}),
        ollama=Sent({"options.num_predict": 9}),
    ),
    Probe(
        "`max_tokens`",
        "an integer",
        {"max_tokens": 9},
        anthropic=Sent({"max_tokens": 9}),
        ollama=Sent({"options.num_predict": 9}),
    ),
    Probe(
        "`max_tokens`",
        "beside `max_completion_tokens`",
        _BOTH,
        anthropic=Sent({"max_tokens": 9}, ("max_tokens",), _OTHER_WINS),
        ollama=Sent({"options.num_predict": 9}, ("max_tokens",), _OTHER_WINS),
    ),
    Probe(
        "`stop`",
        "a string",
        {"stop": "END"},
        anthropic=Sent({"stop_sequences": ["END"]}),
        ollama=Sent({"options.stop": ["END"]}),
    ),
    Probe(
        "`stop`",
        "an array",
        {"stop": ["A", "B"]},
        anthropic=Sent({"stop_sequences": ["A", "B"]}),
        ollama=Sent({"options.stop": ["A", "B"]}),
    ),
)


def _effort(asked: str, effort: str, think: Json) -> Probe:
    return Probe(
        "`reasoning_effort`",
        f"`{asked}`",
        {"reasoning_effort": asked},
        anthropic=Sent(
            {"thinking": {"type": "adaptive"}, "output_config.effort": effort},
            note=f"the effort is `{effort}`",
        ),
        ollama=Sent({"think": think}, note=f"`{think}`"),
    )


_NONE = {"reasoning_effort": "none"}

REASONING = (
    Probe(
        "`reasoning_effort`",
        "`none`",
        _NONE,
        anthropic=ignored("reasoning_effort"),
        ollama=Sent({"think": False}),
    ),
    Probe(
        "`reasoning_effort`",
        "`none`, of a model that is listed as able not to think",
        _NONE,
        anthropic=Sent({"thinking": {"type": "disabled"}}),
        ollama=Sent({"think": False}),
        facts=ModelFacts(thinking=frozenset({"adaptive", "disabled"})),
    ),
    _effort("minimal", "low", "low"),
    _effort("low", "low", "low"),
    _effort("medium", "medium", "medium"),
    _effort("high", "high", "high"),
    _effort("xhigh", "high", "max"),
    _effort("max", "high", "max"),
    Probe(
        "`reasoning_effort`",
        "`max`, of a model that is listed with it",
        {"reasoning_effort": "max"},
        anthropic=Sent(
            {"thinking": {"type": "adaptive"}, "output_config.effort": "max"},
            note="the effort is `max`",
        ),
        ollama=Sent({"think": "max"}),
        facts=ModelFacts(efforts=frozenset({"low", "high", "max"})),
    ),
    Probe(
        "`reasoning_effort`",
        "`high`, of a model that thinks within a budget",
        {"reasoning_effort": "high", "max_tokens": 64_000},
        anthropic=Sent({"thinking": {"type": "enabled", "budget_tokens": 16_384}}),
        ollama=Sent({"think": "high"}),
        beside={"max_tokens": 64_000},
        facts=ModelFacts(thinking=frozenset({"enabled"}), efforts=frozenset()),
    ),
    Probe(
        "`reasoning_effort`",
        "of another word",
        {"reasoning_effort": "heroic"},
        anthropic=Refused("reasoning_effort"),
        ollama=Refused("reasoning_effort"),
    ),
    *(
        Probe(
            "`verbosity`",
            f"`{how}`",
            {"verbosity": how},
            anthropic=ignored("verbosity"),
            ollama=ignored("verbosity"),
        )
        for how in ("low", "medium", "high")
    ),
)


TOLD = (
    Probe(
        "`logprobs`",
        "true",
        {"logprobs": True},
        anthropic=Refused("logprobs"),
        ollama=Sent({"logprobs": True}),
    ),
    Probe("`logprobs`", "false", {"logprobs": False}, Meant(), Meant()),
    Probe(
        "`top_logprobs`",
        "with `logprobs`",
        {"top_logprobs": 3, "logprobs": True},
        anthropic=Refused("logprobs"),
        ollama=Sent({"logprobs": True, "top_logprobs": 3}),
    ),
    Probe(
        "`stream`",
        "true",
        {"stream": True},
        openai=Sent({"stream_options": {"include_usage": True}}, note="usage is always metered"),
        anthropic=Sent({"stream": True}),
        ollama=Sent({"stream": True}),
    ),
    Probe("`stream`", "false", {"stream": False}, anthropic=Meant(), ollama=Sent()),
    Probe(
        "`stream_options`",
        "`include_usage`: true",
        {"stream_options": {"include_usage": True}},
        anthropic=Meant("AILB tells it from the answer"),
        ollama=Meant("AILB tells it from the answer"),
        beside={"stream": True},
    ),
    Probe(
        "`stream_options`",
        "`include_usage`: false",
        {"stream_options": {"include_usage": False}},
        openai=Meant("asked for all the same, and kept from the caller"),
        anthropic=Meant("AILB leaves it out of the answer"),
        ollama=Meant("AILB leaves it out of the answer"),
        beside={"stream": True},
    ),
    Probe(
        "`stream_options`",
        "`include_obfuscation`",
        {"stream_options": {"include_usage": True, "include_obfuscation": True}},
        anthropic=ignored("stream_options.include_obfuscation"),
        ollama=ignored("stream_options.include_obfuscation"),
        beside={"stream": True, "stream_options": {"include_usage": True}},
    ),
)
