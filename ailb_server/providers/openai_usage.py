"""Tokens, as OpenAI's format tells them. Pure."""

from ailb_server.domain.chat import Json, TokenUsage


def usage_of(usage: Json) -> TokenUsage | None:
    """The tokens of OpenAI's usage object; None if there is no such object."""
    if not isinstance(usage, dict):
        return None
    prompt_details = usage.get("prompt_tokens_details")
    completion_details = usage.get("completion_tokens_details")
    return TokenUsage(
        prompt=count_of(usage, "prompt_tokens"),
        completion=count_of(usage, "completion_tokens"),
        cached=count_of(prompt_details, "cached_tokens"),
        cache_write=count_of(prompt_details, "cache_write_tokens"),
        reasoning=count_of(completion_details, "reasoning_tokens"),
    )


def count_of(values: Json, name: str) -> int:
    """A member that counts; 0 if it does not."""
    value = values.get(name) if isinstance(values, dict) else None
    if type(value) is int:
        return max(0, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return max(0, int(value))
