"""From images to `GridOutput`: backbones, heads, detectors and classifiers."""
