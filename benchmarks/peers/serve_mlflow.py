"""Keep a model in MLflow's form, for `mlflow models serve`: serve_mlflow.py FOLDER; MODEL says which."""

import os
import shutil
import sys
from pathlib import Path

import joblib
import mlflow

if __name__ == "__main__":
    folder, name = sys.argv[1], os.environ["MODEL"]
    shutil.rmtree(folder, ignore_errors=True)
    if name in ("logistic", "boosted"):
        import mlflow.sklearn

        mlflow.sklearn.save_model(
            joblib.load(f"{name}.joblib"),
            folder,
            serialization_format="cloudpickle",
            pyfunc_predict_fn="predict_proba",
            pip_requirements=[],
        )
    else:
        # The file itself is the model ("models from code").
        paths = ["scoring.py", "nets.py"]
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(Path(__file__).with_name("mlflow_net.py")),
            code_paths=paths,
            artifacts={"weights": f"{name}.pt"},
            pip_requirements=[],
        )
