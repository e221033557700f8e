"""The 3D network as an ONNX graph of 2D convolutions, which CPU engines run much faster.

The kernels of a (2+1)D network are thin: 1x3x3 in space, 3x1x1 in time. Engines have their fast,
blocked convolutions for two dimensions only, so the graph is written such that frames stand in the
batch: frame t of movie b is sample ``t·batch + b``.

- A kernel of one frame is a 2D convolution.
- A kernel of k frames is a sum of k 2D convolutions, ``y_t = Σ_i W_i * x_(t+i-k//2)``, whose inputs
  are cut out of the movie with zeros around it: whole samples are moved.
- A transposed convolution whose stride is its kernel joins no two inputs: it is a 1x1 convolution
  to channels·s² values and a rearrangement of those to pixels ("sub-pixel convolution", Shi et al.,
  CVPR 2016). Values stay packed, s² pixels in the channels, as long as what follows works pixel by
  pixel: at the network's head down to the probabilities.

The weights are those of the Keras model; results are equal to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

_OPSET = 18
_IR_VERSION = 10
"""Read by ONNX Runtime from 1.18 on and by all OpenVINO that take the opset."""
_NCHW = (3, 2, 0, 1)
"""From Keras' (y, x, in, out) to ONNX' (out, in, y, x)."""


@dataclass(frozen=True)
class _Value:
    """A tensor of the graph, (t·batch, channels·packing², y / packing, x / packing).

    Parameters
    ----------
    name : str
        In the graph.
    packing : int
        Pixels per side that stand in the channels: channel c·packing² + row·packing + column.
    """

    name: str
    packing: int = 1


class _Graph:
    """Nodes and constants of a graph in writing."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    @property
    def constants(self) -> list[onnx.TensorProto]:
        return list(self._constants.values())

    def constant(self, values: Any, name: str | None = None) -> str:
        """Add a constant; equal whole numbers without a name are one constant."""
        from onnx import numpy_helper

        if name is None:
            values = np.array(values, dtype=np.int64)
            name = "int_" + "_".join(str(value) for value in values)
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def add(self, kind: str, inputs: list[str], name: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        from onnx import helper

        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def join(self, *sizes: str | int) -> str:
        """Return the shape made of tensors of one size each, and numbers."""
        parts = [self.constant([size]) if isinstance(size, int) else size for size in sizes]
        return self.add("Concat", parts, axis=0)


def graph_of(model: keras.Model, input_name: str, output_name: str) -> onnx.ModelProto:
    """Return the ONNX graph of a network of :func:`~hdsmlm.network.unet3d.build_unet3d`.

    Parameters
    ----------
    model : keras.Model
        Maps (batch, t, y, x, 1) to (batch, t, y, x, classes). May consist of 3D convolutions of odd
        kernels in time, transposed ones of 1xSxS at that stride, swish, sums, and a softmax at the
        end.
    input_name, output_name : str
        Names in the graph. Batch, t, y and x stay free.

    Raises
    ------
    TypeError
        At a layer of another kind.
    """
    import onnx
    from onnx import TensorProto, helper

    writer = _Writer(input_name)
    values = {id(model.input): writer.frames}
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        sources = layer.input if isinstance(layer.input, list) else [layer.input]
        values[id(layer.output)] = writer.layer(layer, [values[id(source)] for source in sources])
    writer.finish(values[id(model.output)], int(model.output.shape[-1]), output_name)
    free = ["batch", "t", "y", "x"]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [*free, int(tensor.shape[-1])])
        for name, tensor in ((input_name, model.input), (output_name, model.output))
    ]
    graph = helper.make_graph(
        writer.graph.nodes, model.name, ends[:1], ends[1:], writer.graph.constants
    )
    result = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )
    onnx.checker.check_model(result, full_check=True)
    return result


class _Writer:
    """Translates layer by layer."""

    def __init__(self, input_name: str) -> None:
        self.graph = _Graph()
        add = self.graph.add
        shape = add("Shape", [input_name], "shape")
        self._batch, self._t, self._y, self._x = (
            add("Gather", [shape, self.graph.constant([axis])], name, axis=0)
            for axis, name in enumerate(("size_batch", "size_t", "size_y", "size_x"))
        )
        grey = add("Transpose", [input_name], perm=[1, 0, 4, 2, 3])
        flat = self.graph.join(-1, 1, self._y, self._x)
        self.frames = _Value(add("Reshape", [grey, flat]))

    def layer(self, layer: keras.Layer, inputs: list[_Value]) -> _Value:
        """Add a layer's nodes and return its output."""
        name = layer.name
        if isinstance(layer, layers.Conv3DTranspose):
            return self._transposed(layer, self._unpacked(inputs[0]))
        if isinstance(layer, layers.Conv3D):
            return self._convolution(layer, inputs[0])
        if isinstance(layer, layers.Activation) and layer.activation is keras.activations.silu:
            (x,) = inputs
            gate = self.graph.add("Sigmoid", [x.name])
            return _Value(self.graph.add("Mul", [x.name, gate], name), x.packing)
        if isinstance(layer, layers.Add) and len(inputs) == 2:
            terms = [self._unpacked(value).name for value in inputs]
            return _Value(self.graph.add("Add", terms, name))
        if isinstance(layer, layers.Softmax):
            return self._softmax(inputs[0], int(layer.output.shape[-1]))
        raise TypeError(f"the ONNX export knows no layer like {name} ({type(layer).__name__})")

    def finish(self, value: _Value, channels: int, output_name: str) -> None:
        """Bring the result to (batch, t, y, x, channels)."""
        add, side = self.graph.add, value.packing
        y, x = (
            add("Div", [size, self.graph.constant([side])]) if side > 1 else size
            for size in (self._y, self._x)
        )
        apart = self.graph.join(-1, channels, side, side, y, x)
        pixels = add("Transpose", [add("Reshape", [value.name, apart])], perm=[0, 4, 2, 5, 3, 1])
        movies = self.graph.join(self._t, self._batch, self._y, self._x, channels)
        add("Transpose", [add("Reshape", [pixels, movies])], output_name, perm=[1, 0, 2, 3, 4])

    def _convolution(self, layer: layers.Conv3D, value: _Value) -> _Value:
        """Add one convolution per frame of the kernel and sum them, shifted."""
        kernel, bias = _weights(layer)
        n_frames, *sides = kernel.shape[:3]
        strides = layer.strides[1:]
        if value.packing > 1 and kernel.shape[:3] == (1, 1, 1):
            packed = np.kron(kernel[0], np.eye(value.packing**2, dtype=kernel.dtype))
            bias = np.repeat(bias, value.packing**2)
            return _Value(self._conv2d(value, packed, bias, layer.name), value.packing)
        value = self._unpacked(value)
        # Sizes are multiples of the strides, so that "same" padding is the same everywhere.
        spare = [
            side - stride if layer.padding == "same" else 0
            for side, stride in zip(sides, strides, strict=True)
        ]
        window = {
            "strides": list(strides),
            "pads": [n // 2 for n in spare] + [n - n // 2 for n in spare],
        }
        middle = n_frames // 2
        if n_frames == 1:
            return _Value(self._conv2d(value, kernel[0], bias, layer.name, **window))
        total = self._conv2d(value, kernel[middle], bias, f"{layer.name}_{middle}", **window)
        padded = self._with_empty_frames(value.name, middle)
        for index in range(n_frames):
            if index != middle:
                part = _Value(self._frames_from(padded, index))
                term = self._conv2d(part, kernel[index], None, f"{layer.name}_{index}", **window)
                total = self.graph.add("Add", [term, total])
        return _Value(total)

    def _transposed(self, layer: layers.Conv3DTranspose, value: _Value) -> _Value:
        """Add a 1x1 convolution to all pixels that an input pixel becomes."""
        kernel, bias = _weights(layer)  # (1, y, x, out, in)
        frames, side, width, n_out, n_in = kernel.shape
        if (frames, side) != (1, width) or layer.strides != (1, side, side):
            raise TypeError(f"the ONNX export needs kernel = stride = 1xSxS in {layer.name}")
        packed = kernel[0].transpose(3, 2, 0, 1).reshape(1, 1, n_in, n_out * side**2)
        return _Value(
            self._conv2d(value, packed, np.repeat(bias, side**2), layer.name), packing=side
        )

    def _softmax(self, value: _Value, channels: int) -> _Value:
        add, side = self.graph.add, value.packing
        # Three axes: the engines' kernels know those; (samples, classes, pixels).
        flat = add("Reshape", [value.name, self.graph.constant([0, channels, -1])])
        return _Value(add("Softmax", [flat], axis=1), side)

    def _conv2d(
        self,
        value: _Value,
        kernel: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
        name: str,
        **window: list[int],
    ) -> str:
        inputs = [value.name, self.graph.constant(kernel.transpose(_NCHW), f"{name}_kernel")]
        if bias is not None:
            inputs.append(self.graph.constant(bias, f"{name}_bias"))
        return self.graph.add(
            "Conv", inputs, f"{name}_conv", kernel_shape=list(kernel.shape[:2]), **window
        )

    def _with_empty_frames(self, name: str, frames: int) -> str:
        """Put ``frames`` frames of zeros before and after the movie."""
        samples = self.graph.add("Mul", [self._batch, self.graph.constant([frames])])
        rest = self.graph.constant([0, 0, 0])
        pads = self.graph.add("Concat", [samples, rest, samples, rest], axis=0)
        return self.graph.add("Pad", [name, pads])

    def _frames_from(self, name: str, first: int) -> str:
        """Take as many frames as the movie has, from ``first`` on."""
        start = self.graph.add("Mul", [self._batch, self.graph.constant([first])])
        samples = self.graph.add("Mul", [self._batch, self._t])
        stop = self.graph.add("Add", [start, samples])
        return self.graph.add("Slice", [name, start, stop, self.graph.constant([0])])

    def _unpacked(self, value: _Value) -> _Value:
        if value.packing == 1:
            return value
        return _Value(
            self.graph.add("DepthToSpace", [value.name], blocksize=value.packing, mode="CRD")
        )


def _weights(layer: keras.Layer) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    kernel, bias = (
        np.asarray(keras.ops.convert_to_numpy(weight), dtype=np.float32) for weight in layer.weights
    )
    return kernel, bias
