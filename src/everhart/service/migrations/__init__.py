"""The revisions of the database's tables, each a script that goes up and down."""

HEAD = "0002"
"""The revision that this Everhart works with."""
