-- The instances by their heartbeats, how many are wished for, and what was changed of their
-- configuration at run time. docs/marchproxy.md tells who writes them.
CREATE TABLE instances (
  module_id text PRIMARY KEY CHECK (module_id <> ''),
  boot uuid NOT NULL,
  address text NOT NULL,
  version text NOT NULL,
  weight integer NOT NULL CHECK (weight BETWEEN 0 AND 100),
  status text NOT NULL CHECK (status IN ('starting', 'healthy', 'degraded', 'unhealthy', 'stopping')),
  connections integer NOT NULL DEFAULT 0 CHECK (connections >= 0),
  max_connections integer NOT NULL DEFAULT 0 CHECK (max_connections >= 0),
  metadata jsonb NOT NULL DEFAULT '{}',
  started_at timestamptz NOT NULL,
  heartbeat_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

COMMENT ON TABLE instances IS 'The instances that are alive: each writes its row every few seconds and removes it when it ends. Others remove what has been silent for ten minutes.';
COMMENT ON COLUMN instances.module_id IS 'MODULE_ID.';
COMMENT ON COLUMN instances.boot IS 'Another one for each process, so that two with one MODULE_ID can be told.';
COMMENT ON COLUMN instances.address IS 'host:port of its gRPC server.';
COMMENT ON COLUMN instances.version IS 'Of AILB.';
COMMENT ON COLUMN instances.weight IS 'The traffic weight of its version, 0 to 100.';
COMMENT ON COLUMN instances.status IS 'As it says of itself: starting, healthy, degraded, unhealthy or stopping. With an old heartbeat it says nothing any more.';
COMMENT ON COLUMN instances.connections IS 'gRPC calls that ran at the heartbeat.';
COMMENT ON COLUMN instances.max_connections IS 'MAX_CONCURRENT_REQUESTS.';
COMMENT ON COLUMN instances.metadata IS 'Names and texts, such as the configuration''s version.';
COMMENT ON COLUMN instances.started_at IS 'When the process began to serve.';
COMMENT ON COLUMN instances.heartbeat_at IS 'When it last wrote this row, by the clock of Postgres.';

CREATE TABLE scale_wish (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  min_instances integer NOT NULL CHECK (min_instances >= 0),
  max_instances integer NOT NULL CHECK (max_instances >= min_instances),
  details jsonb NOT NULL DEFAULT '{}',
  wished_by text NOT NULL,
  wished_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE scale_wish IS 'How many instances the load balancer wishes for. AILB starts no machines: whoever does may read it here.';
COMMENT ON COLUMN scale_wish.one IS 'There is one row.';
COMMENT ON COLUMN scale_wish.min_instances IS 'No fewer.';
COMMENT ON COLUMN scale_wish.max_instances IS 'No more.';
COMMENT ON COLUMN scale_wish.details IS 'The rest of marchproxy.ScalingConfig, by its field names.';
COMMENT ON COLUMN scale_wish.wished_by IS 'Who called.';
COMMENT ON COLUMN scale_wish.wished_at IS 'When.';

CREATE TABLE config_overlay (
  config_type text PRIMARY KEY CHECK (config_type IN ('settings', 'providers', 'aliases')),
  data jsonb,
  version bigint NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  updated_by text NOT NULL
);

COMMENT ON TABLE config_overlay IS 'What was changed of the configuration at run time, by marchproxy.ModuleService.UpdateConfig, for all instances; it wins over the environment and the YAML file. A change is announced on the channel ailb_config.';
COMMENT ON COLUMN config_overlay.config_type IS 'settings, providers or aliases.';
COMMENT ON COLUMN config_overlay.data IS 'settings: values by name; providers, aliases: what takes the place of the file''s. Null: nothing is changed any more. No secrets.';
COMMENT ON COLUMN config_overlay.version IS 'Counts the changes of all types together: the largest is the overlay''s version.';
COMMENT ON COLUMN config_overlay.updated_at IS 'When.';
COMMENT ON COLUMN config_overlay.updated_by IS 'Who called.';

CREATE FUNCTION config_overlay_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('ailb_config', NEW.version::text);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION config_overlay_changed() IS 'Tells every instance that the configuration''s overlay changed.';

CREATE TRIGGER config_overlay_changed AFTER INSERT OR UPDATE ON config_overlay
  FOR EACH ROW EXECUTE FUNCTION config_overlay_changed();
