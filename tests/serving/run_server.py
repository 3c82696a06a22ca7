"""Runs a server for the tests: STORE PORT WORKERS; the environment may set what `os.environ` is asked for below."""

from __future__ import annotations

import os
import resource
import sys

from drivetrain.serving.cache.terms import Cache
from drivetrain.serving.config import Config
from drivetrain.serving.jobs.terms import Jobs, callbacks_of
from drivetrain.serving.launch import Launch
from drivetrain.serving.server import run
from drivetrain.serving.service import Terms

if __name__ == "__main__":
    store, port, workers = sys.argv[1:]
    if limit := os.environ.get("FILE_LIMIT"):
        # No file may grow above this: as good as a full disk, and it can be lifted again from outside.
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    run(
        Launch(
            service=Terms(
                name="answers",
                model="late",
                max_rows=500,
                max_body_bytes=200_000,
                cache=Cache(keep=os.environ["CACHE"], max_bytes=int(os.environ.get("CACHE_BYTES", 64 << 20)))
                if "CACHE" in os.environ
                else None,
                jobs=Jobs(
                    max_rows=800,
                    max_waiting=int(os.environ.get("MAX_WAITING", "1000")),
                    share=float(os.environ.get("JOB_SHARE", "0.5")),
                    keep=os.environ.get("KEEP", "7d"),
                ),
            ),
            config=Config(
                store=store,
                port=int(port),
                workers=int(workers),
                token=os.environ.get("TOKEN", ""),
                callbacks=callbacks_of(os.environ.get("CALLBACK_HOSTS", ""), "secret"),
                grpc_port=int(os.environ.get("GRPC_PORT", "0")),
            ),
        )
    )
