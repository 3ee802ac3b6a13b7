"""The client of MarchProxy's load balancer: registers this instance there, and keeps it known."""
