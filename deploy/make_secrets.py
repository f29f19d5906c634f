"""Write the secrets of docker-compose.yml: ``python3 deploy/make_secrets.py``. What is there stays as it is.

Compose mounts each file into the containers that need it. These run as other users, so the files can be read by all, and the
folder by its owner alone.
"""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

FOLDER = Path(__file__).parent / "secrets"
RANDOM = (
    "greenplum_password", "metrics_token", "reader_password", "loader_password", "admin_password",
    "grafana_login_password", "grafana_password", "pgadmin_password",
)  # fmt: skip
"""Secrets of which each is made by chance; letters, digits, - and _ only, as the image of Greenplum wants it."""
URLS = {"reader": "service_reader_url", "loader": "service_loader_url", "admin": "service_admin_url"}
"""Login of the service → the secret with its URL."""


def make(folder: Path) -> list[Path]:
    """Write the secrets that are missing; the files written."""
    folder.mkdir(mode=0o700, exist_ok=True)
    written = [path for name in RANDOM if _write(path := folder / name, secrets.token_urlsafe(24))]
    for role, name in URLS.items():
        password = (folder / f"{role}_password").read_text().strip()
        url = f"postgresql://service_{role}:{password}@greenplum:5432/fab"
        if _write(folder / name, url):
            written.append(folder / name)
    return written


def _write(path: Path, text: str) -> bool:
    if path.exists():
        return False
    path.write_text(f"{text}\n", encoding="utf-8")
    path.chmod(0o644)
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the secrets of docker-compose.yml.")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    make(parser.parse_args().folder)
