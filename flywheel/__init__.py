"""What Flywheel decides: plain values in, a verdict with its reason and evidence out.

The stages in the order the data flows through them:

    traffic -> windows -> drift -> alerts
    traffic -> corrections -> training_set | regression_suite -> retraining -> gate -> rollout

Nothing here touches a socket, a disk, a clock, a GPU, the environment or a logger.
"""
