"""Training: a ModelSpec and a Recipe become weights with an origin. Lightning runs the loop; this ties a spec to it."""
