"""The API over real connections on loopback."""
