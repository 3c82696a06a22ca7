"""Moved to registry/rollout.py; this name goes once nothing imports it."""

from drivetrain.registry.rollout import Rollout

__all__ = ["Rollout"]
