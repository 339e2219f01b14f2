"""The gateways' admin ports, as other processes see them."""
