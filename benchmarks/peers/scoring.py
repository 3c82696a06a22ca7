"""The model that a peer serves, as its own library runs it: MODEL in the environment says which."""

import os
from collections.abc import Callable

import numpy as np

NAME = os.environ.get("MODEL", "boosted")


def scorer() -> Callable[[np.ndarray], np.ndarray]:
    """Return what gives probabilities: (rows, width) → (rows,)."""
    if NAME in ("logistic", "boosted"):
        import joblib

        model = joblib.load(f"{NAME}.joblib")
        return lambda x: model.predict_proba(np.asarray(x, dtype=np.float32))[:, 1]

    import nets
    import torch

    torch.set_num_threads(1)
    net = {"net": nets.Net, "image": nets.Image}[NAME]()
    net.load_state_dict(torch.load(f"{NAME}.pt", weights_only=True))
    net.eval()

    def score(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return torch.sigmoid(net(torch.from_numpy(np.asarray(x, dtype=np.float32)))[:, 0]).numpy()

    return score
