"""What a model without a manifest says of its own inputs and outputs: by its file, or by a `config.pbtxt` beside it.

That is less than a signature: a free first axis need not be a batch axis, so the number of rows is for others to decide.
"""

from dataclasses import dataclass

from models.tensors import Signature, SignatureError, TensorSpec, show_shape


class DeclarationError(Exception):
    """A declaration cannot be served as it was asked for; the message names the tensor, what was found and expected."""


@dataclass(frozen=True, slots=True)
class DeclaredTensor:
    """One tensor. `axes` is its whole shape; an axis is a length, the name of a length that is free, or None, just free."""

    name: str
    datatype: str
    axes: tuple[int | str | None, ...]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The whole shape, None for a free axis."""
        return tuple(axis if isinstance(axis, int) else None for axis in self.axes)


@dataclass(frozen=True, slots=True)
class Declared:
    """The inputs and outputs of a model, in its order."""

    inputs: tuple[DeclaredTensor, ...]
    outputs: tuple[DeclaredTensor, ...]

    def signature(self, max_batch_size: int) -> Signature:
        """Return the signature for so many rows at most, 0 for whole shapes; raise DeclarationError where it cannot be."""
        if max_batch_size and (problem := self.no_batch_axis(max_batch_size)) is not None:
            raise DeclarationError(f"max_batch_size: expected 0, for {problem}; found {max_batch_size}")
        start = 1 if max_batch_size else 0
        try:
            return Signature(
                tuple(TensorSpec(tensor.name, tensor.datatype, tensor.shape[start:]) for tensor in self.inputs),
                tuple(TensorSpec(tensor.name, tensor.datatype, tensor.shape[start:]) for tensor in self.outputs),
                max_batch_size,
            )
        except SignatureError as error:
            raise DeclarationError(str(error)) from error

    def no_batch_axis(self, rows: int) -> str | None:
        """Return which tensor has no first axis that could take so many rows, None where each has.

        A first axis of length 1 takes one row. The name of a first axis that names another axis too, as in a table of
        all rows against all, says that a row's shape depends on how many there are.
        """
        firsts = {tensor.axes[0] for tensor in (*self.inputs, *self.outputs) if tensor.axes}
        for tensor in (*self.inputs, *self.outputs):
            shown = f"{tensor.name!r} has the shape {show_shape(tensor.shape)}"
            if not tensor.axes:
                return shown
            if isinstance(tensor.axes[0], int) and not tensor.axes[0] == rows == 1:
                return shown
            again = [axis for axis in tensor.axes[1:] if isinstance(axis, str) and axis in firsts]
            if again:
                return f"{tensor.name!r} has the axis {again[0]!r}, which is a first axis, again further in"
        return None

    def narrowed(self, stated: "Declared", *, place: str) -> "Declared":
        """Return this with the lengths that another declaration of the same inputs fixes; raise DeclarationError.

        Each tensor that `stated` names must be here, with its datatype and a shape that it can have. What it says of
        outputs is checked and changes nothing: a model gives what it gives.
        """
        for kind, tensors, others in (("input", self.inputs, stated.inputs), ("output", self.outputs, stated.outputs)):
            names = [tensor.name for tensor in tensors]
            for other in others:
                if other.name not in names:
                    raise DeclarationError(
                        f"{place}: {kind}: expected some of {', '.join(names)}, found {other.name!r:.150}"
                    )
        inputs = {tensor.name: tensor for tensor in stated.inputs}
        outputs = {tensor.name: tensor for tensor in stated.outputs}
        for tensor in self.outputs:
            _narrowed(tensor, outputs.get(tensor.name), place)
        return Declared(tuple(_narrowed(tensor, inputs.get(tensor.name), place) for tensor in self.inputs), self.outputs)


def _narrowed(tensor: DeclaredTensor, stated: DeclaredTensor | None, place: str) -> DeclaredTensor:
    if stated is None:
        return tensor
    if stated.datatype != tensor.datatype:
        raise DeclarationError(f"{place}: {tensor.name}: expected datatype {tensor.datatype}, found {stated.datatype}")
    fits = len(stated.axes) == len(tensor.axes) and all(
        not isinstance(wanted, int) or not isinstance(axis, int) or wanted == axis
        for wanted, axis in zip(stated.axes, tensor.axes, strict=True)
    )
    if not fits:
        expected, found = show_shape(tensor.shape), show_shape(stated.shape)
        raise DeclarationError(f"{place}: {tensor.name}: expected dims within the model's shape {expected}, found {found}")
    axes = (wanted if isinstance(wanted, int) else axis for wanted, axis in zip(stated.axes, tensor.axes, strict=True))
    return DeclaredTensor(tensor.name, tensor.datatype, tuple(axes))
