"""Knowledge on a real Postgres."""
