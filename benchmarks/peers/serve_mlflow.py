"""Keep a model in MLflow's form, for `mlflow models serve`: serve_mlflow.py FOLDER; MODEL says which."""

import shutil
import sys
from pathlib import Path

import mlflow
import numpy as np

if __name__ == "__main__":
    import os

    folder, name = sys.argv[1], os.environ["MODEL"]
    shutil.rmtree(folder, ignore_errors=True)
    if name in ("logistic", "boosted"):
        import mlflow.sklearn
        import skops.io

        file = f"{name}.skops"
        model = skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))
        mlflow.sklearn.save_model(
            model, folder, pyfunc_predict_fn="predict_proba", pip_requirements=[], input_example=np.zeros((1, 20))
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
