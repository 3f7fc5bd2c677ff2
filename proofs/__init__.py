"""Programs that prove what docs/reliability.md promises, at full length, against the real server in a process of its own."""
