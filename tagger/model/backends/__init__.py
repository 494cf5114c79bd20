"""What runs a network's forward passes: the artifact's own TorchScript, or an engine that computes the same outputs.

TorchScript is the reference. Other backends are converted from it on the machine where they run, and are chosen only
if a measurement shows that they agree with it and are clearly faster (see selection).
"""

import sys

# OpenVINO's telemetry package would report each conversion to its makers from a forked process. No module of this package imports
# OpenVINO before this.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
