"""From detections and ground truth to `Scorecard`."""
