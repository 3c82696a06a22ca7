"""Train the models that the peers serve, and keep each as its library does, and as ONNX."""

import joblib
import numpy as np
import torch
from nets import Image, Net, fitted
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

random = np.random.default_rng(0)
x = random.normal(size=(5_000, 20)).astype(np.float32)
y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int)
images = random.random(size=(500, 784)).astype(np.float32)

for name, model in {
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
    "boosted": HistGradientBoostingClassifier(max_iter=100, early_stopping=False),
}.items():
    model.fit(x, y)
    joblib.dump(model, f"{name}.joblib")
    onnx = to_onnx(model, x[:1], options={"zipmap": False})
    with open(f"{name}.onnx", "wb") as file:
        file.write(onnx.SerializeToString())

for name, net, rows, labels in (("net", Net(), x, y), ("image", Image(), images, images[:, 0] > 0.5)):
    fitted(net, torch.from_numpy(rows), torch.from_numpy(labels.astype(np.float32)))
    torch.save(net.state_dict(), f"{name}.pt")
    given = {"x": {0: torch.export.Dim("rows")}}
    torch.onnx.export(net, (torch.from_numpy(rows[:2]),), f"{name}.onnx", dynamo=True, dynamic_shapes=given)
