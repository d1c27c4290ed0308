"""A tab of `fxst ui` as its page uses it, without a browser."""

import io

import numpy as np
import soundfile

TOKEN, PORT = "the-token", 4321
HOST = f"127.0.0.1:{PORT}"


def wav(x, rate, subtype="PCM_16"):
    """The bytes of a WAV; x is (channels, time)."""
    file = io.BytesIO()
    soundfile.write(file, x.T, rate, subtype=subtype, format="WAV")
    return file.getvalue()


class Page:
    """A tab of the page: what its script asks for.

    Args:
        client: The client of the server.
    """

    def __init__(self, client):
        self.client = client
        self.base = f"/{TOKEN}/tabs/{client.post(f'/{TOKEN}/tabs').json()['tab']}"

    def upload(self, role, content, name="sound.wav"):
        return self.client.post(f"{self.base}/files/{role}", params={"name": name}, content=content)

    def ask(self, path, **body):
        answer = self.client.post(f"{self.base}/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, path):
        answer = self.client.get(f"{self.base}/{path}")
        assert answer.status_code == 200, answer.text
        return answer

    def open(self, voice, radio, name="voice.wav"):
        """Upload both and let the model choose."""
        for role, content, called in (("input", voice, name), ("reference", radio, "radio.wav")):
            answer = self.upload(role, content, called)
            assert answer.status_code == 200, answer.text
        return self.ask("choose")["effects"]

    def heard(self, role):
        answer = self.get(f"sounds/{role}")
        return np.frombuffer(answer.content, "<f4").reshape(int(answer.headers["x-channels"]), -1)
