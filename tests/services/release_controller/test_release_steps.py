"""The release controller's steps on the real ledger, with stand-ins for vLLM and the gateway."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flywheel.gate.axes import GateVerdict
from flywheel.ids import BASE, Person
from flywheel.rollout.release import ReleaseState, release_line
from flywheel.rollout.rollback import to_previous
from flywheel.traffic.inference import Arm
from services.ports.work_queue import GateCommand
from services.release_controller.__main__ import release_flow
from services.stores.adapter_files import write_scaled_copy
from tests.services.release_controller.controller_world import BAD, GOOD, ROUTER, World, world
from tests.told_flows import watched


@pytest.fixture
def wheel(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def test_the_first_route_is_the_base_once_the_server_answers(wheel: World) -> None:
    wheel.vllm.dead = True
    wheel.tick()
    assert wheel.parts.releases.route(ROUTER) is None
    wheel.vllm.dead = False
    wheel.tick()
    assert (wheel.route.champion, wheel.route.version, wheel.route.alias) == (BASE, 1, "router-1")
    assert wheel.gateway.routes[ROUTER]["champion"] == "base"


def test_a_good_adapter_goes_the_whole_way_and_the_journal_tells_it(wheel: World) -> None:
    wheel.make_live(GOOD)
    assert (wheel.route.champion, wheel.route.challenger) == (GOOD, None)
    assert wheel.gateway.routes[ROUTER]["champion"] == GOOD
    lines = wheel.parts.journal.entries(kind="release", subject=wheel.release(GOOD).id)
    assert [line.state for line in lines] == ["registered", "probed", "gated", "shadow", "canary", "canary", "live"]
    assert [line.evidence["by"] for line in lines][1:3] == ["probe", "gate"]
    assert lines[0].caused_by == f"run-{GOOD}"
    assert all(line.reason for line in lines)


def test_a_load_that_answers_200_is_not_taken_for_served(wheel: World) -> None:
    wheel.train(GOOD)
    wheel.vllm.log_probability = lambda model, position, token: -1.0  # the adapter's weights are silently ignored
    wheel.tick(times=2)
    refused = wheel.release(GOOD)
    assert refused.state is ReleaseState.REFUSED
    assert "answers as the base does" in refused.reason
    assert wheel.parts.journal.entries(kind="release", subject=refused.id)[-1].evidence["by"] == "probe"
    assert wheel.route.champion == BASE


def test_an_adapter_that_the_server_refuses_is_refused_with_its_words(wheel: World) -> None:
    wheel.train(GOOD)
    wheel.vllm.refused[str(wheel.folder / GOOD)] = "LoRA rank 64 is greater than max_lora_rank 16."
    wheel.tick(times=2)
    assert wheel.state(GOOD) is ReleaseState.REFUSED
    assert "max_lora_rank" in wheel.release(GOOD).reason


def test_a_broken_probe_file_refuses_its_own_release_only(wheel: World) -> None:
    wheel.train(GOOD)
    wheel.train(BAD)
    (wheel.folder / BAD / "probe.json").write_text("{")
    wheel.tick(times=2)
    assert (wheel.state(GOOD), wheel.state(BAD)) == (ReleaseState.PROBED, ReleaseState.REFUSED)


def test_an_adapter_with_nan_weights_is_refused_unloaded_and_disturbs_no_other(wheel: World) -> None:
    wheel.train(GOOD)
    wheel.train(BAD)
    weights = wheel.folder / BAD / "adapter_model.safetensors"
    write_scaled_copy(source=wheel.folder / BAD, out=wheel.folder / "nan", factor=float("nan"))
    weights.write_bytes((wheel.folder / "nan" / weights.name).read_bytes())
    wheel.tick(times=2)
    assert (wheel.state(GOOD), wheel.state(BAD)) == (ReleaseState.PROBED, ReleaseState.REFUSED)
    assert "not servable: weights hold NaN or infinity in 1 of 2 tensors" in wheel.release(BAD).reason
    assert ("load", BAD) not in wheel.vllm.admin
    assert wheel.replica.healthy


def test_a_server_that_fails_on_one_adapter_stays_healthy_for_the_others(wheel: World) -> None:
    wheel.train(BAD)
    wheel.train(GOOD)
    wheel.vllm.failing[BAD] = (500, "EngineGenerateError")
    wheel.tick(times=2)
    assert (wheel.state(GOOD), wheel.state(BAD)) == (ReleaseState.PROBED, ReleaseState.REFUSED)
    assert "fails when it answers with this adapter, and not with the base: EngineGenerateError" in wheel.release(BAD).reason
    asked = len(wheel.vllm.requests)
    wheel.tick(times=3)
    assert BAD not in [request["model"] for request in wheel.vllm.requests[asked:]]  # it is not probed for ever
    assert wheel.replica.healthy
    wheel.pass_time(seconds=61)
    wheel.tick()
    assert set(wheel.vllm.adapters) == {GOOD}


def test_a_server_that_fails_on_everything_refuses_no_adapter(wheel: World) -> None:
    wheel.train(GOOD)
    wheel.vllm.failing |= {BASE: (500, "EngineCore encountered an issue"), GOOD: (500, "EngineCore encountered an issue")}
    wheel.tick(times=2)
    assert (wheel.state(GOOD), wheel.replica.healthy) == (ReleaseState.REGISTERED, False)
    wheel.vllm.failing.clear()
    wheel.tick(times=2)
    assert wheel.state(GOOD) is ReleaseState.PROBED


def test_an_adapter_whose_replay_is_nan_is_refused_before_it_is_loaded(wheel: World) -> None:
    """As an older version left it: loaded, it would leave NaN in the server's cache."""
    wheel.train(BAD, replay=float("nan"))
    wheel.tick(times=2)
    assert "with it the base model computes NaN" in wheel.release(BAD).reason
    assert wheel.vllm.admin == []


def test_a_missing_adapter_file_refuses_its_own_release_only(wheel: World) -> None:
    wheel.train(GOOD)
    wheel.train(BAD)
    (wheel.folder / BAD / "adapter_model.safetensors").unlink()
    wheel.tick(times=2)
    assert (wheel.state(GOOD), wheel.state(BAD)) == (ReleaseState.PROBED, ReleaseState.REFUSED)


def test_an_overridden_gate_still_meets_the_canarys_guards(wheel: World) -> None:
    wheel.make_live(GOOD)
    wheel.train(BAD)
    wheel.tick(times=2)
    wheel.gate(BAD, GateVerdict.REFUSE, champion=GOOD)
    wheel.tick()
    assert wheel.state(BAD) is ReleaseState.REFUSED
    wheel.approve(BAD)
    wheel.tick()
    assert wheel.state(BAD) is ReleaseState.SHADOW
    wheel.ask(BAD, Arm.SHADOW, 10, valid=False)
    wheel.tick()
    assert wheel.state(BAD) is ReleaseState.CANARY
    wheel.ask(GOOD, Arm.CHAMPION, 20)
    wheel.ask(BAD, Arm.CANARY, 3)
    wheel.ask(BAD, Arm.CANARY, 9, valid=False)
    wheel.ask(BAD, Arm.CANARY, 1, status=500, request="retried")
    wheel.ask(GOOD, Arm.CHAMPION, 1, request="retried", attempt=2)
    wheel.tick()
    assert wheel.state(BAD) is ReleaseState.ROLLED_BACK
    assert (wheel.route.champion, wheel.route.challenger) == (GOOD, None)
    assert wheel.gateway.routes[ROUTER]["version"] == wheel.route.version
    wheel.ask(GOOD, Arm.CHAMPION, 1)
    wheel.tick(times=6)
    (line,) = wheel.parts.journal.entries(kind="rollback")
    assert (line.evidence["adapter"], line.evidence["to"], line.evidence["by"]) == (BAD, GOOD, "guard")
    assert (line.evidence["failed_requests"], line.evidence["bad_answers"]) == (0, 9)
    assert isinstance(line.evidence["seconds"], float)
    assert 0 <= line.evidence["seconds"] < 5
    wheel.tick(times=3)
    assert len(wheel.parts.journal.entries(kind="rollback")) == 1


def test_a_promotion_with_a_holdout_is_watched_until_its_end(wheel: World) -> None:
    rules = wheel.parts.workloads[ROUTER]
    watched = replace(rules.policy, holdout_share=0.05, holdout_time=timedelta(hours=24))
    wheel.parts = replace(wheel.parts, workloads={ROUTER: replace(rules, policy=watched)})
    wheel.make_live(GOOD)
    assert (wheel.route.champion, wheel.route.challenger, wheel.route.challenger_arm) == (GOOD, BASE, Arm.HOLDOUT)
    assert wheel.gateway.routes[ROUTER]["challenger_arm"] == "hold_back"
    wheel.ask(GOOD, Arm.CHAMPION, 30)
    wheel.ask(BASE, Arm.HOLDOUT, 10)
    wheel.tick()
    assert wheel.route.challenger == BASE
    wheel.pass_time(seconds=24 * 3600)
    wheel.tick()
    assert (wheel.route.champion, wheel.route.challenger, wheel.state(GOOD)) == (GOOD, None, ReleaseState.LIVE)
    last = wheel.parts.journal.entries(kind="release", subject=wheel.release(GOOD).id)[-1]
    assert (last.at, last.state) == (wheel.now, "live")
    wheel.make_live(BAD, champion=GOOD)
    assert wheel.route.challenger == GOOD
    wheel.ask(BAD, Arm.CHAMPION, 60, valid=False)
    wheel.ask(GOOD, Arm.HOLDOUT, 15)
    wheel.tick(times=2)
    assert (wheel.state(BAD), wheel.state(GOOD)) == (ReleaseState.ROLLED_BACK, ReleaseState.LIVE)
    assert (wheel.route.champion, wheel.route.challenger) == (GOOD, None)


def test_releases_and_routes_from_the_future_go_on_and_are_told_once(wheel: World) -> None:
    wheel.make_live(GOOD)
    wheel.train(BAD)
    wheel.tick(times=2)
    assert wheel.state(BAD) is ReleaseState.PROBED
    wheel.gate(BAD, GateVerdict.PASS, champion=GOOD)
    wheel.pass_time(seconds=-3600)
    wheel.tick(times=3)
    assert (wheel.state(GOOD), wheel.state(BAD)) == (ReleaseState.LIVE, ReleaseState.SHADOW)
    assert wheel.route.changed_at is not None
    assert wheel.route.changed_at <= wheel.now
    told = [
        line.subject for kind in ("release", "route") for line in wheel.parts.journal.entries(kind=kind) if "in the future" in line.reason
    ]
    assert len(told) == len(set(told)) == 3


def test_a_rollback_is_measured_once_also_across_a_restart(wheel: World) -> None:
    wheel.make_live(GOOD)
    releases = wheel.parts.releases.releases(ROUTER)
    decision = to_previous(workload=ROUTER, route=wheel.route, releases=releases, by=Person("anna"), reason="it rambles", now=wheel.now)
    (changed,) = decision.releases
    before = wheel.release(GOOD)
    assert wheel.parts.releases.save_release(changed, release_line(changed, by="person"), expected=before, route=decision.route)
    wheel.tick()
    wheel.restart_controller()
    wheel.tick(times=20)
    wheel.restart_controller()
    wheel.tick(times=2)
    (line,) = wheel.parts.journal.entries(kind="rollback")
    assert (line.evidence["to"], line.evidence["cause"], line.evidence["by"]) == (BASE, "it rambles", "person")
    assert wheel.route.champion == BASE


def test_a_rollback_puts_the_previous_champion_back_to_live(wheel: World) -> None:
    wheel.make_live(GOOD)
    wheel.make_live(BAD, champion=GOOD)
    wheel.tick()
    assert wheel.state(GOOD) is ReleaseState.RETIRED
    releases = wheel.parts.releases.releases(ROUTER)
    decision = to_previous(workload=ROUTER, route=wheel.route, releases=releases, by=Person("anna"), reason="worse", now=wheel.now)
    (changed,) = decision.releases
    saved = wheel.parts.releases.save_release(
        changed, release_line(changed, by="person"), expected=wheel.release(BAD), route=decision.route
    )
    assert saved
    wheel.tick()
    assert (wheel.state(GOOD), wheel.state(BAD)) == (ReleaseState.LIVE, ReleaseState.ROLLED_BACK)
    assert GOOD in wheel.vllm.adapters  # the rollback target was kept loaded


def test_after_a_server_restart_adapters_are_loaded_and_checked_again(wheel: World) -> None:
    wheel.make_live(GOOD)
    wheel.vllm.restart_empty()
    wheel.vllm.requests.clear()
    wheel.tick()
    assert GOOD in wheel.vllm.adapters
    assert {body["model"] for body in wheel.vllm.requests} == {"base", GOOD}
    assert wheel.state(GOOD) is ReleaseState.LIVE


def test_a_killed_controller_goes_on_where_it_stood(wheel: World) -> None:
    wheel.train(GOOD)
    wheel.tick(times=2)
    wheel.gate(GOOD, GateVerdict.PASS)
    for _ in range(3):
        wheel.restart_controller()
        wheel.tick()
    assert wheel.state(GOOD) is ReleaseState.SHADOW
    assert [body for body in wheel.vllm.admin if body[0] == "load"] == [("load", GOOD)]


def test_a_server_that_goes_away_changes_no_route(wheel: World) -> None:
    wheel.make_live(GOOD)
    before = wheel.route
    wheel.vllm.stop()
    wheel.tick(times=3)
    assert wheel.route == before
    assert wheel.state(GOOD) is ReleaseState.LIVE


def test_a_rolled_back_adapter_is_unloaded_and_its_files_stay(wheel: World) -> None:
    wheel.train(GOOD)
    wheel.tick(times=2)
    wheel.gate(GOOD, GateVerdict.REFUSE)
    wheel.tick()
    assert GOOD in wheel.vllm.adapters
    wheel.pass_time(seconds=61)
    wheel.tick()
    assert GOOD not in wheel.vllm.adapters
    assert (wheel.folder / GOOD / "adapter_config.json").exists()


def test_a_second_adapter_is_gated_again_against_the_new_champion(wheel: World) -> None:
    wheel.train(BAD)
    wheel.tick(times=2)
    wheel.gate(BAD, GateVerdict.PASS)
    wheel.train(GOOD)
    wheel.tick(times=2)
    wheel.gate(GOOD, GateVerdict.PASS)
    wheel.tick(times=2)
    assert (wheel.state(BAD), wheel.state(GOOD)) == (ReleaseState.SHADOW, ReleaseState.GATED)
    wheel.ask(BAD, Arm.SHADOW, 10)
    wheel.tick()
    wheel.canary_step(BAD)
    wheel.canary_step(BAD)
    assert wheel.state(BAD) is ReleaseState.LIVE
    wheel.tick(times=2)
    assert wheel.state(GOOD) is ReleaseState.PROBED
    item = wheel.parts.work.lease(GateCommand, worker="w", now=wheel.now, hold=wheel.parts.drain)
    assert item is not None
    assert item.command.adapter == GOOD


def test_a_gateway_that_missed_the_push_is_told_again(wheel: World) -> None:
    wheel.gateway.deaf = True
    wheel.tick()
    assert wheel.gateway.routes == {}
    wheel.gateway.deaf = False
    wheel.tick()
    assert wheel.gateway.routes[ROUTER]["version"] == 1


def test_in_mode_propose_a_passed_gate_waits_for_a_person(tmp_path: Path) -> None:
    with world(tmp_path, mode="propose") as wheel:
        wheel.train(GOOD)
        wheel.tick(times=2)
        wheel.gate(GOOD, GateVerdict.PASS)
        wheel.tick(times=5)
        assert wheel.state(GOOD) is ReleaseState.GATED
        wheel.approve(GOOD)
        wheel.tick()
        assert wheel.state(GOOD) is ReleaseState.SHADOW


def test_an_alias_changed_in_the_configuration_is_published(wheel: World) -> None:
    wheel.tick()
    rules = replace(wheel.parts.workloads[ROUTER], alias="router-2")
    wheel.parts = replace(wheel.parts, workloads={ROUTER: rules})
    wheel.tick()
    assert (wheel.route.alias, wheel.route.version) == ("router-2", 2)


def test_releases_that_wait_for_the_model_server_are_told_to_stand(wheel: World, tmp_path: Path) -> None:
    with watched(tmp_path / "told", "release_controller", release_flow(wheel.replica, workloads=1, server_starts_within=300)) as seen:
        wheel.vllm.dead = True
        wheel.tick()
        seen.is_told_to_stand("releases")
        assert "the model server does not answer" in seen.watch.standing()["releases"]
        wheel.vllm.dead = False
        wheel.tick()
        seen.is_told_to_move("releases")
