"""Real Envoy in front of a server whose answers each test writes."""
