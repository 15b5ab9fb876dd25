"""Paths on Hydra's command line, and on a shell's before it."""

import shlex
from pathlib import Path, PurePath, PureWindowsPath

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from nucleiseg.cli.overrides import override, quoted


@pytest.mark.parametrize(
    "path",
    [
        Path("/home/jörg (1)/a=b/[x]/it's/#1 & {c}, d"),
        Path("ends with a backslash\\"),
        Path("a\\'b"),
        PureWindowsPath("C:\\runs\\it's"),
    ],
)
def test_hydra_reads_a_quoted_path_as_it_is(path: PurePath) -> None:
    read = OverridesParser.create().parse_override(f"hydra.run.dir={quoted(path)}")
    assert read.value() == str(path)
    assert not read.is_sweep_override()
    typed = shlex.split(override("input", path))
    assert len(typed) == 1
    assert OverridesParser.create().parse_override(typed[0]).value() == str(path)


def test_a_plain_path_is_left_plain() -> None:
    assert override("checkpoint", Path("runs/2026-01-02_03-04-05_r50_c4")) == (
        "checkpoint=runs/2026-01-02_03-04-05_r50_c4"
    )
