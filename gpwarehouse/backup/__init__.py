"""All of a warehouse to files or object stores, and back onto any server: create, list, verify, restore, prune."""

from gpwarehouse.backup.backups import Backups
from gpwarehouse.backup.catalog import BackupInfo, Verified
from gpwarehouse.backup.create import CreateResult
from gpwarehouse.backup.gpbackup import GpbackupRecord, GpbackupRun, read_gpbackup_history, run_gpbackup
from gpwarehouse.backup.prune import PruneResult
from gpwarehouse.backup.restore import RestoreResult
from gpwarehouse.backup.verify import Comparison, VerifyResult

__all__ = [
    "BackupInfo",
    "Backups",
    "Comparison",
    "CreateResult",
    "GpbackupRecord",
    "GpbackupRun",
    "PruneResult",
    "RestoreResult",
    "Verified",
    "VerifyResult",
    "read_gpbackup_history",
    "run_gpbackup",
]
