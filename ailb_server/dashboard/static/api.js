// AILB's own REST API, by the key that was entered. The key is in this tab's session storage and in
// the header of requests to this origin, nowhere else: not in an address, not in a cookie.

const KEY = "ailb-key";
// One level above this file: right behind any prefix that a proxy in front may add.
const BASE = new URL("..", import.meta.url);

/** A refusal. `status` is 0 if there was no answer at all. */
export class ApiError extends Error {
  constructor(status, message, details = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = details.code ?? "";
    this.requestId = details.requestId ?? "";
    this.retryAfter = details.retryAfter ?? "";
  }

  /** Whether another key might help. */
  get isForKey() {
    return this.status === 401 || this.status === 403;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** Sends a request. `query` members that are arrays are repeated. Rejects with ApiError. */
export async function send(
  path,
  { method = "GET", query = {}, body, signal, secret = key.get() } = {},
) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat())
      if (one !== "" && one !== undefined) url.searchParams.append(name, one);
  }
  const headers = { accept: "application/json" };
  if (secret) headers.authorization = `Bearer ${secret}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const options = {
    method,
    headers,
    signal,
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
  };
  try {
    return await fetch(
      url,
      body === undefined ? options : { ...options, body: JSON.stringify(body) },
    );
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(
      0,
      "The gateway does not answer. It may be restarting, or the network is away.",
    );
  }
}

/** The JSON of a path. Rejects with ApiError. */
export async function get(path, options = {}) {
  const response = await send(path, options);
  if (!response.ok) throw await refusal(response);
  return response.json();
}

/** Health answers 503 with the same report while an instance serves no chats. */
export async function getHealth(options = {}) {
  const response = await send("healthz", options);
  const report = await response.json().catch(() => null);
  if (report?.state) return report;
  throw new ApiError(
    response.status,
    report?.error?.message ?? "The gateway's health is not known.",
  );
}

/** What a response that is no success tells. */
export async function refusal(response) {
  const told = (await response.json().catch(() => null))?.error ?? {};
  return new ApiError(response.status, told.message ?? `The gateway answered ${response.status}.`, {
    code: told.code ?? told.type,
    requestId: response.headers.get("x-request-id"),
    retryAfter: response.headers.get("retry-after"),
  });
}
