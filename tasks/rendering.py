"""A task as text for the small LM, and the inverse for actions.

The sequence a model sees: the prompt, then for each decision an observation (if any), `<act>`,
the action's words, `<end>`. Words are separated by blanks; the number of arguments of every
predicate and action is fixed, so that no separators are needed.

    <domain> blocks <goal> on block1 block2 <state> clear block1 ... <act> pickup block1 <end>
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from configs.schema import RenderingConfig
from tasks.domains import Domain
from tasks.errors import TaskError
from tasks.naming import Naming, natural_key
from tasks.pddl import TypedNames
from tasks.task import Action, Atom, Simulator

SPECIALS = ("<pad>", "<domain>", "<goal>", "<state>", "<act>", "<end>", "<see>", "not")
"""Words with a fixed meaning, first in every vocabulary."""


class Rendering:
    """Text for the tasks of some domains.

    `vocabulary` holds all words that can occur, specials first, in a fixed order;
    `interchangeable` holds groups of names that may be permuted in a text without changing what
    it means.
    """

    def __init__(self, domains: Sequence[Domain], config: RenderingConfig) -> None:
        self.config = config
        self._domains = {domain.name: domain for domain in domains}
        self._taken = frozenset(
            word
            for domain in domains
            for word in (
                *(name for name, _ in domain.constants),
                *domain.naming_rules.own_names,
                *domain.predicates,
                *domain.actions,
                domain.word,
            )
        )
        self._words: dict[str, tuple[str, ...]] = {}
        ordered: set[str] = set()
        for domain in domains:
            for pool in domain.naming_rules.pools:
                words = pool.names(config.objects_per_type, self._taken)
                others = self._words.get(pool.name, ())  # of a domain whose pool has this name
                self._words[pool.name] = tuple(dict.fromkeys((*others, *words)))
                if pool.ordered and not config.static_atoms:
                    ordered.add(pool.name)
        self._ordered = frozenset(ordered)
        names = [word for words in self._words.values() for word in words]
        self.vocabulary: tuple[str, ...] = tuple(
            dict.fromkeys((*SPECIALS, *sorted(self._taken), *names))
        )
        self.names: tuple[str, ...] = tuple(
            dict.fromkeys(
                (
                    *names,
                    *(name for domain in domains for name, _ in domain.constants),
                    *(name for domain in domains for name in sorted(domain.naming_rules.own_names)),
                )
            )
        )
        self.interchangeable: tuple[tuple[str, ...], ...] = tuple(
            words
            for pool, words in self._words.items()
            if len(words) > 1 and pool not in self._ordered
        )

    def naming(self, simulator: Simulator, seed: int) -> Naming:
        """Names for the objects of the simulator's task; constants keep theirs.

        With `random_names` the words of interchangeable pools are drawn by the seed. `TaskError`
        if a pool has too few words.
        """
        naming = Naming(simulator.domain, seed, {}, {})
        self._name_new(simulator, naming)
        return naming

    def check_names(self, domain: Domain, objects: TypedNames, atoms: frozenset[Atom]) -> None:
        """`TaskError` if a task with these (name, type) has more objects than there are names."""
        self._name(domain, objects, atoms, Naming(domain.name, 0, {}, {}))

    def prompt(self, simulator: Simulator, naming: Naming) -> str:
        """Domain, goal and current state, e.g. at the start of an episode."""
        domain = self._domain(simulator)
        self._name_new(simulator, naming)
        words = ["<domain>", domain.word, "<goal>"]
        for condition in simulator.goal:
            words += self._atom(condition, naming)
        words.append("<state>")
        for atom in self._shown(domain, simulator.atoms):
            words += self._atom(atom, naming)
        return " ".join(words)

    def action(self, action: Action, naming: Naming) -> str:
        """The action's words, e.g. "stack block1 block2"."""
        return " ".join(self._atom(action, naming))

    def parse_action(self, text: str, naming: Naming) -> Action | None:
        """The action that the words name, or None if they name none of this domain and task."""
        words = text.split()
        if not words:
            return None
        if self._domains[naming.domain].actions.get(words[0]) != len(words) - 1:
            return None
        arguments = [naming.object.get(word) for word in words[1:]]
        known = [name for name in arguments if name is not None]
        return (words[0], *known) if len(known) == len(arguments) else None

    def observation(self, before: frozenset[Atom], simulator: Simulator, naming: Naming) -> str:
        """What is seen after an action: nothing, the changes, or the whole state.

        Changes are new atoms, then vanished ones after "not"; a refused action shows "<see>".
        Static atoms never change, so that only the prompt and "state" show them.
        """
        domain = self._domains[naming.domain]
        if self.config.observation == "none":
            return ""
        if self.config.observation == "prompt":
            return self.prompt(simulator, naming)
        self._name_new(simulator, naming)
        after = simulator.atoms
        words = ["<see>"]
        if self.config.observation == "state":
            for atom in self._shown(domain, after):
                words += self._atom(atom, naming)
        else:
            for atom in self._shown(domain, after - before):
                words += self._atom(atom, naming)
            for atom in self._shown(domain, before - after):
                words += self._atom(("not", *atom), naming)
        return " ".join(words)

    def _domain(self, simulator: Simulator) -> Domain:
        name = simulator.domain
        if name not in self._domains:
            raise TaskError(f"this rendering was not made for domain '{name}'")
        return self._domains[name]

    def _name_new(self, simulator: Simulator, naming: Naming) -> None:
        """Name the objects that have no name yet; in a world seen in part they become more."""
        if naming.word and all(name in naming.word for name, _ in simulator.objects):
            return
        self._name(self._domain(simulator), simulator.objects, simulator.atoms, naming)

    def _name(
        self, domain: Domain, objects: TypedNames, atoms: frozenset[Atom], naming: Naming
    ) -> None:
        rules = domain.naming_rules
        pool_of = rules.classify(objects, atoms)
        kept = rules.own_names | {name for name, _ in domain.constants}
        members: dict[str, list[str]] = {}
        words: dict[str, str] = {}
        for name, _ in objects:
            if name in naming.word:
                continue
            if name in kept:
                words[name] = name
            else:
                members.setdefault(pool_of[name], []).append(name)
        rng = random.Random(naming.seed + len(naming.word))
        for pool, names in sorted(members.items()):
            free: Sequence[str] = self._words[pool]
            if naming.object:
                free = [word for word in free if word not in naming.object]
            if len(names) > len(free):
                raise TaskError(
                    f"a task of domain '{domain.name}' has {len(names)} objects of kind '{pool}' "
                    f"but there are {len(free)} names: raise rendering.objects_per_type"
                )
            chosen: Iterable[str] = free
            if self.config.random_names and pool not in self._ordered:
                chosen = rng.sample(free, len(names))
            words.update(zip(sorted(names, key=natural_key), chosen))
        naming.word.update(words)
        naming.object.update({word: name for name, word in words.items()})

    def _shown(self, domain: Domain, atoms: frozenset[Atom]) -> list[Atom]:
        shown = domain.shown_predicates
        if self.config.static_atoms:
            shown |= domain.static_predicates
        return sorted(atom for atom in atoms if atom[0] in shown)

    @staticmethod
    def _atom(atom: Atom, naming: Naming) -> list[str]:
        head = 2 if atom[0] == "not" else 1
        return [*atom[:head], *(naming.word[name] for name in atom[head:])]
