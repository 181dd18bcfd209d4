"""The revisions of the database's tables, each a script that goes up and down."""

HEAD = "0001"
"""The revision that this Everhart works with."""
