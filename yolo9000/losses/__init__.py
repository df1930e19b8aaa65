"""Assignment of labels to grid locations, and the terms of the loss."""
