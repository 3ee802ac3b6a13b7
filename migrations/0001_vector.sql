-- pgvector: the columns and indexes of memory and knowledge are made of its types.
-- A role that is no superuser needs the extension to be there already, or to be trusted.
CREATE EXTENSION IF NOT EXISTS vector;
