"""Settings: from keywords, the environment, a settings file with sections and profiles, and files of secrets."""

from gpwarehouse.settings.warehouse import WarehouseSettings, settings_table

__all__ = ["WarehouseSettings", "settings_table"]
