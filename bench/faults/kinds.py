"""All kinds of faults."""

from collections.abc import Mapping

from bench.faults.context import Fault
from bench.faults.database_faults import POSTGRES_FAULTS, SQLITE_FAULTS
from bench.faults.file_faults import FILE_FAULTS
from bench.faults.redis_faults import REDIS_FAULTS
from bench.faults.worker_faults import WORKER_FAULTS


def faults_for(*, postgres: bool) -> Mapping[str, Fault]:
    """Return the faults by name, with those of the database."""
    of_database = POSTGRES_FAULTS if postgres else SQLITE_FAULTS
    return {**WORKER_FAULTS, **REDIS_FAULTS, **of_database, **FILE_FAULTS}
