"""Whose index a query asks: the active tenant's, or that of the tenant which the same query names. Never nobody's."""

from __future__ import annotations

from typing import Any

from django.db.models.expressions import Col
from django.db.models.lookups import Exact, In
from django.db.models.sql.where import AND, WhereNode

from encrypted_fields.tenancy import NoTenant, TenantConflict, current_tenant, tenant_name


def tenants_of(lookup: Any, compiler: Any, binding: Any) -> list[str]:
    """NoTenant without any: the query would have to find nothing. TenantConflict when it names another one."""
    active = current_tenant()
    named = _named(lookup, compiler.query, binding)
    if named is None:
        if active is None:
            raise NoTenant(
                f"whose {lookup.column.name}? Each tenant has its own index: filter by the tenant's column in the "
                "same query, or activate a tenant with `with tenant(name):` or the middleware"
            )
        return [active]
    if active is not None and any(one != active for one in named):
        raise TenantConflict("the query asks for another tenant than the active one")
    return named


def _named(lookup: Any, query: Any, binding: Any) -> list[str] | None:
    """The tenants that the query requires of the rows which the lookup compares."""
    if query.where.children == [lookup]:
        return None
    beside = [one for one in _beside(query.where, lookup) if isinstance(one, Exact | In)]
    place = _place(query, lookup.lhs.alias, binding) if beside else None
    if place is None:
        return None
    return next(filter(None, (_required(one, place) for one in beside)), None)


def _place(query: Any, alias: Any, binding: Any) -> tuple[Any, Any] | None:
    """(table alias, field) of the tenant: a column of the row, or of a row that the query has joined."""
    if binding.tenant_column is not None:
        names = [binding.tenant_column]
    elif isinstance(binding.tenant_from, str):
        names = binding.tenant_from.split("__")
    else:
        return None
    model = binding.model
    for name in names[:-1]:
        link = model._meta.get_field(name)
        alias = next(
            (
                other
                for other, join in query.alias_map.items()
                if getattr(join, "parent_alias", None) == alias and join.join_field == link
            ),
            None,
        )
        if alias is None or link.related_model is None:
            return None
        model = link.related_model
    field = next((one for one in model._meta.concrete_fields if names[-1] in (one.name, one.attname)), None)
    return None if field is None else (alias, field)


def _beside(node: Any, lookup: Any) -> list[Any]:
    """What must be true wherever the lookup matters: the conditions joined to it, or to what it is in, by AND.

    Without the lookup itself (it may be inside an annotation): the conditions of the whole query.
    """
    inside = _holds(node, lookup)
    found: list[Any] = []
    while isinstance(node, WhereNode):
        if node.connector == AND:
            found += _conjuncts(node)
        elif not inside:
            break
        node = next((child for child in node.children if _holds(child, lookup)), None) if inside else None
    return found


def _conjuncts(node: WhereNode) -> list[Any]:
    found: list[Any] = []
    for child in node.children:
        if isinstance(child, WhereNode):
            found += _conjuncts(child) if child.connector == AND and not child.negated else []
        else:
            found.append(child)
    return found


def _holds(node: Any, lookup: Any) -> bool:
    if isinstance(node, WhereNode):
        return any(_holds(child, lookup) for child in node.children)
    return node is lookup


def _required(condition: Any, place: tuple[Any, Any]) -> list[str] | None:
    left = getattr(condition, "lhs", None)
    if not isinstance(left, Col) or (left.alias, left.target) != place:
        return None
    right = condition.rhs
    if isinstance(condition, In):
        if hasattr(right, "resolve_expression") or hasattr(right, "as_sql"):
            return None
        return [tenant_name(one) for one in right if one is not None] or None
    if not isinstance(condition, Exact) or hasattr(right, "resolve_expression") or right is None:
        return None
    return [tenant_name(right)]
