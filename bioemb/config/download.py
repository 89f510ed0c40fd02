"""The settings of `bioemb download`."""

from dataclasses import dataclass
from math import inf

from bioemb.errors import ConfigError
from bioemb.flags import flag

DOWNLOAD_OF = {"pubmed": ("files", "year", "what"), "pmc": ("ids", "ids_file", "license")}  # the flags of one source


@dataclass(frozen=True)
class DownloadConfig:
    """Fetch PubMed files or PMC full texts, each checked by its md5; what is there already is not fetched again."""

    source: str = flag("where from; --source may be left out", choices=tuple(DOWNLOAD_OF), bare=True)
    output_dir: str = flag("folder for the files", output=False)
    files: tuple[str, ...] = flag("PubMed: numbers of files and ranges, as in `1-20 25`, or `all`", ())
    what: str = flag(
        "PubMed: the yearly baseline or the daily update files", "baseline", choices=("baseline", "updatefiles")
    )
    year: int | None = flag("PubMed: year of the files, two digits, as in pubmed26n0001 (default: the newest)", None)
    ids: tuple[str, ...] = flag("PMC: articles, as PMC123 (its latest version) or PMC123.2", ())
    ids_file: str | None = flag("PMC: file with an article a line: text or CSV, also the bucket's inventory", None)
    license: tuple[str, ...] = flag("PMC: licences to fetch (`CC BY`, CC0, ...); `all` fetches any", ("all",))
    connections: int = flag("files fetched at once, at most 16", 3, output=False)
    attempts: int = flag("tries in a row without a new byte, before giving up", 5, output=False)
    timeout: float = flag("seconds without a byte, before a try has failed", 30.0, output=False)
    base_url: str | None = flag("address of a mirror (default: NCBI's server, PMC's bucket)", None, output=False)

    def __post_init__(self):
        for other, names in DOWNLOAD_OF.items():
            given = [name for name in names if getattr(self, name) != getattr(type(self), name)]
            if other != self.source and given:
                raise ConfigError(f"{given[0]} is for {other}, and the source is {self.source}")
        if self.year is not None and not 0 <= self.year <= 99:
            raise ConfigError(f"year is {self.year}; expected its last two digits, 26 for 2026")
        if not 1 <= self.connections <= 16:
            raise ConfigError(f"connections is {self.connections}; expected 1 to 16, the servers are everybody's")
        if self.attempts < 1:
            raise ConfigError(f"attempts is {self.attempts}; expected 1 or more")
        if not 0 < self.timeout < inf:
            raise ConfigError(f"timeout is {self.timeout}; expected more than 0 seconds")
        if self.base_url is not None and not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"base_url is {self.base_url!r}; expected an address that begins with http:// or https://"
            )
