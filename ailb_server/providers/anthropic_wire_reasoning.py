"""`reasoning_effort` as Anthropic's effort and thinking. Pure.

Source: anthropic 2.11 `types/thinking_config_*_param.py`, `types/output_config_param.py`,
`types/thinking_types.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.request_fields import text_at, unable
from ailb_server.providers.anthropic_wire_models import EFFORTS, ModelFacts

MIN_BUDGET = 1024
# What models that think only within a budget get for an effort.
_BUDGETS = {"low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_768, "max": 65_536}


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The members to send: of the request, and of its `output_config`."""

    thinking: JsonObject = field(default_factory=dict)
    output_config: JsonObject = field(default_factory=dict)


def reasoning(
    asked: Mapping[str, Json],
    facts: ModelFacts,
    *,
    max_tokens: int,
    may_think: bool,
    ignored: set[str],
) -> Reasoning:
    """What `reasoning_effort` asks of this model; the caller's own `thinking` wins.

    `may_think`: the API takes no thinking together with a tool that must be called. Raises
    InvalidRequestError.
    """
    wanted = asked.get("reasoning_effort")
    own = asked.get("thinking") is not None
    if wanted is None:
        return Reasoning()
    if text_at(wanted, "reasoning_effort") == "none":
        if not own and "disabled" in facts.thinking:
            return Reasoning({"thinking": {"type": "disabled"}})
        ignored.add("reasoning_effort")
        return Reasoning()
    wanted = "low" if wanted == "minimal" else wanted
    if wanted not in EFFORTS:
        raise unable("reasoning_effort", "is not an effort that this provider knows")
    effort = _nearest(wanted, facts.efforts)
    thinking = None
    if may_think and not own:
        thinking = _thinking(wanted, facts, asked["messages"], max_tokens)
    if effort is None and thinking is None:
        ignored.add("reasoning_effort")
    return Reasoning(
        {"thinking": thinking} if thinking else {}, {"effort": effort} if effort else {}
    )


def _nearest(wanted: str, efforts: frozenset[str]) -> str | None:
    """The strongest effort the model has up to the one wanted, else its weakest."""
    had = [effort for effort in EFFORTS if effort in efforts]
    within = [effort for effort in had if EFFORTS.index(effort) <= EFFORTS.index(wanted)]
    return next(iter(within[-1:] or had[:1]), None)


def _thinking(
    effort: str, facts: ModelFacts, messages: list[JsonObject], max_tokens: int
) -> JsonObject | None:
    if "adaptive" in facts.thinking:
        return {"type": "adaptive"}
    budget = min(_BUDGETS[effort], max_tokens - 1)
    if "enabled" not in facts.thinking or budget < MIN_BUDGET or _forgot_thinking(messages):
        return None
    return {"type": "enabled", "budget_tokens": budget}


def _forgot_thinking(messages: list[JsonObject]) -> bool:
    """Whether the last turn called tools without its thoughts: with a budget that is a 400."""
    turns = [message for message in messages if message.get("role") == "assistant"]
    last = turns[-1] if turns else {}
    return bool(last.get("tool_calls")) and not last.get("thinking_blocks")
