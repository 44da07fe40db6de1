"""Which station serves whom: the rules as pure functions, and a reference that every other dispatcher must equal."""
