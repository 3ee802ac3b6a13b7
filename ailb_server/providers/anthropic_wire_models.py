"""Anthropic's model listing: what a model takes. Pure.

Source: anthropic 2.11 `types/model_info.py`, `types/model_capabilities.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ailb_server.domain.chat import Json, JsonObject

# Weakest first.
EFFORTS = ("low", "medium", "high", "xhigh", "max")
_THINKING = ("adaptive", "disabled", "enabled")
# System messages amid a conversation came with Claude Opus 4.8, and a listing does not tell them:
# platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages.
_SYSTEM_AMID_SINCE = "2026-05-01"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model takes; the defaults are for a model that no listing has told of.

    `max_tokens` is the most that it answers. `thinking` are the values of `thinking.type`, and
    `efforts` those of `output_config.effort`, that it accepts. `system_amid`: system messages may
    stand amid the conversation.
    """

    max_tokens: int | None = None
    thinking: frozenset[str] = frozenset({"adaptive"})
    efforts: frozenset[str] = frozenset({"low", "medium", "high"})
    structured_outputs: bool = True
    system_amid: bool = False


UNKNOWN = ModelFacts()


def models_of(page: Json) -> Iterator[tuple[str, ModelFacts]]:
    """The models of one page that answer, in its order. Raises TypeError if it is no page."""
    data = page.get("data") if isinstance(page, dict) else None
    if not isinstance(data, list):
        raise TypeError("the listing has no data")
    for model in data:
        if isinstance(model, dict) and model.get("lifecycle") != "retired":
            name = model.get("id")
            if name and isinstance(name, str):
                yield name, facts_of(model)


def next_page(page: JsonObject) -> str | None:
    """The `after_id` of the page that follows, or None."""
    last = page.get("last_id")
    return last if page.get("has_more") is True and isinstance(last, str) and last else None


def facts_of(model: JsonObject) -> ModelFacts:
    """The facts of one listed model; what it does not tell is as for an unknown one."""
    most, created = model.get("max_tokens"), model.get("created_at")
    capabilities = model.get("capabilities")
    told = capabilities if isinstance(capabilities, dict) else {}
    types = _member(told.get("thinking"), "types")
    efforts = told.get("effort")
    return ModelFacts(
        max_tokens=most if isinstance(most, int) and most > 0 else None,
        thinking=_supported(types, _THINKING) if types else UNKNOWN.thinking,
        efforts=_supported(efforts, EFFORTS) if efforts else UNKNOWN.efforts,
        structured_outputs=_member(told.get("structured_outputs"), "supported") is not False,
        system_amid=isinstance(created, str) and created >= _SYSTEM_AMID_SINCE,
    )


def _supported(capabilities: Json, names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(
        name for name in names if _member(_member(capabilities, name), "supported") is True
    )


def _member(values: Json, name: str) -> Json:
    return values.get(name) if isinstance(values, dict) else None
