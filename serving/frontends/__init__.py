"""Front ends: each moves bytes between a server and the routes, and decides nothing."""
