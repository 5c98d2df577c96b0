"""The page, as a person uses it."""

import json
import re
from collections.abc import Callable
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
from playwright.sync_api import FloatRect, Page, Response, expect

NOTHING = "\u2013"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DARK = {"color_scheme": "dark"}

SEVEN = [(0.25, 0.2), (0.75, 0.22), (0.45, 0.85)]
ZERO = [(0.5, 0.15), (0.28, 0.3), (0.25, 0.6), (0.4, 0.85), (0.62, 0.84), (0.76, 0.6), (0.73, 0.3), (0.5, 0.15)]
ONE = [(0.5, 0.15), (0.48, 0.85)]


def paper(page: Page) -> FloatRect:
    found = page.locator("#paper")
    found.scroll_into_view_if_needed()
    box = found.bounding_box()
    assert box
    return box


def draw(page: Page, corners: list[tuple[float, float]], scale: float = 1.0) -> None:
    """Draw a line through corners, given as shares of the paper."""
    box = paper(page)
    points = [(box["x"] + x * scale * box["width"], box["y"] + y * scale * box["height"]) for x, y in corners]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=8)
    page.mouse.up()


def number(page: Page, selector: str) -> float:
    return float(page.locator(selector).inner_text())


def until(page: Page, selector: str, holds: Callable[[float], bool], seconds: float) -> None:
    """Wait for a number on the page; the page's security policy forbids the browser tool's own way."""
    for _ in range(int(seconds * 50)):
        if holds(number(page, selector)):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"{selector} is {number(page, selector)} after {seconds} seconds")


@pytest.mark.parametrize(("corners", "digit"), [(SEVEN, "7"), (ZERO, "0"), (ONE, "1")], ids=["seven", "zero", "one"])
@pytest.mark.parametrize("scale", [1.0, 0.5], ids=["large", "small"])
def test_a_drawn_digit_is_read(page: Page, corners: list[tuple[float, float]], digit: str, scale: float) -> None:
    draw(page, corners, scale)
    expect(page.locator("#digit")).to_have_text(digit)
    expect(page.locator("#bars .best .name")).to_have_text(digit)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#digit")).to_have_text(NOTHING)


@pytest.mark.parametrize("page", [PHONE], indirect=True, ids=["phone"])
def test_a_finger_draws(page: Page) -> None:
    """Touches, through the protocol that the browser's own tests use; the page must not scroll meanwhile."""
    box = paper(page)
    before = page.evaluate("window.scrollY")
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})

    at: Callable[[float, float], tuple[float, float]] = lambda x, y: (  # noqa: E731
        box["x"] + x * box["width"],
        box["y"] + y * box["height"],
    )
    touch("touchStart", at(*SEVEN[0]))
    for (x0, y0), (x1, y1) in pairwise(SEVEN):
        for step in range(1, 9):
            touch("touchMove", at(x0 + (x1 - x0) * step / 8, y0 + (y1 - y0) * step / 8))
    touch("touchEnd")
    expect(page.locator("#digit")).to_have_text("7")
    assert page.evaluate("window.scrollY") == before


def test_keys_draw(page: Page) -> None:
    page.locator("#paper").focus()
    for key in ["ArrowUp"] * 7 + ["Space"] + ["ArrowDown"] * 14:
        page.keyboard.press(key)
    expect(page.locator("#digit")).to_have_text("1")
    page.keyboard.press("Delete")
    expect(page.locator("#digit")).to_have_text(NOTHING)


def test_a_slider_changes_the_weight(page: Page) -> None:
    expect(page.locator("#pounds")).not_to_have_text(NOTHING)
    at_39 = number(page, "#pounds")
    assert number(page, "#kilograms") == pytest.approx(at_39 * 0.45359237, abs=0.01)
    slider = page.get_by_role("slider", name="Gestation")
    slider.focus()
    for _ in range(9):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#birth .value").first).to_have_text("30 weeks")
    expect(page.locator("#pounds")).not_to_have_text(f"{at_39:.2f}")
    page.wait_for_load_state("networkidle")
    assert 1 < number(page, "#pounds") < at_39 - 1
    assert page.locator("#curve .path").get_attribute("points")


def test_every_choice_is_known_to_the_model(page: Page) -> None:
    """Each option's word is one of the model's, or the option would silently mean unknown."""
    from stages.babyweight.source.births import VOCABULARIES

    for name, words in VOCABULARIES.items():
        options = page.locator(f"select[name={name}] option").evaluate_all("all => all.map(option => option.value)")
        assert sorted(options) == sorted(words)


@pytest.mark.timeout(200)
def test_the_pole_stays_up_for_ten_seconds(page: Page) -> None:
    page.get_by_role("button", name="Start").click()
    until(page, "#longest", lambda seconds: seconds >= 10, 150)
    page.get_by_role("button", name="Pause").click()
    stopped = number(page, "#upright")
    page.wait_for_timeout(300)
    assert number(page, "#upright") == stopped


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_agent_stays_on_the_track_for_a_minute(page: Page) -> None:
    """Eight agents at once, in the page's own physics and as fast as the server answers."""
    starts = np.random.default_rng(0).uniform(-0.05, 0.05, (8, 4)).tolist()
    steps = page.evaluate(
        """async (states) => {
          const { fallen, step } = await import("/static/physics.js");
          for (let steps = 1; steps <= 3000; steps += 1) {
            const body = JSON.stringify({ instances: states });
            const answer = await fetch("/v1/models/cartpole:predict", { method: "POST", body });
            const { predictions } = await answer.json();
            states = states.map((state, i) => step(state, predictions[i].actions, 0));
            if (states.some(fallen)) return steps;
          }
          return "none fell";
        }""",
        starts,
    )
    assert steps == "none fell"


@pytest.mark.timeout(200)
def test_a_push_moves_the_cart_and_the_agent_answers(page: Page) -> None:
    """The states that the page asks about show each step: only those of a push differ from Gymnasium's.

    With actions drawn at random the pole falls before the four seconds after the push are over, in 5000
    of 5000 simulations; with the agent's in none, though how it leans and drifts meanwhile is the agent's own habit.
    """
    answers: list[Response] = []
    page.on("response", lambda found: answers.append(found) if "cartpole:predict" in found.url else None)
    page.get_by_role("button", name="Start").click()
    until(page, "#upright", lambda seconds: seconds >= 1, 60)
    for _ in range(10):  # held down, which is one push
        page.keyboard.down("ArrowRight")
        page.wait_for_timeout(50)
    page.keyboard.up("ArrowRight")
    until(page, "#upright", lambda seconds: seconds >= 6, 120)
    page.get_by_role("button", name="Pause").click()
    states = [json.loads(answer.request.post_data or "")["instances"][0] for answer in answers]
    actions = [answer.json()["predictions"][0]["actions"] for answer in answers]

    world = gym.make("CartPole-v1").unwrapped
    world.reset()
    changes = []
    for before, action, after in zip(states, actions, states[1:], strict=False):
        world.state = before
        world.step(action)
        changes.append(np.subtract(after, world.state))
    pushed = [step for step, change in enumerate(changes) if abs(change).max() > 1e-9]
    assert len(pushed) == 4  # no fall among them, after which the state would be another, too
    assert pushed[-1] - pushed[0] == 3
    for step in pushed:
        _, speed, _, spin = changes[step]
        assert speed > 0.1  # metres a second, to the right; the agent's own force gives 0.2
        assert spin < -0.1  # radians a second, to the left
    assert len(states) - pushed[-1] > 100  # four seconds at the page's pace


def test_pushes_to_one_side_end_a_try_and_the_page_says_how(page: Page) -> None:
    page.get_by_role("button", name="Start").click()
    ended = page.locator("#ended")
    for _ in range(100):
        page.get_by_role("button", name="Push right").click()
        page.wait_for_timeout(100)
        if ended.inner_text():
            break
    expect(ended).to_have_text(re.compile(r"It (fell|left the track) after \d+\.\d s\."))
    until(page, "#upright", lambda seconds: seconds < 1, 10)


@pytest.mark.parametrize("page", [PHONE], indirect=True, ids=["phone"])
def test_nothing_sticks_out_on_a_phone(page: Page) -> None:
    expect(page.locator("#pounds")).not_to_have_text(NOTHING)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    small = page.locator("button, select").evaluate_all(
        "all => all.filter(e => e.offsetParent && e.offsetHeight < 40).map(e => e.outerHTML)"
    )
    assert not small


@pytest.mark.parametrize("page", [{}, DARK], indirect=True, ids=["light", "dark"])
def test_text_stands_out(page: Page) -> None:
    """A contrast of at least 4.5 between text and its card (WCAG 2.2, 1.4.3), in both colour schemes."""
    found = page.evaluate(
        """() => {
          const light = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          const card = light(getComputedStyle(document.querySelector("section")).backgroundColor);
          return ["h2", ".about", "#pounds", "label", ".problem", ".number", "dt"].map((selector) => {
            const text = light(getComputedStyle(document.querySelector("section " + selector)).color);
            return [selector, (Math.max(text, card) + 0.05) / (Math.min(text, card) + 0.05)];
          });
        }"""
    )
    assert [(selector, ratio) for selector, ratio in found if ratio < 4.5] == []
