"""When a report is opened by itself."""

from __future__ import annotations

import sys
import webbrowser

import pytest

from halign.cli.opening import open_page


@pytest.fixture
def opened(monkeypatch):
    pages = []
    monkeypatch.setattr(webbrowser, "open", lambda page: pages.append(page) or True)
    for name in ("CI", "SSH_CONNECTION", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    return pages


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)


def test_at_a_terminal_of_a_desktop(opened, terminal, monkeypatch, tmp_path):
    monkeypatch.setenv("DISPLAY", ":0")
    assert open_page(tmp_path / "a b.html", None)
    assert opened == [(tmp_path / "a b.html").as_uri()]
    assert opened[0].endswith("a%20b.html")


@pytest.mark.parametrize("said", [{}, {"DISPLAY": ":0", "CI": "1"}, {"DISPLAY": ":0", "SSH_CONNECTION": "x"}])
def test_nobody_sees_a_window(opened, terminal, monkeypatch, tmp_path, said):
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert not open_page(tmp_path / "r.html", None)
    assert not opened


def test_output_that_goes_to_a_file(opened, monkeypatch, tmp_path):
    monkeypatch.setenv("DISPLAY", ":0")
    assert not open_page(tmp_path / "r.html", None)
    assert not opened


def test_said_is_said(opened, terminal, monkeypatch, tmp_path):
    assert open_page(tmp_path / "r.html", True)
    assert opened
    monkeypatch.setenv("DISPLAY", ":0")
    assert not open_page(tmp_path / "r.html", False)
