import time

from pydantic_settings import BaseSettings

from atelier.serving.queued import QueuedModel


class TritonPythonModel(QueuedModel):
    settings_class = BaseSettings
    most_waiting = 4

    def decode(self, request, settings):
        return request.numbers("SECONDS")[0], bool(request.numbers("QUIET"))

    def waiting(self, position):
        return {"TOLD": f"waiting {position}"}

    def run(self, tasks):
        for task in tasks:
            seconds, quiet = task.job
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.5)
                if not quiet:
                    task.report({"TOLD": "working"})
            task.send({"TOLD": "done"})
        return [None] * len(tasks)
