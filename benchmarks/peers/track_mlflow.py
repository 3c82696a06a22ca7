"""What each workload of tracking takes with MLflow on a local SQLite store, in seconds inside the process."""

import logging
import sys
import time

import mlflow
from mlflow.entities import Metric, Param

logging.disable(logging.INFO)
mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("bench")
client = mlflow.MlflowClient()


def points(count: int) -> float:
    """Log a curve of `count` points by log_batch, 1,000 a call, which is the most it takes."""
    start = time.perf_counter()
    with mlflow.start_run() as run:
        for begin in range(0, count, 1000):
            batch = [Metric("loss", 1 / (step + 1), 0, step) for step in range(begin, min(begin + 1000, count))]
            client.log_batch(run.info.run_id, metrics=batch)
    return time.perf_counter() - start


def single(count: int) -> float:
    """Log `count` points by log_metric, a call each."""
    with mlflow.start_run():
        start = time.perf_counter()
        for step in range(count):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        return time.perf_counter() - start


def runs(count: int) -> float:
    """Record runs of 10 parameters and 10 metrics."""
    start = time.perf_counter()
    for number in range(count):
        with mlflow.start_run() as run:
            client.log_batch(
                run.info.run_id,
                metrics=[Metric(f"m{each}", (number * 7919 % count) / (each + 1), 0, 0) for each in range(10)],
                params=[Param(f"p{each}", str(number * each)) for each in range(10)],
            )
    return time.perf_counter() - start


def top(count: int) -> float:
    """Find the 10 best of `count` runs by one metric, those above a value of another."""
    runs(count)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        found = client.search_runs(
            [client.get_experiment_by_name("bench").experiment_id],
            filter_string=f"metrics.m1 > {count / 4}",
            order_by=["metrics.m0 DESC"],
            max_results=10,
        )
        best = min(best, time.perf_counter() - start)
    assert len(found) == 10
    return best


work, _, size = sys.argv[1].partition(":")
print({"points": points, "single": single, "runs": runs, "top": top}[work](int(size)))
