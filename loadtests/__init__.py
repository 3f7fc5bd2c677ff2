"""Load tests: how much a running server carries, with every answer checked. They know the wire and nothing else."""
