"""The models that are served, what is asked of them, and how each contender is started for one of them."""

import json
import shutil
from functools import cache
from pathlib import Path

from benchmarks.contender import FOLDER, Contender
from benchmarks.measure import PEERS, environment, ours, run

MODELS = {
    "logistic": "LogisticRegression behind a StandardScaler, 20 floats",
    "boosted": "HistGradientBoosting of 100 trees, 20 floats",
    "net": "torch, two hidden layers of 64, 20 floats",
    "image": "torch, two convolutions, 256,000 parameters (1 MB), an image of 784 floats",
}
LIMIT, ECHO = "limit: granian + onnxruntime", "limit: granian echo"

TORCH = "torch==2.13.0"
SKLEARN = ["scikit-learn==1.9.1", "numpy==2.4.6"]
ONNX = ["onnxruntime==1.32.0", "onnx==1.23.2", "skl2onnx==1.20.0", "protobuf<7"]  # see `onnx` in pyproject.toml
FASTAPI = ("fastapi", ["fastapi==0.165.0", "uvicorn[standard]==0.54.0", *SKLEARN, TORCH])
GRANIAN = (
    "granian",
    ["granian==2.8.7", "uvloop==0.23.0", *ONNX, "onnxscript==0.7.2", *SKLEARN, TORCH],
)
MLFLOW = ("mlflow-serving", ["mlflow==3.17.2", *SKLEARN, TORCH])
BENTOML = ("bentoml", ["bentoml==1.4.40", *SKLEARN, TORCH])
LITSERVE = ("litserve", ["litserve==0.2.19", *SKLEARN, TORCH])
RAY = ("ray", ["ray[serve]==2.60.0", *SKLEARN, TORCH])
KSERVE = ("kserve", ["kserve==0.21.0", *SKLEARN, TORCH])
DRIVETRAIN = [*SKLEARN, "skops==0.16.0", *ONNX, TORCH, "safetensors", "grpcio"]


def values_of(model: str) -> list[float]:
    """Return the row that is asked."""
    if model == "image":
        return [round(place * 37 % 100 / 100, 2) for place in range(784)]
    return [round(0.05 * place - 0.5, 2) for place in range(20)]


def named_row(model: str) -> bytes:
    """Return the row as an object with a name for each value, as a table has it."""
    return json.dumps({f"x{place}": value for place, value in enumerate(values_of(model))}).encode()


@cache
def trained() -> Path:
    """Train every model for the peers, and return the folder in which they and their scripts lie."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for script in PEERS.glob("*.py"):
        shutil.copy(script, FOLDER)
    run([str(environment(*GRANIAN) / "python"), "serve_train.py"], cwd=FOLDER)
    return FOLDER


_HEAD = """
import numpy as np
import polars as pl
{imports}

import drivetrain as dt

WIDTH, ROWS = {width}, {rows}
NAMES = [f"x{{place}}" for place in range(WIDTH)]


@dt.dataset(key="id", label="y")
def rows() -> pl.LazyFrame:
    x = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int)
    return pl.LazyFrame(dict(zip(NAMES, x.T))).with_columns(id=pl.int_range(pl.len()), y=pl.Series(y))

{features}
train, test = dt.split({source}, test=0.25)


@dt.model
def scored(train: pl.DataFrame) -> {returns}:
    x, y = dt.xy(train)
    return {fit}


@dt.evaluation
def quality(scored: {returns}, test: pl.DataFrame) -> dt.metrics.Binary:
    return dt.metrics.binary(scored, test)


gate = dt.Gate(scored, require=[quality.auc >= 0])
service = dt.Service(scored)
"""
_FEATURES = """
@dt.features
def shapes(rows: pl.LazyFrame) -> pl.LazyFrame:
    product = (pl.col("x1") * pl.col("x2")).alias("product")
    return rows.select("id", *NAMES[:18], product, largest=pl.max_horizontal(NAMES))

"""
_NET = "fitted({kind}(), torch.from_numpy(x.to_numpy()), torch.from_numpy(y.to_numpy().astype(np.float32)))"
_FITS = {
    "logistic": (
        "from sklearn.linear_model import LogisticRegression\nfrom sklearn.pipeline import Pipeline, make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler",
        "Pipeline",
        "make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)",
    ),
    "boosted": (
        "from sklearn.ensemble import HistGradientBoostingClassifier",
        "HistGradientBoostingClassifier",
        "HistGradientBoostingClassifier(max_iter=100, early_stopping=False).fit(x, y)",
    ),
    "net": ("import torch\nfrom nets import Net, fitted", "Net", _NET.format(kind="Net")),
    "image": ("import torch\nfrom nets import Image, fitted", "Image", _NET.format(kind="Image")),
}


@cache
def project(model: str, *, has_features: bool = False) -> tuple[Path, Path]:
    """Run our pipeline for a model, and return the `bin` folder of our environment and the project's folder."""
    binaries = ours("drivetrain-serving", *DRIVETRAIN)
    folder = FOLDER / f"drivetrain-{model}{'-features' * has_features}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    imports, returns, fit = _FITS[model]
    text = _HEAD.format(
        imports=imports,
        returns=returns,
        fit=fit,
        width=784 if model == "image" else 20,
        rows=500 if model == "image" else 5_000,
        features=_FEATURES if has_features else "",
        source="shapes" if has_features else "rows",
    )
    (folder / "system.py").write_text(text.lstrip())
    shutil.copy(PEERS / "nets.py", folder)
    run([str(binaries / "drivetrain"), "run"], cwd=folder)
    return binaries, folder


def own(model: str, workers: int = 1, *, has_features: bool = False) -> Contender:
    """Return our server."""
    binaries, folder = project(model, has_features=has_features)
    plural = "s" * (workers > 1)
    return Contender(
        name=f"**drivetrain**{', polars features' * has_features}, {workers} worker{plural}",
        argv=(str(binaries / "drivetrain"), "serve", "--port", "PORT", "--workers", str(workers)),
        folder=folder,
        body=named_row(model),
    )


def fastapi(model: str, workers: int) -> Contender:
    """Return the service that a team writes by hand."""
    uvicorn = str(environment(*FASTAPI) / "uvicorn")
    return Contender(
        name=f"FastAPI by hand, {workers} worker{'s' * (workers > 1)}",
        argv=(uvicorn, "serve_fastapi:app", "--port", "PORT", "--no-access-log", "--workers", str(workers)),
        folder=trained(),
        body=json.dumps({"x": values_of(model)}).encode() if model == "image" else named_row(model),
        extra={"MODEL": model},
    )


def limit(model: str, name: str = LIMIT) -> Contender:
    """Return a bare granian: one that runs the model and nothing else, or one that gives the request back."""
    granian = str(environment(*GRANIAN) / "granian")
    app = "serve_onnx:app" if name == LIMIT else "serve_echo:app"
    return Contender(
        name=name,
        argv=(granian, "--interface", "rsgi", "--host", "127.0.0.1", "--port", "PORT", "--workers", "1", app),
        folder=trained(),
        body=json.dumps({"x": values_of(model)}).encode() if model == "image" else named_row(model),
        extra={"MODEL": model},
    )


def mlflow(model: str) -> Contender:
    """Return `mlflow models serve`."""
    binaries, folder = environment(*MLFLOW), trained()
    extra = {"MODEL": model, "PATH": f"{binaries}:/usr/bin:/bin", "MLFLOW_DISABLE_TELEMETRY": "true"}
    run([str(binaries / "python"), "serve_mlflow.py", f"mlflow-{model}"], cwd=folder, extra=extra)
    serve = ("models", "serve", "-m", f"mlflow-{model}", "--env-manager", "local", "-h", "127.0.0.1", "-p", "PORT")
    return Contender(
        name="MLflow models serve",
        argv=(str(binaries / "mlflow"), *serve, "--workers", "1"),
        folder=folder,
        body=json.dumps({"inputs": [values_of(model)]}).encode(),
        path="/invocations",
        extra=extra,
    )


def bentoml(model: str) -> Contender:
    """Return BentoML with adaptive batching."""
    binaries = environment(*BENTOML)
    extra = {"MODEL": model, "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(FOLDER / "bentoml")}
    return Contender(
        name="BentoML, adaptive batching",
        argv=(str(binaries / "bentoml"), "serve", "serve_bentoml:Scorer", "--host", "127.0.0.1", "--port", "PORT"),
        folder=trained(),
        body=json.dumps({"x": [values_of(model)]}).encode(),
        extra=extra,
    )


def litserve(model: str) -> Contender:
    """Return LitServe with batches."""
    return _script("LitServe, batch 64", LITSERVE, ("serve_litserve.py", "PORT"), model)


def ray(model: str) -> Contender:
    """Return Ray Serve with batches."""
    extra = {"RAY_USAGE_STATS_ENABLED": "0"}
    return _script("Ray Serve, batch 64", RAY, ("serve_ray.py", "PORT"), model, extra=extra)


def kserve(model: str) -> Contender:
    """Return KServe's Python server."""
    argv = ("serve_kserve.py", "--http_port", "PORT")
    body = json.dumps({"instances": [values_of(model)]}).encode()
    return _script("KServe python server", KSERVE, argv, model, path="/v1/models/scorer:predict", body=body)


def _script(
    name: str,
    peer: tuple[str, list[str]],
    argv: tuple[str, ...],
    model: str,
    *,
    path: str = "/predict",
    body: bytes = b"",
    extra: dict[str, str] | None = None,
) -> Contender:
    return Contender(
        name=name,
        argv=(str(environment(*peer) / "python"), *argv),
        folder=trained(),
        path=path,
        body=body or json.dumps({"x": values_of(model)}).encode(),
        extra={"MODEL": model, **(extra or {})},
    )
