"""Protocols: how bytes mean requests. Each offers routes; a front end mounts them and decides nothing."""
