"""Where requests go: the routing table, the strategies, the attempts."""
