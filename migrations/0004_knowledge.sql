-- Knowledge: collections of documents, cut into chunks that are found by meaning and by words.
-- Vectors have a table of their own: a search by meaning reads nothing else, and a collection can be
-- embedded anew beside the vectors that serve.
CREATE TABLE collections (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id integer NOT NULL REFERENCES tenants ON DELETE CASCADE,
  name text NOT NULL CHECK (name ~ '^[A-Za-z0-9._-]{1,64}$'),
  description text NOT NULL DEFAULT '' CHECK (length(description) <= 1024),
  embedding_model text,
  embedding_dimension integer CHECK (embedding_dimension BETWEEN 1 AND 4000),
  embedding_normalised boolean,
  generation integer NOT NULL DEFAULT 1,
  next_model text,
  next_dimension integer CHECK (next_dimension BETWEEN 1 AND 4000),
  next_normalised boolean,
  chunk_size integer NOT NULL CHECK (chunk_size BETWEEN 100 AND 8000),
  chunk_overlap integer NOT NULL CHECK (chunk_overlap BETWEEN 0 AND chunk_size / 2),
  version integer NOT NULL DEFAULT 1,
  document_count integer NOT NULL DEFAULT 0,
  passage_count integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (tenant_id, name),
  CHECK (num_nulls(embedding_model, embedding_dimension, embedding_normalised) IN (0, 3)),
  CHECK (num_nulls(next_model, next_dimension, next_normalised) IN (0, 3))
);

COMMENT ON TABLE collections IS 'Sets of documents that chats may draw upon by `rag_collection`.';
COMMENT ON COLUMN collections.id IS 'What the rows of other tables say, and the names of HNSW indexes.';
COMMENT ON COLUMN collections.tenant_id IS 'Whom it belongs to.';
COMMENT ON COLUMN collections.name IS 'Unique within the tenant: letters, digits, `.`, `_` and `-`, at most 64.';
COMMENT ON COLUMN collections.description IS 'What it holds, for people.';
COMMENT ON COLUMN collections.embedding_model IS 'The model whose vectors serve; null until the first ones are stored.';
COMMENT ON COLUMN collections.embedding_dimension IS 'The dimension of these vectors.';
COMMENT ON COLUMN collections.embedding_normalised IS 'Whether they have the length 1.';
COMMENT ON COLUMN collections.generation IS 'Which rows of `chunk_vectors` serve.';
COMMENT ON COLUMN collections.next_model IS 'The model it is being embedded anew by, as `generation` + 1; null if it is not.';
COMMENT ON COLUMN collections.next_dimension IS 'The dimension of the vectors to come.';
COMMENT ON COLUMN collections.next_normalised IS 'Whether those have the length 1.';
COMMENT ON COLUMN collections.chunk_size IS 'The longest chunk, in characters.';
COMMENT ON COLUMN collections.chunk_overlap IS 'How many characters a chunk repeats, at most, of the one before.';
COMMENT ON COLUMN collections.version IS 'Counts its changes; a result kept in memory is of one version.';
COMMENT ON COLUMN collections.document_count IS 'How many rows of `documents` it has.';
COMMENT ON COLUMN collections.passage_count IS 'How many rows of `chunks` it has.';
COMMENT ON COLUMN collections.created_at IS 'When it was made.';
COMMENT ON COLUMN collections.updated_at IS 'When `version` last grew.';
COMMENT ON INDEX collections_pkey IS 'Serves the foreign keys and every statement that names a collection''s id.';
COMMENT ON INDEX collections_tenant_id_name_key IS 'Serves the look-up of a tenant''s collection by name, and their list.';

CREATE TABLE documents (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id integer NOT NULL REFERENCES tenants ON DELETE CASCADE,
  collection_id integer NOT NULL REFERENCES collections ON DELETE CASCADE,
  external_id text NOT NULL CHECK (length(external_id) BETWEEN 1 AND 512),
  title text NOT NULL,
  source text NOT NULL DEFAULT '',
  metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
  sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  characters integer NOT NULL,
  passage_count integer NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (collection_id, external_id)
);
CREATE INDEX documents_metadata ON documents
  USING gin ((ARRAY[collection_id]), metadata jsonb_path_ops) WITH (fastupdate = off);
CREATE INDEX documents_tenant ON documents (tenant_id);

COMMENT ON TABLE documents IS 'The documents of collections, as they were imported last.';
COMMENT ON COLUMN documents.id IS 'What the rows of `chunks` say.';
COMMENT ON COLUMN documents.tenant_id IS 'Whom it belongs to: the collection''s tenant.';
COMMENT ON COLUMN documents.collection_id IS 'Its collection.';
COMMENT ON COLUMN documents.external_id IS 'The id that its importer gave it, unique within the collection.';
COMMENT ON COLUMN documents.title IS 'Its title.';
COMMENT ON COLUMN documents.source IS 'Where it came from: a path or URL.';
COMMENT ON COLUMN documents.metadata IS 'What `rag_filter` may ask for: an object.';
COMMENT ON COLUMN documents.sha256 IS 'Of what was imported, in hex: the same again is no work.';
COMMENT ON COLUMN documents.characters IS 'How many characters of text it has.';
COMMENT ON COLUMN documents.passage_count IS 'How many rows of `chunks` it has.';
COMMENT ON COLUMN documents.created_at IS 'When it was first imported.';
COMMENT ON COLUMN documents.updated_at IS 'When it last changed.';
COMMENT ON INDEX documents_pkey IS 'Serves the foreign key of `chunks`, and the documents of the passages found.';
COMMENT ON INDEX documents_collection_id_external_id_key IS 'Serves the look-up of a collection''s document by its id, and their list.';
COMMENT ON INDEX documents_metadata IS 'Serves searches with a filter: a collection''s documents whose metadata hold some members.';
COMMENT ON INDEX documents_tenant IS 'Serves the deletion of a tenant.';

CREATE TABLE chunks (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  collection_id integer NOT NULL,
  document_id bigint NOT NULL REFERENCES documents ON DELETE CASCADE,
  ordinal integer NOT NULL,
  overlap integer NOT NULL DEFAULT 0,
  text text NOT NULL,
  tsv tsvector NOT NULL GENERATED ALWAYS AS (to_tsvector('english', text)) STORED,
  UNIQUE (document_id, ordinal)
);
CREATE INDEX chunks_collection ON chunks (collection_id, id);
CREATE INDEX chunks_words ON chunks
  USING gin ((ARRAY[collection_id]), tsv) WITH (fastupdate = off);

COMMENT ON TABLE chunks IS 'The pieces that documents are cut into; neighbours that are found become one passage.';
COMMENT ON COLUMN chunks.id IS 'What the rows of `chunk_vectors` say.';
COMMENT ON COLUMN chunks.collection_id IS 'Its document''s collection.';
COMMENT ON COLUMN chunks.document_id IS 'Its document.';
COMMENT ON COLUMN chunks.ordinal IS 'Its place in the document, from 0.';
COMMENT ON COLUMN chunks.overlap IS 'How many characters at its beginning repeat the end of the one before.';
COMMENT ON COLUMN chunks.text IS 'What it says.';
COMMENT ON COLUMN chunks.tsv IS 'Its words, for full-text search: English stems, without stop words.';
COMMENT ON INDEX chunks_pkey IS 'Serves the text of the chunks found, and the foreign key of `chunk_vectors`.';
COMMENT ON INDEX chunks_document_id_ordinal_key IS 'Serves the chunks of one document in order, and its replacement.';
COMMENT ON INDEX chunks_collection IS 'Serves walks through a collection: embedding anew, deletion.';
COMMENT ON INDEX chunks_words IS 'Serves full-text search within one collection: `ARRAY[collection_id] @> ARRAY[7] AND tsv @@ …`. The first column keeps it from reading other collections'' matches.';

CREATE TABLE chunk_vectors (
  chunk_id bigint NOT NULL REFERENCES chunks ON DELETE CASCADE,
  generation integer NOT NULL,
  collection_id integer NOT NULL,
  document_id bigint NOT NULL,
  embedding halfvec NOT NULL,
  PRIMARY KEY (chunk_id, generation)
);
-- Never out of line: reading it there costs 2.4 times as much.
ALTER TABLE chunk_vectors ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE INDEX chunk_vectors_collection ON chunk_vectors (collection_id, generation, document_id);

COMMENT ON TABLE chunk_vectors IS 'Chunks as vectors. Collections of more than 5,000 chunks have an HNSW index of their own here: `chunk_vectors_hnsw_<collection id>_<generation>`.';
COMMENT ON COLUMN chunk_vectors.chunk_id IS 'The chunk.';
COMMENT ON COLUMN chunk_vectors.generation IS 'The collection''s `generation` serves; the next one is on its way; an older one is being removed.';
COMMENT ON COLUMN chunk_vectors.collection_id IS 'The chunk''s collection.';
COMMENT ON COLUMN chunk_vectors.document_id IS 'The chunk''s document.';
COMMENT ON COLUMN chunk_vectors.embedding IS 'The vector, at half precision: 57 % of the space at the same recall.';
COMMENT ON INDEX chunk_vectors_pkey IS 'Serves the similarity of chunks found by their words, and the chunks that have no vector yet.';
COMMENT ON INDEX chunk_vectors_collection IS 'Serves the exact search of a collection without HNSW index, and of a filter''s documents.';

CREATE VIEW knowledge_collections AS
SELECT t.name AS tenant, c.name AS collection, c.description, c.document_count AS documents,
       c.passage_count AS passages, c.embedding_model, c.embedding_dimension, c.chunk_size,
       c.chunk_overlap, c.next_model AS reindexing_to, c.version, c.created_at, c.updated_at
  FROM collections c
  JOIN tenants t ON t.id = c.tenant_id;

COMMENT ON VIEW knowledge_collections IS 'Collections with their tenants'' names.';
COMMENT ON COLUMN knowledge_collections.tenant IS 'Whom it belongs to.';
COMMENT ON COLUMN knowledge_collections.collection IS 'Its name.';
COMMENT ON COLUMN knowledge_collections.description IS 'What it holds, for people.';
COMMENT ON COLUMN knowledge_collections.documents IS 'How many documents it has.';
COMMENT ON COLUMN knowledge_collections.passages IS 'How many chunks they are cut into.';
COMMENT ON COLUMN knowledge_collections.embedding_model IS 'The model whose vectors serve; null if there are none.';
COMMENT ON COLUMN knowledge_collections.embedding_dimension IS 'The dimension of its vectors.';
COMMENT ON COLUMN knowledge_collections.chunk_size IS 'The longest chunk, in characters.';
COMMENT ON COLUMN knowledge_collections.chunk_overlap IS 'How many characters a chunk repeats, at most, of the one before.';
COMMENT ON COLUMN knowledge_collections.reindexing_to IS 'The model it is being embedded anew by; null if it is not.';
COMMENT ON COLUMN knowledge_collections.version IS 'Counts its changes.';
COMMENT ON COLUMN knowledge_collections.created_at IS 'When it was made.';
COMMENT ON COLUMN knowledge_collections.updated_at IS 'When it last changed.';

CREATE VIEW knowledge_documents AS
SELECT t.name AS tenant, c.name AS collection, d.external_id AS document, d.title, d.source,
       d.metadata, d.passage_count AS passages, d.characters, d.sha256, d.created_at, d.updated_at
  FROM documents d
  JOIN collections c ON c.id = d.collection_id
  JOIN tenants t ON t.id = d.tenant_id;

COMMENT ON VIEW knowledge_documents IS 'Documents with the names of their collections and tenants.';
COMMENT ON COLUMN knowledge_documents.tenant IS 'Whom it belongs to.';
COMMENT ON COLUMN knowledge_documents.collection IS 'Its collection''s name.';
COMMENT ON COLUMN knowledge_documents.document IS 'Its id.';
COMMENT ON COLUMN knowledge_documents.title IS 'Its title.';
COMMENT ON COLUMN knowledge_documents.source IS 'Where it came from.';
COMMENT ON COLUMN knowledge_documents.metadata IS 'What filters may ask for.';
COMMENT ON COLUMN knowledge_documents.passages IS 'How many chunks it is cut into.';
COMMENT ON COLUMN knowledge_documents.characters IS 'How many characters of text it has.';
COMMENT ON COLUMN knowledge_documents.sha256 IS 'Of what was imported, in hex.';
COMMENT ON COLUMN knowledge_documents.created_at IS 'When it was first imported.';
COMMENT ON COLUMN knowledge_documents.updated_at IS 'When it last changed.';

CREATE VIEW knowledge_passages AS
SELECT t.name AS tenant, c.name AS collection, d.external_id AS document, d.title,
       k.ordinal AS passage, k.text, length(k.text) AS characters,
       EXISTS (SELECT FROM chunk_vectors v
                WHERE v.chunk_id = k.id AND v.generation = c.generation) AS embedded
  FROM chunks k
  JOIN documents d ON d.id = k.document_id
  JOIN collections c ON c.id = d.collection_id
  JOIN tenants t ON t.id = d.tenant_id;

COMMENT ON VIEW knowledge_passages IS 'What documents are cut into, in words: order by document and passage to read one.';
COMMENT ON COLUMN knowledge_passages.tenant IS 'Whom it belongs to.';
COMMENT ON COLUMN knowledge_passages.collection IS 'Its collection''s name.';
COMMENT ON COLUMN knowledge_passages.document IS 'Its document''s id.';
COMMENT ON COLUMN knowledge_passages.title IS 'Its document''s title.';
COMMENT ON COLUMN knowledge_passages.passage IS 'Its place in the document, from 0.';
COMMENT ON COLUMN knowledge_passages.text IS 'What it says; its beginning may repeat the end of the one before.';
COMMENT ON COLUMN knowledge_passages.characters IS 'How long it is.';
COMMENT ON COLUMN knowledge_passages.embedded IS 'Whether it has a vector; if not, only its words find it.';

CREATE FUNCTION knowledge_search(
  tenant text, collection text, query text, max_results integer DEFAULT 10
) RETURNS TABLE (document text, title text, source text, passage integer, rank real, excerpt text)
LANGUAGE sql STABLE AS $$
  SELECT d.external_id, d.title, d.source, found.ordinal, found.rank,
         ts_headline('english', found.text, found.q, 'StartSel=**, StopSel=**, MaxWords=30, MinWords=15')
    FROM (SELECT k.document_id, k.ordinal, k.text, q, ts_rank(k.tsv, q) AS rank
            FROM tenants t
            JOIN collections c ON c.tenant_id = t.id
           CROSS JOIN websearch_to_tsquery('english', knowledge_search.query) q
            JOIN chunks k ON k.collection_id = c.id
                         AND ARRAY[k.collection_id] @> ARRAY[c.id] AND k.tsv @@ q
           WHERE t.name = knowledge_search.tenant AND c.name = knowledge_search.collection
           ORDER BY rank DESC, k.id
           LIMIT knowledge_search.max_results) found
    JOIN documents d ON d.id = found.document_id
   ORDER BY found.rank DESC, d.external_id, found.ordinal
$$;

COMMENT ON FUNCTION knowledge_search(text, text, text, integer) IS
  'Full-text search of a tenant''s collection, without vectors. `query` as for a web search engine: words, "a phrase", or, -not. The best first; `excerpt` marks the words found with **.';
