"""The numbers of photos of each landmark are those of the effective tags, whatever was written."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.counted_rows import IMAGES, LANDMARKS, OPERATIONS, PHOTOS, assert_exact, fill
from support.examples import examples

from tagger.database.connection import Database


@pytest.mark.hypothesis
@pytest.mark.postgresql
def test_numbers_are_those_of_the_effective_tags_after_any_statements(database: Database) -> None:
    fill(database)
    operation = st.tuples(
        st.sampled_from(sorted(OPERATIONS)),
        st.sampled_from(IMAGES),
        st.sampled_from(LANDMARKS),
        st.sampled_from(PHOTOS),
        st.booleans(),
    )

    @examples(10)
    @given(st.lists(operation, min_size=1, max_size=12))
    def check(operations: list[tuple[Any, ...]]) -> None:
        with database.write() as connection:
            for name, *values in operations:
                OPERATIONS[name](connection, *values)
        assert_exact(database)

    check()
