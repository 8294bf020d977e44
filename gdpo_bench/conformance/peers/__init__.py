"""Adapters to the advantage code that other frameworks ship.

Each calls the framework's own function; what surrounds it here only puts the arguments into the
shape that the framework expects. The frameworks are not dependencies: import a module here only
where its framework is installed (`tox -e peer-axolotl`, `peer-swift`, `peer-trl`, `peer-verl`).
"""
