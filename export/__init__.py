"""From a checkpoint to checked artifacts: export, compare each file with the eager model, publish all of them or nothing.

`publish.py` is the way through; `exporter.py` the seam where a format is added; `parity.py` what passing means.
"""
