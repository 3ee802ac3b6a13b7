-- The audit log tells how it ended, and when it was rather than when it was written.
-- docs/audit.md tells what is in it.
ALTER TABLE audit_log ADD outcome text NOT NULL DEFAULT 'ok'
  CHECK (outcome IN ('ok', 'refused', 'failed'));
COMMENT ON COLUMN audit_log.outcome IS 'ok, refused (whoever asked may not), or failed (it did not come about).';

-- Rows from before the column: for this one statement the log is not append-only.
CREATE OR REPLACE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RETURN NEW;
END
$$;
UPDATE audit_log SET outcome = 'refused' WHERE action = 'auth.failed';
CREATE OR REPLACE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'audit_log is append-only: % is not allowed', TG_OP
    USING HINT = 'Old months are dropped as partitions: AUDIT_RETENTION_MONTHS.';
END
$$;

DROP FUNCTION audit(integer, text, integer, text, text, text, jsonb, jsonb, integer, text, text);
CREATE FUNCTION audit(
  tenant_id integer, actor text, actor_key_id integer, peer text, action text, subject text,
  before jsonb, after jsonb, times integer, request_id text, instance text,
  outcome text DEFAULT 'ok', at timestamptz DEFAULT NULL
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM audit_log_make_month(COALESCE($13, now()));
  INSERT INTO audit_log
    (tenant_id, actor, actor_key_id, peer, action, subject, before, after, times, request_id, instance, outcome, at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, COALESCE($13, now()));
END
$$;
COMMENT ON FUNCTION audit(integer, text, integer, text, text, text, jsonb, jsonb, integer, text, text, text, timestamptz)
  IS 'Adds a row to audit_log, and the month''s partition before it. Without a time: now.';
