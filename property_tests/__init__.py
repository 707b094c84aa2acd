"""One suite of properties, many implementations: ``pytest --pyargs property_tests --implementation NAME``."""
