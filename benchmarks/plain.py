"""What SeeFood102 is measured against: what one writes with the same model in ten lines, all defaults.

python benchmarks/plain.py interface 7861    (a) a gr.Interface
python benchmarks/plain.py fastapi 7862      (b) a FastAPI endpoint, POST /classify
"""

import json
import os
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(os.environ["SEEFOOD_MODEL"])
facts = session.get_modelmeta().custom_metadata_map
labels, size = json.loads(facts["labels"]), session.get_inputs()[0].shape[1]


def predict(photo: Image.Image) -> dict[str, float]:
    """Each label's probability."""
    image = np.asarray(photo.convert("RGB").resize((size, size)))[None]
    (probability,) = session.run(["probability"], {"image": image})[0]
    return dict(zip(labels, probability.tolist(), strict=True))


def serve_interface(port: int) -> None:
    import gradio as gr

    gr.Interface(predict, gr.Image(type="pil"), gr.Label(num_top_classes=5)).launch(server_port=port, quiet=True)


def serve_fastapi(port: int) -> None:
    import uvicorn
    from fastapi import FastAPI, UploadFile

    app = FastAPI()

    @app.post("/classify")
    def classify(photo: UploadFile) -> dict[str, object]:
        best = sorted(predict(Image.open(photo.file)).items(), key=lambda each: -each[1])[:5]
        return {"label": best[0][0], "confidences": [{"label": name, "confidence": p} for name, p in best]}

    uvicorn.run(app, port=port, log_level="warning")


if __name__ == "__main__":
    {"interface": serve_interface, "fastapi": serve_fastapi}[sys.argv[1]](int(sys.argv[2]))
