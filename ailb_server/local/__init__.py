"""What `ailb up` embeds: Postgres and Envoy on this machine."""
