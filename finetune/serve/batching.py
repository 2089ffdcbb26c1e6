"""Small batches: images that arrive within moments of each other are looked at together."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from finetune.serve.limits import Limits

# What is asked, and who waits for the answer.
_Waiting = tuple[Any, "asyncio.Future[Any]"]


class Busy(Exception):
    """So many images wait that another one would wait too long."""


class Batcher:
    """Gathers images to batches and runs a model on them, off the event loop.

    Args:
        run: From what was asked together to an answer for each, in their order.
        limits: Sizes and times.
        noted: Called with the size of every batch.
    """

    def __init__(
        self,
        run: Callable[[list[Any]], Sequence[Any]],
        limits: Limits,
        noted: Callable[[int], None] = lambda images: None,
    ) -> None:
        self._run = run
        self._limits = limits
        self._noted = noted
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(limits.queue)
        self._thread = ThreadPoolExecutor(1, "model")
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Images in the queue."""
        return self._queue.qsize()

    async def start(self) -> None:
        """Begin to work on what is asked."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """End, once all that waits has been answered."""
        await self._queue.join()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown()

    async def ask(self, asked: Any) -> Any:
        """What the model says of one image.

        Raises:
            Busy: If the queue is full.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((asked, answer))
        except asyncio.QueueFull:
            raise Busy from None
        return await answer

    async def _work(self) -> None:
        while True:
            batch = await self._gather()
            self._noted(len(batch))
            try:
                outputs: Any = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._run, [asked for asked, _ in batch]
                )
            # Whatever it is concerns those who wait for this batch: they are told, and the next is
            # worked on.
            except Exception as error:
                outputs = [error] * len(batch)
            for (_, answer), said in zip(batch, outputs, strict=True):
                self._queue.task_done()
                if answer.done():  # who asked has gone away
                    continue
                if isinstance(said, Exception):
                    answer.set_exception(said)
                else:
                    answer.set_result(said)

    async def _gather(self) -> list[_Waiting]:
        """The next images: those that wait, and those that come before the first is impatient."""
        batch = [await self._queue.get()]
        clock = asyncio.get_running_loop()
        end = clock.time() + self._limits.wait
        while len(batch) < self._limits.batch:
            if self._queue.empty():
                left = end - clock.time()
                if left <= 0:
                    break
                await asyncio.sleep(min(left, self._limits.wait / 4))
                continue
            batch.append(self._queue.get_nowait())
        return batch
