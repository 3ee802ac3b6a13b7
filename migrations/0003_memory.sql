-- Conversation memory. docs/memory.md tells how it is used, docs/psql.md how to look into it.

CREATE TABLE memory_spaces (
  tenant_id integer PRIMARY KEY REFERENCES tenants ON DELETE CASCADE,
  version integer NOT NULL DEFAULT 1,
  model text NOT NULL,
  dimension integer NOT NULL CHECK (dimension > 0),
  normalised boolean NOT NULL,
  reindexing boolean NOT NULL DEFAULT false,
  recorded_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE memory_spaces IS 'By which model each tenant''s turns are embedded. Only vectors of one version are ever compared.';
COMMENT ON COLUMN memory_spaces.tenant_id IS 'Whose turns.';
COMMENT ON COLUMN memory_spaces.version IS 'Counts up with each change of the model; turns.space_version is of the same numbers.';
COMMENT ON COLUMN memory_spaces.model IS 'The embedding model, as configured.';
COMMENT ON COLUMN memory_spaces.dimension IS 'The length of its vectors.';
COMMENT ON COLUMN memory_spaces.normalised IS 'Whether its vectors have the length 1.';
COMMENT ON COLUMN memory_spaces.reindexing IS 'Whether `ailb memory reindex` has begun and not ended: older turns may still wait for their vector of this version.';
COMMENT ON COLUMN memory_spaces.recorded_at IS 'When the model was recorded: with the first turn embedded, or by a reindex.';

-- Room on each page, because every new turn updates its session's row.
CREATE TABLE sessions (
  tenant_id integer NOT NULL REFERENCES tenants,
  id bigint GENERATED ALWAYS AS IDENTITY,
  external_id text NOT NULL CHECK (length(external_id) BETWEEN 1 AND 256),
  end_user text NOT NULL DEFAULT '',
  turn_count integer NOT NULL DEFAULT 0 CHECK (turn_count >= 0),
  created_at timestamptz NOT NULL DEFAULT now(),
  last_turn_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  CONSTRAINT sessions_external UNIQUE (tenant_id, external_id)
) WITH (fillfactor = 70);

CREATE INDEX sessions_newest ON sessions (tenant_id, last_turn_at DESC, id DESC);
CREATE INDEX sessions_of_user ON sessions (tenant_id, end_user, last_turn_at DESC, id DESC) WHERE end_user <> '';
CREATE INDEX sessions_stale ON sessions (last_turn_at);

COMMENT ON TABLE sessions IS 'Conversations. Removed with their turns MEMORY_TTL_DAYS after the last one.';
COMMENT ON COLUMN sessions.tenant_id IS 'Whose it is: the same external_id of two tenants is two sessions.';
COMMENT ON COLUMN sessions.id IS 'What turns say; never told to callers.';
COMMENT ON COLUMN sessions.external_id IS 'The caller''s `session_id`.';
COMMENT ON COLUMN sessions.end_user IS 'The first request''s `user`; empty if it told none.';
COMMENT ON COLUMN sessions.turn_count IS 'How many turns there are, which is the next turn''s number. Counted up in the statement that adds them, so that no two get one number.';
COMMENT ON COLUMN sessions.created_at IS 'When its first turn was stored.';
COMMENT ON COLUMN sessions.last_turn_at IS 'When its last turn was stored.';
COMMENT ON INDEX sessions_pkey IS 'Turns'' reference, and deletion.';
COMMENT ON INDEX sessions_external IS 'Recall and append: a session by the caller''s id.';
COMMENT ON INDEX sessions_newest IS 'ListSessions, and the sessions that a search of the tenant looks into: the last used first.';
COMMENT ON INDEX sessions_of_user IS 'ListSessions and DeleteSessions of one end user.';
COMMENT ON INDEX sessions_stale IS 'The sweep of sessions past their time.';

-- No index on the vectors, on purpose: a recall reads one session by its primary key and compares at
-- most its newest 1,000 turns exactly, which is quicker than any approximate index with a filter.
CREATE TABLE turns (
  tenant_id integer NOT NULL,
  session_id bigint NOT NULL,
  turn integer NOT NULL CHECK (turn >= 0),
  role smallint NOT NULL CHECK (role BETWEEN 1 AND 3),
  tokens integer NOT NULL,
  fingerprint bigint NOT NULL,
  embeddable boolean NOT NULL,
  space_version integer,
  -- Inline and not compressed: fetched from elsewhere, a comparison takes 2.4 times as long.
  embedding halfvec STORAGE PLAIN,
  created_at timestamptz NOT NULL DEFAULT now(),
  answer_key uuid,
  request_id text NOT NULL,
  provider text NOT NULL DEFAULT '',
  model text NOT NULL DEFAULT '',
  finish_reason text NOT NULL DEFAULT '',
  text text NOT NULL,
  message jsonb,
  PRIMARY KEY (tenant_id, session_id, turn),
  FOREIGN KEY (tenant_id, session_id) REFERENCES sessions ON DELETE CASCADE,
  CHECK ((embedding IS NULL) = (space_version IS NULL))
);

CREATE UNIQUE INDEX turns_answered ON turns (tenant_id, session_id, answer_key) WHERE answer_key IS NOT NULL;
CREATE INDEX turns_to_embed ON turns (tenant_id, created_at) WHERE embedding IS NULL AND embeddable;
CREATE INDEX turns_words ON turns USING gin ((
  to_tsvector('english', left(text, 20000))
  || array_to_tsvector(ARRAY['tenant:' || tenant_id::text, 'session:' || session_id::text])
));

COMMENT ON TABLE turns IS 'What was said in sessions: one row for each message, as it was.';
COMMENT ON COLUMN turns.tenant_id IS 'Whose it is.';
COMMENT ON COLUMN turns.session_id IS 'sessions.id.';
COMMENT ON COLUMN turns.turn IS 'Its place in the session: 0, 1, 2, … without gaps.';
COMMENT ON COLUMN turns.role IS 'Who said it: 1 user, 2 assistant, 3 tool.';
COMMENT ON COLUMN turns.tokens IS 'The provider''s count for an answer; else an estimate, a token for four characters.';
COMMENT ON COLUMN turns.fingerprint IS 'Hash of role, text and tool ids: finds the turn again in a request that repeats it.';
COMMENT ON COLUMN turns.embeddable IS 'Whether it shall have an embedding: words of a user or an assistant. False also for a text that the embedder made no usable vector of.';
COMMENT ON COLUMN turns.space_version IS 'memory_spaces.version as it was when it was embedded.';
COMMENT ON COLUMN turns.embedding IS 'The text''s vector; NULL until the background task has embedded it.';
COMMENT ON COLUMN turns.created_at IS 'When it was stored.';
COMMENT ON COLUMN turns.answer_key IS 'Set on answers: hash of request id and question, so that a retry is stored once.';
COMMENT ON COLUMN turns.request_id IS 'The request that brought it.';
COMMENT ON COLUMN turns.provider IS 'Who answered; empty for what the caller said.';
COMMENT ON COLUMN turns.model IS 'The model that answered, as its provider names it; empty for what the caller said.';
COMMENT ON COLUMN turns.finish_reason IS 'Why an answer ended: OpenAI''s reasons, or `cancelled`; empty for what the caller said.';
COMMENT ON COLUMN turns.text IS 'The words; images and other media are placeholders such as `[image]`. At most 256 KiB.';
COMMENT ON COLUMN turns.message IS 'What OpenAI''s message has beside role and text: tool calls, a result''s call id, a name.';
COMMENT ON INDEX turns_pkey IS 'Recall: a session''s last turns, and its newest 1,000 for comparison. ListTurns.';
COMMENT ON INDEX turns_answered IS 'Append: the same exchange is stored once.';
COMMENT ON INDEX turns_to_embed IS 'The background task: a tenant''s turns without a vector, the oldest first.';
COMMENT ON INDEX turns_words IS 'Full-text search, within a tenant or a session, whose numbers are words of the index too. The configuration is `english`, not `simple`: questions are sentences, whose stop words would have to be in a turn for it to be found. Words of other languages are found as they are written.';

CREATE VIEW memory_sessions AS
SELECT tenant.name AS tenant,
       s.external_id AS session,
       s.end_user,
       s.turn_count AS turns,
       s.created_at,
       s.last_turn_at
  FROM sessions s JOIN tenants tenant ON tenant.id = s.tenant_id;

COMMENT ON VIEW memory_sessions IS 'Conversations, for people.';
COMMENT ON COLUMN memory_sessions.tenant IS 'Whose it is.';
COMMENT ON COLUMN memory_sessions.session IS 'The caller''s `session_id`.';
COMMENT ON COLUMN memory_sessions.end_user IS 'The first request''s `user`; may be empty.';
COMMENT ON COLUMN memory_sessions.turns IS 'How many turns it has.';
COMMENT ON COLUMN memory_sessions.created_at IS 'When it began.';
COMMENT ON COLUMN memory_sessions.last_turn_at IS 'When a turn was last added.';

CREATE VIEW memory_turns AS
SELECT tenant.name AS tenant,
       s.external_id AS session,
       t.turn,
       CASE t.role WHEN 1 THEN 'user' WHEN 2 THEN 'assistant' ELSE 'tool' END AS role,
       t.text,
       t.message,
       t.model,
       t.provider,
       t.tokens,
       t.finish_reason,
       t.request_id,
       t.embedding IS NOT NULL AS embedded,
       t.created_at
  FROM turns t
  JOIN sessions s ON s.tenant_id = t.tenant_id AND s.id = t.session_id
  JOIN tenants tenant ON tenant.id = t.tenant_id;

COMMENT ON VIEW memory_turns IS 'What was said, for people.';
COMMENT ON COLUMN memory_turns.tenant IS 'Whose it is.';
COMMENT ON COLUMN memory_turns.session IS 'The caller''s `session_id`.';
COMMENT ON COLUMN memory_turns.turn IS 'Its place in the session, from 0.';
COMMENT ON COLUMN memory_turns.role IS 'Who said it: user, assistant or tool.';
COMMENT ON COLUMN memory_turns.text IS 'The words; images and other media are placeholders.';
COMMENT ON COLUMN memory_turns.message IS 'Tool calls, a result''s call id, a name; or NULL.';
COMMENT ON COLUMN memory_turns.model IS 'The model that answered.';
COMMENT ON COLUMN memory_turns.provider IS 'Who answered.';
COMMENT ON COLUMN memory_turns.tokens IS 'The provider''s count for an answer; else an estimate.';
COMMENT ON COLUMN memory_turns.finish_reason IS 'Why an answer ended.';
COMMENT ON COLUMN memory_turns.request_id IS 'The request that brought it.';
COMMENT ON COLUMN memory_turns.embedded IS 'Whether it has a vector.';
COMMENT ON COLUMN memory_turns.created_at IS 'When it was stored.';

CREATE FUNCTION memory_search(tenant text, query text, session text DEFAULT NULL, at_most integer DEFAULT 20)
RETURNS TABLE (session_id text, turn integer, role text, said text, rank real, created_at timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE
AS $function$
  SELECT s.external_id,
         t.turn,
         CASE t.role WHEN 1 THEN 'user' WHEN 2 THEN 'assistant' ELSE 'tool' END,
         t.text,
         ts_rank(to_tsvector('english', left(t.text, 20000)), websearch_to_tsquery('english', memory_search.query)),
         t.created_at
    FROM tenants owner
    JOIN turns t ON t.tenant_id = owner.id
    JOIN sessions s ON s.tenant_id = owner.id AND s.id = t.session_id
   WHERE owner.name = memory_search.tenant
     AND (memory_search.session IS NULL OR s.external_id = memory_search.session)
     AND numnode(websearch_to_tsquery('english', memory_search.query)) > 0
     AND (to_tsvector('english', left(t.text, 20000))
          || array_to_tsvector(ARRAY['tenant:' || t.tenant_id::text, 'session:' || t.session_id::text]))
         @@ (('''tenant:' || owner.id::text || '''')::tsquery && websearch_to_tsquery('english', memory_search.query))
   ORDER BY 5 DESC, t.created_at DESC
   LIMIT memory_search.at_most
$function$;

COMMENT ON FUNCTION memory_search(text, text, text, integer) IS 'Finds what was said by words, without an embedding: memory_search(''default'', ''"exact words" or either -not''), best first. Third argument: only in this session; fourth: at most so many.';
