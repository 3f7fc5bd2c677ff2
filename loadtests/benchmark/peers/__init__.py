"""Other people's servers around the same model: each a small program, run in an environment that holds that framework.

They are set up as a fair opponent would for a small model on two cores; each file says which of its other ways were tried.
"""
