"""The built-in demo provider: an OpenAI-shaped upstream, deterministic and offline."""
