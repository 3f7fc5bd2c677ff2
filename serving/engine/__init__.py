"""The engine: models by name and version behind one interface. It has never heard of HTTP."""
