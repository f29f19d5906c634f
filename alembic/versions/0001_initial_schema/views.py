"""The views, in the order in which they can be made. Frozen."""

from __future__ import annotations

from gpwarehouse.dialect import CommentOnView, CreateView, DropView

VIEWS = {
}

COMMENTS = {
}

COLUMN_COMMENTS = {
}


def create(op, schema):
    for name, body in VIEWS.items():
        op.execute(CreateView(name, body, schema))
        op.execute(CommentOnView(name, COMMENTS[name], schema))
        for column, comment in COLUMN_COMMENTS[name].items():
            op.execute(CommentOnView(name, comment, schema, column=column))


def drop(op, schema):
    for name in reversed(VIEWS):
        op.execute(DropView(name, schema))
