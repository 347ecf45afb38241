"""What the demonstration prints: one numbered step after the other, plain where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.demo.processes import Failed


class Screen:
    """Prints steps, checks and tables; counts the checks."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=False)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=110)
        self.checks = 0
        self._step = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A numbered step; while it runs in a terminal, a spinner shows that it does."""
        self._step += 1
        self.console.print(f"\n[bold]{self._step:>2}[/]  [bold]{title}[/]")
        with self.console.status("", spinner="dots"):
            try:
                yield
            except Failed as failure:
                raise Failed(f"step {self._step}, {title}: {failure}") from None

    def say(self, text: str) -> None:
        self.console.print(Text(f"    {text}", style="dim"))

    def check(self, passed: object, promise: str, instead: object = "") -> None:
        """A promise that was looked at; Failed if it does not hold."""
        if not passed:
            raise Failed(f"not so: {promise}" + (f"\ninstead: {instead}" if instead else ""))
        self.checks += 1
        self.console.print(Text.assemble("    ", ("✓ ", "green"), promise))

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
        for head in heads:
            table.add_column(head, overflow="ellipsis", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(str(cell)) for cell in row))
        grid = Table.grid(padding=(0, 0, 0, 4))
        grid.add_row("", table)
        self.console.print(grid)

    def panel(self, title: str, lines: Sequence[str]) -> None:
        self.console.print()
        self.console.print(Panel("\n".join(lines), title=title, title_align="left", box=box.ROUNDED, padding=(1, 2)))

    def fail(self, failure: str) -> None:
        self.console.print()
        self.console.print(Panel(Text(failure), title="failed", title_align="left", border_style="red", padding=(1, 2)))
