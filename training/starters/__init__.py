"""Starters: small, complete model folders on real data, one for each kind of task; `sameway new` copies one of them.

They are ordinary packages, so that they are linted, typed and tested as they are copied. They share no code with each other:
a copy has to stand alone.
"""
