"""From `GridOutput` to `Detections`."""
