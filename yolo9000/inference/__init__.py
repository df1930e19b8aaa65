"""From the network's raw `GridOutput` to `Detections`."""
