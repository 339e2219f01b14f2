"""``flywheel topics create``: the topics on a broker of your own. On the embedded broker ``flywheel up`` makes them itself."""

import typer

from services.cli.options import Config
from services.cli.output import print_sentence

commands = typer.Typer(help="The topics on the broker.", no_args_is_help=True)


@commands.callback()
def topics() -> None:
    """The topics on the broker."""


@commands.command()
def create(config: Config = None) -> None:
    """Create the topics that are missing on the broker of kafka.bootstrap; those that exist stay as they are."""
    # at first use: `flywheel --help` needs neither settings nor a Kafka client
    from services.integrations.kafka import topics
    from services.settings import load
    from services.settings.secrets import broker_fields

    settings = load(config)
    access = topics.KafkaAccess(**broker_fields(settings))
    names, spec, replication = settings.kafka.topics.model_dump(), topics.topic_spec(), settings.kafka.replication
    created = topics.create_topics(access, names=names, spec=spec, replication=replication)
    for name in created:
        print_sentence(f"created {name}")
    if not created:
        print_sentence(f"{settings.bootstrap} has all topics already")
    differences = topics.differing_topics(access, names=names, spec=spec, replication=replication)
    made_now = tuple(f"topic {name} " for name in created)  # not every broker knows of them yet
    for difference in [one for one in differences if not one.startswith(made_now)]:
        print_sentence(f"note: {difference}; it stays as it is")
