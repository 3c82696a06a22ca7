"""Fast builds: other forms of a model that answer sooner, each with the evidence that it answers the same."""

from drivetrain.training.builds.build import MANY as MANY
from drivetrain.training.builds.build import Build as Build
from drivetrain.training.builds.build import Builds as Builds
from drivetrain.training.builds.build import Pace as Pace
from drivetrain.training.builds.build import builds_of as builds_of
