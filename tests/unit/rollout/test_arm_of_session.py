"""Which arm answers a session."""

from flywheel.ids import AdapterName, WorkloadId
from flywheel.rollout.arm_of_session import arm_for
from flywheel.rollout.release import Route
from flywheel.traffic.inference import Arm

GOOD, NEW = AdapterName("router-good"), AdapterName("router-new")
SESSIONS = [f"session-{number}" for number in range(4_000)]


def route(*, arm: Arm | None = Arm.CANARY, share: float = 0.25, salt: str = "release-1") -> Route:
    challenger = NEW if arm else None
    return Route(
        workload=WorkloadId("router"),
        alias="r",
        version=3,
        champion=GOOD,
        challenger=challenger,
        challenger_arm=arm,
        share=share,
        salt=salt,
    )


def on_canary(of: Route) -> set[str]:
    return {session for session in SESSIONS if arm_for(route=of, session=session) == (NEW, Arm.CANARY)}


def test_the_canary_gets_its_share_of_the_sessions() -> None:
    share = len(on_canary(route())) / len(SESSIONS)
    assert 0.22 < share < 0.28
    assert {arm_for(route=route(), session=session)[0] for session in SESSIONS} == {GOOD, NEW}


def test_a_session_that_was_on_the_canary_stays_on_it_when_the_share_grows() -> None:
    assert on_canary(route(share=0.05)) < on_canary(route(share=0.25)) < on_canary(route(share=0.5))


def test_another_release_draws_other_sessions() -> None:
    first, second = on_canary(route(salt="release-1")), on_canary(route(salt="release-2"))
    assert len(first & second) < 0.4 * len(first)


def test_a_shadow_and_a_lone_champion_answer_everybody_with_the_champion() -> None:
    for quiet in (route(arm=Arm.SHADOW, share=1.0), route(arm=None), route(share=0.0)):
        assert {arm_for(route=quiet, session=session) for session in SESSIONS[:200]} == {(GOOD, Arm.CHAMPION)}


def test_the_holdout_takes_no_session_that_was_on_the_canary() -> None:
    held = route(arm=Arm.HOLDOUT, share=0.05)
    on_holdout = {session for session in SESSIONS if arm_for(route=held, session=session) == (NEW, Arm.HOLDOUT)}
    assert 0.035 < len(on_holdout) / len(SESSIONS) < 0.065
    assert not on_holdout & on_canary(route(share=0.5))


def test_a_share_of_one_is_everybody() -> None:
    assert len(on_canary(route(share=1.0))) == len(SESSIONS)
