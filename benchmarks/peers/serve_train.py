"""Train the model that the peers serve, and keep it as scikit-learn and as ONNX."""

import numpy as np
import skops.io
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier

x = np.random.default_rng(0).normal(size=(5_000, 20)).astype(np.float32)
y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int)
model = HistGradientBoostingClassifier(max_iter=100, early_stopping=False).fit(x, y)

skops.io.dump(model, "model.skops")
onnx = to_onnx(model, x[:1], options={"zipmap": False})
with open("model.onnx", "wb") as file:
    file.write(onnx.SerializeToString())
