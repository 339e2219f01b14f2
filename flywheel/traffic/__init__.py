"""Production traffic: requests, answers, their features, redaction and recording."""
