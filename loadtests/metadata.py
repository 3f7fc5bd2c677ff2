"""What a server says of a model, checked before anything is made of it: names, datatypes and shapes, and which versions."""

from typing import Any

from loadtests.said import brief


class OddMetadata(ValueError):
    """What a server says of a model is not what the protocol has there."""


#: More tensors, axes, versions and letters of a name than any model has.
_MOST_TENSORS, _MOST_AXES, _MOST_VERSIONS, _MOST_LETTERS = 1000, 32, 10_000, 256


def metadata_of(found: Any) -> dict[str, Any]:  # Any: JSON of a stranger
    """Return a model's metadata with what is used of them, checked; raise OddMetadata."""
    if not isinstance(found, dict):
        raise OddMetadata(f"expected an object, found {brief(found)}")
    versions = found.get("versions") or []
    if not isinstance(versions, list) or len(versions) > _MOST_VERSIONS or not all(map(_is_name, versions)):
        raise OddMetadata(f"versions: expected texts, found {brief(versions)}")
    tensors = {kind: _tensors(kind, found.get(kind)) for kind in ("inputs", "outputs")}
    return {"versions": versions, **tensors}


def _tensors(kind: str, found: Any) -> list[dict[str, Any]]:  # Any: JSON of a stranger
    if not isinstance(found, list) or not 0 < len(found) <= _MOST_TENSORS:
        raise OddMetadata(f"{kind}: expected 1 to {_MOST_TENSORS:,} tensors, found {brief(found)}")
    told = []
    for number, tensor in enumerate(found):
        where = f"{kind}[{number}]"
        if not isinstance(tensor, dict):
            raise OddMetadata(f"{where}: expected an object, found {brief(tensor)}")
        for key in ("name", "datatype"):
            if not _is_name(tensor.get(key)):
                raise OddMetadata(f"{where}.{key}: expected a text, found {brief(tensor.get(key))}")
        shape = tensor.get("shape")
        if not isinstance(shape, list) or len(shape) > _MOST_AXES or not all(map(_is_axis, shape)):
            raise OddMetadata(f"{where}.shape: expected lengths, or -1 where free; found {brief(shape)}")
        told.append({"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape})
    names = [tensor["name"] for tensor in told]
    if len(set(names)) < len(names):
        raise OddMetadata(f"{kind}: expected names that differ, found {brief(names)}")
    return told


def _is_name(value: object) -> bool:
    """Tell whether a value is a text that can be a name: not empty, of a usual length, and characters all through."""
    if not isinstance(value, str) or not 0 < len(value) <= _MOST_LETTERS:
        return False
    return not any(0xD800 <= ord(one) < 0xE000 for one in value)


def _is_axis(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value < 2**31
