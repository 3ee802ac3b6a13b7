-- Requests that are signed instead of carrying a key's secret.
-- docs/decisions/0010-signatures.md has the reasons.

ALTER TABLE api_keys ADD COLUMN require_signature boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN api_keys.require_signature IS 'Its secret opens nothing: requests must be signed.';

-- Not UNLOGGED: a crash would empty it, and what was signed a moment before could be used again.
CREATE TABLE used_nonces (
  key_id integer NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
  nonce text NOT NULL CHECK (length(nonce) BETWEEN 16 AND 64),
  forget_after timestamptz NOT NULL,
  PRIMARY KEY (key_id, nonce)
);

COMMENT ON TABLE used_nonces IS 'What signed requests have used once: the same again is a replay. Rows go some minutes later.';
COMMENT ON COLUMN used_nonces.key_id IS 'The key that signed.';
COMMENT ON COLUMN used_nonces.nonce IS 'What its signer chose for this one request.';
COMMENT ON COLUMN used_nonces.forget_after IS 'From then on the request''s time is too old anyway.';
COMMENT ON INDEX used_nonces_pkey IS 'Refuses a replay.';

CREATE INDEX used_nonces_forget_after ON used_nonces (forget_after);
COMMENT ON INDEX used_nonces_forget_after IS 'Serves the removal of what is too old.';
