"""What PromQL expressions are about: the series they name and the labels of what they give."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import promql_parser
from promql_parser import AggModifierType, LabelModifierType, MatchOp

TARGET_LABELS = frozenset({"job", "instance", "service"})
"""What Prometheus adds to every series that it fetches."""

Known = Mapping[str, set[str]]
"""Labels by the name of a series, without those of targets."""


def parse(expression: str) -> Any:
    """Return the tree of an expression, Grafana's variables among it. ``ValueError`` where it is none."""
    return promql_parser.parse(re.sub(r"\$__(rate_interval|interval|range)\b", "5m", expression))


def labels_of(expression: str, known: Known) -> set[str]:
    """Return the labels that the result may have. ``AssertionError`` for a series or label that nobody exports."""
    return _labels(parse(expression), known)


def names_in(expression: str, known: Known) -> set[str]:
    """Return the names of all series that an expression looks at."""
    found: set[str] = set()

    class Noting(dict[str, set[str]]):
        def __getitem__(self, name: str) -> set[str]:
            found.add(name)
            return super().__getitem__(name)

    _labels(parse(expression), Noting(known))
    return found


@functools.singledispatch
def _labels(node: Any, known: Known) -> set[str]:
    raise AssertionError(f"an expression of a kind that is not understood: {type(node).__name__}")


@_labels.register
def _(node: promql_parser.NumberLiteral, known: Known) -> set[str]:
    return set()


@_labels.register
def _(node: promql_parser.StringLiteral, known: Known) -> set[str]:
    return set()


@_labels.register
def _(node: promql_parser.ParenExpr, known: Known) -> set[str]:
    return _labels(node.expr, known)


@_labels.register
def _(node: promql_parser.UnaryExpr, known: Known) -> set[str]:
    return _labels(node.expr, known)


@_labels.register
def _(node: promql_parser.SubqueryExpr, known: Known) -> set[str]:
    return _labels(node.expr, known)


@_labels.register
def _(node: promql_parser.MatrixSelector, known: Known) -> set[str]:
    return _labels(node.vector_selector, known)


@_labels.register
def _(node: promql_parser.VectorSelector, known: Known) -> set[str]:
    matchers = {matcher.name: matcher for matcher in node.matchers.matchers}
    named = matchers.pop("__name__", None)
    if named is not None:
        assert named.op == MatchOp.Re
        names = [name for name in known if re.fullmatch(named.value, name)]
    else:
        names = [node.name]
    assert names, f"no series is called {node}"
    missing = [name for name in names if name not in known]
    assert not missing, f"nobody exports {missing}"
    labels = TARGET_LABELS.union(*(known[name] for name in names))
    assert matchers.keys() <= labels, f"{node}: its labels are {sorted(labels)}"
    return labels


@_labels.register
def _(node: promql_parser.AggregateExpr, known: Known) -> set[str]:
    inner = _labels(node.expr, known)
    if node.modifier is None:
        return set()
    chosen = set(node.modifier.labels)
    assert chosen <= inner, f"{node}: there is no label {chosen - inner}"
    return chosen if node.modifier.type == AggModifierType.By else inner - chosen


@_labels.register
def _(node: promql_parser.Call, known: Known) -> set[str]:
    labels = set().union(*(_labels(argument, known) for argument in node.args))
    if node.func.name == "label_replace":
        return labels | {node.args[1].val}
    if node.func.name == "histogram_quantile":
        assert "le" in labels, f"{node}: of no buckets"
        return labels - {"le"}
    return labels


@_labels.register
def _(node: promql_parser.BinaryExpr, known: Known) -> set[str]:
    left, right = _labels(node.lhs, known), _labels(node.rhs, known)
    matching = node.modifier.matching if node.modifier is not None else None
    if matching is not None and matching.type == LabelModifierType.Include:
        assert set(matching.labels) <= left & right, f"{node}: both sides need the labels {matching.labels}"
    return left | right if str(node.op) == "or" or not left else left
