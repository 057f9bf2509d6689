"""The layers that networks are made of, one method each, so that a family reads like its paper.

Names follow the blocks, so that results read like the paper too.  Nothing here knows a network.
"""

from __future__ import annotations

from collections.abc import Sequence

from dataflow_sim.networks.writer import ModelWriter

Size = int | tuple[int, int]
Pads = tuple[int, int, int, int]


def pair(size: Size) -> tuple[int, int]:
    """Rows and columns of a size that may be given as one number."""
    return (size, size) if isinstance(size, int) else size


def same_pads(size: Sequence[int], kernel: Size, stride: Size = 1) -> Pads:
    """Padding of a plane of which only the stride divides the size: an odd one has more behind."""
    planes = zip(size, pair(kernel), pair(stride), strict=True)
    totals = [max(0, (-(-n // step) - 1) * step + reach - n) for n, reach, step in planes]
    top, left = (total // 2 for total in totals)
    return top, left, totals[0] - top, totals[1] - left


class OnnxBuilder(ModelWriter):
    """Appends layers to a model; every method returns the name of the value it makes.

    Images are (batch, channels, rows, columns), sequences (batch, tokens, features).
    """

    def convolution(
        self,
        name: str,
        value: str,
        channels: int,
        kernel: Size,
        *,
        stride: Size = 1,
        pad: Size | Pads | None = None,
        groups: int = 1,
        dilation: int = 1,
        bias: bool = False,
    ) -> str:
        """A convolution, padded so that stride 1 keeps the size unless `pad` says how much.

        `pad` is the same before and behind, or (top, left, bottom, right).
        """
        rows, columns = pair(kernel)
        if pad is None:
            pad = (rows // 2 * dilation, columns // 2 * dilation)
        around = pad if isinstance(pad, tuple) and len(pad) == 4 else pair(pad) * 2
        shape = (channels, self.channels(value) // groups, rows, columns)
        inputs = [value, self.weight(f"{name}.weight", shape)]
        if bias:
            inputs.append(self.weight(f"{name}.bias", (channels,)))
        return self.node(
            "Conv",
            name,
            inputs,
            kernel_shape=[rows, columns],
            strides=pair(stride),
            pads=around,
            group=groups,
            dilations=[dilation, dilation],
        )

    def unit(
        self,
        name: str,
        value: str,
        channels: int,
        kernel: Size,
        *,
        stride: Size = 1,
        pad: Size | Pads | None = None,
        groups: int = 1,
        dilation: int = 1,
        activation: str | None = "Relu",
    ) -> str:
        """A convolution without bias, batch normalisation and, unless None, an activation."""
        value = self.convolution(
            name,
            value,
            channels,
            kernel,
            stride=stride,
            pad=pad,
            groups=groups,
            dilation=dilation,
        )
        value = self.batch_norm(f"{name}.bn", value)
        return value if activation is None else self.activation(f"{name}.act", value, activation)

    def transposed_convolution(
        self,
        name: str,
        value: str,
        channels: int,
        kernel: int,
        *,
        stride: int,
        pad: int = 0,
        output_pad: int = 0,
    ) -> str:
        """A transposed convolution with bias: rows become (rows - 1) x stride - 2 pad + kernel."""
        weight = self.weight(f"{name}.weight", (self.channels(value), channels, kernel, kernel))
        bias = self.weight(f"{name}.bias", (channels,))
        return self.node(
            "ConvTranspose",
            name,
            [value, weight, bias],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
            output_padding=[output_pad, output_pad],
        )

    def batch_norm(self, name: str, value: str) -> str:
        """Batch normalisation with learned scale and shift and stored statistics."""
        return self.node("BatchNormalization", name, [value, *self._per_channel(name, value, 4)])

    def _per_channel(self, name: str, value: str, count: int) -> list[str]:
        parts = ("scale", "shift", "mean", "variance")[:count]
        return [self.weight(f"{name}.{part}", (self.channels(value),)) for part in parts]

    def instance_norm(self, name: str, value: str) -> str:
        """Every channel of every image normalised by its own statistics, then scale and shift."""
        return self.node("InstanceNormalization", name, [value, *self._per_channel(name, value, 2)])

    def local_response_norm(
        self,
        name: str,
        value: str,
        *,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        bias: float = 1.0,
    ) -> str:
        """Local response normalisation across `size` channels."""
        return self.node("LRN", name, [value], size=size, alpha=alpha, beta=beta, bias=bias)

    def layer_norm(self, name: str, value: str, epsilon: float = 1e-5) -> str:
        """Normalisation of the last axis, then a learned scale and shift."""
        features = self.shape(value)[-1]
        learned = [self.weight(f"{name}.{part}", (features,)) for part in ("scale", "shift")]
        return self.node("LayerNormalization", name, [value, *learned], axis=-1, epsilon=epsilon)

    def activation(self, name: str, value: str, op: str = "Relu") -> str:
        """An operator of one input; `Relu6` clips at 6, `Swish` is x times its sigmoid,
        `HardSigmoid` is relu6(x + 3) / 6, `PRelu` learns a slope a channel."""
        if op == "Relu6":
            limits = [self.constant(f"{name}.low", 0.0), self.constant(f"{name}.high", 6.0)]
            return self.node("Clip", name, [value, *limits])
        if op == "Swish":
            gate = self.node("Sigmoid", f"{name}.sigmoid", [value])
            return self.node("Mul", name, [value, gate])
        if op == "HardSigmoid":
            return self.node(op, name, [value], alpha=1 / 6, beta=0.5)
        if op == "PRelu":
            slopes = self.weight(f"{name}.slope", (self.channels(value), 1, 1))
            return self.node("PRelu", name, [value, slopes])
        return self.node(op, name, [value])

    def pool(
        self,
        op: str,
        name: str,
        value: str,
        kernel: Size,
        stride: Size,
        pad: Size = 0,
        *,
        ceil: bool = False,
    ) -> str:
        """MaxPool or AveragePool; `ceil` rounds the size of the result up, not down."""
        return self.node(
            op,
            name,
            [value],
            kernel_shape=pair(kernel),
            strides=pair(stride),
            pads=pair(pad) * 2,
            ceil_mode=int(ceil),
        )

    def global_average_pool(self, name: str, value: str) -> str:
        """Mean over the plane."""
        return self.node("GlobalAveragePool", name, [value])

    def fully_connected(self, name: str, value: str, outputs: int) -> str:
        """Flatten, then a matrix product with bias."""
        flat = self.node("Flatten", f"{name}.flatten", [value])
        weight = self.weight(f"{name}.weight", (outputs, self.channels(flat)))
        bias = self.weight(f"{name}.bias", (outputs,))
        return self.node("Gemm", name, [flat, weight, bias], transB=1)

    def linear(self, name: str, value: str, outputs: int, *, bias: bool = True) -> str:
        """A matrix product over the last axis, with bias unless told otherwise."""
        weight = self.weight(f"{name}.weight", (self.shape(value)[-1], outputs))
        if not bias:
            return self.node("MatMul", name, [value, weight])
        product = self.node("MatMul", f"{name}.product", [value, weight])
        return self.node("Add", name, [product, self.weight(f"{name}.bias", (outputs,))])

    def embedding(self, name: str, ids: str, rows: int, features: int) -> str:
        """Rows of a learned table, picked by number."""
        table = self.weight(f"{name}.weight", (rows, features))
        return self.node("Gather", name, [table, ids], axis=0)

    def add(self, name: str, left: str, right: str) -> str:
        """Sum of two values, such as a residual add."""
        return self.node("Add", name, [left, right])

    def multiply(self, name: str, left: str, right: str) -> str:
        """Product of two values, element by element."""
        return self.node("Mul", name, [left, right])

    def concat(self, name: str, values: Sequence[str], axis: int = 1) -> str:
        """Concatenation, along channels unless told otherwise."""
        return self.node("Concat", name, values, axis=axis)

    def split(self, name: str, value: str, extents: Sequence[int], axis: int = 1) -> list[str]:
        """The parts of a value, of these extents, called NAME.0, NAME.1, ..."""
        sizes = self.whole_numbers(f"{name}.extents", extents)
        names = [f"{name}.{index}" for index in range(len(extents))]
        return self.nodes("Split", names, [value, sizes], axis=axis)

    def slice(self, name: str, value: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """Elements from `start` up to `stop` along one axis."""
        parts = {"starts": start, "ends": stop, "axes": axis, "steps": step}
        inputs = [self.whole_numbers(f"{name}.{key}", [part]) for key, part in parts.items()]
        return self.node("Slice", name, [value, *inputs])

    def reshape(self, name: str, value: str, shape: Sequence[int]) -> str:
        """The same elements in another shape; one extent may be -1."""
        return self.node("Reshape", name, [value, self.whole_numbers(f"{name}.shape", shape)])

    def transpose(self, name: str, value: str, order: Sequence[int]) -> str:
        """The axes in another order."""
        return self.node("Transpose", name, [value], perm=order)

    def resize(
        self,
        name: str,
        value: str,
        size: tuple[int, int],
        mode: str = "linear",
        coordinates: str = "half_pixel",
    ) -> str:
        """An image of another size; `coordinates` as ONNX names how places correspond.

        The nearest place is the one below, as the common frameworks round.
        """
        sizes = self.whole_numbers(f"{name}.sizes", [*self.shape(value)[:2], *size])
        return self.node(
            "Resize",
            name,
            [value, "", "", sizes],
            mode=mode,
            coordinate_transformation_mode=coordinates,
            nearest_mode="floor",
        )

    def softmax(self, name: str, value: str, axis: int = -1) -> str:
        """Softmax over one axis."""
        return self.node("Softmax", name, [value], axis=axis)

    def squeeze_excite(
        self,
        name: str,
        value: str,
        squeezed: int,
        *,
        activation: str = "Relu",
        gate: str = "Sigmoid",
    ) -> str:
        """Channels scaled by a gate that two 1x1 convolutions make of their means."""
        pooled = self.global_average_pool(f"{name}.pool", value)
        inner = self.convolution(f"{name}.reduce", pooled, squeezed, 1, bias=True)
        inner = self.activation(f"{name}.reduce.act", inner, activation)
        outer = self.convolution(f"{name}.expand", inner, self.channels(value), 1, bias=True)
        return self.multiply(name, value, self.activation(f"{name}.gate", outer, gate))
