-- The audit log tells how it ended, and when it was rather than when it was written.
-- docs/audit.md tells what is in it.
ALTER TABLE audit_log ADD outcome text NOT NULL DEFAULT 'ok'
  CHECK (outcome IN ('ok', 'refused', 'failed'));
COMMENT ON COLUMN audit_log.outcome IS 'ok, refused (whoever asked may not), or failed (it did not come about).';
-- Months to come take it from the log.
DO $$
DECLARE
  part regclass;
BEGIN
  FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'audit_log'::regclass LOOP
    EXECUTE format('COMMENT ON COLUMN %s.outcome IS %L', part, 'ok, refused or failed.');
  END LOOP;
END
$$;

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

-- What leases of money have settled is told twice: by the lease itself, and by the rows of the usage
-- ledger, which outlive a kill. docs/decisions/0011-ledger-and-budgets.md has the reasons.
ALTER TABLE limit_buckets ALTER per_minute SET DEFAULT 0;
CREATE FUNCTION limits_settled(rows json) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  one record;
  mine limit_leases;
  moment timestamptz := clock_timestamp();
  untold bigint;
BEGIN
  -- Always in the order of limits_exchange, or the two would wait for each other.
  FOR one IN
    SELECT s.scope, s.owner, s.period, s.lease, max(s.cap) AS cap, max(s.settled) AS settled,
           max(r.at) AS at, max(r.instance) AS instance
      FROM json_to_recordset(rows) AS r(at timestamptz, instance text, settlements json),
           json_to_recordset(r.settlements)
             AS s(scope text, owner integer, period integer, cap bigint, lease bigint, settled bigint)
     GROUP BY s.scope, s.owner, s.period, s.lease
     ORDER BY s.scope, s.owner, s.period, s.lease
  LOOP
    -- Mostly the lease has told already; then nobody's row is locked.
    CONTINUE WHEN EXISTS (
      SELECT FROM limit_leases l
       WHERE (l.scope, l.owner_id, l.quantity, l.period, l.lease)
           = (one.scope, one.owner, 'money', one.period, one.lease) AND l.settled >= one.settled);
    INSERT INTO limit_buckets (scope, owner_id, quantity, period, cap, updated_at)
    VALUES (one.scope, one.owner, 'money', one.period, one.cap, moment)
    ON CONFLICT DO NOTHING;
    PERFORM FROM limit_buckets b
      WHERE (b.scope, b.owner_id, b.quantity, b.period) = (one.scope, one.owner, 'money', one.period) FOR UPDATE;
    SELECT * INTO mine FROM limit_leases l
     WHERE (l.scope, l.owner_id, l.quantity, l.period, l.lease)
         = (one.scope, one.owner, 'money', one.period, one.lease);
    -- A lease that is not there has told nothing, or was forgotten a day after its end: what it had
    -- told until then nobody knows any more.
    CONTINUE WHEN mine.lease IS NULL AND one.at < moment - interval '1 day';
    untold := one.settled - COALESCE(mine.settled, 0);
    CONTINUE WHEN untold <= 0;
    UPDATE limit_buckets b SET spent = b.spent + untold
     WHERE (b.scope, b.owner_id, b.quantity, b.period) = (one.scope, one.owner, 'money', one.period);
    -- What was spent is no longer held.
    INSERT INTO limit_leases AS l
      (scope, owner_id, quantity, period, lease, instance, held, spare, settled, heard, updated_at, expires_at)
    VALUES (one.scope, one.owner, 'money', one.period, one.lease, one.instance, 0, 0, one.settled, 0, moment, moment)
    ON CONFLICT (scope, owner_id, quantity, period, lease) DO UPDATE
       SET settled = excluded.settled, held = GREATEST(l.held - untold, 0),
           spare = LEAST(l.spare, GREATEST(l.held - untold, 0));
  END LOOP;
END
$$;
COMMENT ON FUNCTION limits_settled(json) IS 'Tells budgets what rows of the usage ledger have settled. A sum, so that telling it twice does no harm.';

-- An exchange that was on its way while a row told more would take that back; were its instance
-- killed then, for good. limits_exchange writes the bucket before the lease.
CREATE FUNCTION limit_leases_keep_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE limit_buckets b SET spent = b.spent + OLD.settled - NEW.settled
   WHERE (b.scope, b.owner_id, b.quantity, b.period) = (NEW.scope, NEW.owner_id, NEW.quantity, NEW.period);
  NEW.settled := OLD.settled;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION limit_leases_keep_settled() IS 'What a lease of money has settled never becomes less.';

CREATE TRIGGER keep_settled BEFORE UPDATE ON limit_leases
  FOR EACH ROW WHEN (NEW.quantity = 'money' AND NEW.settled < OLD.settled)
  EXECUTE FUNCTION limit_leases_keep_settled();

-- Months of both logs: made ahead and dropped by the same functions.
-- Attached rather than created as a part: that lets others write meanwhile.
CREATE FUNCTION month_make(parent text, moment timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  month timestamp := date_trunc('month', moment AT TIME ZONE 'UTC');
  part text := parent || '_' || to_char(month, 'YYYYMM');
BEGIN
  IF to_regclass(part) IS NOT NULL THEN
    RETURN false;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext(part));
  IF to_regclass(part) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
  EXECUTE format(
    'COMMENT ON TABLE %I IS %L', part, format('The part of %s of %s (UTC).', parent, to_char(month, 'YYYY-MM')));
  EXECUTE format(
    'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part,
    month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
  RETURN true;
END
$$;
COMMENT ON FUNCTION month_make(text, timestamptz) IS 'Makes the partition of a moment''s month if it is missing; tells whether it was. Instances ask for this month''s and the next one''s every hour.';

DROP FUNCTION usage_ledger_make_month(timestamptz);

CREATE OR REPLACE FUNCTION audit_log_make_month(moment timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF month_make('audit_log', moment) THEN
    -- A TRUNCATE trigger is not inherited.
    EXECUTE format(
      'CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON %I FOR EACH STATEMENT'
      ' EXECUTE FUNCTION audit_log_is_append_only()',
      'audit_log_' || to_char(moment AT TIME ZONE 'UTC', 'YYYYMM'));
  END IF;
END
$$;

-- By the clock of Postgres: an instance whose clock is wrong must not drop what is to be kept.
CREATE FUNCTION months_drop(parent text, keep integer, instance text, moment timestamptz DEFAULT now())
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  before timestamp := date_trunc('month', moment AT TIME ZONE 'UTC') - make_interval(months => keep);
  part text;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext('months_drop'), hashtext(parent)) THEN
    RETURN;
  END IF;
  FOR part IN
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = parent::regclass AND c.relname ~ ('^' || parent || '_[0-9]{6}$')
       AND to_date(right(c.relname, 6), 'YYYYMM') < before
     ORDER BY c.relname
  LOOP
    EXECUTE format('DROP TABLE %I', part);
    PERFORM audit(NULL, 'ailb', NULL, '', 'month.dropped', part, NULL, jsonb_build_object('kept_months', keep), 1, '', instance);
    RETURN NEXT part;
  END LOOP;
END
$$;
COMMENT ON FUNCTION months_drop(text, integer, text, timestamptz) IS 'Drops the partitions of months that ended long ago: `keep` whole months before a moment''s own stay. One caller at a time. The time is for tests.';

CREATE OR REPLACE VIEW audit_trail AS
SELECT a.at, a.action, a.subject, t.name AS tenant, a.actor, a.actor_key_id, a.peer, a.times,
       a.before, a.after, a.request_id, a.instance, a.outcome
  FROM audit_log a LEFT JOIN tenants t ON t.id = a.tenant_id
 ORDER BY a.at DESC, a.id DESC;
COMMENT ON COLUMN audit_trail.outcome IS 'ok, refused or failed.';

-- Made large by what others are refused, the log is still asked for single requests and for changes.
CREATE INDEX audit_log_request ON audit_log (request_id, at);
COMMENT ON INDEX audit_log_request IS 'Serves the question what a request did.';
CREATE INDEX audit_log_action ON audit_log (action text_pattern_ops, at);
COMMENT ON INDEX audit_log_action IS 'Serves the question who did something of a kind, such as key.*.';
