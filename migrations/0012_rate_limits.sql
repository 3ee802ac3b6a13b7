-- Rate limits of any target, set at run time; limits of providers shared by all instances; tenants by API.
-- docs/limits.md tells what they do, docs/decisions/0012-rate-limits.md why so.

-- Leases: rates of other spans than a minute, and who waits for longest goes first.
ALTER TABLE limit_buckets RENAME per_minute TO rate;
ALTER TABLE limit_buckets DROP CONSTRAINT limit_buckets_scope_check;
ALTER TABLE limit_buckets
  ADD CONSTRAINT limit_buckets_scope_check CHECK (scope IN ('key', 'tenant', 'limit', 'provider'));
ALTER TABLE limit_leases
  ADD waits bigint NOT NULL DEFAULT 0,
  ADD waits_since timestamptz;

COMMENT ON COLUMN limit_buckets.scope IS 'Whose limit: a key''s, a tenant''s, a row''s of rate_limits, a provider''s (of the configuration file).';
COMMENT ON COLUMN limit_buckets.owner_id IS 'The number of that key, tenant, rate limit or provider. No reference: what was spent outlives them.';
COMMENT ON COLUMN limit_buckets.period IS 'The month of money, as YYYYMM (UTC); the seconds in which a rate comes back, if they are not 60; else 0.';
COMMENT ON COLUMN limit_buckets.rate IS 'What comes back in a minute, or in `period` seconds, of a rate; else 0.';
COMMENT ON COLUMN limit_buckets.level IS 'Of a rate: what nobody has leased, in parts so small (60-millionths, for a minute) that what a microsecond brings is a whole number. Negative: debts.';
COMMENT ON COLUMN limit_leases.waits IS 'What requests wait for there, at the least; of slots and money.';
COMMENT ON COLUMN limit_leases.waits_since IS 'Since when.';

CREATE FUNCTION limits_unit(quantity text, period integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT 1000000::bigint * CASE WHEN quantity IN ('requests', 'tokens') AND period > 0 THEN period ELSE 60 END
$$;
COMMENT ON FUNCTION limits_unit(text, integer) IS 'Into how many parts limit_buckets.level cuts one request or token.';

CREATE FUNCTION limits_ahead(b limit_buckets, asking bigint, since timestamptz, remains bigint, moment timestamptz)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  ahead bigint := 0;
  amount bigint;
BEGIN
  -- Whoever waits asks again within 40 ms; who has not, has left or died.
  FOR amount IN
    SELECT l.waits FROM limit_leases l
     WHERE (l.scope, l.owner_id, l.quantity, l.period) = (b.scope, b.owner_id, b.quantity, b.period)
       AND l.lease <> asking AND l.waits > 0 AND l.waits_since < since
       AND l.updated_at > moment - interval '100 milliseconds' AND l.expires_at > moment
     ORDER BY l.waits_since
  LOOP
    IF ahead + amount <= remains THEN
      ahead := ahead + amount;
    END IF;
  END LOOP;
  RETURN ahead;
END
$$;
COMMENT ON FUNCTION limits_ahead(limit_buckets, bigint, timestamptz, bigint, timestamptz) IS 'How much of what remains those are to get who wait for longer.';

DROP FUNCTION limits_exchange(jsonb, text, interval, timestamptz);
DROP FUNCTION limits_exchange_one(jsonb, text, interval, timestamptz);

CREATE OR REPLACE FUNCTION limits_refilled(b limit_buckets, until timestamptz) RETURNS bigint
  LANGUAGE plpgsql AS $$
DECLARE
  unit CONSTANT bigint := limits_unit(b.quantity, b.period);
  from_time timestamptz := b.updated_at;
  level bigint := b.level;
  room bigint;
  piece_end timestamptz;
BEGIN
  WHILE from_time < until LOOP
    SELECT (b.cap - COALESCE(sum(l.held), 0)) * unit, LEAST(until, min(l.expires_at)) INTO room, piece_end
      FROM limit_leases l
     WHERE (l.scope, l.owner_id, l.quantity, l.period) = (b.scope, b.owner_id, b.quantity, b.period)
       AND l.held > 0 AND l.expires_at > from_time;
    IF level < room THEN
      level := level + LEAST(room - level, b.rate * (extract(epoch FROM piece_end - from_time) * 1000000));
    END IF;
    from_time := piece_end;
  END LOOP;
  RETURN level;
END
$$;
COMMENT ON FUNCTION limits_refilled(limit_buckets, timestamptz) IS 'The level of a rate at a later time.';

CREATE FUNCTION limits_exchange_one(
  asked jsonb, instance text, ttl interval, told_time timestamptz,
  OUT kept boolean, OUT granted bigint, OUT remains bigint, OUT elsewhere bigint, OUT unanswered bigint,
  OUT recalls bigint, OUT others bigint, OUT spent bigint
) LANGUAGE plpgsql AS $$
DECLARE
  unit bigint;
  a record;
  b limit_buckets;
  mine limit_leases;
  moment timestamptz;
  holders bigint;
  alive bigint;
  elsewhere_spare bigint;
  keep bigint;
  spare bigint;
  delta bigint;
  recalling boolean := false;
  lowered boolean;
  since timestamptz;
  ahead bigint := 0;
BEGIN
  SELECT * INTO a FROM jsonb_to_record(asked) AS r(
    scope text, owner integer, quantity text, period integer, cap bigint, rate bigint, per_minute bigint, lease bigint,
    keep bigint, spare bigint, settled bigint, heard bigint, since bigint, least bigint, need bigint, want bigint,
    recall boolean);
  -- An instance of before this migration says per_minute.
  a.rate := COALESCE(a.rate, a.per_minute);
  unit := limits_unit(a.quantity, a.period);
  SELECT * INTO b FROM limit_buckets
   WHERE (scope, owner_id, quantity, period) = (a.scope, a.owner, a.quantity, a.period) FOR UPDATE;
  IF NOT FOUND THEN
    INSERT INTO limit_buckets (scope, owner_id, quantity, period, cap, rate, level, updated_at)
    VALUES (a.scope, a.owner, a.quantity, a.period, a.cap, a.rate,
            CASE WHEN a.rate > 0 THEN a.cap * unit ELSE 0 END, COALESCE(told_time, clock_timestamp()))
    ON CONFLICT DO NOTHING;
    SELECT * INTO STRICT b FROM limit_buckets
     WHERE (scope, owner_id, quantity, period) = (a.scope, a.owner, a.quantity, a.period) FOR UPDATE;
  END IF;
  -- Read now that the row is ours; a clock that was set back stands still.
  moment := GREATEST(COALESCE(told_time, clock_timestamp()), b.updated_at);
  IF b.updated_at < pg_postmaster_start_time() THEN
    -- Nobody could renew while Postgres was away: what was good when it was last there is so again.
    UPDATE limit_leases
       SET expires_at = GREATEST(expires_at, pg_postmaster_start_time() + ttl)
     WHERE (scope, owner_id, quantity, period) = (a.scope, a.owner, a.quantity, a.period)
       AND expires_at > b.updated_at;
  END IF;
  IF b.rate > 0 THEN
    b.level := limits_refilled(b, moment);
  END IF;
  lowered := a.cap < b.cap;
  b.cap := a.cap;
  b.rate := a.rate;
  SELECT * INTO mine FROM limit_leases
   WHERE (scope, owner_id, quantity, period, lease) = (a.scope, a.owner, a.quantity, a.period, a.lease);
  kept := mine.lease IS NULL OR mine.expires_at > moment;
  SELECT count(*) FILTER (WHERE held > 0), COALESCE(sum(held), 0), COALESCE(sum(limit_leases.spare), 0),
         -- Whoever was silent for longer than leases go without renewal is dead, and not waited for.
         count(*) FILTER (WHERE held > 0 AND heard < COALESCE(NULLIF(a.since, 0), b.recalls)
                            AND GREATEST(updated_at, pg_postmaster_start_time()) > moment - interval '6 seconds'),
         count(*) FILTER (WHERE held > 0
                            AND GREATEST(updated_at, pg_postmaster_start_time()) > moment - interval '6 seconds')
    INTO holders, elsewhere, elsewhere_spare, unanswered, alive
    FROM limit_leases
   WHERE (scope, owner_id, quantity, period) = (a.scope, a.owner, a.quantity, a.period)
     AND lease <> a.lease AND expires_at > moment;

  keep := a.keep;
  spare := a.spare;
  IF NOT kept OR (a.rate > 0 AND mine.lease IS NULL) THEN
    keep := keep - spare;
    spare := 0;
  END IF;
  delta := a.settled - COALESCE(mine.settled, 0);
  IF a.rate > 0 THEN
    -- What comes back has no room beyond the burst; debts always have.
    b.level := CASE WHEN delta > 0 THEN b.level - delta * unit
                    ELSE GREATEST(b.level, LEAST(b.level - delta * unit, (b.cap - elsewhere - keep) * unit)) END;
    IF lowered THEN
      b.level := LEAST(b.level, (b.cap - elsewhere - keep) * unit);
    END IF;
    remains := floor(b.level / unit::numeric);
    unanswered := 0;
  ELSE
    b.spent := b.spent + delta;
    remains := b.cap - b.spent - elsewhere - keep;
    since := CASE WHEN mine.waits > 0 THEN mine.waits_since ELSE moment END;
    IF remains > 0 THEN
      ahead := limits_ahead(b, a.lease, since, remains, moment);
    END IF;
    IF b.recalled_at > moment - interval '2 seconds' THEN
      a.want := a.need;
    END IF;
  END IF;

  granted := 0;
  IF remains - ahead >= a.least AND remains - ahead > 0 THEN
    granted := LEAST(a.want, GREATEST(LEAST(a.need, remains - ahead), (remains - ahead) / (4 * (1 + holders))));
  ELSIF ahead > 0 AND remains >= a.least AND a.least > 0 THEN
    -- Others come first, who may leave without it.
    unanswered := GREATEST(unanswered, 1);
  ELSIF a.recall AND a.least > 0 AND elsewhere_spare >= a.least AND a.rate > 0
        AND COALESCE(b.recalled_at < moment - interval '1 second', true) THEN
    b.recalled_at := moment;
    recalling := true;
  ELSIF a.recall AND a.least > 0 AND holders > 0 AND a.rate = 0 AND b.spent + keep + a.least <= b.cap THEN
    b.recalled_at := moment;
    recalling := true;
    unanswered := alive;
  ELSIF a.rate = 0 AND b.spent + keep + a.least > b.cap THEN
    -- Not even all that others could give back would do.
    unanswered := 0;
  END IF;
  IF recalling THEN
    b.recalls := b.recalls + 1;
    PERFORM pg_notify('ailb_limits', concat_ws(':', a.scope, a.owner, a.quantity, a.period) || '#' || b.recalls);
  END IF;
  remains := remains - granted;
  spent := b.spent;
  recalls := CASE WHEN b.recalled_at > moment - interval '2 seconds' THEN b.recalls ELSE 0 END;
  SELECT count(*) INTO others FROM limit_leases l
   WHERE (l.scope, l.owner_id, l.quantity, l.period) = (a.scope, a.owner, a.quantity, a.period)
     AND l.lease <> a.lease AND l.updated_at > moment - interval '1 minute';
  IF a.rate > 0 THEN
    b.level := b.level - granted * unit;
  END IF;

  UPDATE limit_buckets u
     SET cap = b.cap, rate = b.rate, level = b.level, spent = b.spent, updated_at = moment,
         recalls = b.recalls, recalled_at = b.recalled_at
   WHERE (u.scope, u.owner_id, u.quantity, u.period) = (a.scope, a.owner, a.quantity, a.period);
  INSERT INTO limit_leases AS l
    (scope, owner_id, quantity, period, lease, instance, held, spare, settled, heard, updated_at, expires_at, waits, waits_since)
  VALUES (a.scope, a.owner, a.quantity, a.period, a.lease, instance, keep + granted,
          spare + GREATEST(granted - a.need, 0), a.settled, a.heard, moment, moment + ttl,
          CASE WHEN granted > 0 OR a.rate > 0 THEN 0 ELSE a.least END, since)
  ON CONFLICT (scope, owner_id, quantity, period, lease) DO UPDATE
     SET held = excluded.held, spare = excluded.spare, settled = excluded.settled, heard = excluded.heard,
         updated_at = excluded.updated_at, expires_at = excluded.expires_at, waits = excluded.waits, waits_since = excluded.waits_since;
  IF mine.lease IS NULL THEN
    DELETE FROM limit_leases
     WHERE (scope, owner_id, quantity, period) = (a.scope, a.owner, a.quantity, a.period)
       AND expires_at < moment - interval '1 day';
  END IF;
END
$$;
COMMENT ON FUNCTION limits_exchange_one(jsonb, text, interval, timestamptz) IS 'An instance''s report of one lease, and what it gets beyond it.';

CREATE FUNCTION limits_exchange(asks jsonb, instance text, ttl interval, told_time timestamptz DEFAULT NULL)
RETURNS TABLE (place bigint, kept boolean, granted bigint, remains bigint, elsewhere bigint, unanswered bigint, recalls bigint, others bigint, spent bigint)
LANGUAGE plpgsql AS $$
DECLARE
  one record;
BEGIN
  -- Always in the same order, or two instances would wait for each other.
  FOR one IN SELECT e.value, e.ordinality FROM jsonb_array_elements(asks) WITH ORDINALITY e
              ORDER BY e.value->>'scope', (e.value->>'owner')::integer, e.value->>'quantity', (e.value->>'period')::integer
  LOOP
    RETURN QUERY SELECT one.ordinality, x.* FROM limits_exchange_one(one.value, instance, ttl, told_time) x;
  END LOOP;
END
$$;
COMMENT ON FUNCTION limits_exchange(jsonb, text, interval, timestamptz) IS 'What an instance''s leases come to: see ailb_server/domain/limits.py. The time is for tests.';


-- Rate limits at run time.
CREATE TABLE rate_limits (
  number integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  limit_id text NOT NULL UNIQUE CHECK (limit_id ~ '^[A-Za-z0-9._:/-]{1,128}$'),
  kind text NOT NULL CHECK (kind IN ('key', 'tenant', 'provider', 'model', 'route', 'global')),
  name text NOT NULL CHECK ((kind = 'global') = (name = '') AND length(name) <= 256),
  key_id integer REFERENCES api_keys (id) ON DELETE CASCADE,
  tenant_id integer REFERENCES tenants (id) ON DELETE CASCADE,
  requests_per_second integer CHECK (requests_per_second BETWEEN 1 AND 1000000000),
  requests_per_minute integer CHECK (requests_per_minute BETWEEN 1 AND 1000000000),
  requests_per_hour integer CHECK (requests_per_hour BETWEEN 1 AND 1000000000),
  burst integer CHECK (burst BETWEEN 1 AND 1000000000),
  enabled boolean NOT NULL DEFAULT true,
  metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
  updated_at timestamptz NOT NULL DEFAULT now(),
  CHECK ((kind = 'key') = (key_id IS NOT NULL)),
  CHECK ((kind = 'tenant') = (tenant_id IS NOT NULL)),
  CHECK (COALESCE(requests_per_second, requests_per_minute, requests_per_hour) IS NOT NULL)
);

COMMENT ON TABLE rate_limits IS 'Rate limits set at run time. A change, by SQL too, is in force on every instance at once, and a row of the audit log.';
COMMENT ON COLUMN rate_limits.number IS 'Tells it from those that had its id before.';
COMMENT ON COLUMN rate_limits.limit_id IS 'Its name for whoever set it.';
COMMENT ON COLUMN rate_limits.kind IS 'What it holds for: requests of a key or tenant, to a provider, for a model or route; or all.';
COMMENT ON COLUMN rate_limits.name IS 'Of what of that kind, as it was asked for; empty for global. A model is named as callers ask for it.';
COMMENT ON COLUMN rate_limits.key_id IS 'The key, of the kind key.';
COMMENT ON COLUMN rate_limits.tenant_id IS 'The tenant, of the kind tenant.';
COMMENT ON COLUMN rate_limits.requests_per_second IS 'Requests a second; null: no limit. Those of the three that are set all hold.';
COMMENT ON COLUMN rate_limits.requests_per_minute IS 'Requests a minute, likewise.';
COMMENT ON COLUMN rate_limits.requests_per_hour IS 'Requests an hour, likewise.';
COMMENT ON COLUMN rate_limits.burst IS 'How many may come at once, of the shortest of the three; null, and of the others: as many as in one second, minute or hour.';
COMMENT ON COLUMN rate_limits.enabled IS 'Whether it is in force.';
COMMENT ON COLUMN rate_limits.metadata IS 'Notes of whoever set it, text by text.';
COMMENT ON COLUMN rate_limits.updated_at IS 'When it was last set.';
COMMENT ON INDEX rate_limits_pkey IS 'Serves nothing but the rows'' identity.';
COMMENT ON INDEX rate_limits_limit_id_key IS 'Serves setting and removing by id.';

CREATE FUNCTION audit_as(action text, subject text, tenant_id integer, before jsonb, after jsonb)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  who jsonb := NULLIF(current_setting('ailb.actor', true), '')::jsonb;
BEGIN
  PERFORM audit(
    tenant_id, COALESCE(who->>'name', 'SQL: ' || session_user), (who->>'key_id')::integer,
    COALESCE(who->>'peer', host(inet_client_addr()), ''), action, subject, before, after, 1,
    COALESCE(who->>'request_id', ''), COALESCE(who->>'instance', ''));
END
$$;
COMMENT ON FUNCTION audit_as(text, text, integer, jsonb, jsonb)
  IS 'Adds a row to audit_log in the name of whom the transaction''s ailb.actor tells; without one, of who is connected.';

CREATE FUNCTION rate_limits_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  was jsonb := jsonb_strip_nulls(to_jsonb(OLD)) - '{number,updated_at}'::text[];
  became jsonb := jsonb_strip_nulls(to_jsonb(NEW)) - '{number,updated_at}'::text[];
  told rate_limits := COALESCE(NEW, OLD);
BEGIN
  IF was IS NOT DISTINCT FROM became THEN
    RETURN NULL;
  END IF;
  PERFORM pg_notify('ailb_rate_limits', '');
  PERFORM audit_as(CASE TG_OP WHEN 'DELETE' THEN 'limit.removed' ELSE 'limit.set' END,
                   trim(told.kind || ' ' || told.name), told.tenant_id, was, became);
  -- What instances tell of limits that are gone makes their buckets anew.
  DELETE FROM limit_buckets WHERE ctid IN (
    SELECT b.ctid FROM limit_buckets b
     WHERE b.scope = 'limit' AND NOT EXISTS (SELECT FROM rate_limits r WHERE r.number = b.owner_id)
       FOR UPDATE SKIP LOCKED);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rate_limits_changed() IS 'Tells every instance, and the audit log, that a rate limit changed.';

CREATE TRIGGER rate_limits_changed AFTER INSERT OR UPDATE OR DELETE ON rate_limits
  FOR EACH ROW EXECUTE FUNCTION rate_limits_changed();

CREATE TABLE limited_providers (
  id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE
);
COMMENT ON TABLE limited_providers IS 'Numbers providers, for limit_buckets.';
COMMENT ON COLUMN limited_providers.id IS 'Its number.';
COMMENT ON COLUMN limited_providers.name IS 'As in the configuration.';
COMMENT ON INDEX limited_providers_pkey IS 'Serves the views.';
COMMENT ON INDEX limited_providers_name_key IS 'Serves a start.';

-- Tenants are changed by an API now, which says who.
CREATE OR REPLACE FUNCTION tenant_limits_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  names text[] := ARRAY['requests_per_minute', 'tokens_per_minute', 'max_concurrent', 'monthly_budget_micro_dollars'];
  was jsonb;
  became jsonb;
BEGIN
  SELECT jsonb_object_agg(key, value) INTO was FROM jsonb_each(to_jsonb(OLD)) WHERE key = ANY (names);
  SELECT jsonb_object_agg(key, value) INTO became FROM jsonb_each(to_jsonb(NEW)) WHERE key = ANY (names);
  IF was IS DISTINCT FROM became THEN
    PERFORM pg_notify('ailb_keys', 'all');
    PERFORM audit_as('tenant.limits', 'tenant ' || NEW.name, NEW.id, was, became);
  END IF;
  RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION limits_owner(scope text, owner_id integer) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT CASE scope WHEN 'key' THEN (SELECT k.name FROM api_keys k WHERE k.id = owner_id)
                    WHEN 'tenant' THEN (SELECT t.name FROM tenants t WHERE t.id = owner_id)
                    WHEN 'provider' THEN (SELECT p.name FROM limited_providers p WHERE p.id = owner_id)
                    ELSE (SELECT concat_ws(':', r.kind, NULLIF(r.name, '')) FROM rate_limits r WHERE r.number = owner_id) END
$$;
COMMENT ON FUNCTION limits_owner(text, integer) IS 'The name of a key, tenant or provider, or the target of a rate limit.';

DROP VIEW limit_usage;
CREATE VIEW limit_usage AS
SELECT b.scope, b.owner_id, limits_owner(b.scope, b.owner_id) AS name, b.quantity, b.rate,
       CASE WHEN b.rate = 0 THEN '' WHEN b.period = 1 THEN 'second' WHEN b.period = 3600 THEN 'hour' ELSE 'minute' END AS every,
       b.cap AS at_once,
       CASE WHEN b.rate > 0
            THEN floor(LEAST(b.cap - COALESCE(l.held, 0),
                             (b.level + b.rate * extract(epoch FROM now() - b.updated_at) * 1e6)
                             / limits_unit(b.quantity, b.period)))::bigint
            ELSE b.cap - COALESCE(l.held, 0) END AS remains,
       COALESCE(l.held, 0)::bigint AS leased, COALESCE(l.spare, 0)::bigint AS leased_unused, COALESCE(l.instances, 0) AS instances
  FROM limit_buckets b
  LEFT JOIN LATERAL (
    SELECT sum(held) AS held, sum(spare) AS spare, count(*) AS instances FROM limit_leases l
     WHERE (l.scope, l.owner_id, l.quantity, l.period) = (b.scope, b.owner_id, b.quantity, b.period)
       AND l.held > 0 AND l.expires_at > now()) l ON true
 WHERE b.quantity <> 'money'
 ORDER BY b.scope, b.owner_id, b.quantity, b.period;

COMMENT ON VIEW limit_usage IS 'Rates and running requests as they stand. Limits that were never used are not in it.';
COMMENT ON COLUMN limit_usage.scope IS 'Whose limit: a key''s, a tenant''s, one of rate_limits, a provider''s.';
COMMENT ON COLUMN limit_usage.owner_id IS 'The number of that.';
COMMENT ON COLUMN limit_usage.name IS 'Its name; of rate_limits, the target.';
COMMENT ON COLUMN limit_usage.quantity IS 'requests, tokens, or slots: requests that run at once.';
COMMENT ON COLUMN limit_usage.rate IS 'The limit every so long; 0 of slots.';
COMMENT ON COLUMN limit_usage.every IS 'second, minute or hour; empty of slots.';
COMMENT ON COLUMN limit_usage.at_once IS 'What may be used at once.';
COMMENT ON COLUMN limit_usage.remains IS 'What nobody has used or leased.';
COMMENT ON COLUMN limit_usage.leased IS 'What instances hold.';
COMMENT ON COLUMN limit_usage.leased_unused IS 'What of that was not in use, as they last told.';
COMMENT ON COLUMN limit_usage.instances IS 'How many instances hold some of it.';

CREATE VIEW limit_overview AS
WITH own AS (
  SELECT 'key:' || k.id AS target, k.name AS who, 'key' AS set_by, k.requests_per_minute, k.tokens_per_minute,
         k.max_concurrent, k.monthly_budget_micro_dollars, k.revoked_at IS NULL AS enabled
    FROM api_keys k
  UNION ALL
  SELECT 'tenant:' || t.name, t.name, 'tenant', t.requests_per_minute, t.tokens_per_minute,
         t.max_concurrent, t.monthly_budget_micro_dollars, true
    FROM tenants t
)
SELECT o.target, o.who, o.set_by, q.quantity, q.amount::numeric AS amount, q.every, NULL::integer AS burst, o.enabled
  FROM own o,
       LATERAL (VALUES ('requests', o.requests_per_minute::numeric, 'minute'), ('tokens', o.tokens_per_minute, 'minute'),
                       ('slots', o.max_concurrent, ''),
                       ('US dollars', round(o.monthly_budget_micro_dollars / 1e6, 6), 'month')) AS q (quantity, amount, every)
 WHERE q.amount IS NOT NULL
UNION ALL
SELECT CASE r.kind WHEN 'key' THEN 'key:' || r.key_id ELSE concat_ws(':', r.kind, NULLIF(r.name, '')) END,
       COALESCE(k.name, r.name), 'limit ' || r.limit_id, 'requests', q.amount, q.every,
       CASE WHEN q.every = CASE WHEN r.requests_per_second IS NOT NULL THEN 'second'
                                WHEN r.requests_per_minute IS NOT NULL THEN 'minute' ELSE 'hour' END THEN r.burst END,
       r.enabled
  FROM rate_limits r LEFT JOIN api_keys k ON k.id = r.key_id,
       LATERAL (VALUES (r.requests_per_second, 'second'), (r.requests_per_minute, 'minute'),
                       (r.requests_per_hour, 'hour')) AS q (amount, every)
 WHERE q.amount IS NOT NULL
 ORDER BY 1, 3, 4, 6;

COMMENT ON VIEW limit_overview IS 'Every limit that is set for keys, tenants and at run time; all of one target hold together. Those of providers in the configuration file are not in it.';
COMMENT ON COLUMN limit_overview.target IS 'What it holds for.';
COMMENT ON COLUMN limit_overview.who IS 'The name of that.';
COMMENT ON COLUMN limit_overview.set_by IS 'Where it is set: with the key, the tenant, or as a rate limit of that id.';
COMMENT ON COLUMN limit_overview.quantity IS 'requests, tokens, slots (requests that run at once) or US dollars.';
COMMENT ON COLUMN limit_overview.amount IS 'How much of it.';
COMMENT ON COLUMN limit_overview.every IS 'second, minute, hour or month; empty of slots.';
COMMENT ON COLUMN limit_overview.burst IS 'How many may come at once; null: as LIMIT_BURST_S says, or as many as in that time.';
COMMENT ON COLUMN limit_overview.enabled IS 'Whether it is in force.';
