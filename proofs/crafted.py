"""Packages that an attacker would lay into the model repository, each made from an honest version.

A package says what must become of it where no signature is asked for: `before`, it is refused before any parser sees a
byte; `unloaded`, it is refused before a runtime is given the model, though its golden sample may have been read; or
`harmless`, its maker could make every checksum right, so a parser may see it, and nothing may come of that.
Where signatures are required, every one of them must be refused before any parser.
"""

import base64
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.signing import Signer
from proofs import crafted_contents
from proofs.package import Json, Package, Scene


def packages() -> list[Package]:
    """Return all packages."""
    return [
        *_names(),
        *_files(),
        *_manifests(),
        *_exchanges(),
        *_signatures(),
        *crafted_contents.packages(),
    ]


def _names() -> list[Package]:
    """Files named where no file of a version is."""

    def named(name: str, *, entry: str = "artifact") -> Callable[[Scene], object]:
        def edit(scene: Scene) -> None:
            shutil.copy(scene.folder / "model.onnx", scene.outside / "model.onnx")
            chosen = name.replace("{outside}", str(scene.outside))
            scene.reseal(lambda facts: (facts["golden"] if entry == "golden" else facts["artifacts"][0]).update(file=chosen))

        return edit

    texts = {
        "..": "../outside/model.onnx", "absolute path": "{outside}/model.onnx", "backslash": "..\\outside\\model.onnx",
        "NUL": "model.onnx\0.txt", "folder": "sub/model.onnx", "dot": "./model.onnx", "nothing": "", "this folder": ".",
        "parent": "..", "long": "m" * 300, "line break": "model.onnx\n",
        "wide dots": "\uff0e\uff0e\uff0foutside\uff0fmodel.onnx",
        "percent": "%2e%2e%2foutside%2fmodel.onnx", "URL": "http://127.0.0.1:1/model.onnx", "hidden": ".model.onnx",
    }  # fmt: skip
    golden = Package("name: golden sample of a neighbour", named("../../other/1/golden.npz", entry="golden"))
    return [*(Package(f"name: {name}", named(text)) for name, text in texts.items()), golden]


def _files() -> list[Package]:
    """Things that are no regular files, and files that are not as published."""

    def replaced(name: str, make: Callable[[Path, Scene], object]) -> Callable[[Scene], object]:
        def edit(scene: Scene) -> None:
            path = scene.folder / name
            shutil.move(path, scene.outside / name)
            make(path, scene)

        return edit

    def bound(path: Path, _: Scene) -> None:
        here = Path.cwd()
        os.chdir(path.parent)  # an address of a socket has 108 bytes at most
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
        os.chdir(here)

    def other_bytes(path: Path, scene: Scene) -> None:
        (scene.outside / "secret").write_bytes(b"secret" * 100)
        path.hardlink_to(scene.outside / "secret")

    def rewritten(name: str, change: Callable[[bytes], bytes]) -> Callable[[Scene], object]:
        def edit(scene: Scene) -> None:
            path = scene.folder / name
            path.write_bytes(change(path.read_bytes()))

        return edit

    files = ("model.onnx", "model.pt", "golden.npz", "manifest.json")
    found = [Package(f"link: {name}", replaced(name, lambda p, s: p.symlink_to(s.outside / p.name))) for name in files]
    found += [Package(f"fifo: {name}", replaced(name, lambda p, _: os.mkfifo(p))) for name in files]
    found += [Package(f"folder: {name}", replaced(name, lambda p, _: p.mkdir())) for name in files]
    found += [Package(f"missing: {name}", replaced(name, lambda *_: None)) for name in files]
    found += [Package(f"truncated: {name}", rewritten(name, lambda data: data[:-1])) for name in files[:3]]
    found += [Package(f"empty: {name}", rewritten(name, lambda _: b"")) for name in files]
    found += [Package(f"longer: {name}", rewritten(name, lambda data: data + b"\0")) for name in files]
    return [
        *found,
        Package("link: dangling", replaced("model.onnx", lambda p, _: p.symlink_to("/nowhere"))),
        Package("link: to itself", replaced("model.onnx", lambda p, _: p.symlink_to(p))),
        Package("link: endless device", replaced("model.onnx", lambda p, _: p.symlink_to("/dev/zero"))),
        Package("socket", replaced("model.onnx", bound)),
        Package("hard link to a file outside", replaced("model.onnx", other_bytes)),
        Package("manifest cut in half", rewritten("manifest.json", lambda data: data[: len(data) // 2])),
    ]


def _manifests() -> list[Package]:
    """Manifests that no export writes; their checksums are right."""

    def edited(edit: Callable[[Json], object]) -> Callable[[Scene], object]:
        return lambda scene: scene.reseal(edit)

    def written(text: Callable[[str], str | bytes]) -> Callable[[Scene], object]:
        def edit(scene: Scene) -> None:
            data = text(scene.manifest.read_text())
            scene.manifest.write_bytes(data if isinstance(data, bytes) else data.encode())

        return edit

    def first(facts: Json) -> Json:
        artifact: Json = facts["artifacts"][0]
        return artifact

    return [
        Package("manifest: another schema", edited(lambda facts: facts.update(schema=2))),
        Package("manifest: no schema", edited(lambda facts: facts.pop("schema"))),
        Package("manifest: another model", edited(lambda facts: facts.update(model="other"))),
        Package("manifest: model with a path", edited(lambda facts: facts.update(model="../toy"))),
        Package("manifest: another version", edited(lambda facts: facts.update(version=2))),
        Package("manifest: version of 30 digits", edited(lambda facts: facts.update(version=10**30))),
        Package("manifest: version as a text", edited(lambda facts: facts.update(version="1"))),
        Package("manifest: negative size", edited(lambda facts: first(facts).update(size_bytes=-1))),
        Package("manifest: size of 30 digits", edited(lambda facts: first(facts).update(size_bytes=10**30))),
        Package("manifest: size as a fraction", edited(lambda facts: first(facts).update(size_bytes=1e3))),
        Package("manifest: checksum of nothing", edited(lambda facts: first(facts).update(sha256=""))),
        Package("manifest: tolerance NaN", edited(lambda facts: first(facts)["tolerance"].update({"class": float("nan")}))),
        Package("manifest: infinite tolerance", edited(lambda f: first(f)["tolerance"].update({"class": float("inf")}))),
        Package("manifest: no golden sample", edited(lambda facts: facts.pop("golden"))),
        Package("manifest: largest batch of 10¹²", edited(lambda f: f["signature"].update(max_batch_size=10**12))),
        Package("manifest: endless axis", edited(lambda f: f["signature"]["inputs"][0].update(shape=[2**62, 2**62]))),
        Package("manifest: nested 100,000 deep", written(lambda text: text[:-2] + ',"x":' + "[" * 100_000)),
        Package("manifest: a key twice", written(lambda text: text.replace("{", '{"model": "toy",', 1))),
        Package("manifest: number of 5,000 digits", written(lambda text: text.replace(": 1,", f": {'1' * 5000},", 1))),
        Package("manifest: a list", written(lambda text: f"[{text}]")),
        Package("manifest: two documents", written(lambda text: text + text)),
        Package("manifest: not UTF-8", written(lambda text: text.encode("utf-16"))),
        Package("manifest: half a character", written(lambda text: text.replace('"onnx"', '"\\ud800"'))),
        Package("manifest: 17 MiB of spaces", written(lambda text: text + " " * (17 << 20))),
    ]  # fmt: skip


def _exchanges() -> list[Package]:
    """Honest folders in other places; every byte and every signature in them is ours."""

    def copied(source: str) -> Callable[[Scene], object]:
        def edit(scene: Scene) -> None:
            origin = scene.folder.parent.parent / source
            shutil.rmtree(scene.folder)
            shutil.copytree(origin, scene.folder)

        return edit

    def parts(*names: str) -> Callable[[Scene], object]:
        def edit(scene: Scene) -> None:
            for name in names:
                shutil.copy(scene.folder.parent / "2" / name, scene.folder / name)

        return edit

    return [
        Package("exchange: version 2 as version 1", copied("toy/2")),
        Package("exchange: another model's version", copied("other/1")),
        Package("exchange: manifest of version 2", parts("manifest.json", "manifest.json.sig")),
        Package("exchange: model of version 2", parts("model.onnx")),
        Package("exchange: golden sample of version 2", parts("golden.npz")),
    ]


def _signatures() -> list[Package]:
    """Honest bytes under wrong signatures: without a demand for signatures there is nothing wrong with them."""

    def signed(make: Callable[[bytes, bytes], bytes | None]) -> Callable[[Scene], object]:
        def edit(scene: Scene) -> None:
            path = scene.folder / "manifest.json.sig"
            data = make(scene.manifest.read_bytes(), path.read_bytes())
            path.unlink()
            if data is not None:
                path.write_bytes(data)

        return edit

    def linked(scene: Scene) -> None:
        path = scene.folder / "manifest.json.sig"
        shutil.move(path, scene.outside / path.name)
        path.symlink_to(scene.outside / path.name)

    stranger = Ed25519PrivateKey.generate()
    makers: dict[str, Callable[[bytes, bytes], bytes | None]] = {
        "none": lambda *_: None,
        "empty": lambda *_: b"",
        "by another key": lambda manifest, _: Signer(stranger).sign(manifest),
        "of another manifest": lambda manifest, _: Signer(stranger).sign(manifest + b"\n"),
        "without its domain": lambda manifest, _: base64.b64encode(stranger.sign(manifest)) + b"\n",
        "with more behind it": lambda _, signature: signature + b"\n",
        "a megabyte": lambda _, signature: signature * 11_000,
        "raw": lambda _, signature: base64.b64decode(signature),
    }
    found = [Package(f"signature: {name}", signed(make), "harmless") for name, make in makers.items()]
    return [*found, Package("signature: a link", linked, "harmless")]
