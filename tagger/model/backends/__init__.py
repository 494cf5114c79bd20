"""What runs forward passes: the artifact's own TorchScript, or an engine that computes the same outputs.

TorchScript is the reference. Other backends are converted from it on the machine where they run, and are
chosen only if they agree with it there (see selection).
"""

import sys

# OpenVINO's telemetry package would report each conversion to its makers. This comes before OpenVINO.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
