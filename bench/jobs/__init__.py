"""The jobs, one table; each module holds those of one kind."""

from __future__ import annotations

from bench.context import Job
from bench.jobs import files, life, many, network, oci, start

JOBS: dict[str, Job] = {
    job.name: job for job in (*oci.JOBS, *start.JOBS, *life.JOBS, *files.JOBS, *many.JOBS, *network.JOBS)
}
