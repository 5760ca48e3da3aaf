"""The example's agent, tools and refund desk, with a daemon that answers as its policy would."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from types import ModuleType
from typing import Any

import faramesh.client
import pytest
import world
from faramesh import Client, WsgiReceipts
from faramesh._wire import agent_pb2 as wire

EXAMPLE = pathlib.Path(__file__).resolve().parents[3] / "examples" / "support-bot"


@pytest.fixture
def bot(
    tmp_path: pathlib.Path, daemon: world.FakeDaemon, log: world.Log, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """agent.py in a workspace of its own, its daemon, and the refund desk at work."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.syspath_prepend(str(EXAMPLE / "bot"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(faramesh.client, "_default", Client(daemon.socket, "bot"))
    monkeypatch.setenv("FARAMESH_SOCKET", daemon.socket)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    daemon.answer = lambda request: policy(request, log)
    demo, desk, tools = (importlib.import_module(name) for name in ("demo", "refund_desk", "tools"))
    prepared = demo.Demo(tmp_path, tmp_path)
    (tmp_path / "workspace").mkdir()
    prepared.fill_workspace()
    socket = str(pathlib.Path(daemon.socket).with_name("desk.sock"))
    monkeypatch.setattr(tools, "desk_socket", socket)
    server = desk.UnixServer(socket, desk.Handler)
    app = desk.Desk(str(tmp_path / "ledger"))
    server.set_app(WsgiReceipts(app, tools={("POST", "/refunds"): "orders/refund"}, origin=log.origin))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield importlib.import_module("agent")
    server.shutdown()
    thread.join()
    server.server_close()
    for name in ("agent", "attacks", "demo", "refund_desk", "tools"):
        sys.modules.pop(name, None)


def policy(request: wire.GovernRequest, log: world.Log) -> wire.GovernReply:
    """governance.fms, by hand."""
    arguments = json.loads(request.arguments, parse_float=Decimal)
    if request.tool == "orders/refund" and arguments["amount"] >= 100:
        return world.defer()
    if request.tool == "accounts/delete" or "elsewhere" in arguments.get("to", ""):
        return world.deny()
    return world.permit(receipt=log.receipt(request.tool, arguments))


def ledger(tmp_path: pathlib.Path) -> list[Any]:
    return [(entry["order"], entry["amount"]) for entry in map(json.loads, (tmp_path / "ledger").open())]


def test_the_conversation_is_what_the_demonstration_promises(bot: ModuleType, tmp_path: pathlib.Path) -> None:
    demo = sys.modules["demo"]
    sys.argv = ["agent.py", "--report", "report"]
    assert bot.main() == 0
    calls = [json.loads(line) for line in (tmp_path / "report").open()]
    demo.Demo(tmp_path, tmp_path).judge_conversation(calls)
    assert ledger(tmp_path) == [("A-1001", "80")]


def test_a_conversation_that_came_out_otherwise_fails_the_demonstration(
    bot: ModuleType, tmp_path: pathlib.Path, daemon: world.FakeDaemon, log: world.Log
) -> None:
    demo = sys.modules["demo"]
    daemon.answer = lambda r: world.permit(receipt=log.receipt(r.tool, json.loads(r.arguments)))
    sys.argv = ["agent.py", "--report", "report"]
    bot.main()
    calls = [json.loads(line) for line in (tmp_path / "report").open()]
    with pytest.raises(demo.Unkept, match="DEFER"):
        demo.Demo(tmp_path, tmp_path).judge_conversation(calls)


def test_the_desk_refuses_every_way_around_the_question(bot: ModuleType, tmp_path: pathlib.Path) -> None:
    attacks = sys.modules["attacks"]
    for attempt in (attacks.without_receipt, attacks.other_amount, attacks.replay):
        refused, answer = attempt()
        assert refused, answer
    assert ledger(tmp_path) == [("A-1001", "5")], "the one good use of the receipt that is then replayed"


def test_an_attack_that_is_not_refused_stops_at_its_harmless_half(bot: ModuleType, tmp_path: pathlib.Path) -> None:
    attacks = sys.modules["attacks"]
    file = tmp_path / "policy"
    file.write_text("default deny\n")
    for refused, answer in (
        attacks.send(os.getpid()),
        attacks.open_file(str(file), os.O_WRONLY | os.O_APPEND),
        attacks.open_file(str(file), os.O_RDONLY),
        attacks.create(str(tmp_path)),
    ):
        assert not refused and "allowed" in answer
    assert file.read_text() == "default deny\n"
    assert not (tmp_path / "planted-by-the-agent").exists()


def test_attacks_that_nothing_refuses_fail_the_enforced_demonstration_only(
    bot: ModuleType, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = sys.modules["demo"]
    names = [*demo.NOT_PREVENTED, "refund without asking", "refund more than was permitted", "refund twice on one receipt"]
    events = [{"kind": "attack", "attack": name, "refused": name != "kill the daemon", "answer": "x"} for name in names]
    shown = demo.Demo(tmp_path, tmp_path)
    shown.enforced = True
    with pytest.raises(demo.Unkept, match="kill the daemon"):
        shown.judge_attacks(events)
    shown.enforced = False
    shown.judge_attacks(events)
    assert "not prevented here: kill the daemon: agent and daemon are one user" in capsys.readouterr().out
    events[-1]["refused"] = False
    with pytest.raises(demo.Unkept, match="twice"):
        shown.judge_attacks(events)


def test_what_an_agent_prints_cannot_command_the_terminal(
    bot: ModuleType, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sys.modules["demo"].Terminal().untrusted("a\x1b[2Jb\u202ec")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\x202ec\n"
