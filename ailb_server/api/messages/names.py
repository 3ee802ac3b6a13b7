"""What the enums are called in OpenAI's JSON."""

from collections.abc import Mapping

from ailb.v1 import chat_pb2 as pb

ROLES: Mapping[pb.Role.ValueType, str] = {
    pb.ROLE_DEVELOPER: "developer",
    pb.ROLE_SYSTEM: "system",
    pb.ROLE_USER: "user",
    pb.ROLE_ASSISTANT: "assistant",
    pb.ROLE_TOOL: "tool",
}
ROLES_BY_NAME: Mapping[str, pb.Role.ValueType] = {name: role for role, name in ROLES.items()}

DETAILS: Mapping[pb.ImageDetail.ValueType, str] = {
    pb.IMAGE_DETAIL_AUTO: "auto",
    pb.IMAGE_DETAIL_LOW: "low",
    pb.IMAGE_DETAIL_HIGH: "high",
}
DETAILS_BY_NAME: Mapping[str, pb.ImageDetail.ValueType] = {
    name: detail for detail, name in DETAILS.items()
}

EFFORTS: Mapping[pb.ReasoningEffort.ValueType, str] = {
    pb.REASONING_EFFORT_NONE: "none",
    pb.REASONING_EFFORT_MINIMAL: "minimal",
    pb.REASONING_EFFORT_LOW: "low",
    pb.REASONING_EFFORT_MEDIUM: "medium",
    pb.REASONING_EFFORT_HIGH: "high",
    pb.REASONING_EFFORT_XHIGH: "xhigh",
    pb.REASONING_EFFORT_MAX: "max",
}

TOOL_CHOICES: Mapping[pb.ToolChoiceMode.ValueType, str] = {
    pb.TOOL_CHOICE_MODE_NONE: "none",
    pb.TOOL_CHOICE_MODE_AUTO: "auto",
    pb.TOOL_CHOICE_MODE_REQUIRED: "required",
}

FORMATS: Mapping[pb.ResponseFormatMode.ValueType, str] = {
    pb.RESPONSE_FORMAT_MODE_TEXT: "text",
    pb.RESPONSE_FORMAT_MODE_JSON_OBJECT: "json_object",
}

FINISH_REASONS: Mapping[str, pb.FinishReason.ValueType] = {
    "stop": pb.FINISH_REASON_STOP,
    "length": pb.FINISH_REASON_LENGTH,
    "tool_calls": pb.FINISH_REASON_TOOL_CALLS,
    # What tool_calls was called before there were tools.
    "function_call": pb.FINISH_REASON_TOOL_CALLS,
    "content_filter": pb.FINISH_REASON_CONTENT_FILTER,
}
