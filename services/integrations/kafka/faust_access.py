"""The broker's URL and credentials in Faust's form."""

import ssl
from typing import Any

import faust

from services.integrations.kafka.topics import KafkaAccess


def broker_url(access: KafkaAccess) -> str:
    """Faust separates brokers by semicolons, each with its scheme."""
    return ";".join(f"kafka://{address.strip()}" for address in access.bootstrap.split(","))


def broker_credentials(access: KafkaAccess) -> Any:
    """None for a plain connection."""
    encrypted = access.security_protocol.endswith("SSL")
    context = ssl.create_default_context(cafile=access.ssl_cafile) if encrypted else None
    if access.sasl_mechanism:
        return faust.SASLCredentials(
            username=access.sasl_username, password=access.sasl_password, ssl_context=context, mechanism=access.sasl_mechanism
        )
    return faust.SSLCredentials(context=context) if encrypted else None
