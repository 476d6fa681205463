"""Schedules: what every one of them must satisfy, and the closed forms and implementations that they are to equal."""

import math

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from toycrystals.diffusion.schedule import CosineSchedule, LinearSchedule, make_schedule

SCHEDULES = {"linear": LinearSchedule(1000), "linear of 10 levels": LinearSchedule(10), "cosine": CosineSchedule()}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
times = st.floats(0.0, 1.0)


def levels(schedule, t):
    return [float(level) for level in schedule(torch.tensor(t, dtype=torch.float64))]


@every_schedule
@given(t=times)
@settings(deadline=None)
def test_variance_is_preserved(schedule, t):
    alpha_t, sigma_t = levels(schedule, t)
    assert alpha_t > 0.0
    assert sigma_t >= 0.0
    assert alpha_t**2 + sigma_t**2 == pytest.approx(1.0, abs=1e-12)


@every_schedule
def test_data_is_untouched_at_time_zero(schedule):
    assert levels(schedule, 0.0) == [1.0, 0.0]


@every_schedule
@given(s=times, t=times)
@settings(deadline=None)
def test_signal_to_noise_falls(schedule, s, t):
    assume(t - s > 1e-6)
    (alpha_s, sigma_s), (alpha_t, sigma_t) = levels(schedule, s), levels(schedule, t)
    assert alpha_s * sigma_t > alpha_t * sigma_s


@every_schedule
def test_little_signal_is_left_at_time_one(schedule):
    assert levels(schedule, 1.0)[0] < 0.01


@every_schedule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_levels_have_the_shape_and_dtype_of_the_times(schedule, dtype, shape):
    t = torch.full(shape, 0.25, dtype=dtype)
    for level, expected in zip(schedule(t), levels(schedule, 0.25), strict=True):
        assert level.dtype == dtype
        torch.testing.assert_close(level, torch.full(shape, expected, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_linear_schedule_has_the_levels_of_ddpm(dtype):
    alpha_bar = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear").alphas_cumprod.double()
    alpha_t, sigma_t = LinearSchedule(1000)(torch.arange(1, 1001, dtype=dtype) / 1000)
    torch.testing.assert_close(alpha_t.double().square(), alpha_bar, rtol=2e-5, atol=0.0)
    torch.testing.assert_close(sigma_t.double().square(), 1.0 - alpha_bar, rtol=2e-3, atol=0.0)


@pytest.mark.parametrize("t", [0.1, 0.33, 0.7, 1.0])
def test_many_levels_tend_to_the_variance_preserving_process(t):
    """log alpha_t = -t^2 (beta_1 - beta_0) / 4 - t beta_0 / 2 with rates from 0.1 to 20 (Song et al. 2021, equation 33)."""
    expected = -(t**2) * (20.0 - 0.1) / 4 - t * 0.1 / 2
    assert math.log(levels(LinearSchedule(10_000), t)[0]) == pytest.approx(expected, rel=5e-3)


def test_log_alpha_is_linear_between_levels():
    low, middle, high = (math.log(levels(LinearSchedule(100), t)[0]) for t in (0.40, 0.404, 0.41))
    assert middle == pytest.approx(0.6 * low + 0.4 * high, rel=1e-12)


@given(t=times)
@settings(deadline=None)
def test_cosine_schedule_turns_evenly(t):
    angle, whole = (math.atan2(*reversed(levels(CosineSchedule(), time))) for time in (t, 1.0))
    assert angle == pytest.approx(t * whole, abs=1e-12)
    assert math.cos(whole) == pytest.approx(CosineSchedule.ALPHA_1, rel=1e-9)


@pytest.mark.parametrize(("name", "expected"), [("linear", LinearSchedule(10)), ("cosine", CosineSchedule())])
def test_schedules_are_made_by_name(name, expected):
    assert levels(make_schedule(name, 10), 0.55) == levels(expected, 0.55)


@every_schedule
@given(t=times)
@settings(deadline=None)
def test_time_is_the_inverse_of_alpha(schedule, t):
    alpha_t, sigma_t = levels(schedule, t)
    found = schedule.time(torch.tensor(alpha_t, dtype=torch.float64))
    assert levels(schedule, float(found)) == pytest.approx([alpha_t, sigma_t], abs=1e-7)
    # Next to the data alpha falls with the square of t, so that its last digits do not tell the time.
    assert float(found) == pytest.approx(t, abs=1e-9 if sigma_t > 1e-3 else 1e-5)


@every_schedule
def test_time_ends_where_the_schedule_does(schedule):
    last = levels(schedule, 1.0)[0]
    alpha = torch.tensor([1.0, 1.01 * last, 0.99 * last, 1e-9], dtype=torch.float64)
    found = schedule.time(alpha).tolist()
    assert (found[0], found[2:]) == (0.0, [1.0, 1.0])
    assert 0.9 < found[1] < 1.0


@every_schedule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_times_have_the_shape_and_dtype_of_the_levels(schedule, dtype, shape):
    expected = float(schedule.time(torch.tensor(0.5, dtype=torch.float64)))
    torch.testing.assert_close(schedule.time(torch.full(shape, 0.5, dtype=dtype)), torch.full(shape, expected, dtype=dtype))
