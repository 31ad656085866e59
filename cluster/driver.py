"""One run from start to end: `run(config, folder, observers, resume)`.

RLlib's `Algorithm` is the shell (`cluster.algorithm`), so that what Tune and callbacks see is what
the command line runs. SIGINT, SIGTERM and SIGHUP stop the run cleanly: what runs is given a
moment, learner and driver write their checkpoints, nothing is left running, and the run can be
resumed. A second Ctrl-C interrupts at once.
"""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from cluster import accounting
from cluster.controller import RunController, RunError
from cluster.observer import Observers
from cluster.run_folder import RunFolder
from configs.schema import RunConfig

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(config: RunConfig, folder: RunFolder, observers: Observers, resume: bool = False) -> None:
    """Run the configuration's stream to its end, or until a signal stops it.

    The folder is held by the caller, who also closes the observers. Ends with a `RunFinished`
    event: "finished", "stopped" (resumable), or "failed", and then raises: a NesyprError where
    something that the user can mend went wrong, also where the account does not close.
    """
    controller = RunController(config, folder, observers, resume)
    with _stopping_on_signals(controller.request_stop) as restore_handlers:
        try:
            controller.start(meanwhile=_load_shell)
            restore_handlers()  # starting Ray replaces them
            _train(config, controller)
        except BaseException as error:
            _close_after(controller, error)
            raise
        account = controller.close("finished" if controller.finished else "stopped")
    if account is None:
        raise KeyboardInterrupt  # stopped before anything was acted; resumable
    if controller.finished and not account.closes:
        raise RunError(accounting.sentence(account.problems))


def _close_after(controller: RunController, error: BaseException) -> None:
    """Stop everything after an error, which must not be hidden by a second one."""
    try:
        controller.close("failed")
    except Exception as second:  # noqa: BLE001 - told with the first, which is raised
        error.add_note(f"while stopping: {second}")


def _load_shell() -> None:
    """RLlib takes seconds to import."""
    importlib.import_module("cluster.algorithm")


def _train(config: RunConfig, controller: RunController) -> None:
    from cluster.algorithm import Nesypr, NesyprConfig

    shell = Nesypr(NesyprConfig().nesypr(run_config=config), controller=controller)
    try:
        while not controller.finished and not controller.stopping:
            shell.train()
    finally:
        shell.stop()


@contextmanager
def _stopping_on_signals(stop: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Call `stop` at the first signal; a second Ctrl-C raises KeyboardInterrupt.

    Yields a function that installs the handlers again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        stop()

    def install() -> None:
        for number in SIGNALS:
            signal.signal(number, handle)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    install()
    try:
        yield install
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
