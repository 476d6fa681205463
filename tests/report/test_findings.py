"""Sentences: each verdict follows from the numbers, whichever way they fall."""

import re
from html import unescape

import pytest
from small_project import PAIRS, STEPS, conditional_rows, results, row, unconditional_rows

from toycrystals.report.page import templates

GAP = PAIRS[0]
SETS = "Do the images together have the right distribution?"
NATS = "Which prior is nearest to the true density of codes?"
REQUESTS = "Does an image show what was asked for?"
COPIES = "Are a prior's codes copies of training codes?"
COST = "How many network evaluations does latent diffusion need?"


def parts(found, tag):
    """The texts of the answer's elements."""
    html = templates().get_template("answer.jinja").render(results=found)
    return [unescape(" ".join(part.split())) for part in re.findall(f"<{tag}\\b[^>]*>(.*?)</{tag}>", html, flags=re.DOTALL)]


def said(found):
    return parts(found, "p")[0]


def answers(found):
    return dict(zip(parts(found, "dt"), parts(found, "dd"), strict=True))


def without_lattices(rows, *methods):
    return [[*row[:-1], "no valid image"] if row[0] in methods else row for row in rows]


def test_headline_names_the_best_prior_its_lead_and_how_much_of_the_gap_it_closes(tmp_path):
    assert said(results(tmp_path)) == (
        "Of 2 priors, latent diffusion answers requests best: matched PSNR 40.00 dB [39.90, 40.10]. "
        "The lead of latent diffusion over N(0, I) is 20.00 dB [19.00, 21.00], corrected permutation p = 0.0002. "
        "The gap between N(0, I) and the VAE's reconstructions is 25.00 dB [24.00, 26.00]; latent diffusion closes 80.0 % of it."
    )


@pytest.mark.parametrize(
    "lead",
    [
        ["matched_psnr", "diffusion", "standard", 20.0, 1.0, 21.0, 0.04, 0.06],
        ["matched_psnr", "diffusion", "standard", 20.0, -1.0, 21.0, 0.001, 0.001],
        ["mmd2_pca", "diffusion", "standard", -20.0, -21.0, -19.0, 0.001, 0.001],
    ],
    ids=["p for the number of tests", "interval", "not compared"],
)
def test_nobody_wins_by_a_lead_that_may_be_chance(tmp_path, lead):
    text = said(results(tmp_path, pairs=[GAP, lead]))
    assert text.startswith("Of 2 priors, none is shown to be best")
    assert text.endswith("that any of it is closed cannot be told.")


def test_the_second_may_be_told_from_the_best_where_the_third_is_not(tmp_path):
    rows = [*conditional_rows(), row("flow", "matched_psnr", (39.0, 30.0, 48.0)), row("mop", "matched_psnr", (39.5, 39.4, 39.6))]
    pairs = [
        *PAIRS,
        ["matched_psnr", "mop", "diffusion", -0.5, -0.6, -0.4, 0.001, 0.001],
        ["matched_psnr", "flow", "diffusion", -1.0, -9.0, 8.0, 0.6, 0.6],
    ]
    text = said(results(tmp_path, rows=rows, pairs=pairs))
    assert text.startswith("Of 4 priors, none is shown to be best")
    assert "latent diffusion 40.00 dB [39.90, 40.10] and flow 39.00" in text


def test_nobody_wins_without_lattices(tmp_path):
    rows = conditional_rows()
    text = said(results(tmp_path / "best", rows=without_lattices(rows, "diffusion")))
    assert text.startswith("Of 2 priors, only one draws lattices: by matched PSNR, N(0, I) 20.00 dB")
    assert text.endswith("that any of it is closed cannot be told.")
    text = said(results(tmp_path / "start", rows=without_lattices(rows, "standard")))
    assert text.startswith("Of 2 priors, only one draws lattices: by matched PSNR, latent diffusion")
    assert text.endswith("is not measured, for the images of one of them are no lattices.")
    assert said(results(tmp_path / "none", rows=without_lattices(rows, "standard", "diffusion"))) == (
        "None of 2 priors draws a lattice at all."
    )


def test_what_has_no_lattices_is_not_judged_by_any_finding(tmp_path):
    found = answers(results(tmp_path, rows=without_lattices(conditional_rows(), "diffusion")))
    assert found[REQUESTS].endswith("No image of latent diffusion is a lattice.")
    for question in (SETS, COPIES):
        assert "not judged, for no image is a lattice: latent diffusion" in found[question]
    assert "diffusion" not in found[NATS]
    assert COST not in found


@pytest.mark.parametrize(("low", "p"), [(-0.2, 0.3), (-0.2, 0.001), (0.1, 0.3)])
def test_a_rest_that_may_be_chance_is_none(tmp_path, low, p):
    rest = ["matched_psnr", "reconstruction", "diffusion", 0.1, low, 0.4, 0.0001, p]
    assert said(results(tmp_path, pairs=[*PAIRS, rest])).endswith("latent diffusion closes all of it, as far as can be told.")


def test_a_rest_that_is_told_is_left(tmp_path):
    rest = ["matched_psnr", "diffusion", "reconstruction", -5.0, -5.1, -4.9, 0.001, 0.001]
    assert said(results(tmp_path, pairs=[*PAIRS, rest])).endswith("latent diffusion closes 80.0 % of it.")


@pytest.mark.parametrize(
    "gap",
    [[-0.1, -0.5, 0.3, 0.6, 0.6], [2.0, 1.0, 3.0, 0.1, 0.1], [-2.0, -3.0, 1.0, 0.001, 0.001], [-2.0, -3.0, -1.0, 0.001, 0.2]],
)
def test_no_gap_where_reconstructions_are_not_shown_to_be_ahead(tmp_path, gap):
    pairs = [["matched_psnr", "standard", "reconstruction", *gap], PAIRS[1]]
    assert "No gap can be told" in said(results(tmp_path, pairs=pairs))


def test_one_prior_wins_nothing(tmp_path):
    rows = [row for row in conditional_rows() if row[0] != "diffusion"]
    text = said(results(tmp_path, rows=rows))
    assert text.startswith("There is one prior: by matched PSNR, N(0, I) 20.00 dB")
    assert "best" not in text


def test_floor_verdicts_are_those_of_the_table(tmp_path):
    found = answers(results(tmp_path))
    assert found[SETS] == (
        "By MMD² (real ones −1 × 10⁻⁶, in 1 case of 20 beyond 2 × 10⁻⁶), "
        "not told from real ones: latent diffusion −1 × 10⁻⁶; above real ones: N(0, I) 3,000 × 10⁻⁶."
    )
    # A value may lie beyond what real ones exceed in 1 case of 20, and be at the floor, for the verdict is corrected.
    assert found[COPIES] == (
        "By codes close to a training code (real ones 5.0 %, in 1 case of 20 beyond 4.0 % or 6.0 %), "
        "below real ones: N(0, I) 0.2 % [0.1, 0.3]; not told from real ones: latent diffusion 6.5 % [5.5, 7.5]."
    )


def test_a_mean_within_what_one_draw_reaches_is_on_its_side_of_real_ones_where_the_table_says_so(tmp_path):
    rows = [*conditional_rows(), row("diffusion", "latent_auc_boosted", (0.505, 0.5, 0.51), floor=0.5, sd=0.005, q95=0.51)]
    question = "Can boosted trees tell a prior's codes from those of held-out images?"
    assert "above real ones: latent diffusion 0.505" in answers(results(tmp_path / "above", rows=rows))[question]
    rows[-1][3:9] = [0.995, 0.99, 1.0, float("nan"), 1.0, 0.01]
    assert "below real ones: latent diffusion 0.995" in answers(results(tmp_path / "below", rows=rows))[question]


def test_requests_are_answered_beside_what_real_images_score(tmp_path):
    assert answers(results(tmp_path))[REQUESTS] == (
        "By matched PSNR (real images 60.00 dB): VAE reconstruction 45.00 dB [44.90, 45.10]; "
        "latent diffusion 40.00 dB [39.90, 40.10]; N(0, I) 20.00 dB [19.50, 20.50]."
    )


def test_nats_tell_which_prior_is_nearest_as_far_as_the_paired_test_does(tmp_path):
    ranked = "By KL(q(z|c) || p(z|c)): latent diffusion 0.20 nats [0.10, 0.30]; N(0, I) 5.00 nats [4.90, 5.10]. "
    lead = "The lead of latent diffusion over N(0, I) is 4.80 nats [4.70, 4.90], corrected permutation p = 0.0002."
    assert answers(results(tmp_path / "told"))[NATS] == ranked + lead
    pairs = [*PAIRS[:2], [*PAIRS[2][:-1], 0.06]]
    assert answers(results(tmp_path / "not", pairs=pairs))[NATS] == (
        ranked + "Which of latent diffusion and N(0, I) is nearest cannot be told."
    )
    alone = [row for row in conditional_rows() if row[0] != "standard"]
    assert answers(results(tmp_path / "alone", rows=alone))[NATS] == ranked.partition(";")[0] + "."


def test_where_the_true_density_is_not_known_the_rate_tells_the_same(tmp_path):
    rows = [row for row in conditional_rows() if row[1] != "kl_oracle"]
    assert answers(results(tmp_path / "rate", rows=rows))[NATS].startswith(
        "By rate, KL(q(z|x, c) || p(z|c)): latent diffusion 1.20 nats [1.10, 1.30]; N(0, I) 6.00 nats"
    )
    assert NATS not in answers(results(tmp_path / "none", rows=[row for row in rows if row[1] != "rate"]))


@pytest.mark.parametrize(
    ("pair", "answer"),
    [
        (
            ["standard", "diffusion", 3e-3, 2e-3, 4e-3, 0.001, 0.001],
            "Of 2 priors, latent diffusion is as a set nearest to held-out images",
        ),
        (["standard", "diffusion", 3e-3, 2e-3, 4e-3, 0.001, 0.06], "Of 2 priors, none is shown to be best: by MMD²"),
    ],
)
def test_unconditional_priors_are_judged_as_sets_without_a_floor(tmp_path, pair, answer):
    found = results(tmp_path, rows=unconditional_rows(), pairs=[["mmd2_pca", *pair]])
    assert said(found).startswith(answer)
    assert "lead of latent diffusion over N(0, I) is 3,000.00 × 10⁻⁶" in said(found)
    texts = answers(found)
    assert "told no conditions" in texts[REQUESTS]
    assert "By MMD², without a floor to compare with: latent diffusion" in texts[SETS]


def test_priors_without_values_have_no_answer(tmp_path):
    found = results(tmp_path, rows=[row("real", "matched_psnr", (60.0, 59.0, 61.0)), row("flow", "odd", (1.0, 0.0, 2.0))])
    assert said(found) == "No prior has a value of a primary metric."


@pytest.mark.parametrize(
    ("psnr", "answer"),
    [
        ([30.0, 39.5, 40.0], "From 5 on, of those tried, no interval lies below what 25 reach, matched PSNR 40.0 dB."),
        ([30.0, 47.0, 40.0], "From 5 on, of those tried, no interval lies below what 25 reach, matched PSNR 40.0 dB."),
        ([30.0, 37.0, 40.0], "All 25: with fewer, an interval lies below what 25 reach, matched PSNR 40.0 dB."),
        ([39.5, 37.0, 40.0], "All 25: with fewer, an interval lies below what 25 reach, matched PSNR 40.0 dB."),
    ],
)
def test_cost_is_from_where_on_no_interval_lies_below_what_the_most_reach(tmp_path, psnr, answer):
    overall = [row for row in STEPS if row[2] == "all"]
    steps = [[*row[:3], value, value - 1, value + 1, *row[6:]] for row, value in zip(overall, psnr, strict=True)]
    assert answers(results(tmp_path, steps=steps))[COST] == answer


def test_without_requests_no_cost_is_told_for_mmd2_has_no_interval(tmp_path):
    steps = [[*row[:3], *[float("nan")] * 3, row[6]] for row in STEPS if row[2] == "all"]
    assert COST not in answers(results(tmp_path, steps=steps))
