"""The way of batches to a GPU and of results from it, on a machine that has none: nothing is pinned, all is noted."""

from pipeline.machine import in_flight


class PretendedGpu:
    """Every device is taken for a GPU whose memory is the machine's.

    Attributes:
        journal: `send`, `receive`, `ask` and `wait`, each with the number of the batch or result.
        on_send: is called with a batch's number when it has been sent.
    """

    def __init__(self, monkeypatch):
        self.journal, self.on_send = [], lambda number: None
        monkeypatch.setattr(in_flight, "on_gpu", lambda device: True)
        monkeypatch.setattr(in_flight, "CopyLine", lambda device: Line(self))
        monkeypatch.setattr(in_flight, "fetched", self._fetched)
        self.asked = 0

    def _fetched(self, device, result):
        self.journal.append(("ask", self.asked))
        self.asked += 1
        return in_flight.each(result, lambda rows: rows.cpu()), Arrival(self.journal, self.asked - 1)


class Line:
    def __init__(self, gpu):
        self.gpu, self.sent = gpu, 0

    def send(self, batch):
        number, self.sent = self.sent, self.sent + 1
        self.gpu.journal.append(("send", number))
        self.gpu.on_send(number)
        return in_flight.each(batch, lambda rows: rows.clone()), number

    def receive(self, sent):
        batch, number = sent
        self.gpu.journal.append(("receive", number))
        return batch


class Arrival:
    def __init__(self, journal, number):
        self.journal, self.number = journal, number

    def synchronize(self):
        self.journal.append(("wait", self.number))
