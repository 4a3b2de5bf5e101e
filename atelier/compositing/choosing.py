"""How a stage works: with its network or without. The one rule for all stages, and where their networks live."""

from __future__ import annotations

import gc
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from atelier.compositing.jobs import StageReport
from atelier.compositing.settings import Mode, NeuralSettings, Residence
from atelier.errors import InvalidInput


class Loaded(Protocol):
    """What every stage's network has.

    Attributes:
        loaded: memory by load stage.
    """

    loaded: dict[str, Any]


N = TypeVar("N", bound=Loaded)
R = TypeVar("R")


class Network(Generic[N]):
    """A network that is imported and made when it is first needed, and kept or dropped after use.

    Args:
        stage: how sentences name it: ``analyzer``.
        module: that holds its class; imported only where its weights are there.
        make: the network from that module.
        residence: ``always`` keeps it; ``request`` makes it for every call and drops it afterwards.

    Attributes:
        loaded: memory by load stage of the network that was made last; empty where none was.
    """

    def __init__(self, stage: str, module: str, make: Callable[[Any], N], residence: Residence) -> None:
        self._stage, self._module, self._make, self._residence = stage, module, make, residence
        self._kept: N | None = None
        self._lock = threading.Lock()
        self.loaded: dict[str, Any] = {}

    def obstacle(self, folders: Mapping[str, Path]) -> str | None:
        """What stands in the way, as a sentence; None where nothing does.

        Args:
            folders: of weights, by the name of their setting.
        """
        missing = [folder.name for folder in folders.values() if not folder.is_dir()]
        if missing:
            commands = " and ".join(f"`atelier weights pull {name}`" for name in missing)
            return f"The {self._stage} has no weights {' and '.join(missing)}; {commands} brings them."
        try:
            import_module(self._module)
        except ImportError as error:
            package = (error.name or "one of its packages").partition(".")[0]
            return (
                f"The {self._stage}'s network needs {package}, which is not installed; "
                "`pip install 'atelier[compositing]'` brings it."
            )
        return None

    def choose(self, mode: Mode, folders: Mapping[str, Path]) -> str | None:
        """Whether the network works: None; or why it does not.

        Args:
            mode: that was asked for.
            folders: as for `obstacle`.

        Raises:
            InvalidInput: ``neural`` was asked for, and something is missing.
        """
        if mode == "classical":
            return "It was asked for."
        obstacle = self.obstacle(folders)
        if obstacle is not None and mode == "neural":
            raise InvalidInput(f"{obstacle.removesuffix('.')}; mode classical works without.")
        return obstacle

    def load(self, mode: Mode, folders: Mapping[str, Path]) -> dict[str, Any]:
        """Make the network now where it will be needed and is kept, so that the first request does not wait for it.

        Args:
            mode: of the settings.
            folders: as for `obstacle`.

        Returns:
            Memory by load stage; empty where none was made.

        Raises:
            InvalidInput: as for `choose`, or the weights cannot be used.
        """
        if self._residence == "always" and self.choose(mode, folders) is None:
            self.use(lambda network: None)
        return self.loaded

    def device(self, setting: str, folders: Mapping[str, Path]) -> str:
        """PyTorch's name of where it computes; ``cpu`` where it cannot work.

        Args:
            setting: of the stage's settings.
            folders: as for `obstacle`.
        """
        if self.obstacle(folders) is not None:
            return "cpu"
        from atelier.compositing.neural.devices import resolve

        return resolve(setting)

    def use(self, work: Callable[[N], R]) -> R:
        """What is done with the network; where it is not kept, nothing refers to it afterwards.

        Args:
            work: called with the network. Its caller never holds it: a GPU's memory goes back to other processes only
                after the last reference is gone, which a variable of the caller's would still be.
        """
        if self._residence == "always":
            with self._lock:
                if self._kept is None:
                    self._kept = self._make(import_module(self._module))
                    self.loaded = self._kept.loaded
            return work(self._kept)
        network: N | None = None
        try:
            network = self._make(import_module(self._module))
            self.loaded = network.loaded
            return work(network)
        except BaseException as error:
            _forget(error)
            raise
        finally:
            del network
            _free()


class NetworkStage:
    """What a stage with one network tells of it. Subclasses set the three attributes.

    Attributes:
        settings: of the stage.
        network: that works where its weights are there.
        needed: the folders of its weights, by the name of their setting.
    """

    settings: NeuralSettings
    network: Network[Any]
    needed: Mapping[str, Path]

    @property
    def loaded(self) -> dict[str, Any]:
        """Memory by load stage, of the network that was made last."""
        return self.network.loaded

    @property
    def device(self) -> str:
        """PyTorch's name of where the network computes; ``cpu`` without any."""
        return self.network.device(self.settings.device, self.needed)

    def load(self) -> dict[str, Any]:
        """Load the network where it will be needed and is kept; memory by load stage.

        Raises:
            InvalidInput: ``neural`` is set where it cannot work, or the weights cannot be used.
        """
        return self.network.load(self.settings.mode, self.needed)


def note(report: StageReport, mode: Mode, reason: str | None) -> None:
    """Write into a report which mode was asked for and, where that was left open, why no network worked."""
    report.facts["mode_asked"] = mode
    if mode == "auto" and reason is not None:
        report.facts["why_classical"] = reason


def _forget(error: BaseException) -> None:
    """Drop what the frames of an error, and of those that led to it, still hold; where they were stays known."""
    found: BaseException | None = error
    while found is not None:
        traceback.clear_frames(found.__traceback__)
        found = found.__context__


def _free() -> None:
    """Give the memory of dropped networks back, the GPU's too. Where no network ran there is no PyTorch to ask."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
