"""The golden examples of correction and knowledge-gap events: they fit the schemas, and our readers and writers agree with them."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import schemas
from schemas import schema
from services.correction_desk.knowledge_gap_events import knowledge_gap_message
from services.integrations.kafka.event_codec import decode_correction
from tests.learning import NOON, kept

EXAMPLES = Path(schemas.__file__).parent / "examples"
DATA_SCHEMAS = {"correction.v1": "corrections/correction.v1", "knowledge-gap.v1": "knowledge_gaps/knowledge_gap.v1"}


@pytest.mark.parametrize(
    "path", sorted([*EXAMPLES.glob("correction.v1.*"), *EXAMPLES.glob("knowledge-gap.v1.*")]), ids=lambda path: path.stem
)
def test_an_example_fits_envelope_and_schema(path: Path) -> None:
    event = json.loads(path.read_text())
    Draft202012Validator(schema("envelope.v1")).validate(event)
    Draft202012Validator(schema(DATA_SCHEMAS[".".join(path.name.split(".")[:2])])).validate(event["data"])


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("correction.v1.*")), ids=lambda path: path.stem)
def test_an_example_of_a_correction_is_read(path: Path) -> None:
    correction, _ = decode_correction(path.read_bytes())
    assert correction.given_id == json.loads(path.read_text())["data"]["correction_id"]


def test_the_knowledge_gap_that_we_write_fits_its_schema() -> None:
    event = json.loads(knowledge_gap_message(kept(), topic="gaps", now=NOON).value)
    Draft202012Validator(schema("envelope.v1")).validate(event)
    Draft202012Validator(schema("knowledge_gaps/knowledge_gap.v1")).validate(event["data"])
