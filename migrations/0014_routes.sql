-- Model routes, and how traffic is shared between versions. docs/model-routes.md tells what they do.

CREATE TABLE model_routes_state (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  version bigint NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO model_routes_state DEFAULT VALUES;

COMMENT ON TABLE model_routes_state IS 'The number of the routing table: one row, which whoever changes routes holds locked.';
COMMENT ON COLUMN model_routes_state.only_one IS 'Keeps it at one row.';
COMMENT ON COLUMN model_routes_state.version IS 'Counts the changes of routes and of instances'' weights.';
COMMENT ON COLUMN model_routes_state.updated_at IS 'When the last of them was.';

CREATE TABLE model_routes (
  route_id text PRIMARY KEY CHECK (route_id ~ '^[A-Za-z0-9._-]{1,128}$' AND route_id <> 'module'),
  protocol text NOT NULL CHECK (protocol IN ('', 'HTTP', 'HTTPS', 'HTTP2', 'HTTP3', 'GRPC')),
  path_pattern text NOT NULL CHECK (length(path_pattern) <= 256),
  model_pattern text NOT NULL CHECK (length(model_pattern) BETWEEN 1 AND 256),
  headers jsonb NOT NULL CHECK (jsonb_typeof(headers) = 'object'),
  priority integer NOT NULL,
  metadata jsonb NOT NULL CHECK (jsonb_typeof(metadata) = 'object'),
  versions jsonb NOT NULL CHECK (jsonb_typeof(versions) = 'array' AND jsonb_array_length(versions) BETWEEN 1 AND 8),
  weights jsonb NOT NULL CHECK (jsonb_typeof(weights) = 'object'),
  stable text NOT NULL,
  previous text NOT NULL,
  promoting text,
  promotion_rate integer CHECK (promotion_rate BETWEEN 1 AND 100),
  promotion_interval_s integer CHECK (promotion_interval_s BETWEEN 1 AND 86400),
  promotion_started_at timestamptz,
  weights_changed_at timestamptz NOT NULL DEFAULT now(),
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  CHECK (num_nulls(promoting, promotion_rate, promotion_interval_s, promotion_started_at) IN (0, 4))
);

COMMENT ON TABLE model_routes IS 'Which requests go to which targets. A change, by SQL too, is announced to every instance; a table that is not sound is refused as a whole.';
COMMENT ON COLUMN model_routes.route_id IS 'Its name.';
COMMENT ON COLUMN model_routes.protocol IS 'Which requests it takes: HTTP… those over REST, GRPC those over gRPC, empty: all.';
COMMENT ON COLUMN model_routes.path_pattern IS 'The paths it takes, * and ? are wildcards; empty: all.';
COMMENT ON COLUMN model_routes.model_pattern IS 'The models it takes, as callers name them, * and ? are wildcards.';
COMMENT ON COLUMN model_routes.headers IS 'Headers, by lower-case names, that a request must have with these values.';
COMMENT ON COLUMN model_routes.priority IS 'Of the routes with an exact model, and of those with a pattern, the highest comes first.';
COMMENT ON COLUMN model_routes.metadata IS 'Notes of its maker, text by text; those that begin with `ailb.` are its options.';
COMMENT ON COLUMN model_routes.versions IS 'The target group: [{"name": …, "models": […]}].';
COMMENT ON COLUMN model_routes.weights IS 'Percent by version at weights_changed_at, together 100. A promotion that is under way moves them on: see promotion_….';
COMMENT ON COLUMN model_routes.stable IS 'The version that had all traffic last.';
COMMENT ON COLUMN model_routes.previous IS 'The version that had it before that one; empty: none.';
COMMENT ON COLUMN model_routes.promoting IS 'The version that is promoted in steps; null: none.';
COMMENT ON COLUMN model_routes.promotion_rate IS 'Percent that it gains in each step.';
COMMENT ON COLUMN model_routes.promotion_interval_s IS 'Seconds from step to step.';
COMMENT ON COLUMN model_routes.promotion_started_at IS 'When its first step was.';
COMMENT ON COLUMN model_routes.weights_changed_at IS 'When weights were last set.';
COMMENT ON COLUMN model_routes.created_at IS 'When it was made.';
COMMENT ON COLUMN model_routes.updated_at IS 'When it last changed.';
COMMENT ON INDEX model_routes_pkey IS 'Serves changes by id.';

CREATE TABLE instance_weights (
  instance text NOT NULL CHECK (length(instance) BETWEEN 1 AND 64),
  version text NOT NULL CHECK (length(version) BETWEEN 1 AND 64),
  weights jsonb NOT NULL CHECK (jsonb_typeof(weights) = 'object'),
  stable text NOT NULL,
  previous text NOT NULL,
  promoting text,
  promotion_rate integer CHECK (promotion_rate BETWEEN 1 AND 100),
  promotion_interval_s integer CHECK (promotion_interval_s BETWEEN 1 AND 86400),
  promotion_started_at timestamptz,
  weights_changed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (instance, version),
  CHECK (num_nulls(promoting, promotion_rate, promotion_interval_s, promotion_started_at) IN (0, 4))
);

COMMENT ON TABLE instance_weights IS 'What instances tell load balancers of the share that their version is to get. Without a row it is all.';
COMMENT ON COLUMN instance_weights.instance IS 'MODULE_ID.';
COMMENT ON COLUMN instance_weights.version IS 'The version of AILB that it runs: another one begins anew.';
COMMENT ON COLUMN instance_weights.weights IS 'Percent of the version, and of `others`, at weights_changed_at.';
COMMENT ON COLUMN instance_weights.stable IS 'Who had all traffic last: the version, or `others`.';
COMMENT ON COLUMN instance_weights.previous IS 'Who had it before; empty: nobody.';
COMMENT ON COLUMN instance_weights.promoting IS 'The version, while it is promoted in steps; null: it is not.';
COMMENT ON COLUMN instance_weights.promotion_rate IS 'Percent that it gains in each step.';
COMMENT ON COLUMN instance_weights.promotion_interval_s IS 'Seconds from step to step.';
COMMENT ON COLUMN instance_weights.promotion_started_at IS 'When its first step was.';
COMMENT ON COLUMN instance_weights.weights_changed_at IS 'When the weight was last set.';
COMMENT ON INDEX instance_weights_pkey IS 'Serves reading and changing one instance''s.';

CREATE FUNCTION model_routes_changing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION model_routes_changing() IS 'Notes when a route changed.';

CREATE FUNCTION model_routes_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE model_routes_state SET version = version + 1, updated_at = now();
  PERFORM pg_notify('ailb_routes', '');
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION model_routes_changed() IS 'Tells every instance to read the routes anew.';

CREATE TRIGGER changing BEFORE UPDATE ON model_routes
  FOR EACH ROW EXECUTE FUNCTION model_routes_changing();
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON model_routes
  FOR EACH STATEMENT EXECUTE FUNCTION model_routes_changed();
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON instance_weights
  FOR EACH STATEMENT EXECUTE FUNCTION model_routes_changed();
