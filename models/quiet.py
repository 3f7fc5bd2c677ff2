"""Importing this lets ONNX Runtime tell its makers nothing.

Since 1.32 it collects telemetry on Linux too: as soon as it is imported it writes an identifier of the device below
`~/.cache/Microsoft`, starts a thread, and sends what it has gathered when it can: 0.2 s of every start, of a server that is
to ask nobody. `onnxruntime.disable_telemetry_events()` comes too late for all of that, so each package that uses the runtime
imports this first. Whoever wants the telemetry sets the variable to 0.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
