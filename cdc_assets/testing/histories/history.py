"""
A random history of a database: what is run there, all of it said by a seed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from random import Random

from .changes import Changes, Statements, change
from .definitions import Definitions
from .features import ALL, Feature
from .kinds import Features
from .names import Names, literal
from .tables import Tables
from .world import Reference, World


class Stage(Enum):
    BEFORE = "before anything is copied"
    DURING = "while it is mirrored"


@dataclass(frozen=True)
class Step:
    """Statements of one session that follow each other: a transaction, or one that is its own."""

    statements: tuple[str, ...]
    stage: Stage = Stage.DURING
    defines: bool = False
    """What comes later relies on it."""
    sync: bool = False
    """After it, when there is one writer, the copies are caught up and compared."""


@dataclass(frozen=True)
class History:
    seed: int
    features: Features
    steps: tuple[Step, ...]

    @classmethod
    def of(cls, seed: int, features: Iterable[Feature] = ALL) -> History:
        return _Author(seed, frozenset(features)).history()

    def at(self, stage: Stage) -> list[Step]:
        return [step for step in self.steps if step.stage is stage]

    @property
    def script(self) -> str:
        """As it can be given to psql."""
        return "".join(
            f"-- {stage.value}\n{''.join(map(_shown, self.at(stage)))}" for stage in Stage if self.at(stage)
        )


def _shown(step: Step) -> str:
    mark = "-- synced and compared here\n" if step.sync else ""
    return "".join(f"{statement};\n" for statement in step.statements) + mark


class _Author:
    def __init__(self, seed: int, features: Features) -> None:
        self._seed, self._features = seed, features
        self._chance = Random(seed)
        self._world = World()
        names = Names(self._chance)
        self._tables = Tables(self._world, names, self._chance, features)
        self._definitions = Definitions(self._tables, self._world, names, self._chance, features)
        self._prepared = 0

    def history(self) -> History:
        chance = self._chance
        often = chance.choice((0.0, 0.05, 0.2, 1.0))
        steps = [Step((s,), Stage.BEFORE, defines=True) for s in self._tables.begin()]
        for _ in range(chance.choice((0, 20))):
            steps += [Step((statement,), Stage.BEFORE) for statement in self._change()]
        for _ in range(chance.randint(10, 15 if often == 1.0 else 50)):
            steps += self._steps()
            if chance.random() < often:
                steps[-1] = replace(steps[-1], sync=True)
        return History(self._seed, self._features, tuple(steps))

    def _change(self) -> Statements:
        return change(self._world, self._chance, self._features)

    def _steps(self) -> list[Step]:
        kind = self._chance.random()
        if kind < 0.15 and (made := self._definitions.any()):
            return [Step((statement,), defines=True) for statement in made.statements]
        if kind < 0.55:
            return [Step((statement,)) for statement in self._change()]
        return [self._transaction()]

    def _transaction(self) -> Step:
        before = copy.deepcopy(self._world)
        body, defines = self._body(self._chance.choice((1, 3, 8)), depth=0)
        endings = [
            ("commit", 6),
            ("rollback", 1),
            ("prepare", 1 if Feature.TWO_PHASE in self._features else 0),
        ]
        names, weights = zip(*endings, strict=True)
        (ending,) = self._chance.choices(names, weights)
        if ending == "rollback":
            self._world.restore(before)
        end = self._in_two_phases(body, before) if ending == "prepare" else [ending]
        return Step(("begin", *body, *end), defines=defines)

    def _body(self, length: int, depth: int) -> tuple[Statements, bool]:
        statements: Statements = []
        defines = False
        for _ in range(length):
            kind = self._chance.random()
            if kind < 0.12 and Feature.DEFINITIONS_IN_TRANSACTIONS in self._features:
                made = self._defined()
                statements += made
                defines |= bool(made)
            elif kind < 0.25 and Feature.SAVEPOINTS in self._features and depth < 3:
                before, name = copy.deepcopy(self._world), f"s{depth}"
                inner, inner_defines = self._body(self._chance.randint(1, 3), depth + 1)
                undone = self._chance.random() < 0.5
                statements += [f"savepoint {name}", *inner]
                statements += [f"{'rollback to' if undone else 'release'} savepoint {name}"]
                if undone:
                    self._world.restore(before)
                defines |= inner_defines
            else:
                statements += self._change()
        return statements, defines

    def _defined(self) -> Statements:
        before = copy.deepcopy(self._world)
        made = self._definitions.any()
        if made and made.alone:
            self._world.restore(before)
            return []
        return made.statements if made else []

    def _in_two_phases(self, body: Statements, before: World) -> Statements:
        """Prepared; something may happen to a table it has not locked; then the second phase."""
        self._prepared += 1
        name = literal(f"history {self._seed} {self._prepared}", "text").removesuffix("::text")
        between: Statements = []
        free = [
            table
            for table in self._world.tables
            if not table.is_referenced
            and not any(table.sql in statement for statement in body)
            and not any(isinstance(column.kind, Reference) for column in table.columns)
        ]
        if free and self._chance.random() < 0.5:
            between = Changes(self._chance.choice(free), self._chance, self._features).update_many()
        kept = self._chance.random() < 0.8
        if not kept:
            self._world.restore(before)
        return [
            f"prepare transaction {name}",
            *between,
            f"{'commit' if kept else 'rollback'} prepared {name}",
        ]
