"""When to retrain, whether the data is ready, and the training plan."""
