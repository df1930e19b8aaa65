"""From predictions and ground truth to the `Scorecard` of a detector or the `ClassificationScore` of a classifier."""
