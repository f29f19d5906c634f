"""Revisions of a fab of its own, for the tests: SQL files, Python, a change in batches, a view replaced."""

from __future__ import annotations

from pathlib import Path

HEAD = "s4"

_SCRIPT = '''"""{doc}"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down!r}
branch_labels = {labels!r}
depends_on = {depends!r}


def upgrade() -> None:
    {up}


def downgrade() -> None:
    {down_body}
'''

UP_SQL = """\
CREATE SCHEMA site;
CREATE TABLE site.note (note_key bigint NOT NULL, body text DEFAULT ':x; 5 %', done integer);
COMMENT ON TABLE site.note IS 'Notes; of the fab''s own';
INSERT INTO site.note (note_key) SELECT i * 922337203685477580 FROM generate_series(-9, 9) i;
CREATE VIEW {schema}.v_note AS SELECT note_key FROM site.note
"""
DOWN_SQL = "DROP VIEW {schema}.v_note; DELETE FROM site.note; DROP TABLE site.note; DROP SCHEMA site"

BATCHED = (
    'op.run_batched("UPDATE site.note SET done = {value} WHERE {{batch}}", table="note", by="note_key", slices=3, '
    'schema="site")'
)
VIEW = (
    'op.replace_view("v_note", "SELECT note_key{more} FROM site.note", '
    'schema=op.get_context().opts["gpwarehouse_schema"]{how})'
)

OURS = ("0001", "0002", "0003", "0004", "0005", "0006")
"""The revisions of the package, in order."""

HEAD = OURS[-1]
APPLIED = dict.fromkeys(OURS, "applied")


def write_revision(
    folder: Path,
    revision: str,
    down: str | None,
    up: str = "pass",
    down_body: str = "pass",
    *,
    doc: str = "A revision of the tests.",
    depends: str | None = None,
) -> Path:
    path = folder / f"{revision}_test.py"
    labels = None if down is not None else ("site",)
    depends = depends or (None if down is not None else HEAD)
    path.write_text(
        _SCRIPT.format(
            doc=doc, revision=revision, down=down, labels=labels, depends=depends, up=up, down_body=down_body
        )
    )
    return path


def write_site(folder: Path) -> Path:
    """A line of four revisions: SQL files, Python, batches, a view."""
    folder.mkdir(parents=True, exist_ok=True)
    first = write_revision(
        folder, "s1", None, 'op.run_sql_file(__file__, "up")', 'op.run_sql_file(__file__, "down")', doc="Notes."
    )
    parts = first.with_suffix("")
    parts.mkdir(exist_ok=True)
    (parts / "up.sql").write_text(UP_SQL)
    (parts / "down.sql").write_text(DOWN_SQL)
    add = 'op.add_column("note", sa.Column("extra", sa.Text(), comment="More"), schema="site")'
    write_revision(folder, "s2", "s1", add, 'op.drop_column("note", "extra", schema="site")', doc="One column more.")
    write_revision(folder, "s3", "s2", BATCHED.format(value=1), BATCHED.format(value="NULL"), doc="In batches.")
    write_revision(
        folder,
        "s4",
        "s3",
        VIEW.format(more=", extra", how=""),
        VIEW.format(more="", how=", recreate=True"),
        doc="View.",
    )
    return folder
