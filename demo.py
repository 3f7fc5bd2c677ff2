"""`make demo`: the whole way once, from data to a served, verified answer, each step as you would type it yourself.

It trains `digits` on real data, exports it with proof, starts the server, draws a digit that the model has never seen,
sends its PNG, and compares the answer with the true label. Then it goes on serving; with CI=true it stops.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import IO

from models import spec
from models.tensors import Array

MODEL = "digits"
FOLDER = Path(".demo")
#: Which held-out sample is sent: any would do.
SAMPLE = 0


def main() -> int:
    """Walk the way; return 0 if the answer was right and, with CI=true, the server stopped cleanly."""
    for step in (["train", MODEL], ["export", MODEL]):
        announce(step)
        subprocess.run([sameway(), *step], check=True)
    announce(["serve", "--port", "0"])
    server = subprocess.Popen([sameway(), "serve", "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        right = ask(wait_until_ready(server))
    except BaseException:
        server.kill()
        raise
    if os.environ.get("CI") == "true":
        return stop(server) or (0 if right else 1)
    print("\nStill serving; Ctrl-C ends it.", flush=True)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return stop(server)


def ask(url: str) -> bool:
    """Send one held-out digit as a PNG, print the answer beside the true label, and tell whether it is right."""
    image, label = held_out()
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"digit-{label}.png"
    file.write_bytes(spec.find(MODEL).content.input.write({"image": image[None]}))
    print(draw(image))
    print(f"$ curl --data-binary @{file} {url}/predict/{MODEL}")
    request = urllib.request.Request(f"{url}/predict/{MODEL}", data=file.read_bytes(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        timing = answer.headers["Server-Timing"]
        body = json.load(answer)
    print(json.dumps(body, indent=2))
    print(f"Server-Timing: {timing}\n")
    right = bool(body["label"] == label)
    print(
        f"The model says {body['label']} ({body['score']:.1%}), the true label is {label}: {'right' if right else 'WRONG'}."
    )
    print(f"Metrics: {url}/metrics   Protocol: {url}/v2/models/{MODEL}", flush=True)
    return right


def held_out() -> tuple[Array, str]:
    """Return an image of the test split, which no training has seen, and its label."""
    inputs, target = spec.find(MODEL).datasets(None).test[SAMPLE]
    return inputs["image"].numpy(), str(int(target))


def draw(image: Array) -> str:
    """Return a picture of the image for a terminal, two rows of pixels in a line of text."""
    blocks = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}
    inked = image > 96
    lines = [
        "".join(blocks[bool(a), bool(b)] for a, b in zip(*rows, strict=True))
        for rows in zip(inked[::2], inked[1::2], strict=True)
    ]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def wait_until_ready(server: "subprocess.Popen[str]") -> str:
    """Return the server's address once it is ready; its log goes on to the terminal."""
    assert server.stderr is not None
    url = ""
    for line in server.stderr:
        sys.stderr.write(line)
        if found := re.search(r"event=listening url=(\S+)", line):
            url = found[1]
            break
    threading.Thread(target=pass_on, args=(server.stderr,), daemon=True).start()
    deadline = time.monotonic() + 30
    while url and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=2):
                return url
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the server did not become ready")


def pass_on(log: IO[str]) -> None:
    """Write what the server logs to our own standard error."""
    for line in log:
        sys.stderr.write(line)


def stop(server: "subprocess.Popen[str]") -> int:
    """End the server as an orchestrator would, and return its exit code."""
    server.send_signal(signal.SIGTERM)
    code = server.wait(timeout=30)
    print(f"The server has finished what it had accepted and ended with code {code}.")
    return code


def sameway() -> str:
    """Return the command beside this very interpreter."""
    return str(Path(sys.executable).with_name("sameway"))


def announce(words: list[str]) -> None:
    """Print a command as it is about to be run."""
    print(f"\n$ sameway {' '.join(words)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
