"""Other people's servers around the same model: each a small program, run in an environment that holds that framework.

They are set up as their documentation advises for a small model on two cores, and as a fair opponent would.
"""
