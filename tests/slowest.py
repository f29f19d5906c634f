"""The files of tests that take longest, so that a run over several processes begins with them and ends in step."""

from __future__ import annotations

SLOWEST = (
    "tests/cli/test_commands.py",
    "tests/test_embedded.py",
    "tests/service/test_sockets.py",
    "tests/migrate/test_kill.py",
    "tests/migrate/test_users_project.py",
    "tests/faults/test_faults.py",
    "tests/test_embedded_users.py",
    "tests/load/test_killed.py",
    "tests/load/test_processes.py",
    "tests/load/test_memory.py",
    "tests/cli/test_server.py",
    "tests/faults/test_promotion.py",
    "tests/dimensions/test_order_of_observations.py",
    "tests/load/test_delete_and_replace.py",
    "tests/load/test_members.py",
    "tests/load/test_upsert.py",
    "tests/partitions/test_archive.py",
    "tests/generate/test_truth.py",
    "tests/test_packaging.py",
    "tests/sources/test_synthetic.py",
    "tests/test_validate.py",
    "tests/test_dialect_suites.py",
    "tests/test_process_wide.py",
    "tests/test_imports.py",
)
"""The slowest first."""
