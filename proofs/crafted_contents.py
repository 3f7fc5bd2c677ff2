"""Packages whose every checksum is right: what is wrong lies inside a file."""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from proofs import crafted_programs
from proofs.package import Package, Scene
from tests import toys


class Canary:
    """What a pickle runs when it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._path),)


def packages() -> list[Package]:
    """Return those packages."""
    return [*_external(), *_pickles(), *_archives(), *_programs()]


def _external(secret: str = "secret.bin") -> list[Package]:
    """ONNX graphs whose weights lie elsewhere; their checksums are right."""

    def outside(location: str, **more: str) -> Callable[[Scene], object]:
        def edit(scene: Scene) -> None:
            weights = toys.weights().tobytes()
            for folder in (scene.outside, scene.folder):
                (folder / secret).write_bytes(weights)
            (scene.folder / "sub").symlink_to(scene.outside)
            (scene.folder / "hard.bin").hardlink_to(scene.outside / secret)
            model = toys.onnx_model()
            tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            place = location.replace("{outside}", str(scene.outside))
            for key, value in {"location": place, "offset": "0", "length": str(len(weights)), **more}.items():
                tensor.external_data.add(key=key, value=value)
            (scene.folder / "model.onnx").write_bytes(model.SerializeToString())
            scene.reseal()

        return edit

    makers = {
        "beside the model": outside(secret),
        "..": outside(f"../../../outside/{secret}"),
        ".. from a device": outside(f"../..{'{outside}'}/{secret}"),
        "absolute": outside(f"{'{outside}'}/{secret}"),
        "through a linked folder": outside(f"sub/{secret}"),
        "hard link": outside("hard.bin"),
        "negative offset": outside(secret, offset="-8"),
        "huge offset": outside(secret, offset=str(2**62)),
        "huge length": outside(secret, length=str(2**62)),
        "dunder key": outside(secret, __class__="x"),
        "URL": outside("http://127.0.0.1:1/weights"),
        "process's memory": outside("/proc/self/mem"),
    }
    return [Package(f"external data: {name}", make, "harmless") for name, make in makers.items()]


def _pickles() -> list[Package]:
    """Pickles in the places of models and samples; their checksums are right."""

    def placed(name: str, data: Callable[[Scene], bytes]) -> Callable[[Scene], object]:
        def edit(scene: Scene) -> None:
            (scene.folder / name).write_bytes(data(scene))
            scene.reseal()

        return edit

    def bare(scene: Scene) -> bytes:
        return pickle.dumps(Canary(scene.canary))

    def objects(scene: Scene) -> bytes:
        file = io.BytesIO()
        arrays = {"input:image": np.array([Canary(scene.canary)], object)}
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy types the names of its own options only
        return file.getvalue()

    def in_torchscript(scene: Scene) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(scene.folder / "model.pt") as honest, zipfile.ZipFile(file, "w") as made:
            for member in honest.infolist():
                spoilt = member.filename.endswith(("data.pkl", "constants.pkl"))
                made.writestr(member.filename, bare(scene) if spoilt else honest.read(member))
        return file.getvalue()

    def other_model(scene: Scene) -> bytes:
        return (scene.folder.parent.parent / "toy" / "2" / "model.pt").read_bytes()

    makers = {
        "as TorchScript": placed("model.pt", bare),
        "inside TorchScript": placed("model.pt", in_torchscript),
        "as ONNX": placed("model.onnx", bare),
        "as golden sample": placed("golden.npz", bare),
        "in an array of the golden sample": placed("golden.npz", objects),
        "none, but a TorchScript with other weights": placed("model.pt", other_model),
    }
    return [Package(f"pickle: {name}", make, "harmless") for name, make in makers.items()]


def _archives() -> list[Package]:
    """Golden samples that are larger than they look; their checksums are right."""

    def declared(scene: Scene) -> None:
        path = scene.folder / "golden.npz"
        data = bytearray(path.read_bytes())
        entry = data.index(b"PK\x01\x02")
        data[entry + 24 : entry + 28] = struct.pack("<I", 0xF000_0000)  # its size once inflated
        path.write_bytes(data)
        scene.reseal()

    def header(scene: Scene) -> None:
        array = io.BytesIO()
        text = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
        array.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())
        with zipfile.ZipFile(scene.folder / "golden.npz", "w") as made:
            made.writestr("input:image.npy", array.getvalue())
        scene.reseal()

    return [
        Package("archive: declares 4 GB", declared),
        Package("archive: an array of 8 TB", header, "harmless"),
    ]


def _programs() -> list[Package]:
    """Exported programs in which something would run; their checksums are right."""

    def crafted(craft: Callable[[crafted_programs.Records, Path], crafted_programs.Records]) -> Callable[[Scene], object]:
        def edit(scene: Scene) -> None:
            path = scene.folder / "model.pt2"
            path.write_bytes(crafted_programs.archive(craft(crafted_programs.records_of(path), scene.canary)))
            scene.reseal()

        return edit

    programs = crafted_programs.programs().items()
    return [Package(f"program: {name}", crafted(craft), "unloaded", ("exported_program",)) for name, craft in programs]
