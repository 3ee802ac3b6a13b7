-- The usage ledger: a row for each request. docs/usage.md tells how rows get here.

CREATE TABLE usage_ledger_identity (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  id uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO usage_ledger_identity DEFAULT VALUES;

COMMENT ON TABLE usage_ledger_identity IS 'Which ledger this is: one row. Journals on the instances'' disks are kept by it, so that none is stored elsewhere.';
COMMENT ON COLUMN usage_ledger_identity.only_one IS 'Keeps it at one row.';
COMMENT ON COLUMN usage_ledger_identity.id IS 'The name of the journals'' directory.';

CREATE TABLE usage_ledger (
  at timestamptz NOT NULL,
  id uuid NOT NULL,
  tenant_id integer,
  key_id integer,
  request_id text NOT NULL,
  session_id text NOT NULL,
  operation text NOT NULL,
  streamed boolean NOT NULL,
  provider text NOT NULL,
  model_asked text NOT NULL,
  model_sent text NOT NULL,
  model_answered text NOT NULL,
  prompt_tokens bigint,
  cached_tokens bigint,
  cache_write_tokens bigint,
  completion_tokens bigint,
  reasoning_tokens bigint,
  estimated boolean NOT NULL,
  cost_micro_dollars bigint,
  latency_ms double precision NOT NULL,
  first_token_ms double precision,
  outcome text NOT NULL,
  finish_reason text NOT NULL,
  instance text NOT NULL,
  PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);

COMMENT ON TABLE usage_ledger IS 'What each request used and cost. A month is a partition: old ones may be dropped (DROP TABLE usage_ledger_YYYYMM). `usage_requests` is for reading.';
COMMENT ON COLUMN usage_ledger.at IS 'When the request ended.';
COMMENT ON COLUMN usage_ledger.id IS 'The row''s own id, made by the instance: a row that is sent twice is stored once.';
COMMENT ON COLUMN usage_ledger.tenant_id IS 'Whose request it was; null for AILB''s own, such as embeddings for its memory. No reference: a row must not be refused.';
COMMENT ON COLUMN usage_ledger.key_id IS 'The number of the key that asked; null without one. No reference: it tells of keys that may be gone.';
COMMENT ON COLUMN usage_ledger.request_id IS 'The request''s x-request-id. A caller may choose it, and choose it again.';
COMMENT ON COLUMN usage_ledger.session_id IS 'The conversation that it named, or empty.';
COMMENT ON COLUMN usage_ledger.operation IS 'chat, completion or embedding.';
COMMENT ON COLUMN usage_ledger.streamed IS 'Whether the answer was streamed.';
COMMENT ON COLUMN usage_ledger.provider IS 'Who answered; empty if nobody did.';
COMMENT ON COLUMN usage_ledger.model_asked IS 'The model as the caller named it.';
COMMENT ON COLUMN usage_ledger.model_sent IS 'The model as the provider was asked for it; empty if nobody answered.';
COMMENT ON COLUMN usage_ledger.model_answered IS 'The model that the answer names; empty if it names none.';
COMMENT ON COLUMN usage_ledger.prompt_tokens IS 'Tokens of the prompt, cached ones included; null if nobody answered.';
COMMENT ON COLUMN usage_ledger.cached_tokens IS 'Of these, read from the provider''s cache.';
COMMENT ON COLUMN usage_ledger.cache_write_tokens IS 'Of these, written to the provider''s cache.';
COMMENT ON COLUMN usage_ledger.completion_tokens IS 'Tokens of the answer, reasoning included.';
COMMENT ON COLUMN usage_ledger.reasoning_tokens IS 'Of these, spent on reasoning.';
COMMENT ON COLUMN usage_ledger.estimated IS 'Whether the tokens are estimated: the provider told none, or the answer did not come to its end.';
COMMENT ON COLUMN usage_ledger.cost_micro_dollars IS 'Millionths of a US dollar, as they were charged to budgets; null if nobody answered, or the price is unknown.';
COMMENT ON COLUMN usage_ledger.latency_ms IS 'From the request''s arrival to the end of its answer.';
COMMENT ON COLUMN usage_ledger.first_token_ms IS 'From the request''s arrival to the first token; null if not streamed or not answered.';
COMMENT ON COLUMN usage_ledger.outcome IS 'ok, cancelled (the caller left), or the reason of the error, as docs/errors.md lists them.';
COMMENT ON COLUMN usage_ledger.finish_reason IS 'Why the answer ended, by the provider''s word: stop, length, tool_calls, … ; empty if it did not tell.';
COMMENT ON COLUMN usage_ledger.instance IS 'MODULE_ID of the instance that served it.';
COMMENT ON INDEX usage_ledger_pkey IS 'Serves sums and exports by time, and keeps each row single.';

CREATE INDEX usage_ledger_tenant ON usage_ledger (tenant_id, at);
COMMENT ON INDEX usage_ledger_tenant IS 'Serves one tenant''s sums by time.';
CREATE INDEX usage_ledger_key ON usage_ledger (key_id, at);
COMMENT ON INDEX usage_ledger_key IS 'Serves one key''s sums by time.';
CREATE INDEX usage_ledger_request ON usage_ledger (request_id);
COMMENT ON INDEX usage_ledger_request IS 'Serves the question what became of a request.';

-- Attached rather than created as a part: that lets others write meanwhile.
CREATE FUNCTION usage_ledger_make_month(moment timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  month timestamp := date_trunc('month', moment AT TIME ZONE 'UTC');
  part text := 'usage_ledger_' || to_char(month, 'YYYYMM');
BEGIN
  IF to_regclass(part) IS NOT NULL THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext(part));
  IF to_regclass(part) IS NOT NULL THEN
    RETURN;
  END IF;
  EXECUTE format('CREATE TABLE %I (LIKE usage_ledger INCLUDING ALL)', part);
  EXECUTE format(
    'COMMENT ON TABLE %I IS %L', part, 'The part of usage_ledger of ' || to_char(month, 'YYYY-MM') || ' (UTC).');
  EXECUTE format(
    'ALTER TABLE usage_ledger ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part,
    month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
END
$$;
COMMENT ON FUNCTION usage_ledger_make_month(timestamptz) IS 'Makes the partition of a moment''s month if it is missing. Instances call it for this month and the next one, every hour.';

SELECT usage_ledger_make_month(now());
SELECT usage_ledger_make_month(now() + interval '1 month');

CREATE VIEW usage_requests AS
SELECT u.at, t.name AS tenant, u.key_id, k.name AS key, u.request_id, u.session_id, u.operation, u.streamed,
       u.provider, COALESCE(NULLIF(u.model_sent, ''), u.model_asked) AS model, u.model_asked, u.model_answered,
       u.prompt_tokens, u.cached_tokens, u.cache_write_tokens, u.completion_tokens, u.reasoning_tokens,
       u.estimated, round(u.cost_micro_dollars / 1e6, 6) AS cost_usd, u.latency_ms, u.first_token_ms, u.outcome,
       u.finish_reason, u.instance
  FROM usage_ledger u
  LEFT JOIN tenants t ON t.id = u.tenant_id
  LEFT JOIN api_keys k ON k.id = u.key_id;

COMMENT ON VIEW usage_requests IS 'The usage ledger, for reading. Say WHERE at >= …: it is read by months.';
COMMENT ON COLUMN usage_requests.at IS 'When the request ended.';
COMMENT ON COLUMN usage_requests.tenant IS 'Whose request it was; null for AILB''s own.';
COMMENT ON COLUMN usage_requests.key_id IS 'The number of the key that asked.';
COMMENT ON COLUMN usage_requests.key IS 'The name of that key.';
COMMENT ON COLUMN usage_requests.request_id IS 'The request''s x-request-id.';
COMMENT ON COLUMN usage_requests.session_id IS 'The conversation that it named, or empty.';
COMMENT ON COLUMN usage_requests.operation IS 'chat, completion or embedding.';
COMMENT ON COLUMN usage_requests.streamed IS 'Whether the answer was streamed.';
COMMENT ON COLUMN usage_requests.provider IS 'Who answered; empty if nobody did.';
COMMENT ON COLUMN usage_requests.model IS 'The model as the provider was asked for it, or as the caller named it if nobody answered.';
COMMENT ON COLUMN usage_requests.model_asked IS 'The model as the caller named it.';
COMMENT ON COLUMN usage_requests.model_answered IS 'The model that the answer names.';
COMMENT ON COLUMN usage_requests.prompt_tokens IS 'Tokens of the prompt, cached ones included.';
COMMENT ON COLUMN usage_requests.cached_tokens IS 'Of these, read from the provider''s cache.';
COMMENT ON COLUMN usage_requests.cache_write_tokens IS 'Of these, written to the provider''s cache.';
COMMENT ON COLUMN usage_requests.completion_tokens IS 'Tokens of the answer, reasoning included.';
COMMENT ON COLUMN usage_requests.reasoning_tokens IS 'Of these, spent on reasoning.';
COMMENT ON COLUMN usage_requests.estimated IS 'Whether the tokens are estimated.';
COMMENT ON COLUMN usage_requests.cost_usd IS 'US dollars; null if nobody answered, or the price is unknown.';
COMMENT ON COLUMN usage_requests.latency_ms IS 'From the request''s arrival to the end of its answer.';
COMMENT ON COLUMN usage_requests.first_token_ms IS 'From the request''s arrival to the first token, if streamed.';
COMMENT ON COLUMN usage_requests.outcome IS 'ok, cancelled, or the reason of the error.';
COMMENT ON COLUMN usage_requests.finish_reason IS 'Why the answer ended, by the provider''s word.';
COMMENT ON COLUMN usage_requests.instance IS 'The instance that served it.';

CREATE VIEW usage_by_day AS
SELECT (at AT TIME ZONE 'UTC')::date AS day, tenant, count(*) AS requests,
       count(*) FILTER (WHERE outcome NOT IN ('ok', 'cancelled')) AS failed,
       sum(prompt_tokens) AS prompt_tokens, sum(cached_tokens) AS cached_tokens,
       sum(completion_tokens) AS completion_tokens, sum(cost_usd) AS cost_usd
  FROM usage_requests GROUP BY 1, 2 ORDER BY 1, 2;

COMMENT ON VIEW usage_by_day IS 'What each tenant used on each day. Of the whole ledger: big ones are asked by usage_requests and a time.';
COMMENT ON COLUMN usage_by_day.day IS 'The day, in UTC.';
COMMENT ON COLUMN usage_by_day.tenant IS 'Who; null is AILB itself.';
COMMENT ON COLUMN usage_by_day.requests IS 'Requests, failed ones included.';
COMMENT ON COLUMN usage_by_day.failed IS 'Those that ended with an error.';
COMMENT ON COLUMN usage_by_day.prompt_tokens IS 'Tokens of prompts.';
COMMENT ON COLUMN usage_by_day.cached_tokens IS 'Of these, read from providers'' caches.';
COMMENT ON COLUMN usage_by_day.completion_tokens IS 'Tokens of answers.';
COMMENT ON COLUMN usage_by_day.cost_usd IS 'US dollars.';

CREATE VIEW usage_by_key AS
SELECT date_trunc('month', at AT TIME ZONE 'UTC')::date AS month, tenant, key_id, key, count(*) AS requests,
       count(*) FILTER (WHERE outcome NOT IN ('ok', 'cancelled')) AS failed,
       sum(prompt_tokens) AS prompt_tokens, sum(cached_tokens) AS cached_tokens,
       sum(completion_tokens) AS completion_tokens, sum(cost_usd) AS cost_usd, max(at) AS last_used_at
  FROM usage_requests GROUP BY 1, 2, 3, 4 ORDER BY 1, cost_usd DESC NULLS LAST;

COMMENT ON VIEW usage_by_key IS 'What each key used in each month, the dearest first.';
COMMENT ON COLUMN usage_by_key.month IS 'The first day of the month, in UTC.';
COMMENT ON COLUMN usage_by_key.tenant IS 'Whose key; null is AILB itself.';
COMMENT ON COLUMN usage_by_key.key_id IS 'The key''s number; null: no key of api_keys.';
COMMENT ON COLUMN usage_by_key.key IS 'Its name.';
COMMENT ON COLUMN usage_by_key.requests IS 'Requests, failed ones included.';
COMMENT ON COLUMN usage_by_key.failed IS 'Those that ended with an error.';
COMMENT ON COLUMN usage_by_key.prompt_tokens IS 'Tokens of prompts.';
COMMENT ON COLUMN usage_by_key.cached_tokens IS 'Of these, read from providers'' caches.';
COMMENT ON COLUMN usage_by_key.completion_tokens IS 'Tokens of answers.';
COMMENT ON COLUMN usage_by_key.cost_usd IS 'US dollars.';
COMMENT ON COLUMN usage_by_key.last_used_at IS 'When its last request ended.';

CREATE VIEW usage_by_model AS
SELECT date_trunc('month', at AT TIME ZONE 'UTC')::date AS month, provider, model, count(*) AS requests,
       count(*) FILTER (WHERE outcome NOT IN ('ok', 'cancelled')) AS failed,
       sum(prompt_tokens) AS prompt_tokens, sum(cached_tokens) AS cached_tokens,
       sum(completion_tokens) AS completion_tokens, sum(cost_usd) AS cost_usd,
       count(*) FILTER (WHERE prompt_tokens IS NOT NULL AND cost_usd IS NULL) AS unpriced,
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms))::numeric, 1) AS median_ms
  FROM usage_requests GROUP BY 1, 2, 3 ORDER BY 1, cost_usd DESC NULLS LAST;

COMMENT ON VIEW usage_by_model IS 'What each model was used for in each month, the dearest first.';
COMMENT ON COLUMN usage_by_model.month IS 'The first day of the month, in UTC.';
COMMENT ON COLUMN usage_by_model.provider IS 'Who answered; empty if nobody did.';
COMMENT ON COLUMN usage_by_model.model IS 'The model, as the provider names it.';
COMMENT ON COLUMN usage_by_model.requests IS 'Requests, failed ones included.';
COMMENT ON COLUMN usage_by_model.failed IS 'Those that ended with an error.';
COMMENT ON COLUMN usage_by_model.prompt_tokens IS 'Tokens of prompts.';
COMMENT ON COLUMN usage_by_model.cached_tokens IS 'Of these, read from providers'' caches.';
COMMENT ON COLUMN usage_by_model.completion_tokens IS 'Tokens of answers.';
COMMENT ON COLUMN usage_by_model.cost_usd IS 'US dollars.';
COMMENT ON COLUMN usage_by_model.unpriced IS 'Requests that took tokens at no known price: they are missing from cost_usd.';
COMMENT ON COLUMN usage_by_model.median_ms IS 'Half of the requests ended sooner.';
