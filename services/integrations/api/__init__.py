"""The api's HTTP, as the gateway sees it."""
