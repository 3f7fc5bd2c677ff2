"""Programs that prove a promise: each prints its figures and exits 1 where the promise is broken."""
