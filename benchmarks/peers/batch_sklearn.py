"""Answer the rows of a Parquet file by scikit-learn, in a plain loop."""

import sys

import joblib
import numpy as np
import polars as pl

NAMES = [f"x{i}" for i in range(20)]

model = joblib.load("boosted.joblib")
frame = pl.read_parquet(sys.argv[1])
found = [
    model.predict_proba(piece.cast(pl.Float32).to_numpy(order="c"))[:, 1]
    for piece in frame.select(NAMES).iter_slices(65_536)
]
frame.with_columns(prediction=np.concatenate(found)).write_parquet("scored.parquet")
