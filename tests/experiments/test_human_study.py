"""The poll from its drawing to its score, and its page in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from made_up_study import write_study
from PIL import Image
from private import open_to_others
from sklearn.metrics import confusion_matrix, f1_score
from torchvision.transforms.functional import pil_to_tensor

from experiments.human_study import __main__ as human_study
from experiments.human_study.answers import Key
from experiments.human_study.lineup import effective_sizes, named_by_description
from experiments.human_study.poll import FACES, OPTIONS, draw, page
from experiments.report.results import chosen_images, gather
from experiments.study.data import prepare
from facecrafter.store import TensorStore

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.parametrize("seed", range(5))
def test_questions_are_balanced_and_fair(seed: int) -> None:
    """An option that is right more often, or a face that occurs twice, would be found without recognising."""
    test, train = torch.arange(60) % 30, torch.arange(120) % 30
    questions = draw(test, train, 20, seed)
    assert sorted(question.right for question in questions) == sorted([0, 1, 2, 3, 4] * 4)
    assert len({int(test[question.shown]) for question in questions}) == 20, "of different people"
    for question in questions:
        person, faces = int(test[question.shown]), train[list(question.faces)].tolist()
        assert len(set(faces)) == FACES
        assert (faces.index(person) if person in faces else FACES) == question.right


def test_questions_are_drawn_by_lot() -> None:
    identities = torch.arange(60) % 30
    assert draw(identities, identities, 10, 3) == draw(identities, identities, 10, 3)
    assert draw(identities, identities, 10, 3) != draw(identities, identities, 10, 4)


@pytest.mark.parametrize(
    ("n_questions", "message"),
    [(7, "multiple of 5"), (0, "multiple of 5"), (10, "need 10 people, but the study has 6")],
)
def test_a_poll_that_cannot_be_fair_is_refused(n_questions: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(torch.arange(6), torch.arange(6), n_questions, 0)


def test_the_page_gives_nothing_away() -> None:
    """Without their pictures all questions are alike, and nothing is loaded from anywhere."""
    shown, faces = torch.rand(5, 3, 12, 12), torch.rand(5, FACES, 3, 12, 12)
    html = page(shown, faces).html
    bare = re.sub(r"data:image/png;base64,[\w+/=]+", "", html)
    questions = re.findall(r"<fieldset>.*?</fieldset>", bare, re.DOTALL)
    assert len(questions) == 5
    assert len({re.sub(r"\d", "", question) for question in questions}) == 1
    assert set(re.findall(r'alt="([^"]*)"', bare)) == {"The reconstructed picture", "Photograph"}
    assert not re.findall(r"(?:src|href)=\"(?!data:|\")|url\(|@import|https?:", bare)
    assert html.count("data:image/png") == 5 * (1 + FACES)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"), tmp_path_factory.mktemp("cache"))


def make(study: Path, output: Path, **changes: str) -> None:
    options = {"defence": "crafter", "strength": "beta=1", "attack": "white_box"} | changes
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    human_study.main(["make", "--study", str(study), "--output", str(output), *arguments])


@pytest.fixture(scope="module")
def poll(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A poll's folder."""
    output = tmp_path_factory.mktemp("poll")
    make(study, output)
    return output


@pytest.fixture
def key(poll: Path) -> Key:
    return Key.read(poll / "private" / "key.json")


def pictures(html: str) -> torch.Tensor:
    """(Q, 1 + 4, 3, H, W) bytes: for each question the reconstruction and the photographs."""
    files = re.findall(r"data:image/png;base64,([\w+/=]+)", html)
    images = [pil_to_tensor(Image.open(io.BytesIO(base64.b64decode(file)))) for file in files]
    return torch.stack(images).unflatten(0, (-1, 1 + FACES))


def as_bytes(images: torch.Tensor) -> torch.Tensor:
    return (images * 255).round().byte()


def test_the_key_fits_the_page(study: Path, poll: Path, key: Key) -> None:
    """Each picture is what the attack made of the key's row, and the right photograph, which is another one,
    is of the person on it."""
    results = gather(study)
    data = prepare(results.config["data"])
    test, train = data.faces("private_test"), data.faces("private_train")
    stored = TensorStore.open(results.folder("crafter.beta=1.white_box") / "reconstructions").load("images")
    made = stored["images"][torch.searchsorted(test.rows, torch.tensor(key.rows)), 0]
    known = as_bytes(train.images(range(len(train))))
    people = test.identities[torch.searchsorted(test.rows, torch.tensor(key.rows))].tolist()
    questions = pictures((poll / "poll.html").read_text())
    assert torch.equal(questions[:, 0], as_bytes(made))
    for photographs, person, right in zip(questions[:, 1:], people, key.right, strict=True):
        shown = [train.identities[(known == face).flatten(1).all(dim=1)] for face in photographs]
        of_the_person = [name for name, found in zip(OPTIONS, shown, strict=False) if person in found]
        assert of_the_person == [right] * (right != "none")


@pytest.mark.strict
def test_questions_are_about_images_that_were_attacked(study: Path, tmp_path: Path) -> None:
    """Of a study with `predict_limit` the others have no reconstruction: participants would see someone
    else's."""
    limited = tmp_path / "study"
    shutil.copytree(study, limited)
    config = yaml.safe_load((limited / "study.yaml").read_text())
    config["data"]["init_args"]["predict_limit"] = 20
    (limited / "study.yaml").write_text(yaml.safe_dump(config))
    attacked = prepare(config["data"]).protected_faces().rows
    folder = gather(limited).folder("crafter.beta=1.white_box") / "reconstructions"
    store = TensorStore.open(folder)
    stored = store.load("row", "images", "losses")
    few = torch.isin(stored["row"], attacked)
    meta = {name: value for name, value in store.meta.items() if name != "schema"}
    shutil.rmtree(folder)
    TensorStore.create(folder, meta).write(0, **{name: values[few] for name, values in stored.items()})
    make(limited, tmp_path / "poll")
    key = Key.read(tmp_path / "poll" / "private" / "key.json")
    assert set(key.rows) <= set(attacked.tolist())
    shown = pictures((tmp_path / "poll" / "poll.html").read_text())[:, 0]
    made = stored["images"][torch.searchsorted(stored["row"], torch.tensor(key.rows)), 0]
    assert torch.equal(shown, as_bytes(made))


def test_an_image_that_was_not_attacked_is_not_shown(study: Path) -> None:
    store = TensorStore.open(gather(study).folder("crafter.beta=1.white_box") / "reconstructions")
    with pytest.raises(ValueError, match=r"holds no reconstruction of rows \[-1\]"):
        chosen_images(store, torch.tensor([-1]))


def test_the_key_says_what_was_asked(key: Key) -> None:
    asked = {"defence": "crafter", "strength": "beta=1", "attack": "white_box", "seed": 0}
    size = key.labels.pop("effective_size")
    assert 1 <= size <= FACES
    assert 0 <= key.labels.pop("named_by_description") <= 1
    made = {"study": "made-up", "stage": "crafter.beta=1.white_box", "fillers": "matched"}
    assert key.labels == made | asked


def test_fillers_fit_the_description() -> None:
    """Of 40 people with four hair colours a line-up has one colour; by lot it has several."""
    test = train = torch.arange(40)
    colours = torch.eye(4)[torch.arange(40) % 4]
    likeness = 10 * (colours @ colours.T).double()
    matched, lot = draw(test, train, 20, 0, likeness), draw(test, train, 20, 0)
    sizes = []
    for questions in (matched, lot):
        people = train[torch.tensor([question.faces for question in questions])]
        shown = torch.tensor([question.shown for question in questions])
        sizes.append(effective_sizes(likeness[shown], people))
        for question in questions:
            person, faces = int(test[question.shown]), train[list(question.faces)].tolist()
            assert len(set(faces)) == FACES
            assert (faces.index(person) if person in faces else FACES) == question.right
    torch.testing.assert_close(sizes[0], torch.full((20,), 4.0, dtype=torch.float64))
    assert sizes[1].mean() < 3
    assert {question.right for question in matched} == {0, 1, 2, 3, 4}


def test_without_descriptions_fillers_are_drawn_by_lot_if_that_will_do(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_: Any) -> None:
        raise ValueError("the data has no attributes")

    monkeypatch.setattr(human_study, "mock_witness", nothing)
    with pytest.raises(SystemExit, match="cannot be matched: the data has no attributes; say --fillers lot"):
        make(study, tmp_path)
    make(study, tmp_path, fillers="lot")
    labels = Key.read(tmp_path / "private" / "key.json").labels
    assert labels["fillers"] == "lot"
    assert "effective_size" not in labels


def test_the_effective_size_is_tredouxs() -> None:
    """Of four photographs, two that the description fits equally well and two that it excludes."""
    likeness = torch.tensor([[0.0, 0.0, -1e4, -1e4, 7.0]], dtype=torch.float64)
    assert effective_sizes(likeness, torch.tensor([[0, 1, 2, 3]])).item() == pytest.approx(2)
    assert effective_sizes(likeness, torch.tensor([[0, 1, 2, 4]])).item() == pytest.approx(1, abs=0.01)


def test_what_a_description_names_is_said_beside_what_people_do() -> None:
    """Of two line-ups with the right person the description fits one best, of the third nobody is there."""
    likeness = torch.tensor([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0], [3.0, 1.0, 0.0]])
    people = torch.tensor([[0, 1], [0, 1], [1, 2]])
    assert named_by_description(likeness, people, torch.tensor([0, 1, 2])) == 0.5


def test_a_line_up_that_a_description_decides_is_called_unfair(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """People who read attributes there would pass for people who recognise faces."""
    for told, fair in ((0.0, True), (50.0, False)):
        monkeypatch.setattr(
            human_study, "mock_witness", lambda data, told=told: told * one_hot(data.protected_faces())
        )
        make(study, tmp_path / str(told))
        said = capsys.readouterr().err
        assert ("Unfair: below 2.5 in effect" in said) == (not fair)
        assert "names 100.0%" in said or fair


def one_hot(faces: Any) -> torch.Tensor:
    return torch.nn.functional.one_hot(faces.identities).double()


def test_the_key_is_for_its_owner_alone(poll: Path, key: Key) -> None:
    assert not open_to_others(poll), "photographs, and who is on them"
    assert key.poll in (poll / "poll.html").read_text()


def test_a_key_is_not_lost_to_another_poll(study: Path, poll: Path, key: Key) -> None:
    """Answers that come in after the key was overwritten could never be counted."""
    with pytest.raises(SystemExit, match="is the key of another poll"):
        make(study, poll, seed="1")
    make(study, poll)
    assert Key.read(poll / "private" / "key.json") == key


@pytest.mark.strict
def test_real_faces_need_a_flag(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(human_study, "LICENSED", set())
    with pytest.raises(SystemExit, match="real people"):
        make(study, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_point_that_was_not_measured_is_named_beside_those_that_were(study: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"'crafter beta=9 white_box'.*crafter beta=1 white_box"):
        make(study, tmp_path, strength="beta=9")


def test_an_attack_that_learned_is_asked_about_after_its_last_epoch(study: Path) -> None:
    """And not under a countermeasure, nor where the utility alone was measured."""
    results = gather(study)
    labels = {"defence": "crafter", "strength": "beta=1", "attack": "a1_black_box"}
    stages = []
    for name, more in {
        "epoch=2": {"epoch": 2},
        "epoch=10": {"epoch": 10},
        "epoch=5": {"epoch": 5},
        "shuffle.epoch=20": {"epoch": 20, "countermeasure": "shuffle"},
    }.items():
        stages.append({"name": name, "command": "attack", "labels": None})
        stages.append({"name": f"{name}.measure", "command": "measure", "labels": labels | more})
    alone = {"defence": "public_only", "strength": "", "attack": "none"}
    stages.append({"name": "public_only.measure", "command": "measure", "labels": alone})
    results = replace(results, stages=stages)
    assert human_study._attack(results, labels) == "epoch=10"
    with pytest.raises(ValueError, match="nothing is measured of 'public_only none'"):
        human_study._attack(results, alone)


def save(folder: Path, key: Key, name: str, answers: list[str]) -> Path:
    """What the page saves for the participant of this name."""
    path = folder / f"answers-{name}.json"
    content = {"schema": 1, "poll": key.poll, "participant": name, "answers": answers}
    path.write_text(json.dumps(content))
    return path


def score(poll: Path, *answers: Path) -> dict[str, Any]:
    key = poll / "private" / "key.json"
    human_study.main(["score", "--key", str(key), *map(str, answers)])
    return json.loads(key.with_name("scores.json").read_text())


def test_answers_are_counted(
    poll: Path, key: Key, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the people know everything, the others always say none."""
    chosen = [key.right, ["none"] * 10] * 10
    found = score(poll, *(save(tmp_path, key, f"p{i}", answers) for i, answers in enumerate(chosen)))
    flat = [answer for answers in chosen for answer in answers]
    expected = f1_score(key.right * 20, flat, labels=OPTIONS, average="macro", zero_division=0)
    assert found["macro_f1"]["value"] == pytest.approx(expected)
    assert found["right"]["value"] == pytest.approx(0.6)
    assert found["right"]["lo"] < 0.45, "20 people, not 200 answers"
    assert found["p_value"] < 0.01
    table = (poll / "private" / "confusion.csv").read_text().splitlines()
    counts = [[int(cell) for cell in line.split(",")[1:]] for line in table[1:]]
    assert counts == confusion_matrix(key.right * 20, flat, labels=OPTIONS).tolist()
    assert "people recognise faces" in capsys.readouterr().out


def test_one_participant_has_no_interval(
    poll: Path, key: Key, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = score(poll, save(tmp_path, key, "p1", ["none"] * 10))
    assert found["right"] == {"value": 0.2, "lo": None, "hi": None}
    out = capsys.readouterr().out
    assert "one participant: no interval" in out
    assert "no recognition is shown" in out


SAME_AS_P1 = (
    *("p\u200b1", "\ufeffp1", "p1\u00a0", "p\u034f1", "p1\ufe0f"),
    *("\u3164p1", "\uff501", "p\u20601", "p\U000e00411"),
)
"""What the eye takes for 'p1': a second file of answers would count twice."""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poll": "0123"}, "answers the poll '0123', but the key is of"),
        ({"answers": ["A"] * 9}, "has 9 answers, but the poll has 10"),
        ({"answers": ["A"] * 9 + ["F"]}, "the answer to question 10 is 'F', not one of A, B, C, D, none"),
        ({"answers": [None] * 10}, "the answer to question 1 is None"),
        ({"answers": [["A"]] * 10}, "the answer to question 1 is"),
        ({"answers": None}, "is no file of answers"),
        ({"schema": 2}, "is no file of answers"),
        ({"participant": " "}, "names no participant"),
        ({"participant": "P1"}, "are both of participant 'p1'"),
        *(({"participant": code}, "are both of participant 'p1'") for code in SAME_AS_P1),
        ({"participant": ["p1"]}, "names no participant"),
    ],
)
def test_answers_that_cannot_be_counted_are_named(
    poll: Path, key: Key, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    good = save(tmp_path, key, "p1", ["A"] * 10)
    content = {"schema": 1, "poll": key.poll, "participant": "p2", "answers": ["A"] * 10} | changes
    bad = tmp_path / "answers-p2.json"
    bad.write_text(json.dumps(content))
    with pytest.raises(SystemExit, match=rf"{re.escape(str(bad))}.*{re.escape(message)}"):
        score(poll, good, bad)


def test_one_accent_or_two_characters_are_one_participant(poll: Path, key: Key, tmp_path: Path) -> None:
    files = [save(tmp_path, key, name, ["A"] * 10) for name in ("Zo\u00eb", "zoe\u0308")]
    with pytest.raises(SystemExit, match="are both of participant"):
        score(poll, *files)


DAMAGED = (b"{", b"\xff\xfe\x00", b"[1, 2]", b'"A"', b"[" * 99_999, b'{"rows": 1e999}')


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_named(poll: Path, tmp_path: Path, content: bytes) -> None:
    bad = tmp_path / "bad.json"
    bad.write_bytes(content)
    with pytest.raises(SystemExit, match=r"bad\.json"):
        score(poll, bad)
    with pytest.raises(SystemExit, match=r"nothing\.json: no such file"):
        score(poll, tmp_path / "nothing.json")


def test_answers_are_no_key(poll: Path, key: Key, tmp_path: Path) -> None:
    answers = save(tmp_path, key, "p1", ["A"] * 10)
    with pytest.raises(SystemExit, match="is no key of a poll"):
        human_study.main(["score", "--key", str(answers), str(answers)])


WATCH = """<script>
const found = { said: [], saved: [] };
window.onerror = (text) => found.said.push("error: " + text);
document.addEventListener("securitypolicyviolation", (event) => found.said.push(event.blockedURI));
</script>"""
REPORT = """<script>
setTimeout(() => {
  const element = document.createElement("script");
  element.type = "application/json";
  element.id = "found";
  element.textContent = JSON.stringify(found);
  document.body.append(element);
}, 100);
</script>"""
PARTICIPANT = """<script>
const { said, saved } = found;
URL.createObjectURL = (blob) => { blob.text().then((text) => saved.push(text)); return "#"; };
function answer(first, last, options) {
  for (let i = first; i < last; i++) questions[i].querySelector(`[value=${options[i % 5]}]`).click();
}
function click(selector) { form.querySelector(selector).click(); said.push(message.textContent); }
function enter(element) {
  const event = new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true });
  said.push(element.dispatchEvent(event) ? "submits" : document.activeElement.name);
}
const options = ["B", "none", "A", "D", "C"];
click("button[type=submit]");
form.participant.value = " p-7 ";
enter(form.participant);
answer(0, 6, options);
click("button[type=submit]");
said.push(document.activeElement.name);
form.reset();  // as if the page were opened again
restore();
answer(6, 10, options);
enter(questions[9].querySelector("input"));
click("button[type=submit]");
said.push(document.getElementById("count").textContent);
window.confirm = () => true;
click("#erase");
said.push(String(localStorage.length) + state().answers.join(""));
</script>"""
AUDIT = """<script>
function nameOf(control) {
  const labels = [...(control.labels || [])].flatMap((label) => [label, ...label.querySelectorAll("img")]);
  const words = labels.map((element) => element.alt || element.innerText);
  return control.ariaLabel || words.join("").trim() || control.innerText.trim();
}
const controls = [...document.querySelectorAll("input, button, progress")];
const parts = [...document.body.children].filter((element) => !element.matches("script"));
Object.assign(found, {
  language: document.documentElement.lang,
  controls: controls.length,
  unnamed: controls.filter((control) => !nameOf(control)).map((control) => control.outerHTML),
  undescribed: [...document.images].filter((img) => !img.alt).length,
  outside: parts.filter((part) => !part.matches("main, section[aria-label]")).map((part) => part.outerHTML),
  unreachable: controls.filter((control) => control.tabIndex !== 0 && !control.matches("progress")).length,
  width: window.innerWidth,
  needed: document.documentElement.scrollWidth,
});
</script>"""


def in_browser(poll: Path, script: str, folder: Path, width: int = 900) -> dict[str, Any]:
    """What the script finds on the page, and what goes wrong there before it."""
    driven = folder / "driven.html"
    html = (poll / "poll.html").read_text()
    driven.write_text(html.replace("<body>", f"<body>{WATCH}").replace("</body>", f"{script}{REPORT}</body>"))
    line = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    line += [f"--window-size={width},800", f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    dom = subprocess.run([*line, driven.as_uri()], capture_output=True, text=True, timeout=120).stdout
    return json.loads(re.search(r'<script type="application/json" id="found">(.*?)</script>', dom).group(1))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_participant_in_a_browser(poll: Path, tmp_path: Path) -> None:
    """Refused while something is missing, kept meanwhile, saved as a file that `score` takes, then erased;
    and Enter goes on to the next question instead of saving."""
    found = in_browser(poll, PARTICIPANT, tmp_path)
    assert found["said"] == [
        "Please enter your participant code: letters, digits, - and _.",
        "question-1",
        "Please answer question 7.",
        "question-7",
        "save",
        "Saved as answers-p-7.json among your downloads. Please give that file to whoever asked you.",
        "10 of 10 answered",
        "Erased.",
        "0",
    ]
    answers = tmp_path / "answers.json"
    answers.write_text(found["saved"][0])
    assert json.loads(answers.read_text())["answers"] == ["B", "none", "A", "D", "C"] * 2
    assert score(poll, answers)["participants"] == 1


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [500, 1400])
def test_the_page_can_be_read_out_and_used_without_a_mouse(poll: Path, tmp_path: Path, width: int) -> None:
    """Every control has a name and is reached by Tab, every picture is described, nothing is cut off."""
    found = in_browser(poll, AUDIT, tmp_path, width)
    assert found["width"] == width
    assert found["needed"] <= width
    assert found["controls"] == 10 * (1 + FACES) + 4, "the options; code, two buttons and the progress"
    assert found["language"] == "en"
    assert found["unreachable"] == found["undescribed"] == 0
    assert found["said"] == found["unnamed"] == found["outside"] == []
