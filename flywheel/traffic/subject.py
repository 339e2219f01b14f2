"""Whose data is an exchange?

In: an inference, and the field that the workload's settings name. Out: the field and its value. The subject's data key is not made here.
"""

from flywheel.traffic.inference import Inference

SESSION, CLIENT, DIMENSION = "session", "client", "dim:"


def is_subject_field(field: str) -> bool:
    """``session``, ``client`` or ``dim:<name of a dimension>``."""
    return field in (SESSION, CLIENT) or (field.startswith(DIMENSION) and len(field) > len(DIMENSION))


def subject_of(inference: Inference, field: str) -> tuple[str, str]:
    """For example ("session", "s-41"). Every exchange has a subject: without the named dimension it is the session."""
    if field == CLIENT:
        return CLIENT, inference.client
    value = inference.dimensions.get(field.removeprefix(DIMENSION)) if field.startswith(DIMENSION) else None
    return (field, value) if value else (SESSION, inference.session)
