"""What routing needs to know of a request; each fact is worked out when it is first asked for."""

from functools import cached_property

from ailb_server.domain.chat import ChatRequest, Json, Operation

_BYTES_PER_TOKEN = 4
# About what providers charge for an image of ordinary size.
_IMAGE_TOKENS = 1000
_IMAGE_PARTS = frozenset({"image_url", "image", "input_image"})
MAX_OUTPUT_TOKENS = 16_384


class RequestFacts:
    """Facts of one request at one time, `now` in seconds of a monotonic clock.

    Tokens are estimated from lengths alone: no text and no image is ever read for it.
    """

    def __init__(self, request: ChatRequest, now: float) -> None:
        self._request = request
        self.now = now
        self.stream = request.stream

    @cached_property
    def prompt_tokens(self) -> int:
        """A quarter of the body's bytes, where an image counts by number, not by its bytes."""
        images = self._images
        text = len(self._request.body) - sum(images)
        return max(1, text // _BYTES_PER_TOKEN) + _IMAGE_TOKENS * len(images)

    @cached_property
    def max_output_tokens(self) -> int:
        """What the caller allows, all choices together, at most MAX_OUTPUT_TOKENS for each.

        An embedding has no output in tokens: 0.
        """
        if self._request.operation is Operation.EMBEDDING:
            return 0
        fields = self._request.fields
        told = _positive(fields.get("max_completion_tokens")) or _positive(fields.get("max_tokens"))
        return min(told or MAX_OUTPUT_TOKENS, MAX_OUTPUT_TOKENS) * self.choices

    @cached_property
    def choices(self) -> int:
        """How many answers are asked for."""
        return _positive(self._request.fields.get("n")) or 1

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """The names of the capabilities (fields of `Capabilities`) that a target must have."""
        fields = self._request.fields
        form = fields.get("response_format")
        schema = isinstance(form, dict) and form.get("type") == "json_schema"
        wanted = {"vision": self._images, "tools": fields.get("tools"), "json_schema": schema}
        return tuple(name for name, asked in wanted.items() if asked)

    @cached_property
    def _images(self) -> list[int]:
        """The length of each image's URL: of all its data, if that is within it."""
        return [
            _url_length(part)
            for message in self._request.fields.get("messages") or ()
            if isinstance(message, dict) and isinstance(message.get("content"), list)
            for part in message["content"]
            if isinstance(part, dict) and part.get("type") in _IMAGE_PARTS
        ]


def _url_length(part: dict[str, Json]) -> int:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    return len(url) if isinstance(url, str) else 0


def _positive(value: Json) -> int:
    return value if isinstance(value, int) and value > 0 else 0
