"""How many examples property tests try: few in each daily run, many times more in the long form."""

from hypothesis import HealthCheck, settings

LONG = "long"
FACTOR = 40


def register_profiles() -> None:
    """Use the profile of the daily run, unless `--hypothesis-profile long` selects the other one."""
    ignored = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    daily = settings(
        deadline=None, derandomize=True, database=None, max_examples=10, suppress_health_check=ignored
    )
    settings.register_profile("daily", daily)
    settings.register_profile(LONG, daily, derandomize=False, max_examples=10 * FACTOR)
    settings.load_profile("daily")


def examples(daily: int) -> settings:
    return settings(max_examples=daily * FACTOR if settings.get_current_profile_name() == LONG else daily)
