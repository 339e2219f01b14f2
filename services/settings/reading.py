"""``flywheel.yaml`` and ``FLYWHEEL__A__B``, in one go: read, typed, held together, or refused with path, value, reason and remedy.

Called in a process's ``__main__`` only. Unknown keys are errors.
"""

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsError

from flywheel.errors import InvalidSettings
from services.settings.checks import check, first_twice
from services.settings.tree import Settings
from services.settings.words import in_our_words, unknown

DEFAULT_CONFIG = Path("flywheel.yaml")


def load(path: Path | None = None) -> Settings:
    """Reads ``path`` (or $FLYWHEEL_CONFIG, or ./flywheel.yaml when it exists) and the environment, which wins."""
    named = path or (Path(os.environ["FLYWHEEL_CONFIG"]) if os.environ.get("FLYWHEEL_CONFIG") else None)
    file = named or DEFAULT_CONFIG
    content = _content(file, must_exist=named is not None)
    _environment_is_known()

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (the library's signature)
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (env_settings, InitSettingsSource(settings_cls, init_kwargs=content))

    try:
        settings = FromFile()
        check(settings)
        return settings
    except ValidationError as error:
        refused = in_our_words(error)
    except InvalidSettings as error:
        refused = error
    except SettingsError as error:
        raise InvalidSettings(
            "is not JSON, as a list or a mapping in the environment must be",
            where=next((f"FLYWHEEL__{name.upper()}" for name in Settings.model_fields if f'"{name}"' in str(error)), "the environment"),
            remedy="Write it as JSON, or set it in flywheel.yaml.",
        ) from None
    variable = "FLYWHEEL__" + refused.where.replace(".", "__").upper()
    where = variable if variable in {name.upper() for name in os.environ} else f"{file}: {refused.where}"
    raise InvalidSettings(refused.reason, where=where, value=refused.value, remedy=refused.remedy) from None


class _EachKeyOnce(yaml.SafeLoader):
    """YAML takes the last of two equal keys in silence: half of a workload would be gone."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        twice = first_twice((key, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<")
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[1]!r} stands here a second time", twice[0].start_mark)
        return super().construct_mapping(node, deep)


def _content(file: Path, *, must_exist: bool) -> dict[str, Any]:
    """The file as a mapping; empty for an empty one."""
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_EachKeyOnce)  # noqa: S506  (a SafeLoader)
    except FileNotFoundError:
        if not must_exist:
            return {}
        raise InvalidSettings("there is no such file", where=str(file), remedy="Name an existing file with --config.") from None
    except OSError as error:
        remedy = "Name a YAML file that this user may read with --config."
        raise InvalidSettings(f"cannot be read: {error.strerror}", where=str(file), remedy=remedy) from None
    except yaml.MarkedYAMLError as error:
        at, problem = error.problem_mark, error.problem or "it cannot be read"
        remedy = "Indent with blanks: YAML takes no tabs." if "\\t" in problem else "Mend the line named, or the one above it."
        line = f"line {at.line + 1}, column {at.column + 1}: " if at else ""
        raise InvalidSettings(f"is not valid YAML: {line}{problem}", where=str(file), remedy=remedy) from None
    except (UnicodeDecodeError, yaml.reader.ReaderError):
        raise InvalidSettings("is not text in UTF-8", where=str(file), remedy="Save it as a text file in UTF-8.") from None
    except RecursionError:
        raise InvalidSettings("is nested too deeply", where=str(file), remedy="Count its brackets.") from None
    except (yaml.YAMLError, ValueError, AttributeError):  # a date in the 13th month, a number of 5000 digits
        remedy = "Put dates, and numbers of many digits, in quotes."
        raise InvalidSettings("holds a value that YAML cannot read", where=str(file), remedy=remedy) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        remedy = "Start with a key such as workloads:"
        raise InvalidSettings("must be a mapping of keys to values", where=str(file), value=type(content).__name__, remedy=remedy)
    for key in content:
        if key not in Settings.model_fields:
            raise unknown(f"{file}: {key}")
    return content


def _environment_is_known() -> None:
    """A misspelt variable would be passed over in silence; deeper down, the sections refuse it."""
    for name in os.environ:
        if name.upper().startswith("FLYWHEEL__") and name[len("FLYWHEEL__") :].partition("__")[0].lower() not in Settings.model_fields:
            raise unknown(name)
