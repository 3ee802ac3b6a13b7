-- Answers that are given again: the response cache's terms and traces, and Idempotency-Keys.
-- docs/caching.md tells how they are used.

ALTER TABLE api_keys ADD cache_ttl_seconds integer CHECK (cache_ttl_seconds BETWEEN 1 AND 2592000);
COMMENT ON COLUMN api_keys.cache_ttl_seconds IS 'Its requests may be answered by the response cache, by nothing older than so many seconds; null: only those that ask for it.';

CREATE OR REPLACE VIEW key_overview AS
SELECT k.id, t.name AS tenant, k.name, k.prefix || '…' AS secret, k.role,
       CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'
            WHEN k.expires_at <= now() THEN 'expired'
            ELSE 'active' END AS state,
       k.allowed_models, k.allowed_collections,
       k.requests_per_minute, k.tokens_per_minute, k.max_concurrent,
       round(k.monthly_budget_micro_dollars / 1e6, 6) AS monthly_budget_usd,
       k.expires_at, k.metadata, k.version, k.created_at, k.updated_at, k.cache_ttl_seconds
  FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
 ORDER BY k.id;
COMMENT ON COLUMN key_overview.cache_ttl_seconds IS 'How old answers of the response cache may be; null: used only where a request asks for it.';

-- No CHECK: it would read the whole ledger under a lock.
ALTER TABLE usage_ledger ADD served_from text;
COMMENT ON COLUMN usage_ledger.served_from IS 'cache (the response cache), or replay (of the answer to an Idempotency-Key): tokens and cost are 0 then. Null: a provider, or nobody.';
-- Months to come take it from the ledger.
DO $$
DECLARE
  part regclass;
BEGIN
  FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'usage_ledger'::regclass LOOP
    EXECUTE format('COMMENT ON COLUMN %s.served_from IS %L', part, 'cache or replay, if no provider was asked.');
  END LOOP;
END
$$;

CREATE OR REPLACE VIEW usage_requests AS
SELECT u.at, t.name AS tenant, u.key_id, k.name AS key, u.request_id, u.session_id, u.operation, u.streamed,
       u.provider, COALESCE(NULLIF(u.model_sent, ''), u.model_asked) AS model, u.model_asked, u.model_answered,
       u.prompt_tokens, u.cached_tokens, u.cache_write_tokens, u.completion_tokens, u.reasoning_tokens,
       u.estimated, round(u.cost_micro_dollars / 1e6, 6) AS cost_usd, u.latency_ms, u.first_token_ms, u.outcome,
       u.finish_reason, u.instance, u.served_from
  FROM usage_ledger u
  LEFT JOIN tenants t ON t.id = u.tenant_id
  LEFT JOIN api_keys k ON k.id = u.key_id;
COMMENT ON COLUMN usage_requests.served_from IS 'cache or replay, if no provider was asked.';

CREATE TABLE idempotent_requests (
  tenant_id integer NOT NULL REFERENCES tenants ON DELETE CASCADE,
  key_id integer NOT NULL,
  name_digest bytea NOT NULL CHECK (length(name_digest) = 32),
  request_digest bytea NOT NULL CHECK (length(request_digest) = 32),
  holder uuid NOT NULL DEFAULT gen_random_uuid(),
  begun_at timestamptz NOT NULL DEFAULT now(),
  lease_until timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  answered_at timestamptz,
  recording bytea,
  PRIMARY KEY (tenant_id, key_id, name_digest),
  CHECK (recording IS NULL OR answered_at IS NOT NULL)
);

COMMENT ON TABLE idempotent_requests IS 'Requests with an Idempotency-Key of the last 24 hours: who answers them, and the answers. Rows may be deleted at any time; a retry then runs, and is billed, again.';
COMMENT ON COLUMN idempotent_requests.tenant_id IS 'Whose request.';
COMMENT ON COLUMN idempotent_requests.key_id IS 'The number of the API key that asked; 0 without one. No reference: a key may be deleted.';
COMMENT ON COLUMN idempotent_requests.name_digest IS 'SHA-256 of the Idempotency-Key.';
COMMENT ON COLUMN idempotent_requests.request_digest IS 'SHA-256 of the request. The request itself is not kept.';
COMMENT ON COLUMN idempotent_requests.holder IS 'Tells the request that runs from one that ran before with the same Idempotency-Key.';
COMMENT ON COLUMN idempotent_requests.begun_at IS 'When it began.';
COMMENT ON COLUMN idempotent_requests.lease_until IS 'Until when it is believed to run. Its instance moves this on; where that is gone, a retry runs after it.';
COMMENT ON COLUMN idempotent_requests.expires_at IS 'When the row may go.';
COMMENT ON COLUMN idempotent_requests.answered_at IS 'When its answer came to its end; null: it runs.';
COMMENT ON COLUMN idempotent_requests.recording IS 'The answer, as it is given again: JSON behind its length, then the bytes of its pieces. Null if it was larger than IDEMPOTENCY_MAX_ANSWER_KB.';
COMMENT ON INDEX idempotent_requests_pkey IS 'Serves claims: one of all instances has a name.';

CREATE INDEX idempotent_requests_expires ON idempotent_requests (expires_at);
COMMENT ON INDEX idempotent_requests_expires IS 'Serves the removal of rows whose time is over.';
