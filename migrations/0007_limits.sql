-- Limits of keys and tenants, shared by all instances. Instances lease slices, so that requests need
-- no statement; what is leased counts as used, so that all together never use more than there is.
ALTER TABLE tenants
  ADD requests_per_minute integer CHECK (requests_per_minute > 0),
  ADD tokens_per_minute integer CHECK (tokens_per_minute > 0),
  ADD max_concurrent integer CHECK (max_concurrent > 0),
  ADD monthly_budget_micro_dollars bigint
    CHECK (monthly_budget_micro_dollars BETWEEN 0 AND 1000000000000000);

COMMENT ON COLUMN tenants.requests_per_minute IS 'Requests a minute of all its keys together; null: no limit. A change, by SQL, is in force at once.';
COMMENT ON COLUMN tenants.tokens_per_minute IS 'Tokens a minute, likewise.';
COMMENT ON COLUMN tenants.max_concurrent IS 'Requests that run at once, likewise.';
COMMENT ON COLUMN tenants.monthly_budget_micro_dollars IS 'Millionths of a US dollar a calendar month (UTC), likewise.';

CREATE FUNCTION tenant_limits_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  names text[] := ARRAY['requests_per_minute', 'tokens_per_minute', 'max_concurrent', 'monthly_budget_micro_dollars'];
  was jsonb;
  became jsonb;
BEGIN
  SELECT jsonb_object_agg(key, value) INTO was FROM jsonb_each(to_jsonb(OLD)) WHERE key = ANY (names);
  SELECT jsonb_object_agg(key, value) INTO became FROM jsonb_each(to_jsonb(NEW)) WHERE key = ANY (names);
  IF was IS DISTINCT FROM became THEN
    PERFORM pg_notify('ailb_keys', 'all');
    PERFORM audit(NEW.id, 'SQL: ' || session_user, NULL, COALESCE(host(inet_client_addr()), ''), 'tenant.limits',
                  'tenant ' || NEW.name, was, became, 1, '', '');
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION tenant_limits_changed() IS 'Tells every instance, and the audit log, that a tenant''s limits changed.';

CREATE TRIGGER tenant_limits_changed AFTER UPDATE ON tenants
  FOR EACH ROW EXECUTE FUNCTION tenant_limits_changed();

CREATE TABLE limit_buckets (
  scope text NOT NULL CHECK (scope IN ('key', 'tenant')),
  owner_id integer NOT NULL,
  quantity text NOT NULL CHECK (quantity IN ('requests', 'tokens', 'slots', 'money')),
  period integer NOT NULL DEFAULT 0,
  cap bigint NOT NULL CHECK (cap >= 0),
  per_minute bigint NOT NULL CHECK (per_minute >= 0),
  level bigint NOT NULL DEFAULT 0,
  spent bigint NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL,
  recalls bigint NOT NULL DEFAULT 0,
  recalled_at timestamptz,
  PRIMARY KEY (scope, owner_id, quantity, period)
) WITH (fillfactor = 50);

COMMENT ON TABLE limit_buckets IS 'What is left of each limit. `limit_usage` and `budget_usage` are for reading.';
COMMENT ON COLUMN limit_buckets.scope IS 'Whose limit: a key''s or a tenant''s.';
COMMENT ON COLUMN limit_buckets.owner_id IS 'The number of that key or tenant. No reference: what was spent outlives both.';
COMMENT ON COLUMN limit_buckets.quantity IS 'requests or tokens (a minute), slots (requests that run at once) or money (micro-dollars in a month).';
COMMENT ON COLUMN limit_buckets.period IS 'The month of money, as YYYYMM (UTC); else 0.';
COMMENT ON COLUMN limit_buckets.cap IS 'What may be used at once: a rate''s burst, the slots, the month''s budget. As it was last told.';
COMMENT ON COLUMN limit_buckets.per_minute IS 'What comes back in a minute, of a rate; else 0.';
COMMENT ON COLUMN limit_buckets.level IS 'Of a rate: what nobody has leased, in 60-millionths, so that what a microsecond brings is a whole number. Negative: debts.';
COMMENT ON COLUMN limit_buckets.spent IS 'Of money: the sum of the settled costs.';
COMMENT ON COLUMN limit_buckets.updated_at IS 'The time that level is of.';
COMMENT ON COLUMN limit_buckets.recalls IS 'How often instances were asked to give back what they do not use.';
COMMENT ON COLUMN limit_buckets.recalled_at IS 'When that was last.';
COMMENT ON INDEX limit_buckets_pkey IS 'Serves an exchange.';

CREATE TABLE limit_leases (
  scope text NOT NULL,
  owner_id integer NOT NULL,
  quantity text NOT NULL,
  period integer NOT NULL,
  lease bigint NOT NULL,
  instance text NOT NULL,
  held bigint NOT NULL,
  spare bigint NOT NULL,
  settled bigint NOT NULL,
  heard bigint NOT NULL,
  updated_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (scope, owner_id, quantity, period, lease),
  FOREIGN KEY (scope, owner_id, quantity, period) REFERENCES limit_buckets ON DELETE CASCADE
) WITH (fillfactor = 50);

COMMENT ON TABLE limit_leases IS 'What instances hold of limits. A lease that an instance does not renew expires.';
COMMENT ON COLUMN limit_leases.scope IS 'See limit_buckets.';
COMMENT ON COLUMN limit_leases.owner_id IS 'See limit_buckets.';
COMMENT ON COLUMN limit_leases.quantity IS 'See limit_buckets.';
COMMENT ON COLUMN limit_leases.period IS 'See limit_buckets.';
COMMENT ON COLUMN limit_leases.lease IS 'A random number, of one process and one limit.';
COMMENT ON COLUMN limit_leases.instance IS 'MODULE_ID, for people.';
COMMENT ON COLUMN limit_leases.held IS 'What it holds. Of a rate some of it may be used already.';
COMMENT ON COLUMN limit_leases.spare IS 'What of that no running request uses, as last told.';
COMMENT ON COLUMN limit_leases.settled IS 'What it told of use beyond what it held (rates) or of costs (money), in all. A sum, so that telling it twice does no harm.';
COMMENT ON COLUMN limit_leases.heard IS 'The last recall that it had heard of when it told.';
COMMENT ON COLUMN limit_leases.updated_at IS 'When it last told.';
COMMENT ON COLUMN limit_leases.expires_at IS 'When it expires. A start of Postgres gives every lease its whole time again.';
COMMENT ON INDEX limit_leases_pkey IS 'Serves an exchange.';

-- Piece by piece between the ends of leases: what was held in a piece had no room to come back in it.
CREATE FUNCTION limits_refilled(b limit_buckets, until timestamptz) RETURNS bigint
  LANGUAGE plpgsql AS $$
DECLARE
  unit CONSTANT bigint := 60000000;
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
      level := level + LEAST(room - level, b.per_minute * (extract(epoch FROM piece_end - from_time) * 1000000));
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
  OUT spent bigint
) LANGUAGE plpgsql AS $$
DECLARE
  unit CONSTANT bigint := 60000000;
  a record;
  b limit_buckets;
  mine limit_leases;
  moment timestamptz;
  holders bigint;
  elsewhere_spare bigint;
  keep bigint;
  spare bigint;
  delta bigint;
  recalling boolean := false;
BEGIN
  SELECT * INTO a FROM jsonb_to_record(asked) AS r(
    scope text, owner integer, quantity text, period integer, cap bigint, per_minute bigint, lease bigint,
    keep bigint, spare bigint, settled bigint, heard bigint, least bigint, need bigint, want bigint, recall boolean);
  SELECT * INTO b FROM limit_buckets
   WHERE (scope, owner_id, quantity, period) = (a.scope, a.owner, a.quantity, a.period) FOR UPDATE;
  IF NOT FOUND THEN
    INSERT INTO limit_buckets (scope, owner_id, quantity, period, cap, per_minute, level, updated_at)
    VALUES (a.scope, a.owner, a.quantity, a.period, a.cap, a.per_minute,
            CASE WHEN a.per_minute > 0 THEN a.cap * unit ELSE 0 END, COALESCE(told_time, clock_timestamp()))
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
  IF b.per_minute > 0 THEN
    b.level := limits_refilled(b, moment);
  END IF;
  b.cap := a.cap;
  b.per_minute := a.per_minute;
  SELECT * INTO mine FROM limit_leases
   WHERE (scope, owner_id, quantity, period, lease) = (a.scope, a.owner, a.quantity, a.period, a.lease);
  kept := mine.lease IS NULL OR mine.expires_at > moment;
  SELECT count(*) FILTER (WHERE held > 0), COALESCE(sum(held), 0), COALESCE(sum(limit_leases.spare), 0),
         count(*) FILTER (WHERE held > 0 AND heard < b.recalls)
    INTO holders, elsewhere, elsewhere_spare, unanswered
    FROM limit_leases
   WHERE (scope, owner_id, quantity, period) = (a.scope, a.owner, a.quantity, a.period)
     AND lease <> a.lease AND expires_at > moment;

  keep := a.keep;
  spare := a.spare;
  IF NOT kept OR (a.per_minute > 0 AND mine.lease IS NULL) THEN
    keep := keep - spare;
    spare := 0;
  END IF;
  delta := a.settled - COALESCE(mine.settled, 0);
  IF a.per_minute > 0 THEN
    -- What comes back has no room beyond the burst; debts always have.
    b.level := CASE WHEN delta > 0 THEN b.level - delta * unit
                    ELSE GREATEST(b.level, LEAST(b.level - delta * unit, (b.cap - elsewhere - keep) * unit)) END;
    remains := floor(b.level / unit::numeric);
    unanswered := 0;
  ELSE
    b.spent := b.spent + delta;
    remains := b.cap - b.spent - elsewhere - keep;
  END IF;

  granted := 0;
  IF remains >= a.least AND remains > 0 THEN
    granted := LEAST(a.want, GREATEST(LEAST(a.need, remains), remains / (4 * (1 + holders))));
  ELSIF a.recall AND a.least > 0 AND elsewhere_spare >= a.least AND a.per_minute > 0
        AND COALESCE(b.recalled_at < moment - interval '1 second', true) THEN
    b.recalled_at := moment;
    recalling := true;
  ELSIF a.recall AND a.least > 0 AND holders > 0 AND a.per_minute = 0 AND b.spent + keep + a.least <= b.cap THEN
    b.recalled_at := moment;
    recalling := true;
    unanswered := holders;
  ELSIF a.per_minute = 0 AND b.spent + keep + a.least > b.cap THEN
    -- Not even all that others could give back would do.
    unanswered := 0;
  END IF;
  IF recalling THEN
    b.recalls := b.recalls + 1;
    PERFORM pg_notify('ailb_limits', concat_ws(':', a.scope, a.owner, a.quantity, a.period) || '#' || b.recalls);
  END IF;
  remains := remains - granted;
  spent := b.spent;
  IF a.per_minute > 0 THEN
    b.level := b.level - granted * unit;
  END IF;

  UPDATE limit_buckets u
     SET cap = b.cap, per_minute = b.per_minute, level = b.level, spent = b.spent, updated_at = moment,
         recalls = b.recalls, recalled_at = b.recalled_at
   WHERE (u.scope, u.owner_id, u.quantity, u.period) = (a.scope, a.owner, a.quantity, a.period);
  INSERT INTO limit_leases AS l
  VALUES (a.scope, a.owner, a.quantity, a.period, a.lease, instance, keep + granted,
          spare + GREATEST(granted - a.need, 0), a.settled, a.heard, moment, moment + ttl)
  ON CONFLICT (scope, owner_id, quantity, period, lease) DO UPDATE
     SET held = excluded.held, spare = excluded.spare, settled = excluded.settled, heard = excluded.heard,
         updated_at = excluded.updated_at, expires_at = excluded.expires_at;
  IF mine.lease IS NULL THEN
    DELETE FROM limit_leases
     WHERE (scope, owner_id, quantity, period) = (a.scope, a.owner, a.quantity, a.period)
       AND expires_at < moment - interval '1 day';
  END IF;
END
$$;
COMMENT ON FUNCTION limits_exchange_one(jsonb, text, interval, timestamptz) IS 'An instance''s report of one lease, and what it gets beyond it.';

CREATE FUNCTION limits_exchange(asks jsonb, instance text, ttl interval, told_time timestamptz DEFAULT NULL)
RETURNS TABLE (place bigint, kept boolean, granted bigint, remains bigint, elsewhere bigint, unanswered bigint, spent bigint)
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

CREATE FUNCTION limits_owner(scope text, owner_id integer) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT CASE scope WHEN 'key' THEN (SELECT k.name FROM api_keys k WHERE k.id = owner_id)
                    ELSE (SELECT t.name FROM tenants t WHERE t.id = owner_id) END
$$;
COMMENT ON FUNCTION limits_owner(text, integer) IS 'The name of a key or tenant.';

CREATE VIEW limit_usage AS
SELECT b.scope, b.owner_id, limits_owner(b.scope, b.owner_id) AS name, b.quantity, b.per_minute, b.cap AS at_once,
       CASE WHEN b.per_minute > 0
            THEN floor(LEAST(b.cap - COALESCE(l.held, 0),
                             b.level / 6e7 + b.per_minute * extract(epoch FROM now() - b.updated_at) / 60))::bigint
            ELSE b.cap - COALESCE(l.held, 0) END AS remains,
       COALESCE(l.held, 0)::bigint AS leased, COALESCE(l.spare, 0)::bigint AS leased_unused, COALESCE(l.instances, 0) AS instances
  FROM limit_buckets b
  LEFT JOIN LATERAL (
    SELECT sum(held) AS held, sum(spare) AS spare, count(*) AS instances FROM limit_leases l
     WHERE (l.scope, l.owner_id, l.quantity, l.period) = (b.scope, b.owner_id, b.quantity, b.period)
       AND l.held > 0 AND l.expires_at > now()) l ON true
 WHERE b.quantity <> 'money'
 ORDER BY b.scope, b.owner_id, b.quantity;

COMMENT ON VIEW limit_usage IS 'Rates and running requests as they stand. Limits that were never used are not in it.';
COMMENT ON COLUMN limit_usage.scope IS 'Whose limit: a key''s or a tenant''s.';
COMMENT ON COLUMN limit_usage.owner_id IS 'The number of that key or tenant.';
COMMENT ON COLUMN limit_usage.name IS 'Its name.';
COMMENT ON COLUMN limit_usage.quantity IS 'requests, tokens, or slots: requests that run at once.';
COMMENT ON COLUMN limit_usage.per_minute IS 'The limit a minute; 0 of slots.';
COMMENT ON COLUMN limit_usage.at_once IS 'What may be used at once.';
COMMENT ON COLUMN limit_usage.remains IS 'What nobody has used or leased.';
COMMENT ON COLUMN limit_usage.leased IS 'What instances hold.';
COMMENT ON COLUMN limit_usage.leased_unused IS 'What of that was not in use, as they last told.';
COMMENT ON COLUMN limit_usage.instances IS 'How many instances hold some of it.';

CREATE VIEW budget_usage AS
SELECT b.scope, b.owner_id, limits_owner(b.scope, b.owner_id) AS name, b.period AS month,
       round(b.cap / 1e6, 6) AS budget_usd, round(b.spent / 1e6, 6) AS spent_usd,
       round(COALESCE(l.held - l.spare, 0) / 1e6, 6) AS reserved_usd, round(COALESCE(l.spare, 0) / 1e6, 6) AS leased_usd,
       round((b.cap - b.spent - COALESCE(l.held, 0)) / 1e6, 6) AS remains_usd
  FROM limit_buckets b
  LEFT JOIN LATERAL (
    SELECT sum(held) AS held, sum(spare) AS spare FROM limit_leases l
     WHERE (l.scope, l.owner_id, l.quantity, l.period) = (b.scope, b.owner_id, b.quantity, b.period)
       AND l.held > 0 AND l.expires_at > now()) l ON true
 WHERE b.quantity = 'money'
 ORDER BY b.period DESC, b.scope, b.owner_id;

COMMENT ON VIEW budget_usage IS 'What was spent of monthly budgets. Budgets that were never used are not in it.';
COMMENT ON COLUMN budget_usage.scope IS 'Whose budget: a key''s or a tenant''s.';
COMMENT ON COLUMN budget_usage.owner_id IS 'The number of that key or tenant.';
COMMENT ON COLUMN budget_usage.name IS 'Its name.';
COMMENT ON COLUMN budget_usage.month IS 'YYYYMM, UTC.';
COMMENT ON COLUMN budget_usage.budget_usd IS 'The budget, US dollars.';
COMMENT ON COLUMN budget_usage.spent_usd IS 'The settled costs.';
COMMENT ON COLUMN budget_usage.reserved_usd IS 'Reserved by running requests, as instances last told.';
COMMENT ON COLUMN budget_usage.leased_usd IS 'Held by instances for requests to come.';
COMMENT ON COLUMN budget_usage.remains_usd IS 'What is left of it.';
