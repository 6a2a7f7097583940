"""A tree of causes, as lines for people and as a document for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from siutindei.entrypoints.cli.output import cell, iso, when

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siutindei.app.explaining import Explanation, Node

#: As wide as a time, where there is none.
_NO_TIME: Final = " " * 23


def document(explanation: Explanation) -> dict[str, Any]:
    """Give the document."""
    return {
        "id": explanation.id,
        "kinds": list(explanation.kinds),
        "left_out": explanation.left_out,
        "nodes": [_described(node) for node in explanation.nodes],
    }


def _described(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "kind": node.kind,
        "title": node.title,
        "name": node.name,
        "at": iso(node.at),
        "actor": node.actor,
        "causes": list(node.causes),
        "parent": node.parent,
        "rule": node.rule,
        "status": node.status,
        **node.context,
        "details": dict(node.details),
        "asked_for": node.is_asked_for,
        "aside": node.is_aside,
        "readable": node.is_readable,
    }


def tree_lines(explanation: Explanation) -> Iterator[str]:
    """Draw the tree, one line for each node: when, what, by which rule, and by whom."""
    # Who acted in the newest line of each level.
    actors: dict[int, str | None] = {}
    for row in explanation.rows():
        node = row.node
        depth = len(row.last)
        actors[depth] = node.actor
        at = _NO_TIME if node.at is None else when(node.at)
        drawn = "".join("   " if is_last else "│  " for is_last in row.last[:-1])
        if row.last:
            drawn += "└─ " if row.last[-1] else "├─ "
        said = [row.why, row.title]
        if node.rule is not None:
            said.append(f"[{node.rule}]")
        if node.actor is not None and node.actor != actors.get(depth - 1):
            said.append(f"by {node.actor}")
        if row.is_asked_for:
            said.append("◂ asked for")
        yield f"{at}  {drawn}{cell(' '.join(said))}"
    if explanation.left_out:
        yield f"left out: {explanation.left_out} more; ask for one of them by its own id"
