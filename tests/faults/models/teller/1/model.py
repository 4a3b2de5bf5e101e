import time

from pydantic_settings import BaseSettings

from atelier.errors import InvalidInput
from atelier.serving.stream import StreamModel


class TritonPythonModel(StreamModel):
    settings_class = BaseSettings

    def decode(self, request, settings):
        return int(request.numbers("COUNT")[0]), int(request.numbers("SIZE")[0]), request.numbers("PAUSE")[0]

    def run(self, job):
        count, size, pause = job
        if count < 0:
            raise InvalidInput("COUNT is negative.")
        told = 0
        try:
            while told < count:
                time.sleep(pause)
                yield {"PIECE": bytes(size)}
                told += 1
        finally:
            self.log.log_error(f"teller stopped at piece {told} of {count}")
