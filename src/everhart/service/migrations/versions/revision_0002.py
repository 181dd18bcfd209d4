"""Uploaded models, and the runs of comparisons."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_RUNS = ("job_id", "result_id", "image", "method")


def upgrade() -> None:
    """Make the tables; jobs that are there have no uploaded models."""
    op.create_table(
        "models",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("header", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("ix_models_sha256", "models", ["sha256"], unique=False)
    op.add_column("jobs", sa.Column("models", sa.JSON(), nullable=False, server_default="{}"))
    op.create_table(
        "runs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("result_id", sa.String(length=32), nullable=False),
        sa.Column("image", sa.String(length=64), nullable=False),
        sa.Column("image_name", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("model_hash", sa.String(length=64), nullable=True),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        sa.ForeignKeyConstraint(["result_id"], ["results.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in _RUNS:
        op.create_index(f"ix_runs_{column}", "runs", [column], unique=False)


def downgrade() -> None:
    """Drop the tables."""
    for column in _RUNS:
        op.drop_index(f"ix_runs_{column}", table_name="runs")
    op.drop_table("runs")
    op.drop_column("jobs", "models")
    op.drop_index("ix_models_sha256", table_name="models")
    op.drop_table("models")
