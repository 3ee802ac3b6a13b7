// A streamed chat: server-sent events, read as they come.

import { ApiError, refusal, send } from "./api.js";

/**
 * Sends a chat and yields what happens: `{type: "headers", headers, status}` first, then
 * `{type: "event", data}` for each event's JSON. Rejects with ApiError, for an error within the
 * stream too, and with AbortError once `signal` says so.
 */
export async function* chat(body, signal) {
  const response = await send("v1/chat/completions", { method: "POST", body, signal });
  yield { type: "headers", headers: response.headers, status: response.status };
  if (!response.ok) throw await refusal(response);
  let done = false;
  for await (const data of events(response.body)) {
    if (data === "[DONE]") {
      done = true;
      continue;
    }
    const told = JSON.parse(data);
    if (told.error) throw failed(told.error, response.headers);
    yield { type: "event", data: told };
  }
  if (!done) throw new ApiError(0, "The stream broke off before its end.");
}

/** The data of each event of a stream, by https://html.spec.whatwg.org/multipage/server-sent-events.html. */
export async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
        else if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function failed(error, headers) {
  return new ApiError(0, error.message ?? "The stream ended with an error.", {
    code: error.code ?? error.type,
    requestId: headers.get("x-request-id"),
  });
}
