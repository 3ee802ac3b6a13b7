-- Gives every REST error the shape of its path: Anthropic's under /v1/messages, else OpenAI's. On
-- the success path it reads three headers.
--
-- The server tells what gRPC cannot, by metadata:
--   x-http-status  the HTTP status (initial metadata, or trailing if the call failed)
--   x-ailb-error   the JSON body of a failed typed call (trailing metadata)
-- A failed call without them is one that gRPC itself refused: status and body follow its code.

-- The statuses the transcoder makes of gRPC codes -> {status, type, code, message}. Without a
-- message the caller is at fault, and gRPC's own message tells why; a message of the server's
-- runtime may quote what the caller sent, so it is not passed on.
local REFUSALS = {
  ["400"] = {"400", "invalid_request_error", "null"},
  ["401"] = {"401", "invalid_request_error", '"invalid_api_key"'},
  ["403"] = {"403", "invalid_request_error", '"permission_denied"'},
  ["404"] = {"404", "invalid_request_error", '"not_found"'},
  ["409"] = {"409", "invalid_request_error", '"conflict"'},
  ["429"] = {"503", "server_error", '"overloaded"', "The server is busy. Try again."},
  ["499"] = {"503", "server_error", '"server_unavailable"', "The server stopped the call."},
  ["501"] = {"501", "server_error", '"not_implemented"', "The server does not implement this."},
  ["503"] = {"503", "server_error", '"server_unavailable"', "The server is not available."},
  ["504"] = {"504", "server_error", '"timeout"', "The server did not answer in time."},
}
local FAILURE = {"500", "server_error", '"internal_error"', "The server failed."}
-- Anthropic's types of the statuses above.
local ANTHROPIC_TYPES = {
  ["400"] = "invalid_request_error", ["401"] = "authentication_error", ["403"] = "permission_error",
  ["404"] = "not_found_error", ["409"] = "conflict_error", ["504"] = "timeout_error",
}
local OPENAI_JSON = '{"error": {"message": %s, "type": "%s", "param": null, "code": %s}}'
local ANTHROPIC_JSON = '{"type": "error", "error": {"type": "%s", "message": %s}}'

local function refusal(status, body, anthropic)
  local row = REFUSALS[status] or FAILURE
  local text = row[4] and '"' .. row[4] .. '"'
  -- The transcoder's body is {"code":N,"message":"...","details":[...]}: the string is JSON already.
  text = text or body:match('^{"code":%d+,"message":("[^"\\]*"),"details"')
  text = text or body:match('^{"code":%d+,"message":(".-[^\\]"),"details"') or '"The request was refused."'
  if anthropic then
    return row[1], ANTHROPIC_JSON:format(ANTHROPIC_TYPES[row[1]] or "api_error", text)
  end
  return row[1], OPENAI_JSON:format(text, row[2], row[3])
end

local function replace_body(handle, status)
  local body = handle:body(true)
  local headers, trailers = handle:headers(), handle:trailers()
  local function told(key)
    return headers:get(key) or trailers and trailers:get(key)
  end
  local json, retry_after = told("x-ailb-error"), told("retry-after")
  if json then
    status = told("x-http-status") or status
  else
    local anthropic = handle:streamInfo():dynamicMetadata():get("ailb.anthropic") ~= nil
    status, json = refusal(status, body:getBytes(0, body:length()), anthropic)
    retry_after = status == "503" and "1"
  end
  headers:replace(":status", status)
  headers:replace("content-type", "application/json")
  if retry_after then
    headers:replace("retry-after", retry_after)
  end
  headers:replace("content-length", tostring(body:setBytes(json)))
end

function envoy_on_request(handle)
  local headers = handle:headers()
  -- A CONNECT request has none.
  local path = headers:get(":path")
  if path and path:find("^/v1/messages") then
    handle:streamInfo():dynamicMetadata():set("ailb.anthropic", "path", true)
  end
  local id = headers:get("x-request-id")
  if id and (#id > 128 or id:find("[^%w._:/+=@-]")) then
    headers:replace("x-request-id", "req-" .. handle:timestampString(EnvoyTimestampResolution.MICROSECOND))
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get(":status")
  -- Only answers of the server have this header; Envoy's own replies have their shape already.
  if status ~= "200" and headers:get("x-envoy-upstream-service-time") then
    replace_body(handle, status)
  elseif headers:get("x-http-status") then
    headers:replace(":status", headers:get("x-http-status"))
    if headers:get("x-http-status") == "304" then
      -- It would tell of the file's length, not of this answer's.
      headers:remove("content-length")
    end
  end
end
