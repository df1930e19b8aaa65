"""Networks: backbones, heads, the detector (images to `GridOutput`) and the classifier."""
