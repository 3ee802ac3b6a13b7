-- Imports: documents on their way into collections. Whichever instance has time takes them up; what
-- an instance that died had taken up is taken again once its lease has run out.
CREATE TABLE imports (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id integer NOT NULL REFERENCES tenants ON DELETE CASCADE,
  collection_id integer NOT NULL REFERENCES collections ON DELETE CASCADE,
  total integer NOT NULL,
  pending integer NOT NULL,
  imported integer NOT NULL DEFAULT 0,
  unchanged integer NOT NULL DEFAULT 0,
  failed integer NOT NULL DEFAULT 0,
  passages integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  CHECK (total = pending + imported + unchanged + failed),
  CHECK ((pending = 0) = (finished_at IS NOT NULL))
) WITH (fillfactor = 50);
CREATE INDEX imports_tenant ON imports (tenant_id);
CREATE INDEX imports_collection ON imports (collection_id);
CREATE INDEX imports_finished ON imports (finished_at) WHERE finished_at IS NOT NULL;

COMMENT ON TABLE imports IS 'Jobs that import documents. Finished ones are removed after a week.';
COMMENT ON COLUMN imports.id IS 'What callers name it by.';
COMMENT ON COLUMN imports.tenant_id IS 'Whom it belongs to: the collection''s tenant.';
COMMENT ON COLUMN imports.collection_id IS 'Where its documents go.';
COMMENT ON COLUMN imports.total IS 'How many documents it has.';
COMMENT ON COLUMN imports.pending IS 'How many of them wait or are being worked on.';
COMMENT ON COLUMN imports.imported IS 'How many are stored.';
COMMENT ON COLUMN imports.unchanged IS 'How many were there already, with the same content.';
COMMENT ON COLUMN imports.failed IS 'How many could not be imported; `import_items.reason` says why.';
COMMENT ON COLUMN imports.passages IS 'How many passages were made.';
COMMENT ON COLUMN imports.created_at IS 'When it was asked for.';
COMMENT ON COLUMN imports.finished_at IS 'When its last document was done; null before.';
COMMENT ON INDEX imports_pkey IS 'Serves the look-up of an import, and the foreign key of `import_items`.';
COMMENT ON INDEX imports_tenant IS 'Serves the deletion of a tenant.';
COMMENT ON INDEX imports_collection IS 'Serves the deletion of a collection.';
COMMENT ON INDEX imports_finished IS 'Serves the removal of old imports.';

CREATE TABLE import_items (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id integer NOT NULL,
  import_id uuid NOT NULL REFERENCES imports ON DELETE CASCADE,
  collection_id integer NOT NULL,
  document_id text NOT NULL,
  title text NOT NULL,
  source text NOT NULL,
  metadata jsonb NOT NULL,
  sha256 text NOT NULL,
  content_type text NOT NULL,
  content bytea,
  bytes integer NOT NULL,
  state text NOT NULL DEFAULT 'waiting'
    CHECK (state IN ('waiting', 'working', 'imported', 'unchanged', 'failed')),
  due_at timestamptz NOT NULL DEFAULT now(),
  worker uuid,
  attempts integer NOT NULL DEFAULT 0,
  reason text,
  CHECK ((content IS NOT NULL) = (state IN ('waiting', 'working')))
);
-- It is there for moments: compressing it would cost more than it saves.
ALTER TABLE import_items ALTER COLUMN content SET STORAGE EXTERNAL;
CREATE INDEX import_items_open ON import_items (tenant_id, id) INCLUDE (bytes)
  WHERE state IN ('waiting', 'working');
CREATE INDEX import_items_open_document ON import_items (collection_id, document_id, id)
  WHERE state IN ('waiting', 'working');
CREATE INDEX import_items_import ON import_items (import_id, id);

COMMENT ON TABLE import_items IS 'The documents of imports. One that was unchanged when it was asked for has no row.';
COMMENT ON COLUMN import_items.id IS 'Documents of the same id in a collection are imported in this order.';
COMMENT ON COLUMN import_items.tenant_id IS 'Whom it belongs to: the import''s tenant.';
COMMENT ON COLUMN import_items.import_id IS 'The import it is part of.';
COMMENT ON COLUMN import_items.collection_id IS 'The import''s collection.';
COMMENT ON COLUMN import_items.document_id IS 'The id that the importer gave the document.';
COMMENT ON COLUMN import_items.title IS 'The title that the importer gave it; empty if none.';
COMMENT ON COLUMN import_items.source IS 'Where it came from: a path or URL.';
COMMENT ON COLUMN import_items.metadata IS 'What filters may ask for: an object.';
COMMENT ON COLUMN import_items.sha256 IS 'Of the content, in hex.';
COMMENT ON COLUMN import_items.content_type IS 'What the content is, as HTTP says it.';
COMMENT ON COLUMN import_items.content IS 'The file as it was sent; removed once the document is done.';
COMMENT ON COLUMN import_items.bytes IS 'How long the content is, or was.';
COMMENT ON COLUMN import_items.state IS 'waiting, working, imported, unchanged or failed.';
COMMENT ON COLUMN import_items.due_at IS 'Before then nobody takes it up: the end of a pause, or of a worker''s lease.';
COMMENT ON COLUMN import_items.worker IS 'Who works on it.';
COMMENT ON COLUMN import_items.attempts IS 'How often it was taken up, but for the times that were given up for an outage.';
COMMENT ON COLUMN import_items.reason IS 'Why it failed, for people.';
COMMENT ON INDEX import_items_pkey IS 'Serves the end of one document''s work.';
COMMENT ON INDEX import_items_open IS 'Serves those who look for work, tenant by tenant, and the sum of what a tenant has waiting.';
COMMENT ON INDEX import_items_open_document IS 'Serves the question whether a document has an earlier version on its way.';
COMMENT ON INDEX import_items_import IS 'Serves the failures of an import, and its removal.';
