"""Sentences: each verdict follows from the numbers, whichever way they fall."""

import pytest
from small_project import PAIRS, STEPS, conditional_rows, results, row, unconditional_rows

from toycrystals.report.findings import findings, headline


def answers(found):
    return {finding.question: finding.answer for finding in findings(found)}


def test_headline_names_the_best_prior_and_how_much_of_the_gap_it_closes(tmp_path):
    text = headline(results(tmp_path)).replace("\u00a0", " ")
    assert text.startswith("Of 2 priors, latent diffusion answers requests best: matched PSNR 40.00 dB [39.90, 40.10].")
    assert text.endswith(
        "The gap between N(0, I) and the VAE's reconstructions is 25.00 dB [24.00, 26.00]; latent diffusion closes 80.0 % of it."
    )


def test_a_prior_beyond_the_reconstructions_closes_all(tmp_path):
    rows = [*conditional_rows(), row("flow", "matched_psnr", (46.0, 45.9, 46.1))]
    assert headline(results(tmp_path, rows=rows)).endswith("flow closes all of it.")


def test_no_gap_where_reconstructions_are_not_ahead(tmp_path):
    pairs = [["matched_psnr", "standard", "reconstruction", -0.1, -0.5, 0.3, 0.6]]
    assert "There is no gap to close" in headline(results(tmp_path, pairs=pairs))


def test_none_is_closed_where_no_prior_beats_the_standard_normal(tmp_path):
    rows = [row for row in conditional_rows() if row[0] != "diffusion"]
    assert headline(results(tmp_path, rows=rows)).endswith("none of it is closed.")


@pytest.mark.parametrize(("low", "p", "answer"), [(1.0, 0.001, "Yes"), (-1.0, 0.001, "That cannot"), (1.0, 0.2, "That cannot")])
def test_a_lead_needs_interval_and_test(tmp_path, low, p, answer):
    pairs = [PAIRS[0], ["matched_psnr", "diffusion", "standard", 20.0, low, 21.0, p]]
    found = answers(results(tmp_path, pairs=pairs))
    assert found["Is the lead of latent diffusion over N(0,\u00a0I) more than chance?"].startswith(answer)


def test_the_lead_is_read_whichever_way_round_the_table_has_it(tmp_path):
    text = answers(results(tmp_path))["Is the lead of latent diffusion over N(0,\u00a0I) more than chance?"]
    assert text.replace("\u00a0", " ") == "Yes: 20.00 dB [19.00, 21.00], permutation p = 0.0001."


def test_floor_verdicts_are_those_of_the_table(tmp_path):
    found = answers(results(tmp_path))
    assert found["Do the images together have the right distribution?"].endswith("latent diffusion; not: N(0,\u00a0I).")
    copies = found["Are a prior's codes copies of training codes?"].replace("\u00a0", " ")
    assert "within what real codes score: N(0, I) (0.2 %" in copies
    assert "above what real codes score: latent diffusion (10.0 %" in copies


def test_unconditional_priors_are_judged_as_sets_without_a_floor(tmp_path):
    found = results(tmp_path, rows=unconditional_rows(), pairs=[])
    assert "latent diffusion is as a set nearest to held-out images" in headline(found)
    texts = answers(found)
    assert "told no conditions" in texts["Does an image show what was asked for?"]
    assert "There is no floor" in texts["Do the images together have the right distribution?"]
    assert not any("lead" in question for question in texts)


def test_no_verdict_is_given_where_no_image_is_a_lattice(tmp_path):
    rows = [[*row[:-1], "no valid image"] if row[0] == "standard" else row for row in conditional_rows()]
    found = answers(results(tmp_path, rows=rows))
    assert found["Does an image show what was asked for?"].endswith("No image of N(0,\u00a0I) is a lattice.")
    assert "not judged, for no image is a lattice: N(0,\u00a0I)" in found["Are a prior's codes copies of training codes?"]


@pytest.mark.parametrize(("steps", "answer"), [(STEPS, "With 5, "), ([STEPS[0], STEPS[4]], "All 25 that were tried")])
def test_cost_is_the_fewest_evaluations_whose_interval_includes_the_most(tmp_path, steps, answer):
    assert answers(results(tmp_path, steps=steps))["How many network evaluations does the diffusion prior need?"].startswith(
        answer
    )
