"""Generated from proto/faramesh/v1/agent.proto by `python regenerate_wire.py`; a test compares."""
