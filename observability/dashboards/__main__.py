"""Write the dashboards' files."""

from __future__ import annotations

from observability.dashboards import FOLDER, files

for path in FOLDER.glob("*.json"):
    if path not in files():
        path.unlink()
for path, text in files().items():
    path.write_text(text, encoding="utf-8")
