"""What every exercise promises, whatever its chapter."""

import pytest
import torch

from xai_lab.checks import attempted, check, exercises, hint
from xai_lab.checks.exercise import judge, known

ALL = list(exercises().values())
CODED = [exercise for exercise in ALL if exercise.mistakes]


def named(exercise):
    return exercise.name


@pytest.mark.parametrize("exercise", ALL, ids=named)
def test_the_reference_is_correct(exercise):
    result = judge(exercise, exercise.reference)
    assert result
    assert repr(result).startswith(f"✓ {exercise.name}: right on ")


@pytest.mark.parametrize("exercise", ALL, ids=named)
def test_no_case_is_one_that_the_reference_cannot_answer(exercise):
    for i, case in enumerate(exercise.cases):
        seen = known(exercise, exercise.reference, i)
        assert seen.error is None, case.label
        assert seen.parts, case.label
        assert not seen.faults, case.label
        assert all(part.isfinite().all() for part in seen.parts.values()), case.label


@pytest.mark.parametrize("exercise", ALL, ids=named)
def test_a_stub_is_not_attempted(exercise):
    def todo(*arguments, **options):
        """Do this."""
        raise NotImplementedError

    def empty(*arguments, **options):
        """Do this."""

    def dots(*arguments, **options): ...

    for stub in (todo, empty, dots):
        result = check(stub, name=exercise.name)
        assert result.status == "not attempted"
        assert repr(result).startswith("○")


@pytest.mark.parametrize(
    ("exercise", "mistake"),
    [pytest.param(e, m, id=f"{e.name}-{m.name}") for e in CODED for m in e.mistakes],
)
def test_every_catalogued_mistake_gets_its_own_sentence(exercise, mistake):
    result = judge(exercise, mistake.function)
    assert result.status.startswith("wrong")
    # The first letter is small after the colon.
    assert mistake.sentence[1:] in result.message


@pytest.mark.parametrize("exercise", CODED, ids=named)
def test_there_are_many_mistakes_and_their_names_differ(exercise):
    names = [mistake.name for mistake in exercise.mistakes]
    assert len(names) >= 10
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("exercise", CODED, ids=named)
def test_ones_are_wrong(exercise):
    def ones(*arguments, **options):
        tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
        return torch.ones_like(tensors[0]) if tensors else 1

    assert judge(exercise, ones).status.startswith("wrong")


@pytest.mark.parametrize("exercise", CODED, ids=named)
def test_the_answer_to_another_case_is_wrong(exercise):
    case = exercise.cases[0]
    arguments = case.arguments()
    answer = exercise.reference(**arguments)

    def always(*arguments, **options):
        return answer

    assert not judge(exercise, always)


@pytest.mark.parametrize("exercise", ALL, ids=named)
def test_feedback_never_shows_a_tensor(exercise):
    for mistake in exercise.mistakes:
        assert "tensor(" not in repr(judge(exercise, mistake.function))
        break


@pytest.mark.parametrize("exercise", ALL, ids=named)
def test_three_hints_one_after_the_other(exercise):
    shown = [repr(hint(exercise.name, n)) for n in (1, 2, 3)]
    assert [text[:11] for text in shown] == ["Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3"]
    assert len(set(shown)) == 3


def test_hints_go_round():
    texts = [repr(hint("saliency")) for _ in range(4)]
    assert texts[0].partition(": ")[2] == texts[3].partition(": ")[2]


@pytest.mark.parametrize("exercise", ALL, ids=named)
def test_a_check_leaves_the_random_state(exercise):
    before = torch.get_rng_state()
    judge(exercise, lambda *a, **k: torch.rand(3))
    assert torch.equal(before, torch.get_rng_state())


def test_attempted_tells_stub_from_answer(capsys):
    def saliency(model, x, target):
        raise NotImplementedError

    assert not attempted(saliency)
    assert "Waiting for saliency" in capsys.readouterr().out
    assert attempted(exercises()["picture"].reference)


def test_claims_answer_statement_by_statement():
    right = exercises()["claims"].reference()
    said = set()
    for letter, value in right.items():
        result = check(lambda a=right | {letter: not value}: a, name="claims")
        assert not result
        truth = "true" if value else "false"
        expected = f"our answer to ({letter}) is wrong: the statement is {truth}. "
        assert expected in result.message
        said.add(result.message)
    assert len(said) == len(right)
    missing = check(lambda: {"a": True}, name="claims")
    assert "missing: b, c" in missing.message
    unclear = check(lambda: right | {"a": None}, name="claims")
    assert "(a) needs True or False" in unclear.message
