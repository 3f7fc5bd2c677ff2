"""Whether what a graph takes to compute depends on its inputs' shapes alone, told by the operators in its file.

An operator may run a part of the graph as often as a value says, or make a tensor as large as one says. Those that do not
are listed here: their outputs are as large as their inputs' shapes say, at most. Any other, and any of a domain that nobody
here knows, counts as one that may. (An Expand or a Pad by a constant is harmless, and cannot be told from one that is not.)

ONNX is not installed where models are served, so the file is read as what it is, protobuf, as far as the names of its nodes:
https://protobuf.dev/programming-guides/encoding/ and the numbers of fields in
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from collections.abc import Iterator

#: A larger file is no cheap model, and is not looked through.
_BYTES = 32 * 1024 * 1024

_ELEMENTWISE = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike
    Ceil Celu Clip Cos Cosh Div Dropout Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish
    Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu
    Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor
"""
_LAYERS = """
    Attention AveragePool BatchNormalization Conv ConvInteger ConvTranspose Einsum GRU Gemm GlobalAveragePool
    GlobalLpPool GlobalMaxPool GroupNormalization Hardmax InstanceNormalization LRN LSTM LayerNormalization LogSoftmax
    LpNormalization LpPool MatMul MatMulInteger MaxPool MeanVarianceNormalization QLinearConv QLinearMatMul
    RMSNormalization RNN RotaryEmbedding Softmax
"""
_SHAPES = """
    ArgMax ArgMin Concat Constant CumSum DepthToSpace DequantizeLinear DynamicQuantizeLinear EyeLike Flatten Gather
    GatherElements GatherND QuantizeLinear ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Reshape ReverseSequence ScatterElements ScatterND Shape Size Slice
    SpaceToDepth Split Squeeze Transpose Trilu Unsqueeze
"""
#: What ONNX Runtime's own tools make of the above.
_MICROSOFT = """
    BiasGelu DynamicQuantizeMatMul FastGelu FusedConv FusedGemm FusedMatMul Gelu MatMulIntegerToFloat QGemm QLinearAdd
    QLinearAveragePool QLinearConcat QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearSigmoid
    QLinearSoftmax SkipLayerNormalization
"""
_STEADY = {
    **dict.fromkeys(("", "ai.onnx"), frozenset((_ELEMENTWISE + _LAYERS + _SHAPES).split())),
    "com.microsoft": frozenset(_MICROSOFT.split()),
}

# ModelProto.graph and .functions, GraphProto.node, NodeProto.op_type and .domain.
_GRAPH, _FUNCTIONS, _NODE, _OP_TYPE, _DOMAIN = 7, 25, 1, 4, 7


def is_steady(file: bytes) -> bool:
    """Tell whether every operator of a model file is known to take as long whatever the values are."""
    if len(file) > _BYTES:
        return False
    try:
        return all(name in _STEADY.get(domain, ()) for domain, name in operators(file))
    except (ValueError, IndexError):
        return False


def operators(file: bytes) -> Iterator[tuple[str, str]]:
    """Yield the domain and the name of each operator in a model's graph; raise ValueError or IndexError for no such file.

    Functions of the model's own count as one that nobody knows.
    """
    for number, start, stop in _fields(file, 0, len(file)):
        if number == _FUNCTIONS:
            yield "", "a function"
        if number != _GRAPH:
            continue
        for kind, node, end in _fields(file, start, stop):
            if kind == _NODE:
                named = {
                    field: file[begin:over].decode() for field, begin, over in _fields(file, node, end) if field in _NAMES
                }
                yield named.get(_DOMAIN, ""), named.get(_OP_TYPE, "")


_NAMES = (_OP_TYPE, _DOMAIN)


def _fields(file: bytes, place: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield the fields of a message that have a length: their numbers, where they begin and where they end."""
    while place < stop:
        key, place = _varint(file, place)
        wire = key & 7
        if wire == 2:
            length, place = _varint(file, place)
            if place + length > stop:
                raise ValueError("a field is longer than its message")
            yield key >> 3, place, place + length
            place += length
        elif wire == 0:
            _, place = _varint(file, place)
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        else:
            raise ValueError(f"no such wire type: {wire}")


def _varint(file: bytes, place: int) -> tuple[int, int]:
    """Return a number and the place behind it."""
    value = shift = 0
    while True:
        byte = file[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
