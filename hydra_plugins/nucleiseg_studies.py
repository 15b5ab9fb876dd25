"""Make the studies registered in `nucleiseg.cli.studies` options of Hydra's group `experiment`.

They precede files of the same name. Hydra discovers plugins only in the namespace package `hydra_plugins`.
"""

from copy import deepcopy

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin

from nucleiseg.cli.studies import GROUP, STUDIES


class StudySource(ConfigSource):
    """The options of the group `experiment`: studies without the sections of groups chosen on the command line."""

    @staticmethod
    def scheme() -> str:
        """Return the prefix before `://` in Hydra's search path."""
        return "studies"

    def load_config(self, config_path: str) -> ConfigResult:
        """Return the study `experiment/NAME`, composed at the top of the configuration."""
        study = STUDIES[_name(config_path)]
        return ConfigResult(
            config=deepcopy(study.node), path=str(study.file), provider=self.provider, header={"package": "_global_"}
        )

    def available(self) -> bool:
        """Return True."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Return whether a path is the group `experiment`."""
        return config_path.strip("/") == GROUP and bool(STUDIES)

    def is_config(self, config_path: str) -> bool:
        """Return whether a path is a study, `experiment/NAME`."""
        return config_path.startswith(f"{GROUP}/") and _name(config_path) in STUDIES

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return the names of the studies, or at the root the name of the group."""
        if config_path.strip("/") == GROUP:
            return sorted(STUDIES) if results_filter in (None, ObjectType.CONFIG) else []
        is_root = not config_path.strip("/")
        return [GROUP] if is_root and STUDIES and results_filter in (None, ObjectType.GROUP) else []


class StudiesFirst(SearchPathPlugin):
    """Search the studies before the folder `conf` and those of `--config-dir` and `hydra.searchpath`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put the studies before `conf`."""
        search_path.prepend(provider="nucleiseg", path="studies://", anchor="main")


def _name(config_path: str) -> str:
    return config_path.removeprefix(f"{GROUP}/").removesuffix(".yaml")
