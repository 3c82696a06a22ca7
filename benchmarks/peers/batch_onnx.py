"""Answer the rows of a Parquet file by onnxruntime, in a plain loop."""

import sys

import numpy as np
import onnxruntime
import polars as pl

NAMES = [f"x{i}" for i in range(20)]

session = onnxruntime.InferenceSession("boosted.onnx")
(feed,) = session.get_inputs()
frame = pl.read_parquet(sys.argv[1])
found = []
for piece in frame.select(NAMES).iter_slices(65_536):
    x = piece.cast(pl.Float32).to_numpy(order="c")
    found.append(session.run(["probabilities"], {feed.name: x})[0][:, 1])
frame.with_columns(prediction=np.concatenate(found)).write_parquet("scored.parquet")
