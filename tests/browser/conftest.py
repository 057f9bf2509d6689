"""Pages in a real browser, opened from disk without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest

from tests.support.chains import HOSTILE, chain
from tests.support.commands import command

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

STUDY = """
title: a grid
networks: [fsrcnn_s@16, ds_cnn_s]
hardware: bare
axes:
  policy: [layerwise, merged]
  local_memory: {from: 512B, to: 8KiB, per_octave: 1}
  weight_bits: [4, 8]
  dram.bandwidth: [1.6GB/s, 6.4GB/s]
record: [dram_bytes, map_bytes, latency_ms, energy_mj, macs]
"""
SMALL = ("mobilenet_v1@0.25-32", "--hw", "bare", "--local-memory", "24KiB")


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run, two runs, a sweep, hostile names, and a network of 520 layers."""
    here = tmp_path_factory.mktemp("pages")
    (here / "study.yaml").write_text(STUDY)
    onnx.save(chain(HOSTILE), here / "hostile.onnx")
    onnx.save(chain([f"block{n // 4}.conv{n % 4}" for n in range(520)]), here / "long.onnx")
    bare = ("--hw", "bare", "--local-memory", "4KiB")
    for arguments in (
        ("run", *SMALL, "--policy", "merged", "--out", "merged"),
        ("run", *SMALL, "--out", "alone"),
        ("run", "hostile.onnx", *bare, "--out", "<img src=x onerror=window.hit=7>"),
        ("run", "long.onnx", *bare, "--out", "long"),
        ("sweep", "study.yaml", "--out", "grid", "--processes", "1"),
        ("report", "merged", "-o", "one.html"),
        ("report", "merged", "alone", "-o", "two.html"),
        ("report", "<img src=x onerror=window.hit=7>", "alone", "-o", "hostile.html"),
        ("report", "long", "-o", "long.html"),
        ("report", "grid", "-o", "sweep.html"),
        ("compare", "merged", "alone", "--html", "changes.html"),
    ):
        command(*arguments, cwd=here)
    return here


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium, or the one that CHROMIUM names."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
    if BROWSER is None:
        pytest.skip("no chromium on this machine; install one, or name it by CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


Open = Callable[[str], "Page"]


@pytest.fixture
def opened(browser: Browser, pages: Path) -> Iterator[Open]:
    """Opens a page offline; at the end nothing may have been asked for, nor said on the console."""
    context = browser.new_context(offline=True, accept_downloads=True)
    told: list[str] = []

    def listened(name: str) -> Page:
        page = context.new_page()
        page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: told.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("file:", "blob:", "data:"))
                else told.append(f"asked for {request.url}")
            ),
        )
        page.goto((pages / name).as_uri())
        page.wait_for_selector("body[data-ready=yes]", timeout=60_000)
        return page

    yield listened
    context.close()
    assert told == []
