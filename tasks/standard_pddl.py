"""A PDDLGym domain as standard PDDL, for planners and for Mimir's strict parser.

Action predicates are taken out of the predicates and preconditions, the requirements are those
that the text needs (and negation, as goals may use it), and everything is lower case. Problems:
`tasks.pddl.problem_text`.
"""

from __future__ import annotations

from tasks.expressions import Form, Item
from tasks.pddl import ROOT_TYPE, DomainDefinition, Operator, TypedNames

_REQUIREMENTS = {
    "or": ":disjunctive-preconditions",
    "imply": ":disjunctive-preconditions",
    "forall": ":universal-preconditions",
    "exists": ":existential-preconditions",
    "forall effect": ":conditional-effects",
    "when": ":conditional-effects",
    "=": ":equality",
    "derived": ":derived-predicates",
}


def standard_domain(domain: DomainDefinition) -> str:
    """The domain's text; numeric effects (action costs) are left out."""
    requirements = {":strips", ":negative-preconditions"} | {
        _REQUIREMENTS[feature] for feature in domain.features if feature in _REQUIREMENTS
    }
    if domain.typed:
        requirements.add(":typing")
    lines = [f"(define (domain {domain.name})", f"(:requirements {' '.join(sorted(requirements))})"]
    if domain.typed:
        types = [f"{name} - {parent}" for name, parent in domain.types.items() if name != ROOT_TYPE]
        lines.append(f"(:types {' '.join(types)})")
    if domain.constants:
        lines.append(f"(:constants {_names(domain.constants, domain.typed)})")
    predicates = [
        f"({' '.join(filter(None, (name, _names(parameters, domain.typed))))})"
        for name, parameters in domain.predicates.items()
    ]
    lines.append(f"(:predicates {' '.join(predicates)})")
    lines += [f"(:derived {_head(head, domain)} {condition})" for head, condition in domain.derived]
    lines += [_operator(operator, domain) for operator in domain.operators]
    return "\n".join(lines) + ")\n"


def _names(names: TypedNames, typed: bool) -> str:
    if not typed:
        return " ".join(name for name, _ in names)
    return " ".join(
        f"{name} - {'(either ' + kind.replace('|', ' ') + ')' if '|' in kind else kind}"
        for name, kind in names
    )


def _head(head: Form, domain: DomainDefinition) -> str:
    """The head of a derived predicate with the types of its declaration."""
    variables = [str(item) for item in head.rest if str(item).startswith("?")]
    kinds = [kind for _, kind in domain.predicates.get(head.head, ())]
    names = _names(tuple(zip(variables, kinds)), domain.typed)
    return f"({' '.join(filter(None, (head.head, names)))})"


def _operator(operator: Operator, domain: DomainDefinition) -> str:
    precondition = _without(operator.precondition, frozenset(domain.action_predicates))
    effect = _without(operator.effect, frozenset({"increase", "decrease", "assign"}))
    return (
        f"(:action {operator.name} :parameters ({_names(operator.parameters, domain.typed)})"
        f" :precondition {precondition} :effect {effect})"
    )


def _without(form: Form | None, heads: frozenset[str]) -> str:
    """The conjunction without the parts that start with one of the heads."""
    if form is None or len(form) == 0 or form.head in heads:
        return "(and)"
    if form.head != "and":
        return str(form)
    kept: list[Item] = [p for p in form.items if not (isinstance(p, Form) and p.head in heads)]
    return str(Form(kept, form.offset))
