"""The report, section by section: the question, the answer, and what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from experiments.report import readable, sections_adaptive, sections_measures, sections_run
from experiments.report.document import Block, Checks, Figures, Folded, Items, Section, Table, Text
from experiments.report.evidence import ladder
from experiments.report.figures.faces import contact_sheets
from experiments.report.figures.tradeoff import curves, worst_case
from experiments.report.material import Material
from experiments.report.ranking import orders, shown_better, standings
from experiments.report.results import name_of

QUESTION = (
    "How often can an attacker who intercepts the features tell who is in the picture, and what does "
    "preventing that cost?"
)
SCENARIOS = {
    "deployment": "Deployment: the cloud's finished network reads attributes from protected features.",
    "development": "Development: protected features train the cloud's network, which then reads raw ones.",
}
DOUBTFUL = (
    "A judge who passes is enough: one who fails beside them knows too little to lower the worst case. "
    "The figures show those who pass."
)
UNFINISHED = (
    "The study is not finished: {missing} of its measurements are missing, and what they would find is not "
    "on this page. They are of {points}."
)
PAINTED = (
    "The faces of this study are painted by a program, of people who do not exist: it shows how the "
    "defences and the attacks compare, not how many real people would be identified."
)
WORST = (
    "For each defence, the attack and the judge that find most. Identified: the share of the "
    "reconstructed images that a judge who knows the private people names correctly (Eval Acc). Mean AUC: "
    "how well the attributes can still be read from the features; 0.5 is guessing. In brackets: 95% "
    "intervals. Being the largest of several measurements, the worst case is a little too high, the more "
    "so the more attacks were run; an attack that trains over several epochs counts with its best one, "
    "which its owner could not know, so it is an upper bound. 'Change against undefended' compares what the "
    "strongest of the attacks that both faced finds, in percentage points, on the same images."
)
NOT_FACED = (
    "Points that were not attacked by what is the worst case of others (hollow in the figure) are not "
    "ranked by their worst case, and the answer leaves them out."
)
ACQUAINTED = (
    "trained Enc and f on private-train images, of the very people on whom the mean AUC is measured: theirs "
    "may be above the undefended one, and does not compare with that of defences that never saw these people."
)
FALSE_SECURITY = (
    "False security: an attacker who adapts to the defence finds more than the strongest basic attack "
    "does, beyond the interval, tested on the same images and corrected for the number of adaptive "
    "attacks."
)
RANKING = (
    "Two defences are compared where each has its mean AUC within the other's 95% interval: by the "
    "strongest of the attacks that both faced, on the same images, people kept together. All these tests "
    "are corrected for their number (Holm), so that the chance of one false difference among them is at most "
    "5%. What overlaps is not ranked; and one defence is called better than another only by a pair in "
    "which it leaks less at a mean AUC at least as high, because what leaks less may also be the less useful."
)
ORDER = (
    "Whether the strengths of a defence order its privacy, each against each, corrected (Holm) within the "
    "defence:"
)
CURVES = (
    "Each point is one strength of a defence, with 95% intervals; the ideal corner is bottom right. "
    "Dotted: chance. Dashed: how often the judge identifies the clean photographs."
)
LADDER = (
    "An attack that finds little where nothing is defended shows little where something is. Attacks shown "
    "to be weaker than white_box on the same undefended images are marked as not comparable: a low figure "
    "of theirs is no credit to a defence."
)
PAIRED = (
    "The change of Eval Acc against no defence, attack by attack and image by image, and the share of the "
    "undefended Eval Acc that is left, with 95% intervals over people. The verdicts are corrected for the "
    "number of lines (Holm)."
)
SHORT = 12
"""Lines of a table that are read through; a longer one is folded."""
COLUMNS = (
    "Top 5: the right person is among the judge's first five. Verified: share of the reconstructions that "
    "pass for their own person at a threshold that lets 1% of the wrong ones pass; without knowledge it "
    "would be 1% too. FSIM: cosine of the judge's embeddings of the reconstruction and of the original; "
    "SSIM, MS-SSIM, PSNR and LPIPS compare the two images. Fréchet: distance between the judge's "
    "embeddings of all reconstructions and of all originals, too large by what few images cost. ε: how "
    "far the reconstructions are from average faces; without personal information it would be near the "
    "prior's own."
)


def sections(material: Material) -> list[Section]:
    """Everything there is data for."""
    written = [Section(title, list(blocks(material))) for title, blocks in PUBLIC.items()]
    faces = Section("What the attacker sees", list(_faces(material)), private=True)
    written.insert(list(PUBLIC).index("How strong are the attacks?") + 1, faces)
    return [section for section in written if section.blocks]


def _question(material: Material) -> Iterator[Block]:
    row = material.findings.best.iloc[0]
    yield Text(QUESTION)
    yield Text(material.findings.answer, answer=True)
    yield Text(
        f"Measured on {row['n_images']} pictures of {row['n_identities']} people; data set {row['dataset']}, "
        f"network {row['network']}. {SCENARIOS[row['scenario']]}"
    )


def _checks(material: Material) -> Iterator[Block]:
    checks, judges = material.findings.checks, material.findings.judges
    yield Checks(checks)
    if failed := sorted({item.oracle for item in checks} - set(judges)):
        yield Text(f"{DOUBTFUL} Here they are {', '.join(judges)}, not {', '.join(failed)}.")
    if missing := material.results.missing:
        points = dict.fromkeys(name_of(stage["labels"]) for stage in missing)
        yield Text(UNFINISHED.format(missing=len(missing), points=", ".join(points)))
    if material.painted:
        yield Text(PAINTED)


def _worst_case(material: Material) -> Iterator[Block]:
    findings = material.findings
    if findings.judges:
        yield Figures([worst_case(findings, material.folder)])
    yield Table(readable.worst_cases(findings.summary, findings.protection), "summary", findings.summary)
    yield Text(WORST)
    if (findings.summary["not_faced"] != "").any():
        yield Text(NOT_FACED)
    if material.acquainted:
        yield Text(f"{', '.join(material.acquainted)} {ACQUAINTED}")
    if findings.summary["false_security"].notna().any():
        yield Text(FALSE_SECURITY)


def _ranking(material: Material) -> Iterator[Block]:
    ranking, strengths = material.findings.ranking, material.findings.strengths
    if len(ranking):
        results = standings(ranking)
        pairs = Table(readable.pairs(ranking), "ranking", ranking)
        yield Text(RANKING)
        yield Text(shown_better(results))
        yield _folded_if_long("Every two defences", readable.standings(results), "standings", results)
        yield Folded("Every pair at equal utility", [pairs])
    if len(strengths):
        pairs = Table(readable.pairs(strengths), "strengths", strengths)
        yield Text(ORDER)
        yield Items(orders(strengths))
        yield Folded("The strengths of each defence against each other", [pairs])


def _folded_if_long(title: str, shown: pd.DataFrame, name: str, raw: pd.DataFrame) -> Block:
    table = Table(shown, name, raw)
    return table if len(shown) <= SHORT else Folded(title, [table])


def _curves(material: Material) -> Iterator[Block]:
    if drawn := curves(material.findings, material.folder):
        yield Text(CURVES)
        yield Figures(drawn)


def _ladder(material: Material) -> Iterator[Block]:
    table = ladder(material.findings.best, material.outcomes)
    if len(table):
        yield Text(LADDER)
        yield Table(readable.ladder(table), "attacks", table)


def _faces(material: Material) -> Iterator[Block]:
    if material.faces and (sheets := contact_sheets(material.findings.results, material.folder)):
        yield Figures(sheets)


def _against_none(material: Material) -> Iterator[Block]:
    comparison = material.findings.comparison
    if len(comparison):
        shown = readable.changes(comparison)
        yield Text(PAIRED)
        yield _folded_if_long("Every attack on every defence", shown, "comparison", comparison)


def _every_attack(material: Material) -> Iterator[Block]:
    yield Text(COLUMNS)
    results = material.findings.results
    table = Table(readable.attacks(material.findings.best), "results", results.rows)
    yield Folded("Every attack on every defence, by every judge", [table])


PUBLIC: dict[str, Callable[[Material], Iterator[Block]]] = {
    "Question and answer": _question,
    "May the comparison be believed?": _checks,
    "What the attacker has and does": sections_run.threat_model,
    "The worst case of every defence": _worst_case,
    "Which defence leaks less at equal utility?": _ranking,
    "What an attacker gains by adapting": sections_adaptive.gains,
    "Training on protected features (A1)": sections_adaptive.epoch_by_epoch,
    "Averaging several queries (A3)": sections_adaptive.averaging,
    "When private data has leaked": sections_adaptive.exposure,
    "Privacy against utility, attack by attack": _curves,
    "How strong are the attacks?": _ladder,
    "Against undefended, on the same images": _against_none,
    "Every attack": _every_attack,
    "What the cloud still reads": sections_measures.attributes,
    "Is ε consistent with the rest?": sections_measures.epsilon,
    "Could the defence's own computation be trusted?": sections_measures.health,
    "Over seeds": sections_run.over_seeds,
    "How it was run": sections_run.how_it_was_run,
}
"""By heading, in the order of the page."""
